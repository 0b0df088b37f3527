using System.Text;
using System.Text.Json;
using Docker.DotNet.Models;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>The login for an image's registry, from docker's own configuration and credential helpers.</summary>
internal static class RegistryLogin
{
    internal static async Task<AuthConfig?> ForAsync(
        LaunchEnvironment environment,
        string image,
        CancellationToken token
    )
    {
        var first = image.Split('/')[0];
        var registry =
            image.Contains('/', StringComparison.Ordinal)
            && (
                first.Contains('.', StringComparison.Ordinal)
                || first.Contains(':', StringComparison.Ordinal)
                || first == "localhost"
            )
                ? first
                : "https://index.docker.io/v1/";
        var path = DockerEngine.ConfigPath(environment);
        if (!File.Exists(path))
        {
            return null;
        }

        try
        {
            using var document = JsonDocument.Parse(await File.ReadAllTextAsync(path, token));
            var root = document.RootElement;
            var helper = root.Text("credHelpers", registry) ?? root.Text("credsStore");
            if (helper is not null && await AskAsync(helper, registry, token) is { } stored)
            {
                return stored;
            }

            // Some logins wrote the address with its scheme and path.
            var key = AuthOf(root, registry);
            if (key is not null && root.Text("auths", key, "identitytoken") is { Length: > 0 } refresh)
            {
                return new AuthConfig { IdentityToken = Secrets.Register(refresh), ServerAddress = registry };
            }

            if (
                key is not null
                && root.Text("auths", key, "auth") is { Length: > 0 } encoded
                && Encoding.UTF8.GetString(Convert.FromBase64String(encoded)).Split(':', 2) is [var user, var password]
            )
            {
                return new AuthConfig
                {
                    Username = user,
                    Password = Secrets.Register(password),
                    ServerAddress = registry,
                };
            }
        }
        catch (Exception e) when (e is JsonException or FormatException)
        {
            // A broken docker configuration means no login; the pull then says what is missing.
        }

        return null;
    }

    private static string? AuthOf(JsonElement root, string registry) =>
        root.ValueKind == JsonValueKind.Object
        && root.TryGetProperty("auths", out var auths)
        && auths.ValueKind == JsonValueKind.Object
            ? auths
                .EnumerateObject()
                .Select(a => a.Name)
                .Where(n => n == registry || HostOf(n) == HostOf(registry))
                .OrderBy(n => n != registry)
                .FirstOrDefault()
            : null;

    private static string HostOf(string address)
    {
        var from = address.IndexOf("://", StringComparison.Ordinal);
        return (from < 0 ? address : address[(from + 3)..]).Split('/')[0];
    }

    private static async Task<AuthConfig?> AskAsync(string helper, string registry, CancellationToken token)
    {
        if (helper.Any(c => !char.IsLetterOrDigit(c) && c is not ('-' or '_' or '.')))
        {
            return null;
        }

        ProgramResult answer;
        try
        {
            answer = await new ExternalProgram("docker-credential-" + helper, "get")
            {
                Input = registry,
                TimeLimit = TimeSpan.FromSeconds(10),
            }.RunAsync(token);
        }
        catch (LaunchException)
        {
            // Not there, or it waits for somebody: the pull then says what is missing.
            return null;
        }

        if (!answer.Succeeded)
        {
            return null;
        }

        using var document = JsonDocument.Parse(answer.Output);
        return document.RootElement.Text("Username") is { } user && document.RootElement.Text("Secret") is { } secret
            ? user == "<token>"
                ? new AuthConfig { IdentityToken = Secrets.Register(secret), ServerAddress = registry }
                : new AuthConfig
                {
                    Username = user,
                    Password = Secrets.Register(secret),
                    ServerAddress = registry,
                }
            : null;
    }
}
