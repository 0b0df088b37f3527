using System.Net.Sockets;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.Json;
using Docker.DotNet;
using Microsoft.Net.Http.Client;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>Finds the Docker Engine as the docker program does, and speaks an API version that it takes.</summary>
internal static class DockerEngine
{
    // The newest that Docker.DotNet's types are known to work with; older engines get their own version.
    private static readonly Version Newest = new(1, 47);

    internal sealed record Endpoint(string Address, string From, string? CertificateFolder = null);

    /// <summary>Connects, or says why not and what to do.</summary>
    /// <exception cref="LaunchException"><c>DockerUnavailable</c>.</exception>
    internal static async Task<(DockerClient Client, Endpoint Endpoint)> ConnectAsync(
        string? address,
        CancellationToken token,
        LaunchEnvironment? environment = null
    )
    {
        environment ??= new LaunchEnvironment();
        var endpoints = address is not null
            ? [new Endpoint(address, "-DockerHost", environment["DOCKER_CERT_PATH"])]
            : Find(environment).ToList();
        var faults = new List<string>();
        foreach (var endpoint in endpoints)
        {
            try
            {
                return (await OpenAsync(endpoint, token), endpoint);
            }
            catch (Exception e)
                when (e
                        is HttpRequestException
                            or SocketException
                            or IOException
                            or TimeoutException
                            or DockerApiException
                            or UriFormatException
                            or CryptographicException
                            or OperationCanceledException
                            or UnauthorizedAccessException
                )
            {
                token.ThrowIfCancellationRequested();
                faults.Add($"{endpoint.Address} ({endpoint.From}): {(e.InnerException ?? e).Message.TrimEnd('.')}");
            }
        }

        throw new LaunchException(
            "DockerUnavailable",
            LaunchErrorCategory.ResourceUnavailable,
            $"No Docker Engine answers. Tried {string.Join("; ", faults)}. Start Docker, set DOCKER_HOST, add your user to the docker group; or launch with another -Resource, such as a process of this machine.",
            address ?? endpoints[0].Address
        );
    }

    internal static IEnumerable<Endpoint> Find(LaunchEnvironment environment)
    {
        var certificates = environment["DOCKER_CERT_PATH"];
        if (environment["DOCKER_HOST"] is { } host)
        {
            yield return new Endpoint(
                host,
                "DOCKER_HOST",
                environment["DOCKER_TLS_VERIFY"] is not null ? certificates ?? ConfigFolder(environment) : certificates
            );
            yield break;
        }

        var context = environment["DOCKER_CONTEXT"] ?? CurrentContext(environment);
        if (context is not null and not "default")
        {
            var id = Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(context))).ToLowerInvariant();
            var meta = Path.Combine(ConfigFolder(environment), "contexts", "meta", id, "meta.json");
            if (!File.Exists(meta))
            {
                throw new LaunchException(
                    "DockerContextNotFound",
                    LaunchErrorCategory.ObjectNotFound,
                    $"There is no docker context '{context}'. See 'docker context ls', or unset DOCKER_CONTEXT.",
                    context
                );
            }

