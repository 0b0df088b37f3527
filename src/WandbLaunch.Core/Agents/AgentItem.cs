using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Resources;
using WandbLaunch.Wandb;

namespace WandbLaunch.Agents;

/// <summary>One item on its road: claim, prepare, start, watch, report. Each step is in the journal before the next one begins.</summary>
internal sealed class AgentItem(LaunchAgent agent, JournalEntry entry, bool adopted)
{
    private const int MostRefusals = 4;

    private HostProcess? _host;

    /// <summary>What the journal says of it; changed by <see cref="Save"/> alone.</summary>
    internal JournalEntry Entry { get; private set; } = entry;

    /// <summary>Taken over from an agent that ended.</summary>
    internal bool Adopted => adopted;

    internal bool IsReporting => Entry.State == EntryState.Ended;

    internal bool IsScheduler { get; } = entry.Config.IsScheduler;

    /// <summary>What it runs with, under its own name.</summary>
    internal string Resource { get; } = agent.Runs.Resources.NameOf(entry.Config);

    /// <summary>What is being done before the program runs.</summary>
    internal string Doing { get; set; } = "claiming";

    /// <summary>When the program began.</summary>
    internal DateTimeOffset? Since { get; set; }

    /// <summary>Its supervisor has it from this agent.</summary>
    internal bool HandedOver { get; set; }

    internal string Folder => agent.Runs.Folder(Entry.AttemptId);

    /// <summary>For the status line.</summary>
    internal string Describe() =>
        $"{ItemSpec.Shown(Entry.RunId, 64)} {(Since is { } from ? (agent.Time.GetUtcNow() - from).ToString(@"hh\:mm\:ss", System.Globalization.CultureInfo.InvariantCulture) : Doing)}";

    /// <summary>The process that waits for the run, where it needs one: started as soon as the item is known to be good, beside all that is done until the run is prepared.</summary>
    internal HostProcess? Expect() =>
        _host ??= agent.Runs.Resources.Find(Resource) is { } resource
            ? agent.Supervision.Expect(Folder, resource)
            : null;

    /// <summary>It has its run, or there will be none.</summary>
    internal void LetHostGo()
    {
        _host?.Dispose();
        _host = null;
    }

    internal async Task RunAsync()
    {
        try
        {
            await GoAsync();
        }
        finally
        {
            LetHostGo();
        }
    }

    private async Task GoAsync()
    {
        if (adopted)
        {
            agent.Tell(
                AgentEventKind.ItemAdopted,
                Entry,
                $"was left {Entry.State.ToString().ToLowerInvariant()} by an agent that ended"
            );
        }

        if (Entry.State == EntryState.Popped && !await ClaimAsync())
        {
            return;
        }

        var start = new ItemStart(agent, this);
        while (Entry.State is EntryState.Claimed or EntryState.Started)
        {
            if (Entry.State == EntryState.Claimed)
            {
                await start.StartAsync();
            }

            if (Entry.State == EntryState.Started)
            {
                await new ItemWatch(agent, this, start).WatchAsync();
            }
        }

        agent.LeaveSlot(this);
        agent.Gpus?.Release(Entry.LaunchId);
        await new ItemReport(agent, this).ReportAsync();
        agent.Journal.Remove(Entry.LaunchId);
        agent.Step("reported");
    }

