using System.Diagnostics;
using System.Text;
using System.Text.Json;
using Docker.DotNet.Models;
using WandbLaunch.Foundation;
using WandbLaunch.Python;

namespace WandbLaunch.Resources;

/// <summary>The login for an image's registry, from docker's own configuration and credential helpers.</summary>
internal static class RegistryLogin
{
    internal static AuthConfig? For(string image)
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
        var environment = LaunchEnvironment.Current;
        var path = Path.Combine(
            environment["DOCKER_CONFIG"] ?? Path.Combine(environment.Home, ".docker"),
            "config.json"
        );
        if (!File.Exists(path))
        {
            return null;
        }

        try
        {
            using var document = JsonDocument.Parse(File.ReadAllText(path));
            var root = document.RootElement;
            var helper = root.Text("credHelpers", registry) ?? root.Text("credsStore");
            if (helper is not null && Ask(helper, registry) is { } stored)
            {
                return stored;
            }

            if (
                root.Text("auths", registry, "auth") is { Length: > 0 } encoded
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

    private static AuthConfig? Ask(string helper, string registry)
    {
        if (
            helper.Any(c => !char.IsLetterOrDigit(c) && c is not ('-' or '_' or '.'))
            || VirtualEnvironment.OnPath("docker-credential-" + helper) is not { } program
        )
        {
            return null;
        }

        var start = new ProcessStartInfo(program)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            UseShellExecute = false,
            CreateNoWindow = true,
        };
        start.ArgumentList.Add("get");
        using var process = Process.Start(start)!;
        process.StandardInput.Write(registry);
        process.StandardInput.Close();
        var text = process.StandardOutput.ReadToEndAsync();
        if (!process.WaitForExit(10_000) || process.ExitCode != 0)
        {
            return null;
        }

        using var document = JsonDocument.Parse(text.Result);
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
