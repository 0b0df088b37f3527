using System.Globalization;
using System.Text.Json.Nodes;
using WandbLaunch.Resources;
using WandbLaunch.Wandb;

namespace WandbLaunch.Tests;

/// <summary>The items of a grid that come to a cluster through a queue: arrays, and not a job each.</summary>
[Collection(SlurmCollection.Name)]
public sealed class SlurmGridTests
{
    private const int Count = 120;

    [Fact]
    public async Task The_items_of_a_grid_are_few_arrays()
    {
        using var slurm = new SlurmMachine();
        var repository = Directory.CreateDirectory(Path.Combine(slurm.Folder, "repository")).FullName;
        await File.WriteAllTextAsync(
            Path.Combine(repository, "main.sh"),
            $"echo \"$1 $WANDB_RUN_ID\" >> '{slurm.Folder}/ran'\n"
        );
        Fixture.Git(repository, "init", "-q");
        Fixture.Git(repository, "add", ".");
        Fixture.Git(repository, "commit", "-q", "-m", "one");
        await using var queue = await ClusterQueue.CreateAsync([
            .. Enumerable.Range(0, Count).Select(n => Item(repository, n)),
        ]);
        queue.StartAgent(
            $$"""
            "max_jobs": {{Count}}, "no_install": true, "policy": { "resources": ["slurm"], "git_hosts": ["file"] }
            """,
            ("SLURM_CONF", SlurmMachine.Settings),
            ("WANDBLAUNCH_SLURM_POLL", "0.3")
        );
        await queue.UntilAsync(async () => (await queue.ItemsAsync()).All(i => i.IsDone), "all end", 300);
        var items = await queue.ItemsAsync();
        Assert.All(items, i => Assert.Equal((QueueItemState.Finished, 0), (i.State, i.ExitCode)));
        var ran = await File.ReadAllLinesAsync(
            Path.Combine(slurm.Folder, "ran"),
            TestContext.Current.CancellationToken
        );
        Assert.Equal(
            Enumerable.Range(0, Count),
            ran.Select(l => int.Parse(l.Split(' ')[0], CultureInfo.InvariantCulture)).Order()
        );
        Assert.Equal(Count, ran.Select(l => l.Split(' ')[1]).Distinct().Count());

        // One, where nothing else keeps the machine busy: an agent takes one item after the other, and those that come within a moment go together.
        var jobs = items.Select(i => SlurmKey.Parse(i.EngineId!)!.Value.Id).Distinct().Count();
        TestContext.Current.SendDiagnosticMessage($"{Count} items were {jobs} jobs");
        Assert.InRange(jobs, 1, Count / 4);
    }

    private static JsonObject Item(string repository, int n) =>
        new()
        {
            ["uri"] = new Uri(repository).AbsoluteUri,
            ["resource"] = "slurm",
            ["entity"] = "local",
            ["project"] = "slurm",
            ["resource_args"] = new JsonObject { ["slurm"] = new JsonObject { ["time"] = 5 } },
            ["overrides"] = new JsonObject
            {
                ["entry_point"] = new JsonArray("bash", "main.sh"),
                ["args"] = new JsonArray(n.ToString(CultureInfo.InvariantCulture)),
            },
        };
}
