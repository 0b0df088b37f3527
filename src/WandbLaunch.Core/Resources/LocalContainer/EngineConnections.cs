using System.Collections.Concurrent;
using System.Net.Sockets;
using Docker.DotNet;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>The engines that were spoken to, by their address: which version each takes is asked once.</summary>
internal sealed class EngineConnections(LaunchContext context)
{
    private readonly ConcurrentDictionary<string, DockerClient> _clients = new(StringComparer.Ordinal);

    /// <summary>The clock, and every pause.</summary>
    internal TimeProvider Time => context.Time;

    /// <summary>How long an engine that went away in the middle of a run is waited for: <c>WANDBLAUNCH_DOCKER_TIMEOUT</c> seconds, 120 by default.</summary>
    internal TimeSpan Patience =>
        TimeSpan.FromSeconds(
            int.TryParse(context.Environment["WANDBLAUNCH_DOCKER_TIMEOUT"], out var seconds) && seconds > 0
                ? seconds
                : 120
        );

    /// <summary>The engine at an address, or the one that the machine is set up for.</summary>
    /// <exception cref="LaunchException"><c>DockerUnavailable</c>.</exception>
    internal async Task<(DockerClient Client, string Address)> GetAsync(string? address, CancellationToken token)
    {
        if (address is not null && _clients.TryGetValue(address, out var known))
        {
            return (known, address);
        }

        var (client, endpoint) = await DockerEngine.ConnectAsync(address, token, context.Environment);
        return (_clients.GetOrAdd(endpoint.Address, client), endpoint.Address);
    }

    /// <summary>True when it answers now.</summary>
    internal static async Task<bool> AnswersAsync(DockerClient client)
    {
        try
        {
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(5));
            await client.System.PingAsync(limit.Token);
            return true;
        }
        catch (Exception e) when (IsAway(e) || e is DockerApiException or OperationCanceledException)
        {
            return false;
        }
    }

    /// <summary>True for what an engine that is away, or goes away, throws.</summary>
    internal static bool IsAway(Exception e) =>
        e is IOException or HttpRequestException or TimeoutException or SocketException or ObjectDisposedException;
}
