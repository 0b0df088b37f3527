using System.Net;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server;

/// <summary>What a server is started with.</summary>
internal sealed record LaunchServerOptions(string Path, string Listen, int Port, string Key)
{
    /// <summary>Speak only what servers of 2022 did, so that clients are tried against them.</summary>
    internal bool Generation2022 { get; init; }

    /// <summary>How long a popped item waits for its ack.</summary>
    internal TimeSpan? Lease { get; init; }

    /// <summary>How long a run may say nothing before it counts as crashed. Clients say something twice a minute.</summary>
    internal TimeSpan HeartbeatLimit { get; init; } = TimeSpan.FromMinutes(5);

    /// <summary>Where alerts of runs are sent on to.</summary>
    internal Uri? AlertWebhook { get; init; }

    /// <summary>Before an alert is sent again, which doubles.</summary>
    internal TimeSpan AlertRetryDelay { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>How long it is known who did what.</summary>
    internal TimeSpan AuditAge { get; init; } = TimeSpan.FromDays(90);

    internal TimeProvider Time { get; init; } = TimeProvider.System;

    /// <summary>Hears what whoever starts the server should know.</summary>
    internal Action<string>? Say { get; init; }
}

/// <summary>The server in a process: Kestrel on one address, every request with the key.</summary>
internal sealed class LaunchServer : IAsyncDisposable
{
    private readonly WebApplication _app;

    private LaunchServer(WebApplication app) => _app = app;

    internal string Url => _app.Urls.First();

    /// <summary>What it is made of, for tests.</summary>
    internal IServiceProvider Services => _app.Services;

    /// <summary>Starts a server. Tests ask for one that speaks only what servers of 2022 did, or whose leases are short.</summary>
    internal static Task<LaunchServer> StartAsync(
        string path,
        string listen,
        int port,
        string key,
        bool generation2022 = false,
        TimeSpan? lease = null,
        TimeProvider? time = null,
        Action<string>? say = null
    ) =>
        StartAsync(
            new LaunchServerOptions(path, listen, port, key)
            {
                Generation2022 = generation2022,
                Lease = lease,
                Time = time ?? TimeProvider.System,
                Say = say,
            }
        );

    /// <summary>Starts a server.</summary>
    /// <exception cref="StartFault">Its database cannot be used, and was left as it is.</exception>
    internal static async Task<LaunchServer> StartAsync(LaunchServerOptions options)
    {
        var builder = WebApplication.CreateEmptyBuilder(
            new WebApplicationOptions { ApplicationName = "WandbLaunch.Server" }
        );
        builder
            .WebHost.UseKestrelCore()
            .ConfigureKestrel(o =>
            {
                o.Listen(IPAddress.Parse(options.Listen), options.Port);
                o.Limits.MaxRequestBodySize = 2L << 30;
                o.AddServerHeader = false;
            });
        builder.AddLaunchServer(options);
        var app = builder.Build();
        try
        {
            app.MapLaunchServer();
            await app.StartAsync();
            var server = new LaunchServer(app);
            app.Services.GetRequiredService<Database>().Announce(server.Url);
            return server;
        }
        catch
        {
            await app.DisposeAsync();
            throw;
        }
    }

    internal Task WaitForShutdownAsync() => _app.WaitForShutdownAsync();

    public ValueTask DisposeAsync() => _app.DisposeAsync();
}
