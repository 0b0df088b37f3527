using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json.Nodes;
using WandbLaunch.Server;
using WandbLaunch.Server.Auth;

namespace WandbLaunch.Tests;

/// <summary>How others reach the server: by TLS, behind a proxy that was named, or not at all.</summary>
public sealed class ServerTlsTests
{
    private readonly string _folder = Fixture.NewFolder("tls");
    private readonly MovedTime _time = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private string Database => Path.Combine(_folder, "wandb.db");

    [Fact]
    public async Task Beyond_this_machine_it_does_not_start_without_tls()
    {
        var fault = await Assert.ThrowsAsync<StartFault>(() =>
            LaunchServer.StartAsync(new LaunchServerOptions(Database, "0.0.0.0", 0, Fixture.Key))
        );
        Assert.Equal(StartFault.Insecure, fault.ExitCode);
        Assert.Contains("-AllowInsecure", fault.Message, StringComparison.Ordinal);
        Assert.False(File.Exists(Database));
        await using var server = await LaunchServer.StartAsync(
            new LaunchServerOptions(Database, "0.0.0.0", 0, Fixture.Key) { AllowInsecure = true }
        );
        Assert.StartsWith("http://0.0.0.0:", server.Url, StringComparison.Ordinal);
        Assert.Null(server.TlsUrl);
    }

    [Fact]
    public async Task A_certificate_that_is_renewed_is_the_next_connections()
    {
        var path = Path.Combine(_folder, "lab.pem");
        var first = WritePem(path);
        await using var server = await StartAsync(new CertificatePaths(path, null, null));
        Assert.Equal(first, await ThumbprintAsync(server));

        // Half of a new one is none: the old one goes on.
        await File.WriteAllTextAsync(path, "-----BEGIN CERTIFICATE-----\nAAAA", Token);
        Touch(path, 1);
        _time.Move(TimeSpan.FromSeconds(2));
        Assert.Equal(first, await ThumbprintAsync(server));
        var second = WritePem(path);
        Touch(path, 2);
        _time.Move(TimeSpan.FromSeconds(2));
        Assert.Equal(second, await ThumbprintAsync(server));
    }

