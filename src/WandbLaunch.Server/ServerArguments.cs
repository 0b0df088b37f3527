using System.Globalization;
using System.Net;
using WandbLaunch.Server.Auth;

namespace WandbLaunch.Server;

/// <summary>What the program is started with: words in pairs, and in the environment what others must not see.</summary>
internal static class ServerArguments
{
    internal const string Usage =
        "usage: WandbLaunch.Server --path FILE [--port N] [--listen ADDRESS] [--heartbeat-limit SECONDS] [--certificate FILE [--certificate-key FILE] [--local-port N]] [--allow-insecure yes] [--trusted-proxy NETWORK]... [--public-url URL]";

    /// <summary>The options; null where a word is none.</summary>
    internal static LaunchServerOptions? Read(string[] args, string key, string? certificatePassword)
    {
        var options = new LaunchServerOptions("", "127.0.0.1", 0, key);
        string? certificate = null;
        string? certificateKey = null;
        var proxies = new List<IPNetwork>();
        if (args.Length % 2 == 1)
        {
            return null;
        }

        for (var i = 0; i < args.Length; i += 2)
        {
            var value = args[i + 1];
            switch (args[i])
            {
                case "--path":
                    options = options with { Path = value };
                    break;
                case "--port" when Port(value) is { } port:
                    options = options with { Port = port };
                    break;
                case "--local-port" when Port(value) is { } port:
                    options = options with { LocalPort = port };
                    break;
                case "--heartbeat-limit"
                    when double.TryParse(value, CultureInfo.InvariantCulture, out var seconds)
                        && seconds is > 0 and < 1e8:
                    options = options with { HeartbeatLimit = TimeSpan.FromSeconds(seconds) };
                    break;
                case "--listen" when IPAddress.TryParse(value, out _):
                    options = options with { Listen = value };
                    break;
                case "--certificate":
                    certificate = value;
                    break;
                case "--certificate-key":
                    certificateKey = value;
                    break;
                case "--allow-insecure" when value == "yes":
                    options = options with { AllowInsecure = true };
                    break;
                case "--trusted-proxy" when Network(value) is { } network:
                    proxies.Add(network);
                    break;
                case "--public-url"
                    when Uri.TryCreate(value, UriKind.Absolute, out var url) && url.Scheme is "http" or "https":
                    options = options with { PublicUrl = new Uri(value) };
                    break;
                default:
                    return null;
            }
        }

        return options.Path.Length == 0 || (certificateKey is not null && certificate is null)
            ? null
            : options with
            {
                Certificate = certificate is null
                    ? null
                    : new CertificatePaths(certificate, certificateKey, certificatePassword),
                TrustedProxies = proxies,
            };
    }

    /// <summary>An address, or a network as 10.0.0.0/8.</summary>
    internal static IPNetwork? Network(string text) =>
        IPNetwork.TryParse(text, out var network) ? network
        : IPAddress.TryParse(text, out var address) ? new IPNetwork(address, address.GetAddressBytes().Length * 8)
        : null;

    private static int? Port(string text) =>
        ushort.TryParse(text, CultureInfo.InvariantCulture, out var port) ? port : null;
}
