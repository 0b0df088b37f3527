using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Playwright;

namespace WandbLaunch.IntegrationTests;

/// <summary>A server with its page, and Chromium to look at it: one of each for all tests of the page.</summary>
public sealed class PageSite : IAsyncLifetime
{
    internal const string Key = "local-0123456789012345678901234567890123456789";

    private readonly HttpClient _api = new();
    private System.Diagnostics.Process? _server;
    private IPlaywright? _playwright;
    private IBrowser? _browser;

    internal static string Chromium =>
        Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_CHROMIUM") ?? "/usr/bin/chromium";

    internal string Url { get; private set; } = "";

    private string Folder { get; } =
        Directory.CreateDirectory(Path.Combine(Machine.Root, "page-" + Guid.NewGuid().ToString("n")[..6])).FullName;

    public async ValueTask InitializeAsync()
    {
        if (!File.Exists(Chromium))
        {
            return;
        }

        _api.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", Key);
        await StartServerAsync("0");
        _playwright = await Playwright.CreateAsync();
        _browser = await _playwright.Chromium.LaunchAsync(
            new BrowserTypeLaunchOptions
            {
                ExecutablePath = Chromium,
                Headless = true,
                Args = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"],
            }
        );
    }

    public async ValueTask DisposeAsync()
    {
        if (_browser is not null)
        {
            await _browser.DisposeAsync();
        }

        _playwright?.Dispose();
        _api.Dispose();
        await KillServerAsync();
    }

    internal async Task KillServerAsync()
    {
        if (_server is { HasExited: false })
        {
            _server.Kill();
            await _server.WaitForExitAsync();
        }

        _server?.Dispose();
        _server = null;
    }

    internal async Task StartServerAsync(string? port = null)
    {
        _server = Machine.Start(
            "dotnet",
            [
                Path.Combine(Machine.Module, "server", "WandbLaunch.Server.dll"),
                "--path",
                Path.Combine(Folder, "wandb.db"),
                "--port",
                port ?? new Uri(Url).Port.ToString(System.Globalization.CultureInfo.InvariantCulture),
            ],
            Folder,
            ("WANDBLAUNCH_SERVER_KEY", Key)
        );
        var line = await _server!.StandardOutput.ReadLineAsync();
        Assert.StartsWith("listening ", line, StringComparison.Ordinal);
        Url = line!["listening ".Length..];
    }

    /// <summary>Another browser of another person, signed in. What it complains of fails the test that disposes it.</summary>
    internal async Task<Person> OpenAsync(string path = "/", ColorScheme colours = ColorScheme.Light, int width = 1280)
    {
        Machine.Need(_browser is not null, "Chromium at /usr/bin/chromium");
        var context = await _browser!.NewContextAsync(
            new BrowserNewContextOptions
            {
                BaseURL = Url,
                ColorScheme = colours,
                ViewportSize = new ViewportSize { Width = width, Height = 800 },
                TimezoneId = "Asia/Kolkata",
            }
        );
        await context.GrantPermissionsAsync(["clipboard-read", "clipboard-write"]);
        var page = await context.NewPageAsync();
        var person = new Person(context, page);
        await page.GotoAsync(path);
        await page.FillAsync("#key", Key);
        await page.ClickAsync("#sign-in button");
        await Assertions.Expect(page.Locator("#sign-in")).ToBeHiddenAsync();
        return person;
    }

    internal async Task<JsonNode> AskAsync(string query, object? variables = null)
    {
        var answer = await PostAsync("/graphql", new { query, variables });
        Assert.True(answer["errors"] is null, answer.ToJsonString());
        return answer["data"]!;
    }

    internal async Task<JsonNode> PostAsync(string path, object body)
    {
        using var content = new StringContent(JsonSerializer.Serialize(body), Encoding.UTF8, "application/json");
        using var answer = await _api.PostAsync(new Uri(Url + path), content);
        var text = await answer.Content.ReadAsStringAsync();
        Assert.True(answer.IsSuccessStatusCode, $"{path}: {text}");
        return JsonNode.Parse(text)!;
    }

    internal async Task<long> QueueAsync(string name, string mode = "DISABLED") =>
        (long)(await PostAsync("/page/queues", new { name, mode }))["id"]!;

    internal async Task<long> PushAsync(long queue, object spec) =>
        (long)
            (
                await PostAsync(
                    "/page/items",
                    new { queue = queue.ToString(System.Globalization.CultureInfo.InvariantCulture), spec }
                )
            )["id"]!;

