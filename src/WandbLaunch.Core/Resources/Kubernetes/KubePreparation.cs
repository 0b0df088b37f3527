using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Resources;

/// <summary>What exactly a launch hands over to which cluster.</summary>
internal sealed class KubePreparation(LaunchContext context, KubeConnections clusters)
{
    /// <param name="request">What was asked for.</param>
    /// <param name="id">Id of the launch.</param>
    /// <param name="runId">Id of its run.</param>
    /// <param name="environment">Variables of the program.</param>
    /// <param name="image">What it runs in.</param>
    /// <param name="token">Cancels.</param>
    internal async Task<(KubeApi Api, KubernetesData Data)> MakeAsync(
        ResourceRequest request,
        string id,
        string? runId,
        Dictionary<string, string> environment,
        string image,
        CancellationToken token
    )
    {
        var (config, options, resolved) = (request.Config, request.Options, request.Resolved);
        var own = Own(config);
        var api = clusters.Get(
            KubePlace.Find(
                context.Environment,
                own.Str("configFile") ?? KubernetesResource.Setting(options, KubernetesResource.ConfigSetting),
                own.Str("context") ?? KubernetesResource.Setting(options, KubernetesResource.ContextSetting)
            )
        );
        var rules = RulesOf(config, options, image);
        var macros = new KubeMacros(MacrosOf(config, resolved, environment, image, runId, rules));
        var manifest = macros.Fill(KubeArguments.ManifestOf(own));
        var services = KubeArguments.Services(config).Select(macros.Fill).ToList();
        var home = KubernetesResource.Setting(options, KubernetesResource.NamespaceSetting) ?? api.Namespace;
        var asked = manifest.Str("metadata", "namespace") ?? own.Str("namespace");
        asked = asked is null ? home : macros.Fill(asked);
        rules?.CheckNamespace(asked, home);
        rules?.CheckManifest(manifest);
        foreach (var service in services)
        {
            rules?.CheckService(service);
        }

        var filling = new KubeFilling
        {
            Id = id,
            Namespace = asked,
            Image = image,
            ImageIsNamed = KubeMacros.NamesImage(KubeArguments.ManifestOf(own)),
            Command = CommandOf(request),
            Arguments = resolved.Arguments,
            CommandWins = config.EntryPoint is not null || config.DockerImage is null,
            ArgumentsWin = config.Args is { IsEmpty: false },
            Environment = environment,
            RunId = runId ?? environment.GetValueOrDefault("WANDB_RUN_ID"),
            Agent = options.Agent,
            Queue = own.Str("queue_name"),
            GraceSeconds = options.StopGraceSeconds,
            Gpu = resolved.Gpu,
            UserId = config.UserId,
            FailurePolicy = await api.IsAtLeastAsync(26, token),
        };
        manifest = KubeManifest.Make(manifest, filling);
        if (KubeManifest.Templates(manifest).Count == 0 && manifest.Str("kind") != "TrainJob")
        {
            throw new LaunchException(
                "KubernetesManifestInvalid",
                LaunchErrorCategory.InvalidData,
                $"The {manifest.Str("kind")} of resource_args has no containers, so there is nothing that the run could be put into. Give it whole, with the pod templates of its kind.",
                manifest.Str("kind")
            );
        }

        var kind = await api.KindOfAsync(manifest, token);
        return (
            api,
            new KubernetesData
            {
                Place = api.Place,
                Kind = kind.ToString(),
                Namespace = asked,
                Name = manifest.Str("metadata", "name")!,
                Manifest = manifest,
                Services = [.. services.Select(s => KubeManifest.Service(s, filling))],
                WaitForReady = own?["wait_for_ready"]?.ToString() is not ("false" or "False"),
                WaitSeconds = own.Int("wait_timeout") ?? 300,
            }
        );
    }

    private Dictionary<string, string> MacrosOf(
        LaunchConfig config,
        Sources.ResolvedRun resolved,
        Dictionary<string, string> environment,
        string image,
        string? runId,
        KubePolicy? rules
    )
    {
        var values = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var name in rules?.Variables ?? [])
        {
            if (context.Environment[name] is { } value)
            {
                values[name] = value;
            }
        }

        values[KubeMacros.Image] = image;
        Set("run_id", runId ?? environment.GetValueOrDefault("WANDB_RUN_ID"));
        Set("run_name", config.Name);
        Set("project_name", resolved.Project.ToLowerInvariant());
        Set("entity_name", environment.GetValueOrDefault("WANDB_ENTITY") ?? config.Entity);
        Set("author", config.Author ?? environment.GetValueOrDefault("WANDB_USERNAME"));
        return values;

        void Set(string name, string? value)
        {
            if (!string.IsNullOrEmpty(value))
            {
                values[name] = value;
            }
        }
    }

    /// <summary>Null for who launches by hand: what the login may do is what may be done.</summary>
    internal static KubePolicy? RulesOf(LaunchConfig config, LaunchOptions options, string? image) =>
        options.Agent is null
            ? null
            : new KubePolicy(options.ExtraArguments, options.CheckImage, options.SecureMode)
            {
                OwnImage = image,
                OwnConfigMaps =
                [
                    .. KubeArguments
                        .Services(config)
                        .Where(s => s.Str("kind") == "ConfigMap")
                        .Select(s => s.Str("metadata", "name")!),
                ],
            };

    /// <summary>The words that start the program.</summary>
    internal static List<string> CommandOf(ResourceRequest request) =>
        request.Config.DockerImage is null
            ? ImageCommand.Of(request.Resolved.EntryPoint)
            : [.. request.Resolved.EntryPoint];

    internal static JsonObject? Own(LaunchConfig config) =>
        config.ResourceArgs?[KubernetesResource.ResourceName] as JsonObject;
}
