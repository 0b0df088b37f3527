namespace WandbLaunch.Agents;

/// <summary>One tick a second for all that is looked at: each waking of an idle process costs more than what it does then.</summary>
internal sealed class AgentTicker(
    AgentConfig config,
    string folder,
    AgentAdoption adoption,
    AgentPruning pruning,
    AgentHeartbeat heartbeat,
    AgentLifetime lifetime,
    AgentShutdown shutdown,
    AgentItems items,
    AgentCounts counts,
    AgentBoard board,
    AgentCallbacks callbacks,
    TimeProvider time
)
{
    private static readonly TimeSpan Tick = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan AdoptEvery = TimeSpan.FromSeconds(20);
    private static readonly TimeSpan PruneEvery = TimeSpan.FromHours(6);
    private static readonly TimeSpan RestAfter = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan EndLimit = TimeSpan.FromSeconds(2);

    private DateTimeOffset _adopted;
    private DateTimeOffset _pruned;
    private DateTimeOffset _worked;
    private int _begun;
    private bool _busy;
    private Task _ticking = Task.CompletedTask;

    internal void Start()
    {
        adoption.Adopt();
        pruning.Prune();
        _adopted = _pruned = time.GetUtcNow();
        _ticking = Task.Run(TickAsync);
    }

    /// <summary>Waits a little for the last tick.</summary>
    internal async Task EndAsync() =>
        await _ticking.WaitAsync(EndLimit, time).ContinueWith(static _ => { }, TaskScheduler.Default);

    private async Task TickAsync()
    {
        while (lifetime.Mode != AgentMode.Detaching && !board.HasLeft)
        {
            await Task.Delay(Tick, time);
            var now = time.GetUtcNow();
            try
            {
                Look(now);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Being written just now; the next look sees it.
            }

            NoteRest(now);
            heartbeat.Beat();
        }

        await heartbeat.Current;
    }

    private void Look(DateTimeOffset now)
    {
        if (config.Until is { } until && now >= until && lifetime.Works)
        {
            shutdown.Drain($"the time is over ({until.ToLocalTime():yyyy-MM-dd HH:mm:ss})", false);
        }

        ReadMarker();
        if (now - _adopted > AdoptEvery)
        {
            _adopted = now;
            adoption.Adopt();
        }

        if (now - _pruned > PruneEvery)
        {
            _pruned = now;
            pruning.Prune();
        }
    }

    // Whoever is on this machine can ask an agent to end, without a signal and without the server.
    private void ReadMarker()
    {
        switch (AgentStore.TakeStop(folder))
        {
            case "drain":
                shutdown.Drain("asked to stop after its runs");
                break;
            case "stop":
                shutdown.Stop("asked to stop with its runs");
                break;
            default:
                break;
        }
    }

    private void NoteRest(DateTimeOffset now)
    {
        if (!items.IsEmpty || counts.Begun != _begun)
        {
            (_begun, _busy, _worked) = (counts.Begun, true, now);
        }
        else if (_busy && now - _worked > RestAfter)
        {
            _busy = false;
            callbacks.Rests();
        }
    }
}
