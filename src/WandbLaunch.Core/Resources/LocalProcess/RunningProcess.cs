using System.ComponentModel;
using System.Diagnostics;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>A program that this process started and looks after. Words go as words: no shell on any platform.</summary>
internal sealed class RunningProcess : IDisposable
{
    private static readonly TimeSpan PipeGrace = TimeSpan.FromSeconds(2);

    private readonly ChildProcess _process;
    private readonly ProcessTree _tree;
    private readonly RunCgroup? _cgroup;
    private readonly bool _keep;
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource<IRunLogSink> _reader = new(
        TaskCreationOptions.RunContinuationsAsynchronously
    );
    private readonly TaskCompletionSource _drained = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private TimeSpan _grace;

    private RunningProcess(ChildProcess process, ProcessTree tree, RunCgroup? cgroup, bool keep, SupervisorPlace place)
    {
        _process = process;
        _tree = tree;
        _cgroup = cgroup;
        _keep = keep;
        Id = process.Id;
        Ended = SuperviseAsync(place.IsOwn);
    }

    internal int Id { get; }

    /// <summary>Folder of its control group, where there is one.</summary>
    internal string? Cgroup => _cgroup?.Path;

    /// <summary>Done when it is over, with all that it left behind.</summary>
    internal Task<RunOutcome> Ended { get; }

    internal static RunningProcess Start(
        RunSpec spec,
        bool keep,
        IReadOnlyDictionary<string, string> secrets,
        SupervisorPlace place
    )
    {
        var cgroup = RunCgroup.TryCreate(place.Environment, spec.Id);
        var job = OperatingSystem.IsWindows() ? WindowsJob.TryCreate(keep) : null;
        ChildProcess? process = null;
        try
        {
            var start = StartInfo(spec, keep, secrets, cgroup, place);
            try
            {
                process = ChildProcess.Start(start, job);
            }
            catch (Win32Exception e) when (IsTooLarge(e))
            {
                CommandSize.Check(
                    start.Environment.Select(v => v.Key + "=" + v.Value),
                    spec.Command.Concat(spec.Arguments)
                );
                throw CommandSize.TooLarge(spec.Id, e);
            }
            catch (Win32Exception e)
            {
                throw new LaunchException(
                    "ProgramNotStarted",
                    LaunchErrorCategory.ResourceUnavailable,
                    $"'{spec.Command[0]}' cannot be started: {e.Message}. Is it a program that may be run, and are the arguments within what the system takes?",
                    spec.Command[0],
                    e
                );
            }

            var tree = new ProcessTree(process.Process, spec.Id, place.IsOwn, cgroup, job);
            process.StandardInput.Close();
            return new RunningProcess(process, tree, cgroup, keep, place);
        }
        catch
        {
            process?.Dispose();
            cgroup?.Remove();
            if (OperatingSystem.IsWindows())
            {
                job?.Dispose();
            }

            throw;
        }
    }

    /// <summary>After its end.</summary>
    public void Dispose() => _stop.Dispose();

    /// <summary>Reads what it prints, to the end. Until somebody does, it waits when its pipes are full.</summary>
    internal Task ReadAsync(IRunLogSink sink, CancellationToken token)
    {
        _reader.TrySetResult(sink);
        return _drained.Task.WaitAsync(token);
    }

    /// <summary>Asks it to end, and ends it after the grace.</summary>
    internal async Task StopAsync(TimeSpan grace)
    {
        _grace = grace;
        await _stop.CancelAsync();
        await Ended;
    }

