using System.Collections;
using WandbLaunch.Model;

namespace WandbLaunch.PowerShell;

/// <summary>Base of the completers that look into the code that is launched.</summary>
public abstract class RepositoryCompleter : LaunchCompleter
{
    private protected override bool InFolder => true;

    private protected override IReadOnlyList<string> DependsOn => ["GitRepo", "Uri"];

    /// <summary>A folder of this machine, or the address of a repository elsewhere; nothing where neither is known.</summary>
    private protected async Task<(string? Folder, string? Remote)?> RepositoryAsync(
        IDictionary bound,
        CancellationToken token
    )
    {
        if ((One(bound, "GitRepo") ?? One(bound, "Uri")) is not { } named)
        {
            return null;
        }

        var uri = LaunchUri.Parse(named, Folder);
        if (uri.Kind == LaunchUriKind.WandbRun)
        {
            return
                WandbSession.Current is { } server
                && (await server.Api.RunInfoAsync(uri.Run, token)).Remote is { } recorded
                && LaunchUri.Parse(recorded, Folder) is { Kind: LaunchUriKind.Git } made
                ? Where(made)
                : null;
        }

        return uri.Kind == LaunchUriKind.LocalFolder ? (uri.Location, null)
            : uri.Kind == LaunchUriKind.Git ? Where(uri)
            : null;
    }

    private static (string? Folder, string? Remote) Where(LaunchUri git) =>
        Uri.TryCreate(git.Location, UriKind.Absolute, out var address) && address.IsFile
            ? (address.LocalPath, null)
            : (null, git.Location);
}
