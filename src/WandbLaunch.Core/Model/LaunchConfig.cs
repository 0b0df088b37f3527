using System.Buffers;
using System.Collections;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;

namespace WandbLaunch.Model;

/// <summary>A launch config (protocol C.1): what to run, where to, with which changes. Null leaves the default.</summary>
internal sealed record LaunchConfig
{
    private static readonly LaunchConfig Nothing = new();

    internal string? Uri { get; init; }

    /// <summary>A job to launch in the place of an address: entity/project/name:alias.</summary>
    internal string? Job { get; init; }
    internal string? Entity { get; init; }
    internal string? Project { get; init; }
    internal string? Name { get; init; }
    internal string? Resource { get; init; }
    internal JsonObject? ResourceArgs { get; init; }
    internal string? DockerImage { get; init; }
    internal int? UserId { get; init; }
    internal JsonObject? DockerArgs { get; init; }
    internal string? BaseImage { get; init; }
    internal string? PythonVersion { get; init; }
    internal string? CudaVersion { get; init; }
    internal IReadOnlyList<string>? SystemPackages { get; init; }
    internal string? GitVersion { get; init; }
    internal string? GitRepo { get; init; }
    internal ArgumentSet? Args { get; init; }
    internal JsonObject? RunConfig { get; init; }
    internal JsonObject? Artifacts { get; init; }
    internal IReadOnlyList<string>? EntryPoint { get; init; }
    internal bool? Cuda { get; init; }
    internal string? RunId { get; init; }

    /// <summary>Keys that this version does not read; they go through untouched.</summary>
    internal JsonObject? Extra { get; private set; }

    /// <summary>What is launched.</summary>
    internal string? Source => Uri ?? Job ?? DockerImage;

    /// <summary>The scheduler of a sweep (protocol F.7).</summary>
    internal bool IsScheduler => Uri?.StartsWith("placeholder", StringComparison.Ordinal) ?? false;