    [Fact]
    public async Task One_behind_links_is_renewed_as_a_cluster_renews_mounted_secrets()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "links need a right of their own there");
        var (one, two) = (Path.Combine(_folder, "..1"), Path.Combine(_folder, "..2"));
        Directory.CreateDirectory(one);
        Directory.CreateDirectory(two);
        var (data, path) = (Path.Combine(_folder, "..data"), Path.Combine(_folder, "tls.pem"));
        var first = WritePem(Path.Combine(one, "tls.pem"));
        var second = WritePem(Path.Combine(two, "tls.pem"));
        Touch(Path.Combine(two, "tls.pem"), 1);
        Directory.CreateSymbolicLink(data, "..1");
        File.CreateSymbolicLink(path, "..data/tls.pem");
        await using var server = await StartAsync(new CertificatePaths(path, null, null));
        Assert.Equal(first, await ThumbprintAsync(server));

        // The link itself stays; what is swapped is the folder before it.
        Directory.Delete(data);
        Directory.CreateSymbolicLink(data, "..2");
        _time.Move(TimeSpan.FromSeconds(2));
        Assert.Equal(second, await ThumbprintAsync(server));
    }

    [Fact]
    public async Task Pem_with_a_key_of_its_own_and_pfx_with_a_password_do()
    {
        var (certificate, key) = (Path.Combine(_folder, "cert.pem"), Path.Combine(_folder, "key.pem"));
        var thumbprint = WritePem(certificate, key);
        await using (var server = await StartAsync(new CertificatePaths(certificate, key, null)))
        {
            Assert.Equal(thumbprint, await ThumbprintAsync(server));
        }

        var pfx = Path.Combine(_folder, "lab.pfx");
        using (var made = Make(out _))
        {
            await File.WriteAllBytesAsync(pfx, made.Export(X509ContentType.Pfx, "secret"), Token);
            thumbprint = made.Thumbprint;
        }

        await using (var server = await StartAsync(new CertificatePaths(pfx, null, "secret")))
        {
            Assert.Equal(thumbprint, await ThumbprintAsync(server));
        }

        foreach (
            var paths in new CertificatePaths[]
            {
                new(pfx, null, "wrong"),
                new(certificate, null, null),
                new(Path.Combine(_folder, "gone.pem"), null, null),
            }
        )
        {
            var fault = await Assert.ThrowsAsync<StartFault>(() => StartAsync(paths));
            Assert.Equal(StartFault.Certificate, fault.ExitCode);
            Assert.DoesNotContain("wrong", fault.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Programs_of_this_machine_go_on_without_tls_and_by_its_own_names_alone()
    {
        var path = Path.Combine(_folder, "lab.pem");
        WritePem(path);
        await using var server = await StartAsync(new CertificatePaths(path, null, null));
        using var client = Client(server.Url);
        Assert.Contains("Admin", await client.GetStringAsync("/page/me", Token), StringComparison.Ordinal);
        using var foreign = new HttpRequestMessage(HttpMethod.Get, "/page/me") { Headers = { Host = "evil.example" } };
        Assert.Equal(HttpStatusCode.Forbidden, (await client.SendAsync(foreign, Token)).StatusCode);

        // By TLS it has the names of its certificate, which the client looks at.
        using var secure = Client(server.TlsUrl!);
        using var named = new HttpRequestMessage(HttpMethod.Get, "/page/me") { Headers = { Host = "lab.example.org" } };
        Assert.Equal(HttpStatusCode.OK, (await secure.SendAsync(named, Token)).StatusCode);
        using var signIn = await secure.PostAsJsonAsync("/session", new { key = Fixture.Key }, Token);
        Assert.Contains("secure", signIn.Headers.GetValues("Set-Cookie").Single(), StringComparison.OrdinalIgnoreCase);
    }

    [Theory]
    [InlineData("127.0.0.0/8", "192.0.2.7", true)]
    [InlineData("192.0.2.0/24", "127.0.0.1", false)]
    [InlineData(null, "127.0.0.1", false)]
    public async Task What_a_proxy_says_counts_where_it_was_named(string? proxy, string address, bool isSecure)
    {
        await using var server = await LaunchServer.StartAsync(
            new LaunchServerOptions(Database, "127.0.0.1", 0, Fixture.Key)
            {
                TrustedProxies = proxy is null ? [] : [IPNetwork.Parse(proxy)],
                PublicUrl = new Uri("https://lab.example.org"),
            }
        );
        using var client = Client(server.Url);
        using var request = new HttpRequestMessage(HttpMethod.Post, "/session")
        {
            Content = JsonContent.Create(new { key = Fixture.Key }),
            Headers = { Host = "lab.example.org" },
        };
        request.Headers.Add("X-Forwarded-For", "192.0.2.7");
        request.Headers.Add("X-Forwarded-Proto", "https");
        using var answer = await client.SendAsync(request, Token);
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
        Assert.Equal(
            isSecure,
            answer.Headers.GetValues("Set-Cookie").Single().Contains("secure", StringComparison.OrdinalIgnoreCase)
        );
        var audit = JsonNode.Parse(await client.GetStringAsync("/audit", Token))!;
        Assert.Equal(address, audit["entries"]!.AsArray().Last()!["address"]!.ToString());

        // No name that somebody forwards opens a server of this machine.
        using var evil = new HttpRequestMessage(HttpMethod.Get, "/page/me");
        evil.Headers.Add("X-Forwarded-Host", "evil.example");
        evil.Headers.Add("X-Forwarded-For", "192.0.2.7");
        using var refused = await client.SendAsync(evil, Token);
        Assert.Equal(isSecure ? HttpStatusCode.Forbidden : HttpStatusCode.OK, refused.StatusCode);
    }

    private Task<LaunchServer> StartAsync(CertificatePaths paths) =>
        LaunchServer.StartAsync(
            new LaunchServerOptions(Database, "127.0.0.1", 0, Fixture.Key) { Certificate = paths, Time = _time }
        );

    private static HttpClient Client(string url)
    {
        var client = new HttpClient(
            new SocketsHttpHandler
            {
                UseCookies = false,
                SslOptions =
                {
                    RemoteCertificateValidationCallback = (_, certificate, _, _) =>
                        certificate?.Subject == "CN=localhost",
                },
            }
        )
        {
            BaseAddress = new Uri(url),
        };
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", Fixture.Key);
        return client;
    }

    // What a connection of its own is shown.
    private static async Task<string> ThumbprintAsync(LaunchServer server)
    {
        var seen = "";
        using var client = new HttpClient(
            new SocketsHttpHandler
            {
                SslOptions =
                {
                    RemoteCertificateValidationCallback = (_, certificate, _, _) =>
                    {
                        seen = certificate!.GetCertHashString();
                        return certificate.Subject == "CN=localhost";
                    },
                },
            }
        );
        using var answer = await client.GetAsync(new Uri(server.TlsUrl + "/page/me"), Token);
        Assert.Equal(HttpStatusCode.Unauthorized, answer.StatusCode);
        return seen;
    }

    private static string WritePem(string path, string? keyPath = null)
    {
        using var certificate = Make(out var key);
        if (keyPath is null)
        {
            File.WriteAllText(path, certificate.ExportCertificatePem() + "\n" + key);
        }
        else
        {
            File.WriteAllText(path, certificate.ExportCertificatePem());
            File.WriteAllText(keyPath, key);
        }

        return certificate.Thumbprint;
    }

    // A disk whose times are coarse would not tell two writes apart.
    private static void Touch(string path, int step) =>
        File.SetLastWriteTimeUtc(path, DateTime.UtcNow.AddSeconds(10 * step));

    private static X509Certificate2 Make(out string key)
    {
        using var own = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        key = own.ExportPkcs8PrivateKeyPem();
        var request = new CertificateRequest("CN=localhost", own, HashAlgorithmName.SHA256);
        return request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(90));
    }
}
