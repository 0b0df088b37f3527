using System.ComponentModel;
using System.Diagnostics;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>Runs a program as a process of this machine. Words go as words: no shell on any platform.</summary>
/// <param name="ownProcess">True when this process is here for this run alone, and adopts its orphans.</param>
/// <param name="helper">The command of a process that starts a program and adopts its orphans, for where this one must not and there is no control group.</param>
internal sealed class LocalProcessRunner(bool ownProcess = false, Func<OwnCommand?>? helper = null) : IRunner
{
    private static readonly TimeSpan PipeGrace = TimeSpan.FromSeconds(2);

    public async Task<RunOutcome> RunAsync(
        RunSpec spec,
        IReadOnlyDictionary<string, string> secrets,
        IRunObserver observer,
        CancellationToken stop
    )
    {
        var cgroup = RunCgroup.TryCreate(spec.Id);
        try
        {
            return await RunAsync(spec, secrets, observer, cgroup, stop);
        }
        finally
        {
            // Still there only when nothing was started, or with -KeepChildren.
            if (cgroup is { IsEmpty: true })
            {
                cgroup.Remove();
            }
        }
    }

    private async Task<RunOutcome> RunAsync(
        RunSpec spec,
        IReadOnlyDictionary<string, string> secrets,
        IRunObserver observer,
        RunCgroup? cgroup,
        CancellationToken stop
    )
    {
        var start = StartInfo(spec, secrets, cgroup);
        var job = OperatingSystem.IsWindows() ? WindowsJob.TryCreate(spec.KeepChildren) : null;
        ChildProcess process;
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

        using var held = process;
        using var tree = new ProcessTree(process.Process, spec.Id, ownProcess, cgroup, job);
        observer.Started(process.Id, null, cgroup?.Path);
        process.StandardInput.Close();

        // Closed here: a Process leaves streams that were asked for to the collector.
        await using var standard = process.StandardOutput.BaseStream;
        await using var error = process.StandardError.BaseStream;
        using var ended = new CancellationTokenSource();
        var reaping = ownProcess ? ReapAsync(tree, ended.Token) : Task.CompletedTask;
        var output = Task.WhenAll(
            PumpAsync(standard, RunStream.Output, observer),
            PumpAsync(error, RunStream.Error, observer)
        );
        try
        {
            await process.WaitForExitAsync(stop);
        }
        catch (OperationCanceledException)
        {
            tree.Terminate();
            using var grace = new CancellationTokenSource(TimeSpan.FromSeconds(spec.StopGraceSeconds));
            try
            {
                await process.WaitForExitAsync(grace.Token);
            }
            catch (OperationCanceledException)
            {
                // The grace is over.
            }

            tree.Kill();
            await process.WaitForExitAsync(CancellationToken.None);
        }

        // A child that outlives the program may hold the pipes; what the program itself wrote is through by then.
        await WithinGraceAsync(output);
        if (!spec.KeepChildren || stop.IsCancellationRequested)
        {
            tree.EndRest();
            await WithinGraceAsync(output);
        }

        await ended.CancelAsync();
        await reaping;
        return new RunOutcome(
            process.ExitCode,
            process.ExitCode == 137 && !stop.IsCancellationRequested && !OperatingSystem.IsWindows()
                ? "killed (SIGKILL); the machine may be out of memory"
                : null
        );
    }

    private ProcessStartInfo StartInfo(RunSpec spec, IReadOnlyDictionary<string, string> secrets, RunCgroup? cgroup)
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
        foreach (var (name, value) in spec.Environment.Concat(secrets))
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
        IEnumerable<string> words = [program, .. spec.Command.Skip(1)];
        if (OperatingSystem.IsLinux() && !ownProcess && cgroup is null && helper?.Invoke() is { } command)
        {
            words = [.. command.Words, spec.KeepChildren ? "keep" : "end", .. words];
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

    private static async Task PumpAsync(Stream stream, RunStream kind, IRunObserver observer)
    {
        var buffer = new byte[65536];
        try
        {
            int read;
            while ((read = await stream.ReadAsync(buffer)) > 0)
            {
                observer.Output(kind, buffer.AsSpan(0, read));
            }
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException or OperationCanceledException)
        {
            // The pipe went away with the process.
        }
    }
}
