using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Agents;
using WandbLaunch.Wandb;

// Digests of the protocol, which keep nothing secret.
#pragma warning disable CA5351

namespace WandbLaunch.Tests;

/// <summary>What the page's views of sweeps, artifacts and agents are told over HTTP.</summary>
public sealed class PageViewTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task A_sweep_shows_its_runs_the_best_first_with_the_values_of_its_parameters()
    {
        await using var server = await ClientServer.StartAsync();
        const string Yaml = """
            method: grid
            metric: {name: val.loss, goal: minimize}
            parameters:
              lr: {values: [0.1, 0.2, 0.3]}
              optimizer: {parameters: {name: {values: [adam, sgd]}}}
            """;
        var sweep = (
            await server.AskAsync(
                "mutation S($config: String!) { upsertSweep(input: {config: $config, entityName: \"local\", projectName: \"demo\"}) { sweep { name } } }",
                new { config = Yaml }
            )
        )["upsertSweep"]!["sweep"]!["name"]!.ToString();
        foreach (var (name, lr, loss) in new[] { ("a", 0.1, 3.0), ("b", 0.2, 1.0), ("c", 0.3, (double?)null) })
        {
            await server.AskAsync(
                "mutation R($i: UpsertBucketInput!) { upsertBucket(input: $i) { inserted } }",
                new
                {
                    i = new
                    {
                        entityName = "local",
                        modelName = "demo",
                        name,
                        sweep,
                        config = JsonSerializer.Serialize(
                            new { lr = new { value = lr }, optimizer = new { value = new { name = "adam" } } }
                        ),
                        summaryMetrics = loss is null
                            ? "{}"
                            : JsonSerializer.Serialize(new Dictionary<string, object?> { ["val.loss"] = loss }),
                    },
                }
            );
        }

        var listed = await GetAsync(server, "/page/sweeps?entity=local&project=demo");
        var line = Assert.Single(listed["sweeps"]!.AsArray())!;
        Assert.Equal(
            (sweep, "grid", 3, 6, "val.loss", 1.0),
            (
                line["name"]!.ToString(),
                line["method"]!.ToString(),
                (int)line["runs"]!,
                (int)line["expected"]!,
                line["metric"]!.ToString(),
                (double)line["best"]!
            )
        );
        var shown = await GetAsync(server, $"/page/sweep?entity=local&project=demo&sweep={sweep}");
        Assert.Equal("minimize", shown["goal"]!.ToString());
        Assert.Equal(["lr", "optimizer.name"], shown["parameters"]!.AsArray().Select(p => p!.ToString()));
        var runs = shown["runs"]!.AsArray();
        Assert.Equal(["b", "a", "c"], runs.Select(r => r!["name"]!.ToString()));
        Assert.Equal([1.0, 3.0, null], runs.Select(r => (double?)r!["value"]));
        Assert.Equal("[0.2,\"adam\"]", runs[0]!["values"]!.ToJsonString());
        Assert.Contains("method: grid", shown["config"]!.ToString(), StringComparison.Ordinal);
        Assert.Equal(404, await StatusAsync(server, "/page/sweep?entity=local&project=demo&sweep=nosuch"));
        Assert.Equal(404, await StatusAsync(server, "/page/sweeps?entity=local&project=nosuch"));
    }

    [Fact]
    public async Task A_sweep_that_this_server_could_not_read_and_a_metric_with_a_quote_are_shown_all_the_same()
    {
        await using var server = await ClientServer.StartAsync();
        var sweep = (
            await server.AskAsync(
                "mutation S($config: String!) { upsertSweep(input: {config: $config, entityName: \"local\", projectName: \"demo\"}) { sweep { name } } }",
                new { config = "{method: random, metric: {name: 'a\"b'}, parameters: {lr: {values: [1, 2]}}}" }
            )
        )["upsertSweep"]!["sweep"]!["name"]!.ToString();
        Assert.Empty(
            (await GetAsync(server, $"/page/sweep?entity=local&project=demo&sweep={sweep}"))["runs"]!.AsArray()
        );
    }

    [Fact]
    public async Task An_artifact_shows_its_versions_its_files_and_of_what_and_for_what_it_was_made()
    {
        await using var server = await ClientServer.StartAsync();
        foreach (var run in new[] { "maker", "user" })
        {
            await server.AskAsync(
                "mutation R($i: UpsertBucketInput!) { upsertBucket(input: $i) { inserted } }",
                new
                {
                    i = new
                    {
                        entityName = "local",
                        modelName = "demo",
                        name = run,
                    },
                }
            );
        }

        var data = await LogAsync(server, "data", "dataset", "rows", null);
        await UseAsync(server, data, "maker");
        await LogAsync(server, "model", "model", "one", "maker");
        var model = await LogAsync(server, "model", "model", "two", "maker");
        await UseAsync(server, model, "user");
        await LogAsync(server, "report", "report", "text", "user");

        var listed = await GetAsync(server, "/page/artifacts?entity=local&project=demo");
        Assert.Equal(
            ["data dataset 1", "model model 2", "report report 1"],
            listed["artifacts"]!.AsArray().Select(a => $"{a!["name"]} {a["type"]} {a["versions"]}")
        );
        var shown = await GetAsync(server, "/page/artifact?entity=local&project=demo&artifact=model");
        Assert.Equal(["1", "0"], shown["versions"]!.AsArray().Select(v => v!["version"]!.ToString()));
        var version = shown["shown"]!;
        Assert.Equal(
            (1, "latest"),
            ((int)version["version"]!, Assert.Single(version["aliases"]!.AsArray())!.ToString())
        );
        Assert.Equal("maker", version["madeBy"]!["run"]!["name"]!.ToString());
        Assert.Equal("data", Assert.Single(version["madeBy"]!["of"]!.AsArray())!["name"]!.ToString());
        var user = Assert.Single(version["usedBy"]!.AsArray())!;
        Assert.Equal("user", user["run"]!["name"]!.ToString());
        Assert.Equal("report", Assert.Single(user["made"]!.AsArray())!["name"]!.ToString());

        // What its link leads to is the file, for whoever has the link.
        var file = Assert.Single(version["files"]!.AsArray())!;
        Assert.Equal(("a.txt", 3), (file["name"]!.ToString(), (int)file["size"]!));
        using var anybody = new HttpClient();
        Assert.Equal("two", await anybody.GetStringAsync(new Uri(server.Server.Url + file["url"]), Token));

        var first = await GetAsync(server, "/page/artifact?entity=local&project=demo&artifact=model&version=v0");
        Assert.Equal(0, (int)first["shown"]!["version"]!);
        Assert.Empty(first["shown"]!["usedBy"]!.AsArray());
        Assert.Null(
            (await GetAsync(server, "/page/artifact?entity=local&project=demo&artifact=data"))["shown"]!["madeBy"]
        );
        Assert.Equal(
            404,
            await StatusAsync(server, "/page/artifact?entity=local&project=demo&artifact=model&version=v9")
        );
        Assert.Equal(404, await StatusAsync(server, "/page/artifact?entity=local&project=demo&artifact=nosuch"));

        var maker = await GetAsync(server, "/page/run?entity=local&project=demo&run=maker");
        Assert.Equal("data", Assert.Single(maker["took"]!.AsArray())!["name"]!.ToString());
        Assert.Equal(["0", "1"], maker["made"]!.AsArray().Select(a => a!["version"]!.ToString()));
    }

    [Fact]
    public async Task An_agent_that_drains_is_still_told_to_stop_its_runs()
    {
        await using var place = await AgentTests.Place.CreateAsync(false, "q");
        var uri = AgentTests.Repository("import time\nprint('up', flush=True)\ntime.sleep(600)\n");
        await place.PushAsync("q", AgentTests.Spec(uri));
        using var agent = await place.AgentAsync("""{ "queues": "q", "stop_grace_period": 1 }""");
        var running = agent.RunAsync();
        await place.UntilAsync(() => place.Of(AgentEventKind.RunStarted).Any());
        await EndAsync("drain");
        await place.UntilAsync(() => place.Of(AgentEventKind.Draining).Any());
        Assert.Equal("Draining", (await StateAsync())!);
        await EndAsync("stop");
        Assert.Equal("Stopping", (await StateAsync())!);

        // The weaker word changes nothing any more.
        await EndAsync("drain");
        await running.WaitAsync(TimeSpan.FromSeconds(60), Token);
        Assert.Equal(QueueItemState.Stopped, Assert.Single(await place.ItemsAsync("q")).State);
        Assert.Contains(
            "with its runs",
            place.Of(AgentEventKind.AgentStopped).Single().Message,
            StringComparison.Ordinal
        );

        Task EndAsync(string how) =>
            place.Connection.Transport.PostAsync($"/page/agents/{agent.AgentId}/{how}", new { }, Token);

        async Task<string?> StateAsync() =>
            (await place.Connection.Transport.GetAsync("/page/agents", Token))
                .GetProperty("agents")
                .EnumerateArray()
                .Single()
                .GetProperty("state")
                .GetString();
    }

    private static HttpClient Client(ClientServer server) =>
        new()
        {
            BaseAddress = new Uri(server.Server.Url),
            DefaultRequestHeaders = { Authorization = new AuthenticationHeaderValue("Bearer", Fixture.Key) },
        };

    private static async Task<JsonNode> GetAsync(ClientServer server, string path)
    {
        using var client = Client(server);
        using var answer = await client.GetAsync(path, Token);
        var text = await answer.Content.ReadAsStringAsync(Token);
        Assert.True(answer.IsSuccessStatusCode, $"{path}: {text}");
        return JsonNode.Parse(text)!;
    }

    private static async Task<int> StatusAsync(ClientServer server, string path)
    {
        using var client = Client(server);
        using var answer = await client.GetAsync(path, Token);
        return (int)answer.StatusCode;
    }

    private static Task<JsonNode> UseAsync(ClientServer server, string artifact, string run) =>
        server.AskAsync(
            "mutation U($i: UseArtifactInput!) { useArtifact(input: $i) { artifact { id } } }",
            new
            {
                i = new
                {
                    entityName = "local",
                    projectName = "demo",
                    runName = run,
                    artifactID = artifact,
                },
            }
        );

    // A version with one file, as clients make it; its id.
    private static async Task<string> LogAsync(
        ClientServer server,
        string name,
        string type,
        string content,
        string? run
    )
    {
        var bytes = Encoding.UTF8.GetBytes(content);
        var md5 = Convert.ToBase64String(MD5.HashData(bytes));
        var id = (
            await server.AskAsync(
                "mutation C($i: CreateArtifactInput!) { createArtifact(input: $i) { artifact { id } } }",
                new
                {
                    i = new
                    {
                        entityName = "local",
                        projectName = "demo",
                        runName = run,
                        artifactTypeName = type,
                        artifactCollectionName = name,
                        digest = Convert.ToHexString(MD5.HashData(bytes)).ToLowerInvariant(),
                        digestAlgorithm = "MANIFEST_MD5",
                    },
                }
            )
        )["createArtifact"]!["artifact"]!["id"]!.ToString();
        var manifest = new JsonObject
        {
            ["version"] = 1,
            ["contents"] = new JsonObject
            {
                ["a.txt"] = new JsonObject { ["digest"] = md5, ["size"] = bytes.Length },
            },
        }.ToJsonString();
        var asked = await server.AskAsync(
            "mutation M($id: ID!) { createArtifactManifest(input: {artifactID: $id, name: \"wandb_manifest.json\", digest: \"\", entityName: \"local\", projectName: \"demo\", type: FULL}) { artifactManifest { id file { uploadUrl } } } }",
            new { id }
        );
        var files = await server.AskAsync(
            "mutation F($f: [CreateArtifactFileSpecInput!]!) { createArtifactFiles(input: {artifactFiles: $f, storageLayout: V2}) { files { edges { node { uploadUrl } } } } }",
            new
            {
                f = new[]
                {
                    new
                    {
                        artifactID = id,
                        name = "a.txt",
                        md5,
                    },
                },
            }
        );
        using var client = new HttpClient();
        foreach (
            var (url, body) in new[]
            {
                (
                    asked["createArtifactManifest"]!["artifactManifest"]!["file"]!["uploadUrl"]!.ToString(),
                    Encoding.UTF8.GetBytes(manifest)
                ),
                (files["createArtifactFiles"]!["files"]!["edges"]![0]!["node"]!["uploadUrl"]!.ToString(), bytes),
            }
        )
        {
            using var put = await client.PutAsync(new Uri(url), new ByteArrayContent(body), Token);
            Assert.True(put.IsSuccessStatusCode, put.ToString());
        }

        await server.AskAsync(
            "mutation D($id: ID!) { commitArtifact(input: {artifactID: $id}) { artifact { id } } }",
            new { id }
        );
        return id;
    }
}
