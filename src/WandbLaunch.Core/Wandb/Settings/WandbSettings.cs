using System.Text.Json;
using System.Text.RegularExpressions;
using WandbLaunch.Foundation;

namespace WandbLaunch.Wandb;

/// <summary>Where a setting came from.</summary>
public enum SettingSource
{
    /// <summary>Not set anywhere.</summary>
    None,

    /// <summary>A parameter of the cmdlet.</summary>
    Parameter,

    /// <summary>An environment variable.</summary>
    Environment,

    /// <summary>The settings file of the working folder.</summary>
    LocalSettings,

    /// <summary>The settings file of the user.</summary>
    GlobalSettings,

    /// <summary>The netrc file.</summary>
    Netrc,

    /// <summary>A vault of Microsoft.PowerShell.SecretManagement.</summary>
    SecretManagement,

    /// <summary>The key file of the local launch server.</summary>
    LocalServer,

    /// <summary>The secrets file of SageMaker.</summary>
    SageMaker,

    /// <summary>W&amp;B's own default.</summary>
    Default,
}

/// <summary>The settings in force: parameter over environment over settings files over netrc (protocol A.2, A.3).</summary>
internal sealed partial record WandbSettings
{
    internal const string DefaultBaseUrl = "https://api.wandb.ai";

    internal string BaseUrl { get; init; } = DefaultBaseUrl;

    internal SettingSource BaseUrlSource { get; init; } = SettingSource.Default;

    internal string? ApiKey { get; init; }

    internal SettingSource ApiKeySource { get; init; }

    internal string? AccessToken { get; init; }

    /// <summary>Database of the launch server of this machine, where that is connected.</summary>
    internal string? LocalServerPath { get; init; }

    internal string? Entity { get; init; }

    internal SettingSource EntitySource { get; init; }

    internal string? Project { get; init; }

    internal SettingSource ProjectSource { get; init; }

    internal string? Username { get; init; }

    internal string? UserEmail { get; init; }

    internal TimeSpan HttpTimeout { get; init; } = TimeSpan.FromSeconds(20);

    internal IReadOnlyDictionary<string, string> ExtraHeaders { get; init; } = new Dictionary<string, string>();

    internal IReadOnlyDictionary<string, string> Proxies { get; init; } = new Dictionary<string, string>();

    internal bool NoRetry { get; init; }

    /// <summary>Reads everything that is set. A value given here wins over all.</summary>
    internal static WandbSettings Resolve(
        LaunchEnvironment environment,
        string workingFolder,
        string? baseUrl = null,
        string? apiKey = null,
        string? entity = null,
        string? project = null
    )
    {
        var local = IniFile.Read(LocalSettingsPath(environment, workingFolder));
        var global = IniFile.Read(GlobalSettingsPath(environment));

        (string? Value, SettingSource Source) Find(string? given, string variable, string key) =>
            given is { Length: > 0 } ? (given, SettingSource.Parameter)
            : environment[variable] is { } set ? (set, SettingSource.Environment)
            : local.GetValueOrDefault(key) is { Length: > 0 } near ? (near, SettingSource.LocalSettings)
            : global.GetValueOrDefault(key) is { Length: > 0 } far ? (far, SettingSource.GlobalSettings)
            : (null, SettingSource.None);

        var url = Find(baseUrl, "WANDB_BASE_URL", "base_url");
        var checkedUrl = CheckBaseUrl(url.Value ?? DefaultBaseUrl);
        var settings = new WandbSettings
        {
            BaseUrl = checkedUrl,
            BaseUrlSource = url.Value is null ? SettingSource.Default : url.Source,
            Entity = Find(entity, "WANDB_ENTITY", "entity").Value,
            EntitySource = Find(entity, "WANDB_ENTITY", "entity").Source,
            Project = Find(project, "WANDB_PROJECT", "project").Value,
            ProjectSource = Find(project, "WANDB_PROJECT", "project").Source,
            Username = environment["WANDB_USERNAME"],
            UserEmail = environment["WANDB_USER_EMAIL"],
            HttpTimeout =
                double.TryParse(
                    environment["WANDB_HTTP_TIMEOUT"],
                    System.Globalization.CultureInfo.InvariantCulture,
                    out var seconds
                )
                && seconds > 0
                    ? TimeSpan.FromSeconds(seconds)
                    : TimeSpan.FromSeconds(20),
            ExtraHeaders = JsonMap(environment, "WANDB__EXTRA_HTTP_HEADERS"),
            Proxies = JsonMap(environment, "WANDB__PROXIES"),
            NoRetry = environment["WANDB_TEST"] is not null,
        };

        var (key, source) =
            apiKey is { Length: > 0 } ? (apiKey, SettingSource.Parameter)
            : environment["WANDB_API_KEY"] is { } variable ? (variable, SettingSource.Environment)
            : Netrc.FindPassword(Netrc.FilePath(environment), MachineOf(checkedUrl)) is { } saved
                ? (saved, SettingSource.Netrc)
            : SageMakerKey() is { } mounted ? (mounted, SettingSource.SageMaker)
            : local.GetValueOrDefault("api_key") is { Length: > 0 } near ? (near, SettingSource.LocalSettings)
            : global.GetValueOrDefault("api_key") is { Length: > 0 } far ? (far, SettingSource.GlobalSettings)
            : ((string?)null, SettingSource.None);
        if (key is not null)
        {
            Secrets.Register(key.Trim());
        }

        return settings with
        {
            ApiKey = key?.Trim(),
            ApiKeySource = source,
            AccessToken = source == SettingSource.Parameter ? null : ReadAccessToken(environment),
        };
    }

