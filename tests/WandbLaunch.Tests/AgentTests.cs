using System.Collections.Concurrent;
using System.Net;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Resources;
using WandbLaunch.Server;
using WandbLaunch.Wandb;

namespace WandbLaunch.Tests;

/// <summary>Agents with real processes, against the real server over HTTP, and against servers that misbehave.</summary>
public sealed class AgentTests
{
    internal const string Project = "model-registry";

    internal static string Repository(string program)
    {
        var folder = Fixture.NewFolder("agent-repo");
        File.WriteAllText(Path.Combine(folder, "main.py"), program);
        File.WriteAllText(Path.Combine(folder, "requirements.txt"), "");
        Fixture.Git(folder, "init", "-q");
        Fixture.Git(folder, "add", ".");
        Fixture.Git(folder, "commit", "-q", "-m", "one");
        return new Uri(folder).AbsoluteUri;
    }

    internal static string Quick =>
        Repository(
            "import os, sys, json\nprint(json.dumps({'args': sys.argv[1:], 'env': {k: v for k, v in os.environ.items() if k.startswith(('WANDB', 'CUDA'))}}))\n"
        );

    internal static JsonObject Spec(string uri, params string[] words) =>
        new()
        {
            ["uri"] = uri,
            ["resource"] = "local-process",
            ["entity"] = "local",
            ["project"] = "agents",
            ["overrides"] = new JsonObject
            {
                ["args"] = new JsonArray([.. words.Select(w => (JsonNode?)JsonValue.Create(w))]),
            },
        };

    /// <summary>A server, a connection, and agents against it.</summary>
    internal sealed class Place : IAsyncDisposable
    {
        private LaunchServer? _server;

        internal WandbConnection Connection { get; private set; } = null!;

        internal string Path { get; } = System.IO.Path.Combine(Fixture.NewFolder("agent-server"), "wandb.db");

        internal string Url { get; private set; } = "";

        internal ConcurrentQueue<AgentEvent> Events { get; } = [];

        internal static async Task<Place> CreateAsync(bool generation2022 = false, params string[] queues)
        {
            var place = new Place();
            place._server = await LaunchServer.StartAsync(
                place.Path,
                "127.0.0.1",
                0,
                Fixture.Key,
                generation2022,
                TimeSpan.FromSeconds(2)
            );
            place.Url = place._server.Url;
            place.Connection = await ConnectAsync(place.Url);
            foreach (var queue in queues)
            {
                await place.Connection.Queues.CreateAsync(
                    new NewQueue("local", generation2022 ? "agents" : Project, queue, "PROJECT"),
                    default
                );
            }

            return place;
        }

        internal static Task<WandbConnection> ConnectAsync(string url) =>
            WandbConnection.OpenAsync(
                WandbSettings.Resolve(new LaunchEnvironment(), Fixture.Root, url, Fixture.Key, null, "agents"),
                null,
                default
            );

        /// <summary>Makes a sweep of the project that specs name, and gives its id.</summary>
        internal async Task<string> NewSweepAsync()
        {
            using var client = new HttpClient();
            client.DefaultRequestHeaders.Authorization = new(
                "Basic",
                Convert.ToBase64String(Encoding.UTF8.GetBytes("api:" + Fixture.Key))
            );
            using var content = new StringContent(
                JsonSerializer.Serialize(
                    new
                    {
                        query = "mutation($config: String) { upsertSweep(input: {config: $config, entityName: \"local\", projectName: \"agents\"}) { sweep { name } } }",
                        variables = new { config = "method: random\nparameters:\n  lr: { values: [1, 2] }\n" },
                    }
                ),
                Encoding.UTF8,
                "application/json"
            );
            using var response = await client.PostAsync(new Uri(Url + "/graphql"), content);
            return JsonNode.Parse(await response.Content.ReadAsStringAsync())!["data"]!["upsertSweep"]!["sweep"]![
                "name"
            ]!.ToString();
        }

        internal async Task StopServerAsync()
        {
            await _server!.DisposeAsync();
            _server = null;
        }

        internal async Task StartServerAsync() =>
            _server = await LaunchServer.StartAsync(
                Path,
                "127.0.0.1",
                new Uri(Url).Port,
                Fixture.Key,
                lease: TimeSpan.FromSeconds(2)
            );

        internal async Task PushAsync(string queue, params JsonObject[] specs)
        {
            var project = (await Connection.Api.ProtocolAsync(default)).QueuesBelongToEntity ? Project : "agents";
            Assert.All(
                await Connection.Queues.PushAsync(
                    "local",
                    project,
                    queue,
                    null,
                    [.. specs.Select(s => new QueuePush(s))],
                    default
                ),
                p => Assert.Null(p.Fault)
            );
        }

        internal async Task<List<WandbLaunchQueueItem>> ItemsAsync(string queue)
        {
            var project = (await Connection.Api.ProtocolAsync(default)).QueuesBelongToEntity ? Project : "agents";
            var items = new List<WandbLaunchQueueItem>();
            await foreach (
                var item in Connection.Queues.ItemsAsync(
                    await Connection.Queues.GetAsync("local", project, queue, null, default),
                    [],
                    default
                )
            )
            {
                items.Add(item);
            }

            return items;
        }

