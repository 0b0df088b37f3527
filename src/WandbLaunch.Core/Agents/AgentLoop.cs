using WandbLaunch.Foundation;

namespace WandbLaunch.Agents;

/// <summary>What an agent does from its start to its end: take an item, or rest, until there is a reason to end and nothing is left to wait for.</summary>
internal sealed class AgentLoop(
    AgentConfig config,
    string folder,
    ItemTaker taker,
    AgentSlots slots,
    AgentItems items,
    AgentCounts counts,
    AgentLifetime lifetime,
    AgentShutdown shutdown,
    ServerLink link,
    AgentBoard board,
    AgentTeller teller,
    TimeProvider time
)
{
    internal async Task RunAsync()
    {
        while (!IsOver())
        {
            if (!lifetime.Works || !await WorkAsync())
            {
                await taker.RestAsync();
                teller.Status(board.Line);
            }
        }
    }

    private bool IsOver() =>
        lifetime.Mode switch
        {
            AgentMode.Working => false,
            AgentMode.Detaching => true,
            // Reports that the server does not take are in the journal; the next agent hands them in.
            _ => link.IsAway ? !items.Working.Any() : items.IsEmpty,
        };

    /// <summary>Does what there is to do; false when there is nothing just now.</summary>
    private async Task<bool> WorkAsync()
    {
        if (config.MaxRuns is { } most && counts.Begun >= most)
        {
            shutdown.Drain($"-MaxRuns {most} are taken", false);
            return true;
        }

        await slots.LookAsync(lifetime.Closed);
        if (!slots.HasRoom())
        {
            return false;
        }

        // An item that ends may put another into its queue: what was seen while one was here says nothing of afterwards.
        var idle = items.IsEmpty;
        bool? gave;
        try
        {
            gave = await taker.TakeNextAsync();
        }
        catch (OperationCanceledException)
        {
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Nothing is acknowledged that is not in the journal: the item goes back when its lease is over, and the agent waits for room.
            teller.WarnOnce(
                $"No item is taken, for the agent's journal cannot be written: {DiskFull.Explain(e, folder)?.Message ?? e.Message}"
            );
            await Task.WhenAny(Task.Delay(TimeSpan.FromSeconds(5), time), lifetime.Woken);
            return false;
        }

        if (gave == true)
        {
            teller.ForgetWarning();
            return true;
        }

        if (gave == false && config.StopWhenEmpty && items.IsEmpty)
        {
            if (idle)
            {
                shutdown.Drain("the queues are empty", false);
            }

            return true;
        }

        return false;
    }
}
