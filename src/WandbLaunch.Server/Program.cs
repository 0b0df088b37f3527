using System.Text;

namespace WandbLaunch.Server;

/// <summary>The local launch server: <c>--path FILE [--port N] [--listen ADDRESS] [--heartbeat-limit SECONDS]</c>.</summary>
internal static class Program
{
    private static async Task<int> Main(string[] args)
    {
        if (OperatingSystem.IsWindows())
        {
            // Whoever reads a pipe of this process takes it for UTF-8; the console's code page is another.
            Console.OutputEncoding = new UTF8Encoding(false);
        }

        string? path = null;
        var port = 0;
        var listen = "127.0.0.1";
        TimeSpan? heartbeatLimit = null;
        for (var i = 0; i + 1 < args.Length; i += 2)
        {
            switch (args[i])
            {
                case "--path":
                    path = args[i + 1];
                    break;
                case "--port"
                    when ushort.TryParse(
                        args[i + 1],
                        System.Globalization.CultureInfo.InvariantCulture,
                        out var number
                    ):
                    port = number;
                    break;
                case "--heartbeat-limit"
                    when double.TryParse(
                        args[i + 1],
                        System.Globalization.CultureInfo.InvariantCulture,
                        out var seconds
                    ) && seconds is > 0 and < 1e8:
                    heartbeatLimit = TimeSpan.FromSeconds(seconds);
                    break;
                case "--listen" when System.Net.IPAddress.TryParse(args[i + 1], out _):
                    listen = args[i + 1];
                    break;
                default:
                    path = null;
                    i = args.Length;
                    break;
            }
        }

        if (path is null)
        {
            await Console.Error.WriteLineAsync(
                "usage: WandbLaunch.Server --path FILE [--port N] [--listen ADDRESS] [--heartbeat-limit SECONDS]"
            );
            return 2;
        }

        if (!OperatingSystem.IsWindows())
        {
            // The database, what SQLite puts beside it and the artifacts are their owner's alone.
            _ = umask(0x3F);
        }

        // The key comes by the environment, so that no other user sees it in the process list.
        var key = Environment.GetEnvironmentVariable("WANDBLAUNCH_SERVER_KEY");
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
                new LaunchServerOptions(path, listen, port, key)
                {
                    Say = t => Console.Out.WriteLine("note " + t),
                    AlertWebhook = webhook,
                    HeartbeatLimit = heartbeatLimit ?? TimeSpan.FromMinutes(5),
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
            await Console.Error.WriteLineAsync($"Cannot listen at {listen}:{port}: {e.Message}");
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
