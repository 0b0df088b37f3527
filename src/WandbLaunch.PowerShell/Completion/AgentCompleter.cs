using System.Collections;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;

namespace WandbLaunch.PowerShell;

/// <summary>Completes names of agents of this machine.</summary>
public sealed class AgentCompleter : LaunchCompleter
{
    private protected override Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    ) =>
        Task.FromResult<IReadOnlyList<(string, string)>>([
            .. AgentStore
                .Of(new LaunchContext())
                .All()
                .Select(a => (a.Name, $"{a.State} {string.Join(", ", a.Queues)}")),
        ]);
}
