using System.Collections;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Completes names of agents of this machine: those that the command can act on.</summary>
public sealed class AgentCompleter : LocalCompleter
{
    private protected override bool OfCommand => true;

    private protected override Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    ) =>
        Task.FromResult<IReadOnlyList<(string, string)>>([
            .. AgentStore
                .Of(new LaunchContext())
                .All()
                .Where(a => Applies(a.State))
                .OrderByDescending(a => a.Heartbeat ?? a.Started)
                .Select(a => (a.Name, $"{a.State} {string.Join(", ", a.Queues)}")),
        ]);

    private bool Applies(AgentState state) =>
        Command.ToUpperInvariant() switch
        {
            "STOP-WANDBLAUNCHAGENT" => state is not (AgentState.Stopped or AgentState.Lost),
            "REMOVE-WANDBLAUNCHAGENT" => state is AgentState.Stopped or AgentState.Lost,
            _ => true,
        };
}
