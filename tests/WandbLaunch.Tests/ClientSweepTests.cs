using System.Text.Json.Nodes;

namespace WandbLaunch.Tests;

/// <summary>Sweeps as W&amp;B's CLI makes them and its agents run them.</summary>
public sealed class ClientSweepTests
{
    private const string Grid = """
        program: train.py
        method: grid
        name: all four
        metric: {name: loss, goal: minimize}
        parameters:
          lr: {values: [0.1, 0.2]}
          size: {min: 1, max: 2}
          opt: {value: adam}
        """;

    [Fact]
    public async Task A_grid_is_run_point_by_point_and_finishes()
    {
        await using var server = await ClientServer.StartAsync();
        var sweep = await UpsertAsync(server, Grid);
        // Clients of 2022 pause and cancel no other.
        Assert.Equal("RUNNING", (await SweepAsync(server, sweep))["state"]!.ToString());
        var agent = await AgentAsync(server, sweep);
        var points = new List<string>();
        for (var i = 0; i < 4; i++)
        {
            var command = Assert.Single(await BeatAsync(server, agent));
            Assert.Equal(("run", "train.py"), (command["type"]!.ToString(), command["program"]!.ToString()));
            var run = command["run_id"]!.ToString();
            Assert.Equal("pending", await server.StateAsync(run));
            points.Add(command["args"]!.ToJsonString());

            // While it runs the agent is given nothing more.
            await server.InitAsync(run);
            Assert.Empty(await BeatAsync(server, agent, run));
            await server.StreamAsync(run, "wandb-summary.json", 0, $"{{\"loss\":{i + 1}}}");
            await server.EndAsync(run);
        }

        Assert.Equal(4, points.Distinct().Count());
        Assert.Equal("{\"lr\":{\"value\":0.1},\"size\":{\"value\":1},\"opt\":{\"value\":\"adam\"}}", points[0]);
        Assert.Equal("{\"lr\":{\"value\":0.2},\"size\":{\"value\":2},\"opt\":{\"value\":\"adam\"}}", points[3]);
        Assert.Equal("exit", Assert.Single(await BeatAsync(server, agent))["type"]!.ToString());
        var done = await SweepAsync(server, sweep);
        Assert.Equal(
            ("FINISHED", 4, 4, 1.0),
            (
                done["state"]!.ToString(),
                done["runCount"]!.GetValue<int>(),
                done["runCountExpected"]!.GetValue<int>(),
                done["bestLoss"]!.GetValue<double>()
            )
        );
        Assert.Equal(4, done["runs"]!.Nodes().Count);
        Assert.Equal("all four", done["displayName"]!.ToString());
        Assert.Contains(
            "needs no agent",
            await server.RefusedAsync(CreateAgent, new { sweep }),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task Agents_share_a_grid_without_a_point_twice()
    {
        await using var server = await ClientServer.StartAsync();
        var sweep = await UpsertAsync(server, Grid);
        var agents = await Task.WhenAll(Enumerable.Range(0, 6).Select(_ => AgentAsync(server, sweep)));
        var commands = (await Task.WhenAll(agents.Select(a => BeatAsync(server, a)))).SelectMany(c => c).ToList();
        Assert.Equal(
            4,
            commands
                .Where(c => c["type"]!.ToString() == "run")
                .Select(c => c["args"]!.ToJsonString())
                .Distinct()
                .Count()
        );
        Assert.Equal(2, commands.Count(c => c["type"]!.ToString() == "exit"));

        // Its runs have not ended, and so it has not.
        Assert.Equal("RUNNING", (await SweepAsync(server, sweep))["state"]!.ToString());
    }

    [Fact]
    public async Task A_random_sweep_draws_within_its_bounds_until_its_cap()
    {
        await using var server = await ClientServer.StartAsync();
        var sweep = await UpsertAsync(
            server,
            """
            method: random
            run_cap: 40
            parameters:
              u: {min: 0.5, max: 1.5}
              i: {min: 1, max: 3}
              c: {values: [a, b]}
              w: {values: [x, y], probabilities: [1, 0]}
              l: {distribution: log_uniform_values, min: 1e-4, max: 1e-1}
              q: {distribution: q_uniform, min: 0, max: 1, q: 0.25}
              n: {distribution: normal, mu: 5, sigma: 0.001}
              b: {distribution: beta, a: 2, b: 3}
              nest: {parameters: {deep: {value: 7}, more: {parameters: {x: {values: [1]}}}}}
            """
        );
        var agent = await AgentAsync(server, sweep);
        for (var i = 0; i < 40; i++)
        {
            var args = Assert.Single(await BeatAsync(server, agent))["args"]!;
            Assert.InRange(args["u"]!["value"]!.GetValue<double>(), 0.5, 1.5);
            Assert.InRange(args["i"]!["value"]!.GetValue<long>(), 1, 3);
            Assert.Contains(args["c"]!["value"]!.ToString(), new[] { "a", "b" });
            Assert.Equal("x", args["w"]!["value"]!.ToString());
            Assert.InRange(args["l"]!["value"]!.GetValue<double>(), 1e-4, 1e-1);
            Assert.Contains(args["q"]!["value"]!.GetValue<double>(), new[] { 0, 0.25, 0.5, 0.75, 1 });
            Assert.InRange(args["n"]!["value"]!.GetValue<double>(), 4.9, 5.1);
            Assert.InRange(args["b"]!["value"]!.GetValue<double>(), 0, 1);
            Assert.Equal("{\"deep\":7,\"more\":{\"x\":1}}", args["nest"]!["value"]!.ToJsonString());
        }

        // None of them was ever begun: each counts as crashed once its agent has it no more.
        Assert.Equal("exit", Assert.Single(await BeatAsync(server, agent))["type"]!.ToString());
        var done = await SweepAsync(server, sweep);
        Assert.Equal("FINISHED", done["state"]!.ToString());
        Assert.All(done["runs"]!.Nodes(), r => Assert.Equal("crashed", r["state"]!.ToString()));
    }

    [Fact]
    public async Task Bayes_needs_the_controller_and_says_so()
    {
        await using var server = await ClientServer.StartAsync();
        var told = await server.RefusedAsync(
            Upsert,
            new { config = "{\"method\": \"bayes\", \"parameters\": {\"x\": {\"min\": 0, \"max\": 1}}}" }
        );
        Assert.Contains("wandb controller", told, StringComparison.Ordinal);
        Assert.Contains("controller: {type: local}", told, StringComparison.Ordinal);
        var warned = await server.AskAsync(Upsert, new { config = Grid + "\nearly_terminate: {type: hyperband}" });
        Assert.Contains(
            "early_terminate",
            warned["upsertSweep"]!["configValidationWarnings"]![0]!.ToString(),
            StringComparison.Ordinal
        );
    }

    [Theory]
    [InlineData("method: [", "cannot be read")]
    [InlineData("- a", "no map")]
    [InlineData("method: grid\nparameters: {x: {min: 0.1, max: 1.0}}", "needs")]
    [InlineData("method: random\nparameters: {x: {min: 2, max: 1}}", "min above its max")]
    [InlineData("method: random\nparameters: {x: 3}", "must be a map")]
    [InlineData("method: random\nparameters: {x: {distribution: odd, min: 1, max: 2}}", "odd")]
    [InlineData("method: random\nparameters: {x: {values: [1, 2], probabilities: [1]}}", "probability")]
    public async Task A_configuration_that_cannot_be_is_refused_when_it_is_given(string config, string why)
    {
        await using var server = await ClientServer.StartAsync();
        Assert.Contains(why, await server.RefusedAsync(Upsert, new { config }), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_configuration_of_aliases_of_aliases_is_refused()
    {
        await using var server = await ClientServer.StartAsync();
        var bomb =
            "method: grid\na0: &a0 [1,1,1,1,1,1,1,1,1,1]\n"
            + string.Concat(
                Enumerable
                    .Range(1, 9)
                    .Select(i =>
                        $"a{i}: &a{i} [*a{i - 1},*a{i - 1},*a{i - 1},*a{i - 1},*a{i - 1},*a{i - 1},*a{i - 1},*a{i - 1},*a{i - 1},*a{i - 1}]\n"
                    )
            );
        Assert.Contains(
            "more than",
            await server.RefusedAsync(Upsert, new { config = bomb }),
            StringComparison.Ordinal
        );
        Assert.Contains(
            "more than",
            await server.RefusedAsync(Upsert, new { config = "a: " + new string('[', 5000) + new string(']', 5000) }),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task A_sweep_is_paused_resumed_and_cancelled()
    {
        await using var server = await ClientServer.StartAsync();
        var sweep = await UpsertAsync(server, Grid);
        var agent = await AgentAsync(server, sweep);
        var run = Assert.Single(await BeatAsync(server, agent))["run_id"]!.ToString();
        await server.InitAsync(run);
        await SetStateAsync(server, sweep, "PAUSED");
        Assert.Empty(await BeatAsync(server, agent));
        await SetStateAsync(server, sweep, "RUNNING");
        var second = await AgentAsync(server, sweep);
        Assert.Equal("run", Assert.Single(await BeatAsync(server, second))["type"]!.ToString());
        await SetStateAsync(server, sweep, "CANCELED");
        var stop = Assert.Single(await BeatAsync(server, agent, run));
        Assert.Equal(("stop", run), (stop["type"]!.ToString(), stop["run_id"]!.ToString()));
        Assert.Equal("exit", Assert.Single(await BeatAsync(server, agent))["type"]!.ToString());
        Assert.Contains(
            "no state of a sweep",
            await server.RefusedAsync(SetState, new { id = sweep, state = "ODD" }),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task A_controller_of_the_user_plans_the_runs()
    {
        await using var server = await ClientServer.StartAsync();
        const string Config =
            "program: train.py\nmethod: bayes\ncontroller: {type: local}\nparameters: {x: {min: 0.0, max: 1.0}}";
        var sweep = await UpsertAsync(server, Config);
        var agent = await AgentAsync(server, sweep);
        Assert.Empty(await BeatAsync(server, agent));
        var id = (await SweepAsync(server, sweep))["id"]!.ToString();
        foreach (
            var plan in new[]
            {
                "{}",
                "{\"schedule\":[{\"id\":\"s1\",\"data\":{\"args\":{\"x\":{\"value\":0.5}}}}]}",
                "{\"schedule\":[{\"id\":\"s1\",\"data\":{\"args\":{\"x\":{\"value\":0.5}}}}]}",
            }
        )
        {
            await server.AskAsync(
                Upsert,
                new
                {
                    id,
                    config = Config,
                    controller = plan,
                }
            );
        }

        var scheduler = JsonNode.Parse((await SweepAsync(server, sweep))["scheduler"]!.ToString())!;
        var run = Assert.Single(scheduler["scheduled"]!.AsArray())!["runid"]!.ToString();
        var command = Assert.Single(await BeatAsync(server, agent));
        Assert.Equal(
            (run, "{\"x\":{\"value\":0.5}}"),
            (command["run_id"]!.ToString(), command["args"]!.ToJsonString())
        );
        await server.InitAsync(run);
        await server.AskAsync(
            Upsert,
            new
            {
                id,
                config = Config,
                controller = $"{{\"earlystop\":[\"{run}\"]}}",
            }
        );
        Assert.Equal("stop", Assert.Single(await BeatAsync(server, agent, run))["type"]!.ToString());
        await server.EndAsync(run, 1);
        await server.AskAsync(
            Upsert,
            new
            {
                id,
                config = Config,
                controller = "{\"schedule\":[{\"id\":\"s2\",\"data\":{\"args\":null}}]}",
            }
        );
        Assert.Equal("exit", Assert.Single(await BeatAsync(server, agent))["type"]!.ToString());
        Assert.Equal("FINISHED", (await SweepAsync(server, sweep))["state"]!.ToString());
    }

    [Fact]
    public async Task A_sweep_on_launch_queues_its_scheduler_with_its_own_id()
    {
        await using var server = await ClientServer.StartAsync();
        await server.AskAsync(
            "mutation { createRunQueue(input: {entityName: \"local\", projectName: \"model-registry\", queueName: \"q\", access: PROJECT}) { queueID } }"
        );
        await server.InitAsync("before");
        var made = await server.AskAsync(
            """
            mutation UpsertSweep($config: String, $launchScheduler: JSONString, $templateVariableValues: JSONString, $priorRunsFilters: JSONString) {
              upsertSweep(input: {config: $config, entityName: "local", projectName: "demo", launchScheduler: $launchScheduler, templateVariableValues: $templateVariableValues, priorRunsFilters: $priorRunsFilters, scheduler: "{\"name\":\"s\"}"}) {
                sweep { name project { id name entity { id name } } } configValidationWarnings } }
            """,
            new
            {
                config = Grid,
                launchScheduler = "{\"queue\":\"q\",\"run_queue_project\":\"model-registry\",\"run_spec\":\"{\\\"job\\\":null,\\\"overrides\\\":{\\\"entry_point\\\":[\\\"wandb\\\",\\\"scheduler\\\",\\\"WANDB_SWEEP_ID\\\"]}}\"}",
                templateVariableValues = "null",
                priorRunsFilters = "{\"$or\":[{\"name\":\"before\"}]}",
            }
        );
        var sweep = made["upsertSweep"]!["sweep"]!["name"]!.ToString();
        var items = await server.AskAsync(
            "{ project(name: \"model-registry\", entityName: \"local\") { runQueue(name: \"q\") { runQueueItems { edges { node { runSpec } } } } } }"
        );
        var spec = Assert.Single(items["project"]!["runQueue"]!["runQueueItems"]!.Nodes())["runSpec"]!;
        Assert.Equal(sweep, spec["overrides"]!["entry_point"]![2]!.ToString());
        var pending = await SweepAsync(server, sweep);
        Assert.Equal("PENDING", pending["state"]!.ToString());
        Assert.Equal(["before"], pending["runs"]!.Nodes().Texts("name"));
    }

    [Fact]
    public async Task Sweeps_are_listed_with_agents_and_their_runs()
    {
        await using var server = await ClientServer.StartAsync();
        var sweep = await UpsertAsync(server, Grid);
        var agent = await AgentAsync(server, sweep);
        var run = Assert.Single(await BeatAsync(server, agent))["run_id"]!.ToString();
        var data = await server.AskAsync(
            """
            query GetSweeps($sweep: String!, $agent: String!, $filters: JSONString!) { project(name: "demo", entityName: "local") {
              totalSweeps
              sweeps(first: 50, filters: $filters) { pageInfo { endCursor hasNextPage } edges { node { id name displayName method state description bestLoss config createdAt updatedAt runCount runCountExpected } cursor } }
              sweep(sweepName: $sweep) {
                agents { edges { node { id name host state totalRuns createdAt heartbeatAt } } }
                agent(agentName: $agent) { runs(first: 5) { pageInfo { endCursor hasNextPage } edges { cursor node { name sweepName } } } }
              } } }
            """,
            new
            {
                sweep,
                agent,
                filters = "{}",
            }
        );
        Assert.Equal(1, data["project"]!["totalSweeps"]!.GetValue<int>());
        Assert.Equal([sweep], data["project"]!["sweeps"]!.Nodes().Texts("name"));
        var shown = Assert.Single(data["project"]!["sweep"]!["agents"]!.Nodes());
        Assert.Equal(
            ("box", 1, "RUNNING"),
            (shown["host"]!.ToString(), shown["totalRuns"]!.GetValue<int>(), shown["state"]!.ToString())
        );
        Assert.Equal([run], data["project"]!["sweep"]!["agent"]!["runs"]!.Nodes().Texts("name"));
    }

    private const string Upsert = """
        mutation UpsertSweep($id: ID, $config: String, $controller: JSONString, $state: String) {
          upsertSweep(input: {id: $id, config: $config, entityName: "local", projectName: "demo", controller: $controller, state: $state}) {
            sweep { name project { id name entity { id name } } } configValidationWarnings } }
        """;

    private const string SetState =
        "mutation UpsertSweep($id: ID, $state: String) { upsertSweep(input: {id: $id, state: $state, entityName: \"local\", projectName: \"demo\"}) { sweep { name } } }";

    private const string CreateAgent =
        "mutation CreateAgent($sweep: String!) { createAgent(input: {host: \"box\", projectName: \"demo\", entityName: \"local\", sweep: $sweep}) { agent { id } } }";

    private static async Task<string> UpsertAsync(ClientServer server, string config) =>
        (await server.AskAsync(Upsert, new { config }))["upsertSweep"]!["sweep"]!["name"]!.ToString();

    private static Task<System.Text.Json.Nodes.JsonNode> SetStateAsync(
        ClientServer server,
        string sweep,
        string state
    ) => server.AskAsync(SetState, new { id = sweep, state });

    private static async Task<string> AgentAsync(ClientServer server, string sweep) =>
        (await server.AskAsync(CreateAgent, new { sweep }))["createAgent"]!["agent"]!["id"]!.ToString();

    private static async Task<List<JsonNode>> BeatAsync(ClientServer server, string agent, params string[] running)
    {
        var data = await server.AskAsync(
            "mutation Heartbeat($id: ID!, $metrics: JSONString, $runState: JSONString) { agentHeartbeat(input: {id: $id, metrics: $metrics, runState: $runState}) { agent { id } commands } }",
            new
            {
                id = agent,
                metrics = "{}",
                runState = new JsonObject(running.Select(r => KeyValuePair.Create(r, (JsonNode?)true))).ToJsonString(),
            }
        );
        return [.. JsonNode.Parse(data["agentHeartbeat"]!["commands"]!.ToString())!.AsArray().Select(c => c!)];
    }

    private static async Task<JsonNode> SweepAsync(ClientServer server, string sweep)
    {
        // A single text where a list is asked for: as clients send it.
        var data = await server.AskAsync(
            """
            query SweepWithRuns($sweep: String!, $specs: [JSONString!]!) { project(name: "demo", entityName: "local") { sweep(sweepName: $sweep) {
              id name displayName method state description config createdAt heartbeatAt updatedAt earlyStopJobRunning bestLoss controller scheduler runCount runCountExpected
              runs { edges { node { name state config exitcode heartbeatAt shouldStop failed stopped running summaryMetrics sampledHistory(specs: $specs) } } } } } }
            """,
            new { sweep, specs = "{}" }
        );
        return data["project"]!["sweep"]!;
    }
}
