using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Launching;

/// <summary>Looks after one run and writes down what happens: its state, its log, its end. Whoever holds the run's lock is its supervisor.</summary>
internal sealed class Supervisor : IRunLogSink, IDisposable
{
    private static readonly TimeSpan SavePause = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan MarkPause = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan LogPatience = TimeSpan.FromSeconds(30);

    private readonly string _folder;
    private readonly ILaunchResource _resource;
    private readonly RunLog _log;
    private readonly Utf8Pieces[] _pieces;
    private readonly Action<ReadOnlyMemory<byte>>? _output;
    private readonly Action<LaunchedRun>? _changed;
    private static readonly TimeSpan CtrlCPatience = TimeSpan.FromMilliseconds(300);

    private readonly object _lock = new();
    private readonly string? _from;
    private long _skip;
    private LaunchedRun _run;
    private bool _saved = true;
    private object? _position;
    private long _received;
    private (long Length, byte[] Output, byte[] Error) _reached = (0, [], []);
    private readonly TimeProvider _time;
    private long _marked;

    /// <param name="folder">Folder of the launch.</param>
    /// <param name="run">What is known of it.</param>
    /// <param name="resource">What runs it.</param>
    /// <param name="maxLogSize">Most bytes of the log.</param>
    /// <param name="output">Told what the program prints, in whole characters.</param>
    /// <param name="changed">Told when the state changes.</param>
    /// <param name="time">The clock, and every pause.</param>
    internal Supervisor(
        string folder,
        LaunchedRun run,
        ILaunchResource resource,
        long? maxLogSize,
        Action<ReadOnlyMemory<byte>>? output = null,
        Action<LaunchedRun>? changed = null,
        TimeProvider? time = null
    )
    {
        _time = time ?? TimeProvider.System;
        _marked = _time.GetTimestamp();
        _folder = folder;
        _run = run;
        _resource = resource;
        _output = output;
        _changed = changed;

        // Copied in part before: gone on with, or begun again where it is not known how far it is.
        var again = run.State != LaunchState.Starting;
        var mark = again ? LogMark.Load(folder, run.LogPath!) : null;
        _from = mark?.Position;
        _pieces = [new Utf8Pieces(mark?.Output), new Utf8Pieces(mark?.Error)];
        _log = new RunLog(run.LogPath!, maxLogSize, again && mark is null);
        _skip = mark is null ? 0 : _log.Length - mark.Length;
    }

    /// <summary>What is known of it now.</summary>
    internal LaunchedRun Run => _run;

    /// <summary>Started before, by a supervisor that is gone.</summary>
    private bool Again => _run.State != LaunchState.Starting;

    /// <summary>Starts it where that is still to be done. False when it is over before it began.</summary>
    internal async Task<bool> StartAsync(
        RunSpec spec,
        IReadOnlyDictionary<string, string> secrets,
        CancellationToken stop
    )
    {
        if (Again && _run.Handle is not null && _resource.Info.EngineRemembers)
        {
            return true;
        }

        try
        {
            if (!_resource.Info.EngineRemembers && (Again || !TryMarkStarted(_folder)))
            {
                End(LaunchState.Unknown, new RunOutcome(null, LaunchStore.SupervisorGone));
                return false;
            }

            var handle = Again
                ? await _resource.FindAsync(spec, stop)
                : await _resource.StartAsync(spec, secrets, stop);
            if (handle is null)
            {
                End(LaunchState.Unknown, new RunOutcome(null, LaunchStore.SupervisorGone));
                return false;
            }

            // Found again, the watch says which.
            var now = _resource.Info.Queues ? RunStanding.WaitsFor("it was handed over") : RunStanding.Runs;
            Change(r =>
                (r.State is LaunchState.Starting ? now.ApplyTo(r, _time.GetUtcNow()) : r) with
                {
                    Handle = handle,
                }
            );
            return true;
        }
        catch (OperationCanceledException)
        {
            End(LaunchState.Stopped, new RunOutcome(null));
        }
        catch (LaunchException e)
        {
            End(LaunchState.Failed, new RunOutcome(null, e.Message), e.ErrorId);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            // A supervisor that ends without a word would be taken for one that was killed, and its run be prepared again and again.
            End(
                LaunchState.Failed,
                new RunOutcome(null, Secrets.Mask(e.Message)),
                e is IOException or HttpRequestException or TimeoutException ? "MachineFailed" : "Unexpected"
            );
        }

        return false;
    }

