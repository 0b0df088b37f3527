using System.Collections;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;

namespace WandbLaunch.PowerShell;

/// <summary>Completes ids of launches on this machine.</summary>
public sealed class LaunchIdCompleter : LaunchCompleter
{
    private protected override Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    ) =>
        Task.FromResult<IReadOnlyList<(string, string)>>([
            .. LaunchStore.Of(new LaunchContext()).Known().Take(200).Select(r => (r.Id, $"{r.State} {r.Source}")),
        ]);
}
