using System.Net;
using System.Net.Security;
using Microsoft.AspNetCore.Server.Kestrel.Https;
using WandbLaunch.Server.Auth;
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

    /// <summary>The certificate for <see cref="Listen"/>; programs of this machine use <see cref="LocalPort"/> of 127.0.0.1 without one then.</summary>
    internal CertificatePaths? Certificate { get; init; }

    /// <summary>The port of 127.0.0.1 beside the one with a certificate; 0 for any.</summary>
    internal int LocalPort { get; init; }

    /// <summary>Others may reach it without encryption.</summary>
    internal bool AllowInsecure { get; init; }

    /// <summary>Proxies whose word on where a request came from is taken.</summary>
    internal IReadOnlyList<IPNetwork> TrustedProxies { get; init; } = [];

    /// <summary>The address by which others know the server.</summary>
    internal Uri? PublicUrl { get; init; }

    /// <summary>True where nobody but this machine reaches it.</summary>
    internal bool IsLoopback => IPAddress.IsLoopback(IPAddress.Parse(Listen));

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

    /// <summary>Where programs of this machine reach it.</summary>
    internal string Url => _app.Urls.First(u => u.StartsWith("http:", StringComparison.Ordinal));

    /// <summary>Where others reach it by TLS.</summary>
    internal string? TlsUrl => _app.Urls.FirstOrDefault(u => u.StartsWith("https:", StringComparison.Ordinal));

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
        if (!options.IsLoopback && options.Certificate is null && !options.AllowInsecure)
        {
            throw new StartFault(
                StartFault.Insecure,
                $"At {options.Listen} others would reach the server, and their keys would pass the network in the clear. Give a certificate (-CertificatePath), listen on 127.0.0.1 behind a proxy with TLS (-TrustedProxy), or say -AllowInsecure."
            );
        }

        var certificate = options.Certificate is null ? null : new CertificateFile(options.Certificate, options.Time);
        if (certificate?.Warning is { } warning)
        {
            options.Say?.Invoke(warning);
        }

        var builder = WebApplication.CreateEmptyBuilder(
            new WebApplicationOptions { ApplicationName = "WandbLaunch.Server" }
        );
        builder
            .WebHost.UseKestrelCore()
            .ConfigureKestrel(o =>
            {
                if (certificate is null)
                {
                    o.Listen(IPAddress.Parse(options.Listen), options.Port);
                }
                else
                {
                    o.Listen(IPAddress.Loopback, options.LocalPort);
                    o.Listen(IPAddress.Parse(options.Listen), options.Port, l => l.UseHttps(Tls(certificate)));
                }

                o.Limits.MaxRequestBodySize = 2L << 30;
                o.AddServerHeader = false;
            });
        builder.AddLaunchServer(options);
        var app = builder.Build();
        try
        {
            if (certificate is not null)
            {
                certificate.Log = app.Services.GetRequiredService<ILogger<CertificateFile>>();
            }

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

    private static TlsHandshakeCallbackOptions Tls(CertificateFile certificate) =>
        new()
        {
            OnConnection = _ =>
                ValueTask.FromResult(
                    new SslServerAuthenticationOptions { ServerCertificateContext = certificate.Current }
                ),
        };

    internal Task WaitForShutdownAsync() => _app.WaitForShutdownAsync();

    public ValueTask DisposeAsync() => _app.DisposeAsync();
}
