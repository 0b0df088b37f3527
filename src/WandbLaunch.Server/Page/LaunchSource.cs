using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Pages;

/// <summary>What a run was started with, as far as its repetition needs it.</summary>
internal sealed record LaunchSource(
    string Entity,
    string Project,
    string Run,
    string? DisplayName,
    JsonObject Config,
    IReadOnlyList<string> Arguments,
    string? Program,
    string? Remote,
    string? Commit
)
{
    private const int MostMetadata = 4 << 20;

    /// <summary>Why an agent could not repeat it; null where it could.</summary>
    public string? Why =>
        Remote is { Length: > 0 }
            ? null
            : "This run says no git repository, so an agent has no code to run. Log the run from a folder that is a git clone, or launch a job.";

    /// <summary>What is known of a run.</summary>
    internal static LaunchSource Of(RunRecord run, FileRepository files)
    {
        var metadata = Metadata(run, files);
        var git = metadata?["git"] as JsonObject;
        return new LaunchSource(
            run.Project.Entity,
            run.Project.Name,
            run.Name,
            run.DisplayName,
            Values(run.Config),
            (metadata?["args"] as JsonArray)?.Select(a => a?.ToString() ?? "").ToList() ?? [],
            Text(metadata?["program"]),
            Text(git?["remote"]) ?? run.Repo,
            run.Commit ?? Text(git?["commit"])
        );
    }

    /// <summary>A config as {key: value}: it is stored as {key: {value: …}}, with what the client keeps for itself.</summary>
    internal static JsonObject Values(string config)
    {
        var values = new JsonObject();
        if (Parse(config) is { } map)
        {
            foreach (var (key, entry) in map)
            {
                if (key is "_wandb" or "wandb_version")
                {
                    continue;
                }

                values[key] =
                    entry is JsonObject { Count: <= 2 } inner && inner.TryGetPropertyValue("value", out var value)
                        ? value?.DeepClone()
                        : entry?.DeepClone();
            }
        }

        return values;
    }

    /// <summary>What an item changes of the run that it repeats: key, what it was, what it becomes.</summary>
    internal static List<object> Changes(JsonElement spec, LaunchSource source)
    {
        var changes = new List<object>();
        if (
            spec.ValueKind != JsonValueKind.Object
            || !spec.TryGetProperty("overrides", out var overrides)
            || overrides.ValueKind != JsonValueKind.Object
        )
        {
            return changes;
        }

        if (overrides.TryGetProperty("run_config", out var config) && config.ValueKind == JsonValueKind.Object)
        {
            foreach (var entry in config.EnumerateObject())
            {
                var (was, becomes) = (source.Config[entry.Name]?.ToJsonString(), entry.Value.GetRawText());
                if (was is null || !JsonNode.DeepEquals(JsonNode.Parse(was), JsonNode.Parse(becomes)))
                {
                    changes.Add(Change("config." + entry.Name, was, becomes));
                }
            }
        }

        if (overrides.TryGetProperty("args", out var arguments) && arguments.ValueKind == JsonValueKind.Array)
        {
            var becomes = arguments.EnumerateArray().Select(a => a.ToString()).ToList();
            if (!becomes.SequenceEqual(source.Arguments, StringComparer.Ordinal))
            {
                changes.Add(Change("args", string.Join(' ', source.Arguments), string.Join(' ', becomes)));
            }
        }

        if (overrides.TryGetProperty("entry_point", out var entryPoint))
        {
            changes.Add(Change("entry point", source.Program, entryPoint.ToString()));
        }

        if (
            spec.TryGetProperty("git", out var git)
            && git.ValueKind == JsonValueKind.Object
            && git.TryGetProperty("version", out var version)
        )
        {
            changes.Add(Change("git version", source.Commit, version.ToString()));
        }

        return changes;
    }

    private static object Change(string key, string? was, string becomes) =>
        new
        {
            key = JsonLimits.Short(key),
            was = was is null ? null : JsonLimits.Short(was, 500),
            becomes = JsonLimits.Short(becomes, 500),
        };

    private static JsonObject? Metadata(RunRecord run, FileRepository files) =>
        files.Read(run.Id, "wandb-metadata.json") is { Length: <= MostMetadata } bytes
            ? Parse(System.Text.Encoding.UTF8.GetString(bytes))
            : null;

    private static JsonObject? Parse(string text)
    {
        try
        {
            // Fails late for a name that is there twice: what was uploaded is anyone's.
            var map = JsonNode.Parse(text) as JsonObject;
            return map?.Count >= 0 ? map : null;
        }
        catch (Exception e) when (e is JsonException or ArgumentException)
        {
            return null;
        }
    }

    private static string? Text(JsonNode? node) =>
        node is JsonValue value && value.TryGetValue<string>(out var text) && text.Length > 0 ? text : null;
}
