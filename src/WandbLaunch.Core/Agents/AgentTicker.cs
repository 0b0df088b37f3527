namespace WandbLaunch.Agents;

/// <summary>One tick for all that is looked at: a second apart while there is work, else when the next thing is due, or something happens. Each waking of an idle process costs more than what it does then.</summary>
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
) : IDisposable
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
    private volatile TaskCompletionSource _wake = NewWake();
    private AgentStopWatch? _stopAsked;

    private bool IsOver => lifetime.Mode == AgentMode.Detaching || board.HasLeft;

    internal void Start()
    {
        _stopAsked = new AgentStopWatch(AgentStore.StopPath(folder), Wake);
        lifetime.NoMore.Register(Wake);
        adoption.Adopt();
        pruning.Prune();
        _adopted = _pruned = time.GetUtcNow();
        _ticking = Task.Run(TickAsync);
    }

    /// <summary>Something has happened that is not to wait until the next tick is due.</summary>
    internal void Wake() => _wake.TrySetResult();

    /// <summary>Waits a little for the last tick.</summary>
    internal async Task EndAsync()
    {
        Wake();
        await _ticking.WaitAsync(EndLimit, time).ContinueWith(static _ => { }, TaskScheduler.Default);
    }

    public void Dispose() => _stopAsked?.Dispose();

    private async Task TickAsync()
    {
        while (!IsOver)
        {
            await PauseAsync();
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

    private async Task PauseAsync()
    {
        using var over = new CancellationTokenSource();
        var from = time.GetUtcNow();
        await Task.WhenAny(_wake.Task, Task.Delay(Pause(from), time, over.Token));
        await over.CancelAsync();

        // What happens again and again is no reason to tick more often.
        if (!IsOver && from + Tick - time.GetUtcNow() is var rest && rest > TimeSpan.Zero)
        {
            await Task.Delay(rest < Tick ? rest : Tick, time);
        }

        // What happens from here on wakes the next pause; what happened before is looked at now.
        _wake = NewWake();
    }

    private TimeSpan Pause(DateTimeOffset now)
    {
        if (!lifetime.Works || !items.IsEmpty || _busy || counts.Begun != _begun || _stopAsked is not { Tells: true })
        {
            return Tick;
        }

        var due = heartbeat.Due;
        foreach (var other in (DateTimeOffset?[])[_adopted + AdoptEvery, _pruned + PruneEvery, config.Until])
        {
            due = other < due ? other.Value : due;
        }

        return due - now > Tick ? due - now : Tick;
    }

    private static TaskCompletionSource NewWake() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    private void Look(DateTimeOffset now)
    {
        if (config.Until is { } until && now >= until && lifetime.Works)
        {
            shutdown.Drain($"the time is over ({until.ToLocalTime():yyyy-MM-dd HH:mm:ss})", false);
        }

        ReadMarker();
        if (now - _adopted >= AdoptEvery)
        {
            _adopted = now;
            adoption.Adopt();
        }

        if (now - _pruned >= PruneEvery)
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
