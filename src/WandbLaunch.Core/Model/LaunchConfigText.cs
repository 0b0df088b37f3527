using System.Buffers;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;

namespace WandbLaunch.Model;

/// <summary>From files, texts and trees, and back.</summary>
internal sealed partial record LaunchConfig
{
    // A section has no kind of its own that its reader could name.
    private const string Map = "an object";

    /// <summary>Reads a path, or a JSON or YAML text (protocol C.2, last row; .yml counts as YAML too here).</summary>
    internal static LaunchConfig Read(string pathOrText, string workingFolder)
    {
        var text = pathOrText.Trim();
        if (text.StartsWith('{'))
        {
            return FromText(text, "the JSON text");
        }

        var isPath =
            !text.Contains('\n', StringComparison.Ordinal)
            && text.Length < 4096
            && !text.Contains(": ", StringComparison.Ordinal);
        var path = isPath ? Path.GetFullPath(text, workingFolder) : null;
        if (path is not null && File.Exists(path))
        {
            new TreeLimits($"The launch config in {path}", "ConfigInvalid").CheckLength(new FileInfo(path).Length);
            return FromText(File.ReadAllText(path), path);
        }

        return path is null
            ? FromText(text, "the YAML text")
            : throw new LaunchException(
                "ConfigNotFound",
                LaunchErrorCategory.ObjectNotFound,
                $"There is no launch config file {path}, and '{Short(text)}' is neither JSON nor YAML of a launch config.",
                pathOrText
            );
    }

    internal static LaunchConfig FromText(string text, string where)
    {
        var name = $"The launch config in {where}";
        var node = text.AsSpan().TrimStart().StartsWith("{")
            ? JsonText.Read(text, name, "ConfigInvalid")
            : SafeYaml.Read(text, name, "ConfigInvalid");
        return node is JsonObject map
            ? FromJson(map)
            : throw new LaunchException(
                "ConfigInvalid",
                LaunchErrorCategory.InvalidData,
                $"The launch config in {where} must be an object with keys such as uri, project and overrides.",
                where
            );
    }

    /// <summary>Reads a tree, which stays as it is.</summary>
    /// <exception cref="LaunchException"><c>ConfigInvalid</c>, <c>ArgumentsInvalid</c>.</exception>
    internal static LaunchConfig FromJson(JsonObject map)
    {
        try
        {
            return Settled(map.Deserialize(LaunchConfigJson.Strict.LaunchConfig)!);
        }
        catch (JsonException e)
        {
            throw WrongKinds(map, e);
        }
    }

    /// <summary>As <see cref="FromJson"/>, of a text that was made here: it has its limits, and no key twice.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static LaunchConfig FromUtf8(ReadOnlySpan<byte> json)
    {
        try
        {
            var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = LaunchConfigJson.Levels });
            reader.Read();
            return Settled(LayerText<LaunchConfig>.Read(ref reader));
        }
        catch (JsonException)
        {
            // The serializer says which key it is.
            return FromJson((JsonObject)JsonNode.Parse(json)!);
        }
    }

    /// <summary>What can be read of an item, for whoever looks before it is judged: a value of another kind than its key has is not there.</summary>
    internal static LaunchConfig Tolerant(JsonObject? map)
    {
        // Only a section that is none can fail here; there are three.
        for (var left = map; left is not null; )
        {
            try
            {
                return left.Deserialize(LaunchConfigJson.Lenient.LaunchConfig)!;
            }
            catch (JsonException e)
            {
                left = Without(left, e);
            }
        }

        return Nothing;
    }

    /// <summary>The config as W&amp;B's JSON; only what is set.</summary>
    internal JsonObject ToJson()
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer))
        {
            Write(writer, null, null);
        }

        return (JsonObject)JsonNode.Parse(buffer.WrittenSpan)!;
    }

    /// <summary>Writes what <see cref="ToJson"/> gives, and who queues it, where that is not said yet, and whose queue it is for.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal void Write(Utf8JsonWriter writer, string? author, string? queueEntity) =>
        LayerText<LaunchConfig>.Write(
            writer,
            author is null && queueEntity is null
                ? this
                : this with
                {
                    Author = Author ?? author,
                    QueueEntity = queueEntity ?? QueueEntity,
                }
        );

    // Keys that have two places or names get one.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static LaunchConfig Settled(LaunchConfig config)
    {
        if (config is { DockerImage: null, ImageUri: { } image })
        {
            config = config with { DockerImage = image, ImageUri = null };
        }

        if (config is { PythonVersion: null, BuildPythonVersion: { } python })
        {
            config = config with { PythonVersion = python, BuildPythonVersion = null };
        }

        if (config.Git is { Version: null, GitVersion: { } version } git)
        {
            config = config with { Git = git with { Version = version, GitVersion = null } };
        }

        // The page of a job is the job.
        return config is { Uri: { } page, Job: null } && JobPath.IsPage(page)
            ? config with
            {
                Uri = null,
                Job = JobPath.Parse(page).ToString(),
            }
            : config;
    }

    // Every key that is wrong, for whoever mends it: the reader stops at the first one.
    private static LaunchException WrongKinds(JsonObject map, JsonException first)
    {
        const int Most = 8;
        var faults = new List<string>();
        var fault = first;
        for (var left = map; fault is not null && left is not null && faults.Count < Most; )
        {
            faults.Add($"'{KeyOf(fault)[^1]}' must be {(fault is LaunchConfigValues.WrongKind ? fault.Message : Map)}");
            left = Without(left, fault);
            fault = null;
            try
            {
                left?.Deserialize(LaunchConfigJson.Strict.LaunchConfig);
            }
            catch (JsonException e)
            {
                fault = e;
            }
            catch (LaunchException)
            {
                // Of the arguments, and worth a look when the kinds are right.
            }
        }

        return new LaunchException(
            "ConfigInvalid",
            LaunchErrorCategory.InvalidData,
            $"The launch config key {string.Join(", ", faults)}.",
            (first as LaunchConfigValues.WrongKind)?.Found,
            first
        );
    }

    // A copy without the key that is wrong; null where it is not there.
    private static JsonObject? Without(JsonObject map, JsonException e)
    {
        var copy = (JsonObject)map.DeepClone();
        var keys = KeyOf(e);
        var at = copy;
        foreach (var key in keys[..^1])
        {
            at = at?[key] as JsonObject;
        }

        return at?.Remove(keys[^1]) == true ? copy : null;
    }

    // Of a path such as $.docker.user_id.
    private static string[] KeyOf(JsonException e) =>
        (e.Path ?? "$.").Split('.')[1..] is { Length: > 0 } keys ? keys : [""];

    private static string Short(string text) => text.Length > 60 ? text[..60] + "…" : text;
}
