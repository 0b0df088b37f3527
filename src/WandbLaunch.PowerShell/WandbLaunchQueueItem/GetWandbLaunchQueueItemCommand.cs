using System.Management.Automation;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Gets items of queues.</summary>
/// <remarks>Writes the runs that wait in queues and those that agents have taken, oldest first: state, position, age, agent and run, as far as the server tells.</remarks>
/// <example><para>Everything in a queue</para><code>Connect-Wandb -Local; Get-WandbLaunchQueueItem gpu</code><para>Without a name: of all queues.</para></example>
/// <example><para>Queue what failed again</para><code>Connect-Wandb -Local; Get-WandbLaunchQueueItem gpu -State failed | Add-WandbLaunchQueueItem -Queue gpu</code><para>Each goes with its own config.</para></example>
/// <example><para>Why did they fail?</para><code>Connect-Wandb -Local; Get-WandbLaunchQueueItem gpu -State failed | Group-Object Error -NoElement</code><para>Each reason once, with how many have it.</para></example>
[Cmdlet(VerbsCommon.Get, "WandbLaunchQueueItem")]
[Alias("gwq")]
[OutputType("WandbLaunch.Wandb.WandbLaunchQueueItem")]
public sealed class GetWandbLaunchQueueItemCommand : QueueCommand
{
    /// <summary>Names of queues; wildcards are allowed. Default: all.</summary>
    [Parameter(Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [Alias("Name")]
    [ArgumentCompleter(typeof(QueueCompleter))]
    [SupportsWildcards]
    public string[] Queue { get; set; } = ["*"];

    /// <summary>Ids of items. Not given: all.</summary>
    [Parameter]
    [ArgumentCompleter(typeof(ItemIdCompleter))]
    public string[] Id { get; set; } = [];

    /// <summary>States that count.</summary>
    [Parameter]
    public QueueItemState[] State { get; set; } = [];

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds =>
        [nameof(WandbRunQueue), nameof(WandbLaunchQueueItem), nameof(WandbLaunchAgent), nameof(AgentEvent)];

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var (server, entity, project) = await WhereAsync();
        var all = await server.Queues.QueuesAsync(entity, project, Token);
        var (names, ids) = Wanted();
        foreach (var name in names)
        {
            var pattern = WildcardPattern.Get(name, WildcardOptions.IgnoreCase);
            var queues = all.Where(q => pattern.IsMatch(q.Name)).ToList();
            if (queues.Count == 0 && !WildcardPattern.ContainsWildcardCharacters(name))
            {
                Error(await server.Queues.QueueMissingAsync(entity, project, name, Token), name);
            }

            foreach (var queue in queues)
            {
                if (ids.Length == 0)
                {
                    await foreach (var item in server.Queues.ItemsAsync(queue, State, Token))
                    {
                        Output(item);
                    }

                    continue;
                }

                foreach (var id in ids)
                {
                    if (await server.Queues.ItemAsync(queue, id, Token) is { } item)
                    {
                        Output(item);
                    }
                    else if (queues.Count == 1)
                    {
                        Error(
                            new LaunchException(
                                "ItemNotFound",
                                LaunchErrorCategory.ObjectNotFound,
                                $"The queue {queue.Name} has no item {id}. See Get-WandbLaunchQueueItem {queue.Name}.",
                                id
                            ),
                            id
                        );
                    }
                }
            }
        }
    }

    // An item is itself and not its whole queue; an agent has several queues, and a name that is none of them.
    private (string[] Queues, string[] Ids) Wanted() =>
        Kind switch
        {
            nameof(WandbLaunchAgent) => (Texts("Queues"), Id),
            nameof(WandbLaunchQueueItem) when Id.Length == 0 => (Queue, Texts("Id")),
            nameof(AgentEvent) when Id.Length == 0 => (Queue, Texts("ItemId")),
            null when Id.Length == 0 && InputObject?.Properties["Queue"] is not null => (Queue, Texts("Id")),
            _ => (Queue, Id),
        };
}
