using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Launching;

/// <summary>Watches one run from start to end and writes down what happens. Runs in the shell, or in a host process of its own for -NoWait.</summary>
internal sealed class Supervisor : IRunObserver, IDisposable
{
    private readonly string _folder;
    private readonly FileStream _log;
    private readonly Action<ReadOnlyMemory<byte>>? _output;
    private readonly Action<LaunchedRun>? _changed;
    private readonly object _lock = new();
    private LaunchedRun _run;

    private Supervisor(
        string folder,
        LaunchedRun run,
        bool again,
        Action<ReadOnlyMemory<byte>>? output,
        Action<LaunchedRun>? changed
    )
    {
        _folder = folder;
        _run = run;
        _output = output;
        _changed = changed;
        _log = new FileStream(
            run.LogPath!,
            again ? FileMode.Create : FileMode.Append,
            FileAccess.Write,
            FileShare.ReadWrite | FileShare.Delete,
            1
        );
    }

    internal static IRunner RunnerFor(string resource) =>
        resource switch
        {
            "local-process" => new LocalProcessRunner(),
            _ => new LocalContainerRunner(),
        };

    /// <summary>Runs to the end. Cancelling, or a stop asked for by any shell, ends the program first.</summary>
    internal static async Task<LaunchedRun> RunAsync(
        string folder,
        RunSpec spec,
        IReadOnlyDictionary<string, string> secrets,
        Action<ReadOnlyMemory<byte>>? output,
        Action<LaunchedRun>? changed,
        CancellationToken token
    )
    {
        using var gate = await FileLock.EnterAsync(LaunchStore.LockPath(folder), CancellationToken.None);
        var known = LaunchStore.Load(folder)!;
        if (known.IsDone)
        {
            return known;
        }

        // Started before, by a watcher that is gone: a container is watched again, and its log read again from its start. A process is never started twice.
        var again = known.State != LaunchState.Starting;
        using var supervisor = new Supervisor(folder, known, again, output, changed);
        if (spec.Resource == "local-process" && (again || !TryMarkStarted(folder)))
        {
            supervisor.Change(r =>
                r with
                {
                    State = LaunchState.Unknown,
                    Finished = DateTimeOffset.UtcNow,
                    Reason = "the process that watched this run was ended, so its exit code is not known",
                }
            );
            return supervisor._run;
        }

        using var stop = CancellationTokenSource.CreateLinkedTokenSource(token);
        using var done = new CancellationTokenSource();
        var watch = WatchForStopAsync(folder, supervisor, stop, done.Token);
        RunOutcome outcome;
        string? fault = null;
        try
        {
            outcome = await RunnerFor(spec.Resource).RunAsync(spec, secrets, supervisor, stop.Token);
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

        var stopped = stop.IsCancellationRequested;
        await done.CancelAsync();
        await watch;
        supervisor.Change(r =>
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
        return supervisor._run;
    }

    public void Dispose() => _log.Dispose();

    public void Started(int? processId, string? containerId) =>
        Change(r =>
            r with
            {
                State = LaunchState.Running,
                Started = r.Started ?? DateTimeOffset.UtcNow,
                ProcessId = processId,
                ContainerId = containerId,
            }
        );

    public void Output(ReadOnlySpan<byte> bytes)
    {
        lock (_lock)
        {
            _log.Write(bytes);
        }

        _output?.Invoke(bytes.ToArray());
    }

    private static bool TryMarkStarted(string folder)
    {
        try
        {
            using var marker = new FileStream(LaunchStore.StartedPath(folder), FileMode.CreateNew);
            return true;
        }
        catch (IOException) when (File.Exists(LaunchStore.StartedPath(folder)))
        {
            return false;
        }
    }

    private void Change(Func<LaunchedRun, LaunchedRun> change)
    {
        lock (_lock)
        {
            _run = change(_run);
            LaunchStore.Save(_folder, _run);
        }

        _changed?.Invoke(_run);
    }

    private static async Task WatchForStopAsync(
        string folder,
        Supervisor supervisor,
        CancellationTokenSource stop,
        CancellationToken done
    )
    {
        try
        {
            while (!LaunchStore.StopAsked(folder))
            {
                await Task.Delay(200, done);
            }

            supervisor.Change(r => r with { State = LaunchState.Stopping });
            await stop.CancelAsync();
        }
        catch (OperationCanceledException)
        {
            // The run ended by itself.
        }
    }
}