        internal async Task<LaunchAgent> AgentAsync(
            string settings,
            WandbConnection? connection = null,
            Dictionary<string, string?>? variables = null
        )
        {
            var map = (JsonObject)
                JsonNode.Parse(
                    $$"""{ "name": "t-{{Guid.NewGuid().ToString("n")[..6]}}", "no_install": true, "policy": { "resources": ["local-process", "local-container"], "git_hosts": ["file"] } }"""
                )!;
            foreach (var (key, value) in (JsonObject)JsonNode.Parse(settings)!)
            {
                map[key] = value?.DeepClone();
            }

            var environment = variables is null
                ? new LaunchEnvironment()
                : new LaunchEnvironment
                {
                    Variable = name =>
                        variables.TryGetValue(name, out var given) ? given : Environment.GetEnvironmentVariable(name),
                };
            return await LaunchAgent.StartAsync(
                AgentConfig.Resolve(environment, null, map),
                connection ?? Connection,
                new AgentCallbacks
                {
                    Happened = Events.Enqueue,
                    RetryPause = _ => TimeSpan.FromMilliseconds(50),
                    AwayPause = _ => TimeSpan.FromMilliseconds(100),
                    RunPause = _ => TimeSpan.FromMilliseconds(50),
                },
                default,
                new LaunchContext { Environment = environment }
            );
        }

        internal async Task<int> RunAsync(string settings, Dictionary<string, string?>? variables = null)
        {
            using var agent = await AgentAsync(settings, null, variables);
            return await agent.RunAsync().WaitAsync(TimeSpan.FromSeconds(90));
        }

        internal IEnumerable<AgentEvent> Of(AgentEventKind kind) => Events.Where(e => e.Kind == kind);

        internal async Task UntilAsync(Func<bool> there)
        {
            for (var i = 0; !there(); i++)
            {
                Assert.True(i < 600, string.Join("\n", Events));
                await Task.Delay(50);
            }
        }

        public async ValueTask DisposeAsync()
        {
            Connection.Dispose();
            if (_server is not null)
            {
                await _server.DisposeAsync();
            }
        }
    }

