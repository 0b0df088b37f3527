using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Launching;

/// <summary>Watches one run from start to end and writes down what happens. Runs in the shell, or in a host process of its own for -NoWait.</summary>
internal sealed class Supervisor : IRunObserver, IDisposable
{
    private static readonly TimeSpan SavePause = TimeSpan.FromMilliseconds(500);

    /// <summary>How long a shell waits for room on the disk; what could not be written by then is written later, while it lives.</summary>
    private static readonly TimeSpan ShellPatience = TimeSpan.FromSeconds(10);

    private readonly string _folder;
    private readonly RunLog _log;
    private readonly Utf8Pieces[] _pieces = [new(), new()];
    private readonly Action<ReadOnlyMemory<byte>>? _output;
    private readonly Action<LaunchedRun>? _changed;
    private readonly object _lock = new();
    private LaunchedRun _run;
    private bool _saved = true;

    private Supervisor(
        string folder,
        LaunchedRun run,
        long? maxLogSize,
        bool again,
        Action<ReadOnlyMemory<byte>>? output,
        Action<LaunchedRun>? changed
    )
    {
        _folder = folder;
        _run = run;
        _output = output;
        _changed = changed;
        _log = new RunLog(run.LogPath!, maxLogSize, again);
    }

    internal static IRunner RunnerFor(string resource, bool ownProcess) =>
        resource switch
        {
            "local-process" => new LocalProcessRunner(ownProcess, HostProcess.Adopter),
            _ => new LocalContainerRunner(),
        };

    /// <summary>Runs to the end. Cancelling, or a stop asked for by any shell, ends the program first.</summary>
    /// <param name="folder">Folder of the launch.</param>
    /// <param name="spec">What to run.</param>
    /// <param name="secrets">Variables that are on no disk.</param>
    /// <param name="output">Told what the program prints, in whole characters.</param>
    /// <param name="changed">Told when the state changes.</param>
    /// <param name="ownProcess">True when this process is here for this run alone.</param>
    /// <param name="token">Cancels: the program is ended.</param>
    internal static async Task<LaunchedRun> RunAsync(
        string folder,
        RunSpec spec,
        IReadOnlyDictionary<string, string> secrets,
        Action<ReadOnlyMemory<byte>>? output,
        Action<LaunchedRun>? changed,
        bool ownProcess,
        CancellationToken token
    )
    {
        var held = await FileLock.EnterAsync(LaunchStore.LockPath(folder), CancellationToken.None);
        Supervisor? supervisor = null;
        var saving = Task.CompletedTask;
        try
        {
            var known = LaunchStore.Load(folder)!;
            if (known.IsDone)
            {
                return known;
            }

            // Started before, by a supervisor that is gone: a container is watched again, and its log read again from its start. A process is never started twice.
            var again = known.State != LaunchState.Starting;
            supervisor = new Supervisor(folder, known, spec.MaxLogSize, again, output, changed);
            await supervisor.RunAsync(spec, secrets, again, ownProcess, token);
            saving = supervisor.SaveEndAsync();
            if (ownProcess)
            {
                await saving;
            }
            else
            {
                await Task.WhenAny(saving, Task.Delay(ShellPatience, CancellationToken.None));
            }

            return supervisor._run;
        }
        finally
        {
            // The run is this process's until its end is on disk.
            _ = saving.ContinueWith(
                _ =>
                {
                    supervisor?.Dispose();
                    held.Dispose();
                },
                CancellationToken.None,
                TaskContinuationOptions.ExecuteSynchronously,
                TaskScheduler.Default
            );
        }
    }

    private async Task RunAsync(
        RunSpec spec,
        IReadOnlyDictionary<string, string> secrets,
        bool again,
        bool ownProcess,
        CancellationToken token
    )
    {
        RunOutcome outcome;
        string? fault = null;
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(token);
        using var done = new CancellationTokenSource();
        var watch = WatchForStopAsync(stop, done.Token);
        try
        {
            if (spec.Resource == "local-process" && (again || !TryMarkStarted(_folder)))
            {
                Change(r =>
                    r with
                    {
                        State = LaunchState.Unknown,
                        Finished = DateTimeOffset.UtcNow,
                        Reason = "the process that watched this run was ended, so its exit code is not known",
                    }
                );
                return;
            }

            outcome = await RunnerFor(spec.Resource, ownProcess).RunAsync(spec, secrets, this, stop.Token);
        }
        catch (OperationCanceledException)
        {
            outcome = new RunOutcome(null);
        }
        catch (LaunchException e)
        {
            outcome = new RunOutcome(null, e.Message);
            fault = e.ErrorId;
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            // A watcher that ends without a word would be taken for one that was killed, and its run be prepared again and again.
            outcome = new RunOutcome(null, Secrets.Mask(e.Message));
            fault = e is IOException or HttpRequestException or TimeoutException ? "MachineFailed" : "Unexpected";
        }
        finally
        {
            await done.CancelAsync();
            await watch;
        }

        var stopped = stop.IsCancellationRequested;
        foreach (var pieces in _pieces)
        {
            Write(pieces.Rest());
        }

        _log.TryComplete();
        Change(r =>
            r with
            {
                State =
                    stopped ? LaunchState.Stopped
                    : outcome is { ExitCode: 0 } ? LaunchState.Finished
                    : LaunchState.Failed,
                ExitCode = outcome.ExitCode,
                Reason = outcome.Reason,
                ErrorId = fault,
                OutOfMemory = outcome.OutOfMemory,
                Finished = DateTimeOffset.UtcNow,
            }
        );
    }

    public void Dispose() => _log.Dispose();

    public void Started(int? processId, string? containerId, string? cgroup = null) =>
        Change(r =>
            r with
            {
                State = LaunchState.Running,
                Started = r.Started ?? DateTimeOffset.UtcNow,
                ProcessId = processId,
                ContainerId = containerId,
                Cgroup = cgroup,
            }
        );

    public void Output(RunStream stream, ReadOnlySpan<byte> bytes)
    {
        byte[] whole;
        lock (_lock)
        {
            whole = _pieces[(int)stream].Add(bytes);
        }

        Write(whole);
    }

    private void Write(byte[] bytes)
    {
        if (bytes.Length == 0)
        {
            return;
        }

        _log.Write(bytes);
        if (_log.IsTruncated != _run.LogTruncated)
        {
            Change(r => r with { LogTruncated = true });
        }

        try
        {
            _output?.Invoke(bytes);
        }
        catch (Exception e)
            when (e is OperationCanceledException or ObjectDisposedException or InvalidOperationException)
        {
            // The shell that showed it is being stopped; the program must not wait for it.
        }
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
    private bool TrySave()
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

    // The exit code is nowhere else: it is kept until there is room for it. So is the end of the log, as long as that takes.
    private async Task SaveEndAsync()
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

                return;
            }

            await Task.Delay(SavePause, CancellationToken.None);
        }
    }

    private async Task WatchForStopAsync(CancellationTokenSource stop, CancellationToken done)
    {
        try
        {
            for (var i = 0; !LaunchStore.StopAsked(_folder); i++)
            {
                await Task.Delay(200, done);
                if (i % 5 == 0)
                {
                    TrySave();
                }
            }

            Change(r => r with { State = LaunchState.Stopping });
            await stop.CancelAsync();
        }
        catch (OperationCanceledException)
        {
            // The run ended by itself.
        }
    }
}
