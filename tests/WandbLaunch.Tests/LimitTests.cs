using System.Text.Json.Nodes;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Tests;

/// <summary>Limits as they are written, read and put together, and what becomes of a run whose time is over.</summary>
public sealed class LimitTests
{
    [Theory]
    [InlineData("2h", "02:00:00")]
    [InlineData("90m", "01:30:00")]
    [InlineData("1h30m", "01:30:00")]
    [InlineData("1 d 12 hours", "1.12:00:00")]
    [InlineData("0.5h", "00:30:00")]
    [InlineData("45 sec", "00:00:45")]
    [InlineData("02:00:00", "02:00:00")]
    [InlineData("1.12:00:00", "1.12:00:00")]
    [InlineData("00:00:00.250", "00:00:00.2500000")]
    public void Spans_are_read_as_people_write_them(string text, string shown)
    {
        Assert.True(SpanText.TryParse(text, out var span));
        Assert.Equal(shown, SpanText.Show(span));
    }

    [Theory]
    [InlineData("")]
    [InlineData("120")]
    [InlineData("h")]
    [InlineData("2 weeks")]
    [InlineData("-2h")]
    [InlineData("0s")]
    [InlineData("00:00:00")]
    [InlineData("-01:00:00")]
    [InlineData("1h 1h")]
    [InlineData("99999999d")]
    [InlineData("1e9h")]
    public void What_is_no_limit_is_refused(string text) => Assert.False(SpanText.TryParse(text, out _));

    [Fact]
    public void Limits_are_keys_of_a_launch_config_and_the_smallest_holds()
    {
        var config = LaunchConfig.FromJson(
            JsonNode
                .Parse("""{ "uri": "https://h/a.git", "time_limit": "2h", "start_limit": "00:30:00" }""")!
                .AsObject()
        );
        Assert.Equal((TimeSpan.FromHours(2), TimeSpan.FromMinutes(30)), (config.TimeLimit, config.StartLimit));
        Assert.Equal("02:00:00", config.ToJson()["time_limit"]!.ToString());
        config.CheckKeys();
        var both = config.Limits.Smallest(new RunLimits { Time = TimeSpan.FromHours(1) });
        Assert.Equal((TimeSpan.FromHours(1), TimeSpan.FromMinutes(30)), (both.Time, both.Start));
        Assert.Equal(both, new RunLimits { Time = TimeSpan.FromHours(1) }.Smallest(config.Limits));
        Assert.Equal(RunLimits.None, RunLimits.None.Smallest(RunLimits.None));

        var wrong = Assert.Throws<LaunchException>(() =>
            LaunchConfig.FromJson(JsonNode.Parse("""{ "time_limit": 120 }""")!.AsObject())
        );
        Assert.Equal("ConfigInvalid", wrong.ErrorId);
        Assert.Contains("time_limit", wrong.Message, StringComparison.Ordinal);
        Assert.Contains("2h", wrong.Message, StringComparison.Ordinal);

        // Of a queue anything may come: it is as if it were not there.
        Assert.Null(LaunchConfig.Tolerant(JsonNode.Parse("""{ "time_limit": [1] }""")!.AsObject()).TimeLimit);
    }

