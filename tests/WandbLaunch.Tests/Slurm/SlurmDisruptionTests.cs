using System.Text.Json.Nodes;
using WandbLaunch.Wandb;

namespace WandbLaunch.Tests;

/// <summary>What Slurm takes away from a program is the machine's failure: an agent launches it anew, as a job of its own.</summary>
[Collection(SlurmCollection.Name)]
public sealed class SlurmDisruptionTests
{
    private static readonly string[] Nodes = ["n1", "n2", "n3"];

    private static async Task<string> RepositoryAsync(SlurmMachine slurm)
    {
        var repository = Directory.CreateDirectory(Path.Combine(slurm.Folder, "repository")).FullName;

        // It runs until the test lets it go.
        await File.WriteAllTextAsync(
            Path.Combine(repository, "main.sh"),
            $"echo \"$SLURM_JOB_ID $WANDB_RUN_ID ${{WANDB_RESUME:-first}}\" >> '{slurm.Folder}/ran'\nuntil [ -e '{slurm.Folder}/go' ]; do sleep 0.2; done\n"
        );
        Fixture.Git(repository, "init", "-q");
        Fixture.Git(repository, "add", ".");
        Fixture.Git(repository, "commit", "-q", "-m", "one");
        return new Uri(repository).AbsoluteUri;
    }

    private static JsonObject Item(string uri, string partition) =>
        new()
        {
            ["uri"] = uri,
            ["resource"] = "slurm",
            ["entity"] = "local",
            ["project"] = "slurm",
            ["resource_args"] = new JsonObject
            {
                ["slurm"] = new JsonObject { ["time"] = 5, ["partition"] = partition },
            },
            ["overrides"] = new JsonObject { ["entry_point"] = new JsonArray("bash", "main.sh") },
        };

    private static void StartAgent(ClusterQueue queue, int retries) =>
        queue.StartAgent(
            $$"""
            "max_jobs": 4, "max_retry": {{retries}}, "no_install": true, "policy": { "resources": ["slurm"], "git_hosts": ["file"] }
            """,
            ("SLURM_CONF", SlurmMachine.Settings),
            ("WANDBLAUNCH_SLURM_POLL", "0.3")
        );

    private static List<string[]> Ran(SlurmMachine slurm) =>
        File.Exists(Path.Combine(slurm.Folder, "ran"))
            ? [.. File.ReadAllLines(Path.Combine(slurm.Folder, "ran")).Select(l => l.Split(' '))]
            : [];

    [Fact]
    public async Task A_run_whose_node_fails_is_launched_anew_and_the_next_agent_knows_which_attempt_it_is()
    {
        using var slurm = new SlurmMachine();
        await using var queue = await ClusterQueue.CreateAsync(Item(await RepositoryAsync(slurm), "debug"));
        StartAgent(queue, 3);
        await queue.UntilAsync(() => Ran(slurm).Count == 1, "it runs");
        var first = Ran(slurm)[0][0];
        try
        {
            var node = SlurmMachine.Command("squeue", "-h", "-o", "%N", "-j", first).Trim();
            SlurmMachine.Command("scontrol", "update", "NodeName=" + node, "State=DOWN", "Reason=test");
            await queue.UntilAsync(() => Ran(slurm).Count == 2, "it runs anew");
        }
        finally
        {
            foreach (var node in Nodes)
            {
                SlurmMachine.Command("scontrol", "update", "NodeName=" + node, "State=RESUME");
            }
        }

        // While it runs the item says which attempt it is, and why.
        var second = Ran(slurm)[1][0];
        Assert.NotEqual(first, second);
        await queue.UntilAsync(
            async () =>
                (await queue.ItemsAsync())[0] is { Reason: { } reason, EngineId: { } id }
                && reason.Contains("attempt 2", StringComparison.Ordinal)
                && id.Contains(second, StringComparison.Ordinal),
            "the item says so"
        );

        // Its agent is killed; the next one neither starts it again nor takes it for the one that was lost.
        await queue.KillAgentAsync();
        StartAgent(queue, 3);
        await File.WriteAllTextAsync(Path.Combine(slurm.Folder, "go"), "");
        await queue.UntilAsync(async () => (await queue.ItemsAsync())[0].IsDone, "it ends");
        var item = (await queue.ItemsAsync())[0];
        Assert.Equal((QueueItemState.Finished, 0), (item.State, item.ExitCode));
        Assert.Contains(second, item.EngineId, StringComparison.Ordinal);
        Assert.Matches(@"attempt 2; the one before was lost: its node failed \(n\d\)", item.Reason);
        var ran = Ran(slurm);
        Assert.Equal(2, ran.Count);

        // One W&B run: the second goes on with it.
        Assert.Equal(ran[0][1], ran[1][1]);
        Assert.Equal(("first", "allow"), (ran[0][2], ran[1][2]));
        await SlurmMachine.UntilAsync(
            () => SlurmMachine.Command("sinfo", "-h", "-p", "debug", "-t", "idle", "-o", "%D").Trim() == "3",
            "the nodes are back"
        );
    }

    [Fact]
    public async Task A_run_that_is_taken_away_too_often_fails_with_the_reason()
    {
        using var slurm = new SlurmMachine();
        await using var queue = await ClusterQueue.CreateAsync(Item(await RepositoryAsync(slurm), "low"));
        StartAgent(queue, 1);
        for (var attempt = 1; attempt <= 2; attempt++)
        {
            await queue.UntilAsync(() => Ran(slurm).Count == attempt, $"attempt {attempt} runs");
            var taken = Ran(slurm)[^1][0];
            var other = SlurmMachine
                .Command("sbatch", "--parsable", "-p", "high", "--exclusive", "-o", "/dev/null", "--wrap", "sleep 600")
                .Trim();
            try
            {
                await queue.UntilAsync(
                    () =>
                        SlurmMachine.Command("squeue", "-h", "-t", "running", "-o", "%i", "-j", other).Trim() == other,
                    $"{other} takes the place of {taken}"
                );
            }
            finally
            {
                SlurmMachine.Command("scancel", other);
            }
        }

        await queue.UntilAsync(async () => (await queue.ItemsAsync())[0].IsDone, "it ends");
        var item = (await queue.ItemsAsync())[0];
        Assert.Equal(QueueItemState.Failed, item.State);
        Assert.Contains("attempt 2", item.Reason, StringComparison.Ordinal);
        Assert.Contains("higher priority", item.Error, StringComparison.Ordinal);
        Assert.Equal(2, Ran(slurm).Count);
        Assert.Contains(queue.Said, l => l.Contains("(1 of 1)", StringComparison.Ordinal));
    }
}
