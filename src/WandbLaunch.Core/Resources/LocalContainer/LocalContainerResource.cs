using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using System.Threading.Channels;
using Docker.DotNet;
using Docker.DotNet.Models;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Python;

namespace WandbLaunch.Resources;

/// <summary>Runs a program in a container of this machine's Docker Engine, through its API: nothing is on a command line.</summary>
internal sealed partial class LocalContainerResource(LaunchContext context) : ILaunchResource
{
    private readonly EngineConnections _engines = new(context);
    private readonly LaunchEnvironment _machine = context.Environment;

    public ResourceInfo Info { get; } =
        new()
        {
            Name = "local-container",
            Aliases = ["local"],
            Tip = "a Docker container of this machine",
            PolicyKey = "docker_args",
            EngineRemembers = true,
            AllowedByDefault = true,
        };

    public LaunchConfig Canonical(LaunchConfig config)
    {
        var arguments = config.ResourceArgs;
        if (arguments is not null && arguments.TryGetPropertyValue(Info.ArgumentKey, out var own) && own is not null)
        {
            arguments = With(
                arguments,
                DockerArguments.Canonical(
                    own as JsonObject
                        ?? throw new LaunchException(
                            "ConfigInvalid",
                            LaunchErrorCategory.InvalidData,
                            $"The launch config key 'resource_args.{Info.ArgumentKey}' must be an object.",
                            Info.ArgumentKey
                        )
                )
            );
        }

        return config with
        {
            ResourceArgs = arguments,
            DockerArgs = config.DockerArgs is null ? null : DockerArguments.Canonical(config.DockerArgs),
        };
    }

    public LaunchConfig WithoutSecrets(LaunchConfig config) =>
        config with
        {
            ResourceArgs = Own(config) is { } own
                ? With(config.ResourceArgs!, DockerArguments.WithoutSecrets(own))
                : config.ResourceArgs,
            DockerArgs = config.DockerArgs is { } arguments ? DockerArguments.WithoutSecrets(arguments) : null,
        };

    public void Validate(LaunchConfig config, LaunchOptions options)
    {
        if (config.DockerImage is not null)
        {
            ImageName.Check(config.DockerImage);
        }

        DockerArguments.Check(All(config), Allowed(options));
    }

    public (LaunchConfig Config, LaunchOptions Options) ApplyPolicy(
        LaunchConfig config,
        LaunchOptions options,
        AgentPolicy policy,
        ItemContext item
    )
    {
        config = Canonical(config);
        var maps = new[] { config.DockerArgs, Own(config) };
        if (
            policy.SecureMode
            && maps.SelectMany(m => m ?? []).Select(p => p.Key).FirstOrDefault(n => n is "env" or "workdir")
                is { } changing
        )
        {
            throw AgentPolicy.Refused(
                $"the docker argument '{changing}' is not allowed in secure mode, for it can change which program runs",
                "-SecureMode"
            );
        }

        // resource_args.local-container.volume or docker.args.volume: host:container[:ro], as docker takes it.
        var volumes = new List<string>();
        var cuda = config.Cuda;
        var plain = maps.Select(Plain).ToArray();
        return (
            config with
            {
                DockerArgs = plain[0],
                ResourceArgs = plain[1] is { } own ? With(config.ResourceArgs!, own) : config.ResourceArgs,
                Cuda = cuda,
            },
            options with
            {
                Volumes = [.. options.Volumes, .. volumes.Select(policy.CheckMount)],
                ExtraArguments = policy.ExtraArguments,
                Gpus = item.Gpus,
            }
        );

        JsonObject? Plain(JsonObject? given)
        {
            var map = (JsonObject?)given?.DeepClone();
            if (map is null)
            {
                return null;
            }

            if (map.TryGetPropertyValue("volume", out var asked) && map.Remove("volume"))
            {
                volumes.AddRange(
                    asked is JsonArray many ? many.Select(v => v?.ToString() ?? "") : [asked?.ToString() ?? ""]
                );
            }

            // A container is named after its item; and a GPU that another run has cannot be asked for by number.
            map.Remove("name");
            if (item.Gpus is not null && map.Remove("gpus"))
            {
                cuda = true;
            }

            return map;
        }
    }

    public string CheckExtraArgument(string given) => DockerArguments.CheckExtra(given);

    public async Task<ResourcePlan> PlanAsync(ResourceRequest request, CancellationToken token)
    {
        var image = request.Config.DockerImage ?? ImageRequest(request).Tag;
        return new ResourcePlan(
            [.. request.Resolved.EntryPoint, .. request.Resolved.Arguments],
            image,
            await IsThereAsync(image, request.Options, token)
        );
    }

