using System.Text.Json.Nodes;
using Microsoft.Extensions.DependencyInjection;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Tests;

/// <summary>How runs of W&amp;B's clients end or do not, and the items that they came of.</summary>
public sealed class ClientLifeTests
{
    private static readonly TimeSpan Short = TimeSpan.FromMilliseconds(600);

    [Fact]
    public async Task A_run_that_is_heard_of_no_more_has_crashed_and_lives_again_when_it_speaks()
    {
        await using var server = await ClientServer.StartAsync(o => o with { HeartbeatLimit = Short });
        await server.InitAsync("dead");
        await server.InitAsync("done");
        await server.EndAsync("done");
        var item = await QueueAsync(server, "dead", null);
        await ClientServer.UntilAsync(async () => await server.StateAsync("dead") == "crashed");
        Assert.Equal("finished", await server.StateAsync("done"));
        await ClientServer.UntilAsync(async () => (await ItemAsync(server, item))["state"]!.ToString() != "CLAIMED");
        var ended = await ItemAsync(server, item);
        Assert.Equal("FAILED", ended["state"]!.ToString());
        Assert.Contains("nothing was heard of it", ended["error"]!["message"]!.ToString(), StringComparison.Ordinal);

        await server.BeatAsync("dead");
        Assert.Equal("running", await server.StateAsync("dead"));
        Assert.Equal("CLAIMED", (await ItemAsync(server, item))["state"]!.ToString());
        await server.EndAsync("dead");
        ended = await ItemAsync(server, item);
        Assert.Equal(("FINISHED", "0"), (ended["state"]!.ToString(), ended["exitCode"]!.ToString()));
        Assert.Null(ended["error"]);
    }

    [Fact]
    public async Task A_run_that_speaks_is_left_alone()
    {
        await using var server = await ClientServer.StartAsync(o => o with { HeartbeatLimit = Short });
        await server.InitAsync("alive");
        for (var i = 0; i < 20; i++)
        {
            await Task.Delay(100);
            await server.BeatAsync("alive");
        }

        Assert.Equal("running", await server.StateAsync("alive"));
    }

    [Fact]
    public async Task A_finished_run_that_is_resumed_runs_and_crashes_when_it_is_killed()
    {
        await using var server = await ClientServer.StartAsync(o => o with { HeartbeatLimit = Short });
        await server.InitAsync("again");
        await server.EndAsync("again", 1);
        Assert.Equal("failed", await server.StateAsync("again"));

        // An edit, which names the run by its id, is no process that goes on.
        var id = await IdAsync(server, "again");
        await server.AskAsync(
            "mutation UpsertBucket($id: String!, $notes: String, $config: JSONString!) { upsertBucket(input: {id: $id, notes: $notes, config: $config}) { bucket { id state } } }",
            new
            {
                id,
                notes = "n",
                config = "{}",
            }
        );
        Assert.Equal("failed", await server.StateAsync("again"));
        await server.InitAsync("again");
        Assert.Equal("running", await server.StateAsync("again"));
        await ClientServer.UntilAsync(async () => await server.StateAsync("again") == "crashed");
    }

