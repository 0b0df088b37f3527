using System.Text.Json.Nodes;

namespace WandbLaunch.Resources;

/// <summary>What is filled into a manifest.</summary>
internal sealed record KubeFilling
{
    /// <summary>Id of the launch.</summary>
    internal required string Id { get; init; }
    internal required string Namespace { get; init; }
    internal required string Image { get; init; }
    internal IReadOnlyList<string> Command { get; init; } = [];
    internal IReadOnlyList<string> Arguments { get; init; } = [];

    /// <summary>The launch itself gave a command: it wins over the manifest's.</summary>
    internal bool CommandWins { get; init; }

    /// <summary>The launch itself gave arguments: they win over the manifest's.</summary>
    internal bool ArgumentsWin { get; init; }
    internal IReadOnlyDictionary<string, string> Environment { get; init; } = new Dictionary<string, string>();
    internal string? RunId { get; init; }
    internal string? Agent { get; init; }
    internal string? Queue { get; init; }
    internal int GraceSeconds { get; init; } = 30;
    internal bool Gpu { get; init; }
    internal int? UserId { get; init; }

    /// <summary>The server knows podFailurePolicy.</summary>
    internal bool FailurePolicy { get; init; }

    /// <summary>The manifest names the image itself.</summary>
    internal bool ImageIsNamed { get; init; }
}

/// <summary>The manifest that a launch hands over: a Job, or whatever was given, with image, command, environment and labels filled in.</summary>
internal static class KubeManifest
{
    // Long enough for whoever looks at pods by hand; what was read is removed at once.
    private const int SecondsToLive = 86_400;
    private const string RunId = "WANDB_RUN_ID";

    /// <summary>A manifest, complete but for secrets.</summary>
    internal static JsonObject Make(JsonObject given, KubeFilling filling)
    {
        var manifest = new JsonObject
        {
            ["apiVersion"] = KubeKind.Job.ApiVersion,
            ["kind"] = "Job",
            ["metadata"] = new JsonObject(),
        };
        manifest.Lay(given);
        var isJob = IsJob(manifest);
        var spec = manifest.Map("spec");
        if (isJob)
        {
            var pod = spec.Map("template", "spec");
            if (pod["containers"] is not JsonArray { Count: > 0 })
            {
                pod["containers"] = new JsonArray(new JsonObject());
            }

            spec.Default("backoffLimit", 0);
            spec.Default("ttlSecondsAfterFinished", SecondsToLive);
            pod.Default("restartPolicy", "Never");
            if (filling.FailurePolicy && pod.Str("restartPolicy") == "Never" && spec["podFailurePolicy"] is null)
            {
                // What the cluster takes away is begun again, and does not count.
                spec["podFailurePolicy"] = IgnoreDisruptions();
            }
        }

        SetNames(manifest, filling);
        SetQueue(manifest, filling.Queue);
        var isTrain = manifest.Str("kind") == "TrainJob";
        var templates = isTrain ? [] : Templates(manifest);
        var targets = new List<JsonObject>();
        var isRay = manifest.Str("kind") == "RayJob";
        foreach (var template in templates)
        {
            var pod = template.Map("spec");
            SetPod(template, pod, filling);
            var containers = pod.Maps("containers").ToList();
            for (var i = 0; i < containers.Count; i++)
            {
                containers[i].Default("name", containers.Count == 1 ? "launch" : $"launch{i}");
            }

            if (containers.Count > 0)
            {
                template.Map("metadata", "annotations").Default(KubeNames.MainContainer, containers[0].Str("name"));
            }

            targets.AddRange(containers);
        }

        if (isTrain)
        {
            // Its pods are made of a runtime of the cluster; what is the run's own is in one place.
            targets.Insert(0, spec.Map("trainer"));
            spec.Map("labels").Default(KubeNames.LaunchLabel, KubeNames.LabelOf(filling.Id));
        }

        var own = SetImages(targets, filling);
        if (isRay)
        {
            // The cluster's own containers start Ray; this is what is submitted to it.
            if (filling.CommandWins || spec["entrypoint"] is null)
            {
                spec["entrypoint"] = string.Join(' ', filling.Command.Concat(filling.Arguments).Select(Quote));
            }
        }
        else
        {
            own.ForEach(c => SetCommand(c, filling));
        }

        SetEnvironment(targets, filling, isJob);
        if (
            filling.Gpu
            && !manifest.AllMaps().Any(m => m.Path.EndsWith("resources", StringComparison.Ordinal) && NamesGpu(m.Map))
        )
        {
            foreach (var container in own)
            {
                container.Map(container == spec["trainer"] ? "resourcesPerNode" : "resources", "limits")[
                    "nvidia.com/gpu"
                ] = "1";
            }
        }

        return manifest;
    }