    /// <summary>Follows a run that was started to its end. False when it was left before that.</summary>
    /// <param name="watch">Knows the ends of runs.</param>
    /// <param name="grace">What it gets to end by itself.</param>
    /// <param name="stop">Cancelled: the program is ended.</param>
    /// <param name="leave">Cancelled: the run is left to whoever looks next.</param>
    internal async Task<bool> FollowAsync(
        RunWatch watch,
        TimeSpan grace,
        CancellationToken stop,
        CancellationToken leave
    )
    {
        var run = _run;
        var lost = new TaskCompletionSource<RunOutcome>(TaskCreationOptions.RunContinuationsAsynchronously);
        using var reading = CancellationTokenSource.CreateLinkedTokenSource(leave);
        var logs = ReadLogAsync(run, true, reading.Token);
        var end = watch.EndOfAsync(run, Stands, reading.Token);
        using (stop.Register(() => _ = StopAsync(run, grace, lost)))
        {
            RunOutcome? outcome = null;
            try
            {
                outcome = await await Task.WhenAny(end, lost.Task);

                // All of it, however long that takes while it comes.
                for (var before = -1L; !logs.IsCompleted && before != Interlocked.Read(ref _received); )
                {
                    before = Interlocked.Read(ref _received);
                    await Task.WhenAny(logs, Task.Delay(LogPatience, _time, leave));
                    leave.ThrowIfCancellationRequested();
                }
            }
            catch (OperationCanceledException) when (leave.IsCancellationRequested)
            {
                // Left. What was read is kept, and where the reading goes on.
            }

            await reading.CancelAsync();
            await Task.WhenAny(logs, Task.Delay(LogPatience, _time, CancellationToken.None));
            if (outcome is null)
            {
                Leave();
                return false;
            }

            await HearCtrlCAsync(run, outcome, stop);
            Finish(outcome, stop.IsCancellationRequested);
            return true;
        }
    }

    // A terminal sends Ctrl+C to the program too, which may be gone before this shell has heard of it: that is no failure.
    private async Task HearCtrlCAsync(LaunchedRun run, RunOutcome outcome, CancellationToken stop)
    {
        if (
            outcome.ExitCode is not 0
            && run.Handle?.Kind == RunHandle.Process
            && !stop.IsCancellationRequested
            && !Console.IsInputRedirected
        )
        {
            await Task.WhenAny(Task.Delay(CtrlCPatience, _time, stop));
        }
    }

    /// <summary>Takes over what an engine knows of a run that is over.</summary>
    internal async Task CollectAsync(RunOutcome outcome, bool stopped, CancellationToken token)
    {
        await ReadLogAsync(_run, false, token);
        token.ThrowIfCancellationRequested();
        Finish(outcome, stopped);
    }

    /// <summary>Copies what a run printed up to now.</summary>
    internal async Task CopyLogAsync(CancellationToken token)
    {
        await ReadLogAsync(_run, false, token);
        Leave();
    }

    /// <summary>True when a limit of the run is over: it is to be stopped, and says why.</summary>
    internal bool IsOver(RunSpec spec)
    {
        if (LimitCheck.Apply(_run, spec, _time.GetUtcNow()) != _run)
        {
            Change(r => LimitCheck.Apply(r, spec, _time.GetUtcNow()));
        }

        return LimitCheck.IsOver(_run);
    }

    /// <summary>Told that somebody asked for a stop.</summary>
    internal void Stopping() => Change(r => r with { State = LaunchState.Stopping });

    public void Dispose() => _log.Dispose();

    public void Output(RunStream stream, ReadOnlySpan<byte> bytes)
    {
        lock (_lock)
        {
            _received += bytes.Length;
            Write(_pieces[(int)stream].Add(bytes));
        }
    }

    public void Reached(object position)
    {
        lock (_lock)
        {
            _position = position;
            _reached = (_log.Length, _pieces[0].Held, _pieces[1].Held);
            if (_skip == 0 && _time.GetElapsedTime(_marked) > MarkPause)
            {
                Mark();
            }
        }
    }

    private async Task ReadLogAsync(LaunchedRun run, bool follow, CancellationToken token)
    {
        try
        {
            await _resource.ReadLogAsync(run, _from, follow, this, token);
        }
        catch (Exception e) when (e is OperationCanceledException or LaunchException)
        {
            // Left, or an engine that is away: its watch says so.
        }
    }

    private async Task StopAsync(LaunchedRun run, TimeSpan grace, TaskCompletionSource<RunOutcome> lost)
    {
        try
        {
            await _resource.StopAsync(run, grace, CancellationToken.None);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            lost.TrySetResult(new RunOutcome(null, Secrets.Mask(e.Message)));
        }
    }