    [Theory]
    [InlineData(0, "FINISHED", null)]
    [InlineData(3, "FAILED", "failed with exit code 3")]
    public async Task An_item_ends_with_its_run_whoever_ran_it(int code, string state, string? message)
    {
        await using var server = await ClientServer.StartAsync();
        await server.InitAsync("run00001");
        var item = await QueueAsync(server, "run00001", "wandb@0.19.11");
        Assert.Equal("CLAIMED", (await ItemAsync(server, item))["state"]!.ToString());
        await server.EndAsync("run00001", code);
        var ended = await ItemAsync(server, item);
        Assert.Equal((state, code), (ended["state"]!.ToString(), ended["exitCode"]!.GetValue<int>()));
        Assert.NotNull(ended["finishedAt"]);
        if (message is null)
        {
            Assert.Null(ended["error"]);
        }
        else
        {
            Assert.Contains(message, ended["error"]!["message"]!.ToString(), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_run_of_the_same_name_in_another_project_ends_no_item()
    {
        await using var server = await ClientServer.StartAsync();
        await server.InitAsync("run00001");
        var item = await QueueAsync(
            server,
            "run00001",
            null,
            "{\"uri\":\"https://example.org/a\",\"entity\":\"local\",\"project\":\"other\"}"
        );
        await server.EndAsync("run00001");
        Assert.Equal("CLAIMED", (await ItemAsync(server, item))["state"]!.ToString());
    }

    [Fact]
    public async Task An_agent_of_ours_says_itself_how_an_item_ended()
    {
        await using var server = await ClientServer.StartAsync();
        await server.InitAsync("run00001");
        var item = await QueueAsync(server, "run00001", "0.9.0");
        await server.EndAsync("run00001");
        Assert.Equal("CLAIMED", (await ItemAsync(server, item))["state"]!.ToString());
        await FinishAsync(server, item, "FAILED", 7);
        var ended = await ItemAsync(server, item);
        Assert.Equal(("FAILED", 7), (ended["state"]!.ToString(), ended["exitCode"]!.GetValue<int>()));
    }

    [Fact]
    public async Task What_an_agent_says_later_holds_over_the_runs_end_but_nothing_does_over_it()
    {
        await using var server = await ClientServer.StartAsync();
        await server.InitAsync("run00001");
        var item = await QueueAsync(server, "run00001", null);
        await server.EndAsync("run00001", 1);
        await FinishAsync(server, item, "FINISHED", 0);
        var ended = await ItemAsync(server, item);
        Assert.Equal(("FINISHED", 0), (ended["state"]!.ToString(), ended["exitCode"]!.GetValue<int>()));
        Assert.Null(ended["error"]);
        await FinishAsync(server, item, "FAILED", 1);
        Assert.Equal("FINISHED", (await ItemAsync(server, item))["state"]!.ToString());
    }

    [Fact]
    public async Task An_item_fails_with_or_without_a_reason()
    {
        await using var server = await ClientServer.StartAsync();
        var with = await QueueAsync(server, "a", null);
        var without = await QueueAsync(server, "b", null);
        await server.AskAsync(
            "mutation failRunQueueItem($id: ID!, $message: String!, $stage: String!, $filePaths: [String!]) { failRunQueueItem(input: {runQueueItemId: $id, message: $message, stage: $stage, filePaths: $filePaths}) { success } }",
            new
            {
                id = with,
                message = "no room",
                stage = "build",
                filePaths = new[] { "a.log" },
            }
        );
        await server.AskAsync(
            "mutation failRunQueueItem($id: ID!) { failRunQueueItem(input: {runQueueItemId: $id}) { success } }",
            new { id = without }
        );
        Assert.Equal("no room", (await ItemAsync(server, with))["error"]!["message"]!.ToString());
        Assert.Equal("FAILED", (await ItemAsync(server, without))["state"]!.ToString());
        Assert.NotNull((await ItemAsync(server, without))["error"]!["message"]);
    }

    [Fact]
    public async Task Silence_before_the_server_could_hear_is_none()
    {
        await using var server = await ClientServer.StartAsync(o => o with { HeartbeatLimit = TimeSpan.FromHours(1) });
        await server.InitAsync("old");
        var services = server.Server.Services;
        services
            .GetRequiredService<Database>()
            .Write(c => Database.Execute(c, "UPDATE runs SET heartbeat_at = '2020-01-01T00:00:00.000'"));
        services.GetRequiredService<RunMonitor>().Look();
        Assert.Equal("running", await server.StateAsync("old"));
    }

    [Fact]
    public async Task Queues_are_made_as_clients_make_them()
    {
        await using var server = await ClientServer.StartAsync();
        var config = await server.AskAsync(
            """
            mutation createDefaultResourceConfig($entityName: String!, $resource: String!, $config: JSONString!, $templateVariables: JSONString) {
              createDefaultResourceConfig(input: {entityName: $entityName, resource: $resource, config: $config, templateVariables: $templateVariables}) { defaultResourceConfigID success } }
            """,
            new
            {
                entityName = "local",
                resource = "local-process",
                config = "{\"resource_args\":{\"local-process\":{}}}",
                templateVariables = (string?)null,
            }
        );
        var id = config["createDefaultResourceConfig"]!["defaultResourceConfigID"]!.ToString();
        var made = await server.AskAsync(
            """
            mutation createRunQueue($entity: String!, $project: String!, $queueName: String!, $access: RunQueueAccessType!, $prioritizationMode: RunQueuePrioritizationMode, $defaultResourceConfigID: ID) {
              createRunQueue(input: {entityName: $entity, projectName: $project, queueName: $queueName, access: $access, prioritizationMode: $prioritizationMode, defaultResourceConfigID: $defaultResourceConfigID}) { success queueID } }
            """,
            new
            {
                entity = "local",
                project = "model-registry",
                queueName = "q",
                access = "PROJECT",
                prioritizationMode = "V0",
                defaultResourceConfigID = id,
            }
        );
        var pushed = await server.AskAsync(
            "mutation pushToRunQueue($queueID: ID!, $runSpec: JSONString!, $priority: Int) { pushToRunQueue(input: {queueID: $queueID, runSpec: $runSpec, priority: $priority}) { runQueueItemId } }",
            new
            {
                queueID = made["createRunQueue"]!["queueID"]!.ToString(),
                runSpec = "{\"uri\":\"https://example.org/a\"}",
                priority = 1,
            }
        );
        Assert.NotNull(pushed["pushToRunQueue"]!["runQueueItemId"]);
        var project = await server.AskAsync(
            "mutation upsertModel($name: String, $id: String, $entity: String!, $description: String, $repo: String, $views: JSONString) { upsertModel(input: {id: $id, name: $name, entityName: $entity, description: $description, repo: $repo, views: $views}) { project { id name } model { name entityName } inserted } }",
            new { name = (string?)null, entity = "local" }
        );
        Assert.Equal("uncategorized", project["upsertModel"]!["model"]!["name"]!.ToString());
    }

    private static async Task<string> QueueAsync(
        ClientServer server,
        string run,
        string? agentVersion,
        string spec = "{\"uri\":\"https://example.org/a\",\"entity\":\"local\",\"project\":\"demo\"}"
    )
    {
        var queue = "q" + run;
        var made = await server.AskAsync(
            "mutation C($q: String!) { createRunQueue(input: {entityName: \"local\", projectName: \"model-registry\", queueName: $q, access: PROJECT}) { queueID } }",
            new { q = queue }
        );
        string? agent = null;
        if (agentVersion is not null)
        {
            var registered = await server.AskAsync(
                "mutation createLaunchAgent($queues: [ID!]!, $version: String) { createLaunchAgent(input: {entityName: \"local\", projectName: \"model-registry\", runQueues: $queues, hostname: \"box\", agentConfig: \"{}\", version: $version}) { launchAgentId } }",
                new { queues = new[] { made["createRunQueue"]!["queueID"]!.ToString() }, version = agentVersion }
            );
            agent = registered["createLaunchAgent"]!["launchAgentId"]!.ToString();
        }

        await server.AskAsync(
            "mutation P($q: String!, $spec: JSONString!) { pushToRunQueueByName(input: {entityName: \"local\", projectName: \"model-registry\", queueName: $q, runSpec: $spec}) { runQueueItemId runSpec } }",
            new { q = queue, spec }
        );
        var popped = await server.AskAsync(
            "mutation P($q: String!, $agent: ID) { popFromRunQueue(input: {entityName: \"local\", projectName: \"model-registry\", queueName: $q, launchAgentId: $agent}) { runQueueItemId runSpec } }",
            new { q = queue, agent }
        );
        var item = popped["popFromRunQueue"]!["runQueueItemId"]!.ToString();
        await server.AskAsync(
            "mutation A($item: ID!, $run: String!) { ackRunQueueItem(input: {runQueueItemId: $item, runName: $run}) { success } }",
            new { item, run }
        );
        return item;
    }

    private static async Task<JsonNode> ItemAsync(ClientServer server, string item)
    {
        var data = await server.AskAsync(
            "{ project(name: \"model-registry\", entityName: \"local\") { runQueues { runQueueItems { edges { node { id state exitCode finishedAt error { message stage } } } } } } }"
        );
        return data["project"]!["runQueues"]!
            .AsArray()
            .SelectMany(q => q!["runQueueItems"]!.Nodes())
            .Single(i => i["id"]!.ToString() == item);
    }

    private static Task<System.Text.Json.Nodes.JsonNode> FinishAsync(
        ClientServer server,
        string item,
        string state,
        int exitCode
    ) =>
        server.AskAsync(
            "mutation F($input: FinishRunQueueItemInput!) { finishRunQueueItem(input: $input) { success } }",
            new
            {
                input = new
                {
                    runQueueItemId = item,
                    state,
                    exitCode,
                },
            }
        );

    private static async Task<string> IdAsync(ClientServer server, string run) =>
        (
            await server.AskAsync(
                "query I($name: String!) { project(name: \"demo\", entityName: \"local\") { run(name: $name) { id } } }",
                new { name = run }
            )
        )["project"]!["run"]!["id"]!.ToString();
}
