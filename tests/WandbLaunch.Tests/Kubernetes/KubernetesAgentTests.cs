using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Resources;
using WandbLaunch.Server;
using WandbLaunch.Wandb;

namespace WandbLaunch.Tests;

/// <summary>An agent of a cluster that is killed while the API server is restarted: each item ends once, as its program ended.</summary>
public sealed class KubernetesAgentTests
{
    private const string Project = "model-registry";

    [Fact]
    public async Task A_hundred_Jobs_outlive_their_agent_and_a_restart_of_the_API_server()
    {
        const int Count = 100;
        await using var cluster = await KubeCluster.StartAsync();
        var key = Fixture.Key;
        await using var server = await LaunchServer.StartAsync(
            Path.Combine(Fixture.NewFolder("kube-server"), "wandb.db"),
            "127.0.0.1",
            0,
            key,
            lease: TimeSpan.FromSeconds(2)
        );
        using var connection = await WandbConnection.OpenAsync(
            WandbSettings.Resolve(new LaunchEnvironment(), Fixture.Root, server.Url, key),
            null,
            default
        );
        await connection.Queues.CreateAsync(new NewQueue("local", Project, "cluster", "PROJECT"), default);
        await connection.Queues.PushAsync(
            "local",
            Project,
            "cluster",
            null,
            [.. Enumerable.Range(1, Count).Select(n => new QueuePush(Item(n)))],
            default
        );

        var home = Fixture.NewFolder("kube-agent");
        var agent = StartAgent();
        try
        {
            await KubeCluster.UntilAsync(() => cluster.Node.Ended.Count > 10, "the first ones", 120);
            agent.Kill();
            await agent.WaitForExitAsync();
            await RestartAsync();
            agent = StartAgent();
            await KubeCluster.UntilAsync(() => cluster.Node.Ended.Count > 50, "half of them", 120);

            // Both in one moment.
            var restart = RestartAsync();
            agent.Kill();
            await agent.WaitForExitAsync();
            agent = StartAgent();
            await restart;
            await KubeCluster.UntilAsync(
                async () => (await ItemsAsync()).All(i => i.State is QueueItemState.Finished or QueueItemState.Failed),
                "all of them",
                180
            );
            var items = await ItemsAsync();
            Assert.Equal(Count, items.Count);
            Assert.All(
                items,
                i =>
                {
                    var n = int.Parse(i.Id, CultureInfo.InvariantCulture);
                    Assert.Equal(
                        n % 7 == 0 ? (QueueItemState.Failed, (int?)3) : (QueueItemState.Finished, 0),
                        (i.State, i.ExitCode)
                    );
                }
            );

            // One Job each, and of each Job one pod.
            Assert.Equal(Count, cluster.Node.Ended.Distinct().Count());
            // What is over is removed. An agent that was killed between its report and that leaves a Job to its time to live.
            await KubeCluster.UntilAsync(
                async () => (await cluster.ListAsync(KubeKind.Job)).Count < Count / 5,
                "the Jobs are left"
            );
            Assert.All(
                await cluster.ListAsync(KubeKind.Job),
                j => Assert.Equal(86_400, j.Int("spec", "ttlSecondsAfterFinished"))
            );
        }
        finally
        {
            agent.Kill();
            await agent.WaitForExitAsync();
        }

        static JsonObject Item(int n) =>
            (JsonObject)
                JsonNode.Parse(
                    $$$$"""
                    { "resource": "kubernetes", "entity": "local", "project": "kube", "docker": { "docker_image": "busybox:1" },
                      "resource_args": { "kubernetes": { "spec": { "template": { "spec": { "containers": [{ "args": ["run", "{{{{(
                        n % 5
                    ) * 0.4}}}}", "{{{{(n % 7 == 0 ? 3 : 0)}}}}", "said by {{{{n}}}}"] }] } } } } } }
                    """
                )!;

        async Task<List<WandbLaunchQueueItem>> ItemsAsync()
        {
            var all = new List<WandbLaunchQueueItem>();
            var queue = await connection.Queues.GetAsync("local", Project, "cluster", null, default);
            await foreach (var item in connection.Queues.ItemsAsync(queue, [], default))
            {
                all.Add(item);
            }

            return all;
        }

        Process StartAgent()
        {
            var start = new ProcessStartInfo("dotnet") { RedirectStandardOutput = true, RedirectStandardError = true };
            start.ArgumentList.Add(Path.Combine(AppContext.BaseDirectory, "WandbLaunch.CrashAgent.dll"));
            start.ArgumentList.Add(server.Url);
            start.ArgumentList.Add(
                """{ "name": "cluster", "queues": ["cluster"], "max_jobs": 40, "policy": { "resources": ["kubernetes"] } }"""
            );
            start.Environment["WANDB_API_KEY"] = key;
            start.Environment["WANDBLAUNCH_HOME"] = home;
            start.Environment["KUBECONFIG"] = cluster.KubeConfig;
            var process = Process.Start(start)!;
            process.OutputDataReceived += (_, _) => { };
            process.ErrorDataReceived += (_, _) => { };
            process.BeginOutputReadLine();
            process.BeginErrorReadLine();
            return process;
        }
    }

    // The engine's own script starts it again (tests/engines/kubernetes-up.sh).
    private static async Task RestartAsync()
    {
        var folder = Path.GetDirectoryName(Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_KUBECONFIG"))!;
        using var old = Process.GetProcessById(
            int.Parse(await File.ReadAllTextAsync(Path.Combine(folder, "apiserver.pid")), CultureInfo.InvariantCulture)
        );
        old.Kill();
        await old.WaitForExitAsync();
        await Task.Delay(1000);

        // It outlives the tests, as the one before it would have.
        var start = new ProcessStartInfo(Path.Combine(folder, "apiserver.sh"));
        start.Environment.Remove("WANDBLAUNCH_TEST_SESSION");
        using var script = Process.Start(start)!;
        await script.WaitForExitAsync();
        Assert.Equal(0, script.ExitCode);
    }
}