    private void Finish(RunOutcome outcome, bool stopped)
    {
        lock (_lock)
        {
            foreach (var pieces in _pieces)
            {
                Write(pieces.Rest());
            }
        }

        _log.TryComplete();
        End(
            stopped || outcome.Stopped ? LaunchState.Stopped
                : outcome is { ExitCode: 0 } ? LaunchState.Finished
                : LaunchState.Failed,
            outcome,
            outcome.Fault
        );
    }

    private void Stands(RunStanding standing)
    {
        if (standing.ApplyTo(_run, _time.GetUtcNow()) != _run)
        {
            Change(r => standing.ApplyTo(r, _time.GetUtcNow()));
        }
    }

    private void End(LaunchState state, RunOutcome outcome, string? fault = null) =>
        Change(r =>
            r with
            {
                State = LimitCheck.IsOver(r) ? LaunchState.Failed : state,
                ExitCode = outcome.ExitCode,
                Reason = LimitCheck.IsOver(r) ? r.Reason : outcome.Reason,
                IsStuck = false,
                ErrorId = LimitCheck.IsOver(r) ? r.ErrorId : fault,
                OutOfMemory = outcome.OutOfMemory,
                Started = outcome.Ran?.From ?? r.Started,
                Finished = outcome.Ran?.To ?? _time.GetUtcNow(),
            }
        );

    private void Write(byte[] bytes)
    {
        var known = (int)Math.Min(_skip, bytes.Length);
        _skip -= known;
        if (known == bytes.Length)
        {
            return;
        }

        _log.Write(bytes.AsSpan(known));
        if (_log.IsTruncated != _run.LogTruncated)
        {
            Change(r => r with { LogTruncated = true });
        }

        try
        {
            _output?.Invoke(bytes.AsMemory(known));
        }
        catch (Exception e)
            when (e is OperationCanceledException or ObjectDisposedException or InvalidOperationException)
        {
            // The shell that showed it is being stopped; the program must not wait for it.
        }
    }

    // The copy can be gone on with when nothing of it is missing and nothing waits to be added at its end.
    private void Mark()
    {
        _marked = _time.GetTimestamp();
        try
        {
            if (_position is not null && _log.IsPlain)
            {
                LogMark.Save(
                    _folder,
                    new LogMark(
                        _reached.Length,
                        _position.ToString()!,
                        Convert.ToBase64String(_reached.Output),
                        Convert.ToBase64String(_reached.Error)
                    )
                );
            }
            else
            {
                LogMark.Remove(_folder);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The one before it stays, and is as right.
        }
    }

    private void Leave()
    {
        lock (_lock)
        {
            if (_skip == 0)
            {
                Mark();
            }
        }

        TrySave();
    }

    private static bool TryMarkStarted(string folder)
    {
        try
        {
            FileModes
                .OpenPrivate(LaunchStore.StartedPath(folder), FileMode.CreateNew, FileAccess.Write, FileShare.None)
                .Dispose();
            return true;
        }
        catch (IOException) when (File.Exists(LaunchStore.StartedPath(folder)))
        {
            return false;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Nothing is started that could not be known to have been.
            throw DiskFull.Explain(e, folder)
                ?? new LaunchException(
                    "MachineFailed",
                    LaunchErrorCategory.WriteError,
                    $"The folder of the run cannot be written, so it is not started: {e.Message}",
                    folder,
                    e
                );
        }
    }

    private void Change(Func<LaunchedRun, LaunchedRun> change)
    {
        lock (_lock)
        {
            _run = change(_run);
            _saved = false;
            TrySave();
        }

        _changed?.Invoke(_run);
    }

    /// <summary>Writes the state down. On a full disk the one before it stays, and it is tried again.</summary>
    internal bool TrySave()
    {
        lock (_lock)
        {
            if (_saved)
            {
                return true;
            }

            _run = _run with { LogTruncated = _log.IsTruncated, Warnings = _log.Warnings };
            try
            {
                LaunchStore.Save(_folder, _run);
                _saved = true;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // A folder that was removed needs no state any more.
                _saved = !Directory.Exists(_folder);
            }

            return _saved;
        }
    }

    /// <summary>The exit code is nowhere else: it is kept until there is room for it. So is the end of the log, as long as that takes; then the engine may forget the run.</summary>
    internal async Task SaveEndAsync()
    {
        while (true)
        {
            var whole = _log.TryComplete();
            if (TrySave())
            {
                if (!whole)
                {
                    _log.TryComplete();
                }

                break;
            }

            await Task.Delay(SavePause, _time, CancellationToken.None);
        }

        try
        {
            LogMark.Remove(_folder);
            await _resource.ForgetAsync(_run, CancellationToken.None);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or LaunchException)
        {
            // What an engine that is away still has, the admin finds by its label.
        }
    }
}
