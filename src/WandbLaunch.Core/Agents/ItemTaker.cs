using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.Agents;

/// <summary>Takes items from the queues, in their order, and waits for more. Each is in the journal before anything is made of it.</summary>
internal sealed class ItemTaker(
    AgentConfig config,
    AgentHome home,
    AgentRegistration registration,
    ServerLink link,
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

    // Fair: the queue that gave an item goes to the end.
    private readonly List<WandbRunQueue> _queues = [.. registration.Queues];
    private readonly string[] _queueIds = [.. registration.Queues.Select(q => q.Id)];
    private TimeSpan _pause = FirstPause;
    private DateTimeOffset _nextRest;

    /// <summary>Takes an item: true; false when the queues are empty, null when there was no looking, for the GPUs are another agent's just now.</summary>
    internal async Task<bool?> TakeNextAsync()
    {
        // The GPUs come first: an item that was popped without them would only wait for its lease to be over.
        using var gpus = slots.TryReserve();
        if (gpus is null)
        {
            return null;
        }

        foreach (var queue in _queues.ToList())
        {
            if (await PopAsync(queue) is not { } item)
            {
                continue;
            }

            if (config.QueueOrder == QueueOrder.Fair)
            {
                _queues.Remove(queue);
                _queues.Add(queue);
            }

            if (TryBegin(queue, item, gpus))
            {
                _pause = FirstPause;
                return true;
            }
        }

        return false;
    }

    private async Task<PoppedItem?> PopAsync(WandbRunQueue queue)
    {
        var item = await link.AskAsync(
            t =>
                registration.Protocol.PopAsync(
                    registration.Entity,
                    registration.QueueProject,
                    queue.Name,
                    registration.AgentId,
                    t
                ),
            lifetime.NoMore
        );
        if (item is not null)
        {
            teller.Step("popped");
        }

        return item;
    }

    private bool TryBegin(WandbRunQueue queue, PoppedItem item, GpuReservation gpus)
    {
        var launchId = AgentJournal.LaunchIdOf(registration.ServerKey, item.Id);
        if (items.Has(launchId) || AgentJournal.TryHold(home.Store.DataFolder, launchId) is not { } held)
        {
            // The server's slip, or another agent of this machine was late to acknowledge it: it is held already, and runs once.
            return false;
        }

        if (LaunchConfig.Tolerant(item.Spec).IsScheduler && slots.IsFullOfSchedulers)
        {
            // Not acknowledged: it goes back to its place (protocol F.3).
            held.Dispose();
            return false;
        }

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
            Gpus = gpus.Devices,
        };
        try
        {
            gpus.GiveTo(launchId);
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
        var ready = await link.AskAsync(t => registration.Protocol.WaitForWorkAsync(_queueIds, WaitAtServer, t), token);
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
