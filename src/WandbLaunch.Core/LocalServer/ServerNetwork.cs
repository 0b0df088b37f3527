using System.Globalization;
using System.Net;
using WandbLaunch.Foundation;

namespace WandbLaunch.LocalServer;

/// <summary>How others reach a server: what was given, or what it had at its last start. What is null was not given; an empty text ends what was.</summary>
internal sealed record ServerNetwork
{
    internal int? Port { get; init; }
    internal string? ListenAddress { get; init; }
    internal string? CertificatePath { get; init; }
    internal string? CertificateKeyPath { get; init; }

    /// <summary>Of a certificate's private key.</summary>
    internal string? CertificatePassword { get; init; }
    internal bool? AllowInsecure { get; init; }
    internal IReadOnlyList<string>? TrustedProxies { get; init; }
    internal string? PublicUrl { get; init; }

    /// <summary>True where something is given that is another than at the last start.</summary>
    internal bool Changes(LaunchServerInfo known) =>
        (Port is { } port && port != known.Port)
        || (ListenAddress is not null && ListenAddress != known.ListenAddress)
        || (CertificatePath is not null && CertificatePath != (known.CertificatePath ?? ""))
        || (CertificateKeyPath is not null && CertificateKeyPath != (known.CertificateKeyPath ?? ""))
        || (AllowInsecure is { } allowed && allowed != known.AllowInsecure)
        || (TrustedProxies is { } proxies && !proxies.SequenceEqual(known.TrustedProxies, StringComparer.Ordinal))
        || (PublicUrl is not null && PublicUrl != (known.PublicUrl ?? ""));

    /// <summary>What holds: what is given, else what was so at the last start.</summary>
    /// <exception cref="LaunchException"><c>TlsMissing</c>, <c>CertificateNotFound</c>.</exception>
    internal ServerNetwork Over(LaunchServerInfo? known)
    {
        var certificate = CertificatePath ?? known?.CertificatePath;
        var all = this with
        {
            ListenAddress = ListenAddress ?? known?.ListenAddress ?? "127.0.0.1",
            CertificatePath = string.IsNullOrEmpty(certificate) ? null : certificate,
            // The key's file and the password belong to the certificate that they were given with.
            CertificateKeyPath = CertificateKeyPath ?? (CertificatePath is null ? known?.CertificateKeyPath : null),
            AllowInsecure = AllowInsecure ?? known?.AllowInsecure ?? false,
            TrustedProxies = TrustedProxies ?? known?.TrustedProxies ?? [],
            PublicUrl = PublicUrl ?? known?.PublicUrl,
        };
        if (
            !IPAddress.IsLoopback(IPAddress.Parse(all.ListenAddress))
            && all.CertificatePath is null
            && all.AllowInsecure is not true
        )
        {
            throw new LaunchException(
                "TlsMissing",
                LaunchErrorCategory.SecurityError,
                $"At {all.ListenAddress} others would reach the server, and their keys would pass the network in the clear. Give a certificate (-CertificatePath), or listen on 127.0.0.1 behind a proxy with TLS (-TrustedProxy), or say -AllowInsecure.",
                all.ListenAddress
            );
        }

        foreach (var file in new[] { all.CertificatePath, all.CertificateKeyPath })
        {
            if (file is { Length: > 0 } && !File.Exists(file))
            {
                throw new LaunchException(
                    "CertificateNotFound",
                    LaunchErrorCategory.ObjectNotFound,
                    $"There is no file {file}. Give -CertificatePath a PFX file, or PEM with its key there or in -CertificateKeyPath.",
                    file
                );
            }
        }

        return all;
    }

    /// <summary>The words of the program. No secret is among them.</summary>
    internal IEnumerable<string> Arguments(string database, int port, int localPort)
    {
        string[] first =
        [
            "--path",
            database,
            "--port",
            port.ToString(CultureInfo.InvariantCulture),
            "--listen",
            ListenAddress!,
        ];
        return first
            .Concat(CertificatePath is null ? [] : ["--certificate", CertificatePath])
            .Concat(CertificateKeyPath is { Length: > 0 } key ? ["--certificate-key", key] : [])
            .Concat(CertificatePath is null ? [] : ["--local-port", localPort.ToString(CultureInfo.InvariantCulture)])
            .Concat(AllowInsecure is true ? ["--allow-insecure", "yes"] : [])
            .Concat(TrustedProxies!.SelectMany(p => new[] { "--trusted-proxy", p }))
            .Concat(PublicUrl is { Length: > 0 } url ? ["--public-url", url] : []);
    }
}
