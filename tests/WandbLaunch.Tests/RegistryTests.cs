using System.Collections.Concurrent;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Resources;
using WandbLaunch.Sources;

namespace WandbLaunch.Tests;

/// <summary>Images that are built here and pushed to a real registry (tests/engines/registry-up.sh), which wants a login.</summary>
[Collection(ProcessCollection.Name)]
public sealed class RegistryTests : IDisposable
{
    private const string User = "launch";

    // With a colon, and with what becomes + and / in the header that docker gets.
    private const string Password = "pass:wörd>>>???";

    private readonly string _folder = Fixture.NewFolder("registry");
    private readonly string? _path = Environment.GetEnvironmentVariable("PATH");
    private readonly ConcurrentQueue<string> _said = new();

    private static string Address => Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_REGISTRY") ?? "";

    private string Repository { get; } = $"{Address}/team-{Guid.NewGuid():n}/launch";

    private static string BaseImage =>
        Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_BASE_IMAGE") ?? "mini-python:3.11";

    public void Dispose() => Environment.SetEnvironmentVariable("PATH", _path);

    /// <summary>Skips with the reason where an engine is missing; in CI that is a failure.</summary>
    private static void Need()
    {
        var there =
            Address.Length > 0
            && File.Exists(
                (Environment.GetEnvironmentVariable("DOCKER_HOST") ?? "unix:///var/run/docker.sock").Replace(
                    "unix://",
                    "",
                    StringComparison.Ordinal
                )
            );
        if (!there)
        {
            Assert.False(
                OperatingSystem.IsLinux() && Environment.GetEnvironmentVariable("CI") == "true",
                "CI must have a registry and a Docker Engine"
            );
            Assert.Skip(
                "needs a Docker Engine, and a registry whose address is in WANDBLAUNCH_TEST_REGISTRY (tests/engines/registry-up.sh)"
            );
        }
    }

    private LocalContainerResource Maker(string dockerConfig)
    {
        File.WriteAllText(Path.Combine(_folder, "config.json"), dockerConfig);
        var context = new LaunchContext
        {
            Environment = new LaunchEnvironment
            {
                Variable = name =>
                    name switch
                    {
                        "DOCKER_CONFIG" => _folder,
                        "WANDBLAUNCH_HOME" => Path.Combine(_folder, "home"),
                        _ => Environment.GetEnvironmentVariable(name),
                    },
            },
        };
        return new LocalContainerResource(context);
    }

    private static string Login(string password, string? address = null) =>
        new JsonObject
        {
            ["auths"] = new JsonObject
            {
                [address ?? Address] = new JsonObject
                {
                    ["auth"] = Convert.ToBase64String(Encoding.UTF8.GetBytes($"{User}:{password}")),
                },
            },
        }.ToJsonString();

    private ResourceRequest Request(string program)
    {
        var workspace = Directory
            .CreateDirectory(Path.Combine(_folder, "code-" + Guid.NewGuid().ToString("n")[..6]))
            .FullName;
        File.WriteAllText(Path.Combine(workspace, "main.py"), program);
        return new ResourceRequest(
            new LaunchConfig { Uri = workspace, BaseImage = BaseImage },
            new LaunchOptions { NoInstall = true },
            new ResolvedRun { Workspace = workspace, EntryPoint = ["main.py"] },
            new LaunchContext().Cache
        );
    }

    private CallbackProgress Progress => new(p => _said.Enqueue(p.Text));

    private async Task<(string Image, BroughtImage Brought)> BringAsync(LocalContainerResource maker, ResourceRequest request)
    {
        var image = maker.ImageOf(request, Repository);
        return (image, await maker.BringAsync(request, image, Progress, TestContext.Current.CancellationToken));
    }

    // As anybody with the login sees it.
    private static async Task<(string? Digest, IReadOnlyList<string> Layers)> ManifestAsync(string image)
    {
        using var client = new HttpClient();
        using var request = new HttpRequestMessage(HttpMethod.Get, RegistryClient.AddressOf(image).Manifest);
        request.Headers.Accept.ParseAdd("application/vnd.docker.distribution.manifest.v2+json");
        request.Headers.Authorization = new AuthenticationHeaderValue(
            "Basic",
            Convert.ToBase64String(Encoding.UTF8.GetBytes($"{User}:{Password}"))
        );
        using var answer = await client.SendAsync(request, TestContext.Current.CancellationToken);
        answer.EnsureSuccessStatusCode();
        var manifest = JsonNode.Parse(await answer.Content.ReadAsStringAsync(TestContext.Current.CancellationToken));
        return (
            answer.Headers.GetValues("Docker-Content-Digest").Single(),
            [.. ((JsonArray)manifest!["layers"]!).Select(l => l!["digest"]!.ToString())]
        );
    }

