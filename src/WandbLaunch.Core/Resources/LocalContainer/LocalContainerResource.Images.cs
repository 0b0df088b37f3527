using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>Its images, with the code in them, for engines that fetch them from a registry.</summary>
internal sealed partial class LocalContainerResource : IImageMaker
{
    public string ImageOf(ResourceRequest request, string repository) =>
        ImagePusher.NameOf(ImageRequest(request), request.Resolved.Workspace, repository);

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
        var (basis, warning) = await new ImageBuilder(_machine, client, progress).EnsureAsync(
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
