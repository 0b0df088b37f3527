using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Sources;

namespace WandbLaunch.Resources;

/// <summary>Everything that is needed to start a run, as it is written beside it. Secrets are not in it.</summary>
internal sealed record RunSpec
{
    /// <summary>Id of the launch: what is started of it is known by this name.</summary>
    public required string Id { get; init; }

    public required string Resource { get; init; }
    public required IReadOnlyList<string> Command { get; init; }
    public IReadOnlyList<string> Arguments { get; init; } = [];
    public required string WorkingFolder { get; init; }
    public Dictionary<string, string> Environment { get; init; } = [];

    /// <summary>What it runs in, where that is an image.</summary>
    public string? Image { get; init; }

    public int StopGraceSeconds { get; init; } = 10;

    /// <summary>Most bytes of output.log; null: no limit.</summary>
    public long? MaxLogSize { get; init; }

    /// <summary>What the resource alone reads.</summary>
    public JsonObject? Data { get; init; }

    /// <summary>The resource's own part.</summary>
    internal T DataAs<T>()
        where T : new() => Data is null ? new T() : Data.Deserialize<T>(Json) ?? new T();

    /// <summary>The resource's own part, as it is written.</summary>
    internal static JsonObject DataOf<T>(T data) => (JsonObject)JsonSerializer.SerializeToNode(data, Json)!;

    /// <summary>Reads what this version or the one before it wrote.</summary>
    internal static RunSpec Read(string text)
    {
        var all = (JsonObject)JsonNode.Parse(text)!;

        // Before there was a part of each resource's own, all stood together.
        all[nameof(Data)] ??= all.DeepClone();
        return all.Deserialize<RunSpec>(Json)!;
    }

    internal string Write() => JsonSerializer.Serialize(this, Json);

    private static readonly JsonSerializerOptions Json = new()
    {
        WriteIndented = true,
        DefaultIgnoreCondition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingNull,
    };
}

/// <summary>What is to run, when its source is known.</summary>
/// <param name="Config">What was asked for.</param>
/// <param name="Options">How.</param>
/// <param name="Resolved">What exactly.</param>
/// <param name="Cache">What earlier launches left.</param>
internal record ResourceRequest(LaunchConfig Config, LaunchOptions Options, ResolvedRun Resolved, LaunchCache Cache);

/// <summary>What a resource needs to prepare a run.</summary>
internal sealed record PrepareContext(
    LaunchConfig Config,
    LaunchOptions Options,
    ResolvedRun Resolved,
    LaunchCache Cache
) : ResourceRequest(Config, Options, Resolved, Cache)
{
    /// <summary>Id of the launch.</summary>
    internal required string Id { get; init; }

    /// <summary>The run's folder on this machine.</summary>
    internal required string Folder { get; init; }

    /// <summary>The program's variables that are no secrets; the resource adds its own.</summary>
    internal required Dictionary<string, string> Environment { get; init; }

    /// <summary>The file that the program finds at WANDB_LAUNCH_CONFIG_PATH.</summary>
    internal required string LaunchConfigJson { get; init; }

    /// <summary>What the user should know.</summary>
    internal required List<string> Warnings { get; init; }

    /// <summary>Told what is being done, with a percentage where one is known.</summary>
    internal required IProgress<LaunchProgress> Progress { get; init; }

    /// <summary>The part of the spec that is the same for every resource.</summary>
    internal RunSpec NewSpec(IReadOnlyList<string> command, string workingFolder) =>
        new()
        {
            Id = Id,
            Resource = "",
            Command = command,
            Arguments = Resolved.Arguments,
            WorkingFolder = workingFolder,
            Environment = Environment,
            StopGraceSeconds = Options.StopGraceSeconds,
            MaxLogSize = Options.MaxLogSize,
        };
}

/// <summary>How a resource would run it.</summary>
/// <param name="Command">All words.</param>
/// <param name="Image">Image, where there is one.</param>
/// <param name="Prepared">What it runs in is there already.</param>
internal sealed record ResourcePlan(IReadOnlyList<string> Command, string? Image, bool Prepared)
{
    /// <summary>What is handed over to a cluster.</summary>
    internal string? Manifest { get; init; }
}
