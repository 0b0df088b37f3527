using System.Diagnostics;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Tests;

/// <summary>A namespace of its own in the real API server, with a node that the test plays, and a proxy between for whoever is tested.</summary>
internal sealed class KubeCluster : IAsyncDisposable
{
    private static string? Config => Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_KUBECONFIG");

    internal KubeApi Api { get; private init; } = null!;
    internal string Namespace { get; } = "t-" + Guid.NewGuid().ToString("n")[..8];
    internal KubeProxy Proxy { get; private set; } = null!;
    internal KubeNode Node { get; private set; } = null!;
    internal string KubeConfig { get; } = Path.Combine(Fixture.NewFolder("kube"), "config");

    /// <summary>Skips with the reason where the engine is missing; in CI that is a failure.</summary>
    internal static async Task<KubeCluster> StartAsync()
    {
        if (string.IsNullOrEmpty(Config))
        {
            Assert.False(Environment.GetEnvironmentVariable("CI") == "true", "CI must have an API server");
            Assert.Skip(
                "needs an API server of Kubernetes, WANDBLAUNCH_TEST_KUBECONFIG (tests/engines/kubernetes-up.sh starts one)"
            );
        }

        var cluster = new KubeCluster
        {
            Api = new KubeApi(KubePlace.Find(new LaunchEnvironment(), Config, null), TimeProvider.System),
        };
        await cluster.Api.CreateAsync(
            "/api/v1/namespaces",
            new JsonObject
            {
                ["apiVersion"] = "v1",
                ["kind"] = "Namespace",
                ["metadata"] = new JsonObject { ["name"] = cluster.Namespace },
            },
            default
        );
        for (var i = 0; ; i++)
        {
            var account = await cluster.Api.FindAsync(
                $"/api/v1/namespaces/{cluster.Namespace}/serviceaccounts/default",
                default
            );
            if (account.Maps("secrets").Any())
            {
                break;
            }

            Assert.True(i < 200, "the controllers give the namespace no account");
            await Task.Delay(50);
        }

        cluster.Proxy = await KubeProxy.StartAsync(Config);
        cluster.Node = await KubeNode.StartAsync(cluster.Api, cluster.Namespace);
        await File.WriteAllTextAsync(
            cluster.KubeConfig,
            $$"""
            apiVersion: v1
            kind: Config
            current-context: proxied
            clusters: [{name: c, cluster: {server: "{{cluster.Proxy.Url}}" } }]
            users: [{name: u, user: { } }]
            contexts: [{name: proxied, context: {cluster: c, user: u, namespace: "{{cluster.Namespace}}" } }]
            """
        );
        return cluster;
    }

    /// <summary>Another folder of the machine's, and this cluster.</summary>
    internal LaunchContext Context(string? home = null)
    {
        home ??= Fixture.NewFolder("kube-home");
        return new LaunchContext
        {
            Environment = new LaunchEnvironment
            {
                Variable = name =>
                    name switch
                    {
                        "KUBECONFIG" => KubeConfig,
                        "WANDBLAUNCH_HOME" => home,
                        _ => Environment.GetEnvironmentVariable(name),
                    },
            },
        };
    }

    /// <summary>Prepares a launch of an image, as the command does.</summary>
    internal static async Task<PreparedLaunch> PrepareAsync(
        LaunchStore store,
        string arguments,
        LaunchOptions? options = null,
        string? extra = null
    )
    {
        var config = LaunchConfig.FromJson(
            (JsonObject)
                JsonNode.Parse(
                    $$"""{ "docker": { "docker_image": "busybox:1" }, "resource": "kubernetes", "project": "p", "resource_args": { "kubernetes": {{arguments}} } {{extra}} }"""
                )!
        );
        return await new Launcher(store, _ => Task.FromResult<Wandb.WandbConnection?>(null)).PrepareAsync(
            config,
            options ?? new LaunchOptions { KeepRunId = true, StopGraceSeconds = 1 },
            Path.GetTempPath(),
            default
        );
    }

    internal static string JobPath(LaunchedRun run) => KubeHandle.Of(run.Handle!).Path;

    internal async Task<IReadOnlyList<JsonObject>> ListAsync(KubeKind kind) =>
        (await Api.ListAsync(kind.Path(Namespace), "", default)).Items;

    internal static Task UntilAsync(Func<Task<bool>> there, string what, int seconds = 30) =>
        UntilAsync(there, () => what, seconds);

    internal static Task UntilAsync(Func<bool> there, Func<string> what, int seconds = 30) =>
        UntilAsync(() => Task.FromResult(there()), what, seconds);

    private static async Task UntilAsync(Func<Task<bool>> there, Func<string> what, int seconds)
    {
        var clock = Stopwatch.StartNew();
        while (!await there())
        {
            Assert.True(clock.Elapsed.TotalSeconds < seconds, clock.Elapsed.TotalSeconds < seconds ? null : what());
            await Task.Delay(50);
        }
    }

    internal static Task UntilAsync(Func<bool> there, string what, int seconds = 30) =>
        UntilAsync(() => Task.FromResult(there()), what, seconds);

    public async ValueTask DisposeAsync()
    {
        await Node.DisposeAsync();
        await Proxy.DisposeAsync();
        await Api.DeleteAsync("/api/v1/namespaces/" + Namespace, false, null, default);
        Api.Dispose();
    }
}
