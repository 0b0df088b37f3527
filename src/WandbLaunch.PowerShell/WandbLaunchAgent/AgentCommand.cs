using System.Management.Automation;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Base of the commands for agents that exist.</summary>
public abstract class AgentCommand : PipelineCommand
{
    /// <summary>Project of the queues, where it is not the usual one.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    public string? QueueProject { get; set; }

    /// <summary>Owner of the queues. Default: the connection's entity.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(EntityCompleter))]
    public string? Entity { get; set; }

    /// <summary>Connection to use. Default: the session's.</summary>
    [Parameter]
    public WandbConnection? Connection { get; set; }

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds => [nameof(WandbLaunchAgent), nameof(AgentEvent)];

    /// <summary>This machine's agents, then those that the server knows.</summary>
    internal async Task<IReadOnlyList<WandbLaunchAgent>> AgentsAsync()
    {
        var local = AgentStore.Of(Context).All().ToList();
        var all = local.ToList();
        if ((Connection ?? WandbSession.Current) is { } server && (Entity ?? server.Entity) is { } entity)
        {
            var project = await server.Queues.QueueProjectAsync(QueueProject, server.Project ?? "", Token);
            var known = await (await server.Api.ProtocolAsync(Token)).AgentsAsync(entity, project, Token);
            all.AddRange(
                known
                    .Where(k => !local.Exists(l => l.AgentId == k.AgentId && l.Server == server.BaseUrl))
                    .Select(k => k with { Server = server.BaseUrl })
            );
        }

        return all;
    }

    internal static LaunchException Missing(string name) =>
        new(
            "AgentNotFound",
            LaunchErrorCategory.ObjectNotFound,
            $"There is no agent {name}, neither on this machine nor on the connected server. See Get-WandbLaunchAgent.",
            name
        );
}
