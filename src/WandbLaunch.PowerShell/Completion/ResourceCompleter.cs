using System.Collections;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;

namespace WandbLaunch.PowerShell;

/// <summary>Completes resources.</summary>
public sealed class ResourceCompleter : LaunchCompleter
{
    private protected override Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    ) =>
        Task.FromResult<IReadOnlyList<(string, string)>>([
            .. LaunchStore.Of(new LaunchContext()).Resources.All.Select(r => (r.Info.Name, r.Info.Tip)),
        ]);
}
