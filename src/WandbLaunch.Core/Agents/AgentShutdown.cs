namespace WandbLaunch.Agents;

/// <summary>The ways to end an agent. The stronger counts, whatever the order.</summary>
internal sealed class AgentShutdown(AgentLifetime lifetime, AgentItems items, AgentTeller teller, AgentBoard board)
{
    private string Runs => $"{items.Count} {(items.Count == 1 ? "run" : "runs")}";

    /// <summary>Takes no more items and ends after the runs.</summary>
    internal void Drain(string why, bool asked = true)
    {
        if (!lifetime.TryDrain(why, asked))
        {
            return;
        }

        teller.Tell(AgentEventKind.Draining, null, $"{why}; {(items.IsEmpty ? "nothing runs" : $"waits for {Runs}")}");
        board.Save();
        lifetime.Wake();
    }

    /// <summary>Stops the runs and ends.</summary>
    internal void Stop(string why)
    {
        if (!lifetime.TryStop(why))
        {
            return;
        }

        teller.Tell(AgentEventKind.Draining, null, $"{why}; {(items.IsEmpty ? "nothing runs" : $"stops {Runs}")}");
        lifetime.Wake();
    }
}
