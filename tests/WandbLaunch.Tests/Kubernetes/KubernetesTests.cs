using System.Text;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Tests;

/// <summary>Launches in a real API server: from the manifest to the end, with a node that the test plays.</summary>
public sealed class KubernetesTests
{
    private const string Quick =
        """{ "spec": { "template": { "spec": { "containers": [{ "args": ["run", "0.3", "0", "one", "two"] }] } } } }""";

    private static string Runs(string seconds, string code, params string[] said) =>
        $$$"""{ "spec": { "template": { "spec": { "containers": [{ "args": ["run", "{{{seconds}}}", "{{{code}}}"{{{string.Concat(said.Select(s => $", \"{s}\""))}}}] }] } } } }""";

    /// <summary>A launch that is looked after, and all that is heard of it.</summary>
    private sealed class Watched : IDisposable
    {
        private readonly Supervision _supervision;
        private readonly CancellationTokenSource _stop = new();
        private readonly StringBuilder _output = new();

        internal Watched(LaunchStore store, PreparedLaunch prepared, Dictionary<string, string>? secrets = null)
        {
            _supervision = new Supervision(store.Resources);
            Id = prepared.Run.Id;
            End = _supervision.RunAsync(
                prepared.Folder,
                prepared.Spec,
                secrets ?? new Dictionary<string, string> { ["WANDB_API_KEY"] = Fixture.Key },
                b =>
                {
                    lock (_output)
                    {
                        _output.Append(Encoding.UTF8.GetString(b.Span));
                    }
                },
                r =>
                {
                    lock (States)
                    {
                        States.Add((r.State, r.Reason, r.IsStuck));
                        Run = r;
                    }
                },
                true,
                _stop.Token
            );
        }

        internal string Id { get; }
        internal Task<LaunchedRun> End { get; }
        internal LaunchedRun? Run { get; private set; }
        internal List<(LaunchState State, string? Reason, bool Stuck)> States { get; } = [];

        internal string Output
        {
            get
            {
                lock (_output)
                {
                    return _output.ToString();
                }
            }
        }

        internal Task<LaunchedRun> EndAsync(int seconds = 60) => End.WaitAsync(TimeSpan.FromSeconds(seconds));

        internal Task UntilAsync(Func<LaunchedRun, bool> there, string what) =>
            KubeCluster.UntilAsync(() => Run is { } run && there(run), $"{what}: {string.Join("; ", States)}");

        internal void Stop() => _stop.Cancel();

        public void Dispose()
        {
            _supervision.Dispose();
            _stop.Dispose();
        }
    }

    private static async Task<Watched> StartAsync(KubeCluster cluster, string arguments, LaunchContext? context = null)
    {
        var store = LaunchStore.Of(context ?? cluster.Context());
        return new Watched(store, await KubeCluster.PrepareAsync(store, arguments));
    }

