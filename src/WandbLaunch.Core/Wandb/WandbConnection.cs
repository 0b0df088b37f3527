using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Wandb;

/// <summary>A session with one W&amp;B server. Holds the key, never shows it.</summary>
public sealed class WandbConnection : IDisposable
{
    private readonly WandbSettings _settings;

    internal WandbConnection(WandbSettings settings, GraphQLTransport transport, Viewer? viewer)
    {
        _settings = settings;
        Transport = transport;
        Username = viewer?.Username;
        Teams = viewer?.Teams ?? [];
        Entity = settings.Entity ?? viewer?.Entity;
        Api = new WandbApi(transport);
        Queues = new QueueApi(transport, Api);
    }

    /// <summary>Address of the API, without a trailing slash.</summary>
    public string BaseUrl => _settings.BaseUrl;

    /// <summary>Address of the pages that belong to the API.</summary>
    public string AppUrl => WandbSettings.AppUrl(_settings.BaseUrl);

    /// <summary>The page of a run of this server.</summary>
    internal string PageOf(RunPath run) =>
        $"{AppUrl}/{Uri.EscapeDataString(run.Entity)}/{Uri.EscapeDataString(run.Project)}/runs/{Uri.EscapeDataString(run.Id)}";

    /// <summary>The entity that is used where none is given: the setting, else the viewer's own.</summary>
    public string? Entity { get; }

    /// <summary>The project that is used where none is given.</summary>
    public string? Project => _settings.Project;

    /// <summary>Name of the logged in user, or null without a login.</summary>
    public string? Username { get; }

    /// <summary>The teams of the user.</summary>
    public IReadOnlyList<string> Teams { get; }

    /// <summary>Where the key came from.</summary>
    public SettingSource ApiKeySource => _settings.ApiKeySource;

    /// <summary>Where the address came from.</summary>
    public SettingSource BaseUrlSource => _settings.BaseUrlSource;

    internal GraphQLTransport Transport { get; }

    internal WandbApi Api { get; }

    internal QueueApi Queues { get; }

    internal string? ApiKey => _settings.ApiKey;

    internal WandbSettings Settings => _settings;

    /// <summary>Opens the session and asks who is logged in.</summary>
    /// <exception cref="LaunchException">No key, a wrong key, or no answer.</exception>
    internal static async Task<WandbConnection> OpenAsync(
        WandbSettings settings,
        Action<string>? verbose,
        CancellationToken token
    )
    {
        if (settings.ApiKey is null && settings.AccessToken is null)
        {
            throw new LaunchException(
                "ApiKeyMissing",
                LaunchErrorCategory.AuthenticationError,
                $"There is no API key for {settings.BaseUrl}. Give one with Connect-Wandb -ApiKey, set WANDB_API_KEY, or save it once with Connect-Wandb -ApiKey … -Save. A key is shown at {WandbSettings.AppUrl(settings.BaseUrl)}/authorize. For a server of your own on this machine: Connect-Wandb -Local.",
                settings.BaseUrl
            );
        }

        if (settings.ApiKey is { } key && WandbLaunch.Wandb.ApiKey.Fault(key) is { } fault)
        {
            throw new LaunchException(
                "ApiKeyInvalid",
                LaunchErrorCategory.AuthenticationError,
                $"The API key from {settings.ApiKeySource} cannot be right: {fault}. Copy it again from {WandbSettings.AppUrl(settings.BaseUrl)}/authorize.",
                settings.BaseUrl
            );
        }

        var transport = new GraphQLTransport(settings) { OnRetry = verbose };
        try
        {
            var viewer =
                await new WandbApi(transport).ViewerAsync(token)
                ?? throw new LaunchException(
                    "ApiKeyRejected",
                    LaunchErrorCategory.AuthenticationError,
                    $"{settings.BaseUrl} does not know this API key. Give the right one with Connect-Wandb -ApiKey, or check WANDB_API_KEY and the netrc entry of this host.",
                    settings.BaseUrl
                );
            return new WandbConnection(settings, transport, viewer);
        }
        catch
        {
            transport.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => Transport.Dispose();
}

internal sealed record Viewer(string Id, string? Entity, string? Username, IReadOnlyList<string> Teams);
