using System.Text;

namespace WandbLaunch.Server;

/// <summary>The local launch server: see <see cref="ServerArguments"/>.</summary>
internal static class Program
{
    private static async Task<int> Main(string[] args)
    {
        if (OperatingSystem.IsWindows())
        {
            // Whoever reads a pipe of this process takes it for UTF-8; the console's code page is another.
            Console.OutputEncoding = new UTF8Encoding(false);
        }

        if (!OperatingSystem.IsWindows())
        {
            // The database, what SQLite puts beside it and the artifacts are their owner's alone.
            _ = umask(0x3F);
        }

        if (Backups.BackupProgram.Run(args) is { } done)
        {
            return done;
        }

        // The key comes by the environment, so that no other user sees it in the process list.
        var key = Environment.GetEnvironmentVariable("WANDBLAUNCH_SERVER_KEY");
        if (
            ServerArguments.Read(
                args,
                key ?? "",
                Environment.GetEnvironmentVariable("WANDBLAUNCH_SERVER_CERTIFICATE_PASSWORD")
            )
            is not { } options
        )
        {
            await Console.Error.WriteLineAsync(ServerArguments.Usage);
            return 2;
        }

        if (string.IsNullOrEmpty(key))
        {
            await Console.Error.WriteLineAsync("WANDBLAUNCH_SERVER_KEY is not set");
            return 2;
        }

        // So does where alerts go, for such addresses hold secrets of their own.
        Uri? webhook = null;
        if (
            Environment.GetEnvironmentVariable("WANDBLAUNCH_SERVER_ALERT_WEBHOOK") is { Length: > 0 } address
            && (!Uri.TryCreate(address, UriKind.Absolute, out webhook) || webhook.Scheme is not ("http" or "https"))
        )
        {
            await Console.Error.WriteLineAsync("WANDBLAUNCH_SERVER_ALERT_WEBHOOK is no http or https address");
            return 2;
        }

        LaunchServer server;
        try
        {
            server = await LaunchServer.StartAsync(
                options with
                {
                    Say = t => Console.Out.WriteLine("note " + t),
                    AlertWebhook = webhook,
                }
            );
        }
        catch (StartFault e)
        {
            await Console.Error.WriteLineAsync(e.Message);
            return e.ExitCode;
        }
        catch (Exception e) when (e is IOException or System.Net.Sockets.SocketException)
        {
            await Console.Error.WriteLineAsync($"Cannot listen at {options.Listen}:{options.Port}: {e.Message}");
            return StartFault.Address;
        }

        await using (server)
        {
            using var hangup = OperatingSystem.IsWindows()
                ? null
                : System.Runtime.InteropServices.PosixSignalRegistration.Create(
                    System.Runtime.InteropServices.PosixSignal.SIGHUP,
                    c => c.Cancel = true
                );
            WandbLaunch.Foundation.OwnSession.Begin();

            if (server.TlsUrl is { } secure)
            {
                await Console.Out.WriteLineAsync("secure " + secure);
            }

            await Console.Out.WriteLineAsync("listening " + server.Url);
            await Console.Out.FlushAsync();
            Console.SetOut(TextWriter.Null);
            await server.WaitForShutdownAsync();
        }

        return 0;
    }

    [System.Runtime.InteropServices.DllImport("libc")]
    private static extern int umask(int mask);
}