    private async Task<RunOutcome> SuperviseAsync(bool reaps)
    {
        await Task.Yield();
        try
        {
            // Closed here: a Process leaves streams that were asked for to the collector.
            await using var standard = _process.StandardOutput.BaseStream;
            await using var error = _process.StandardError.BaseStream;
            using var ended = new CancellationTokenSource();
            var reaping = reaps ? ReapAsync(_tree, ended.Token) : Task.CompletedTask;
            var output = PumpAsync(standard, error);
            try
            {
                await _process.WaitForExitAsync(_stop.Token);
            }
            catch (OperationCanceledException)
            {
                _tree.Terminate();
                using var grace = new CancellationTokenSource(_grace);
                try
                {
                    await _process.WaitForExitAsync(grace.Token);
                }
                catch (OperationCanceledException)
                {
                    // The grace is over.
                }

                _tree.Kill();
                await _process.WaitForExitAsync(CancellationToken.None);
            }

            // A child that outlives the program may hold the pipes; what the program itself wrote is through by then.
            await WithinGraceAsync(output);
            if (!_keep || _stop.IsCancellationRequested)
            {
                _tree.EndRest();
                await WithinGraceAsync(output);
            }

            await ended.CancelAsync();
            await reaping;
            return new RunOutcome(
                _process.ExitCode,
                _process.ExitCode == 137 && !_stop.IsCancellationRequested && !OperatingSystem.IsWindows()
                    ? "killed (SIGKILL); the machine may be out of memory"
                    : null
            );
        }
        finally
        {
            _drained.TrySetResult();
            _tree.Dispose();
            _process.Dispose();

            // Still there only when nothing was started, or with -KeepChildren.
            if (_cgroup is { IsEmpty: true })
            {
                _cgroup.Remove();
            }
        }
    }

    private async Task PumpAsync(Stream standard, Stream error)
    {
        var sink = await _reader.Task;
        await Task.WhenAll(PumpAsync(standard, RunStream.Output, sink), PumpAsync(error, RunStream.Error, sink));
    }

    private static ProcessStartInfo StartInfo(
        RunSpec spec,
        bool keep,
        IReadOnlyDictionary<string, string> secrets,
        RunCgroup? cgroup,
        SupervisorPlace place
    )
    {
        var start = new ProcessStartInfo
        {
            WorkingDirectory = spec.WorkingFolder,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
            CreateNoWindow = true,
        };
        foreach (var (name, value) in spec.Environment)
        {
            start.Environment[name] = value;
        }

        foreach (var (name, value) in secrets)
        {
            start.Environment[name] = value;
        }

        start.Environment[ProcessTree.Cookie] = spec.Id;
        var program = ProgramPath.Resolve(
            spec.Command[0],
            spec.WorkingFolder,
            start.Environment.TryGetValue("PATH", out var path) ? path : null,
            OperatingSystem.IsWindows()
        );
        IEnumerable<string> words = [program, .. spec.Command.Skip(1), .. spec.Arguments];
        if (OperatingSystem.IsLinux() && !place.IsOwn && cgroup is null && place.Adopter?.Invoke() is { } command)
        {
            words = [.. command.Words, keep ? "keep" : "end", .. words];
            foreach (var (name, value) in command.Environment)
            {
                start.Environment[name] = value;
            }
        }

        start.FileName = words.First();
        foreach (var word in words.Skip(1))
        {
            start.ArgumentList.Add(word);
        }

        return start;
    }

    private static async Task WithinGraceAsync(Task output)
    {
        try
        {
            await output.WaitAsync(PipeGrace);
        }
        catch (TimeoutException)
        {
            // Somebody holds a pipe.
        }
    }

    private static async Task ReapAsync(ProcessTree tree, CancellationToken ended)
    {
        try
        {
            while (true)
            {
                await Task.Delay(500, ended);
                tree.Reap();
            }
        }
        catch (OperationCanceledException)
        {
            tree.Reap();
        }
    }

    // E2BIG; ERROR_FILENAME_EXCED_RANGE on Windows.
    private static bool IsTooLarge(Win32Exception e) => e.NativeErrorCode == (OperatingSystem.IsWindows() ? 206 : 7);

    private static async Task PumpAsync(Stream stream, RunStream kind, IRunLogSink sink)
    {
        var buffer = new byte[65536];
        try
        {
            int read;
            while ((read = await stream.ReadAsync(buffer)) > 0)
            {
                sink.Output(kind, buffer.AsSpan(0, read));
            }
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException or OperationCanceledException)
        {
            // The pipe went away with the process.
        }
    }
}