    /// <summary>The same with secrets: by reference, so that they are in no manifest.</summary>
    internal static JsonObject WithSecrets(JsonObject manifest, string secret, IEnumerable<string> names)
    {
        manifest = (JsonObject)manifest.DeepClone();
        var all = names.Order(StringComparer.Ordinal).ToList();
        foreach (var container in Containers(manifest))
        {
            SetVariables(
                container,
                all.Select(name =>
                    (
                        name,
                        new JsonObject
                        {
                            ["name"] = name,
                            ["valueFrom"] = new JsonObject
                            {
                                ["secretKeyRef"] = new JsonObject { ["name"] = secret, ["key"] = name },
                            },
                        }
                    )
                )
            );
        }

        return manifest;
    }

    /// <summary>A thing beside the launch: its own, but with our labels, and without a namespace of its own.</summary>
    internal static JsonObject Service(JsonObject given, KubeFilling filling)
    {
        var manifest = (JsonObject)given.DeepClone();
        var metadata = manifest.Map("metadata");
        metadata["namespace"] = filling.Namespace;
        SetLabels(metadata.Map("labels"), filling);
        metadata.Map("labels").Remove(KubeNames.LaunchLabel);
        metadata.Map("labels")[KubeNames.ServiceLabel] = KubeNames.LabelOf(filling.Id);
        foreach (var template in Templates(manifest).Where(t => t != manifest))
        {
            // Not the launch's own: a pod of a service is no pod of the run.
            template.Map("spec").Default("automountServiceAccountToken", false);
            (template.At("metadata", "labels") as JsonObject)?.Remove(KubeNames.LaunchLabel);
        }

        foreach (var container in Templates(manifest).SelectMany(t => t.Maps("spec", "containers")))
        {
            Wall(container, null);
            SetVariables(
                container,
                filling
                    .Environment.Where(v => v.Key.StartsWith("WANDB_CONFIG", StringComparison.Ordinal))
                    .Select(Variable)
            );
        }

        return manifest;
    }

    /// <summary>What the cluster takes away is begun again by it, and does not count.</summary>
    internal static JsonObject IgnoreDisruptions() =>
        new()
        {
            ["rules"] = new JsonArray(
                new JsonObject
                {
                    ["action"] = "Ignore",
                    ["onPodConditions"] = new JsonArray(
                        new JsonObject { ["type"] = "DisruptionTarget", ["status"] = "True" }
                    ),
                }
            ),
        };

    /// <summary>True for a Job of the cluster's own.</summary>
    internal static bool IsJob(JsonObject manifest) =>
        KubeKind.Split(manifest.Str("apiVersion") ?? "").Group == "batch" && manifest.Str("kind") == "Job";

    /// <summary>Everything in a manifest that pods are made of.</summary>
    internal static IReadOnlyList<JsonObject> Templates(JsonObject manifest) =>
        [.. manifest.AllMaps().Where(m => m.Map.At("spec", "containers") is JsonArray).Select(m => m.Map)];

    private static IEnumerable<JsonObject> Containers(JsonObject manifest)
    {
        foreach (var container in Templates(manifest).SelectMany(t => t.Maps("spec", "containers")))
        {
            yield return container;
        }

        if (manifest.Str("kind") == "TrainJob" && manifest.At("spec", "trainer") is JsonObject trainer)
        {
            yield return trainer;
        }
    }

    private static void SetNames(JsonObject manifest, KubeFilling filling)
    {
        // A fixed name: who makes it a second time finds the first one.
        var metadata = manifest.Map("metadata");
        metadata["name"] = KubeNames.ObjectName(
            metadata.Str("name") ?? metadata.Str("generateName")?.TrimEnd('-'),
            filling.Id
        );
        metadata.Remove("generateName");
        metadata["namespace"] = filling.Namespace;
        SetLabels(metadata.Map("labels"), filling);
        if (manifest.Str("kind") == "AppWrapper")
        {
            foreach (var part in manifest.Maps("spec", "components").Select(c => c["template"]).OfType<JsonObject>())
            {
                part.Map("metadata").Default("name", metadata.Str("name"));
            }
        }
    }

    private static void SetLabels(JsonObject labels, KubeFilling filling)
    {
        labels[KubeNames.ManagerLabel] = KubeNames.Manager;
        labels[KubeNames.LaunchLabel] = KubeNames.LabelOf(filling.Id);
        if (filling.RunId is { } run)
        {
            labels[KubeNames.RunLabel] = KubeNames.LabelOf(run);
        }

        if (filling.Agent is { } agent)
        {
            labels[KubeNames.AgentLabel] = KubeNames.LabelOf(agent);
        }
    }

