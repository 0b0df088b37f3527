using System.Collections;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;

namespace WandbLaunch.PowerShell;

/// <summary>Completes the resources of -MaxJobs resource=number.</summary>
public sealed class MaxJobsCompleter : NameValueCompleter
{
    private protected override Task<IReadOnlyList<(string Name, string Tip, IReadOnlyList<string> Values)>> KnownAsync(
        IDictionary bound,
        CancellationToken token
    ) =>
        Task.FromResult<IReadOnlyList<(string, string, IReadOnlyList<string>)>>([
            .. LaunchStore
                .Of(new LaunchContext())
                .Resources.All.Select(r => (r.Info.Name, r.Info.Tip, (IReadOnlyList<string>)[])),
        ]);
}
