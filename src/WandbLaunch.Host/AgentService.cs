using System.Runtime.InteropServices;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;
using WandbLaunch.LocalServer;
using WandbLaunch.Wandb;

namespace WandbLaunch.Host;

/// <summary>An agent as a service: no shell, no console. What it says goes to its log, and in short to standard output for the service manager.</summary>
internal static class AgentService
{
    internal static async Task<int> RunAsync(string path)
    {
        LaunchAgent? agent = null;
        AgentWebhook? webhook = null;
        var ended = false;
        using var over = new CancellationTokenSource();

        // A service that is restarted leaves its runs to their supervisors; the next start goes on with them.
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
            (var connection, agent) = await PatientStart.WhenReachableAsync(
                () => StartAsync(config, callbacks, over.Token),
                (e, pause) =>
                    Console.Error.WriteLine($"{e.ErrorId}: {e.Message} Tried again in {pause.TotalSeconds:0} s."),
                TimeSpan.FromSeconds(2),
                TimeProvider.System,
                over.Token
            );
            using (connection)
            using (agent)
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

    private static async Task<WandbConnection> ConnectAsync(AgentConfig config, CancellationToken token)
    {
        var (address, key) = (config.BaseUrl, config.ApiKey);
        if (config.LocalServer is { } database)
        {
            var server = await LocalServers.StartAsync(new LaunchContext(), database, token, Console.WriteLine);
            (address, key) = (server.Url, LocalServers.ReadKey(server.Path));
        }

        return await WandbConnection.OpenAsync(
            WandbSettings.Resolve(
                new LaunchEnvironment(),
                Path.GetTempPath(),
                address,
                key,
                config.Entity,
                config.Project
            ),
            null,
            token
        );
    }

    private static async Task<(WandbConnection Connection, LaunchAgent Agent)> StartAsync(
        AgentConfig config,
        AgentCallbacks callbacks,
        CancellationToken token
    )
    {
        var connection = await ConnectAsync(config, token);
        try
        {
            return (connection, await LaunchAgent.StartAsync(config, connection, callbacks, token));
        }
        catch
        {
            connection.Dispose();
            throw;
        }
    }
}
