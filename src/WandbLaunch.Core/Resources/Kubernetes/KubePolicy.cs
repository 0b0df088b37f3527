using System.Collections.Frozen;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>
/// What a manifest from a queue may not hold: whatever would give its writer more than a program in a container of its own
/// namespace. Each is refused by its name, wherever it stands.
/// </summary>
internal sealed class KubePolicy(IReadOnlyList<string> allowed, Action<string>? checkImage, bool secure)
{
    internal const string Parameter = "-AllowKubeArgument";

    // The agent has one list for all its resources.
    private const string Prefix = KubernetesResource.ResourceName + ":";

    private readonly List<string> _allowed =
    [
        .. allowed.Where(a => a.StartsWith(Prefix, StringComparison.Ordinal)).Select(a => a[Prefix.Length..]),
    ];

    // What an admin can allow, as name=value; * is every value.
    private static readonly FrozenDictionary<string, string> Rules = new Dictionary<string, string>(
        StringComparer.Ordinal
    )
    {
        ["namespace"] = "a namespace beside the agent's own",
        ["context"] = "a context of the agent's kubeconfig",
        ["kind"] = "a kind beside Job: PyTorchJob.kubeflow.org",
        ["service-account"] = "a service account of pods",
        ["pull-secret"] = "a secret that images are pulled with",
        ["priority-class"] = "a priority class, also Kueue's",
        ["toleration"] = "the key of a taint that is tolerated",
        ["node"] = "a node by name",
        ["secret"] = "a secret as variables or files",
        ["config-map"] = "a config map as variables or files",
        ["claim"] = "a volume claim",
        ["csi"] = "a driver of volumes",
        ["env"] = "a variable of the agent that manifests may name as ${NAME}",
    }.ToFrozenDictionary(StringComparer.Ordinal);

    private static readonly string[] NeverTrue =
    [
        "hostPID",
        "hostIPC",
        "hostNetwork",
        "shareProcessNamespace",
        "hostUsers",
        "automountServiceAccountToken",
        "privileged",
    ];

    private static readonly string[] NeverThere =
    [
        "securityContext",
        "podSecurityContext",
        "hostPath",
        "serviceAccountToken",
        "ephemeralContainers",
        "ownerReferences",
        "finalizers",
        "managedFields",
        "volumeDevices",
    ];

    /// <summary>Config maps that come with the launch.</summary>
    internal IReadOnlyCollection<string> OwnConfigMaps { get; init; } = [];

    /// <summary>The launch's own image, which was judged before, or made here.</summary>
    internal string? OwnImage { get; init; }

    // Beside a launch. A secret could be one that the cluster fills with an account's token.
    private static readonly string[] ServiceKinds =
    [
        "Service",
        "ConfigMap",
        "Pod",
        "Job.batch",
        "Deployment.apps",
        "StatefulSet.apps",
    ];

    private static readonly string[] PlainVolumes = ["name", "emptyDir", "downwardAPI", "ephemeral"];

    /// <summary>The rule as it is kept.</summary>
    /// <exception cref="LaunchException"><c>ResourceArgumentUnknown</c>.</exception>
    internal static string CheckRule(string given) =>
        given.Split('=', 2) is [var name, { Length: > 0 }] && Rules.ContainsKey(name)
            ? Prefix + given
            : throw new LaunchException(
                "ResourceArgumentUnknown",
                LaunchErrorCategory.InvalidArgument,
                $"'{given}' cannot be allowed. Write name=value, with * for every value: {string.Join("; ", Rules.Select(r => $"{r.Key}=… for {r.Value}"))}.",
                given
            );

    internal bool Allows(string rule, string value) =>
        _allowed.Any(a =>
            a.StartsWith(rule + "=", StringComparison.Ordinal)
            && System.IO.Enumeration.FileSystemName.MatchesSimpleExpression(a.AsSpan(rule.Length + 1), value, false)
        );

    /// <summary>Names of the agent's variables that manifests may name.</summary>
    internal IEnumerable<string> Variables =>
        _allowed.Where(a => a.StartsWith("env=", StringComparison.Ordinal)).Select(a => a[4..]).Where(n => n != "*");

    /// <exception cref="LaunchException"><c>PolicyRefused</c>.</exception>
    internal void CheckManifest(JsonObject manifest)
    {
        var kind = KubeKind.Shown(manifest);
        if (kind != "Job.batch")
        {
            Need("kind", kind, $"the kind {kind} is not allowed on this agent");
        }

        Check(manifest, kind);
    }

    /// <exception cref="LaunchException"><c>PolicyRefused</c>.</exception>
    internal void CheckService(JsonObject manifest)
    {
        var kind = KubeKind.Shown(manifest);
        if (!ServiceKinds.Contains(kind))
        {
            Need("kind", kind, $"the kind {kind} is not allowed beside a launch on this agent");
        }

        if (
            kind == "Service"
            && (
                manifest.Str("spec", "type") is not (null or "ClusterIP")
                || manifest.At("spec", "externalIPs") is JsonArray { Count: > 0 }
            )
        )
        {
            throw AgentPolicy.Refused("a Service may be reached within the cluster only (type ClusterIP)", null);
        }

        Check(manifest, kind);
    }

    /// <exception cref="LaunchException"><c>PolicyRefused</c>.</exception>
    internal void CheckNamespace(string asked, string own)
    {
        if (asked != own)
        {
            Need("namespace", asked, $"the namespace '{asked}' is not allowed on this agent, only {own}");
        }
    }

