using System.Collections.Concurrent;
using System.Text;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.Logging;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Tests;

/// <summary>Images that a Job of the cluster builds, in a real API server whose node the test plays, and a registry that it plays too.</summary>
public sealed class KubeImageBuildTests
{
    private const string Digest = "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    /// <summary>A cluster, a registry, and whoever launches.</summary>
    private sealed class Place : IAsyncDisposable
    {
        private WebApplication _registry = null!;

        internal KubeCluster Cluster { get; private set; } = null!;
        internal ConcurrentDictionary<string, byte> Pushed { get; } = new();
        internal ConcurrentQueue<string> Told { get; } = new();
        internal string Registry { get; private set; } = "";
        internal string Code { get; } = Fixture.NewFolder("build-code");

        internal static async Task<Place> CreateAsync()
        {
            var place = new Place { Cluster = await KubeCluster.StartAsync() };
            var builder = WebApplication.CreateSlimBuilder();
            builder.Logging.ClearProviders();
            builder.WebHost.UseUrls("http://127.0.0.1:0");
            place._registry = builder.Build();
            place._registry.Run(context =>
            {
                // /v2/team/launch/manifests/TAG
                var there = place.Pushed.ContainsKey(context.Request.Path.Value!.Split('/')[^1]);
                context.Response.StatusCode = there ? 200 : 404;
                if (there)
                {
                    context.Response.Headers["Docker-Content-Digest"] = Digest;
                }

                return Task.CompletedTask;
            });
            await place._registry.StartAsync();
            place.Registry = new Uri(place._registry.Urls.First()).Authority;
            await File.WriteAllTextAsync(Path.Combine(place.Code, "main.py"), "print('built')\n");
            return place;
        }

        /// <summary>Somebody with a machine of their own prepares a launch.</summary>
        internal Task<PreparedLaunch> PrepareAsync(string builder = "kaniko", CancellationToken token = default)
        {
            var home = Fixture.NewFolder("build-home");
            File.WriteAllText(
                Path.Combine(home, "config.json"),
                new JsonObject
                {
                    ["auths"] = new JsonObject
                    {
                        [Registry] = new JsonObject
                        {
                            ["auth"] = Convert.ToBase64String(Encoding.UTF8.GetBytes("me:secret-of-the-registry")),
                        },
                    },
                }.ToJsonString()
            );
            var store = LaunchStore.Of(
                new LaunchContext
                {
                    Environment = new LaunchEnvironment
                    {
                        Variable = name =>
                            name switch
                            {
                                "KUBECONFIG" => Cluster.KubeConfig,
                                "WANDBLAUNCH_HOME" or "DOCKER_CONFIG" => home,
                                _ => Environment.GetEnvironmentVariable(name),
                            },
                    },
                }
            );
            return new Launcher(store, _ => Task.FromResult<Wandb.WandbConnection?>(null))
            {
                Progress = new CallbackProgress(p => Told.Enqueue(p.Text)),
            }.PrepareAsync(
                new LaunchConfig
                {
                    Uri = Code,
                    EntryPoint = ["main.py"],
                    BaseImage = "mini-python:3.11",
                    Resource = "kubernetes",
                },
                new LaunchOptions
                {
                    NoInstall = true,
                    Repository = Registry + "/team/launch",
                    Settings = new Dictionary<string, string> { ["image_builder"] = builder },
                },
                Code,
                token
            );
        }

        internal async Task<string> PodAsync(params string[] not)
        {
            string? name = null;
            await KubeCluster.UntilAsync(
                async () =>
                    (
                        name = (await Cluster.ListAsync(KubeKind.Pod))
                            .Select(p => p.Str("metadata", "name")!)
                            .FirstOrDefault(n => !not.Contains(n))
                    )
                        is not null,
                "the build has a pod",
                60
            );
            return name!;
        }

        internal async Task RunsAsync(string pod)
        {
            await Cluster.Node.BindAsync(pod);
            await Cluster.Node.RunsAsync(pod, "build");
        }

        internal async Task EndsAsync(string pod, int code, string message = "")
        {
            Cluster.Node.LogOf(pod, "build").Complete();
            await Cluster.Node.StatusAsync(
                pod,
                $$"""{"phase":"{{(code == 0 ? "Succeeded" : "Failed")}}","containerStatuses":[{"name":"build","image":"i","imageID":"","ready":false,"restartCount":0,"state":{"running":null,"terminated":{"exitCode":{{code}},"reason":"Completed","message":"{{message}}"} } }] }"""
            );
        }

        internal async Task<IReadOnlyList<JsonObject>> SecretsAsync() =>
            [.. (await Cluster.ListAsync(KubeKind.Secret)).Where(s => s.At("metadata", "ownerReferences") is not null)];

        internal Task GoneAsync() =>
            KubeCluster.UntilAsync(
                async () => (await Cluster.ListAsync(KubeKind.Job)).Count == 0 && (await SecretsAsync()).Count == 0,
                "something of the build is left",
                60
            );

        internal Task ToldAsync(string words) =>
            KubeCluster.UntilAsync(
                () => Told.Any(t => t.Contains(words, StringComparison.Ordinal)),
                () => $"{words}: {string.Join('\n', Told)}",
                60
            );

        public async ValueTask DisposeAsync()
        {
            await _registry.DisposeAsync();
            await Cluster.DisposeAsync();
        }
    }

