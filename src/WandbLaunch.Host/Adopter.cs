using System.ComponentModel;
using System.Diagnostics;
using System.Runtime.InteropServices;
using WandbLaunch.Foundation;

namespace WandbLaunch.Host;

/// <summary>Stands between a shell and a program, where there is no control group: it gets the program's orphans, so that they are found, and ends with its exit code. Streams and environment go through untouched.</summary>
internal static class Adopter
{
    private static readonly TimeSpan PipeGrace = TimeSpan.FromSeconds(2);

    internal static async Task<int> RunAsync(IReadOnlyList<string> command, bool keep)
    {
        LinuxProcesses.AdoptOrphans();

        // Who ends the run signals the program as well; this process ends after it.
        using var interrupt = PosixSignalRegistration.Create(PosixSignal.SIGINT, c => c.Cancel = true);
        using var terminate = PosixSignalRegistration.Create(PosixSignal.SIGTERM, c => c.Cancel = true);
        var start = new ProcessStartInfo(command[0], command.Skip(1)) { UseShellExecute = false };
        using var process = new Process { StartInfo = start };
        try
        {
            process.Start();
        }
        catch (Win32Exception e)
        {
            await Console.Error.WriteLineAsync($"'{command[0]}' cannot be started: {e.Message}");
            return 126;
        }

        var id = process.Id;
        var ended = process.WaitForExitAsync();
        while (await Task.WhenAny(ended, Task.Delay(500)) != ended)
        {
            LinuxProcesses.Reap(id);
        }

        if (!keep)
        {
            using var tree = new ProcessTree(process, "", adopts: true);
            for (var clock = Stopwatch.StartNew(); clock.Elapsed < PipeGrace && tree.HasMembers; )
            {
                await Task.Delay(20);
                tree.Reap();
            }

            tree.Kill();
        }

        return process.ExitCode;
    }
}