    private void Check(JsonObject manifest, string kind)
    {
        foreach (var (path, map) in manifest.AllMaps())
        {
            foreach (var (key, value) in map)
            {
                CheckValue(path.Length == 0 ? key : path + "." + key, key, value, kind);
            }

            if (secure && map["containers"] is JsonArray && map.Maps("containers").Any(c => c["command"] is not null))
            {
                throw AgentPolicy.Refused("a command in a manifest is not allowed in secure mode", "-SecureMode");
            }
        }
    }

    private void CheckValue(string path, string key, JsonNode? value, string kind)
    {
        switch (key)
        {
            case var _ when value is null:
                break;
            case var _ when NeverThere.Contains(key) && !IsEmpty(value):
                throw Never(path);
            case var _ when NeverTrue.Contains(key) && value.ToString() is not ("false" or "False" or ""):
                throw Never(path);
            case "hostPort" when value.ToString() is not ("0" or ""):
            case "mountPropagation" when value.ToString() == "Bidirectional":
            case "procMount" or "seLinuxOptions" or "windowsOptions":
                throw Never(path);
            case "serviceAccountName" or "serviceAccount" when value.ToString().Length > 0:
                Need("service-account", value.ToString(), $"the service account '{value}' is not allowed");
                break;
            case "imagePullSecrets":
                foreach (var secret in Names(value))
                {
                    Need("pull-secret", secret, $"the pull secret '{secret}' is not allowed");
                }

                break;
            case "priorityClassName" or "kueue.x-k8s.io/priority-class" when value.ToString().Length > 0:
                Need("priority-class", value.ToString(), $"the priority class '{value}' is not allowed");
                break;
            case "nodeName" when value.ToString().Length > 0:
                Need("node", value.ToString(), $"the node '{value}' is not to be chosen");
                break;
            case "tolerations":
                foreach (var toleration in value is JsonArray list ? list : [value.DeepClone()])
                {
                    var taint = toleration.Str("key") ?? "*";
                    Need("toleration", taint, $"the taint '{taint}' may not be tolerated");
                }

                break;
            case "volumes" when value is JsonArray volumes:
                foreach (var volume in volumes.OfType<JsonObject>())
                {
                    CheckVolume(volume);
                }

                break;
            case "secretKeyRef" or "secretRef":
                Need(
                    "secret",
                    value.Str("name") ?? "",
                    $"{path}: the secret '{value.Str("name")}' is not the run's own"
                );
                break;
            case "configMapKeyRef" or "configMapRef":
                NeedConfigMap(value.Str("name") ?? "", path);
                break;
            case "initContainers" when secure && !IsEmpty(value):
                throw AgentPolicy.Refused("initContainers are not allowed in secure mode", "-SecureMode");
            case "image" when value is JsonValue && value.ToString() is { Length: > 0 } image:
                if (image != OwnImage && !image.Contains("${", StringComparison.Ordinal))
                {
                    checkImage?.Invoke(image);
                }

                break;
            case "annotations":
                foreach (var (name, text) in value as JsonObject ?? [])
                {
                    if (
                        (
                            name.Contains("apparmor", StringComparison.OrdinalIgnoreCase)
                            || name.Contains("seccomp", StringComparison.OrdinalIgnoreCase)
                        )
                        && text?.ToString().Contains("unconfined", StringComparison.OrdinalIgnoreCase) == true
                    )
                    {
                        throw Never(path + "." + name);
                    }
                }

                break;
            case "namespace" when path != "metadata.namespace" && value is JsonValue && kind != "ConfigMap":
                throw AgentPolicy.Refused($"{path}: what is in another namespace is not the run's", null);
            default:
                break;
        }
    }

    private void CheckVolume(JsonObject volume)
    {
        foreach (var (type, value) in volume)
        {
            switch (type)
            {
                case var _ when PlainVolumes.Contains(type):
                    break;
                case "persistentVolumeClaim":
                    Need(
                        "claim",
                        value.Str("claimName") ?? "",
                        $"the volume claim '{value.Str("claimName")}' is not allowed"
                    );
                    break;
                case "secret":
                    Need(
                        "secret",
                        value.Str("secretName") ?? "",
                        $"the secret '{value.Str("secretName")}' is not the run's own"
                    );
                    break;
                case "configMap":
                    NeedConfigMap(value.Str("name") ?? "", "volumes");
                    break;
                case "csi":
                    Need(
                        "csi",
                        value.Str("driver") ?? "",
                        $"volumes of the driver '{value.Str("driver")}' are not allowed"
                    );
                    break;
                default:
                    throw AgentPolicy.Refused(
                        $"a volume of the type '{type}' is not allowed in a manifest of a queue",
                        null
                    );
            }
        }
    }

    private void NeedConfigMap(string name, string path)
    {
        if (!OwnConfigMaps.Contains(name))
        {
            Need("config-map", name, $"{path}: the config map '{name}' is not allowed");
        }
    }

    private void Need(string rule, string value, string why)
    {
        if (!Allows(rule, value))
        {
            throw AgentPolicy.Refused(why, $"{Parameter} {rule}={value}");
        }
    }

    private static bool IsEmpty(JsonNode value) =>
        value switch
        {
            JsonObject map => map.Count == 0,
            JsonArray list => list.Count == 0,
            _ => value.GetValueKind() is JsonValueKind.False || value.ToString().Length == 0,
        };

    private static IEnumerable<string> Names(JsonNode value) =>
        value is JsonArray list ? list.Select(s => s.Str("name") ?? s?.ToString() ?? "") : [value.ToString()];

    private static LaunchException Never(string path) =>
        AgentPolicy.Refused($"'{path}' is not allowed in a manifest of a queue", null);
}
