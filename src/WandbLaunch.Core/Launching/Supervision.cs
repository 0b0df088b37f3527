using System.Collections.Concurrent;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Launching;

/// <summary>The runs that this process looks after: a shell its own, a host the one that it is there for, an agent all whose engine remembers them.</summary>
internal sealed class Supervision(ResourceCatalog resources) : IDisposable
{
    /// <summary>How long a shell waits for room on the disk; what could not be written by then is written later, while it lives.</summary>
    private static readonly TimeSpan ShellPatience = TimeSpan.FromSeconds(10);

    private readonly TimeProvider _time = resources.Context.Time;
    private readonly RunWatch _watch = new(resources.Get, resources.Context.Time);
    private readonly ConcurrentDictionary<Task, byte> _background = new();
    private readonly ConcurrentDictionary<string, Supervisor> _supervisors = new(StringComparer.Ordinal);
    private readonly CancellationTokenSource _leave = new();

    /// <summary>Runs to the end. Cancelling, or a stop asked for by any shell, ends the program first.</summary>
    /// <param name="folder">Folder of the launch.</param>
    /// <param name="spec">What to run.</param>
    /// <param name="secrets">Variables that are on no disk.</param>
    /// <param name="output">Told what the program prints, in whole characters.</param>
    /// <param name="changed">Told when the state changes.</param>
    /// <param name="patient">True when this process is here for this run alone: it waits for room on the disk as long as that takes.</param>
    /// <param name="token">Cancels: the program is ended.</param>
    /// <param name="taken">Told when the run is this process's: before anything is started, or waited for.</param>
    internal async Task<LaunchedRun> RunAsync(
        string folder,
        RunSpec spec,
        IReadOnlyDictionary<string, string> secrets,
        Action<ReadOnlyMemory<byte>>? output,
        Action<LaunchedRun>? changed,
        bool patient,
        CancellationToken token,
        Action? taken = null
    )
    {
        var held = await FileLock.EnterAsync(LaunchStore.LockPath(folder), CancellationToken.None);
        taken?.Invoke();
        return await RunAsync(
            held,
            folder,
            spec,
            secrets,
            output,
            changed,
            patient ? Timeout.InfiniteTimeSpan : ShellPatience,
            token,
            CancellationToken.None
        );
    }

    /// <summary>Starts the process that a run will need, beside its preparation; null where it needs none.</summary>
    internal HostProcess? Expect(string folder, ILaunchResource resource) =>
        resource.Info.EngineRemembers ? null : HostProcess.Begin(resources.Context.Environment, folder);

    /// <summary>Starts a run and leaves it: to its engine, or to a host process of its own.</summary>
    /// <param name="folder">Folder of the launch.</param>
    /// <param name="spec">What to run.</param>
    /// <param name="secrets">Variables that are on no disk.</param>
    /// <param name="token">Cancels.</param>
    /// <param name="host">The process that waits for it, of <see cref="Expect"/>.</param>
    internal async Task LeaveAsync(
        string folder,
        RunSpec spec,
        IReadOnlyDictionary<string, string> secrets,
        CancellationToken token,
        HostProcess? host = null
    )
    {
        var resource = resources.Get(spec.Resource);
        if (!resource.Info.EngineRemembers || spec.HasLimits)
        {
            // An engine remembers how a run ended, but ends none because its time is over.
            await HandOverAsync(host, folder, secrets, token);
            return;
        }

        using var held = await FileLock.EnterAsync(LaunchStore.LockPath(folder), token);
        using var supervisor = new Supervisor(
            folder,
            LaunchStore.Load(folder)!,
            resource,
            spec.MaxLogSize,
            time: _time
        );
        if (!await supervisor.StartAsync(spec, secrets, token))
        {
            await supervisor.SaveEndAsync();
            token.ThrowIfCancellationRequested();
        }
    }

    /// <summary>Looks after a run in the background, until it is over or <see cref="LeaveAllAsync"/>; one that needs a process of its own gets it.</summary>
    /// <param name="folder">Folder of the launch.</param>
    /// <param name="spec">What to run.</param>
    /// <param name="secrets">Variables that are on no disk.</param>
    /// <param name="token">Cancels.</param>
    /// <param name="host">The process that waits for it, of <see cref="Expect"/>.</param>
    internal async Task TakeOnAsync(
        string folder,
        RunSpec spec,
        IReadOnlyDictionary<string, string> secrets,
        CancellationToken token,
        HostProcess? host = null
    )
    {
        if (!resources.Get(spec.Resource).Info.EngineRemembers)
        {
            await HandOverAsync(host, folder, secrets, token);
            return;
        }

        Track(folder, spec, secrets, await FileLock.EnterAsync(LaunchStore.LockPath(folder), token));
    }

    /// <summary>Goes on with a run whose supervisor is gone, as <see cref="TakeOnAsync"/>, unless somebody else has it.</summary>
    internal async Task TakeOverAsync(string folder, RunSpec spec, CancellationToken token)
    {
        var secrets = new Dictionary<string, string>();
        if (!resources.Get(spec.Resource).Info.EngineRemembers)
        {
            await HandOverAsync(null, folder, secrets, token);
        }
        else if (FileLock.TryEnter(LaunchStore.LockPath(folder)) is { } held)
        {
            Track(folder, spec, secrets, held);
        }
    }

