using System.Diagnostics;
using System.Text.Json.Nodes;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;
using WandbLaunch.Server;
using WandbLaunch.Wandb;

namespace WandbLaunch.CrashAgent;

/// <summary>
/// A real agent in a process that ends itself, as by SIGKILL, at a named step of the road: <c>URL CONFIG STEP</c>. The key
/// comes by WANDB_API_KEY. Without a step it works like any other.
/// </summary>
internal static class Program
{
    private static async Task<int> Main(string[] args)
    {
        if (args is ["server", var path, var port])
        {
            var server = await LaunchServer.StartAsync(
                path,
                "127.0.0.1",
                int.Parse(port, System.Globalization.CultureInfo.InvariantCulture),
                Environment.GetEnvironmentVariable("WANDB_API_KEY")!,
                lease: TimeSpan.FromSeconds(1)
            );
            await using (server)
            {
                Console.WriteLine("listening");
                await server.WaitForShutdownAsync();
            }

            return 0;
        }

        var config = AgentConfig.Resolve(new LaunchEnvironment(), null, (JsonObject)JsonNode.Parse(args[1])!);
        var callbacks = new AgentCallbacks
        {
            Happened = Console.WriteLine,
            Step = step =>
            {
                if (args.Length > 2 && step == args[2])
                {
                    Process.GetCurrentProcess().Kill();
                    Thread.Sleep(Timeout.Infinite);
                }
            },
            RetryPause = _ => TimeSpan.FromMilliseconds(200),
            AwayPause = _ => TimeSpan.FromMilliseconds(200),
        };

        // As a service starts: the server may be killed at that moment too.
        var (connection, agent) = await PatientStart.WhenReachableAsync(
            async () =>
            {
                var connection = await WandbConnection.OpenAsync(
                    WandbSettings.Resolve(new LaunchEnvironment(), Path.GetTempPath(), args[0]),
                    null,
                    default
                );
                try
                {
                    return (connection, await LaunchAgent.StartAsync(config, connection, callbacks, default));
                }
                catch
                {
                    connection.Dispose();
                    throw;
                }
            },
            (e, _) => Console.Error.WriteLine(e.Message),
            TimeSpan.FromMilliseconds(200),
            TimeProvider.System,
            default
        );
        using (connection)
        using (agent)
        {
            return await agent.RunAsync();
        }
    }
}
