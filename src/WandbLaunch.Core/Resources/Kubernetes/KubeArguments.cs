using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Resources;

/// <summary>resource_args.kubernetes: a manifest, and beside it what is the launcher's alone.</summary>
internal static partial class KubeArguments
{
    /// <summary>Not of the manifest. Of 2022's names only those are left that have no place in one.</summary>
    private static readonly string[] Launchers =
    [
        "configFile",
        "context",
        "namespace",
        "queue_name",
        "wait_for_ready",
        "wait_timeout",
    ];

    private static readonly string[] Parts = ["apiVersion", "kind", "metadata", "spec"];

    /// <summary>The arguments with one way to write each: those of 2022 become a manifest.</summary>
    /// <exception cref="LaunchException"><c>KubernetesArgumentUnknown</c>, <c>ConfigInvalid</c>.</exception>
    internal static JsonObject Canonical(JsonObject given)
    {
        var all = new JsonObject();
        if (given["job_spec"] is { } written)
        {
            all.Lay(
                written as JsonObject
                    ?? throw Invalid("job_spec", "must be a manifest and not the name of a file", written)
            );
        }

        foreach (var (key, value) in given.Where(p => p.Key != "job_spec" && p.Value is not null))
        {
            switch (key)
            {
                case "config_file":
                    all["configFile"] = value!.DeepClone();
                    break;
                case "kueue_queue":
                    all["queue_name"] = value!.DeepClone();
                    break;
                case "registry" or "builder":
                    // Which registry is the launcher's own to choose.
                    break;
                case "job_name":
                    all.Map("metadata")["name"] = value!.DeepClone();
                    break;
                case "job_labels":
                    all.Map("metadata", "labels").Lay(Map(key, value));
                    break;
                case "backoff_limit" or "completions" or "parallelism" or "suspend":
                    all.Map("spec")[Camel(key)] = value!.DeepClone();
                    break;
                case "restart_policy" or "preemption_policy" or "node_name":
                    PodOf(all)[Camel(key)] = value!.DeepClone();
                    break;
                case "node_selectors":
                    PodOf(all)["nodeSelector"] = value!.DeepClone();
                    break;
                case "container_name":
                    FirstOf(all)["name"] = value!.DeepClone();
                    break;
                case "resource_requests":
                    FirstOf(all).Map("resources")["requests"] = value!.DeepClone();
                    break;
                case "resource_limits":
                    FirstOf(all).Map("resources")["limits"] = value!.DeepClone();
                    break;
                case "env":
                    FirstOf(all)["env"] = value is JsonObject map
                        ? new JsonArray([
                            .. map.Select(e =>
                                (JsonNode)new JsonObject { ["name"] = e.Key, ["value"] = e.Value?.ToString() ?? "" }
                            ),
                        ])
                        : value!.DeepClone();
                    break;
                case { } part when Parts.Contains(part) && value is JsonObject over && all[part] is JsonObject under:
                    under.Lay(over);
                    break;
                case { } known when Parts.Contains(known) || Launchers.Contains(known):
                    all[known] = value!.DeepClone();
                    break;
                case "status":
                    // Of a manifest that was read from a cluster.
                    break;
                default:
                    throw new LaunchException(
                        "KubernetesArgumentUnknown",
                        LaunchErrorCategory.InvalidArgument,
                        $"'{key}' is no argument of the resource. It takes a manifest ({string.Join(", ", Parts)}) and {string.Join(", ", Launchers)}.",
                        key
                    );
            }
        }

        return all;
    }

    /// <summary>The manifest alone.</summary>
    internal static JsonObject ManifestOf(JsonObject? arguments) =>
        new(
            (arguments ?? [])
                .Where(p => Parts.Contains(p.Key))
                .Select(p => KeyValuePair.Create(p.Key, p.Value?.DeepClone()))
        );