    public async Task<RunSpec> PrepareAsync(PrepareContext context, CancellationToken token)
    {
        var (config, options, resolved) = (context.Config, context.Options, context.Resolved);
        var (client, address) = await _engines.GetAsync(options.DockerHost, token);
        var builder = new ImageBuilder(_machine, client, context.Progress);
        string image;
        if (config.DockerImage is { } given)
        {
            await builder.EnsurePulledAsync(given, token);
            image = given;
            context.Environment["WANDB_DOCKER"] = given;
            if (!options.KeepRunId)
            {
                // Such a run gets an id of its own (protocol E.4 and K 8).
                context.Environment.Remove("WANDB_RUN_ID");
            }
        }
        else
        {
            (image, var failed) = await builder.EnsureAsync(ImageRequest(context), options.Pip, context.Cache, token);
            if (failed is not null)
            {
                context.Warnings.Add(failed);
            }
        }

        context.Environment["WANDB_LAUNCH_CONFIG_PATH"] = "/tmp/wandb-launch/launch-config.json";
        var entry = config.DockerImage is null ? ImageCommand.Of(resolved.EntryPoint) : [.. resolved.EntryPoint];
        return context.NewSpec(entry, ImageBuilder.Home) with
        {
            Resource = Info.Name,
            Image = image,
            Data = RunSpec.DataOf(
                new ContainerData
                {
                    UserImage = config.DockerImage is not null,
                    Workspace = config.DockerImage is null ? resolved.Workspace : null,
                    DockerArgs = All(config),
                    ExtraDockerArguments = Allowed(options),
                    Volumes = options.Volumes,
                    Gpu = resolved.Gpu,
                    Gpus = options.Gpus,
                    UserId = config.DockerImage is null ? config.UserId ?? 1000 : config.UserId,
                    DockerEndpoint = address,
                    BaseUrl = context.Environment.GetValueOrDefault("WANDB_BASE_URL"),
                    LaunchConfigJson = context.LaunchConfigJson,
                }
            ),
        };
    }

    public async Task<RunHandle> StartAsync(
        RunSpec spec,
        IReadOnlyDictionary<string, string> secrets,
        CancellationToken token
    )
    {
        var data = spec.DataAs<ContainerData>();
        var (client, address) = await _engines.GetAsync(data.DockerEndpoint, token);
        var parameters = ContainerRequest.Parameters(spec, data, secrets);

        // A container of this very launch that has run is found, not run again: its name is the launch's id. One that was only made is made anew.
        var (id, started) = await FindAsync(client, spec, token);
        if (id is not null && started)
        {
            return new RunHandle(RunHandle.Container, id, address);
        }

        if (id is not null)
        {
            await RemoveAsync(client, id);
        }

        id = null;
        try
        {
            id = (await client.Containers.CreateContainerAsync(parameters, token)).ID;
            await ContainerCode.SendAsync(client, id, spec, data, token);
            await client.Containers.StartContainerAsync(id, new ContainerStartParameters(), token);
            return new RunHandle(RunHandle.Container, id, address);
        }
        catch (Exception e)
        {
            if (id is not null)
            {
                await RemoveAsync(client, id);
            }

            if (e is DockerApiException refused)
            {
                throw ContainerRequest.Explain(refused, spec);
            }

            throw;
        }
    }

    public async Task<RunHandle?> FindAsync(RunSpec spec, CancellationToken token)
    {
        var (client, address) = await _engines.GetAsync(spec.DataAs<ContainerData>().DockerEndpoint, token);
        return await FindAsync(client, spec, token) is (Id: { } id, Started: true)
            ? new RunHandle(RunHandle.Container, id, address)
            : null;
    }

    public async Task<IReadOnlyDictionary<string, RunStanding>> LookAsync(
        IReadOnlyCollection<LaunchedRun> runs,
        CancellationToken token
    )
    {
        var ends = new Dictionary<string, RunStanding>(StringComparer.Ordinal);
        foreach (var place in runs.Where(r => r.Handle is not null).GroupBy(r => r.Handle!.Place))
        {
            try
            {
                var (client, _) = await _engines.GetAsync(place.Key, token);
                var running = await EngineWatch.ListedAsync(client, token);
                foreach (var run in place)
                {
                    ends[run.Id] = running.Contains(run.Handle!.Id)
                        ? RunStanding.Runs
                        : RunStanding.Of(await EngineWatch.EndOfAsync(client, run.Handle.Id, token));
                }
            }
            catch (Exception e) when (e is LaunchException or DockerApiException || EngineConnections.IsAway(e))
            {
                // Away: nothing is known of its runs.
            }
        }

        return ends;
    }

    public async IAsyncEnumerable<RunChange> WatchAsync(
        WatchedRuns runs,
        [EnumeratorCancellation] CancellationToken token
    )
    {
        var ends = Channel.CreateUnbounded<RunChange>();
        using var over = CancellationTokenSource.CreateLinkedTokenSource(token);
        var watches = new Dictionary<string, Task>(StringComparer.Ordinal);
        var next = ends.Reader.WaitToReadAsync(over.Token).AsTask();
        try
        {
            while (true)
            {
                var changed = runs.Changed;
                foreach (var place in runs.All.Select(r => r.Handle!.Place!).Distinct().Except(watches.Keys).ToList())
                {
                    watches[place] = new EngineWatch(_engines, place, runs, ends.Writer).RunAsync(over.Token);
                }

                await Task.WhenAny(changed, next);
                while (ends.Reader.TryRead(out var end))
                {
                    yield return end;
                }

                if (next.IsCompleted)
                {
                    await next;
                    next = ends.Reader.WaitToReadAsync(over.Token).AsTask();
                }
            }
        }
        finally
        {
            await over.CancelAsync();
        }
    }

