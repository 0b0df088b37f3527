using System.Management.Automation;
using WandbLaunch.Foundation;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Base of the commands that work with queues: whose queue, in which project, on which server.</summary>
public abstract class QueueCommand : PipelineCommand
{
    /// <summary>Owner of the queue. Default: the connection's entity.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [Alias("QueueEntity")]
    [ArgumentCompleter(typeof(EntityCompleter))]
    public string? Entity { get; set; }

    /// <summary>Project of the queue. Default: model-registry, where servers of today keep queues; on a server of 2022 the connection's project.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(ProjectCompleter))]
    public string? QueueProject { get; set; }

    /// <summary>Connection to use. Default: the session's.</summary>
    [Parameter]
    public WandbConnection? Connection { get; set; }

    internal async Task<(WandbConnection Server, string Entity, string Project)> WhereAsync()
    {
        var server = await GetConnectionAsync(Connection);
        return (
            server,
            NeedEntity(server, Entity),
            await server.Queues.QueueProjectAsync(QueueProject, server.Project, Token)
        );
    }

    internal async Task OutputQueueAsync(WandbConnection server, string entity, string project, string name) =>
        OutputAll(
            await server.Queues.WithConfigurationsAsync(
                [await server.Queues.GetAsync(entity, project, name, server.Username, Token)],
                Token
            )
        );

    internal static string NeedEntity(WandbConnection server, string? given) =>
        given
        ?? server.Entity
        ?? throw new LaunchException(
            "EntityMissing",
            LaunchErrorCategory.InvalidArgument,
            "It is not known whose queue is meant. Give -Entity, or set WANDB_ENTITY.",
            null
        );
}