    /// <summary>Says what cannot be meant, before anything is fetched.</summary>
    /// <exception cref="LaunchException"><c>ConfigInvalid</c>.</exception>
    internal static void Check(JsonObject? arguments)
    {
        foreach (var (key, value) in arguments ?? [])
        {
            var isWell = key switch
            {
                "metadata" or "spec" => value is JsonObject,
                "wait_for_ready" => value is JsonValue flag
                    && flag.GetValueKind()
                        is System.Text.Json.JsonValueKind.True
                            or System.Text.Json.JsonValueKind.False,
                "wait_timeout" => value is JsonValue && arguments.Int(key) is >= 0,
                "namespace" => value is JsonValue && NamespaceName().IsMatch(value.ToString()),
                _ => value is JsonValue text && text.GetValueKind() == System.Text.Json.JsonValueKind.String,
            };
            if (!isWell)
            {
                throw Invalid(
                    key,
                    key switch
                    {
                        "metadata" or "spec" => "must be an object",
                        "wait_for_ready" => "must be true or false",
                        "wait_timeout" => "must be a number of seconds",
                        "namespace" => "must be the name of a namespace: lower-case letters, digits and -",
                        _ => "must be a string",
                    },
                    value
                );
            }
        }

        foreach (var part in new[] { "name", "generateName", "namespace" })
        {
            if (arguments.At("metadata", part) is { } name && name is not JsonValue)
            {
                throw Invalid("metadata." + part, "must be a string", name);
            }
        }
    }

    /// <summary>The services beside a launch: each a manifest, and the name that it is known by.</summary>
    /// <exception cref="LaunchException"><c>ConfigInvalid</c>.</exception>
    internal static IReadOnlyList<JsonObject> Services(LaunchConfig config)
    {
        var services = new List<JsonObject>();
        foreach (var given in config.AdditionalServices ?? [])
        {
            if (
                given is not JsonObject service
                || (service["config"] ?? service) is not JsonObject manifest
                || manifest.Str("kind") is null
                || manifest.Str("apiVersion") is null
            )
            {
                throw new LaunchException(
                    "ConfigInvalid",
                    LaunchErrorCategory.InvalidData,
                    "The launch config key 'additional_services' must be a list of { config: a manifest with apiVersion and kind, name }.",
                    given?.ToJsonString()
                );
            }

            manifest = (JsonObject)manifest.DeepClone();
            if (service["config"] is not null && service.Str("name") is { } name)
            {
                manifest.Map("metadata").Default("name", name);
            }

            services.Add(
                manifest.Str("metadata", "name") is not null
                    ? manifest
                    : throw Invalid("additional_services", "must give each manifest a metadata.name", manifest)
            );
        }

        return services;
    }

    private static JsonObject PodOf(JsonObject all) => all.Map("spec", "template", "spec");

    private static JsonObject FirstOf(JsonObject all)
    {
        var pod = PodOf(all);
        if (pod["containers"] is not JsonArray { Count: > 0 } containers || containers[0] is not JsonObject first)
        {
            pod["containers"] = new JsonArray(first = []);
        }

        return first;
    }

    private static JsonObject Map(string key, JsonNode? value) =>
        value as JsonObject ?? throw Invalid(key, "must be an object", value);

    private static string Camel(string snake) => Snake().Replace(snake, m => m.Groups[1].Value.ToUpperInvariant());

    private static LaunchException Invalid(string key, string must, JsonNode? value) =>
        new(
            "ConfigInvalid",
            LaunchErrorCategory.InvalidData,
            $"The launch config key 'resource_args.{KubernetesResource.ResourceName}.{key}' {must}.",
            value?.ToJsonString()
        );

    [GeneratedRegex("_([a-z])")]
    private static partial Regex Snake();

    // A macro is looked at when it is filled in.
    [GeneratedRegex(@"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?|.*\$\{\w+\}.*)$")]
    private static partial Regex NamespaceName();
}