            using var document = JsonDocument.Parse(File.ReadAllText(meta));
            var address = document.RootElement.Text("Endpoints", "docker", "Host");
            if (address is { Length: > 0 })
            {
                var tls = Path.Combine(ConfigFolder(environment), "contexts", "tls", id, "docker");
                yield return new Endpoint(address, $"docker context {context}", Directory.Exists(tls) ? tls : null);
                yield break;
            }
        }

        if (environment.IsWindows)
        {
            yield return new Endpoint("npipe://./pipe/docker_engine", "default");
            yield return new Endpoint("npipe://./pipe/dockerDesktopLinuxEngine", "Docker Desktop");
        }
        else
        {
            yield return new Endpoint("unix:///var/run/docker.sock", "default");
            if (environment["XDG_RUNTIME_DIR"] is { } runtime && File.Exists(Path.Combine(runtime, "docker.sock")))
            {
                yield return new Endpoint("unix://" + Path.Combine(runtime, "docker.sock"), "rootless");
            }

            if (File.Exists(Path.Combine(environment.Home, ".docker", "run", "docker.sock")))
            {
                yield return new Endpoint(
                    "unix://" + Path.Combine(environment.Home, ".docker", "run", "docker.sock"),
                    "Docker Desktop"
                );
            }
        }
    }

    private static async Task<DockerClient> OpenAsync(Endpoint endpoint, CancellationToken token)
    {
        var uri = new Uri(endpoint.Address.Replace("npipe:////./", "npipe://./", StringComparison.Ordinal));
        if (uri.Scheme is not ("unix" or "npipe" or "tcp" or "http" or "https"))
        {
            throw new LaunchException(
                "DockerHostNotSupported",
                LaunchErrorCategory.InvalidArgument,
                $"The Docker address '{endpoint.Address}' ({endpoint.From}) is not unix, npipe or tcp. For ssh, forward the socket: ssh -NL /tmp/docker.sock:/var/run/docker.sock host, and set DOCKER_HOST=unix:///tmp/docker.sock.",
                endpoint.Address
            );
        }

        Credentials credentials =
            endpoint.CertificateFolder is { } folder && uri.Scheme is "tcp" or "https"
                ? new TlsCredentials(folder)
                : new AnonymousCredentials();

        // Without a version in its path a request is taken by every engine; its answer tells which version to name.
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(token);
        limit.CancelAfter(TimeSpan.FromSeconds(10));
        using var probe = new DockerClientConfiguration(uri, credentials, TimeSpan.FromSeconds(10)).CreateClient();
        var version = await probe.System.GetVersionAsync(limit.Token);
        var offered = Version.Parse(version.APIVersion);
        return new DockerClientConfiguration(uri, credentials, Timeout.InfiniteTimeSpan).CreateClient(
            offered < Newest ? offered : Newest
        );
    }

    private static string ConfigFolder(LaunchEnvironment environment) =>
        environment["DOCKER_CONFIG"] ?? Path.Combine(environment.Home, ".docker");

    /// <summary>The user's settings of docker: contexts, logins and their helpers.</summary>
    internal static string ConfigPath(LaunchEnvironment environment) =>
        Path.Combine(ConfigFolder(environment), "config.json");

    private static string? CurrentContext(LaunchEnvironment environment)
    {
        var path = ConfigPath(environment);
        try
        {
            if (!File.Exists(path))
            {
                return null;
            }

            using var document = JsonDocument.Parse(File.ReadAllText(path));
            return document.RootElement.Text("currentContext");
        }
        catch (JsonException)
        {
            return null;
        }
    }

    /// <summary>The certificates of a DOCKER_CERT_PATH folder: ca.pem, cert.pem, key.pem.</summary>
    private sealed class TlsCredentials(string folder) : Credentials
    {
        private readonly X509Certificate2 _client = new(
            X509Certificate2
                .CreateFromPemFile(Path.Combine(folder, "cert.pem"), Path.Combine(folder, "key.pem"))
                .Export(X509ContentType.Pkcs12)
        );

        public override bool IsTlsCredentials() => true;

        public override HttpMessageHandler GetHandler(HttpMessageHandler innerHandler)
        {
            var handler = (ManagedHandler)innerHandler;
            handler.ClientCertificates = [_client];
            var authority = Path.Combine(folder, "ca.pem");
            if (File.Exists(authority))
            {
                var roots = new X509Certificate2Collection();
                roots.ImportFromPemFile(authority);
                handler.ServerCertificateValidationCallback = (_, certificate, _, errors) =>
                {
                    if (
                        certificate is null
                        || errors.HasFlag(System.Net.Security.SslPolicyErrors.RemoteCertificateNameMismatch)
                    )
                    {
                        return false;
                    }

                    using var chain = new X509Chain();
                    chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
                    chain.ChainPolicy.CustomTrustStore.AddRange(roots);
                    chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
                    return chain.Build(new X509Certificate2(certificate));
                };
            }

            return handler;
        }

        public override void Dispose()
        {
            _client.Dispose();
            base.Dispose();
        }
    }
}
