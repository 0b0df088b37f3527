using System.Globalization;
using System.Text.Json.Nodes;

namespace WandbLaunch.Tests;

/// <summary>Runs as W&amp;B's own clients log and read them.</summary>
public sealed class ClientRunTests
{
    // Each takes whole sets of fields: one that lacks is an error, and the client does nothing.
    private const string RunFields =
        "id tags name displayName sweepName state config group jobType commit readOnly createdAt heartbeatAt description notes systemMetrics summaryMetrics historyLineCount user { name username } historyKeys";

    private const string UserFields =
        "id name username email admin flags entity deletedAt apiKeys { edges { node { id name description } } } teams { edges { node { name } } }";

    [Fact]
    public async Task What_clients_probe_before_they_begin_is_there()
    {
        await using var server = await ClientServer.StartAsync();
        var data = await server.AskAsync(
            """
            query Probe {
              Query: __type(name: "Query") { ...names }
              Mutation: __type(name: "Mutation") { ...names }
              ServerInfo: __type(name: "ServerInfo") { ...names }
              ServerSettings: __type(name: "ServerSettings") { ...names }
              LaunchAgent: __type(name: "LaunchAgent") { ...names }
              Project: __type(name: "Project") { ...names }
              Run: __type(name: "Run") { ...names }
              Artifact: __type(name: "Artifact") { ...names }
              Organization: __type(name: "Organization") { ...names }
              Use: __type(name: "UseArtifactInput") { inputFields { name } }
              Queue: __type(name: "CreateRunQueueInput") { inputFields { name } }
              Push: __type(name: "PushToRunQueueInput") { inputFields { name } }
              Fail: __type(name: "FailRunQueueItemInput") { inputFields { name } }
              Agent: __type(name: "CreateLaunchAgentInput") { inputFields { name } }
              Create: __type(name: "CreateArtifactInput") { inputFields { name } }
              Spec: __type(name: "CreateArtifactFileSpecInput") { inputFields { name } }
              Delete: __type(name: "DeleteFilesInput") { inputFields { name } }
              Alias: __type(name: "AddAliasesInput") { inputFields { name } }
            }
            fragment names on __Type { fields { name } }
            """
        );
        Assert.All(data.AsObject(), t => Assert.NotNull(t.Value));
        Assert.Contains(
            "serverMessages",
            data["ServerSettings"]!["fields"]!.AsArray().OfType<JsonNode>().Texts("name")
        );
        Assert.Contains("message", data["Fail"]!["inputFields"]!.AsArray().OfType<JsonNode>().Texts("name"));
        var info = await server.AskAsync(
            "query ServerInfo { serverInfo { cliVersionInfo latestLocalVersionInfo { outOfDate latestVersionString versionOnThisInstanceString } features { name isEnabled } } }"
        );
        Assert.Equal("99.0.0", info["serverInfo"]!["cliVersionInfo"]!["max_cli_version"]!.ToString());
    }