    [Fact]
    public async Task An_image_is_pushed_with_the_login_and_once()
    {
        Need();
        var maker = Maker(Login(Password));
        var request = Request("print('one')");
        var (image, brought) = await BringAsync(maker, request);
        Assert.StartsWith(Repository + ":", image, StringComparison.Ordinal);
        var (digest, layers) = await ManifestAsync(image);
        Assert.Equal((digest, (string?)null), (brought.Digest, brought.Warning));
        Assert.Matches("^sha256:[0-9a-f]{64}$", digest);
        Assert.Contains(_said, s => s.StartsWith("pushing " + image, StringComparison.Ordinal));

        // The same code again, from another folder: nothing is built and nothing pushed.
        _said.Clear();
        var again = await BringAsync(maker, Request("print('one')"));
        Assert.Equal((image, digest), (again.Image, again.Brought.Digest));
        Assert.Empty(_said);

        // Other code is another image, on the same layers.
        var (other, second) = await BringAsync(maker, Request("print('two')"));
        Assert.NotEqual(image, other);
        Assert.NotEqual(digest, second.Digest);
        Assert.Equal(layers.SkipLast(1), (await ManifestAsync(other)).Layers.SkipLast(1));
        Assert.DoesNotContain(_said, s => s.Contains(Password, StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_credential_helper_gives_the_login_and_no_process_shows_it()
    {
        Need();
        Assert.SkipWhen(OperatingSystem.IsWindows(), "the helper is a script");
        var helper = Path.Combine(_folder, "docker-credential-of-the-test");
        await File.WriteAllTextAsync(
            helper,
            $$"""
            #!/bin/sh
            read -r registry; echo "$1 $registry" >> '{{_folder}}/asked'
            printf '{"ServerURL":"%s","Username":"{{User}}","Secret":"{{Password}}"}' "$registry"
            """,
            TestContext.Current.CancellationToken
        );
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(helper, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        }

        Environment.SetEnvironmentVariable("PATH", $"{_folder}{Path.PathSeparator}{_path}");
        var maker = Maker($$"""{ "credHelpers": { "{{Address}}": "of-the-test" } }""");
        using var over = new CancellationTokenSource();
        var watching = Task.Run(() => SeenAsync(over.Token), TestContext.Current.CancellationToken);
        var (image, brought) = await BringAsync(maker, Request("print('helper')"));
        await over.CancelAsync();
        Assert.Empty(await watching);
        Assert.Equal((await ManifestAsync(image)).Digest, brought.Digest);
        Assert.All(
            await File.ReadAllLinesAsync(Path.Combine(_folder, "asked"), TestContext.Current.CancellationToken),
            l => Assert.Equal("get " + Address, l)
        );
        Assert.Equal("***", Secrets.Mask(Password));
    }

    [Fact]
    public async Task A_login_that_the_registry_refuses_is_an_error_that_says_what_to_do()
    {
        Need();
        foreach (var config in new[] { Login("wrong-one"), "{}", "{ broken" })
        {
            var fault = await Assert.ThrowsAsync<LaunchException>(() =>
                BringAsync(Maker(config), Request("print('wrong')"))
            );
            Assert.Equal(("ImagePushFailed", LaunchErrorCategory.PermissionDenied), (fault.ErrorId, fault.Category));
            Assert.Contains("docker login", fault.Message, StringComparison.Ordinal);
            Assert.DoesNotContain("wrong-one", fault.ToString(), StringComparison.Ordinal);
            Assert.StartsWith(Repository, (string?)fault.Target, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_registry_that_is_away_is_no_wrong_login()
    {
        Need();

        // Nobody listens at port 9 of this machine.
        var maker = Maker(Login(Password, "127.0.0.1:9"));
        var request = Request("print('away')");
        var image = maker.ImageOf(request, "127.0.0.1:9/team/launch");
        var fault = await Assert.ThrowsAsync<LaunchException>(() =>
            maker.BringAsync(request, image, Progress, TestContext.Current.CancellationToken)
        );
        Assert.Equal(("RegistryUnavailable", LaunchErrorCategory.ConnectionError), (fault.ErrorId, fault.Category));
        Assert.Contains(image, fault.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(Password, fault.ToString(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("127.0.0.1:5000/a/b:1", "http://127.0.0.1:5000/v2/a/b/manifests/1")]
    [InlineData("localhost:5000/a:1", "http://localhost:5000/v2/a/manifests/1")]
    [InlineData("registry.example.org/a/b:1", "https://registry.example.org/v2/a/b/manifests/1")]
    [InlineData("10.0.0.1:5000/a:1", "https://10.0.0.1:5000/v2/a/manifests/1")]
    [InlineData("me/a:1", "https://registry-1.docker.io/v2/me/a/manifests/1")]
    [InlineData("a", "https://registry-1.docker.io/v2/library/a/manifests/latest")]
    public void Only_a_registry_of_this_machine_is_asked_without_TLS(string image, string address) =>
        Assert.Equal(address, RegistryClient.AddressOf(image).Manifest.AbsoluteUri);

    [Theory]
    [InlineData("https://registry.example.org/v1/", "registry.example.org/a:1", true)]
    [InlineData("registry.example.org", "registry.example.org/a:1", true)]
    [InlineData("registry.example.org:5000", "registry.example.org/a:1", false)]
    [InlineData("https://index.docker.io/v1/", "me/a:1", true)]
    public async Task A_login_is_found_however_its_address_was_written(string address, string image, bool there)
    {
        var folder = Fixture.NewFolder("docker-config");
        await File.WriteAllTextAsync(
            Path.Combine(folder, "config.json"),
            Login("p", address),
            TestContext.Current.CancellationToken
        );
        var login = await RegistryLogin.ForAsync(
            new LaunchEnvironment { Variable = n => n == "DOCKER_CONFIG" ? folder : null },
            image,
            TestContext.Current.CancellationToken
        );
        Assert.Equal(there ? User : null, login?.Username);
    }

    // Every command line of the machine, as often as it can be read.
    private static async Task<List<string>> SeenAsync(CancellationToken token)
    {
        var seen = new List<string>();
        while (!token.IsCancellationRequested)
        {
            foreach (var process in Directory.GetDirectories("/proc").Where(d => char.IsAsciiDigit(d[6])))
            {
                try
                {
                    var line = await File.ReadAllTextAsync(Path.Combine(process, "cmdline"), CancellationToken.None);
                    if (line.Contains(Password, StringComparison.Ordinal))
                    {
                        seen.Add(line);
                    }
                }
                catch (Exception e) when (e is IOException or UnauthorizedAccessException)
                {
                    // It has ended.
                }
            }

            await Task.Delay(10, CancellationToken.None);
        }

        return seen;
    }
}