    [Fact]
    public void Jobs_are_limited_together_or_by_resource()
    {
        JobLimits Read(string json) =>
            JobLimits.Read(
                JsonNode.Parse(json),
                Launches.Resources,
                what => new LaunchException("AgentConfigInvalid", LaunchErrorCategory.InvalidData, what, null)
            );
        var all = Read("3");
        Assert.Equal((3, false, "3 runs"), (all.Total, all.IsByResource, all.Describe()));
        Assert.False(all.IsFull("local-process", of => of is null ? 2 : 9));
        Assert.True(all.IsFull("local-process", of => of is null ? 3 : 0));
        Assert.Equal((1, -1), (Read("0").Total, Read("\"-1\"").Total));
        Assert.False(Read("-1").IsFull("local-process", _ => 1000));

        var each = Read("""{ "local": 2, "local-process": -1 }""");
        Assert.Equal((-1, true), (each.Total, each.IsByResource));
        Assert.Equal(["local-container", "local-process"], each.ByResource.Keys);
        Assert.True(each.IsFull("local-container", of => of == "local-container" ? 2 : 0));
        Assert.False(each.IsFull("local-process", _ => 1000));

        // One that is not named is as an agent that was told nothing.
        Assert.True(each.IsFull("other", of => of == "other" ? 1 : 0));
        Assert.Equal(5, Read("""{ "local-process": 3, "local-container": 2 }""").Total);

        foreach (
            var (json, id, said) in new[]
            {
                ("""{ "lokal-process": 2 }""", "ResourceUnknown", "is 'local-process' meant?"),
                ("""{ "local-process": 0 }""", "AgentConfigInvalid", "local-process"),
                ("""{ "local-process": "many" }""", "AgentConfigInvalid", "many"),
                ("""{ "local": 1, "local-container": 2 }""", "AgentConfigInvalid", "twice"),
                ("{}", "AgentConfigInvalid", "names no resource"),
                ("-2", "AgentConfigInvalid", "-1 or more"),
                ("[1]", "AgentConfigInvalid", "-1 or more"),
            }
        )
        {
            var fault = Assert.Throws<LaunchException>(() => Read(json));
            Assert.Equal(id, fault.ErrorId);
            Assert.Contains(said, fault.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void Images_of_launch_config_yaml_are_followed_or_named()
    {
        AgentConfig Resolve(string json) =>
            AgentConfig.Resolve(
                new LaunchEnvironment { Variable = _ => null, Home = Fixture.NewFolder("nobody") },
                null,
                JsonNode.Parse(json)!.AsObject()
            );
        var docker = Resolve(
            """{ "builder": { "type": "docker" }, "environment": { "type": "local" }, "registry": { "type": "local" } }"""
        );
        Assert.Empty(docker.Warnings);
        Assert.False(docker.Launch.NoInstall);
        Assert.True(Resolve("""{ "builder": { "type": "noop" } }""").Launch.NoInstall);

        var cloud = Resolve(
            """{ "environment": { "type": "aws", "region": "eu-1" }, "registry": { "type": "ecr", "uri": "https://1.dkr.ecr.eu-1.amazonaws.com/team/" }, "builder": { "type": "kaniko", "build-context-store": "s3://x", "platform": "linux/riscv64" } }"""
        );
        Assert.Equal("1.dkr.ecr.eu-1.amazonaws.com/team", cloud.Repository);
        foreach (
            var named in new[]
            {
                "builder.type kaniko",
                "builder.build-context-store",
                "builder.platform",
                "environment.region",
                "not pushed to 1.dkr",
            }
        )
        {
            Assert.Contains(cloud.Warnings, w => w.Contains(named, StringComparison.Ordinal));
        }

        // A cluster builds by itself; an agent without one says that it does not.
        AgentConfig Cluster(string builder) =>
            Resolve($$"""{ "policy": { "resources": ["kubernetes"] }, "builder": {{builder}} }""");
        Assert.Equal("kaniko", Cluster("""{ "type": "kaniko" }""").Launch.Settings["image_builder"]);
        Assert.Empty(Cluster("""{ "type": "buildkit" }""").Warnings);
        Assert.Equal(
            "buildkit=registry.example.org/bk:1",
            Cluster("""{ "type": "buildkit", "buildkit-image": "registry.example.org/bk:1" }""").Launch.Settings[
                "image_builder"
            ]
        );
        Assert.Equal(
            "kaniko=r.example.org/k:1",
            Resolve(
                """{ "policy": { "resources": ["kubernetes"] }, "image_builder": "kaniko=r.example.org/k:1", "builder": { "type": "docker" } }"""
            ).Launch.Settings["image_builder"]
        );
        Assert.False(cloud.Launch.Settings.ContainsKey("image_builder"));

        Assert.Equal(
            "registry.example.org:5000/team",
            Resolve("""{ "build": { "destination": "registry.example.org:5000/team" } }""").Repository
        );
        foreach (
            var (json, said) in new[]
            {
                ("""{ "builder": { "platform": "linux/amd64" } }""", "builder.type"),
                ("""{ "builder": { "type": "dokcer" } }""", "is 'docker' meant?"),
                ("""{ "builder": { "type": "docker", "destinaton": "x" } }""", "is 'destination' meant?"),
                ("""{ "registry": { "type": "ghcr", "uri": "x" } }""", "registry.type"),
                ("""{ "registry": { "uri": "registry.example.org/team:1" } }""", "without a tag"),
                ("""{ "environment": { "region": "x" } }""", "environment.type"),
                ("""{ "environment": [] }""", "mapping"),
            }
        )
        {
            var fault = Assert.Throws<LaunchException>(() => Resolve(json));
            Assert.Equal("AgentConfigInvalid", fault.ErrorId);
            Assert.Contains(said, fault.Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void A_limit_of_an_agent_is_read_and_a_number_for_a_resource_that_it_refuses_is_said()
    {
        AgentConfig Resolve(string json) =>
            AgentConfig.Resolve(
                new LaunchEnvironment { Variable = _ => null, Home = Fixture.NewFolder("nobody") },
                null,
                JsonNode.Parse(json)!.AsObject()
            );
        var config = Resolve("""{ "time_limit": "1d", "start_limit": "10m", "max_jobs": { "local-process": 4 } }""");
        Assert.Equal((TimeSpan.FromDays(1), TimeSpan.FromMinutes(10)), (config.Limits.Time, config.Limits.Start));
        Assert.Contains("-AllowResource local-process", Assert.Single(config.Warnings), StringComparison.Ordinal);
        Assert.Equal("4", config.ForServer()["max_jobs"]!.ToString());
        Assert.Empty(
            Resolve("""{ "max_jobs": { "local-process": 4 }, "policy": { "resources": ["local-process"] } }""").Warnings
        );
        var fault = Assert.Throws<LaunchException>(() => Resolve("""{ "time_limit": "soon" }"""));
        Assert.Equal("AgentConfigInvalid", fault.ErrorId);
        Assert.Contains("time_limit", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_run_over_its_time_is_stopped_and_says_so_also_when_its_supervisor_ends_meanwhile()
    {
        var time = new SetTime();
        var resource = new Waiting();
        var (folder, spec) = Launch(time, "over", TimeSpan.FromHours(2), null);
        using (var first = new Supervisor(folder, LaunchStore.Load(folder)!, resource, null, time: time))
        {
            Assert.True(await first.StartAsync(spec, new Dictionary<string, string>(), default));
            Assert.Equal(LaunchState.Pending, first.Run.State);

            // The time of waiting is not the run's.
            time.Now += TimeSpan.FromHours(9);
            Assert.False(first.IsOver(spec));
            using var leave = new CancellationTokenSource();
            var following = first.FollowAsync(new RunWatch(_ => resource), TimeSpan.Zero, default, leave.Token);
            resource.Tell(RunStanding.Runs);
            while (first.Run.State != LaunchState.Running)
            {
                await Task.Delay(10);
            }

            time.Now += TimeSpan.FromMinutes(119);
            Assert.False(first.IsOver(spec));
            time.Now += TimeSpan.FromMinutes(1);
            Assert.True(first.IsOver(spec));
            Assert.True(first.IsOver(spec));
            await leave.CancelAsync();
            Assert.False(await following);
        }

        // Whoever looks after it next knows why it is being stopped.
        var known = LaunchStore.Load(folder)!;
        Assert.Equal((LaunchState.Stopping, "TimeLimit"), (known.State, known.ErrorId));
        using var next = new Supervisor(folder, known, resource, null, time: time);
        Assert.True(await next.StartAsync(spec, new Dictionary<string, string>(), default));
        Assert.True(next.IsOver(spec));
        using var stop = new CancellationTokenSource();
        var ending = next.FollowAsync(new RunWatch(_ => resource), TimeSpan.Zero, stop.Token, default);
        resource.Tell(RunStanding.Runs);
        await stop.CancelAsync();
        Assert.True(await ending);
        Assert.True(next.TrySave());
        var end = LaunchStore.Load(folder)!;
        Assert.Equal((LaunchState.Failed, 143, "TimeLimit"), (end.State, end.ExitCode, end.ErrorId));
        Assert.Contains("time limit of 02:00:00", end.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_run_that_does_not_begin_in_time_is_given_up_with_what_it_waited_for()
    {
        var time = new SetTime();
        var resource = new Waiting();
        var (folder, spec) = Launch(time, "late", null, TimeSpan.FromMinutes(30));
        using var supervisor = new Supervisor(folder, LaunchStore.Load(folder)!, resource, null, time: time);
        Assert.True(await supervisor.StartAsync(spec, new Dictionary<string, string>(), default));
        using var stop = new CancellationTokenSource();
        var following = supervisor.FollowAsync(new RunWatch(_ => resource), TimeSpan.Zero, stop.Token, default);
        resource.Tell(RunStanding.WaitsFor("all nodes are busy"));
        while (supervisor.Run.Reason != "all nodes are busy")
        {
            await Task.Delay(10);
        }

        time.Now += TimeSpan.FromMinutes(29);
        Assert.False(supervisor.IsOver(spec));
        time.Now += TimeSpan.FromMinutes(1);
        Assert.True(supervisor.IsOver(spec));

        // What its engine says now is no reason any more.
        resource.Tell(RunStanding.WaitsFor("something else"));
        await stop.CancelAsync();
        Assert.True(await following);
        var end = supervisor.Run;
        Assert.Equal((LaunchState.Failed, "StartLimit", null), (end.State, end.ErrorId, end.Started));
        Assert.Contains("start limit of 00:30:00", end.Reason, StringComparison.Ordinal);
        Assert.Contains("all nodes are busy", end.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void What_somebody_stopped_before_stays_stopped()
    {
        var run = new LaunchedRun
        {
            Id = "x",
            Source = "x",
            Resource = "waiting",
            State = LaunchState.Stopping,
            Started = DateTimeOffset.UnixEpoch,
        };
        var spec = new RunSpec
        {
            Id = "x",
            Resource = "waiting",
            Command = [],
            WorkingFolder = "/",
            TimeLimit = TimeSpan.FromSeconds(1),
        };
        Assert.Same(run, LimitCheck.Apply(run, spec, DateTimeOffset.UtcNow));
        Assert.False(LimitCheck.IsOver(run));
    }

    private static (string Folder, RunSpec Spec) Launch(SetTime time, string id, TimeSpan? run, TimeSpan? start)
    {
        var folder = Fixture.NewFolder(id);
        LaunchStore.Save(
            folder,
            new LaunchedRun
            {
                Id = id,
                Source = "x",
                Resource = "waiting",
                State = LaunchState.Starting,
                LogPath = Path.Combine(folder, "output.log"),
            }
        );
        return (
            folder,
            new RunSpec
            {
                Id = id,
                Resource = "waiting",
                Command = [],
                WorkingFolder = "/",
                TimeLimit = run,
                StartLimit = start,
                StartBy = time.GetUtcNow() + start,
            }
        );
    }

    private sealed class SetTime : TimeProvider
    {
        internal DateTimeOffset Now { get; set; } = new(2026, 1, 1, 0, 0, 0, TimeSpan.Zero);

        public override DateTimeOffset GetUtcNow() => Now;
    }

    /// <summary>An engine that takes a run before it begins with it.</summary>
    private sealed class Waiting : ILaunchResource
    {
        private readonly System.Threading.Channels.Channel<RunStanding> _told =
            System.Threading.Channels.Channel.CreateUnbounded<RunStanding>();

        public ResourceInfo Info { get; } =
            new()
            {
                Name = "waiting",
                Tip = "",
                EngineRemembers = true,
                Queues = true,
            };

        internal void Tell(RunStanding standing) => _told.Writer.TryWrite(standing);

        public void Validate(LaunchConfig config, LaunchOptions options) { }

        public (LaunchConfig Config, LaunchOptions Options) ApplyPolicy(
            LaunchConfig config,
            LaunchOptions options,
            AgentPolicy policy,
            ItemContext item
        ) => (config, options);

        public Task<ResourcePlan> PlanAsync(ResourceRequest request, CancellationToken token) =>
            throw new NotSupportedException();

        public Task<RunSpec> PrepareAsync(PrepareContext context, CancellationToken token) =>
            throw new NotSupportedException();

        public Task<RunHandle> StartAsync(
            RunSpec spec,
            IReadOnlyDictionary<string, string> secrets,
            CancellationToken token
        ) => Task.FromResult(new RunHandle("job", "1"));

        public Task<RunHandle?> FindAsync(RunSpec spec, CancellationToken token) =>
            Task.FromResult<RunHandle?>(new RunHandle("job", "1"));

        public Task<IReadOnlyDictionary<string, RunStanding>> LookAsync(
            IReadOnlyCollection<LaunchedRun> runs,
            CancellationToken token
        ) => Task.FromResult<IReadOnlyDictionary<string, RunStanding>>(new Dictionary<string, RunStanding>());

        public async IAsyncEnumerable<RunChange> WatchAsync(
            WatchedRuns runs,
            [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken token
        )
        {
            await foreach (var standing in _told.Reader.ReadAllAsync(token))
            {
                yield return new RunChange(runs.All.First().Id, standing);
            }
        }

        public Task ReadLogAsync(LaunchedRun run, string? from, bool follow, IRunLogSink to, CancellationToken token) =>
            Task.CompletedTask;

        public Task StopAsync(LaunchedRun run, TimeSpan grace, CancellationToken token)
        {
            Tell(RunStanding.Ended(new RunOutcome(run.Started is null ? null : 143)));
            return Task.CompletedTask;
        }
    }
}
