using System.Formats.Tar;
using System.Text;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>Its images, with the code in them, for engines that fetch them from a registry.</summary>
internal sealed partial class LocalContainerResource : IImageMaker
{
    public string ImageOf(ResourceRequest request, string repository) =>
        ImagePusher.NameOf(ImageRequest(request), request.Resolved.Workspace, repository);

    public ImagePlan PlanOf(ResourceRequest request)
    {
        var plan = ImageRequest(request);
        return new ImagePlan(plan.BaseImage, plan.UserId, plan.Dockerfile, plan.Requirements);
    }

    public Task AddCodeAsync(TarWriter writer, string workspace, string name, int owner, CancellationToken token) =>
        ContainerCode.AddFolderAsync(writer, workspace, name, owner, token);

    public async Task<string?> LoginsAsync(IEnumerable<string> images, CancellationToken token)
    {
        var auths = new JsonObject();
        foreach (var image in images)
        {
            if (await RegistryLogin.ForAsync(_machine, image, token) is { } login)
            {
                auths[login.ServerAddress] = login.IdentityToken is { Length: > 0 } refresh
                    ? new JsonObject { ["identitytoken"] = refresh }
                    : new JsonObject
                    {
                        ["auth"] = Secrets.Register(
                            Convert.ToBase64String(Encoding.UTF8.GetBytes($"{login.Username}:{login.Password}"))
                        ),
                    };
            }
        }

        return auths.Count == 0 ? null : new JsonObject { ["auths"] = auths }.ToJsonString();
    }

    public Task<RegistryImage?> FindAsync(string image, CancellationToken token) =>
        new RegistryClient(_machine).FindAsync(image, token);

    public async Task<BroughtImage> BringAsync(
        ResourceRequest request,
        string image,
        IProgress<LaunchProgress> progress,
        CancellationToken token
    )
    {
        if (await FindAsync(image, token) is { } there)
        {
            return new BroughtImage(there.Digest, null);
        }

        var (client, _) = await _engines.GetAsync(request.Options.DockerHost, token);
        var (basis, warning) = await new EngineImageBuilder(_machine, client, progress).EnsureAsync(
            ImageRequest(request),
            request.Options.Pip,
            request.Cache,
            token
        );
        await new ImagePusher(_machine, client, progress).PushAsync(
            basis,
            request.Resolved.Workspace,
            request.Config.UserId ?? 1000,
            image,
            token
        );
        return new BroughtImage((await FindAsync(image, token))?.Digest, warning);
    }
}
