using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using WandbLaunch.Agents;
using WandbLaunch.Wandb;
using static WandbLaunch.Tests.AgentTests;

namespace WandbLaunch.Tests;

/// <summary>Agents where the process itself is another: its PATH, its disk.</summary>
[Collection(ProcessCollection.Name)]
public sealed class AgentProcessTests
{
    [Fact]
    public async Task A_scheduler_that_fails_ends_its_sweep()
    {
        await using var place = await Place.CreateAsync(false, "q");
        using var proxy = new BadProxy(place.Url);
        var set = new ConcurrentQueue<JsonNode>();

        // W&B has sweeps; this project's own server has not.
        proxy.Change = (asked, answer) =>
        {
            switch (asked["query"]!.ToString())
            {
                case var q when q.Contains("__type(name: \"Mutation\")", StringComparison.Ordinal):
                    answer["data"]!["MutationType"]!["fields"]!
                        .AsArray()
                        .Add(new JsonObject { ["name"] = "upsertSweep" });
                    answer["data"]!["ProjectType"]!["fields"]!.AsArray().Add(new JsonObject { ["name"] = "sweep" });
                    return answer;
                case var q when q.Contains("sweep(sweepName", StringComparison.Ordinal):
                    return JsonNode.Parse(
                        """{ "data": { "project": { "sweep": { "id": "U3dlZXA=", "state": "RUNNING" } } } }"""
                    );
                case var q when q.Contains("upsertSweep(", StringComparison.Ordinal):
                    set.Enqueue(asked["variables"]!);
                    return JsonNode.Parse("""{ "data": { "upsertSweep": { "sweep": { "name": "sw1" } } } }""");
                default:
                    return null;
            }
        };
        using var connection = await Place.ConnectAsync(proxy.Url);
        var scheduler = Spec("placeholder-uri-scheduler");
        (scheduler["run_id"], scheduler["overrides"]!["entry_point"]) = (
            "sw1",
            new JsonArray("wandb", "scheduler", "sw1")
        );
        await place.PushAsync("q", scheduler);

        // As a process a scheduler is W&B's own program and nothing else.
        var programs = Fixture.NewFolder("programs");
        var wandb = Path.Combine(programs, "wandb");
        await File.WriteAllTextAsync(wandb, "#!/bin/sh\nexit 3\n");
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(wandb, (UnixFileMode)0x1C0);
        }

        var path = Environment.GetEnvironmentVariable("PATH");
        Environment.SetEnvironmentVariable("PATH", programs + Path.PathSeparator + path);
        try
        {
            using var agent = await place.AgentAsync("""{ "queues": "q", "stop_when_empty": true }""", connection);
            Assert.Equal(LaunchAgent.ExitFailures, await agent.RunAsync().WaitAsync(TimeSpan.FromSeconds(60)));
        }
        finally
        {
            Environment.SetEnvironmentVariable("PATH", path);
        }

        Assert.Equal(
            (QueueItemState.Failed, 3),
            ((await place.ItemsAsync("q"))[0].State, (await place.ItemsAsync("q"))[0].ExitCode)
        );
        var sweep = Assert.Single(set);
        Assert.Equal(
            ("U3dlZXA=", "CANCELED", "local", "agents"),
            (
                sweep["id"]!.ToString(),
                sweep["state"]!.ToString(),
                sweep["entity"]!.ToString(),
                sweep["project"]!.ToString()
            )
        );
    }

    [Fact]
    public async Task A_full_disk_costs_an_agent_neither_the_exit_code_nor_the_slot()
    {
        await using var place = await Place.CreateAsync(false, "q");
        var cache = Environment.GetEnvironmentVariable("WANDBLAUNCH_CACHE");
        Environment.SetEnvironmentVariable("WANDBLAUNCH_CACHE", Fixture.NewFolder("cache"));
        try
        {
            using var disk = new SmallDisk();
            var signs = Fixture.NewFolder("signs");
            await place.PushAsync(
                "q",
                Spec(
                    Repository(
                        "import os, sys\nfor i in range(4): sys.stdout.write('x' * (1 << 20))\nsys.stdout.flush()\nopen(os.path.join(sys.argv[1], 'full'), 'w').close()\nsys.exit(5)\n"
                    ),
                    signs
                ),
                Spec(Repository("print('next')\n"))
            );
            var running = place.RunAsync("""{ "queues": "q", "stop_when_empty": true, "max_runs": 2 }""");
            await place.UntilAsync(() => File.Exists(Path.Combine(signs, "full")));
            await Task.Delay(3000);
            Assert.False(running.IsCompleted);
            disk.MakeRoom();
            await running;
            var items = await place.ItemsAsync("q");
            Assert.Equal(
                [(QueueItemState.Failed, (int?)5), (QueueItemState.Finished, 0)],
                items.Select(i => (i.State, i.ExitCode))
            );
            Assert.Contains(items[0].Warning, w => w.Contains("the disk is full", StringComparison.Ordinal));
        }
        finally
        {
            Environment.SetEnvironmentVariable("WANDBLAUNCH_CACHE", cache);
        }
    }
}