    private static void SetQueue(JsonObject manifest, string? queue)
    {
        var spec = manifest.Map("spec");
        var group = KubeKind.Split(manifest.Str("apiVersion") ?? "").Group;
        if (queue is not null && group == "batch.volcano.sh")
        {
            spec.Default("queue", queue);
            return;
        }

        var labels = manifest.Map("metadata", "labels");
        if (queue is not null)
        {
            labels.Default(KubeNames.QueueLabel, queue);
        }

        if (labels[KubeNames.QueueLabel] is not null)
        {
            // Kueue lets it go when its turn has come.
            (group == "kubeflow.org" ? spec.Map("runPolicy") : spec).Default("suspend", true);
        }
    }

    private static void SetPod(JsonObject template, JsonObject pod, KubeFilling filling)
    {
        SetLabels(template.Map("metadata", "labels"), filling);
        pod.Default("terminationGracePeriodSeconds", filling.GraceSeconds);
        if (pod["serviceAccountName"] is null && pod["serviceAccount"] is null)
        {
            // A run is no user of the cluster.
            pod.Default("automountServiceAccountToken", false);
        }

        foreach (var container in pod.Maps("containers").Concat(pod.Maps("initContainers")))
        {
            Wall(container, filling.UserId);
        }
    }

    private static void Wall(JsonObject container, int? user)
    {
        if (container["securityContext"] is null)
        {
            container["securityContext"] = new JsonObject
            {
                ["allowPrivilegeEscalation"] = false,
                ["capabilities"] = new JsonObject { ["drop"] = new JsonArray("ALL") },
                ["seccompProfile"] = new JsonObject { ["type"] = "RuntimeDefault" },
            };
            if (user is not null)
            {
                container["securityContext"]!["runAsUser"] = user;
            }
        }
    }

    // Those that run the launch's program.
    private static List<JsonObject> SetImages(List<JsonObject> targets, KubeFilling filling)
    {
        var without = targets.Where(c => c["image"] is null).ToList();
        if (without.Count == 0 && !filling.ImageIsNamed)
        {
            // All have one, and one was given beside the manifest.
            without = [.. targets.Take(1)];
        }

        without.ForEach(c => c["image"] = filling.Image);
        return [.. targets.Where(c => c.Str("image") == filling.Image)];
    }

    private static void SetCommand(JsonObject container, KubeFilling filling)
    {
        if (filling.Command.Count > 0 && (filling.CommandWins || container["command"] is null))
        {
            container["command"] = Words(filling.Command);
        }

        if (filling.Arguments.Count > 0 && (filling.ArgumentsWin || container["args"] is null))
        {
            container["args"] = Words(filling.Arguments);
        }
    }

    private static void SetEnvironment(List<JsonObject> targets, KubeFilling filling, bool isJob)
    {
        var all = filling.Environment.OrderBy(v => v.Key, StringComparer.Ordinal).Select(Variable).ToList();
        for (var i = 0; i < targets.Count; i++)
        {
            // Many pods of one launch would all be one run: only the first is.
            SetVariables(targets[i], isJob || i == 0 ? all : all.Where(v => v.Name != RunId));
        }
    }

    private static (string Name, JsonObject Entry) Variable(KeyValuePair<string, string> v) =>
        (v.Key, new JsonObject { ["name"] = v.Key, ["value"] = v.Value });

    // Ours come last, and each name once: of two the last one would count, and a strict server refuses.
    private static void SetVariables(JsonObject container, IEnumerable<(string Name, JsonObject Entry)> ours)
    {
        var all = ours.ToList();
        var names = all.Select(v => v.Name).ToHashSet(StringComparer.Ordinal);
        var list = new JsonArray([
            .. container.Maps("env").Where(v => !names.Contains(v.Str("name") ?? "")).Select(v => v.DeepClone()),
            .. all.Select(v => v.Entry.DeepClone()),
        ]);
        if (list.Count > 0)
        {
            container["env"] = list;
        }
    }

    private static bool NamesGpu(JsonObject resources) =>
        resources.AllMaps().Any(m => m.Map.Any(p => p.Key.Contains("gpu", StringComparison.OrdinalIgnoreCase)));

    private static JsonArray Words(IEnumerable<string> words) =>
        new([.. words.Select(w => (JsonNode)JsonValue.Create(w))]);

    private static string Quote(string word) =>
        word.Length > 0
        && word.All(c => char.IsAsciiLetterOrDigit(c) || "_-./=:,@%+".Contains(c, StringComparison.Ordinal))
            ? word
            : "'" + word.Replace("'", "'\\''", StringComparison.Ordinal) + "'";
}