    /// <summary>Host, with the port where one is named: the SDK's netrc machine name.</summary>
    internal static string MachineOf(string baseUrl) => new Uri(baseUrl).Authority;

    /// <summary>Protocol A.1: the trailing slash goes, a wandb.ai host must be api.wandb.ai over https.</summary>
    internal static string CheckBaseUrl(string url)
    {
        var trimmed = url.Trim().TrimEnd('/');
        if (
            !Uri.TryCreate(trimmed, UriKind.Absolute, out var uri)
            || uri.Scheme is not ("http" or "https")
            || uri.Host.Length == 0
        )
        {
            throw new LaunchException(
                "BaseUrlInvalid",
                LaunchErrorCategory.InvalidArgument,
                $"'{url}' is not a http or https URL. Give the API's address, such as {DefaultBaseUrl}.",
                url
            );
        }

        if (uri.UserInfo.Length > 0)
        {
            throw new LaunchException(
                "BaseUrlInvalid",
                LaunchErrorCategory.InvalidArgument,
                "The base URL holds a user or password. Give the key with -ApiKey instead.",
                trimmed
            );
        }

        if (WandbHost().IsMatch(uri.Host))
        {
            if (!uri.Host.Contains("api.", StringComparison.Ordinal))
            {
                throw new LaunchException(
                    "BaseUrlInvalid",
                    LaunchErrorCategory.InvalidArgument,
                    $"'{url}' is the address of the web page, not of the API. Use {DefaultBaseUrl}.",
                    url
                );
            }

            if (uri.Scheme != "https")
            {
                throw new LaunchException(
                    "BaseUrlInvalid",
                    LaunchErrorCategory.InvalidArgument,
                    $"'{url}' would send the key unencrypted. Use {DefaultBaseUrl}.",
                    url
                );
            }
        }

        return trimmed;
    }

    /// <summary>The address of the pages that belongs to an API address.</summary>
    internal static string AppUrl(string baseUrl) => baseUrl.Replace("://api.", "://", StringComparison.Ordinal);

    internal static string GlobalSettingsPath(LaunchEnvironment environment) =>
        Path.Combine(environment["WANDB_CONFIG_DIR"] ?? Path.Combine(environment.Home, ".config", "wandb"), "settings");

    internal static string LocalSettingsPath(LaunchEnvironment environment, string workingFolder)
    {
        var root = environment["WANDB_DIR"] ?? workingFolder;
        var hidden = Path.Combine(root, ".wandb");
        return Path.Combine(Directory.Exists(hidden) ? hidden : Path.Combine(root, "wandb"), "settings");
    }

    private static Dictionary<string, string> JsonMap(LaunchEnvironment environment, string name)
    {
        if (environment[name] is not { } text)
        {
            return [];
        }

        try
        {
            return JsonSerializer.Deserialize<Dictionary<string, string>>(text) ?? [];
        }
        catch (JsonException e)
        {
            throw new LaunchException(
                "SettingInvalid",
                LaunchErrorCategory.InvalidData,
                $"The environment variable {name} is not a JSON object of strings: {e.Message}",
                name,
                e
            );
        }
    }

    private static string? ReadAccessToken(LaunchEnvironment environment)
    {
        // The identity token exchange keeps what it got in the credentials file (protocol A.1); a file that is still valid is used as it is.
        if (
            environment["WANDB_IDENTITY_TOKEN_FILE"] is null
            || environment["WANDB_CREDENTIALS_FILE"] is not { } path
            || !File.Exists(path)
        )
        {
            return null;
        }

        using var document = JsonDocument.Parse(File.ReadAllText(path));
        if (document.RootElement.TryGetProperty("credentials", out var all) && all.ValueKind == JsonValueKind.Object)
        {
            foreach (var host in all.EnumerateObject())
            {
                if (
                    host.Value.TryGetProperty("access_token", out var token)
                    && token.GetString() is { Length: > 0 } value
                    && (
                        !host.Value.TryGetProperty("expires_at", out var expires)
                        || !DateTimeOffset.TryParse(expires.GetString(), out var until)
                        || until > DateTimeOffset.UtcNow
                    )
                )
                {
                    return Secrets.Register(value);
                }
            }
        }

        return null;
    }

    private static string? SageMakerKey()
    {
        const string Path = "/opt/ml/input/config/secrets.env";
        return OperatingSystem.IsLinux() && File.Exists(Path)
            ? File.ReadLines(Path)
                .Select(l => l.Split('=', 2))
                .Where(p => p.Length == 2 && p[0].Trim() == "WANDB_API_KEY")
                .Select(p => p[1].Trim())
                .FirstOrDefault()
            : null;
    }

    [GeneratedRegex(@"(^|\.)wandb\.ai$", RegexOptions.IgnoreCase)]
    private static partial Regex WandbHost();
}

/// <summary>W&amp;B's settings files: ini, section <c>[default]</c> (protocol A.3).</summary>
internal static class IniFile
{
    internal static IReadOnlyDictionary<string, string> Read(string path)
    {
        var values = new Dictionary<string, string>(StringComparer.OrdinalIgnoreCase);
        if (!File.Exists(path))
        {
            return values;
        }

        var section = "default";
        foreach (var raw in File.ReadLines(path))
        {
            var line = raw.Trim();
            if (line.Length == 0 || line[0] is '#' or ';')
            {
                continue;
            }

            if (line[0] == '[' && line[^1] == ']')
            {
                section = line[1..^1].Trim();
            }
            else if (section == "default" && line.IndexOfAny(['=', ':']) is var cut and > 0)
            {
                values[line[..cut].Trim()] = line[(cut + 1)..].Trim();
            }
        }

        return values;
    }
}
