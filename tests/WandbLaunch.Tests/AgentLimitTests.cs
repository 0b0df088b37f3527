using System.Text.Json.Nodes;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Wandb;
using static WandbLaunch.Tests.AgentTests;

namespace WandbLaunch.Tests;

/// <summary>How long an agent's runs may take, and how many of each resource it has.</summary>
public sealed class AgentLimitTests
{
    private static readonly string Sleeper =
        "import sys, time\nprint('up', flush=True)\ntime.sleep(float(sys.argv[1]))\n";

    private static JsonObject With(JsonObject spec, string key, JsonNode value)
    {
        spec[key] = value;
        return spec;
    }

    private static Task<IReadOnlyList<string>> ConfigureAsync(Place place, string queue, RunLimits limits) =>
        place.Connection.Queues.ConfigureAsync(
            new QueueConfiguration("local", Project, queue, "local-process", [], null, null) { Limits = limits },
            default
        );

    [Fact]
    public async Task The_smallest_time_limit_of_item_queue_and_agent_ends_a_run_and_is_said()
    {
        await using var place = await Place.CreateAsync(false, "item", "queue", "agent");
        var uri = Repository(Sleeper);
        await ConfigureAsync(place, "queue", new RunLimits { Time = TimeSpan.FromSeconds(2) });
        await place.PushAsync("item", With(Spec(uri, "60"), "time_limit", "1s"));
        await place.PushAsync("queue", With(Spec(uri, "60"), "time_limit", "1h"));
        await place.PushAsync("agent", With(Spec(uri, "60"), "time_limit", "1h"), Spec(uri, "0"));
        Assert.Equal(
            LaunchAgent.ExitFailures,
            await place.RunAsync(
                """{ "queues": ["item", "queue", "agent"], "stop_when_empty": true, "max_jobs": 4, "time_limit": "3s", "stop_grace_period": 1 }"""
            )
        );
        foreach (var (queue, limit) in new[] { ("item", "00:00:01"), ("queue", "00:00:02"), ("agent", "00:00:03") })
        {
            var item = (await place.ItemsAsync(queue))[0];
            Assert.Equal(QueueItemState.Failed, item.State);
            Assert.Contains($"time limit of {limit}", item.Error, StringComparison.Ordinal);
            Assert.Contains($"time limit of {limit}", item.Reason, StringComparison.Ordinal);
            var run = LaunchStore.Of(new LaunchContext()).Get(item.RunId!);
            Assert.Equal((LaunchState.Failed, "TimeLimit"), (run.State, run.ErrorId));
            Assert.Equal(run.EngineId, item.EngineId);
            Assert.InRange(
                run.Duration!.Value,
                TimeSpan.Parse(limit, System.Globalization.CultureInfo.InvariantCulture),
                TimeSpan.Parse(limit, System.Globalization.CultureInfo.InvariantCulture) + TimeSpan.FromSeconds(20)
            );
        }

        Assert.Equal(QueueItemState.Finished, (await place.ItemsAsync("agent"))[1].State);
    }

    [Fact]
    public async Task An_item_that_does_not_begin_in_time_fails_with_that_reason_and_is_not_tried_again()
    {
        await using var place = await Place.CreateAsync(false, "q");
        await place.PushAsync("q", With(Spec(Repository(Sleeper), "0"), "start_limit", "00:00:00.001"));
        Assert.Equal(
            LaunchAgent.ExitFailures,
            await place.RunAsync("""{ "queues": "q", "stop_when_empty": true, "start_limit": "1h" }""")
        );
        var item = Assert.Single(await place.ItemsAsync("q"));
        Assert.Contains("start limit of 00:00:00.0010000", item.Error, StringComparison.Ordinal);
        Assert.Empty(place.Of(AgentEventKind.RunStarted));
        Assert.Empty(place.Of(AgentEventKind.Retry));
        Assert.Equal("StartLimit", Assert.Single(place.Of(AgentEventKind.ItemFailed)).ErrorId);
    }

