using System.Collections;
using System.Management.Automation;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Completes ids of the items of a queue, newest first: those that the command can act on.</summary>
public sealed class ItemIdCompleter : LaunchCompleter
{
    // A longer queue is not read to its end for a Tab.
    private const int MostRead = 5000;

    private protected override IReadOnlyList<string> DependsOn => ["Queue", "Entity", "QueueProject"];

    private protected override bool OfCommand => true;

    private protected override async Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    )
    {
        if (WandbSession.Current is not { } server)
        {
            return [];
        }

        QueueItemState[] states = Command.ToUpperInvariant() switch
        {
            "REMOVE-WANDBLAUNCHQUEUEITEM" => [QueueItemState.Pending],
            "WAIT-WANDBLAUNCHQUEUEITEM" => [QueueItemState.Pending, QueueItemState.Leased, QueueItemState.Claimed],
            _ => [],
        };
        var names = All(bound, "Queue").Select(n => WildcardPattern.Get(n, WildcardOptions.IgnoreCase)).ToList();
        var items = new List<WandbLaunchQueueItem>();
        foreach (
            var queue in (await QueueCompleter.QueuesAsync(bound, token)).Where(q =>
                names.Count == 0 || names.Exists(n => n.IsMatch(q.Name))
            )
        )
        {
            await foreach (var item in server.Queues.ItemsAsync(queue, states, token))
            {
                items.Add(item);
                if (items.Count >= MostRead)
                {
                    break;
                }
            }
        }

        return
        [
            .. items
                .OrderByDescending(i => i.Created)
                .Select(i => (i.Id, $"{i.Queue}: {i.State} {i.Uri} {string.Join(' ', i.Arguments)}".TrimEnd())),
        ];
    }
}
