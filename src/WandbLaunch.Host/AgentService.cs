using System.Runtime.InteropServices;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;
using WandbLaunch.LocalServer;
using WandbLaunch.Wandb;

namespace WandbLaunch.Host;

/// <summary>An agent as a service: no shell, no console. What it says goes to its log, and in short to standard output for the service manager.</summary>
internal static class AgentService
{
    private static readonly TimeSpan MostPause = TimeSpan.FromMinutes(1);

    internal static async Task<int> RunAsync(string path)
    {
        LaunchAgent? agent = null;
        AgentWebhook? webhook = null;
        var ended = false;
        using var over = new CancellationTokenSource();

        // A service that is restarted leaves its runs to their watchers; the next start goes on with them.
        using var terminate = PosixSignalRegistration.Create(
            PosixSignal.SIGTERM,
            c =>
            {
                c.Cancel = true;
                ended = true;
                over.Cancel();
                agent?.Detach("the service was stopped");
            }
        );
        using var interrupt = PosixSignalRegistration.Create(
            PosixSignal.SIGINT,
            c =>
            {
                c.Cancel = true;
                over.Cancel();
                if (ended)
                {
                    agent?.Stop("interrupted again");
                }
                else
                {
                    agent?.Drain("interrupted");
                }

                ended = true;
            }
        );
        try
        {
            var config = AgentConfig.Resolve(new LaunchEnvironment(), path, []);
            using var connection = await ConnectAsync(config, over.Token);
            webhook = config.Webhook is null ? null : new AgentWebhook(config.Webhook, Console.Error.WriteLine);
            var callbacks = new AgentCallbacks
            {
                Happened = happened =>
                {
                    Console.WriteLine(happened);
                    webhook?.Post(happened);
                },
                Rests = GiveMemoryBack,
            };
            using (agent = await LaunchAgent.StartAsync(config, connection, callbacks, over.Token))
            {
                return await agent.RunAsync();
            }
        }
        catch (OperationCanceledException) when (ended)
        {
            return LaunchAgent.ExitStopped;
        }
        catch (LaunchException e)
        {
            await Console.Error.WriteLineAsync($"{e.ErrorId}: {e.Message}");
            return LaunchAgent.ExitBroken;
        }
        finally
        {
            if (webhook is not null)
            {
                await webhook.DisposeAsync();
            }
        }
    }

    // A service waits most of its life; what the last runs left behind goes back to the machine: of the collector, and of git's and TLS's native code.
    private static void GiveMemoryBack()
    {
        GC.Collect(GC.MaxGeneration, GCCollectionMode.Aggressive, true, true);
        if (OperatingSystem.IsLinux())
        {
            try
            {
                _ = TrimNative(0);
            }
            catch (Exception e) when (e is EntryPointNotFoundException or DllNotFoundException)
            {
                // musl has no such call, nor always a library of this name, and keeps less.
            }
        }
    }

    [DllImport("libc", EntryPoint = "malloc_trim")]
    private static extern int TrimNative(nuint keep);

    // At a machine's start the network, or the server, may come later than the service.
    private static async Task<WandbConnection> ConnectAsync(AgentConfig config, CancellationToken token)
    {
        var pause = TimeSpan.FromSeconds(2);
        while (true)
        {
            try
            {
                if (config.LocalServer is { } database)
                {
                    var server = await LocalServers.StartAsync(
                        new LaunchContext(),
                        database,
                        null,
                        null,
                        token,
                        Console.WriteLine
                    );
                    return await WandbConnection.OpenAsync(
                        WandbSettings.Resolve(
                            new LaunchEnvironment(),
                            Path.GetTempPath(),
                            server.Url,
                            LocalServers.ReadKey(server.Path),
                            config.Entity,
                            config.Project
                        ),
                        null,
                        token
                    );
                }

                return await WandbConnection.OpenAsync(
                    WandbSettings.Resolve(
                        new LaunchEnvironment(),
                        Path.GetTempPath(),
                        config.BaseUrl,
                        config.ApiKey,
                        config.Entity,
                        config.Project
                    ),
                    null,
                    token
                );
            }
            catch (LaunchException e)
                when (e.Category
                        is LaunchErrorCategory.ConnectionError
                            or LaunchErrorCategory.OperationTimeout
                            or LaunchErrorCategory.ResourceUnavailable
                )
            {
                await Console.Error.WriteLineAsync(
                    $"{e.ErrorId}: {e.Message} Tried again in {pause.TotalSeconds:0} s."
                );
                await Task.Delay(pause, token);
                pause = pause * 2 > MostPause ? MostPause : pause * 2;
            }
        }
    }
}