    /// <summary>Puts <paramref name="over"/> over this one: every value that it sets wins (protocol C.2).</summary>
    internal LaunchConfig Merge(LaunchConfig over) =>
        over == Nothing ? this
        : this == Nothing ? over
        : new()
        {
            Uri = over.Uri ?? (over.Job is null ? Uri : null),
            Job = over.Job ?? (over.Uri is null ? Job : null),
            Entity = over.Entity ?? Entity,
            Project = over.Project ?? Project,
            Name = over.Name ?? Name,
            Resource = over.Resource ?? Resource,
            ResourceArgs = over.ResourceArgs ?? ResourceArgs,
            DockerImage = over.DockerImage ?? DockerImage,
            UserId = over.UserId ?? UserId,
            DockerArgs = Join(DockerArgs, over.DockerArgs),
            BaseImage = over.BaseImage ?? BaseImage,
            PythonVersion = over.PythonVersion ?? PythonVersion,
            CudaVersion = over.CudaVersion ?? CudaVersion,
            SystemPackages = over.SystemPackages ?? SystemPackages,
            GitVersion = over.GitVersion ?? GitVersion,
            GitRepo = over.GitRepo ?? GitRepo,
            Args = ArgumentSet.Merge(Args, over.Args),
            RunConfig = Join(RunConfig, over.RunConfig),
            Artifacts = Join(Artifacts, over.Artifacts),
            EntryPoint = over.EntryPoint ?? EntryPoint,
            Cuda = over.Cuda ?? Cuda,
            RunId = over.RunId ?? RunId,
            Extra = Join(Extra, over.Extra),
        };

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
            ? FromOwnJson(map)
            : throw new LaunchException(
                "ConfigInvalid",
                LaunchErrorCategory.InvalidData,
                $"The launch config in {where} must be an object with keys such as uri, project and overrides.",
                where
            );
    }

    internal static LaunchConfig FromJson(JsonObject source) => FromOwnJson((JsonObject)source.DeepClone());

    /// <summary>As <see cref="FromJson"/>, of an object that nobody else has: it is taken apart.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static LaunchConfig FromOwnJson(JsonObject map)
    {
        var docker = Section(map, "docker");
        var git = Section(map, "git");
        var overrides = Section(map, "overrides");
        var config = new LaunchConfig
        {
            Uri = Take(map, "uri"),
            Job = Take(map, "job"),
            Entity = Take(map, "entity"),
            Project = Take(map, "project"),
            Name = Take(map, "name"),
            Resource = Take(map, "resource"),
            ResourceArgs = TakeMap(map, "resource_args"),
            DockerImage = Take(docker, "docker_image") ?? Take(map, "image_uri"),
            UserId = TakeInt(docker, "user_id"),
            DockerArgs = TakeMap(docker, "args"),
            BaseImage = Take(docker, "base_image"),
            PythonVersion = Take(docker, "python_version") ?? Take(map, "python_version"),
            CudaVersion = Take(docker, "cuda_version"),
            SystemPackages = TakeWords(docker, "system_packages"),
            // The guide's table says git_version, its example and the protocol say version.
            GitVersion = Take(git, "version") ?? Take(git, "git_version"),
            GitRepo = Take(git, "repo"),
            Args = ArgumentSet.FromJson(TakeNode(overrides, "args")),
            RunConfig = TakeMap(overrides, "run_config"),
            Artifacts = TakeMap(overrides, "artifacts"),
            EntryPoint = TakeWords(overrides, "entry_point"),
            Cuda = TakeFlag(map, "cuda"),
            RunId = Take(map, "run_id"),
        };
        Keep(map, "docker", docker);
        Keep(map, "git", git);
        Keep(map, "overrides", overrides);

        // The page of a job is the job.
        config =
            config is { Uri: { } page, Job: null } && JobPath.IsPage(page)
                ? config with
                {
                    Uri = null,
                    Job = JobPath.Parse(page).ToString(),
                }
                : config;
        config.Extra = map.Count > 0 ? map : null;
        return config;
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
    internal void Write(Utf8JsonWriter writer, string? author, string? queueEntity)
    {
        writer.WriteStartObject();
        Put(writer, "uri", Uri);
        Put(writer, "job", Job);
        Put(writer, "entity", Entity);
        Put(writer, "project", Project);
        Put(writer, "name", Name);
        Put(writer, "resource", Resource);
        Put(writer, "resource_args", ResourceArgs);
        if (
            Begin(
                writer,
                "docker",
                DockerImage is not null
                    || UserId is not null
                    || DockerArgs is not null
                    || BaseImage is not null
                    || PythonVersion is not null
                    || CudaVersion is not null
                    || SystemPackages is not null
            )
        )
        {
            Put(writer, "docker_image", DockerImage);
            if (UserId is { } user)
            {
                writer.WriteNumber("user_id", user);
            }

            Put(writer, "args", DockerArgs);
            Put(writer, "base_image", BaseImage);
            Put(writer, "python_version", PythonVersion);
            Put(writer, "cuda_version", CudaVersion);
            Put(writer, "system_packages", SystemPackages);
            End(writer, "docker");
        }

        if (Begin(writer, "git", GitVersion is not null || GitRepo is not null))
        {
            Put(writer, "version", GitVersion);
            Put(writer, "repo", GitRepo);
            End(writer, "git");
        }

        if (
            Begin(
                writer,
                "overrides",
                Args is { IsEmpty: false } || RunConfig is not null || Artifacts is not null || EntryPoint is not null
            )
        )
        {
            if (Args is { IsEmpty: false })
            {
                writer.WritePropertyName("args");
                Args.Write(writer);
            }

            Put(writer, "run_config", RunConfig);
            Put(writer, "artifacts", Artifacts);
            Put(writer, "entry_point", EntryPoint);
            End(writer, "overrides");
        }

        if (Cuda is { } cuda)
        {
            writer.WriteBoolean("cuda", cuda);
        }

        Put(writer, "run_id", RunId);
        if (Extra is not null)
        {
            foreach (var (key, value) in Extra)
            {
                switch (key)
                {
                    case "docker" or "git" or "overrides":
                    case "queue_entity" when queueEntity is not null:
                        break;
                    case "author" when value is not null:
                        author = null;
                        goto default;
                    case "author" when author is not null:
                        break;
                    default:
                        writer.WritePropertyName(key);
                        Write(writer, value);
                        break;
                }
            }
        }

        Put(writer, "author", author);
        Put(writer, "queue_entity", queueEntity);
        writer.WriteEndObject();
    }

    internal static JsonNode? ToNode(object? value) => ToNode(value, null, 0);

    /// <summary>A value of .NET as JSON; a table that holds itself, or too many others, ends at the limits.</summary>
    /// <exception cref="LaunchException">It is too much, or has a key twice.</exception>
    internal static JsonNode? ToNode(object? value, TreeLimits? limits, int depth)
    {
        switch (value)
        {
            case null:
                return null;
            case JsonNode node:
                return node.DeepClone();
            case string text:
                return JsonValue.Create(text);
            case bool flag:
                return JsonValue.Create(flag);
            case int number:
                return JsonValue.Create(number);
            case long number:
                return JsonValue.Create(number);
            // JSON has no word for them; the SDK's are these, and Python's float() reads them.
            case double number when !double.IsFinite(number):
                return JsonValue.Create(number.ToString(CultureInfo.InvariantCulture));
            case float number when !float.IsFinite(number):
                return JsonValue.Create(number.ToString(CultureInfo.InvariantCulture));
            case double number:
                return JsonValue.Create(number);
            case float number:
                return JsonValue.Create(number);
            case decimal number:
                return JsonValue.Create(number);
            case DateTime time:
                return JsonValue.Create(time);
            case IDictionary or IEnumerable<KeyValuePair<string, object?>>:
                limits ??= NewLimits();
                limits.Add(depth + 1);
                var map = new JsonObject();
                foreach (var (key, item) in Pairs(value))
                {
                    limits.Add(depth + 1);
                    if (!map.TryAdd(key, ToNode(item, limits, depth + 1)))
                    {
                        throw limits.Fault(
                            $"the key '{Short(key)}' stands there twice, and it is not clear which is meant"
                        );
                    }
                }

                return map;
            case IEnumerable items:
                limits ??= NewLimits();
                limits.Add(depth + 1);
                var list = new JsonArray();
                foreach (var item in items)
                {
                    limits.Add(depth + 1);
                    list.Add(ToNode(item, limits, depth + 1));
                }

                return list;
            case IConvertible number when number.GetTypeCode() is >= TypeCode.SByte and <= TypeCode.UInt64:
                return number.GetTypeCode() == TypeCode.UInt64
                    ? JsonValue.Create(number.ToUInt64(CultureInfo.InvariantCulture))
                    : JsonValue.Create(number.ToInt64(CultureInfo.InvariantCulture));
            default:
                return JsonValue.Create(value.ToString());
        }

        static IEnumerable<KeyValuePair<string, object?>> Pairs(object value) =>
            value as IEnumerable<KeyValuePair<string, object?>>
            ?? ((IDictionary)value)
                .Keys.Cast<object>()
                .Select(k => KeyValuePair.Create(k.ToString() ?? "", ((IDictionary)value)[k]));
    }

    /// <summary>The limits of a config that is given as objects.</summary>
    internal static TreeLimits NewLimits() => new("The launch config", "ConfigInvalid");

    /// <summary>A YAML mapping as JSON.</summary>
    internal static JsonObject YamlObject(string path) => SafeYaml.ReadFile(path) as JsonObject ?? [];

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static JsonObject? Section(JsonObject map, string name)
    {
        if (!map.TryGetPropertyValue(name, out var node) || node is null)
        {
            map.Remove(name);
            return null;
        }

        map.Remove(name);
        return node as JsonObject ?? throw WrongType(name, "an object", node);
    }

    private static void Keep(JsonObject map, string name, JsonObject? section)
    {
        if (section is { Count: > 0 })
        {
            map[name] = section;
        }
    }

    // A section is written when it holds something: of ours, or of what was not read.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private bool Begin(Utf8JsonWriter writer, string name, bool any)
    {
        if (!any && Extra?[name] is null)
        {
            return false;
        }

        writer.WriteStartObject(name);
        return true;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void End(Utf8JsonWriter writer, string name)
    {
        if (Extra?[name] is JsonObject kept)
        {
            foreach (var (key, value) in kept)
            {
                writer.WritePropertyName(key);
                Write(writer, value);
            }
        }

        writer.WriteEndObject();
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Put(Utf8JsonWriter writer, string name, string? value)
    {
        if (value is not null)
        {
            writer.WriteString(name, value);
        }
    }

    private static void Put(Utf8JsonWriter writer, string name, JsonObject? value)
    {
        if (value is not null)
        {
            writer.WritePropertyName(name);
            value.WriteTo(writer);
        }
    }

    private static void Put(Utf8JsonWriter writer, string name, IReadOnlyList<string>? words)
    {
        if (words is not null)
        {
            writer.WriteStartArray(name);
            foreach (var word in words)
            {
                writer.WriteStringValue(word);
            }

            writer.WriteEndArray();
        }
    }

    internal static void Write(Utf8JsonWriter writer, JsonNode? node)
    {
        if (node is null)
        {
            writer.WriteNullValue();
        }
        else
        {
            node.WriteTo(writer);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static JsonNode? TakeNode(JsonObject? map, string name)
    {
        if (map is null || map.Count == 0 || !map.TryGetPropertyValue(name, out var node))
        {
            return null;
        }

        map.Remove(name);
        return node;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static string? Take(JsonObject? map, string name) =>
        TakeNode(map, name) switch
        {
            null => null,
            JsonValue value => value.ToString() is { Length: > 0 } text ? text : null,
            var other => throw WrongType(name, "a string", other),
        };

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static JsonObject? TakeMap(JsonObject? map, string name) =>
        TakeNode(map, name) switch
        {
            null => null,
            JsonObject found => found.Count > 0 ? found : null,
            var other => throw WrongType(name, "an object", other),
        };

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static int? TakeInt(JsonObject? map, string name) =>
        TakeNode(map, name) switch
        {
            null => null,
            JsonValue value when int.TryParse(value.ToString(), out var number) && number >= 0 => number,
            var other => throw WrongType(name, "a whole number of 0 or more", other),
        };

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static bool? TakeFlag(JsonObject? map, string name) =>
        TakeNode(map, name) switch
        {
            null => null,
            JsonValue value when bool.TryParse(value.ToString(), out var flag) => flag,
            var other => throw WrongType(name, "true or false", other),
        };

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static string[]? TakeWords(JsonObject? map, string name) =>
        TakeNode(map, name) switch
        {
            null => null,
            JsonArray list => [.. list.Select(v => v?.ToString() ?? "")],
            JsonValue value => CommandLine.Split(value.ToString()),
            var other => throw WrongType(name, "a list of strings", other),
        };

    private static LaunchException WrongType(string name, string wanted, JsonNode? found) =>
        new(
            "ConfigInvalid",
            LaunchErrorCategory.InvalidData,
            $"The launch config key '{name}' must be {wanted}.",
            found?.ToJsonString()
        );

    private static JsonObject? Join(JsonObject? under, JsonObject? over)
    {
        if (under is null || over is null)
        {
            return over ?? under;
        }

        var joined = (JsonObject)under.DeepClone();
        foreach (var (key, value) in over)
        {
            joined[key] = value?.DeepClone();
        }

        return joined;
    }

    private static string Short(string text) => text.Length > 60 ? text[..60] + "…" : text;
}
