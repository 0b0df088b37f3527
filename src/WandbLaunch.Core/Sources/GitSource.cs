using System.Text.RegularExpressions;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.Sources;

/// <summary>A repository, at a branch, tag or commit, or a folder of it.</summary>
internal sealed partial class GitSource(LaunchUri address) : ILaunchSource
{
    public string Shown => address.Text;

    public string? Project { get; } = LaunchUri.GitProject(address.Location);

    internal static ILaunchSource? TryParse(SourceRequest request) =>
        request.Address is { Kind: LaunchUriKind.Git } address ? new GitSource(address) : null;

    public void CheckPolicy(SourcePolicy policy) => policy.CheckRemote(address.Location);

    public LaunchConfig Again(LaunchConfig config, string? commit) =>
        config with
        {
            GitVersion = commit ?? config.GitVersion,
        };

    public async Task<ResolvedRun> ResolveAsync(LaunchConfig config, ResolveContext context, CancellationToken token)
    {
        context.Progress.Report($"resolving {Secrets.Mask(address.Text)}");
        var (workspace, commit) = await CheckoutAsync(config.GitVersion, context, token);
        if (address.Subfolder is { } subfolder)
        {
            workspace = Inside(workspace, subfolder, commit);
        }

        var resolved = SourceFiles.Run(address.Text, workspace, config, context);
        return resolved with
        {
            Remote = address.Location,
            Commit = commit,
            Project = LaunchUri.GitProject(address.Location),
            Warnings =
            [
                .. address.Subfolder is null
                    ? []
                    : Workspace
                        .BadLinks(workspace)
                        .Select(l => $"'{SafePath.Show(l.Path)}' is a link that {l.Fault} and is left out"),
                .. resolved.Warnings,
            ],
        };
    }

    public async Task<JobSource> ToJobAsync(JobRequest request, ResolveContext context, CancellationToken token)
    {
        var (workspace, commit) = await CheckoutAsync(request.GitVersion, context, token);
        var entry = SourceFiles.JobEntry(request, workspace, address.Subfolder, context);

        // A login inside the address is this user's, and stays out of the job.
        return JobSource.Repository(
            WithoutLogin(address.Location),
            commit,
            entry,
            SourceFiles.JobPython(request.PythonVersion ?? SourceFiles.PythonVersion(workspace))
        ) with
        {
            Requirements = SourceFiles.Requirements(workspace),
        };
    }

    /// <summary>The address of a repository that something names: a folder of this machine counts as one. Null for what is no repository.</summary>
    internal static LaunchUri? Remote(string text, string workingFolder) =>
        LaunchUri.Parse(text, workingFolder) switch
        {
            { Kind: LaunchUriKind.Git } address => address,
            { Kind: LaunchUriKind.LocalFolder } folder => folder with
            {
                Kind = LaunchUriKind.Git,
                Location = new Uri(folder.Location).AbsoluteUri,
            },
            _ => null,
        };

    /// <summary>True for what another machine could fetch as well.</summary>
    internal static bool IsRemote(string text, string workingFolder) =>
        LaunchUri.Parse(text, workingFolder).Kind == LaunchUriKind.Git;

    /// <summary>As <see cref="Remote"/>, of a run or job that is to be launched.</summary>
    internal static LaunchUri RemoteOf(string what, string remote, ResolveContext context) =>
        Remote(remote, context.WorkingFolder)
        ?? throw new LaunchException(
            "GitRemoteInvalid",
            LaunchErrorCategory.InvalidData,
            $"The {what} names the git remote '{Secrets.Mask(remote)}', which is not a git address. Give the right one with -GitRepo.",
            remote
        );

    internal static string WithoutLogin(string remote) =>
        Uri.TryCreate(remote, UriKind.Absolute, out var uri) && uri.UserInfo.Contains(':', StringComparison.Ordinal)
        || remote.StartsWith("http", StringComparison.OrdinalIgnoreCase)
            && remote.Contains('@', StringComparison.Ordinal)
            ? Login().Replace(remote, "$1")
            : remote;

    private async Task<(string Workspace, string Commit)> CheckoutAsync(
        string? wanted,
        ResolveContext context,
        CancellationToken token
    )
    {
        var mirror = context.Mirror(address.Location);
        var version = wanted ?? address.Ref;
        var commit = await mirror.ResolveAsync(version is null ? null : LaunchUri.CheckRef(version), token);
        var (workspace, _) = await GitWorkspace.EnsureAsync(context.Cache, mirror, commit, null, [], token);
        return (workspace, commit);
    }

    private string Inside(string workspace, string subfolder, string commit)
    {
        using var root = SafeFolder.Open(workspace);
        return root.Kind(subfolder, "subfolder") == EntryKind.Folder
            ? Path.Combine(workspace, root.RealPath(subfolder, "subfolder").Replace('/', Path.DirectorySeparatorChar))
            : throw new LaunchException(
                "SubfolderNotFound",
                LaunchErrorCategory.ObjectNotFound,
                $"The commit {commit} of {Secrets.Mask(address.Location)} has no folder '{subfolder}'.",
                subfolder
            );
    }

    [GeneratedRegex(@"^([A-Za-z][A-Za-z0-9+.-]*://)[^/@]*@")]
    private static partial Regex Login();
}