    internal Task RunAsync(
        string project,
        string name,
        string? shown = null,
        JsonObject? config = null,
        object? summary = null
    ) =>
        AskAsync(
            "mutation m($i: UpsertBucketInput!) { upsertBucket(input: $i) { inserted } }",
            new
            {
                i = new
                {
                    entityName = "local",
                    modelName = project,
                    name,
                    displayName = shown ?? name,
                    jobRepo = "https://example.org/train.git",
                    commit = "0123456789abcdef0123456789abcdef01234567",
                    tags = new[] { "one" },
                    config = (config ?? new JsonObject { ["lr"] = new JsonObject { ["value"] = 0.1 } }).ToJsonString(),
                    summaryMetrics = JsonSerializer.Serialize(summary ?? new { loss = 0.5 }),
                },
            }
        );

    /// <summary>A sweep over lr that these runs belong to; its id.</summary>
    internal async Task<string> SweepAsync(string project, params string[] runs)
    {
        var sweep = (
            await AskAsync(
                "mutation s($i: UpsertSweepInput!) { upsertSweep(input: $i) { sweep { name } } }",
                new
                {
                    i = new
                    {
                        entityName = "local",
                        projectName = project,
                        config = "{method: grid, metric: {name: loss, goal: minimize}, parameters: {lr: {values: [0.1, 0.2, 0.3]}}}",
                    },
                }
            )
        )["upsertSweep"]!["sweep"]!["name"]!.ToString();
        foreach (var name in runs)
        {
            await AskAsync(
                "mutation r($i: UpsertBucketInput!) { upsertBucket(input: $i) { inserted } }",
                new
                {
                    i = new
                    {
                        entityName = "local",
                        modelName = project,
                        name,
                        sweep,
                    },
                }
            );
        }

        return sweep;
    }

    /// <summary>Another version of an artifact, made by one run and used by another.</summary>
    internal async Task ArtifactAsync(string project, string name, string maker, string user)
    {
        var artifactID = (
            await AskAsync(
                "mutation a($i: CreateArtifactInput!) { createArtifact(input: $i) { artifact { id } } }",
                new
                {
                    i = new
                    {
                        entityName = "local",
                        projectName = project,
                        runName = maker,
                        artifactTypeName = "model",
                        artifactCollectionName = name,
                        digest = Guid.NewGuid().ToString("n"),
                        digestAlgorithm = "MANIFEST_MD5",
                        metadata = "{\"accuracy\": 0.9}",
                    },
                }
            )
        )["createArtifact"]!["artifact"]!["id"]!.ToString();
        await AskAsync(
            "mutation c($i: CommitArtifactInput!) { commitArtifact(input: $i) { artifact { id } } }",
            new { i = new { artifactID } }
        );
        await AskAsync(
            "mutation u($i: UseArtifactInput!) { useArtifact(input: $i) { artifact { id } } }",
            new
            {
                i = new
                {
                    entityName = "local",
                    projectName = project,
                    runName = user,
                    artifactID,
                    usedAs = "start",
                },
            }
        );
    }

    internal Task StreamAsync(string project, string run, object files) =>
        PostAsync($"/files/local/{project}/{run}/file_stream", new { files });
}

/// <summary>A person at a browser.</summary>
public sealed class Person : IAsyncDisposable
{
    private readonly IBrowserContext _context;
    private readonly List<string> _complaints = [];

    internal Person(IBrowserContext context, IPage page)
    {
        (_context, Page) = (context, page);
        page.PageError += (_, e) => _complaints.Add("error: " + e);
        page.Dialog += (_, d) =>
        {
            _complaints.Add("dialog: " + d.Message);
            _ = d.DismissAsync();
        };
        page.Console += (_, m) =>
        {
            if (m.Text.Contains("Content Security Policy", StringComparison.Ordinal))
            {
                _complaints.Add(m.Text);
            }
        };
    }

    internal IPage Page { get; }

    internal ILocator Named(AriaRole role, string name) =>
        Page.GetByRole(role, new PageGetByRoleOptions { Name = name, Exact = true });

    /// <summary>An action of something's menu.</summary>
    internal async Task ChooseAsync(string menu, string action)
    {
        await Named(AriaRole.Button, menu).ClickAsync();
        await Named(AriaRole.Menuitem, action).ClickAsync();
    }

    public async ValueTask DisposeAsync()
    {
        await _context.DisposeAsync();
        Assert.Empty(_complaints);
    }
}