    [Fact]
    public async Task Limits_of_a_queue_are_read_anew_while_an_agent_runs_and_its_other_settings_stay()
    {
        await using var place = await Place.CreateAsync(false, "q");
        var queue = await place.Connection.Queues.GetAsync("local", Project, "q", null, default);
        Assert.Null(await place.Connection.Queues.ConfigurationAsync(queue, default));
        await place.Connection.Queues.ConfigureAsync(
            new QueueConfiguration(
                "local",
                Project,
                "q",
                "local-process",
                new JsonObject { ["note"] = "{{x}}" },
                new JsonObject { ["x"] = new JsonObject { ["schema"] = new JsonObject { ["type"] = "string" } } },
                null
            )
            {
                Limits = new RunLimits { Time = TimeSpan.FromHours(2), Start = TimeSpan.FromMinutes(5) },
            },
            default
        );
        var all = await place.Connection.Queues.WithConfigurationsAsync(
            [await place.Connection.Queues.GetAsync("local", Project, "q", null, default)],
            default
        );
        Assert.Equal(
            (TimeSpan.FromHours(2), TimeSpan.FromMinutes(5), "{{x}}"),
            (all[0].TimeLimit, all[0].StartLimit, all[0].ResourceArgs!["note"])
        );
        Assert.Equal(["x"], all[0].TemplateVariables!.Keys);
        var settings = await place.Connection.Queues.SettingsAsync("local", Project, [queue], default);
        Assert.Equal(TimeSpan.FromHours(2), settings[queue.Id]!.Limits.Time);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Items_of_a_resource_that_is_full_stay_in_their_queue_and_others_go_past_them(bool told)
    {
        await using var place = await Place.CreateAsync(false, "mixed", "other");
        var uri = Repository(Sleeper);
        if (told)
        {
            // The queue says it for all of its items.
            await ConfigureAsync(place, "mixed", RunLimits.None);
        }

        await place.PushAsync("mixed", Spec(uri, "6"), Spec(uri, "0"), Spec(uri, "0"));
        await place.PushAsync(told ? "other" : "mixed", With(Spec(uri, "0"), "resource", "local-container"));
        using var agent = await place.AgentAsync(
            """{ "queues": ["mixed", "other"], "stop_when_empty": true, "max_jobs": { "local-process": 1, "local-container": 2 }, "max_retry": 0, "docker_host": "unix:///nowhere/docker.sock" }"""
        );
        var running = agent.RunAsync();

        // There is no engine, so that the container's item fails: but it was taken while the first run was there.
        await place.UntilAsync(() => place.Of(AgentEventKind.ItemFailed).Any());
        var items = await place.ItemsAsync("mixed");
        Assert.Equal(
            [QueueItemState.Claimed, QueueItemState.Pending, QueueItemState.Pending],
            items.Take(3).Select(i => i.State)
        );
        Assert.Equal(LaunchAgent.ExitFailures, await running.WaitAsync(TimeSpan.FromSeconds(60)));
        Assert.All((await place.ItemsAsync("mixed")).Take(3), i => Assert.Equal(QueueItemState.Finished, i.State));
        Assert.Equal(3, place.Of(AgentEventKind.RunFinished).Count());

        // Never two of one resource at a time.
        var runs = (await place.ItemsAsync("mixed"))
            .Take(3)
            .Select(i => LaunchStore.Of(new LaunchContext()).Get(i.RunId!))
            .OrderBy(r => r.Started)
            .ToList();
        Assert.All(runs.Zip(runs.Skip(1)), p => Assert.True(p.Second.Started >= p.First.Finished));
    }

    [Fact]
    public async Task On_a_server_that_gives_whatever_is_next_an_item_without_room_goes_back_and_runs_once()
    {
        await using var place = await Place.CreateAsync(true, "q");
        var uri = Repository(Sleeper);
        await place.PushAsync("q", Spec(uri, "3"), Spec(uri, "0"));
        using var agent = await place.AgentAsync(
            """{ "queues": "q", "max_jobs": { "local-process": 1, "local-container": 1 }, "max_runs": 2 }"""
        );
        Assert.False(agent.Protocol.PopsByResource);
        Assert.Equal(0, await agent.RunAsync().WaitAsync(TimeSpan.FromSeconds(90)));
        Assert.Equal(2, place.Of(AgentEventKind.RunStarted).Count());
        Assert.Equal(2, place.Of(AgentEventKind.RunFinished).Count());
    }

    [Fact]
    public async Task A_server_passes_items_of_resources_by_in_pops_and_waits()
    {
        await using var place = await Place.CreateAsync(false, "q");
        var queue = await place.Connection.Queues.GetAsync("local", Project, "q", null, default);
        var api = await place.Connection.Api.ProtocolAsync(default);
        Assert.True(api.PopsByResource);
        var uri = Repository(Sleeper);
        var plain = Spec(uri, "0");
        plain.Remove("resource");
        await place.PushAsync(
            "q",
            With(Spec(uri, "1"), "resource", "slurm"),
            plain,
            With(Spec(uri, "2"), "resource", "it's \"odd\"")
        );
        Assert.False(
            await api.WaitForWorkAsync(
                [queue.Id],
                TimeSpan.FromMilliseconds(200),
                default,
                ["slurm", "", "it's \"odd\""]
            )
        );
        Assert.True(await api.WaitForWorkAsync([queue.Id], TimeSpan.FromSeconds(60), default, ["slurm"]));
        async Task<string?> Pop(params string[] except) =>
            (await api.PopAsync("local", Project, "q", null, default, except)) is { } item
                ? item.Spec["resource"]?.ToString() ?? "none"
                : null;
        Assert.Null(await Pop("slurm", "", "it's \"odd\""));
        Assert.Equal("it's \"odd\"", await Pop("slurm", ""));
        Assert.Equal("none", await Pop("slurm"));
        Assert.Null(await Pop("slurm"));
        Assert.Equal("slurm", await Pop());
    }

    [Fact]
    public async Task An_item_shows_where_its_run_is()
    {
        await using var place = await Place.CreateAsync(false, "q");
        await place.PushAsync("q", Spec(Repository(Sleeper), "6"));
        using var agent = await place.AgentAsync("""{ "queues": "q", "stop_when_empty": true }""");
        var running = agent.RunAsync();
        WandbLaunchQueueItem item;
        for (var i = 0; (item = (await place.ItemsAsync("q"))[0]).EngineId is null; i++)
        {
            Assert.True(i < 200, string.Join("\n", place.Events));
            await Task.Delay(50);
        }

        Assert.Equal(QueueItemState.Claimed, item.State);
        var run = LaunchStore.Of(new LaunchContext()).Get(item.RunId!);
        Assert.Equal((run.EngineId, null), (item.EngineId, item.Reason));
        Assert.Equal(run.ProcessId!.Value.ToString(System.Globalization.CultureInfo.InvariantCulture), item.EngineId);
        Assert.Equal(0, await running.WaitAsync(TimeSpan.FromSeconds(60)));
        Assert.Equal(run.EngineId, (await place.ItemsAsync("q"))[0].EngineId);
    }
}