    [Fact]
    public async Task An_image_is_built_once_pushed_and_nothing_of_it_is_left()
    {
        await using var place = await Place.CreateAsync();
        var preparing = place.PrepareAsync();
        var pod = await place.PodAsync();
        await place.ToldAsync("it waits for a node");

        // What it is made of is there, and the Job's own.
        await KubeCluster.UntilAsync(async () => (await place.SecretsAsync()).Count == 2, "its secrets");
        var job = Assert.Single(await place.Cluster.ListAsync(KubeKind.Job));
        var secrets = await place.SecretsAsync();
        Assert.All(
            secrets,
            s => Assert.Equal(job.Str("metadata", "uid"), s.Maps("metadata", "ownerReferences").Single().Str("uid"))
        );
        Assert.DoesNotContain("secret-of-the-registry", job.ToJsonString(), StringComparison.Ordinal);
        var login = Assert.Single(secrets, s => s.Str("type") == "kubernetes.io/dockerconfigjson");
        var auth = JsonNode
            .Parse(Convert.FromBase64String(login.Str("data", ".dockerconfigjson")!))
            .Str("auths", place.Registry, "auth");
        Assert.Equal("me:secret-of-the-registry", Encoding.UTF8.GetString(Convert.FromBase64String(auth!)));

        // Somebody else needs the same: they wait for this one.
        var other = place.PrepareAsync();
        await place.ToldAsync("is built by somebody else already");
        await place.RunsAsync(pod);
        place.Cluster.Node.LogOf(pod, "build").Write("INFO Retrieving image manifest", "INFO Pushed");
        await place.ToldAsync("building image: INFO Retrieving image manifest");
        var tag = job.Str("metadata", "annotations", "wandb.ai/image")!.Split(':')[^1];
        place.Pushed.TryAdd(tag, 0);
        await place.EndsAsync(pod, 0, Digest);
        foreach (var launch in await Task.WhenAll(preparing, other))
        {
            var image = $"{place.Registry}/team/launch:{tag}";
            Assert.Equal($"{image}@{Digest}", launch.Run.Image);
            Assert.Equal(
                image,
                launch
                    .Spec.DataAs<KubernetesData>()
                    .Manifest.Maps("spec", "template", "spec", "containers")
                    .Single()
                    .Str("image")
            );
        }

        // The launch's log begins with the build's.
        Assert.StartsWith(
            "INFO Retrieving image manifest\nINFO Pushed\n",
            await File.ReadAllTextAsync((await preparing).Run.LogPath!),
            StringComparison.Ordinal
        );
        Assert.DoesNotContain(place.Told, t => t.Contains("secret-of-the-registry", StringComparison.Ordinal));
        await place.GoneAsync();

        // It is there: nothing is built.
        var before = place.Cluster.Proxy.Count(a => a.StartsWith("POST", StringComparison.Ordinal));
        Assert.Equal($"{place.Registry}/team/launch:{tag}@{Digest}", (await place.PrepareAsync()).Run.Image);
        Assert.Equal(before, place.Cluster.Proxy.Count(a => a.StartsWith("POST", StringComparison.Ordinal)));
    }

    [Fact]
    public async Task A_build_that_fails_says_so_with_its_last_lines_and_is_tried_anew_by_the_next_launch()
    {
        await using var place = await Place.CreateAsync();
        var preparing = place.PrepareAsync("buildkit");
        var pod = await place.PodAsync();
        await place.RunsAsync(pod);
        place.Cluster.Node.LogOf(pod, "build").Write("step 1", "error: no space left on device");
        await place.ToldAsync("no space left");
        await place.EndsAsync(pod, 1);
        var fault = await Assert.ThrowsAsync<LaunchException>(() => preparing);
        Assert.Equal("ImageBuildFailed", fault.ErrorId);
        Assert.Contains("buildkit ended with exit code 1", fault.Message, StringComparison.Ordinal);
        Assert.Contains("error: no space left on device", fault.Message, StringComparison.Ordinal);
        await place.GoneAsync();

        var again = place.PrepareAsync("buildkit");
        pod = await place.PodAsync(pod);
        await place.RunsAsync(pod);
        await place.EndsAsync(pod, 0, Digest);
        Assert.EndsWith("@" + Digest, (await again).Run.Image, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_build_that_the_cluster_takes_away_is_begun_anew_and_one_that_is_cancelled_is_removed()
    {
        await using var place = await Place.CreateAsync();
        using var stop = new CancellationTokenSource();
        var preparing = place.PrepareAsync(token: stop.Token);
        var first = await place.PodAsync();
        await place.RunsAsync(first);
        await place.Cluster.Node.StatusAsync(
            first,
            """{"phase":"Failed","reason":"Evicted","message":"The node was low on resource: memory."}"""
        );
        var second = await place.PodAsync(first);
        await place.RunsAsync(second);
        await KubeCluster.UntilAsync(async () => (await place.SecretsAsync()).Count == 2, "its secrets", 60);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => preparing);
        await place.GoneAsync();
    }

    [Fact]
    public async Task A_builder_whose_image_cannot_be_pulled_says_so_while_it_waits()
    {
        await using var place = await Place.CreateAsync();
        using var stop = new CancellationTokenSource();
        var preparing = place.PrepareAsync("kaniko=registry.example.org/nowhere:1", stop.Token);
        var pod = await place.PodAsync();
        await place.Cluster.Node.BindAsync(pod);
        await place.Cluster.Node.StatusAsync(
            pod,
            """{"phase":"Pending","containerStatuses":[{"name":"build","image":"i","imageID":"","ready":false,"restartCount":0,"state":{"waiting":{"reason":"ImagePullBackOff","message":"no such image"} } }] }"""
        );
        await place.ToldAsync("its image cannot be pulled: no such image");
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => preparing);
        await place.GoneAsync();
    }
}
