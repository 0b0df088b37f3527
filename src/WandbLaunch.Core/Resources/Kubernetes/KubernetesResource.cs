using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Threading.Channels;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Resources;

/// <summary>Runs a program as a Job of a Kubernetes cluster, or as whatever else its users have there. The cluster places it, and remembers it.</summary>
internal sealed class KubernetesResource(LaunchContext context, Func<IImageMaker> images) : ILaunchResource
{
    internal const string ResourceName = "kubernetes";
    internal const string ConfigSetting = "kube_config";
    internal const string ContextSetting = "kube_context";
    internal const string NamespaceSetting = "namespace";
    internal const string BuilderSetting = "image_builder";

    private static readonly JsonSerializerOptions Shown = new()
    {
        WriteIndented = true,
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    private readonly KubeConnections _clusters = new(context);

    public ResourceInfo Info { get; } =
        new()
        {
            Name = "kubernetes",
            Aliases = ["k8s"],
            Tip = "a Job of a Kubernetes cluster, or a custom resource",
            PolicyKey = "kube_args",
            Settings = [ConfigSetting, ContextSetting, NamespaceSetting, BuilderSetting],
            EngineRemembers = true,
            Queues = true,
            Risk = "its items run in the namespace of the agent's login",
        };

    public LaunchConfig Canonical(LaunchConfig config)
    {
        if (config.ResourceArgs is not { } all || all[Info.ArgumentKey] is not { } own)
        {
            return config;
        }

        var map = (JsonObject)all.DeepClone();
        map[Info.ArgumentKey] = KubeArguments.Canonical(
            own as JsonObject
                ?? throw new LaunchException(
                    "ConfigInvalid",
                    LaunchErrorCategory.InvalidData,
                    $"The launch config key 'resource_args.{Info.ArgumentKey}' must be an object.",
                    Info.ArgumentKey
                )
        );
        return config with { ResourceArgs = map };
    }

    public void Validate(LaunchConfig config, LaunchOptions options)
    {
        if (config.DockerImage is not null)
        {
            ImageName.Check(config.DockerImage);
        }

        if (options.Volumes.Count > 0)
        {
            throw new LaunchException(
                "VolumeNotSupported",
                LaunchErrorCategory.InvalidArgument,
                "A cluster has no folders of this machine. Give volumes in the manifest: -ResourceArgs @{ kubernetes = @{ spec = … } }.",
                options.Volumes[0]
            );
        }

        KubeArguments.Check(Own(config));
        _ = KubeArguments.Services(config);
        _ = KubeBuilder.Parse(Setting(options, BuilderSetting));
        if (config.DockerImage is null && RepositoryOf(config, options) is { } repository)
        {
            ImageName.Check(repository + ":x");
        }
    }

    public (LaunchConfig Config, LaunchOptions Options) ApplyPolicy(
        LaunchConfig config,
        LaunchOptions options,
        AgentPolicy policy,
        ItemContext item
    )
    {
        options = options with { ExtraArguments = policy.ExtraArguments };
        var own = Own(config);
        var rules = KubePreparation.RulesOf(config, options, null)!;
        if (own?["configFile"] is { } file)
        {
            throw AgentPolicy.Refused($"a kubeconfig is the agent's own to choose, not '{file}'", null);
        }

        if (
            own.Str("context") is { } asked
            && asked != Setting(options, ContextSetting)
            && !rules.Allows("context", asked)
        )
        {
            throw AgentPolicy.Refused(
                $"the context '{asked}' is not allowed on this agent",
                $"{KubePolicy.Parameter} context={asked}"
            );
        }

        // Once more when it is filled in. Now nothing was fetched for it yet.
        rules.CheckManifest(KubeArguments.ManifestOf(own));
        foreach (var service in KubeArguments.Services(config))
        {
            rules.CheckService(service);
        }

        // Where the agent's images go is its admin's choice.
        return (config with { Registry = null }, options);
    }

    public string CheckExtraArgument(string given) => KubePolicy.CheckRule(given);

    public IReadOnlyList<string> Complete(string parameter, LaunchOptions options) =>
        parameter switch
        {
            ContextSetting => KubePlace.Contexts(context.Environment, Setting(options, ConfigSetting)),
            NamespaceSetting => KubePlace.Namespaces(context.Environment, Setting(options, ConfigSetting)),
            _ => [],
        };

    public async Task<ResourcePlan> PlanAsync(ResourceRequest request, CancellationToken token)
    {
        var environment = new Dictionary<string, string> { ["WANDB_RUN_ID"] = "plan" };
        var (image, isBuilt) = ImageOf(request);
        try
        {
            var (api, data) = await Preparation.MakeAsync(request, "plan", "plan", environment, image, token);
            await KubeAccess.CheckAsync(api, data.Handle, token);
            await new KubeStart(api, "plan", data, context.Time).TryAsync(token);
            return new ResourcePlan(
                [.. KubePreparation.CommandOf(request), .. request.Resolved.Arguments],
                image,
                !isBuilt || await images().FindAsync(image, token) is not null
            )
            {
                Manifest = data.Manifest.ToJsonString(Shown),
            };
        }
        catch (Exception e) when (e is KubeFault || KubeFault.IsAway(e))
        {
            throw Explain(e, request.Options);
        }
    }

    public async Task<RunSpec> PrepareAsync(PrepareContext prepare, CancellationToken token)
    {
        var (config, options, resolved) = (prepare.Config, prepare.Options, prepare.Resolved);
        var (image, isBuilt) = ImageOf(prepare);
        var runId = prepare.Environment.GetValueOrDefault("WANDB_RUN_ID");
        if (config.DockerImage is not null)
        {
            prepare.Environment["WANDB_DOCKER"] = image;
            if (!options.KeepRunId)
            {
                // Such a run gets an id of its own (protocol E.4 and K 8).
                prepare.Environment.Remove("WANDB_RUN_ID");
            }
        }

        // What the cluster takes away and begins anew is the same run.
        prepare.Environment.TryAdd("WANDB_RESUME", "allow");
        if (
            prepare.Environment.TryGetValue("WANDB_BASE_URL", out var url)
            && Uri.TryCreate(url, UriKind.Absolute, out var server)
            && server.IsLoopback
        )
        {
            prepare.Warnings.Add(
                $"The run's server is {url}, an address of this machine alone: a pod does not reach it. Start the server on an address that the cluster reaches, and connect to that."
            );
        }

        try
        {
            // The cluster first: an image that it has no use for takes long to make.
            var (api, data) = await Preparation.MakeAsync(
                prepare,
                prepare.Id,
                runId,
                prepare.Environment,
                image,
                token
            );
            string? digest = null;
            if (isBuilt)
            {
                (digest, var warning) = await BringAsync(prepare, api, data.Namespace, image, token);
                if (warning is not null)
                {
                    prepare.Warnings.Add(warning);
                }
            }

            return prepare.NewSpec(KubePreparation.CommandOf(prepare), ImageCommand.Home) with
            {
                Resource = Info.Name,
                Image = digest is null ? image : $"{image}@{digest}",
                Data = RunSpec.DataOf(data),
            };
        }
        catch (Exception e) when (e is KubeFault || KubeFault.IsAway(e))
        {
            throw Explain(e, options);
        }
    }

    public async Task<RunHandle> StartAsync(
        RunSpec spec,
        IReadOnlyDictionary<string, string> secrets,
        CancellationToken token
    )
    {
        var data = spec.DataAs<KubernetesData>();
        CommandSize.Check(spec.Environment.Select(v => v.Key + "=" + v.Value), [.. spec.Command, .. spec.Arguments]);
        await new KubeStart(_clusters.Get(data.Place), spec.Id, data, context.Time).RunAsync(secrets, token);
        return data.Handle.In(data.Place);
    }

    public async Task<RunHandle?> FindAsync(RunSpec spec, CancellationToken token)
    {
        var data = spec.DataAs<KubernetesData>();
        return await new KubeStart(_clusters.Get(data.Place), spec.Id, data, context.Time).FindAsync(token) is null
            ? null
            : data.Handle.In(data.Place);
    }

    public async Task<IReadOnlyDictionary<string, RunStanding>> LookAsync(
        IReadOnlyCollection<LaunchedRun> runs,
        CancellationToken token
    )
    {
        var standings = new Dictionary<string, RunStanding>(StringComparer.Ordinal);
        var places = runs.Where(r => r.Handle is not null)
            .GroupBy(r => (r.Handle!.Place, KubeHandle.Of(r.Handle).Namespace));
        foreach (var place in places)
        {
            try
            {
                await KubeLook.LookAsync(
                    _clusters.Get(place.Key.Place),
                    place.Key.Namespace,
                    [.. place],
                    standings,
                    context.Time.GetUtcNow(),
                    token
                );
            }
            catch (Exception e) when (e is LaunchException or KubeFault || KubeFault.IsAway(e))
            {
                // Away: nothing is known of its runs.
            }
        }

        return standings;
    }

    public async IAsyncEnumerable<RunChange> WatchAsync(
        WatchedRuns runs,
        [EnumeratorCancellation] CancellationToken token
    )
    {
        var changes = Channel.CreateUnbounded<RunChange>();
        using var over = CancellationTokenSource.CreateLinkedTokenSource(token);
        var watches = new Dictionary<(string, string), Task>();
        var next = changes.Reader.WaitToReadAsync(over.Token).AsTask();
        try
        {
            while (true)
            {
                var changed = runs.Changed;
                foreach (var run in runs.All)
                {
                    var key = (run.Handle!.Place!, KubeHandle.Of(run.Handle).Namespace);
                    if (!watches.ContainsKey(key))
                    {
                        watches[key] = new KubeWatch(
                            _clusters,
                            key.Item1,
                            key.Namespace,
                            runs,
                            changes.Writer
                        ).RunAsync(over.Token);
                    }
                }

                await Task.WhenAny(watches.Values.Append(changed).Append(next));
                while (changes.Reader.TryRead(out var change))
                {
                    yield return change;
                }

                // A watch ends only with a fault of its own, which must not go unseen.
                foreach (var (key, watch) in watches.Where(w => w.Value.IsCompleted).ToList())
                {
                    watches.Remove(key);
                    await watch;
                }

                if (next.IsCompleted)
                {
                    await next;
                    next = changes.Reader.WaitToReadAsync(over.Token).AsTask();
                }
            }
        }
        finally
        {
            await over.CancelAsync();
        }
    }

    public Task ReadLogAsync(LaunchedRun run, string? from, bool follow, IRunLogSink to, CancellationToken token) =>
        new KubeLog(_clusters, run.Handle!.Place!, KubeHandle.Of(run.Handle), KubeNames.LabelOf(run.Id), to).ReadAsync(
            from,
            follow,
            token
        );

    public async Task StopAsync(LaunchedRun run, TimeSpan grace, CancellationToken token)
    {
        if (run.Handle is null)
        {
            return;
        }

        // Its pods get their own time to end (terminationGracePeriodSeconds); it is gone when they are.
        var api = _clusters.Get(run.Handle.Place);
        try
        {
            await api.DeleteAsync(KubeHandle.Of(run.Handle).Path, true, null, token);
        }
        catch (Exception e) when (e is KubeFault || KubeFault.IsAway(e))
        {
            throw KubeFault.Explain(e, api.Server, $"deleting {run.Handle.Id}");
        }
    }

    public async Task ForgetAsync(LaunchedRun run, CancellationToken token)
    {
        if (run.Handle is null)
        {
            return;
        }

        var api = _clusters.Get(run.Handle.Place);
        var handle = KubeHandle.Of(run.Handle);
        try
        {
            await api.DeleteAsync(handle.Path, false, null, token);
            await api.DeleteAsync(
                KubeKind.Secret.Path(handle.Namespace, KubeNames.SecretName(handle.Name)),
                false,
                null,
                token
            );
        }
        catch (Exception e) when (e is KubeFault || KubeFault.IsAway(e))
        {
            throw KubeFault.Explain(e, api.Server, $"deleting {run.Handle.Id}");
        }
    }

    private (string Image, bool IsBuilt) ImageOf(ResourceRequest request) =>
        request.Config.DockerImage is { } given ? (given, false)
        : RepositoryOf(request.Config, request.Options) is { } repository
            ? (images().ImageOf(request, repository), true)
        : throw new LaunchException(
            "RepositoryMissing",
            LaunchErrorCategory.InvalidArgument,
            "A cluster fetches the run's code in an image. Say where it is to go with -Repository registry.example.org/team/launch (docker must be logged in there), or give an image that has the code with -DockerImage.",
            request.Config.Source
        );

    private async Task<BroughtImage> BringAsync(
        PrepareContext prepare,
        KubeApi api,
        string @namespace,
        string image,
        CancellationToken token
    )
    {
        if (KubeBuilder.Parse(Setting(prepare.Options, BuilderSetting)) is not { } builder)
        {
            return await images().BringAsync(prepare, image, prepare.Progress, token);
        }

        var build = new KubeImageBuild(api, builder, images(), context, prepare.Progress);
        try
        {
            return await build.BringAsync(
                prepare,
                LocalContainerResource.ImageRequest(prepare),
                @namespace,
                image,
                token
            );
        }
        finally
        {
            prepare.Log = build.Log;
        }
    }

    private static string? RepositoryOf(LaunchConfig config, LaunchOptions options) =>
        (options.Repository ?? config.Registry.Str("url") ?? config.Registry.Str("uri"))?.TrimEnd('/');

    private async Task FollowAsync(
        string place,
        string @namespace,
        WatchedRuns runs,
        ChannelWriter<RunChange> changes,
        CancellationToken token
    )
    {
        using var watch = new KubeWatch(_clusters, place, @namespace, runs, changes);
        await watch.RunAsync(token);
    }

    private KubePreparation Preparation => new(context, _clusters);

    private static LaunchException Explain(Exception e, LaunchOptions options) =>
        KubeFault.Explain(
            e,
            Setting(options, ContextSetting) is { } named ? $"the context '{named}'" : "the context of the kubeconfig",
            "the launch"
        );

    /// <summary>A setting of this resource's alone.</summary>
    internal static string? Setting(LaunchOptions options, string name) => options.Settings.GetValueOrDefault(name);

    private static JsonObject? Own(LaunchConfig config) => KubePreparation.Own(config);
}
