using System.Runtime.InteropServices;
using System.Text;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Host;

/// <summary>Supervises one run after the shell that started it went on: <c>run FOLDER</c>, the secrets as one JSON line on standard input. Or is an agent without a shell (<c>agent CONFIG</c>), or the server.</summary>
internal static class Program
{
    // The server needs nothing of the rest, and its libraries are not loaded.
    private static Task<int> Main(string[] args)
    {
        if (OperatingSystem.IsWindows())
        {
            // Whoever reads a pipe of this process takes it for UTF-8; the console's code page is another.
            Console.OutputEncoding = new UTF8Encoding(false);
        }

        return args is ["server", var server, ..]
            ? Task.FromResult(ServerEntry.Run(server, args[2..]))
            : RunWithLibrariesAsync(args);
    }

    // In this order: nothing of the module's libraries is touched before they can be found.
    private static Task<int> RunWithLibrariesAsync(string[] args)
    {
        ShellEntry.FindLibraries();
        return RunAsync(args);
    }

    private static async Task<int> RunAsync(string[] args)
    {
        if (args is ["agent", _] or ["agent", _, "--home", _])
        {
            // Of a scheduled task, which has no variables of its own.
            if (args.Length > 2)
            {
                Environment.SetEnvironmentVariable("WANDBLAUNCH_HOME", args[3]);
            }

            return await AgentService.RunAsync(args[1]);
        }

        if (args is ["adopt", "keep" or "end", _, ..])
        {
            return await Adopter.RunAsync(args[2..], args[1] == "keep");
        }

        if (args is not ["run", var folder])
        {
            await Console.Error.WriteLineAsync(
                "usage: WandbLaunch.Host run FOLDER | agent CONFIG | adopt keep|end PROGRAM [WORD…] | server ASSEMBLY [WORD…]"
            );
            return 2;
        }

        // Beside what this thread does: what the start of a program takes is loaded by then.
        _ = Task.Run(HostProcess.GetReady);

        // The end of the terminal is not the end of the run.
        OwnSession.Begin();

        LinuxProcesses.AdoptOrphans();
        using var ignore = PosixSignalRegistration.Create(PosixSignal.SIGHUP, c => c.Cancel = true);
        var resources = new ResourceCatalog(new LaunchContext(), new SupervisorPlace(true));

        // Whoever started this process prepares the run meanwhile. No line: the launch came to nothing, or its launcher is gone.
        if (await Console.In.ReadLineAsync() is not { } line)
        {
            return 0;
        }

        var secrets = HostProcess.ReadSecrets(line);
        foreach (var secret in secrets.Values)
        {
            Secrets.Register(secret);
        }

        // Whoever started this process goes on as soon as the run is in safe hands, and need not see its program start.
        var end = await new Supervision(resources).RunAsync(
            folder,
            LaunchStore.LoadSpec(folder),
            secrets,
            null,
            null,
            true,
            CancellationToken.None,
            () => Console.Out.WriteLine(HostProcess.Watching)
        );
        return end.State == LaunchState.Finished ? 0 : 1;
    }
}
