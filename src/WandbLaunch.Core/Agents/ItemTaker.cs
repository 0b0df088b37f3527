using WandbLaunch.Model;
using WandbLaunch.Resources;
using WandbLaunch.Wandb;

namespace WandbLaunch.Agents;

/// <summary>Takes items from the queues, in their order, and waits for more. Each is in the journal before anything is made of it.</summary>
internal sealed class ItemTaker(
    AgentConfig config,
    AgentHome home,
    AgentRegistration registration,
    ServerLink link,
    AgentQueues queues,
    ResourceCatalog resources,
    AgentSlots slots,
    AgentItems items,
    AgentLifetime lifetime,
    AgentHeartbeat heartbeat,
    AgentTeller teller,
    TimeProvider time
)
{
    private static readonly TimeSpan WaitAtServer = TimeSpan.FromSeconds(25);
    private static readonly TimeSpan FirstPause = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan MostPause = TimeSpan.FromSeconds(10);

    // An item that was popped and is not acknowledged comes back after about this long.
    private static readonly TimeSpan HeldUp = TimeSpan.FromSeconds(30);

    // Fair: the queue that gave an item goes to the end.
    private readonly List<WandbRunQueue> _queues = [.. registration.Queues];

    // Queues in front of which an item stands that has to wait, since when.
    private readonly Dictionary<string, (string Resource, DateTimeOffset Since)> _heldUp = new(StringComparer.Ordinal);
    private TimeSpan _pause = FirstPause;
    private DateTimeOffset _nextRest;

    /// <summary>Takes an item: true; false when the queues are empty of what there is room for, null when there was no looking, for there is room for nothing just now.</summary>
    internal async Task<bool?> TakeNextAsync()
    {
        // The GPUs come first: an item that was popped without them would only wait for its lease to be over.
        var closed = slots.Closed();
        using var gpus = slots.Reserve(ref closed);
        if (!slots.IsAnyOpen(closed))
        {
            return null;
        }

        foreach (var queue in Open(closed))
        {
            if (await PopAsync(queue, closed) is not { } item)
            {
                continue;
            }

            if (config.QueueOrder == QueueOrder.Fair)
            {
                _queues.Remove(queue);
                _queues.Add(queue);
            }

            if (TryBegin(queue, item, gpus, closed))
            {
                _pause = FirstPause;
                return true;
            }
        }

        return closed.Count > 0 ? null : false;
    }

    /// <summary>The queues that may have an item that can begin: what a queue tells of its items, or showed when one was popped, decides before the next pop.</summary>
    private List<WandbRunQueue> Open(IReadOnlySet<string> closed)
    {
        var now = time.GetUtcNow();
        foreach (var (id, held) in _heldUp.ToList())
        {
            if (!closed.Contains(held.Resource) || now - held.Since >= HeldUp)
            {
                _heldUp.Remove(id);
            }
        }

        return
        [
            .. _queues.Where(q =>
                !_heldUp.ContainsKey(q.Id) && (queues.ResourceOf(q) is not { } resource || !closed.Contains(resource))
            ),
        ];
    }

    private string[] NamesOf(IReadOnlySet<string> closed) =>
        registration.Protocol.PopsByResource ? [.. closed.SelectMany(resources.NamesOf)] : [];

    private async Task<PoppedItem?> PopAsync(WandbRunQueue queue, IReadOnlySet<string> closed)
    {
        var except = NamesOf(closed);
        var item = await link.AskAsync(
            t =>
                registration.Protocol.PopAsync(
                    registration.Entity,
                    registration.QueueProject,
                    queue.Name,
                    registration.AgentId,
                    t,
                    except
                ),
            lifetime.NoMore
        );
        if (item is not null)
        {
            teller.Step("popped");
        }

        return item;
    }

    private bool TryBegin(WandbRunQueue queue, PoppedItem item, GpuReservation gpus, IReadOnlySet<string> closed)
    {
        var launchId = AgentJournal.LaunchIdOf(registration.ServerKey, item.Id);
        if (items.Has(launchId) || AgentJournal.TryHold(home.Store.DataFolder, launchId) is not { } held)
        {
            // The server's slip, or another agent of this machine was late to acknowledge it: it is held already, and runs once.
            return false;
        }

        var asked = LaunchConfig.Tolerant(item.Spec);
        var resource = resources.NameOf(asked);
        if (asked.IsScheduler ? slots.IsFullOfSchedulers : closed.Contains(resource))
        {
            // Not acknowledged: it goes back to its place (protocol F.3), and the queue is left alone until it is there.
            held.Dispose();
            if (!asked.IsScheduler)
            {
                _heldUp[queue.Id] = (resource, time.GetUtcNow());
            }

            return false;
        }

        var takesGpus = slots.TakesGpus(resource);
        var entry = new JournalEntry
        {
            LaunchId = launchId,
            Item = item.Id,
            Server = registration.ServerKey,
            Entity = registration.Entity,
            QueueProject = registration.QueueProject,
            Queue = queue.Name,
            QueueId = queue.Id,
            Spec = item.Spec,
            Fault = item.Fault,
            Taken = time.GetUtcNow(),
            Gpus = takesGpus ? gpus.Devices : null,
        };
        try
        {
            if (takesGpus)
            {
                gpus.GiveTo(launchId);
            }

            home.Journal.Save(entry);
        }
        catch
        {
            held.Dispose();
            throw;
        }

        teller.Step("journaled");
        items.Begin(entry, false, held);
        return true;
    }

    /// <summary>Waits for something to do: for an item where there is room for one, else for room, and for whatever wakes the agent.</summary>
    internal async Task RestAsync()
    {
        var woken = lifetime.Woken;
        using var rested = CancellationTokenSource.CreateLinkedTokenSource(lifetime.NoMore);
        var rest =
            !lifetime.Works || !slots.HasRoom() ? Task.Delay(TimeSpan.FromSeconds(1), time, CancellationToken.None)
            : registration.Protocol.CanWaitForWork ? WaitAtServerAsync(rested.Token)
            : PauseAsync(rested.Token);
        await Task.WhenAny(rest, woken);
        await rested.CancelAsync();
        lifetime.Rearm();
        try
        {
            await rest.WaitAsync(TimeSpan.FromSeconds(rest.IsCompleted ? 1 : 0), time);
        }
        catch (Exception e) when (e is OperationCanceledException or TimeoutException)
        {
            // Woken before.
        }
    }

    private async Task WaitAtServerAsync(CancellationToken token)
    {
        // A stop that was asked for between two waits wakes nobody.
        heartbeat.LookForStop();
        var from = time.GetUtcNow();
        var closed = slots.Closed();
        var (open, except) = (Open(closed).Select(q => q.Id).ToList(), NamesOf(closed));
        if (open.Count == 0)
        {
            await Task.Delay(FirstPause, time, token);
            return;
        }

        var ready = await link.AskAsync(
            t => registration.Protocol.WaitForWorkAsync(open, WaitAtServer, t, except),
            token
        );
        if (ready)
        {
            heartbeat.LookForStop();

            // Told of work that others took, or that is not for us: not again at once.
            if (from < _nextRest)
            {
                await Task.Delay(TimeSpan.FromMilliseconds(200), time, token);
            }
        }

        _nextRest = time.GetUtcNow().AddMilliseconds(100);
    }

    // Plain polling: often after work came, seldom when none does; never all agents at the same moment.
    private async Task PauseAsync(CancellationToken token)
    {
        await Task.Delay(_pause * (0.75 + (Random.Shared.NextDouble() * 0.5)), time, token);
        _pause = _pause * 1.5 > MostPause ? MostPause : _pause * 1.5;
        heartbeat.LookForStop();
    }
}