    [Fact]
    public async Task A_launch_waits_runs_and_ends_with_its_log_and_leaves_nothing()
    {
        await using var cluster = await KubeCluster.StartAsync();
        using var launch = await StartAsync(cluster, """{ "metadata": { "labels": { "team": "blue" } } }""");
        var pod = await cluster.Node.PodOfAsync(launch.Id);
        var name = pod.Str("metadata", "name")!;
        await launch.UntilAsync(
            r => r.State == LaunchState.Pending && r.Reason!.Contains("node", StringComparison.Ordinal),
            "waits for a node"
        );
        var handle = launch.Run!.Handle!;
        Assert.Equal(("jobs.v1.batch", $"{cluster.Namespace}/wandb-launch-{launch.Id}"), (handle.Kind, handle.Id));

        // The key is in a secret of the Job's, and in no manifest.
        var job = await cluster.Api.GetAsync(KubeCluster.JobPath(launch.Run), default);
        Assert.DoesNotContain(Fixture.Key, job.ToJsonString(), StringComparison.Ordinal);
        Assert.Equal("blue", job.Str("metadata", "labels", "team"));
        var secret = Assert.Single(await cluster.ListAsync(KubeKind.Secret), s => s.Str("type") == "Opaque");
        Assert.Equal(
            Fixture.Key,
            Encoding.UTF8.GetString(Convert.FromBase64String(secret.Str("data", "WANDB_API_KEY")!))
        );
        Assert.Equal(job.Str("metadata", "uid"), secret.Maps("metadata", "ownerReferences").Single().Str("uid"));
        Assert.Equal(
            "WANDB_API_KEY",
            pod.Maps("spec", "containers").Single().Maps("env").Single(e => e["valueFrom"] is not null).Str("name")
        );

        await cluster.Node.BindAsync(name);
        await cluster.Node.WaitsAsync(name, "ContainerCreating");
        await launch.UntilAsync(r => r.Reason?.Contains("image", StringComparison.Ordinal) == true, "gets its image");
        await cluster.Node.RunsAsync(name);
        await launch.UntilAsync(r => r.State == LaunchState.Running, "runs");
        cluster.Node.LogOf(name).Write("hello", "wörld");
        await KubeCluster.UntilAsync(() => launch.Output == "hello\nwörld\n", "printed");
        cluster.Node.LogOf(name).Write("last words");
        cluster.Node.LogOf(name).Complete();
        await cluster.Node.EndsAsync(name, 0);
        var run = await launch.EndAsync();
        Assert.Equal((LaunchState.Finished, 0, (string?)null), (run.State, run.ExitCode, run.Reason));
        Assert.Equal("hello\nwörld\nlast words\n", await File.ReadAllTextAsync(run.LogPath!));
        Assert.Contains(launch.States, s => s.State == LaunchState.Running);
        await KubeCluster.UntilAsync(
            async () =>
                (await cluster.ListAsync(KubeKind.Job)).Count == 0
                && (await cluster.ListAsync(KubeKind.Secret)).All(s => s.Str("type") != "Opaque"),
            "the Job and its secret are left"
        );
    }

    [Theory]
    [InlineData(3, "Error", LaunchState.Failed, 3, null, null)]
    [InlineData(137, "OOMKilled", LaunchState.Failed, 137, "out of memory", null)]
    [InlineData(128, "ContainerCannotRun", LaunchState.Failed, 128, "could not be started", null)]
    public async Task A_program_that_fails_says_how(
        int code,
        string reason,
        LaunchState state,
        int? exit,
        string? words,
        string? fault
    )
    {
        await using var cluster = await KubeCluster.StartAsync();
        using var launch = await StartAsync(cluster, "{}");
        var name = (await cluster.Node.PodOfAsync(launch.Id)).Str("metadata", "name")!;
        await cluster.Node.BindAsync(name);
        await cluster.Node.RunsAsync(name);
        cluster.Node.LogOf(name).Complete();
        await cluster.Node.EndsAsync(name, code, reason);
        var run = await launch.EndAsync();
        Assert.Equal((state, exit, fault), (run.State, run.ExitCode, run.ErrorId));
        Assert.Equal(reason == "OOMKilled", run.OutOfMemory);
        Assert.True(
            words is null ? run.Reason is null : run.Reason!.Contains(words, StringComparison.Ordinal),
            run.Reason
        );
    }