    /// <summary>Checks the item against the policy, and makes it this agent's. False when it is not, or refused.</summary>
    private async Task<bool> ClaimAsync()
    {
        LaunchException? refusal = null;
        try
        {
            _ = ItemPreparation.Prepare(agent, Entry);
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            // Whatever an item holds, it must fail with a reason, and not come back for ever.
            refusal =
                e as LaunchException
                ?? new LaunchException("Unexpected", LaunchErrorCategory.InvalidOperation, e.Message, null, e);
        }

        if (refusal is not null)
        {
            agent.Count(taken: true);
            var refused = refusal.ErrorId == AgentPolicy.Refusal;
            End(new EntryReport("FAILED", null, refusal.Message, "agent", null));
            agent.Tell(
                refused ? AgentEventKind.ItemRefused : AgentEventKind.ItemFailed,
                Entry,
                refusal.Message,
                fault: refusal.ErrorId
            );

            // Servers of 2022 are told by an ack with the run "None", so it must not have been acknowledged before.
            await new ItemReport(agent, this).ReportAsync(t =>
                agent.Protocol.FailAsync(Entry.Item, Entry.Report!.Message ?? "", "agent", [], false, t)
            );
            agent.Count(failed: true);
            agent.LeaveSlot(this);
            agent.Gpus?.Release(Entry.LaunchId);
            agent.Journal.Remove(Entry.LaunchId);
            return false;
        }

        var queue = new WandbRunQueue
        {
            Id = Entry.QueueId,
            Name = Entry.Queue,
            Entity = Entry.Entity,
            QueueProject = Entry.QueueProject,
        };
        var asked = adopted;
        bool mine;
        Expect();
        try
        {
            mine = await agent.AskAsync(
                t =>
                {
                    var before = asked;
                    asked = true;
                    return agent.Protocol.ClaimAsync(queue, Entry.Item, Entry.RunId, before, t);
                },
                agent.Stopping,
                MostRefusals
            );
        }
        catch (LaunchException e)
        {
            // An item of another entity, or one that was deleted: not this agent's.
            mine = false;
            agent.Tell(
                AgentEventKind.Warning,
                Entry,
                $"The item could not be acknowledged: {e.Message}",
                fault: e.ErrorId
            );
        }

        agent.Step("acknowledged");
        if (!mine)
        {
            // Its lease was over and somebody else has it.
            agent.Count(notOurs: true);
            agent.Gpus?.Release(Entry.LaunchId);
            agent.Journal.Remove(Entry.LaunchId);
            return false;
        }

        Save(Entry with { State = EntryState.Claimed });
        agent.Count(taken: true);
        agent.Tell(AgentEventKind.ItemTaken, Entry, Entry.Config.Source ?? "");
        agent.Step("claimed");
        return true;
    }

    internal void Finish(
        EntryReport report,
        AgentEventKind kind,
        string message,
        LaunchedRun? run,
        string? fault = null
    )
    {
        End(report);
        agent.Count(
            succeeded: report.State == "FINISHED",
            failed: report.State is not ("FINISHED" or "STOPPED"),
            stopped: report.State == "STOPPED"
        );
        agent.Tell(kind, Entry, message, run, fault);
        agent.Step("ended");
    }

    /// <summary>What the item shows of a run's standing: the engine's word, and which attempt it is.</summary>
    internal string? ReasonOf(LaunchedRun? run)
    {
        string?[] words =
        [
            run?.Reason,
            run is { Restarts: > 0 } && run.Reason?.Contains('×', StringComparison.Ordinal) != true
                ? $"the cluster began it again {run.Restarts}×"
                : null,
            Entry.Disruptions > 0
                ? $"attempt {Entry.Disruptions + 1}; the one before was lost: {Entry.Disrupted}"
                : null,
        ];
        return string.Join("; ", words.Where(w => !string.IsNullOrEmpty(w))) is { Length: > 0 } all ? all : null;
    }

    internal RunPath RunPathOf(LaunchedRun run) =>
        new(Entry.RunEntity, run.Project?.ToLowerInvariant() ?? "", Entry.RunId);

    internal void End(EntryReport report) =>
        Save(
            Entry with
            {
                State = EntryState.Ended,
                Report = report with
                {
                    Message = report.Message is null ? null : ItemSpec.Shown(Secrets.Mask(report.Message), 8000),
                },
            }
        );

    internal void Save(JournalEntry entry)
    {
        Entry = entry;
        try
        {
            agent.Journal.Save(entry);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The item was written down when it was taken. What it says then is what a killed agent would have left, from where the next one finds the run by its folder; this one goes on with what it knows.
            agent.Tell(
                AgentEventKind.Warning,
                Entry,
                $"The agent's journal cannot be written: {DiskFull.Explain(e, agent.Folder)?.Message ?? e.Message}"
            );
        }
    }
}