    public async Task ReadLogAsync(LaunchedRun run, string? from, bool follow, IRunLogSink to, CancellationToken token)
    {
        var (client, _) = await _engines.GetAsync(run.Handle!.Place, token);
        var log = new ContainerLog(client, run.Handle.Id, to, _engines.Patience, _engines.Time);
        await log.ReadAsync(from, follow, token);
    }

    public async Task StopAsync(LaunchedRun run, TimeSpan grace, CancellationToken token)
    {
        if (run.Handle is null)
        {
            return;
        }

        var (client, _) = await _engines.GetAsync(run.Handle.Place, token);
        while (true)
        {
            try
            {
                await client.Containers.StopContainerAsync(
                    run.Handle.Id,
                    new ContainerStopParameters { WaitBeforeKillSeconds = (uint)grace.TotalSeconds },
                    token
                );
                return;
            }
            catch (DockerApiException)
            {
                // It ended by itself.
                return;
            }
            catch (Exception e) when (EngineConnections.IsAway(e))
            {
                if (!await EngineConnections.AnswersAsync(client))
                {
                    throw new LaunchException(
                        "DockerUnavailable",
                        LaunchErrorCategory.ResourceUnavailable,
                        $"the Docker Engine stopped answering while the run was under way ({e.Message}), so how it ended is not known; its container {ContainerRequest.NameFor(run.Id)} may still run",
                        run
                    );
                }

                // The request may have gone to an engine that was away for a moment.
                await Task.Delay(TimeSpan.FromSeconds(1), _engines.Time, token);
            }
        }
    }

    public async Task ForgetAsync(LaunchedRun run, CancellationToken token)
    {
        if (run.Handle is { } handle)
        {
            var (client, _) = await _engines.GetAsync(handle.Place, token);
            await RemoveAsync(client, handle.Id);
        }
    }

    private JsonObject? Own(LaunchConfig config) => config.ResourceArgs?[Info.ArgumentKey] as JsonObject;

    private JsonObject With(JsonObject all, JsonObject own)
    {
        var map = (JsonObject)all.DeepClone();
        map[Info.ArgumentKey] = own.DeepClone();
        return map;
    }

    // resource_args.local-container is today's place, docker.args that of 2022; the more specific wins.
    private JsonObject? All(LaunchConfig config)
    {
        var all = config.DockerArgs is null ? [] : (JsonObject)config.DockerArgs.DeepClone();
        foreach (var (key, value) in Own(config) ?? [])
        {
            all[key] = value?.DeepClone();
        }

        return all.Count > 0 ? all : null;
    }

    // Whoever launches by hand may lift the limits of a container of their own; an item only where the agent's admin says so.
    private static IReadOnlyList<string> Allowed(LaunchOptions options) =>
        options.Agent is null ? [.. options.ExtraArguments, .. DockerArguments.Limits] : options.ExtraArguments;

    /// <summary>The base of a run's image: what it stands on, with its packages.</summary>
    internal static ImageBuilder.Request ImageRequest(ResourceRequest request) =>
        ImageBuilder.Plan(
            request.Config.BaseImage,
            request.Resolved.PythonVersion,
            request.Resolved.Gpu,
            request.Resolved.CudaVersion,
            request.Config.UserId ?? 1000,
            request.Options.NoInstall ? RequirementSet.None : request.Resolved.Requirements,
            request.Config.SystemPackages ?? []
        );

    private async Task<bool> IsThereAsync(string image, LaunchOptions options, CancellationToken token)
    {
        try
        {
            var (client, _) = await _engines.GetAsync(options.DockerHost, token);
            return await new ImageBuilder(_machine, client, CallbackProgress.None).ExistsAsync(image, token);
        }
        catch (LaunchException e) when (e.ErrorId == "DockerUnavailable")
        {
            return false;
        }
    }

    private static async Task<(string? Id, bool Started)> FindAsync(
        DockerClient client,
        RunSpec spec,
        CancellationToken token
    )
    {
        try
        {
            var found = await client.Containers.InspectContainerAsync(ContainerRequest.NameFor(spec.Id), token);
            return
                found.Config.Labels is { } labels
                && labels.TryGetValue(ContainerRequest.RunLabel, out var run)
                && run == spec.Id
                ? (found.ID, found.State.Status != "created")
                : (null, false);
        }
        catch (DockerContainerNotFoundException)
        {
            return (null, false);
        }
    }

    private static async Task RemoveAsync(DockerClient client, string id)
    {
        try
        {
            await client.Containers.RemoveContainerAsync(
                id,
                new ContainerRemoveParameters { Force = true, RemoveVolumes = true },
                CancellationToken.None
            );
        }
        catch (Exception e) when (e is DockerApiException || EngineConnections.IsAway(e))
        {
            // Gone already, or the engine is: nothing that can be done here.
        }
    }
}