    [Fact]
    public async Task An_evicted_pod_is_the_machines_fault_and_a_deleted_Job_somebodys_wish()
    {
        await using var cluster = await KubeCluster.StartAsync();
        using var evicted = await StartAsync(cluster, "{}");
        using var deleted = await StartAsync(cluster, "{}");
        var name = (await cluster.Node.PodOfAsync(evicted.Id)).Str("metadata", "name")!;
        await cluster.Node.BindAsync(name);
        await cluster.Node.RunsAsync(name);
        cluster.Node.LogOf(name).Complete();
        await cluster.Node.StatusAsync(
            name,
            """{"phase":"Failed","reason":"Evicted","message":"The node was low on resource: memory."}"""
        );
        var run = await evicted.EndAsync();
        Assert.Equal((LaunchState.Failed, "RunDisrupted"), (run.State, run.ErrorId));
        Assert.Equal("its node evicted it: The node was low on resource: memory.", run.Reason);

        await cluster.Node.PodOfAsync(deleted.Id);
        await deleted.UntilAsync(r => r.Handle is not null, "started");
        await cluster.Api.DeleteAsync(KubeCluster.JobPath(deleted.Run!), false, null, default);
        run = await deleted.EndAsync();
        Assert.Equal((LaunchState.Stopped, (int?)null), (run.State, run.ExitCode));
        Assert.Contains("deleted from the cluster", run.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_stop_ends_the_pods_with_the_Job()
    {
        await using var cluster = await KubeCluster.StartAsync();
        using var launch = await StartAsync(cluster, Runs("600", "0", "working"));
        await launch.UntilAsync(r => r.State == LaunchState.Running, "runs");
        await KubeCluster.UntilAsync(() => launch.Output == "working\n", "printed");
        launch.Stop();
        var run = await launch.EndAsync();
        Assert.Equal(LaunchState.Stopped, run.State);
        await KubeCluster.UntilAsync(
            async () =>
                (await cluster.ListAsync(KubeKind.Job)).Count == 0
                && (await cluster.ListAsync(KubeKind.Pod)).Count == 0,
            "something is left"
        );
    }

    [Fact]
    public async Task What_was_started_already_is_adopted_and_what_is_somebody_elses_is_not_touched()
    {
        await using var cluster = await KubeCluster.StartAsync();
        var store = LaunchStore.Of(cluster.Context());
        var prepared = await KubeCluster.PrepareAsync(store, "{}");
        var resource = store.Resources.Get("kubernetes");
        var secrets = new Dictionary<string, string> { ["WANDB_API_KEY"] = Fixture.Key };
        Assert.Null(await resource.FindAsync(prepared.Spec, default));

        // The answer to the first try is lost: the second finds what it made.
        var lost = 0;
        cluster.Proxy.Fault = async context =>
        {
            if (
                context.Request.Method == "POST"
                && context.Request.Path.Value!.EndsWith("/jobs", StringComparison.Ordinal)
                && lost++ == 0
            )
            {
                var body = await new StreamReader(context.Request.Body).ReadToEndAsync();
                await cluster.Api.CreateAsync(
                    KubeKind.Job.Path(cluster.Namespace),
                    (JsonObject)JsonNode.Parse(body)!,
                    default
                );
                context.Abort();
                return true;
            }

            return false;
        };
        var handle = await resource.StartAsync(prepared.Spec, secrets, default);
        Assert.Equal(2, lost);
        Assert.Equal(handle, await resource.FindAsync(prepared.Spec, default));
        Assert.Equal(handle, await resource.StartAsync(prepared.Spec, secrets, default));
        Assert.Single(await cluster.ListAsync(KubeKind.Job));
        Assert.Single(
            await cluster.ListAsync(KubeKind.Secret),
            s => s.Str("type") == "Opaque" && s.Maps("metadata", "ownerReferences").Any()
        );

        // The same name, made by somebody else.
        var other = await KubeCluster.PrepareAsync(store, "{}");
        var manifest = (JsonObject)other.Spec.DataAs<KubernetesData>().Manifest.DeepClone();
        manifest.Map("metadata")["labels"] = new JsonObject { ["of"] = "somebody" };
        await cluster.Api.CreateAsync(KubeKind.Job.Path(cluster.Namespace), manifest, default);
        var fault = await Assert.ThrowsAsync<LaunchException>(() => resource.StartAsync(other.Spec, secrets, default));
        Assert.Equal(("RunExists", LaunchErrorCategory.ResourceExists), (fault.ErrorId, fault.Category));
        Assert.Equal(2, (await cluster.ListAsync(KubeKind.Job)).Count);
    }

    [Fact]
    public async Task What_a_pod_waits_for_is_said_and_what_cannot_get_better_is_given_up()
    {
        await using var cluster = await KubeCluster.StartAsync();
        using var launch = await StartAsync(cluster, "{}");
        var name = (await cluster.Node.PodOfAsync(launch.Id)).Str("metadata", "name")!;
        await cluster.Node.StatusAsync(
            name,
            """{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"False","reason":"Unschedulable","message":"0/3 nodes are available: 3 Insufficient nvidia.com/gpu."}]}"""
        );
        await launch.UntilAsync(
            r =>
                r.Reason == "no node has a place for it: 0/3 nodes are available: 3 Insufficient nvidia.com/gpu."
                && !r.IsStuck,
            "unschedulable"
        );
        await cluster.Node.BindAsync(name);
        await cluster.Node.WaitsAsync(name, "ImagePullBackOff", "Back-off pulling image");
        await launch.UntilAsync(r => r.Reason == "its image cannot be pulled: Back-off pulling image", "image");
        await cluster.Node.WaitsAsync(name, "InvalidImageName", "no such name");
        await launch.UntilAsync(
            r => r.Reason!.StartsWith("its image has no valid name", StringComparison.Ordinal) && r.IsStuck,
            "stuck"
        );
        Assert.False(launch.End.IsCompleted);
    }

    [Fact]
    public async Task A_log_goes_on_over_cut_streams_restarts_and_beside_sidecars()
    {
        await using var cluster = await KubeCluster.StartAsync();
        using var launch = await StartAsync(
            cluster,
            """{ "spec": { "backoffLimit": 3, "template": { "spec": { "restartPolicy": "OnFailure", "containers": [{ "name": "main" }, { "name": "proxy", "image": "envoy:1" }] } } } }"""
        );
        var name = (await cluster.Node.PodOfAsync(launch.Id)).Str("metadata", "name")!;
        await cluster.Node.BindAsync(name);
        cluster.Node.CutAfter = 3;
        cluster.Node.LogOf(name, "proxy").Write("not this one");
        cluster.Node.LogOf(name, "main").Write("1", "2", "3", "4", "5");
        await cluster.Node.RunsAsync(name, "main");
        await KubeCluster.UntilAsync(() => launch.Output == "1\n2\n3\n4\n5\n", () => "cut: " + launch.Output);

        // It crashed, and its container begins anew: the end of the first is under another name now.
        var first = cluster.Node.LogOf(name, "main");
        cluster.Node.LogOf(name, "main", true).Write("6", "crash");
        cluster.Node.LogOf(name, "main", true).Complete();
        first.Complete();
        await cluster.Node.StatusAsync(
            name,
            """{"phase":"Running","containerStatuses":[{"name":"main","image":"i","imageID":"","ready":false,"restartCount":1,"state":{"running":null,"waiting":{"reason":"CrashLoopBackOff"}},"lastState":{"terminated":{"exitCode":1,"reason":"Error"}}}]}"""
        );
        await launch.UntilAsync(r => r.Reason == "its program ends again and again", "crash loop");
        first.Write("again");
        await cluster.Node.RunsAsync(name, "main", 1);
        await KubeCluster.UntilAsync(
            () => launch.Output == "1\n2\n3\n4\n5\n6\ncrash\nagain\n",
            () => "restarted: " + launch.Output
        );
        await launch.UntilAsync(r => r.Restarts == 1 && r.State == LaunchState.Running, "counted");
        await cluster.Node.EndsAsync(name, 0, "", "main");
        Assert.Equal(LaunchState.Finished, (await launch.EndAsync()).State);
    }

    [Fact]
    public async Task Faults_of_the_watch_are_never_a_state()
    {
        await using var cluster = await KubeCluster.StartAsync();
        using var launch = await StartAsync(cluster, "{}");
        var name = (await cluster.Node.PodOfAsync(launch.Id)).Str("metadata", "name")!;
        await cluster.Node.BindAsync(name);
        await cluster.Node.RunsAsync(name);
        await launch.UntilAsync(r => r.State == LaunchState.Running, "runs");

        // Each of these meets every watch at its next beginning.
        var faults = new Func<Microsoft.AspNetCore.Http.HttpContext, Task<bool>>[]
        {
            KubeProxy.GoneInStreamAsync,
            c => KubeProxy.StatusAsync(c, 410, "Gone"),
            c => KubeProxy.StatusAsync(c, 429, "TooManyRequests", 1),
            c => KubeProxy.StatusAsync(c, 503, "ServiceUnavailable"),
            c =>
            {
                c.Abort();
                return Task.FromResult(true);
            },
        };
        foreach (var fault in faults)
        {
            // Both are open, and have heard something: so they are not patient yet.
            await KubeCluster.UntilAsync(() => cluster.Proxy.OpenWatches == 2, "a watch did not begin again", 60);
            var note = new JsonObject
            {
                ["metadata"] = new JsonObject
                {
                    ["annotations"] = new JsonObject { ["note"] = Guid.NewGuid().ToString() },
                },
            };
            await cluster.Api.PatchAsync(cluster.Node.Path(name), note, default);
            await cluster.Api.PatchAsync(KubeCluster.JobPath(launch.Run!), note, default);
            await Task.Delay(500);
            var met = 0;
            cluster.Proxy.Fault = c =>
                KubeProxy.IsWatch(c) && Interlocked.Increment(ref met) <= 3 ? fault(c) : Task.FromResult(false);
            cluster.Proxy.CutWatches();
            await KubeCluster.UntilAsync(() => met > 3, () => $"a watch did not begin again: {met}", 60);
            Assert.False(launch.End.IsCompleted);
            Assert.Equal(LaunchState.Running, launch.Run!.State);
        }

        // The end comes while nothing is heard; what is different is found by the list.
        cluster.Proxy.Fault = c =>
            KubeProxy.IsWatch(c) ? KubeProxy.StatusAsync(c, 503, "ServiceUnavailable") : Task.FromResult(false);
        cluster.Proxy.CutWatches();
        cluster.Node.LogOf(name).Complete();
        await cluster.Node.EndsAsync(name, 5);
        await Task.Delay(1000);
        var once = 0;
        cluster.Proxy.Fault = c =>
            KubeProxy.IsWatch(c) && Interlocked.Increment(ref once) <= 2
                ? KubeProxy.GoneInStreamAsync(c)
                : Task.FromResult(false);
        var run = await launch.EndAsync(90);
        Assert.Equal((LaunchState.Failed, 5), (run.State, run.ExitCode));
    }

    [Fact]
    public async Task A_look_from_another_shell_says_how_launches_stand()
    {
        await using var cluster = await KubeCluster.StartAsync();
        var context = cluster.Context();
        var store = LaunchStore.Of(context);
        using var supervision = new Supervision(store.Resources);
        var ids = new List<string>();
        foreach (
            var arguments in new[]
            {
                Runs("0.1", "0", "done"),
                Runs("0.1", "4", "failed"),
                Runs("600", "0"),
                "{}",
                Quick,
            }
        )
        {
            var prepared = await KubeCluster.PrepareAsync(store, arguments);
            ids.Add(prepared.Run.Id);
            await supervision.LeaveAsync(prepared.Folder, prepared.Spec, new Dictionary<string, string>(), default);
        }

        var other = LaunchStore.Of(context);
        await KubeCluster.UntilAsync(
            () =>
                ids.Select(i => other.Get(i).State)
                    .SequenceEqual([
                        LaunchState.Finished,
                        LaunchState.Failed,
                        LaunchState.Running,
                        LaunchState.Pending,
                        LaunchState.Finished,
                    ]),
            "the states"
        );
        Assert.Equal(4, other.Get(ids[1]).ExitCode);
        Assert.Equal("one\ntwo\n", await File.ReadAllTextAsync(other.Get(ids[4]).LogPath!));
        Assert.Contains("node", other.Get(ids[3]).Reason, StringComparison.Ordinal);

        // All at once: with one list.
        Assert.Equal(5, other.All().Count);
    }

    [Fact]
    public async Task Five_hundred_Jobs_are_one_watch()
    {
        const int Count = 500;
        await using var cluster = await KubeCluster.StartAsync();
        var store = LaunchStore.Of(cluster.Context());
        var resource = store.Resources.Get("kubernetes");
        var prepared = await KubeCluster.PrepareAsync(store, Runs("0.2", "0"));
        var data = prepared.Spec.DataAs<KubernetesData>();
        var runs = new WatchedRuns();
        var ends = new Dictionary<string, int?>();
        using var over = new CancellationTokenSource();
        async ValueTask MakeAsync(int i, CancellationToken token)
        {
            var id = "many-" + i;
            var manifest = (JsonObject)data.Manifest.DeepClone();
            var name = KubeNames.ObjectName(null, id);
            manifest["metadata"]!["name"] = name;
            manifest["metadata"]!["labels"]![KubeNames.LaunchLabel] = id;
            manifest["spec"]!["template"]!["metadata"]!["labels"]![KubeNames.LaunchLabel] = id;
            var spec = prepared.Spec with
            {
                Id = id,
                Data = RunSpec.DataOf(data with { Manifest = manifest, Name = name }),
            };
            var handle = await resource.StartAsync(spec, new Dictionary<string, string>(), token);
            runs.Add(prepared.Run with { Id = id, Handle = handle, State = LaunchState.Pending });
        }

        var watching = Task.Run(async () =>
        {
            await foreach (var change in resource.WatchAsync(runs, over.Token))
            {
                if (change.Standing.End is { } end)
                {
                    Assert.True(ends.TryAdd(change.Id, end.ExitCode), $"{change.Id} ended twice");
                    runs.Remove(change.Id);
                    if (ends.Count == Count)
                    {
                        return;
                    }
                }
            }
        });
        // The watch is open; what comes now, comes by it.
        await MakeAsync(0, default);
        await KubeCluster.UntilAsync(() => cluster.Proxy.OpenWatches == 2, "the watches");
        await Parallel.ForAsync(1, Count, new ParallelOptions { MaxDegreeOfParallelism = 8 }, MakeAsync);
        await watching.WaitAsync(TimeSpan.FromSeconds(120));
        Assert.All(ends.Values, c => Assert.Equal(0, c));
        Assert.Equal((1, 1), (cluster.Proxy.Lists("jobs"), cluster.Proxy.Lists("pods")));
        Assert.Equal((1, 1), (cluster.Proxy.Watches("jobs"), cluster.Proxy.Watches("pods")));

        // For each: looked for, made, and once its end is near asked how it really ended.
        var asked = cluster.Proxy.Asked.Count / (double)Count;
        Assert.True(asked < 5, $"{asked} requests for a Job");
        await over.CancelAsync();
    }

    [Fact]
    public async Task A_custom_resource_is_made_watched_and_its_end_read()
    {
        await using var cluster = await KubeCluster.StartAsync();
        foreach (
            var (group, version, kind, plural) in new[]
            {
                ("kubeflow.org", "v1", "PyTorchJob", "pytorchjobs"),
                ("trainer.kubeflow.org", "v1alpha1", "TrainJob", "trainjobs"),
            }
        )
        {
            await DefineAsync(cluster, group, version, kind, plural);
        }

        using var torch = await StartAsync(
            cluster,
            """{ "apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "metadata": { "name": "torch" }, "spec": { "pytorchReplicaSpecs": { "Master": { "replicas": 1, "template": { "spec": { "containers": [{ "name": "pytorch" }] } } } } } }"""
        );
        using var train = await StartAsync(
            cluster,
            """{ "apiVersion": "trainer.kubeflow.org/v1alpha1", "kind": "TrainJob", "spec": { "runtimeRef": { "name": "r" } } }"""
        );
        await torch.UntilAsync(r => r.Handle is not null, "started");
        await train.UntilAsync(r => r.Handle is not null, "started");
        Assert.Equal("pytorchjobs.v1.kubeflow.org", torch.Run!.Handle!.Kind);
        Assert.StartsWith($"{cluster.Namespace}/torch-", torch.Run.Handle.Id, StringComparison.Ordinal);

        await SayAsync(torch.Run, """{ "conditions": [{ "type": "Running", "status": "True" }] }""");
        await torch.UntilAsync(r => r.State == LaunchState.Running, "runs");
        await SayAsync(
            torch.Run,
            """{ "conditions": [{ "type": "Running", "status": "False" }, { "type": "Failed", "status": "True", "reason": "PyTorchJobFailed", "message": "rank 3 died" }] }"""
        );
        await SayAsync(train.Run!, """{ "conditions": [{ "type": "Complete", "status": "True" }] }""");
        var run = await torch.EndAsync();
        Assert.Equal((LaunchState.Failed, "PyTorchJobFailed: rank 3 died"), (run.State, run.Reason));
        run = await train.EndAsync();
        Assert.Equal((LaunchState.Finished, 0), (run.State, run.ExitCode));
        await KubeCluster.UntilAsync(
            async () => (await cluster.ListAsync(KubeKind.Parse("trainjobs.v1alpha1.trainer.kubeflow.org"))).Count == 0,
            "it is left"
        );

        Task SayAsync(LaunchedRun r, string status) =>
            cluster.Api.PatchAsync(
                KubeCluster.JobPath(r) + "/status",
                new JsonObject { ["status"] = JsonNode.Parse(status) },
                default
            );
    }

    [Fact]
    public async Task A_plan_is_tried_out_on_the_server_and_names_what_is_missing()
    {
        await using var cluster = await KubeCluster.StartAsync();
        var store = LaunchStore.Of(cluster.Context());
        var plan = await PlanAsync(store, "{}");
        Assert.True(plan.Prepared);
        Assert.Contains("\"image\": \"busybox:1\"", plan.Manifest, StringComparison.Ordinal);
        Assert.Empty(await cluster.ListAsync(KubeKind.Job));

        async Task Fails(
            string arguments,
            string id,
            string named,
            LaunchOptions? options = null,
            LaunchStore? other = null
        )
        {
            var fault = await Assert.ThrowsAsync<LaunchException>(() => PlanAsync(other ?? store, arguments, options));
            Assert.Equal(id, fault.ErrorId);
            Assert.Contains(named, fault.Message, StringComparison.Ordinal);
        }

        await Fails(
            """{ "spec": { "template": { "spec": { "restartPolicy": "Always" } } } }""",
            "KubernetesManifestInvalid",
            "restartPolicy"
        );
        await Fails(
            """{ "apiVersion": "nobody.io/v1", "kind": "Thing", "spec": { "template": { "spec": { "containers": [{}] } } } }""",
            "KubernetesKindUnknown",
            "nobody.io/v1"
        );
        await Fails(
            """{ "apiVersion": "v1", "kind": "Node", "spec": { "template": { "spec": { "containers": [{}] } } } }""",
            "KubernetesKindUnknown",
            "no namespace"
        );
        await Fails("""{ "namespace": "nowhere-at-all" }""", "KubernetesNotFound", "nowhere-at-all");
        await Fails("{}", "KubeContextNotFound", "proxied", With("kube_context", "nosuch"));
        await Fails("{}", "KubeConfigNotFound", "-KubeConfig", With("kube_config", "/nowhere/config"));

        // The namespace's own account, which may nothing.
        var account = await cluster.Api.GetAsync(
            $"/api/v1/namespaces/{cluster.Namespace}/serviceaccounts/default",
            default
        );
        var secret = await cluster.Api.GetAsync(
            KubeKind.Secret.Path(cluster.Namespace, account.Maps("secrets").First().Str("name")),
            default
        );
        var token = Encoding.UTF8.GetString(Convert.FromBase64String(secret.Str("data", "token")!));
        var weak = Path.Combine(Fixture.NewFolder("kube"), "weak");
        await File.WriteAllTextAsync(
            weak,
            $"apiVersion: v1\nkind: Config\ncurrent-context: weak\nclusters: [{{name: c, cluster: {{server: '{cluster.Api.Server}', insecure-skip-tls-verify: true}}}}]\nusers: [{{name: u, user: {{token: {token}}}}}]\ncontexts: [{{name: weak, context: {{cluster: c, user: u, namespace: {cluster.Namespace}}}}}]\n"
        );
        await Fails(
            "{}",
            "KubernetesForbidden",
            "jobs.batch: create, get, list, watch, delete",
            With("kube_config", weak)
        );
        var wrong = weak + "-wrong";
        await File.WriteAllTextAsync(
            wrong,
            (await File.ReadAllTextAsync(weak)).Replace(token, "nonsense", StringComparison.Ordinal)
        );
        await Fails("{}", "KubernetesLoginFailed", "login", With("kube_config", wrong));
        var away = weak + "-away";
        await File.WriteAllTextAsync(
            away,
            (await File.ReadAllTextAsync(weak)).Replace(
                cluster.Api.Server,
                "https://127.0.0.1:9",
                StringComparison.Ordinal
            )
        );
        await Fails("{}", "KubernetesUnavailable", "127.0.0.1:9", With("kube_config", away));
        await File.WriteAllTextAsync(wrong, "clusters: [[[");
        await Fails("{}", "KubeConfigInvalid", wrong, With("kube_config", wrong));
    }

    [Fact]
    public async Task Services_are_made_first_waited_for_and_go_with_the_run()
    {
        await using var cluster = await KubeCluster.StartAsync();
        var store = LaunchStore.Of(cluster.Context());
        const string Services = """
            , "additional_services": [
              { "config": { "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "conf-${run_id}" }, "data": { "a": "b" } } },
              { "name": "db", "config": { "apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": { "containers": [{ "name": "db", "image": "postgres:16" }] } } }]
            """;
        var prepared = await KubeCluster.PrepareAsync(store, """{ "wait_timeout": 60 }""", null, Services);
        using var launch = new Watched(store, prepared);
        await KubeCluster.UntilAsync(
            async () => await cluster.Api.FindAsync(cluster.Node.Path("db"), default) is not null,
            "the service"
        );
        Assert.NotNull(
            await cluster.Api.FindAsync($"/api/v1/namespaces/{cluster.Namespace}/configmaps/conf-{launch.Id}", default)
        );
        await Task.Delay(500);
        Assert.Empty(await cluster.ListAsync(KubeKind.Job));
        await cluster.Node.BindAsync("db");
        await cluster.Node.StatusAsync("db", """{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}""");
        var name = (await cluster.Node.PodOfAsync(launch.Id)).Str("metadata", "name")!;
        await cluster.Node.BindAsync(name);
        await cluster.Node.RunsAsync(name);
        cluster.Node.LogOf(name).Complete();
        await cluster.Node.EndsAsync(name, 0);
        Assert.Equal(LaunchState.Finished, (await launch.EndAsync()).State);
        await KubeCluster.UntilAsync(
            async () =>
                await cluster.Api.FindAsync(
                    $"/api/v1/namespaces/{cluster.Namespace}/configmaps/conf-{launch.Id}",
                    default
                )
                    is null
                && await cluster.Api.FindAsync(cluster.Node.Path("db"), default) is null,
            "the services are left"
        );

        // One that is never ready: nothing is left of it either.
        var late = await KubeCluster.PrepareAsync(store, """{ "wait_timeout": 0 }""", null, Services);
        var fault = await Assert.ThrowsAsync<LaunchException>(() =>
            store.Resources.Get("kubernetes").StartAsync(late.Spec, new Dictionary<string, string>(), default)
        );
        Assert.Equal("KubernetesServiceNotReady", fault.ErrorId);
        await KubeCluster.UntilAsync(
            async () => await cluster.Api.FindAsync(cluster.Node.Path("db"), default) is null,
            "the pod is left"
        );
    }

    private static LaunchOptions With(string setting, string value) =>
        new() { Settings = new Dictionary<string, string> { [setting] = value } };

    private static async Task<LaunchPlan> PlanAsync(LaunchStore store, string arguments, LaunchOptions? options = null)
    {
        var config = LaunchConfig.FromJson(
            (JsonObject)
                JsonNode.Parse(
                    $$"""{ "docker": { "docker_image": "busybox:1" }, "resource": "kubernetes", "resource_args": { "kubernetes": {{arguments}} } }"""
                )!
        );
        return await new Launcher(store, _ => Task.FromResult<Wandb.WandbConnection?>(null)).PlanAsync(
            config,
            options ?? new LaunchOptions(),
            Path.GetTempPath(),
            default
        );
    }

    // A bare definition: what its controller would do, the test does.
    private static async Task DefineAsync(KubeCluster cluster, string group, string version, string kind, string plural)
    {
        try
        {
            await cluster.Api.CreateAsync(
                "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
                (JsonObject)
                    JsonNode.Parse(
                        $$$"""
                        { "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": { "name": "{{{plural}}}.{{{group}}}" },
                          "spec": { "group": "{{{group}}}", "scope": "Namespaced", "names": { "kind": "{{{kind}}}", "plural": "{{{plural}}}" },
                            "versions": [{ "name": "{{{version}}}", "served": true, "storage": true, "subresources": { "status": {} }, "schema": { "openAPIV3Schema": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } } }] } }
                        """
                    )!,
                default
            );
        }
        catch (KubeFault e) when (e.IsThere)
        {
            // Of another test.
        }

        await KubeCluster.UntilAsync(
            async () =>
                await cluster.Api.FindAsync($"/apis/{group}/{version}/namespaces/{cluster.Namespace}/{plural}", default)
                    is not null,
            "the kind"
        );
    }
}