    [Fact]
    public async Task A_run_is_listed_with_every_field_that_a_client_takes()
    {
        await using var server = await ClientServer.StartAsync();
        await server.InitAsync("run00001", "{\"lr\":{\"value\":0.1}}");
        await server.StreamAsync(
            "run00001",
            "wandb-history.jsonl",
            0,
            "{\"_step\":0,\"loss\":1.5}",
            "{\"_step\":4,\"loss\":\"NaN\",\"p\":{\"_type\":\"image-file\"}}"
        );
        await server.StreamAsync("run00001", "wandb-events.jsonl", 0, "{\"_runtime\":1,\"system.cpu\":7.5}");
        var data = await server.AskAsync(
            $$"""
            query Runs($project: String!, $entity: String!, $cursor: String, $perPage: Int = 50, $order: String, $filters: JSONString) {
              project(name: $project, entityName: $entity) {
                internalId runCount(filters: $filters) readOnly
                runs(filters: $filters, after: $cursor, first: $perPage, order: $order) {
                  edges { node { projectId ...RunFragment } cursor }
                  pageInfo { endCursor hasNextPage }
                }
              }
            }
            fragment RunFragment on Run { {{RunFields}} }
            """,
            new
            {
                project = "demo",
                entity = "local",
                order = "+created_at",
                filters = "{}",
                perPage = (int?)null,
            }
        );
        var project = data["project"]!;
        var run = Assert.Single(project["runs"]!.Nodes());
        Assert.Equal(run["projectId"]!.ToString(), project["internalId"]!.ToString());
        Assert.Equal(4, run["historyKeys"]!["lastStep"]!.GetValue<int>());
        Assert.Equal(
            "{\"typeCounts\":[{\"type\":\"number\",\"count\":2}]}",
            run["historyKeys"]!["keys"]!["loss"]!.ToJsonString()
        );
        Assert.Equal("image-file", run["historyKeys"]!["keys"]!["p"]!["typeCounts"]![0]!["type"]!.ToString());
        Assert.Equal(7.5, JsonNode.Parse(run["systemMetrics"]!.ToString())!["system.cpu"]!.GetValue<double>());
        var resume = await server.AskAsync(
            """
            query RunResumeStatus { model(name: "demo", entityName: "local") { id name entity { id name } bucket(name: "run00001", missingOk: true) {
              id name summaryMetrics displayName logLineCount historyLineCount eventsLineCount historyTail eventsTail config tags notes wandbConfig(keys: ["t"]) } } }
            """
        );
        var bucket = resume["model"]!["bucket"]!;
        Assert.Equal((2, 1), (bucket["historyLineCount"]!.GetValue<int>(), bucket["eventsLineCount"]!.GetValue<int>()));
        Assert.Contains(
            "system.cpu",
            JsonNode.Parse(bucket["eventsTail"]!.ToString())![0]!.ToString(),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task Users_teams_and_projects_have_every_field_that_a_client_takes()
    {
        await using var server = await ClientServer.StartAsync();
        await server.AskAsync(
            "mutation CreateProject($input: UpsertModelInput!) { upsertModel(input: $input) { project { id name entityName description access views } model { id } inserted } }",
            new
            {
                input = new
                {
                    name = "mine",
                    entityName = "lab",
                    description = "d",
                    access = "PRIVATE",
                    views = "{}",
                },
            }
        );
        var data = await server.AskAsync(
            $$"""
            query Everything {
              viewer { ...u }
              users(query: "local") { edges { node { ...u } } }
              nobody: users(query: "somebody@else.example") { edges { node { id } } }
              entity(name: "lab") {
                id name available photoUrl readOnly readOnlyAdmin isTeam entityType privateOnly storageBytes codeSavingEnabled defaultAccess isPaid
                members { id admin pending email username name photoUrl accountType apiKey role }
                organization { name orgEntity { name } }
                projects(first: 10) { edges { node { name } } }
              }
              models(entityName: "lab") { pageInfo { endCursor hasNextPage } edges { node { id name entityName createdAt isBenchmark user { ...u } } cursor } }
              project(name: "mine", entityName: "lab") { access repo dockerImage views internalId totalSweeps allViews(viewType: "runs") { edges { node { id name spec user { username photoUrl } } cursor } pageInfo { endCursor hasNextPage } } }
            }
            fragment u on User { {{UserFields}} }
            """
        );
        Assert.Equal(["lab"], data["viewer"]!["teams"]!.Nodes().Texts("name"));
        Assert.Equal(["local"], data["users"]!.Nodes().Texts("username"));
        Assert.Empty(data["nobody"]!.Nodes());
        Assert.True(data["entity"]!["isTeam"]!.GetValue<bool>());
        Assert.Equal(["mine"], data["entity"]!["projects"]!.Nodes().Texts("name"));
        Assert.Equal(["mine"], data["models"]!.Nodes().Texts("name"));
    }

    [Fact]
    public async Task History_is_read_by_steps_and_sampled_over_all_of_it()
    {
        await using var server = await ClientServer.StartAsync();
        await server.InitAsync("run00001");

        // Every third step, as of a program that logs so.
        await server.StreamAsync(
            "run00001",
            "wandb-history.jsonl",
            0,
            [
                .. Enumerable
                    .Range(0, 1003)
                    .Select(i => string.Create(CultureInfo.InvariantCulture, $"{{\"_step\":{3 * i},\"loss\":{i}}}")),
            ]
        );
        var page = await server.AskAsync(
            """
            query HistoryPage($entity: String!, $project: String!, $run: String!, $minStep: Int64!, $maxStep: Int64!, $pageSize: Int!) {
              project(name: $project, entityName: $entity) { run(name: $run) { history(minStep: $minStep, maxStep: $maxStep, samples: $pageSize) } } }
            """,
            new
            {
                entity = "local",
                project = "demo",
                run = "run00001",
                minStep = 300,
                maxStep = 330,
                pageSize = 1000,
            }
        );
        Assert.Equal(
            [.. Enumerable.Range(100, 10).Select(i => 3L * i)],
            page["project"]!["run"]!["history"]!
                .AsArray()
                .Select(r => JsonNode.Parse(r!.ToString())!["_step"]!.GetValue<long>())
        );
        var sampled = await server.AskAsync(
            "query RunFullHistory($samples: Int) { project(name: \"demo\", entityName: \"local\") { run(name: \"run00001\") { history(samples: $samples) events(samples: $samples) historyKeys } } }",
            new { samples = 100 }
        );
        var rows = sampled["project"]!["run"]!["history"]!
            .AsArray()
            .Select(r => JsonNode.Parse(r!.ToString())!["loss"]!.GetValue<int>())
            .ToList();
        Assert.InRange(rows.Count, 80, 100);
        Assert.Equal((0, 1002), (rows[0], rows[^1]));
        Assert.Equal(3006, sampled["project"]!["run"]!["historyKeys"]!["lastStep"]!.GetValue<int>());
        Assert.Empty(sampled["project"]!["run"]!["events"]!.AsArray());
        var ofKeys = await server.AskAsync(
            "query SampledHistoryPage($spec: JSONString!) { project(name: \"demo\", entityName: \"local\") { run(name: \"run00001\") { sampledHistory(specs: [$spec]) parquetHistory(liveKeys: [\"_step\"]) { parquetUrls liveData } } } }",
            new { spec = "{\"keys\":[\"loss\"],\"minStep\":30,\"maxStep\":60,\"samples\":1000}" }
        );
        Assert.Equal(
            Enumerable.Range(10, 10),
            ofKeys["project"]!["run"]!["sampledHistory"]![0]!.AsArray().Select(r => r!["loss"]!.GetValue<int>())
        );
        Assert.Equal(1003, ofKeys["project"]!["run"]!["parquetHistory"]!["liveData"]!.AsArray().Count);
        Assert.Empty(ofKeys["project"]!["run"]!["parquetHistory"]!["parquetUrls"]!.AsArray());
    }

    [Fact]
    public async Task No_name_of_a_file_means_all_files()
    {
        await using var server = await ClientServer.StartAsync();
        await server.InitAsync("run00001");
        await server.StreamAsync(
            "run00001",
            "output.log",
            0,
            "ERROR 2026-11-25T08:00:00.123456 bad\n",
            "2026-11-25T08:00:01.000000 good\n",
            "bare\n"
        );
        await server.EndAsync("run00001");
        var data = await server.AskAsync(
            """
            query RunFiles($fileNames: [String] = [], $upload: Boolean = false) { project(name: "demo", entityName: "local") { run(name: "run00001") {
              fileCount
              files(names: $fileNames, first: 50) { edges { node { id name url(upload: $upload) sizeBytes mimetype updatedAt md5 directUrl } cursor } pageInfo { endCursor hasNextPage } }
              logLineCount
              tail: logLines(last: 1) { edges { node { number line } } }
              page: logLines(first: 2, after: null, useImprovedPagination: true) { edges { node { number timestamp level label line } } pageInfo { endCursor hasNextPage } }
            } } }
            """,
            new { fileNames = Array.Empty<string>() }
        );
        var run = data["project"]!["run"]!;
        Assert.Equal(["output.log"], run["files"]!.Nodes().Texts("name"));
        Assert.Equal(["bare"], run["tail"]!.Nodes().Texts("line"));
        Assert.Equal(["bad", "good"], run["page"]!.Nodes().Texts("line"));
        Assert.Equal(["error", "info"], run["page"]!.Nodes().Texts("level"));
        Assert.True(run["page"]!["pageInfo"]!["hasNextPage"]!.GetValue<bool>());
    }

    [Theory]
    [InlineData("+created_at", "a b c d")]
    [InlineData("-createdAt", "d c b a")]
    [InlineData("created_at", "a b c d")]
    [InlineData(null, "d c b a")]
    [InlineData("+name", "a b c d")]
    [InlineData("-state", "a b c d", "set")]
    [InlineData("+config.lr.value", "b c a d")]
    [InlineData("-config.lr", "a c b d")]
    [InlineData("+summary_metrics.acc", "c a b d")]
    [InlineData("-summary_metrics.nest.deep", "a b c d", "set")]
    [InlineData("-tags.x", "a b c d", "set")]
    [InlineData("+heartbeat_at", "a b c d", "set")]
    [InlineData("+duration", "a b c d", "set")]
    public async Task Every_order_of_the_clients_is_kept_over_pages(string? order, string expected, string? how = null)
    {
        await using var server = await ClientServer.StartAsync();
        foreach (
            var (name, lr, acc) in new[] { ("a", "0.3", "2"), ("b", "0.1", "3"), ("c", "0.2", "1"), ("d", null, null) }
        )
        {
            await server.InitAsync(
                name,
                lr is null ? "{}" : $"{{\"lr\":{{\"value\":{lr}}}}}",
                tags: name == "b" ? "x" : "y"
            );
            if (acc is not null)
            {
                await server.StreamAsync(name, "wandb-summary.json", 0, $"{{\"acc\":{acc},\"nest\":{{\"deep\":1}}}}");
            }

            // Times of rows are of a thousandth of a second.
            await Task.Delay(5);
        }

        var (found, after) = (new List<string>(), (string?)null);
        do
        {
            var data = await server.AskAsync(
                "query Page($order: String, $after: String) { project(name: \"demo\", entityName: \"local\") { runs(first: 1, order: $order, after: $after) { edges { node { name } cursor } pageInfo { endCursor hasNextPage } } } }",
                new { order, after }
            );
            var page = data["project"]!["runs"]!;
            found.AddRange(page.Nodes().Texts("name"));
            after = page["pageInfo"]!["hasNextPage"]!.GetValue<bool>()
                ? page["edges"]![0]!["cursor"]!.ToString()
                : null;
        } while (after is not null && found.Count < 10);

        Assert.Equal(expected.Split(' '), how == "set" ? found.Order(StringComparer.Ordinal) : found);
    }

    [Theory]
    [InlineData("{\"config.lr\":{\"$gt\":0.15}}", "a c")]
    [InlineData("{\"config.lr.value\":0.1}", "b")]
    [InlineData("{\"summary_metrics.acc\":{\"$lte\":2}}", "a c")]
    [InlineData("{\"summary_metrics.val.loss\":5}", "a")]
    [InlineData("{\"tags\":\"x\"}", "b")]
    [InlineData("{\"tags\":{\"$in\":[\"x\",\"y\"]}}", "a b c")]
    [InlineData("{\"$or\":[{\"tags\":null},{\"tags\":{\"$ne\":\"y\"}}]}", "b d")]
    [InlineData("{\"tags.x\":true}", "b")]
    [InlineData("{\"keys_info.keys.loss\":{\"$exists\":true}}", "c")]
    [InlineData("{\"$and\":[{\"state\":\"running\"},{\"name\":{\"$regex\":\"[ab]\"}}]}", "a b")]
    [InlineData("{\"createdAt\":{\"$gt\":\"2020-01-01T00:00:00Z\"}}", "a b c d")]
    [InlineData("{\"created_at\":{\"$lt\":1577836800}}", "")]
    [InlineData("{\"username\":\"local\",\"group\":\"g\"}", "a b c d")]
    [InlineData("{\"display_name\":{\"$nin\":[\"a\",\"b\"]}}", "c d")]
    public async Task Every_filter_of_the_clients_is_applied(string filters, string expected)
    {
        await using var server = await ClientServer.StartAsync();
        foreach (
            var (name, lr, acc, tag) in new[]
            {
                ("a", "0.3", "2", "y"),
                ("b", "0.1", "3", "x"),
                ("c", "0.2", "1", "y"),
                ("d", "0.15", "9", null),
            }
        )
        {
            await server.InitAsync(name, $"{{\"lr\":{{\"value\":{lr}}}}}", "g", tag);
            await server.StreamAsync(
                name,
                "wandb-summary.json",
                0,
                $"{{\"acc\":{acc}{(name == "a" ? ",\"val.loss\":5" : "")}}}"
            );
        }

        await server.StreamAsync("c", "wandb-history.jsonl", 0, "{\"_step\":0,\"loss\":1}");
        var data = await server.AskAsync(
            "query Find($filters: JSONString) { project(name: \"demo\", entityName: \"local\") { runCount(filters: $filters) runs(filters: $filters, order: \"+name\") { edges { node { name } } } } }",
            new { filters }
        );
        var names = expected.Split(' ', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(names, data["project"]!["runs"]!.Nodes().Texts("name"));
        Assert.Equal(names.Length, data["project"]!["runCount"]!.GetValue<int>());
    }

    [Fact]
    public async Task An_order_or_filter_that_is_not_known_is_told()
    {
        await using var server = await ClientServer.StartAsync();
        await server.InitAsync("a");
        const string Document =
            "query Find($order: String, $filters: JSONString, $after: String) { project(name: \"demo\", entityName: \"local\") { runs(order: $order, filters: $filters, after: $after) { edges { node { name } } } } }";
        Assert.Contains(
            "\"nonsense\"",
            await server.RefusedAsync(Document, new { order = "-nonsense" }),
            StringComparison.Ordinal
        );
        Assert.Contains(
            "\"nonsense\"",
            await server.RefusedAsync(Document, new { filters = "{\"nonsense\":1}" }),
            StringComparison.Ordinal
        );
        Assert.Contains(
            "$near",
            await server.RefusedAsync(Document, new { filters = "{\"state\":{\"$near\":1}}" }),
            StringComparison.Ordinal
        );
        Assert.Contains(
            "time",
            await server.RefusedAsync(Document, new { filters = "{\"createdAt\":\"noon\"}" }),
            StringComparison.Ordinal
        );
        Assert.Contains(
            "cursor",
            await server.RefusedAsync(Document, new { after = "bm9uZQ==" }),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task A_run_can_be_rewound_to_a_step()
    {
        await using var server = await ClientServer.StartAsync();
        await server.InitAsync("run00001");
        await server.StreamAsync(
            "run00001",
            "wandb-history.jsonl",
            0,
            "{\"_step\":0,\"a\":1}",
            "{\"_step\":1,\"a\":2}",
            "{\"_step\":2,\"b\":3}"
        );
        await server.EndAsync("run00001");
        var data = await server.AskAsync(
            """
            mutation RewindRun($value: Float!) { rewindRun(input: {runName: "run00001", entityName: "local", projectName: "demo", metricName: "_step", metricValue: $value}) {
              rewoundRun { id name displayName description config sweepName historyLineCount project { id name entity { id name } } } } }
            """,
            new { value = 1.0 }
        );
        Assert.Equal(2, data["rewindRun"]!["rewoundRun"]!["historyLineCount"]!.GetValue<int>());
        var keys = await server.AskAsync(
            "{ project(name: \"demo\", entityName: \"local\") { run(name: \"run00001\") { historyKeys state summaryMetrics } } }"
        );
        Assert.Equal(
            "{\"keys\":{\"_step\":{\"typeCounts\":[{\"type\":\"number\",\"count\":2}]},\"a\":{\"typeCounts\":[{\"type\":\"number\",\"count\":2}]}},\"lastStep\":1}",
            keys["project"]!["run"]!["historyKeys"]!.ToJsonString()
        );
        Assert.Equal("running", keys["project"]!["run"]!["state"]!.ToString());
    }

    [Fact]
    public async Task What_is_not_known_is_named_and_logged_once_with_the_clients_version()
    {
        await using var server = await ClientServer.StartAsync();
        for (var i = 0; i < 3; i++)
        {
            Assert.Equal(
                "Cannot query field \"noSuchField\" on type \"User\".",
                await server.RefusedAsync("query X { viewer { id noSuchField } }")
            );
        }

        await ClientServer.UntilAsync(() =>
            Task.FromResult(server.Log.Contains("noSuchField", StringComparison.Ordinal))
        );
        var line = Assert.Single(server.Log.Split('\n', StringSplitOptions.RemoveEmptyEntries));
        Assert.Contains("W&B-Internal-Client/0.12.21", line, StringComparison.Ordinal);
        Assert.Contains("noSuchField", line, StringComparison.Ordinal);
    }
}
