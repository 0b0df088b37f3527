using System.Diagnostics;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Server;
using WandbLaunch.Server.Pages;

namespace WandbLaunch.Tests;

/// <summary>What the page asks the server for, and what it does there, over HTTP.</summary>
public sealed class PageServerTests : IAsyncLifetime
{
    private readonly HttpClient _client = new(new SocketsHttpHandler { UseCookies = false });
    private readonly Clock _time = new();
    private LaunchServer _server = null!;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _server = await LaunchServer.StartAsync(
            Path.Combine(Fixture.NewFolder("page"), "wandb.db"),
            "127.0.0.1",
            0,
            Fixture.Key,
            time: _time
        );
        _client.BaseAddress = new Uri(_server.Url);
        _client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", Fixture.Key);
    }

    public async ValueTask DisposeAsync()
    {
        _client.Dispose();
        await _server.DisposeAsync();
    }

    [Fact]
    public async Task A_paused_queue_gives_agents_nothing_until_it_is_resumed()
    {
        var queue = await CreateAsync("q");
        await PushAsync(queue, new { uri = "https://example.org/x.git" });
        await DoAsync($"/page/queues/{queue}", new { paused = true });
        Assert.Null(await PopAsync("q"));
        Assert.False(await WaitAsync(queue, 0.1));
        Assert.Equal("The queue is paused.", (await ItemsAsync(queue))[0]!["why"]!.ToString());

        // An agent that waits hears of it at once.
        var waiting = WaitAsync(queue, 20);
        await Task.Delay(200, Token);
        var watch = Stopwatch.StartNew();
        await DoAsync($"/page/queues/{queue}", new { paused = false });
        Assert.True(await waiting);
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(15));
        Assert.NotNull(await PopAsync("q"));
    }

    [Fact]
    public async Task An_item_says_what_happened_to_it_and_why_it_is_as_it_is()
    {
        var queue = await CreateAsync("q");
        var id = await PushAsync(queue, new { uri = "https://example.org/x.git", author = "me" });
        Assert.Equal("No agent listens to this queue.", (await ItemsAsync(queue))[0]!["why"]!.ToString());
        var agent = (
            await AskAsync(
                $"mutation {{ createLaunchAgent(input: {{entityName: \"local\", projectName: \"model-registry\", runQueues: [\"{queue}\"], hostname: \"box\"}}) {{ launchAgentId }} }}"
            )
        )["createLaunchAgent"]!["launchAgentId"]!.ToString();
        Assert.Equal("It waits until an agent is free.", (await ItemsAsync(queue))[0]!["why"]!.ToString());
        Assert.Equal(id.ToString(System.Globalization.CultureInfo.InvariantCulture), await PopAsync("q", agent));
        await AskAsync(
            $"mutation {{ ackRunQueueItem(input: {{runQueueItemId: \"{id}\", runName: \"r1\"}}) {{ success }} }}"
        );
        await AskAsync(
            $"mutation {{ updateRunQueueItemEngine(input: {{runQueueItemId: \"{id}\", engineId: \"slurm-77\", reason: \"Waits for a node.\"}}) {{ success }} }}"
        );
        Assert.Equal(
            ("Waits for a node.", "slurm-77"),
            ((await ItemsAsync(queue))[0]!["why"]!.ToString(), (await ItemsAsync(queue))[0]!["engineId"]!.ToString())
        );
        Assert.Equal([id], (await GetAsync("/page/agents"))["agents"]![0]!["items"]!.AsArray().Select(i => (long)i!));
        await AskAsync(
            $"mutation {{ failRunQueueItem(input: {{runQueueItemId: \"{id}\", message: \"no space\", stage: \"run\"}}) {{ success }} }}"
        );
        var shown = await GetAsync($"/page/items/{id}");
        Assert.Equal(
            ["PENDING", "LEASED", "CLAIMED", "FAILED"],
            shown["history"]!.AsArray().Select(h => h!["state"]!.ToString())
        );
        Assert.Equal("no space", shown["item"]!["why"]!.ToString());
        Assert.Equal("me", shown["item"]!["author"]!.ToString());
        Assert.Equal(1, (int)(await QueueAsync(queue))["failed"]!);
    }

    [Fact]
    public async Task Queues_follow_the_guides_rules_and_faults_name_their_field()
    {
        var queue = await CreateAsync("default");
        Assert.Contains(
            "cannot be deleted",
            (await FailAsync(HttpMethod.Delete, $"/page/queues/{queue}")).Error,
            StringComparison.Ordinal
        );
        Assert.Equal("name", (await FailAsync("/page/queues", new { entity = "local", name = "default" })).Field);
        Assert.Equal("name", (await FailAsync("/page/queues", new { entity = "local", name = "a/b" })).Field);
        Assert.Equal(
            "name",
            (await FailAsync("/page/queues", new { entity = "local", name = new string('x', 65) })).Field
        );
        Assert.Equal("resource", (await FailAsync("/page/queues", new { name = "x", config = new { } })).Field);
        Assert.Equal(
            "variables",
            (
                await FailAsync(
                    "/page/queues",
                    new
                    {
                        name = "x",
                        resource = "slurm",
                        variables = new { gpus = 1 },
                    }
                )
            ).Field
        );

        // Nothing stays of what was refused.
        Assert.Single((await GetAsync("/page/queues"))["queues"]!.AsArray());

        var other = await CreateAsync("other");
        var waiting = await PushAsync(other, new { uri = "https://example.org/x.git" });
        await PushAsync(other, new { uri = "https://example.org/x.git" });
        Assert.Equal(waiting.ToString(System.Globalization.CultureInfo.InvariantCulture), await PopAsync("other"));
        await AskAsync(
            $"mutation {{ ackRunQueueItem(input: {{runQueueItemId: \"{waiting}\", runName: \"r1\"}}) {{ success }} }}"
        );
        await DoAsync($"/page/queues/{other}", null, HttpMethod.Delete);
        Assert.Equal("CLAIMED", (await GetAsync($"/page/items/{waiting}"))["item"]!["state"]!.ToString());
        Assert.Equal(404, (int)(await SendAsync(HttpMethod.Get, $"/page/items/{waiting + 1}")).StatusCode);
    }

    [Fact]
    public async Task What_is_pushed_is_checked_and_the_fault_is_at_its_field()
    {
        var queue = (long)
            (
                await DoAsync(
                    "/page/queues",
                    new
                    {
                        name = "gpu",
                        resource = "local-process",
                        mode = "V0",
                        config = JsonNode.Parse("""{"resource_args": {"local-process": {"gpus": "{{gpus}}"}}}"""),
                        variables = JsonNode.Parse(
                            """{"gpus": {"schema": {"type": "integer", "minimum": 1, "maximum": 8}}}"""
                        ),
                    }
                )
            )["id"]!;
        async Task<string?> FieldAsync(object spec, object? variables = null, int? priority = null) =>
            (
                await FailAsync(
                    "/page/items",
                    new
                    {
                        queue = queue.ToString(System.Globalization.CultureInfo.InvariantCulture),
                        spec,
                        variables,
                        priority,
                    }
                )
            ).Field;
        var good = new { uri = "https://example.org/x.git" };
        Assert.Equal("variables.gpus", await FieldAsync(good));
        Assert.Equal("variables.gpus", await FieldAsync(good, new { gpus = 9 }));
        Assert.Equal("variables.gpus", await FieldAsync(good, new { gpus = "two" }));
        Assert.Equal("priority", await FieldAsync(good, new { gpus = 2 }, 7));
        Assert.Equal("source", await FieldAsync(new { project = "demo" }));
        Assert.Equal("source", await FieldAsync(new { uri = "./folder" }));
        Assert.Equal("source", await FieldAsync(new { uri = "C:\\folder" }));
        Assert.Equal("args", await FieldAsync(new { uri = "https://x", overrides = new { args = "--lr 1" } }));
        Assert.Equal(
            "run_config",
            await FieldAsync(new { uri = "https://x", overrides = new { run_config = new[] { 1 } } })
        );
        Assert.Equal("queue", (await FailAsync("/page/items", new { queue = "77", spec = good })).Field);
        var id = await PushAsync(queue, good, new { gpus = 2 }, 0);
        var spec = (await GetAsync($"/page/items/{id}"))["spec"]!;
        Assert.Equal(2, (int)spec["resource_args"]!["local-process"]!["gpus"]!);
        Assert.Equal("local", spec["author"]!.ToString());
    }

    [Fact]
    public async Task Items_are_deleted_moved_queued_again_and_set_before_others_each_for_itself()
    {
        var (queue, target) = (await CreateAsync("q", "V0"), await CreateAsync("target"));
        var ids = new List<long>();
        for (var i = 0; i < 5; i++)
        {
            ids.Add(await PushAsync(queue, new { uri = $"https://example.org/{i}.git" }));
        }

        var started = long.Parse((await PopAsync("q"))!, System.Globalization.CultureInfo.InvariantCulture);
        await AskAsync(
            $"mutation {{ ackRunQueueItem(input: {{runQueueItemId: \"{started}\", runName: \"r\"}}) {{ success }} }}"
        );
        await ActAsync(
            new
            {
                action = "priority",
                ids = new[] { ids[4] },
                priority = 0,
            }
        );
        Assert.Equal(0, (int)(await GetAsync($"/page/items/{ids[4]}"))["before"]!);
        var results = await ActAsync(new { action = "delete", ids = new[] { ids[1], started, 999 } });
        Assert.Null(results[0]!["error"]);
        Assert.Contains("does not wait any more", results[1]!["error"]!.ToString(), StringComparison.Ordinal);
        Assert.Contains("not there", results[2]!["error"]!.ToString(), StringComparison.Ordinal);
        var moved = (long)
            (
                await ActAsync(
                    new
                    {
                        action = "move",
                        ids = new[] { ids[2] },
                        queue = target.ToString(System.Globalization.CultureInfo.InvariantCulture),
                    }
                )
            )[0]!["made"]!;
        Assert.Equal(target, (long)(await GetAsync($"/page/items/{moved}"))["item"]!["queue"]!);
        await AskAsync(
            $"mutation {{ finishRunQueueItem(input: {{runQueueItemId: \"{started}\", state: \"FAILED\", exitCode: 3}}) {{ success }} }}"
        );
        var again = (long)(await ActAsync(new { action = "requeue", ids = new[] { started } }))[0]!["made"]!;
        var shown = await GetAsync($"/page/items/{again}");
        Assert.Equal("https://example.org/0.git", shown["spec"]!["uri"]!.ToString());
        Assert.Contains($"it was {started}", shown["history"]!.ToJsonString(), StringComparison.Ordinal);
        Assert.Equal("Exit code 3.", (await GetAsync($"/page/items/{started}"))["item"]!["why"]!.ToString());
        Assert.Equal(
            400,
            (int)(await SendAsync(HttpMethod.Post, "/page/items/act", new { action = "burn", ids })).StatusCode
        );
    }

    [Fact]
    public async Task The_table_of_runs_is_sorted_filtered_searched_grouped_and_kept_while_one_scrolls()
    {
        for (var i = 0; i < 12; i++)
        {
            await RunAsync(
                $"r{i}",
                $"name 100%{i}",
                new { lr = i / 10.0, opt = i % 2 == 0 ? "adam" : "sgd" },
                i == 7 ? null : new { loss = 11 - i }
            );
        }

        async Task<JsonNode> ListAsync(string more) => await GetAsync("/page/runs?entity=local&project=demo&" + more);
        static string[] Names(JsonNode list) => [.. list["runs"]!.AsArray().Select(r => r!["name"]!.ToString())];
        var byLoss = await ListAsync("sort=summary.loss&columns=summary.loss%0aconfig.opt&first=3");
        Assert.Equal(["r11", "r10", "r9"], Names(byLoss));
        Assert.Equal(
            (12, 0.0, "sgd"),
            (
                (int)byLoss["total"]!,
                (double)byLoss["runs"]![0]!["values"]!["summary.loss"]!,
                byLoss["runs"]![0]!["values"]!["config.opt"]!.ToString()
            )
        );

        // What has no value comes last either way.
        Assert.Equal("r7", Names(await ListAsync("sort=-summary.loss"))[^1]);
        Assert.Equal("r7", Names(await ListAsync("sort=summary.loss"))[^1]);
        Assert.Equal(["r11", "r10", "r1"], Names(await ListAsync("q=" + Uri.EscapeDataString("100%1"))));
        Assert.Equal(3, (int)(await ListAsync("q=" + Uri.EscapeDataString("100%1")))["total"]!);
        Assert.Equal(0, (int)(await ListAsync("q=" + Uri.EscapeDataString("1_0")))["total"]!);
        var filter = Uri.EscapeDataString("""{"$and":[{"config.opt":{"$eq":"adam"}},{"config.lr":{"$gt":0.5}}]}""");
        Assert.Equal(["r10", "r8", "r6"], Names(await ListAsync($"filter={filter}")));
        var groups = (await GetAsync("/page/runs/groups?entity=local&project=demo&by=config.opt"))["groups"]!.AsArray();
        Assert.Equal(
            [("adam", 6), ("sgd", 6)],
            groups.Select(g => (g!["value"]!.ToString(), (int)g["count"]!)).Order()
        );

        // A run that comes while one scrolls moves nothing.
        var first = await ListAsync("first=6");
        await RunAsync("new", "new", new { }, null);
        var snapshot = first["snapshot"]!.ToString();
        Assert.Equal("r5", Names(await ListAsync($"first=6&offset=6&snapshot={snapshot}"))[0]);
        Assert.Equal("new", Names(await ListAsync("first=6"))[0]);
        foreach (var column in new[] { "nonsense", "config.", "config.a\"b", "name;DROP TABLE runs" })
        {
            Assert.Equal(
                400,
                (int)
                    (
                        await SendAsync(
                            HttpMethod.Get,
                            "/page/runs?entity=local&project=demo&sort=" + Uri.EscapeDataString(column)
                        )
                    ).StatusCode
            );
        }

        var keys = await GetAsync("/page/runs/keys?entity=local&project=demo");
        Assert.Equal(["lr", "opt"], keys["config"]!.AsArray().Select(k => k!["key"]!.ToString()));
        var compared = await GetAsync("/page/runs/compare?entity=local&project=demo&runs=r0,r2,gone");
        Assert.Equal(["config.lr", "summary.loss"], compared["lines"]!.AsArray().Select(l => l!["key"]!.ToString()));
        Assert.Equal(1, (int)compared["same"]!);
    }

    [Fact]
    public async Task A_long_history_is_thinned_without_losing_a_spike()
    {
        await RunAsync("r", "r", new { }, null);
        var rows = Enumerable
            .Range(0, 20_000)
            .Select(i =>
                i == 12_345 ? "{\"_step\":12345,\"loss\":1e9}"
                : i == 7 ? "{\"_step\":7,\"loss\":NaN}"
                : $"{{\"_step\":{i},\"loss\":{i % 5}}}"
            );
        await DoAsync(
            "/files/local/demo/r/file_stream",
            new JsonObject
            {
                ["files"] = new JsonObject
                {
                    ["wandb-history.jsonl"] = new JsonObject
                    {
                        ["offset"] = 0,
                        ["content"] = new JsonArray([.. rows.Select(r => (JsonNode)r)]),
                    },
                },
            }
        );
        var line = (await GetAsync("/page/run/history?entity=local&project=demo&runs=r&keys=loss&points=100"))["runs"]![
            0
        ]!["lines"]!["loss"]!;
        Assert.InRange(line["y"]!.AsArray().Count, 50, 100);
        Assert.Equal(20_000, (int)line["of"]!);
        Assert.Equal(1e9, line["y"]!.AsArray().Max(y => (double?)y));
        Assert.Equal(0, line["y"]!.AsArray().Min(y => (double?)y));
        Assert.Equal(
            ["loss"],
            (await GetAsync("/page/run?entity=local&project=demo&run=r"))["keys"]!.AsArray().Select(k => k!.ToString())
        );
        var thin = RunHistory.Thin([1, 2, 3, 4], [double.NaN, double.PositiveInfinity, 5, 6], 4);
        Assert.Equal([null, null, 5, 6], thin.Y);
    }

    [Fact]
    public async Task A_link_signs_in_once_and_soon_and_only_the_key_makes_one()
    {
        async Task<HttpResponseMessage> SignInAsync(string code) =>
            await new HttpClient { BaseAddress = _client.BaseAddress }.PostAsJsonAsync(
                "/session",
                new { link = code },
                Token
            );
        async Task<string> MakeAsync() => (await DoAsync("/session/link", new { }))["code"]!.ToString();
        using var stranger = new HttpClient { BaseAddress = _client.BaseAddress };
        Assert.Equal(
            HttpStatusCode.Unauthorized,
            (await stranger.PostAsJsonAsync("/session/link", new { }, Token)).StatusCode
        );
        var code = await MakeAsync();
        using var first = await SignInAsync(code);
        Assert.Equal(HttpStatusCode.OK, first.StatusCode);
        Assert.Contains("httponly", first.Headers.GetValues("Set-Cookie").Single(), StringComparison.OrdinalIgnoreCase);
        Assert.Equal(HttpStatusCode.Unauthorized, (await SignInAsync(code)).StatusCode);
        var old = await MakeAsync();
        _time.Pass(TimeSpan.FromMinutes(2));
        Assert.Equal(HttpStatusCode.Unauthorized, (await SignInAsync(old)).StatusCode);

        // Guessing is slowed down as that of keys is.
        for (var i = 0; i < 10; i++)
        {
            await SignInAsync("guess");
        }

        Assert.Equal(HttpStatusCode.TooManyRequests, (await SignInAsync(await MakeAsync())).StatusCode);
        _time.Pass(TimeSpan.FromMinutes(1));
        Assert.Equal(HttpStatusCode.OK, (await SignInAsync(await MakeAsync())).StatusCode);
    }

    [Fact]
    public async Task Pages_are_told_what_changes_within_a_second_in_few_words_and_not_after_they_signed_out()
    {
        var feed = (ChangeFeed)_server.Services.GetService(typeof(ChangeFeed))!;
        var queue = await CreateAsync("q");
        using var signedIn = await _client.PostAsJsonAsync("/session", new { key = Fixture.Key }, Token);
        var cookie = signedIn.Headers.GetValues("Set-Cookie").Single().Split(';')[0];
        var token = (await signedIn.Content.ReadFromJsonAsync<JsonNode>(Token))!["token"]!.ToString();
        using var browser = new HttpClient(new SocketsHttpHandler { UseCookies = false })
        {
            BaseAddress = _client.BaseAddress,
        };
        browser.DefaultRequestHeaders.Add("Cookie", cookie);
        foreach (var path in new[] { "/page/events", "/page/queues", "/page/runs?project=demo", "/page/agents" })
        {
            // Half of a session is none.
            Assert.Equal(HttpStatusCode.Unauthorized, (await browser.GetAsync(path, Token)).StatusCode);
        }

        browser.DefaultRequestHeaders.Add("X-WandbLaunch-Session", token);
        using var answer = await browser.GetAsync("/page/events", HttpCompletionOption.ResponseHeadersRead, Token);
        using var reader = new StreamReader(await answer.Content.ReadAsStreamAsync(Token));
        Assert.Equal("event: hello", await reader.ReadLineAsync(Token));
        await reader.ReadLineAsync(Token);
        await reader.ReadLineAsync(Token);
        Assert.Equal(1, feed.Count);
        var watch = Stopwatch.StartNew();
        for (var i = 0; i < 40; i++)
        {
            await PushAsync(queue, new { uri = "https://example.org/x.git" });
        }

        var pushed = watch.Elapsed;
        var told = 0;
        var items = new HashSet<long>();
        while (items.Count < 40)
        {
            var line = await reader.ReadLineAsync(Token).AsTask().WaitAsync(TimeSpan.FromSeconds(60), Token);
            if (line!.StartsWith("data: ", StringComparison.Ordinal))
            {
                told++;
                items.UnionWith(JsonNode.Parse(line[6..])!["items"]!.AsArray().Select(i => (long)i!));
            }
        }

        Assert.True(watch.Elapsed - pushed < TimeSpan.FromSeconds(20), $"told after {watch.Elapsed - pushed}");
        Assert.True(told <= 1 + watch.Elapsed / TimeSpan.FromMilliseconds(250), $"{told} events in {watch.Elapsed}");
        await RunAsync("r1", "r1", new { }, null);
        var run = "";
        while (!run.Contains("local/demo/r1", StringComparison.Ordinal))
        {
            run = (await reader.ReadLineAsync(Token).AsTask().WaitAsync(TimeSpan.FromSeconds(60), Token))!;
        }

        using var outside = await browser.DeleteAsync("/session", Token);
        await PushAsync(queue, new { uri = "https://example.org/secret.git" });
        string? last;
        do
        {
            last = await reader.ReadLineAsync(Token).AsTask().WaitAsync(TimeSpan.FromSeconds(60), Token);
            Assert.DoesNotContain("items", last ?? "", StringComparison.Ordinal);
        } while (last is not null);
        for (var i = 0; i < 50 && feed.Count > 0; i++)
        {
            await Task.Delay(100, Token);
        }

        Assert.Equal(0, feed.Count);
    }

    [Fact]
    public async Task Page_and_files_are_packed_and_kept_by_their_version()
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, "/");
        request.Headers.Add("Accept", "text/html");
        using var page = await _client.SendAsync(request, Token);
        var html = await page.Content.ReadAsStringAsync(Token);
        var asset = System.Text.RegularExpressions.Regex.Match(html, "/assets/[0-9a-f]{16}/core.js").Value;
        Assert.NotEmpty(asset);
        foreach (var (accept, encoding) in new[] { ("gzip, br", "br"), ("gzip", "gzip"), ("identity", null) })
        {
            using var wanted = new HttpRequestMessage(HttpMethod.Get, asset);
            wanted.Headers.Add("Accept-Encoding", accept);
            using var got = await _client.SendAsync(wanted, Token);
            Assert.Equal(encoding, got.Content.Headers.ContentEncoding.SingleOrDefault());
            Assert.Contains("immutable", got.Headers.CacheControl!.ToString(), StringComparison.Ordinal);
            Assert.Equal("text/javascript", got.Content.Headers.ContentType!.MediaType);
        }

        using var other = await _client.GetAsync("/assets/0000000000000000/core.js", Token);
        Assert.Equal(HttpStatusCode.NotFound, other.StatusCode);
    }

    private async Task<long> CreateAsync(string name, string mode = "DISABLED") =>
        (long)
            (
                await DoAsync(
                    "/page/queues",
                    new
                    {
                        entity = "local",
                        name,
                        mode,
                    }
                )
            )["id"]!;

    private async Task<long> PushAsync(long queue, object spec, object? variables = null, int? priority = null) =>
        (long)
            (
                await DoAsync(
                    "/page/items",
                    new
                    {
                        queue = queue.ToString(System.Globalization.CultureInfo.InvariantCulture),
                        spec,
                        variables,
                        priority,
                    }
                )
            )["id"]!;

    private async Task<JsonArray> ItemsAsync(long queue) =>
        (await GetAsync($"/page/items?queue={queue}"))["items"]!.AsArray();

    private async Task<JsonNode> QueueAsync(long id) =>
        (await GetAsync("/page/queues"))["queues"]!.AsArray().Single(q => (long)q!["id"]! == id)!;

    private async Task<JsonArray> ActAsync(object body) =>
        (await DoAsync("/page/items/act", body))["results"]!.AsArray();

    private async Task<string?> PopAsync(string queue, string? agent = null) =>
        (
            await AskAsync(
                $"mutation {{ popFromRunQueue(input: {{entityName: \"local\", projectName: \"model-registry\", queueName: \"{queue}\"{(agent is null ? "" : $", launchAgentId: \"{agent}\"")}}}) {{ runQueueItemId }} }}"
            )
        )["popFromRunQueue"]
            ?["runQueueItemId"]?.ToString();

    private async Task<bool> WaitAsync(long queue, double seconds) =>
        (bool)
            (
                await GetAsync(
                    $"/queues/wait?queue={queue}&timeout={seconds.ToString(System.Globalization.CultureInfo.InvariantCulture)}"
                )
            )["ready"]!;

    private Task<JsonNode> RunAsync(string name, string shown, object config, object? summary) =>
        AskAsync(
            "mutation m($i: UpsertBucketInput!) { upsertBucket(input: $i) { inserted } }",
            new
            {
                i = new
                {
                    entityName = "local",
                    modelName = "demo",
                    name,
                    displayName = shown,
                    config = JsonSerializer
                        .SerializeToNode(config)!
                        .AsObject()
                        .Aggregate(
                            new JsonObject(),
                            (made, entry) =>
                            {
                                made[entry.Key] = new JsonObject { ["value"] = entry.Value?.DeepClone() };
                                return made;
                            }
                        )
                        .ToJsonString(),
                    summaryMetrics = JsonSerializer.Serialize(summary ?? new { }),
                },
            }
        );

    private async Task<JsonNode> AskAsync(string query, object? variables = null)
    {
        var answer = await DoAsync("/graphql", new { query, variables });
        Assert.Null(answer["errors"]);
        return answer["data"]!;
    }

    private async Task<HttpResponseMessage> SendAsync(HttpMethod method, string path, object? body = null)
    {
        using var request = new HttpRequestMessage(method, path);
        if (body is not null)
        {
            request.Content = new StringContent(JsonSerializer.Serialize(body), Encoding.UTF8, "application/json");
        }

        return await _client.SendAsync(request, Token);
    }

    private Task<JsonNode> GetAsync(string path) => DoAsync(path, null, HttpMethod.Get);

    private async Task<JsonNode> DoAsync(string path, object? body, HttpMethod? method = null)
    {
        using var answer = await SendAsync(method ?? HttpMethod.Post, path, body);
        var text = await answer.Content.ReadAsStringAsync(Token);
        Assert.True(answer.IsSuccessStatusCode, $"{path}: {(int)answer.StatusCode} {text}");
        return JsonNode.Parse(text)!;
    }

    private Task<(string Error, string? Field)> FailAsync(string path, object body) =>
        FailAsync(HttpMethod.Post, path, body);

    private async Task<(string Error, string? Field)> FailAsync(HttpMethod method, string path, object? body = null)
    {
        using var answer = await SendAsync(method, path, body);
        var text = await answer.Content.ReadAsStringAsync(Token);
        Assert.True(answer.StatusCode == HttpStatusCode.BadRequest, $"{path}: {(int)answer.StatusCode} {text}");
        var node = JsonNode.Parse(text)!;
        return (node["error"]!.ToString(), node["field"]?.ToString());
    }

    private sealed class Clock : TimeProvider
    {
        private long _passed;

        internal void Pass(TimeSpan time) => Interlocked.Add(ref _passed, time.Ticks);

        public override long GetTimestamp() =>
            base.GetTimestamp()
            + (long)(Interlocked.Read(ref _passed) / (double)TimeSpan.TicksPerSecond * TimestampFrequency);
    }
}
