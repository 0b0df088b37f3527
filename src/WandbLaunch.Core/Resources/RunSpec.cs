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

    /// <summary>How long the program may run; null: no limit.</summary>
    public TimeSpan? TimeLimit { get; init; }

    /// <summary>How long it may take until the program runs; null: no limit.</summary>
    public TimeSpan? StartLimit { get; init; }

    /// <summary>When that is over.</summary>
    public DateTimeOffset? StartBy { get; init; }

    /// <summary>True when somebody has to look at the time.</summary>
    internal bool HasLimits => TimeLimit is not null || StartBy is not null;

    /// <summary>What the resource alone reads.</summary>
    public JsonObject? Data { get; init; }

    /// <summary>The resource's own part.</summary>
    internal T DataAs<T>()
        where T : new() => Data is null ? new T() : Data.Deserialize<T>(Json) ?? new T();

    /// <summary>The resource's own part, as it is written.</summary>
    internal static JsonObject DataOf<T>(T data) => (JsonObject)JsonSerializer.SerializeToNode(data, Json)!;

    /// <summary>Reads what this version or the one before it wrote.</summary>
    internal static RunSpec Read(string text) =>
        JsonFields.Read(
            text,
            json => new RunSpec
            {
                Id = json.NeededText(nameof(Id)),
                Resource = json.NeededText(nameof(Resource)),
                Command = json.Texts(nameof(Command)),
                Arguments = json.Texts(nameof(Arguments)),
                WorkingFolder = json.NeededText(nameof(WorkingFolder)),
                Environment = Variables(json),
                Image = json.Text(nameof(Image)),
                StopGraceSeconds = json.Number(nameof(StopGraceSeconds)) ?? 10,
                MaxLogSize = json.LargeNumber(nameof(MaxLogSize)),
                TimeLimit = json.Span(nameof(TimeLimit)),
                StartLimit = json.Span(nameof(StartLimit)),
                StartBy = json.Time(nameof(StartBy)),
                // Before there was a part of each resource's own, all stood together.
                Data = JsonObject.Create((json.Object(nameof(Data)) ?? json).Element.Clone()),
            }
        );

    internal string Write() =>
        JsonFields.Write(json =>
        {
            json.Text(nameof(Id), Id);
            json.Text(nameof(Resource), Resource);
            json.Texts(nameof(Command), Command);
            json.Texts(nameof(Arguments), Arguments);
            json.Text(nameof(WorkingFolder), WorkingFolder);
            json.WriteStartObject(nameof(Environment));
            foreach (var (name, value) in Environment)
            {
                json.WriteString(name, value);
            }

            json.WriteEndObject();
            json.Text(nameof(Image), Image);
            json.WriteNumber(nameof(StopGraceSeconds), StopGraceSeconds);
            json.Number(nameof(MaxLogSize), MaxLogSize);
            json.Span(nameof(TimeLimit), TimeLimit);
            json.Span(nameof(StartLimit), StartLimit);
            json.Time(nameof(StartBy), StartBy);
            if (Data is not null)
            {
                json.WritePropertyName(nameof(Data));
                Data.WriteTo(json);
            }
        });

    private static Dictionary<string, string> Variables(JsonFields.Fields json)
    {
        var variables = new Dictionary<string, string>();
        if (json.Object(nameof(Environment)) is { } all)
        {
            foreach (var variable in all.Element.EnumerateObject())
            {
                variables[variable.Name] = variable.Value.GetString()!;
            }
        }

        return variables;
    }

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

    /// <summary>How long it may run and wait: the smallest of the config's limits and the options'.</summary>
    internal RunLimits Limits => Config.Limits.Smallest(Options.Limits);

    /// <summary>What was printed while it was prepared, for the beginning of the launch's log.</summary>
    internal string Log { get; set; } = "";

    /// <summary>When its start limit is over.</summary>
    internal DateTimeOffset? StartBy { get; init; }

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
            TimeLimit = Limits.Time,
            StartLimit = Limits.Start,
            StartBy = StartBy,
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

    /// <summary>What its engine says to it, such as when it would begin.</summary>
    internal string? Note { get; init; }
}