    private Task HandOverAsync(
        HostProcess? host,
        string folder,
        IReadOnlyDictionary<string, string> secrets,
        CancellationToken token
    ) =>
        (host?.Folder == folder ? host : HostProcess.Of(resources.Context.Environment, folder)).HandOverAsync(
            secrets,
            token
        );

    /// <summary>A run that this process looks after, as it knows it now.</summary>
    internal LaunchedRun? Find(string folder) => _supervisors.GetValueOrDefault(folder)?.Run;

    private void Track(string folder, RunSpec spec, IReadOnlyDictionary<string, string> secrets, FileLock held) =>
        Track(
            Task.Run(
                () =>
                    RunAsync(
                        held,
                        folder,
                        spec,
                        secrets,
                        null,
                        null,
                        Timeout.InfiniteTimeSpan,
                        CancellationToken.None,
                        _leave.Token
                    ),
                CancellationToken.None
            )
        );

    /// <summary>Looks after a run that nobody looks after, as long as the token lasts. Null when somebody does.</summary>
    internal Task<LaunchedRun>? TryAttachAsync(string folder, CancellationToken leave)
    {
        var held = FileLock.TryEnter(LaunchStore.LockPath(folder));
        if (held is null)
        {
            return null;
        }

        if (
            LaunchStore.Load(folder) is { IsDone: false, Handle: not null } run
            && resources.Get(run.Resource).Info.EngineRemembers
        )
        {
            return RunAsync(
                held,
                folder,
                LaunchStore.LoadSpec(folder),
                new Dictionary<string, string>(),
                null,
                null,
                ShellPatience,
                CancellationToken.None,
                leave
            );
        }

        held.Dispose();
        return null;
    }

    public void Dispose() => _leave.Dispose();

    /// <summary>Leaves every run to whoever looks next.</summary>
    internal async Task LeaveAllAsync(TimeSpan patience)
    {
        await _leave.CancelAsync();
        await Task.WhenAny(Task.WhenAll(_background.Keys), Task.Delay(patience, _time));
    }

    private void Track(Task task)
    {
        _background.TryAdd(task, 0);
        _ = task.ContinueWith(
            t => _background.TryRemove(t, out _),
            CancellationToken.None,
            TaskContinuationOptions.ExecuteSynchronously,
            TaskScheduler.Default
        );
    }

    private async Task<LaunchedRun> RunAsync(
        FileLock held,
        string folder,
        RunSpec spec,
        IReadOnlyDictionary<string, string> secrets,
        Action<ReadOnlyMemory<byte>>? output,
        Action<LaunchedRun>? changed,
        TimeSpan patience,
        CancellationToken token,
        CancellationToken leave
    )
    {
        Supervisor? supervisor = null;
        var saving = Task.CompletedTask;
        try
        {
            var known = LaunchStore.Load(folder)!;
            if (known.IsDone)
            {
                return known;
            }

            supervisor = new Supervisor(
                folder,
                known,
                resources.Get(spec.Resource),
                spec.MaxLogSize,
                output,
                changed,
                _time
            );
            _supervisors[folder] = supervisor;
            if (!await SuperviseAsync(supervisor, folder, spec, secrets, token, leave))
            {
                return supervisor.Run;
            }

            saving = supervisor.SaveEndAsync();
            await Task.WhenAny(saving, Task.Delay(patience, _time, leave));
            return supervisor.Run;
        }
        finally
        {
            // The run is this process's until its end is on disk.
            _ = saving.ContinueWith(
                _ =>
                {
                    _supervisors.TryRemove(folder, out var _);
                    supervisor?.Dispose();
                    held.Dispose();
                },
                CancellationToken.None,
                TaskContinuationOptions.ExecuteSynchronously,
                TaskScheduler.Default
            );
        }
    }

    // False when it was left while it runs.
    private async Task<bool> SuperviseAsync(
        Supervisor supervisor,
        string folder,
        RunSpec spec,
        IReadOnlyDictionary<string, string> secrets,
        CancellationToken token,
        CancellationToken leave
    )
    {
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(token);
        using var done = new CancellationTokenSource();
        var asked = WatchForStopAsync(supervisor, folder, spec, stop, done.Token);
        try
        {
            return !await supervisor.StartAsync(spec, secrets, stop.Token)
                || await supervisor.FollowAsync(_watch, TimeSpan.FromSeconds(spec.StopGraceSeconds), stop.Token, leave);
        }
        finally
        {
            await done.CancelAsync();
            await asked;
        }
    }

    private async Task WatchForStopAsync(
        Supervisor supervisor,
        string folder,
        RunSpec spec,
        CancellationTokenSource stop,
        CancellationToken done
    )
    {
        try
        {
            for (var i = 0; !LaunchStore.StopAsked(folder) && !supervisor.IsOver(spec); i++)
            {
                // Runs of hours are looked at less often: an agent may have a thousand.
                await Task.Delay(TimeSpan.FromMilliseconds(i < 300 ? 200 : 1000), _time, done);
                if (i % 5 == 0)
                {
                    supervisor.TrySave();
                }
            }

            supervisor.Stopping();
            await stop.CancelAsync();
        }
        catch (OperationCanceledException)
        {
            // The run ended by itself.
        }
    }
}
