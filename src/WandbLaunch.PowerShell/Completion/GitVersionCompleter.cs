using System.Collections;
using WandbLaunch.Foundation;
using WandbLaunch.Sources;

namespace WandbLaunch.PowerShell;

/// <summary>Completes branches and tags of the repository that is launched: of -GitRepo, else of -Uri.</summary>
public sealed class GitVersionCompleter : RepositoryCompleter
{
    private protected override async Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    ) =>
        await RepositoryAsync(bound, token) is not var (folder, remote) ? []
        : folder is not null ? GitReferences.OfFolder(folder)
        : await GitReferences.OfRemoteAsync(new LaunchContext().Cache, remote!, token);
}
