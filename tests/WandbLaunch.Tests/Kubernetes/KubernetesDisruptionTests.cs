using System.Text.Json.Nodes;
using WandbLaunch.Resources;
using WandbLaunch.Wandb;

namespace WandbLaunch.Tests;

/// <summary>What a cluster takes away from a program is the machine's failure: an agent launches it anew, as a Job of its own.</summary>
public sealed class KubernetesDisruptionTests
{
    private static JsonObject Item =>
        new()
        {
            ["resource"] = "kubernetes",
            ["entity"] = "local",
            ["project"] = "kube",
            ["docker"] = new JsonObject { ["docker_image"] = "busybox:1" },
            ["resource_args"] = new JsonObject { ["kubernetes"] = new JsonObject() },
        };

    private static void StartAgent(ClusterQueue queue, KubeCluster cluster, int retries) =>
        queue.StartAgent(
            $$"""
            "max_jobs": 4, "max_retry": {{retries}}, "policy": { "resources": ["kubernetes"] }
            """,
            ("KUBECONFIG", cluster.KubeConfig)
        );

    // The pod of the newest attempt, running.
    private static async Task<string> RunAsync(KubeCluster cluster, ClusterQueue queue, IReadOnlyCollection<string> not)
    {
        string? name = null;
        await queue.UntilAsync(
            async () =>
                (
                    name = (await cluster.ListAsync(KubeKind.Pod))
                        .Select(p => p.Str("metadata", "name")!)
                        .FirstOrDefault(n => !not.Contains(n))
                )
                    is not null,
            "its pod"
        );
        await cluster.Node.BindAsync(name!);
        await cluster.Node.RunsAsync(name!);
        return name!;
    }

    [Theory]
    [InlineData(
        """{"phase":"Failed","reason":"Evicted","message":"The node was low on resource: memory."}""",
        "its node evicted it: The node was low on resource: memory."
    )]
    [InlineData(
        """{"phase":"Failed","reason":"Preempting","message":"Preempted in order to admit critical pod"}""",
        "a pod of a higher priority took its place: Preempted in order to admit critical pod"
    )]
    [InlineData("""{"phase":"Failed","reason":"NodeLost"}""", "its node was lost")]
    public async Task What_the_cluster_takes_away_is_launched_anew(string status, string words)
    {
        await using var cluster = await KubeCluster.StartAsync();
        await using var queue = await ClusterQueue.CreateAsync(Item);
        StartAgent(queue, cluster, 3);
        var first = await RunAsync(cluster, queue, []);
        await queue.UntilAsync(async () => (await queue.ItemsAsync())[0].EngineId is not null, "it runs");
        var id = (await queue.ItemsAsync())[0].EngineId;
        cluster.Node.LogOf(first).Complete();
        await cluster.Node.StatusAsync(first, status);
        var second = await RunAsync(cluster, queue, [first]);

        // Killed in the middle: the next agent goes on with the second, and makes no third.
        await queue.KillAgentAsync();
        StartAgent(queue, cluster, 3);
        await queue.UntilAsync(
            async () => (await queue.ItemsAsync())[0].Reason?.Contains("attempt 2", StringComparison.Ordinal) == true,
            "the item says which attempt it is"
        );
        cluster.Node.LogOf(second).Complete();
        await cluster.Node.EndsAsync(second, 0);
        await queue.UntilAsync(async () => (await queue.ItemsAsync())[0].IsDone, "it ends");
        var item = (await queue.ItemsAsync())[0];
        Assert.Equal((QueueItemState.Finished, 0), (item.State, item.ExitCode));
        Assert.NotEqual(id, item.EngineId);
        Assert.EndsWith("-2", item.EngineId, StringComparison.Ordinal);
        Assert.Equal("attempt 2; the one before was lost: " + words, item.Reason);
        await queue.UntilAsync(async () => (await cluster.ListAsync(KubeKind.Job)).Count == 0, "a Job is left");
    }

    [Fact]
    public async Task A_program_that_fails_is_not_launched_anew_and_none_is_without_retries()
    {
        await using var cluster = await KubeCluster.StartAsync();
        await using var queue = await ClusterQueue.CreateAsync(Item);
        StartAgent(queue, cluster, 0);
        var evicted = await RunAsync(cluster, queue, []);
        cluster.Node.LogOf(evicted).Complete();
        await cluster.Node.StatusAsync(evicted, """{"phase":"Failed","reason":"Evicted","message":"disk"}""");
        await queue.UntilAsync(async () => (await queue.ItemsAsync())[0].IsDone, "it ends");
        await queue.PushAsync(Item);
        var failed = await RunAsync(cluster, queue, [evicted]);
        cluster.Node.LogOf(failed).Complete();
        await cluster.Node.EndsAsync(failed, 3);
        await queue.UntilAsync(async () => (await queue.ItemsAsync()).All(i => i.IsDone), "both end");
        var items = await queue.ItemsAsync();
        Assert.All(items, i => Assert.Equal(QueueItemState.Failed, i.State));
        Assert.Equal([null, 3], items.Select(i => i.ExitCode).Order());
        Assert.Single(items, i => i.Reason == "its node evicted it: disk");
        Assert.DoesNotContain(queue.Said, l => l.Contains("Tried again", StringComparison.Ordinal));
    }
}
