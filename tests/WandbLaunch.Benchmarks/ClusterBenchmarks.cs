using System.Diagnostics;
using System.Text.Json.Nodes;

namespace WandbLaunch.Benchmarks;

/// <summary>
/// What a cluster's runs cost beside the cluster's own requests, all in one run: <c>kubernetes</c> needs the engine of
/// tests/engines/kubernetes-up.sh (WANDBLAUNCH_TEST_KUBECONFIG). No Job of it runs: what is measured is the way there.
/// </summary>
internal static class ClusterBenchmarks
{
    private const int Items = 500;

    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(10);

    /// <summary>500 Jobs of a queue against as many bare requests, and what an agent asks while they wait.</summary>
    internal static async Task KubernetesAsync()
    {
        if (Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_KUBECONFIG") is not { Length: > 0 } config)
        {
            Console.WriteLine(
                "kubernetes: not measured, there is none (tests/engines/kubernetes-up.sh, WANDBLAUNCH_TEST_KUBECONFIG)"
            );
            return;
        }

        await using var cluster = await BareCluster.StartAsync(config, Program.WorkFolder);
        Environment.SetEnvironmentVariable("KUBECONFIG", cluster.Config);
        var database = AgentBenchmarks.NewDatabase("kubernetes");
        using var client = AgentBenchmarks.Client(database);
        using var agent = AgentBenchmarks.Agent(database, "kubernetes", "\"max_jobs\": -1", "kubernetes");
        AgentBenchmarks.WaitForAgent(client);
        try
        {
            await Task.Delay(TimeSpan.FromSeconds(20));
            var idle = await MeasureAsync(agent, 20);
            var clock = Stopwatch.StartNew();
            for (var i = 0; i < Items; i++)
            {
                await AgentBenchmarks.Call(
                    client,
                    Push(
                        "kubernetes",
                        new JsonObject
                        {
                            ["docker"] = new JsonObject { ["docker_image"] = "busybox:1" },
                            ["entity"] = "local",
                            ["project"] = "bench",
                            ["resource"] = "kubernetes",
                        }
                    )
                );
            }

            await UntilAsync(() => cluster.Jobs >= Items, () => $"{cluster.Jobs} of {Items} Jobs are there");
            var ours = clock.Elapsed;
            clock.Restart();
            await cluster.MakeAsync(Items);
            var bare = clock.Elapsed;
            Console.WriteLine(
                $"{Items} items of a queue to Jobs: {ours.TotalSeconds:0.0} s; as many bare requests, one after the other, {bare.TotalSeconds:0.0} s: {bare / ours:0.00} of their rate"
            );
            await Task.Delay(TimeSpan.FromSeconds(75));
            var (lists, watches, requests) = cluster.Asked;
            var (memory, share) = await MeasureAsync(agent, 60);
            var (listsLater, watchesLater, requestsLater) = cluster.Asked;
            Console.WriteLine(
                $"an agent with {Items} waiting Jobs: {share:0.00} % of a core (idle {idle.Share:0.00}), {memory:0.0} MB, {memory - idle.Memory:+0.0} over an idle one; lists of Jobs and pods {lists} until all were there and {listsLater - lists} in the minute after (0), watches {watches} and {watchesLater - watches}, all requests of that minute {requestsLater - requests}"
            );
        }
        finally
        {
            AgentBenchmarks.End(agent);
            AgentBenchmarks.Stop(database.Path);
        }
    }

    private static string Push(string queue, JsonObject spec) =>
        AgentBenchmarks.Body(
            "mutation pushToRunQueueByName($q: String!, $s: JSONString!) { pushToRunQueueByName(input: {entityName: \"local\", projectName: \"model-registry\", queueName: $q, runSpec: $s}) { runQueueItemId } }",
            new { q = queue, s = spec.ToJsonString() }
        );

    // Megabytes, and percent of a core.
    private static async Task<(double Memory, double Share)> MeasureAsync(Process agent, int seconds)
    {
        agent.Refresh();
        var (before, clock) = (agent.TotalProcessorTime, Stopwatch.StartNew());
        await Task.Delay(TimeSpan.FromSeconds(seconds));
        agent.Refresh();
        return (agent.WorkingSet64 / 1048576.0, (agent.TotalProcessorTime - before) / clock.Elapsed * 100);
    }

    private static async Task UntilAsync(Func<bool> there, Func<string> what)
    {
        for (var clock = Stopwatch.StartNew(); !there(); )
        {
            if (clock.Elapsed > Patience)
            {
                throw new InvalidOperationException(what());
            }

            await Task.Delay(100);
        }
    }
}
