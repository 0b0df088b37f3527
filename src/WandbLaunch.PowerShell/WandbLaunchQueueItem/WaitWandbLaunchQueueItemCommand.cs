using System.Diagnostics;
using System.Management.Automation;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Waits until items are done.</summary>
/// <remarks>Writes each item when its run has ended, or with -Started when an agent has taken it. An item that failed is written and is an error as well. On servers that do not record the end of items, the state of the item's run is what counts.</remarks>
/// <example><para>Queue and wait</para><code>Connect-Wandb -Local; Get-WandbLaunchQueueItem gpu -State failed | Wait-WandbLaunchQueueItem -Timeout 60</code><para>Those that are done already are written at once.</para></example>
/// <example><para>Wait for an agent to take them</para><code>Connect-Wandb -Local; Get-WandbLaunchQueueItem gpu -State claimed | Wait-WandbLaunchQueueItem -Started</code><para>Ends when all have a run.</para></example>
/// <example><para>Go on with what was made when all are done</para><code>Connect-Wandb -Local; Get-WandbLaunchQueueItem gpu | Where-Object State -in failed, finished | Wait-WandbLaunchQueueItem | Sort-Object Finished | Select-Object Id, State, RunUri</code><para>Items that are done need no waiting.</para></example>
[Cmdlet(VerbsLifecycle.Wait, "WandbLaunchQueueItem")]
[OutputType("WandbLaunch.Wandb.WandbLaunchQueueItem")]
public sealed class WaitWandbLaunchQueueItemCommand : QueueItemCommand
{
    /// <summary>Seconds to wait at most, for all of them together, from the start of the command. Default: no limit.</summary>
    [Parameter]
    [ValidateRange(0, int.MaxValue)]
    public int? Timeout { get; set; }

    /// <summary>Wait only until an agent has taken the item.</summary>
    [Parameter]
    public SwitchParameter Started { get; set; }

    // Waiting is what it is for: a server that restarts meanwhile is waited for too.
    private protected override TimeSpan Patience =>
        TimeSpan.FromSeconds(Timeout is { } seconds and < 600 ? Math.Max(40, seconds) : 600);

    private readonly Stopwatch _clock = Stopwatch.StartNew();

    private protected override async Task ActAsync(WandbConnection server, WandbRunQueue queue, string id)
    {
        var wait = 200;
        while (true)
        {
            var item =
                await server.Queues.ItemAsync(queue, id, Token)
                ?? throw new LaunchException(
                    "ItemNotFound",
                    LaunchErrorCategory.ObjectNotFound,
                    $"The queue {queue.Name} has no item {id}. Was it removed?",
                    id
                );
            item = await WithRunStateAsync(server, item);
            if (item.IsDone || (Started && item.State == QueueItemState.Claimed))
            {
                Output(item);
                if (item.State == QueueItemState.Failed && !Started)
                {
                    throw new LaunchException(
                        "ItemFailed",
                        LaunchErrorCategory.OperationStopped,
                        $"The item {id} of the queue {queue.Name} failed: {item.Error ?? "its run failed"}",
                        item
                    );
                }

                return;
            }

            if (_clock.Elapsed.TotalSeconds >= Timeout)
            {
                throw new LaunchException(
                    "WaitTimeout",
                    LaunchErrorCategory.OperationTimeout,
                    $"The item {id} is still {item.State} after {Timeout} s.{(item.State == QueueItemState.Pending ? " Does an agent run for its queue? See Get-WandbLaunchAgent." : "")}",
                    item
                );
            }

            await Task.Delay(
                Timeout is { } most ? (int)Math.Clamp((most * 1000L) - _clock.ElapsedMilliseconds, 1, wait) : wait,
                Token
            );
            wait = Math.Min(wait * 2, 5000);
        }
    }

    private async Task<WandbLaunchQueueItem> WithRunStateAsync(WandbConnection server, WandbLaunchQueueItem item)
    {
        if (
            item is not { State: QueueItemState.Claimed, RunId: { } run, Project: { } project }
            || (await server.Api.ProtocolAsync(Token)).ItemsTellTheirEnd
        )
        {
            return item;
        }

        string? state;
        try
        {
            state = await server.Api.RunStateAsync(
                new RunPath(LaunchConfig.Tolerant(item.Spec).Entity ?? item.Entity, project, run),
                Token
            );
        }
        catch (LaunchException e) when (e.ErrorId is "GraphQLError" or "ProjectNotFound")
        {
            // The run has not called wandb.init yet.
            return item;
        }

        return state switch
        {
            "finished" => item with { State = QueueItemState.Finished },
            "failed" or "crashed" => item with { State = QueueItemState.Failed, Error = $"its run {run} is {state}" },
            "killed" => item with { State = QueueItemState.Stopped },
            _ => item,
        };
    }
}