    [Fact]
    public async Task A_question_that_fails_stands_in_the_log_once_until_it_is_answered()
    {
        await using var place = await Place.CreateAsync(false, "q");
        using var agent = await place.AgentAsync("""{ "queues": "q" }""");
        Exception? fault = new IOException("the line is dead");
        Task<bool> Ask() => agent.OnceAsync(_ => fault is null ? Task.CompletedTask : throw fault);
        Assert.False(await Ask());
        Assert.False(await Ask());
        fault = null;
        Assert.True(await Ask());
        fault = new IOException("the line is dead");
        Assert.False(await Ask());

        // A fault of the program itself tells where it is.
        fault = new InvalidCastException("not what it should be");
        Assert.False(await Ask());
        var log = File.ReadAllLines(agent.LogPath).Select(l => JsonDocument.Parse(l).RootElement).ToList();
        Assert.Equal(
            2,
            log.Count(l => l.GetProperty("message").GetString()!.EndsWith("the line is dead", StringComparison.Ordinal))
        );
        var story = Assert.Single(log, l => l.GetProperty("errorId").GetString() == "Unexpected");
        Assert.Contains("AgentTests.cs", story.GetProperty("message").GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Runs_what_is_queued_and_says_how_it_ended()
    {
        await using var place = await Place.CreateAsync(false, "q");
        var uri = Repository("import sys\nprint('last words of', sys.argv[1:])\nsys.exit(int(sys.argv[1]))\n");
        await place.PushAsync("q", Spec(uri, "0"), Spec(uri, "7"));
        Assert.Equal(LaunchAgent.ExitFailures, await place.RunAsync("""{ "queues": "q", "stop_when_empty": true }"""));
        var items = await place.ItemsAsync("q");
        Assert.Equal(
            [(QueueItemState.Finished, (int?)0), (QueueItemState.Failed, 7)],
            items.Select(i => (i.State, i.ExitCode))
        );
        Assert.Contains("exit code 7", items[1].Error, StringComparison.Ordinal);
        Assert.Contains("never called wandb.init", Assert.Single(items[0].Warning), StringComparison.Ordinal);

        // The log is attached to the item: a file of the agent's own run on the server.
        var agents = await (await place.Connection.Api.ProtocolAsync(default)).AgentsAsync("local", Project, default);
        var agent = Assert.Single(agents);
        Assert.Equal((AgentState.Stopped, "q"), (agent.State, Assert.Single(agent.Queues)));
        var file = Assert.Single(items[1].ErrorFile);
        Assert.Equal($"{items[1].Id}/error/error.log", file);
        var content = await place.Connection.Api.ReadFileAsync(
            new RunPath("local", Project, agent.ServerName!),
            file,
            1 << 20,
            default
        );
        Assert.Equal("last words of ['7']\n", Encoding.UTF8.GetString(content!));
        Assert.Equal(
            [
                AgentEventKind.AgentStarted,
                AgentEventKind.Policy,
                AgentEventKind.ItemTaken,
                AgentEventKind.RunStarted,
                AgentEventKind.RunFinished,
                AgentEventKind.ItemTaken,
                AgentEventKind.RunStarted,
                AgentEventKind.RunFailed,
                AgentEventKind.Draining,
                AgentEventKind.AgentStopped,
            ],
            place.Events.Select(e => e.Kind)
        );

        // The log on disk has the same, one JSON object a line.
        var log = File.ReadAllLines(
            Path.Combine(AgentStore.Of(new LaunchContext()).FolderOf(place.Events.First().Agent), "agent.log")
        );
        Assert.Equal(
            place.Events.Select(e => e.Kind.ToString()),
            log.Select(l => JsonDocument.Parse(l).RootElement.GetProperty("kind").GetString())
        );
    }

    [Fact]
    public async Task A_run_gets_what_the_reference_says_and_its_item_names_it()
    {
        await using var place = await Place.CreateAsync(false, "q");
        var spec = Spec(Quick, "--a=1", "two words");
        spec["name"] = "my run";
        spec["author"] = "ann";
        var sweep = await place.NewSweepAsync();
        spec["sweep_id"] = sweep;
        spec["overrides"]!["run_config"] = new JsonObject { ["lr"] = 0.1 };
        await place.PushAsync("q", spec);
        Assert.Equal(
            0,
            await place.RunAsync(
                """{ "queues": ["q"], "stop_when_empty": true, "environment_variables": { "WANDB_MODE": "offline" } }"""
            )
        );
        var item = Assert.Single(await place.ItemsAsync("q"));
        var run = LaunchStore.Of(new LaunchContext()).Get(item.RunId!);
        Assert.Equal((item.RunId, "agents"), (run.Id, run.Project));
        var log = JsonDocument.Parse(File.ReadLines(run.LogPath!).First()).RootElement;
        Assert.Equal(["--a=1", "two words"], log.GetProperty("args").EnumerateArray().Select(a => a.GetString()));
        string? Variable(string name) => log.GetProperty("env").TryGetProperty(name, out var v) ? v.GetString() : null;
        Assert.Equal(
            ("my run", "ann", sweep, "q", "local", item.Id, item.RunId, "{\"lr\":0.1}", "offline", null, Fixture.Key),
            (
                Variable("WANDB_NAME"),
                Variable("WANDB_USERNAME"),
                Variable("WANDB_SWEEP_ID"),
                Variable("WANDB_LAUNCH_QUEUE_NAME"),
                Variable("WANDB_LAUNCH_QUEUE_ENTITY"),
                Variable("WANDB_LAUNCH_TRACE_ID"),
                Variable("WANDB_RUN_ID"),
                Variable("WANDB_CONFIG"),
                Variable("WANDB_MODE"),
                Variable("WANDB_RESUME"),
                Variable("WANDB_API_KEY")
            )
        );

        // The code's copy is gone after a run that went well; its log stays.
        Assert.False(Directory.Exists(Path.Combine(LaunchStore.Of(new LaunchContext()).Folder(run.Id), "src")));
    }

    [Fact]
    public async Task The_policy_refuses_with_the_reason_and_the_rest_goes_on()
    {
        await using var place = await Place.CreateAsync(false, "q");
        JsonObject Change(Action<JsonObject> change)
        {
            var spec = Spec("https://git.example.org/a/b");
            change(spec);
            return spec;
        }

        JsonObject Container(string name, JsonNode value) =>
            Change(s =>
            {
                s["uri"] = null;
                s["resource"] = "local-container";
                s["docker"] = new JsonObject { ["docker_image"] = "python:3.12" };
                s["resource_args"] = new JsonObject { ["local-container"] = new JsonObject { [name] = value } };
            });

        await place.PushAsync(
            "q",
            Change(_ => { }),
            Change(s => s["entity"] = "somebody"),
            Change(s => s["uri"] = $"{place.Url}/somebody/p/runs/r1"),
            Change(s => s["uri"] = Fixture.Train),
            Container("privileged", true),
            Container("volume", "/etc:/mnt"),
            Container("volume", new JsonArray(Fixture.Root + "/train:/data")),
            Container("v", Fixture.Root + "/train/../home:/data:ro"),
            Change(s => s["resource"] = "moon"),
            Change(s => s["overrides"] = "nonsense"),
            Spec(Quick)
        );
        Assert.Equal(
            LaunchAgent.ExitFailures,
            await place.RunAsync(
                $$"""{ "queues": "q", "stop_when_empty": true, "policy": { "resources": ["local-process", "local-container"], "git_hosts": ["file"], "mounts": ["{{Fixture.Root}}/train:ro"] } }"""
            )
        );
        var items = await place.ItemsAsync("q");
        string[] reasons =
        [
            "git host 'git.example.org' is not allowed",
            "entity 'somebody' are not allowed",
            "entity 'somebody' may not be reproduced",
            "cannot be launched from a queue",
            "'privileged' is not allowed",
            "mount of '/etc' is not allowed",
            "only read-only",
            "absolute paths",
            "no resource 'moon'",
            "overrides",
        ];
        for (var i = 0; i < reasons.Length; i++)
        {
            Assert.Equal(QueueItemState.Failed, items[i].State);
            Assert.Contains(reasons[i], items[i].Error, StringComparison.Ordinal);
        }

        Assert.Equal(QueueItemState.Finished, items[^1].State);
        Assert.Equal(7, place.Of(AgentEventKind.ItemRefused).Count());
        Assert.Contains(
            " from file",
            Assert.Single(place.Events, e => e.Kind == AgentEventKind.Policy).Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task Items_of_any_shape_fail_alone_and_can_be_listed()
    {
        await using var place = await Place.CreateAsync(false, "q");
        var bad = new[]
        {
            """{ "docker": "an image" }""",
            """{ "uri": "https://github.com/me/train", "overrides": "lr=1" }""",
            """{ "uri": "https://github.com/me/train", "overrides": { "args": 7 } }""",
            """{ "uri": { "of": "what" }, "git": 3 }""",
            """{ "resource_args": 1, "docker": [] }""",
            """{ "uri": "https://github.com/me/train", "resource_args": { "local-container": { "builder": "kaniko", "volume": { "a": 1 } } } }""",
            """{ "docker": { "docker_image": 1 }, "resource": [], "project": {} }""",
        };
        await place.PushAsync("q", [.. bad.Select(b => (JsonObject)JsonNode.Parse(b)!), Spec(Quick)]);
        Assert.Equal(
            LaunchAgent.ExitFailures,
            await place.RunAsync("""{ "queues": "q", "stop_when_empty": true, "max_retry": 0 }""")
        );
        var items = await place.ItemsAsync("q");
        Assert.Equal(QueueItemState.Finished, items[^1].State);
        Assert.Equal(bad.Length + 1, items.Count);
        Assert.All(
            items.SkipLast(1),
            i => Assert.True(i is { State: QueueItemState.Failed, Error.Length: > 0 }, i.Config + " " + i.State)
        );
        Assert.All(items, i => Assert.NotNull(i.Arguments));
    }

    [Fact]
    public void The_default_policy_is_safe_and_each_rule_can_be_changed()
    {
        void Refused(AgentPolicy policy, LaunchConfig config) =>
            Assert.Equal(
                AgentPolicy.Refusal,
                Assert.Throws<LaunchException>(() => policy.CheckAll(config, "me", config.Entity ?? "me")).ErrorId
            );
        var git = new LaunchConfig { Uri = "https://github.com/a/b" };
        var policy = new AgentPolicy();
        policy.CheckAll(git, "me", "me");
        policy.CheckAll(new LaunchConfig { DockerImage = "python:3.12" }, "me", "me");
        Refused(policy, git with { Resource = "local-process" });
        Refused(policy, git with { Uri = "git@evil.example:a/b.git" });
        Refused(policy, git with { Uri = "file:///srv/repo" });
        Refused(policy, git with { GitRepo = "https://evil.example/a/b" });
        Refused(policy, git with { Entity = "you" });
        Refused(policy with { Images = ["registry.example/*"] }, new LaunchConfig { DockerImage = "python:3.12" });
        Refused(policy with { Images = ["registry.example/*"] }, git with { BaseImage = "python:3.12" });
        Refused(policy with { SecureMode = true }, git with { EntryPoint = ["sh"] });
        (policy with { GitHosts = ["*.example"] }).CheckAll(git with { Uri = "git@evil.example:a/b.git" }, "me", "me");
        (policy with { Entities = ["*"] }).CheckAll(git with { Entity = "you" }, "me", "you");

        // A link in an allowed folder leads nowhere else; a socket must be named itself.
        var folder = Fixture.NewFolder("mounts");
        Directory.CreateSymbolicLink(Path.Combine(folder, "out"), "/etc");
        File.WriteAllText(Path.Combine(folder, "docker.sock"), "");
        LaunchConfig Mount(string volume) =>
            git with
            {
                ResourceArgs = new JsonObject { ["local-container"] = new JsonObject { ["volume"] = volume } },
            };
        var mounting = policy with { Mounts = [folder] };
        var (config, volumes) = mounting.CheckAll(Mount(folder + "/data:/data"), "me", "me");
        Assert.Equal(folder + "/data:/data", Assert.Single(volumes));
        Assert.Equal("{\"local-container\":{}}", config.ResourceArgs!.ToJsonString());
        Refused(mounting, Mount(folder + "/out/passwd:/data"));
        Refused(mounting, Mount(folder + "/docker.sock:/var/run/docker.sock"));
        Refused(mounting, Mount(folder + "-other:/data"));
        (policy with { Mounts = [folder + "/docker.sock"] }).CheckAll(
            Mount(folder + "/docker.sock:/var/run/docker.sock"),
            "me",
            "me"
        );
    }

    [Fact]
    public async Task Fair_order_takes_turns_and_strict_order_does_not()
    {
        await using var place = await Place.CreateAsync(false, "a", "b");
        foreach (var (order, expected) in new[] { ("fair", "a b a b"), ("strict", "a a b b") })
        {
            var quick = Quick;
            await place.PushAsync("a", Spec(quick), Spec(quick));
            await place.PushAsync("b", Spec(quick), Spec(quick));
            place.Events.Clear();
            Assert.Equal(
                0,
                await place.RunAsync(
                    $$"""{ "queues": ["a", "b"], "stop_when_empty": true, "queue_order": "{{order}}" }"""
                )
            );
            Assert.Equal(expected, string.Join(' ', place.Of(AgentEventKind.ItemTaken).Select(e => e.Queue)));
        }
    }

    [Fact]
    public async Task Runs_at_the_same_time_never_share_a_gpu_also_not_those_of_two_agents()
    {
        await using var place = await Place.CreateAsync(false, "q");
        var uri = Repository(
            "import os, time\nprint(os.environ['CUDA_VISIBLE_DEVICES'], flush=True)\ntime.sleep(0.5)\n"
        );
        await place.PushAsync("q", [.. Enumerable.Range(0, 8).Select(_ => Spec(uri))]);
        var gpus = new Dictionary<string, string?> { ["WANDBLAUNCH_GPUS"] = "0,1,2,3" };

        // By itself an agent of two runs would take two of the four for each.
        using (var agent = await place.AgentAsync("""{ "queues": "q", "max_jobs": 2 }""", null, gpus))
        {
            Assert.Equal(2, agent.GpusPerJob);
        }

        await Assert.ThrowsAsync<LaunchException>(() =>
            place.AgentAsync("""{ "queues": "q", "gpus_per_job": 5 }""", null, gpus)
        );
        var codes = await Task.WhenAll(
            Enumerable
                .Range(0, 2)
                .Select(_ =>
                    place.RunAsync(
                        """{ "queues": "q", "stop_when_empty": true, "max_jobs": 4, "gpus_per_job": 1 }""",
                        gpus
                    )
                )
        );
        Assert.Equal([0, 0], codes);
        var runs = (await place.ItemsAsync("q"))
            .Select(i => LaunchStore.Of(new LaunchContext()).Get(i.RunId!))
            .Select(r => (Gpu: File.ReadAllText(r.LogPath!).Trim(), r.Started, r.Finished))
            .ToList();
        Assert.All(runs, r => Assert.Contains(r.Gpu, new[] { "0", "1", "2", "3" }));
        foreach (var (a, i) in runs.Select((r, i) => (r, i)))
        {
            Assert.All(
                runs.Skip(i + 1).Where(b => b.Gpu == a.Gpu),
                b => Assert.True(b.Started >= a.Finished || a.Started >= b.Finished)
            );
        }
    }

    [Fact]
    public async Task A_failure_of_the_machine_is_tried_again_and_one_of_the_program_is_not()
    {
        await using var place = await Place.CreateAsync(false, "q");

        // Nothing listens there; once it did not even exist, then it is mended.
        var repository = Fixture.NewFolder("moved") + "/repo";
        var container = Spec(Quick);
        container["resource"] = "local-container";
        container["uri"] = null;
        container["docker"] = new JsonObject { ["docker_image"] = "nothing:here" };
        await place.PushAsync(
            "q",
            container,
            Spec(Repository("import sys\nsys.exit(1)\n")),
            Spec(new Uri(repository).AbsoluteUri)
        );
        Assert.Equal(
            LaunchAgent.ExitFailures,
            await place.RunAsync(
                """{ "queues": "q", "stop_when_empty": true, "max_retry": 2, "docker_host": "tcp://127.0.0.1:9" }"""
            )
        );
        var items = await place.ItemsAsync("q");
        Assert.Equal(2, place.Of(AgentEventKind.Retry).Count());
        Assert.All(
            place.Of(AgentEventKind.Retry),
            e => Assert.Equal((items[0].Id, "DockerUnavailable"), (e.ItemId, e.ErrorId))
        );
        Assert.Equal([QueueItemState.Failed, QueueItemState.Failed, QueueItemState.Failed], items.Select(i => i.State));
        Assert.Contains("No Docker Engine answers", items[0].Error, StringComparison.Ordinal);
        Assert.Contains("exit code 1", items[1].Error, StringComparison.Ordinal);
        Assert.Contains("no git repository", items[2].Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Drain_lets_runs_finish_and_stop_ends_them_with_their_children()
    {
        await using var place = await Place.CreateAsync(false, "q");
        var folder = Fixture.NewFolder("children");
        var child = Path.Combine(folder, "child.txt");
        var uri = Repository(
            $"import subprocess, sys, time\np = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\nopen({JsonSerializer.Serialize(child)}, 'w').write(str(p.pid))\nprint('up', flush=True)\ntime.sleep(float(sys.argv[1]))\np.kill()\n"
        );
        await place.PushAsync("q", Spec(uri, "1"), Spec(uri, "60"));
        using (var agent = await place.AgentAsync("""{ "queues": "q" }"""))
        {
            var running = agent.RunAsync();
            await place.UntilAsync(() => place.Of(AgentEventKind.RunStarted).Any());
            AgentStore.AskStop(agent.Folder, true);
            Assert.Equal(LaunchAgent.ExitStopped, await running.WaitAsync(TimeSpan.FromSeconds(30)));
        }

        Assert.Equal(
            [QueueItemState.Finished, QueueItemState.Pending],
            (await place.ItemsAsync("q")).Select(i => i.State)
        );
        using (var agent = await place.AgentAsync("""{ "queues": "q", "stop_grace_period": 1 }"""))
        {
            File.Delete(child);
            var running = agent.RunAsync();
            await place.UntilAsync(() => File.Exists(child) && File.ReadAllText(child).Length > 0);
            AgentStore.AskStop(agent.Folder, false);
            Assert.Equal(LaunchAgent.ExitStoppedRuns, await running.WaitAsync(TimeSpan.FromSeconds(30)));
        }

        Assert.Equal(QueueItemState.Stopped, (await place.ItemsAsync("q"))[1].State);

        // Gone, or dead and only not yet collected by the machine's first process.
        var left = $"/proc/{File.ReadAllText(child)}/cmdline";
        Assert.True(!File.Exists(left) || File.ReadAllText(left).Length == 0);
    }

    [Fact]
    public async Task The_server_can_stop_an_agent_and_a_run()
    {
        await using var place = await Place.CreateAsync(false, "q");
        var uri = Repository("import time\nprint('up', flush=True)\ntime.sleep(60)\n");
        await place.PushAsync("q", Spec(uri));
        using var agent = await place.AgentAsync(
            """{ "queues": "q", "stopped_run_timeout": 1, "stop_grace_period": 1 }"""
        );
        var running = agent.RunAsync();
        await place.UntilAsync(() => place.Of(AgentEventKind.RunStarted).Any());
        var run = place.Of(AgentEventKind.RunStarted).First().RunId!;
        await place.Connection.Api.UpsertRunAsync(new RunUpsert(run, "local", "agents"), default);
        await place.Connection.Transport.QueryAsync(
            "StopRun",
            "mutation StopRun($id: ID!) { stopRun(input: {id: $id}) { success } }",
            new { id = Convert.ToBase64String(Encoding.UTF8.GetBytes($"Run:v1:{run}:agents:local")) },
            default
        );
        await place.UntilAsync(() => place.Of(AgentEventKind.RunStopped).Any());
        Assert.True(await (await place.Connection.Api.ProtocolAsync(default)).StopAgentAsync(agent.AgentId!, default));
        Assert.Equal(LaunchAgent.ExitStopped, await running.WaitAsync(TimeSpan.FromSeconds(30)));
        Assert.Equal(QueueItemState.Stopped, Assert.Single(await place.ItemsAsync("q")).State);
        Assert.Contains(
            "stopped from the server",
            place.Of(AgentEventKind.AgentStopped).Single().Message,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task A_preempted_run_goes_back_to_its_queue_under_its_own_id_five_times_at_most()
    {
        await using var place = await Place.CreateAsync(false, "q");
        var uri = Repository(
            """
            import os, json, urllib.request, base64
            base, entity, project, run = (os.environ[n] for n in ("WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_PROJECT", "WANDB_RUN_ID"))
            auth = "Basic " + base64.b64encode(("api:" + os.environ["WANDB_API_KEY"]).encode()).decode()
            def post(path, body):
                urllib.request.urlopen(urllib.request.Request(base + path, json.dumps(body).encode(), {"Content-Type": "application/json", "Authorization": auth})).read()
            post("/graphql", {"query": "mutation($n: String!, $p: String!, $e: String!) { upsertBucket(input: {name: $n, modelName: $p, entityName: $e, state: \"running\"}) { inserted } }", "variables": {"n": run, "p": project, "e": entity}})
            post(f"/files/{entity}/{project}/{run}/file_stream", {"complete": False, "preempting": True})
            post(f"/files/{entity}/{project}/{run}/file_stream", {"complete": True, "exitcode": 1})
            print(os.environ.get("WANDB_RESUME"), os.environ.get("WANDB_SWEEP_ID"))
            raise SystemExit(1)
            """
        );
        var spec = Spec(uri);
        var sweep = await place.NewSweepAsync();
        spec["sweep_id"] = sweep;
        await place.PushAsync("q", spec);
        Assert.Equal(LaunchAgent.ExitFailures, await place.RunAsync("""{ "queues": "q", "stop_when_empty": true }"""));
        var items = await place.ItemsAsync("q");
        Assert.Equal(6, items.Count);
        Assert.Single(items.Select(i => i.RunId).Distinct());
        Assert.Equal(
            [
                QueueItemState.Stopped,
                QueueItemState.Stopped,
                QueueItemState.Stopped,
                QueueItemState.Stopped,
                QueueItemState.Stopped,
                QueueItemState.Failed,
            ],
            items.Select(i => i.State)
        );
        Assert.Equal(5, place.Of(AgentEventKind.Requeued).Count());
        var logs = place.Of(AgentEventKind.RunFailed).Select(e => File.ReadAllText(e.Run!.LogPath!).Trim()).ToList();
        Assert.Equal("None " + sweep, logs[0]);
        Assert.All(logs.Skip(1), l => Assert.Equal("allow None", l));
    }

    [Fact]
    public async Task A_server_of_2022_gets_its_own_words_and_rules()
    {
        await using var place = await Place.CreateAsync(true, "q");
        var other = Spec(Quick);
        other["project"] = "elsewhere";
        await place.PushAsync("q", other, Spec("https://git.example.org/a/b"));
        Assert.Equal(
            LaunchAgent.ExitFailures,
            await place.RunAsync("""{ "queues": "q", "project": "agents", "stop_when_empty": true }""")
        );
        Assert.Contains(
            "'elsewhere' is not this agent's",
            place.Of(AgentEventKind.Warning).First().Message,
            StringComparison.Ordinal
        );
        var items = await place.ItemsAsync("q");
        Assert.Equal([QueueItemState.Claimed, QueueItemState.Failed], items.Select(i => i.State));
        Assert.Equal("agents", LaunchStore.Of(new LaunchContext()).Get(items[0].RunId!).Project);
    }

    [Fact]
    public async Task A_server_that_goes_away_is_waited_for_and_runs_go_on()
    {
        await using var place = await Place.CreateAsync(false, "q");
        var uri = Repository("import time\nprint('up', flush=True)\ntime.sleep(2)\nprint('done')\n");
        await place.PushAsync("q", Spec(uri), Spec(Quick));
        using var agent = await place.AgentAsync("""{ "queues": "q", "stop_when_empty": true }""");
        var running = agent.RunAsync();
        await place.UntilAsync(() => place.Of(AgentEventKind.RunStarted).Any());
        await place.StopServerAsync();
        await place.UntilAsync(() => place.Of(AgentEventKind.RunFinished).Any());
        await Task.Delay(1500);
        await place.StartServerAsync();
        Assert.Equal(0, await running.WaitAsync(TimeSpan.FromSeconds(60)));
        Assert.Equal(
            (1, 1),
            (place.Of(AgentEventKind.ServerAway).Count(), place.Of(AgentEventKind.ServerBack).Count())
        );
        using var connection = await Place.ConnectAsync(place.Url);
        var queue = await connection.Queues.GetAsync("local", Project, "q", null, default);
        await foreach (var item in connection.Queues.ItemsAsync(queue, [], default))
        {
            Assert.Equal(QueueItemState.Finished, item.State);
        }
    }

    [Fact]
    public async Task Garbage_errors_and_the_same_item_twice_break_nothing()
    {
        await using var place = await Place.CreateAsync(false, "q");
        using var proxy = new BadProxy(place.Url);
        using var connection = await Place.ConnectAsync(proxy.Url);
        await place.PushAsync("q", Spec(Quick), Spec(Quick), Spec(Quick));
        using var agent = await place.AgentAsync(
            """{ "queues": "q", "max_jobs": 2, "stop_when_empty": true }""",
            connection
        );

        // Each of these once, in this order, then every pop is answered twice.
        foreach (
            var bad in new[]
            {
                "<html>a proxy's page</html>",
                "{\"data\": {\"popFromRunQueue\": {\"runSpec\": 7}}}",
                "[1, 2",
                "{\"errors\": [\"no\"]}",
            }
        )
        {
            proxy.Answers.Enqueue((200, bad));
        }

        proxy.Answers.Enqueue((500, "{\"errors\": [\"broken\"]}"));
        proxy.Answers.Enqueue((429, "{\"error\": \"slow down\"}"));
        proxy.Answers.Enqueue((502, ""));
        proxy.RepeatPops = true;
        Assert.Equal(0, await agent.RunAsync().WaitAsync(TimeSpan.FromSeconds(120)));
        var items = await place.ItemsAsync("q");
        Assert.All(items, i => Assert.Equal(QueueItemState.Finished, i.State));
        Assert.Equal(3, place.Of(AgentEventKind.RunStarted).Count());
        Assert.Equal(
            (1, 1),
            (place.Of(AgentEventKind.ServerAway).Count(), place.Of(AgentEventKind.ServerBack).Count())
        );
        Assert.Empty(proxy.Answers);
    }

    [Fact]
    public async Task A_run_that_never_starts_fails_when_its_time_is_over()
    {
        await using var place = await Place.CreateAsync(false, "q");

        // A git host that takes the connection and says nothing.
        using var silent = new System.Net.Sockets.TcpListener(IPAddress.Loopback, 0);
        silent.Start();
        await place.PushAsync(
            "q",
            Spec($"http://127.0.0.1:{((IPEndPoint)silent.LocalEndpoint).Port}/a/b.git"),
            Spec(Quick)
        );
        using var agent = await place.AgentAsync(
            "{ \"queues\": \"q\", \"stop_when_empty\": true, \"policy\": { \"resources\": [\"local-process\"], \"git_hosts\": [\"file\", \"127.0.0.1\"] } }",
            null,
            new() { ["WANDB_LAUNCH_START_TIMEOUT"] = "2" }
        );
        Assert.Equal(LaunchAgent.ExitFailures, await agent.RunAsync().WaitAsync(TimeSpan.FromSeconds(60)));
        var items = await place.ItemsAsync("q");
        Assert.Equal([QueueItemState.Failed, QueueItemState.Finished], items.Select(i => i.State));
        Assert.Contains("did not start within 2 s", items[0].Error, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Ends_when_told_how_much_or_how_long()
    {
        await using var place = await Place.CreateAsync(false, "q");
        var quick = Quick;
        await place.PushAsync("q", [.. Enumerable.Range(0, 4).Select(_ => Spec(quick))]);
        Assert.Equal(0, await place.RunAsync("""{ "queues": "q", "max_runs": 3, "max_jobs": 2 }"""));
        Assert.Equal(
            [QueueItemState.Finished, QueueItemState.Finished, QueueItemState.Finished, QueueItemState.Pending],
            (await place.ItemsAsync("q")).Select(i => i.State)
        );
        Assert.Equal(
            0,
            await place.RunAsync($$"""{ "queues": "q", "until": "{{DateTimeOffset.UtcNow.AddSeconds(3):o}}" }""")
        );
        Assert.Equal(QueueItemState.Finished, (await place.ItemsAsync("q"))[3].State);
    }

    [Fact]
    public async Task Two_agents_of_one_name_cannot_be()
    {
        await using var place = await Place.CreateAsync(false, "q");
        using var agent = await place.AgentAsync("""{ "queues": "q", "name": "only-one" }""");
        Assert.Equal(
            "AgentRunning",
            (
                await Assert.ThrowsAsync<LaunchException>(() =>
                    place.AgentAsync("""{ "queues": "q", "name": "only-one" }""")
                )
            ).ErrorId
        );
        Assert.Equal(
            "QueueNotFound",
            (
                await Assert.ThrowsAsync<LaunchException>(() => place.AgentAsync("""{ "queues": ["q", "nope"] }"""))
            ).ErrorId
        );
        Assert.Equal(
            "AgentNameInvalid",
            (
                await Assert.ThrowsAsync<LaunchException>(() =>
                    place.AgentAsync("""{ "queues": "q", "name": "../x" }""")
                )
            ).ErrorId
        );
    }

    [Fact]
    public void Settings_come_from_parameters_environment_file_and_defaults_in_this_order()
    {
        var folder = Fixture.NewFolder("settings");
        var file = Path.Combine(folder, "launch-config.yaml");
        File.WriteAllText(
            file,
            "entity: of-file\nproject: p\nmax_jobs: 3\nqueues: [a, 'b,c']\nqueue: d\nbuilder:\n  type: docker\npolicy:\n  git_hosts: [x]\n  mounts: [/data]\n"
        );
        AgentConfig Resolve(string parameters = "{}", params (string Name, string Value)[] variables) =>
            AgentConfig.Resolve(
                new LaunchEnvironment
                {
                    Home = folder,
                    Variable = n => variables.FirstOrDefault(v => v.Name == n).Value,
                },
                file,
                (JsonObject)JsonNode.Parse(parameters)!
            );
        var plain = Resolve();
        Assert.Equal(("of-file", "p", 3), (plain.Entity, plain.Project, plain.Jobs.Total));
        Assert.Equal(["a", "b", "c", "d"], plain.Queues);
        Assert.Empty(plain.Warnings);
        Assert.Equal(
            ("of-env", 5),
            Resolve("{}", ("WANDB_ENTITY", "of-env"), ("WANDB_LAUNCH_MAX_JOBS", "5")) is var e
                ? (e.Entity, e.Jobs.Total)
                : default
        );
        Assert.Equal(
            ("given", -1),
            Resolve(
                """{ "entity": "given", "max_jobs": -1 }""",
                ("WANDB_ENTITY", "of-env"),
                ("WANDB_LAUNCH_MAX_JOBS", "5")
            )
                is var g
                ? (g.Entity, g.Jobs.Total)
                : default
        );
        var rules = Resolve("""{ "policy": { "git_hosts": ["y"] } }""").Policy;
        Assert.Equal(("y", "/data"), (Assert.Single(rules.GitHosts), Assert.Single(rules.Mounts)));
        Assert.Equal(TimeSpan.FromSeconds(7), Resolve("{}", ("WANDB_LAUNCH_START_TIMEOUT", "7")).StartTimeout);
        Assert.Null(Resolve("{}", ("WANDB_LAUNCH_START_TIMEOUT", "0")).StartTimeout);
        foreach (
            var bad in new[]
            {
                "max_jobs: -2",
                "max_jobs: many",
                "moon: 1",
                "queue_order: odd",
                "webhook: http://example.org/x",
                "until: soon",
                "policy: {moon: 1}",
                "gpus_per_job: -1",
            }
        )
        {
            File.WriteAllText(file, bad);
            Assert.Equal("AgentConfigInvalid", Assert.Throws<LaunchException>(() => Resolve()).ErrorId);
        }

        File.WriteAllText(file, "queues: [a\n b: c: d");
        Assert.Equal("YamlInvalid", Assert.Throws<LaunchException>(() => Resolve()).ErrorId);
        Assert.Equal(
            "AgentConfigNotFound",
            Assert
                .Throws<LaunchException>(() =>
                    AgentConfig.Resolve(new LaunchEnvironment(), Path.Combine(folder, "nope"), [])
                )
                .ErrorId
        );
        Assert.Equal(
            "default",
            Assert.Single(
                AgentConfig.Resolve(new LaunchEnvironment { Home = folder, Variable = _ => null }, null, []).Queues
            )
        );
    }

    [Fact]
    public async Task The_log_rotates()
    {
        var folder = Fixture.NewFolder("agent-log");
        using (var log = new AgentLog(folder, 2000))
        {
            for (var i = 0; i < 200; i++)
            {
                log.Write(
                    new AgentEvent
                    {
                        Time = DateTimeOffset.UtcNow,
                        Kind = AgentEventKind.Warning,
                        Agent = "a",
                        Message = $"line {i}",
                    }
                );
            }
        }

        var files = Directory.GetFiles(folder).Select(f => Path.GetFileName(f)).Order().ToArray();
        Assert.Equal(["agent.1.log", "agent.2.log", "agent.3.log", "agent.4.log", "agent.5.log", "agent.log"], files);
        Assert.All(files, f => Assert.True(new FileInfo(Path.Combine(folder, f)).Length <= 2000));
        Assert.Contains(
            "line 199",
            (await File.ReadAllLinesAsync(Path.Combine(folder, "agent.log")))[^1],
            StringComparison.Ordinal
        );
    }

    internal static int FreePort()
    {
        using var listener = new System.Net.Sockets.TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    /// <summary>Passes requests on, but for the next pops, which it answers itself; and can give each popped item a second time.</summary>
    internal sealed class BadProxy : IDisposable
    {
        private readonly HttpListener _listener = new();
        private readonly HttpClient _client = new() { Timeout = Timeout.InfiniteTimeSpan };
        private byte[]? _again;

        internal BadProxy(string target)
        {
            var port = FreePort();
            Url = $"http://127.0.0.1:{port}";
            _listener.Prefixes.Add(Url + "/");
            _listener.Start();
            _ = Task.Run(async () =>
            {
                while (_listener.IsListening)
                {
                    var context = await _listener.GetContextAsync();
                    _ = Task.Run(() => HandleAsync(context, target));
                }
            });
        }

        internal string Url { get; }

        internal ConcurrentQueue<(int Status, string Body)> Answers { get; } = [];

        internal bool RepeatPops { get; set; }

        /// <summary>What is said in place of the server's answer to a request; null leaves it.</summary>
        internal Func<JsonNode, JsonNode, JsonNode?>? Change { get; set; }

        public void Dispose()
        {
            _listener.Close();
            _client.Dispose();
        }

        private async Task HandleAsync(HttpListenerContext context, string target)
        {
            using var body = new MemoryStream();
            await context.Request.InputStream.CopyToAsync(body);
            var pop = Encoding.UTF8.GetString(body.ToArray()).Contains("popFromRunQueue(", StringComparison.Ordinal);
            if (pop && Answers.TryDequeue(out var bad))
            {
                context.Response.StatusCode = bad.Status;
                await context.Response.OutputStream.WriteAsync(Encoding.UTF8.GetBytes(bad.Body));
                context.Response.Close();
                return;
            }

            if (pop && RepeatPops && Interlocked.Exchange(ref _again, null) is { } again)
            {
                await context.Response.OutputStream.WriteAsync(again);
                context.Response.Close();
                return;
            }

            using var request = new HttpRequestMessage(
                new HttpMethod(context.Request.HttpMethod),
                target + context.Request.RawUrl
            );
            if (context.Request.HasEntityBody)
            {
                request.Content = new ByteArrayContent(body.ToArray());
                request.Content.Headers.TryAddWithoutValidation("Content-Type", context.Request.ContentType);
            }

            request.Headers.TryAddWithoutValidation("Authorization", context.Request.Headers["Authorization"]);
            try
            {
                using var response = await _client.SendAsync(request);
                var bytes = await response.Content.ReadAsByteArrayAsync();
                if (pop && Encoding.UTF8.GetString(bytes).Contains("runQueueItemId", StringComparison.Ordinal))
                {
                    _again = bytes;
                }

                context.Response.StatusCode = (int)response.StatusCode;
                if (
                    Change is { } change
                    && request.Method == HttpMethod.Post
                    && context.Request.RawUrl == "/graphql"
                    && change(JsonNode.Parse(body.ToArray())!, JsonNode.Parse(bytes)!) is { } changed
                )
                {
                    context.Response.StatusCode = 200;
                    bytes = Encoding.UTF8.GetBytes(changed.ToJsonString());
                }

                await context.Response.OutputStream.WriteAsync(bytes);
                context.Response.Close();
            }
            catch (Exception e) when (e is HttpRequestException or HttpListenerException or ObjectDisposedException)
            {
                context.Response.Abort();
            }
        }
    }

    [Fact]
    public async Task A_log_that_is_cut_is_a_warning_of_the_item()
    {
        await using var place = await Place.CreateAsync(false, "q");
        await place.PushAsync("q", Spec(Repository("for i in range(10000): print('line', i)\n")));
        Assert.Equal(0, await place.RunAsync("""{ "queues": "q", "stop_when_empty": true, "max_log_size": 8192 }"""));
        var item = Assert.Single(await place.ItemsAsync("q"));
        Assert.Contains(item.Warning, w => w.Contains("-MaxLogSize", StringComparison.Ordinal));
        Assert.InRange(new FileInfo(LaunchStore.Of(new LaunchContext()).Get(item.RunId!).LogPath!).Length, 4096, 8500);
    }
}
