using System.ComponentModel;
using System.Diagnostics;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>Runs a program as a process of this machine. Words go as words: no shell on any platform.</summary>
internal sealed class LocalProcessRunner : IRunner
{
    public async Task<RunOutcome> RunAsync(
        RunSpec spec,
        IReadOnlyDictionary<string, string> secrets,
        IRunObserver observer,
        CancellationToken stop
    )
    {
        var start = new ProcessStartInfo(spec.Command[0])
        {
            WorkingDirectory = spec.WorkingFolder,
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
            CreateNoWindow = true,
        };
        foreach (var word in spec.Command.Skip(1))
        {
            start.ArgumentList.Add(word);
        }

        foreach (var (name, value) in spec.Environment.Concat(secrets))
        {
            start.Environment[name] = value;
        }

        start.Environment[ProcessTree.Cookie] = spec.Id;
        using var process = new Process { StartInfo = start };
        try
        {
            process.Start();
        }
        catch (Win32Exception e)
        {
            throw new LaunchException(
                "ProgramNotStarted",
                LaunchErrorCategory.ResourceUnavailable,
                $"'{spec.Command[0]}' cannot be started: {e.Message}. Is it installed, and are the arguments within what the system takes?",
                spec.Command[0],
                e
            );
        }

        using var tree = new ProcessTree(process, spec.Id);
        observer.Started(process.Id, null);
        process.StandardInput.Close();
        var output = Task.WhenAll(
            PumpAsync(process.StandardOutput.BaseStream, observer),
            PumpAsync(process.StandardError.BaseStream, observer)
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
        await Task.WhenAny(output, Task.Delay(TimeSpan.FromSeconds(2), CancellationToken.None));
        if (!output.IsCompleted)
        {
            tree.Kill();
            await Task.WhenAny(output, Task.Delay(TimeSpan.FromSeconds(2), CancellationToken.None));
        }

        return new RunOutcome(
            process.ExitCode,
            process.ExitCode == 137 && !stop.IsCancellationRequested
                ? "killed (SIGKILL); the machine may be out of memory"
                : null
        );
    }

    private static async Task PumpAsync(Stream stream, IRunObserver observer)
    {
        var buffer = new byte[65536];
        try
        {
            int read;
            while ((read = await stream.ReadAsync(buffer)) > 0)
            {
                observer.Output(buffer.AsSpan(0, read));
            }
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            // The pipe went away with the process.
        }
    }
}
