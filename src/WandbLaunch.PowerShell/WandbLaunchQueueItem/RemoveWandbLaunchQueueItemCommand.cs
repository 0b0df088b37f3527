using System.Management.Automation;
using System.Runtime.CompilerServices;
using WandbLaunch.Foundation;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Takes items out of a queue before they start.</summary>
/// <remarks>Removes runs that wait. One that an agent has taken already stays and is an error: stop its run instead. Asks before it removes.</remarks>
/// <example><para>Empty a queue</para><code>Connect-Wandb -Local; Get-WandbLaunchQueueItem gpu -State pending | Remove-WandbLaunchQueueItem -Confirm:$false</code><para>Runs that were started go on.</para></example>
/// <example><para>Which of one project would go?</para><code>Connect-Wandb -Local; Get-WandbLaunchQueueItem gpu -State pending | Where-Object Project -eq demo | Remove-WandbLaunchQueueItem -WhatIf</code><para>Removes nothing.</para></example>
/// <example><para>Take back what was just added</para><code>Connect-Wandb -Local; $items = Add-WandbLaunchQueueItem https://github.com/me/train -Grid @{ lr = 0.1, 0.01 } -Queue gpu; $items | Remove-WandbLaunchQueueItem -Confirm:$false</code><para>What Add-WandbLaunchQueueItem writes is what goes in.</para></example>
[Cmdlet(VerbsCommon.Remove, "WandbLaunchQueueItem", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.High)]
[OutputType("WandbLaunch.Wandb.WandbLaunchQueueItem")]
public sealed class RemoveWandbLaunchQueueItemCommand : QueueItemCommand
{
    // Together, for one request each would take longer than to fill the queue.
    private const int Most = 5000;

    private readonly List<(WandbRunQueue Queue, string Id, object? Item)> _pending = [];
    private readonly Dictionary<(string?, string?, string), WandbRunQueue> _known = [];
    private WandbConnection? _server;
    private bool? _asks;

    /// <summary>Write the items that were removed, as they were.</summary>
    [Parameter]
    public SwitchParameter PassThru { get; set; }

    /// <summary>Where nothing is to be asked and the queue is known, an item is only noted.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    protected override bool ProcessNow()
    {
        _asks ??= MayAsk(ConfirmImpact.High);
        if (
            _asks.Value
            || _pending.Count + Id.Length > Most
            || Kind is not (nameof(WandbLaunchQueueItem) or null)
            || (PassThru && Kind is null)
            || !_known.TryGetValue((Entity, QueueProject, Queue), out var queue)
        )
        {
            return false;
        }

        foreach (var id in Id)
        {
            _pending.Add((queue, id, InputObject));
        }

        return true;
    }

    private protected override async Task ActAsync(WandbConnection server, WandbRunQueue queue, string id)
    {
        if (
            !await ShouldProcessAsync(
                $"item {id} of {queue.Entity}/{queue.QueueProject}/{queue.Name}",
                "Remove queue item"
            )
        )
        {
            return;
        }

        _server = server;
        _known[(Entity, QueueProject, Queue)] = queue;
        object? item = Kind == nameof(WandbLaunchQueueItem) ? InputObject : null;
        if (PassThru && item is null)
        {
            item = await server.Queues.ItemAsync(queue, id, Token);
        }

        _pending.Add((queue, id, item));
        if (_pending.Count >= Most)
        {
            await RemoveAsync();
        }
    }

    /// <inheritdoc/>
    protected override Task EndAsync() => RemoveAsync();

    private async Task RemoveAsync()
    {
        var queues = _pending.GroupBy(p => p.Queue, p => (p.Id, p.Item)).ToList();
        _pending.Clear();
        foreach (var queue in queues)
        {
            var items = queue.ToList();
            string[] ids = [.. items.Select(i => i.Id)];
            IReadOnlyList<bool> removed;
            try
            {
                removed = await _server!.Queues.DeleteItemsAsync(queue.Key, ids, Token);
            }
            catch (LaunchException e) when (ids.Length > 1)
            {
                Error(
                    new LaunchException(
                        e.ErrorId,
                        e.Category,
                        $"Not all of these {ids.Length} items were removed: {e.Message}",
                        ids,
                        e
                    )
                );
                continue;
            }

            for (var i = 0; i < ids.Length; i++)
            {
                if (!removed[i])
                {
                    Error(await WhyAsync(_server, queue.Key, ids[i]), ids[i]);
                }
                else if (PassThru)
                {
                    Output(items[i].Item);
                }
            }
        }
    }

    private async Task<LaunchException> WhyAsync(WandbConnection server, WandbRunQueue queue, string id)
    {
        var item = await server.Queues.ItemAsync(queue, id, Token);
        return item is null
            ? new LaunchException(
                "ItemNotFound",
                LaunchErrorCategory.ObjectNotFound,
                $"The queue {queue.Name} has no item {id}. See Get-WandbLaunchQueueItem {queue.Name}.",
                id
            )
            : new LaunchException(
                "ItemStarted",
                LaunchErrorCategory.InvalidOperation,
                $"The item {id} is {item.State} already and stays in the queue's list.{(item.RunId is null ? "" : $" Its run is {item.RunId}: stop it with Stop-WandbLaunch on the agent's machine.")}",
                item
            );
    }
}
