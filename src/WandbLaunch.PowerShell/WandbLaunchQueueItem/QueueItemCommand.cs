using System.Management.Automation;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Base of the commands that act on one item after the other.</summary>
public abstract class QueueItemCommand : QueueCommand
{
    private readonly Dictionary<(string, string, string), WandbRunQueue> _queues = [];

    /// <summary>Name of the queue.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(QueueCompleter))]
    public string Queue { get; set; } = "";

    /// <summary>Ids of items.</summary>
    [Parameter(Mandatory = true, Position = 1, ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(ItemIdCompleter))]
    public string[] Id { get; set; } = [];

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds => [nameof(WandbLaunchQueueItem), nameof(AgentEvent)];

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var (server, entity, project) = await WhereAsync();
        if (!_queues.TryGetValue((entity, project, Queue), out var queue))
        {
            _queues[(entity, project, Queue)] = queue = await server.Queues.GetAsync(
                entity,
                project,
                Queue,
                server.Username,
                Token
            );
        }

        // The id of an event is that of its launch.
        foreach (var id in Kind == nameof(AgentEvent) ? Texts("ItemId") : Id)
        {
            try
            {
                await ActAsync(server, queue, id);
            }
            catch (LaunchException e)
            {
                Error(e, id);
            }
        }
    }

    private protected abstract Task ActAsync(WandbConnection server, WandbRunQueue queue, string id);
}
