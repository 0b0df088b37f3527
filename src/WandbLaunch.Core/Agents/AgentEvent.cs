using System.Text.Json.Serialization;
using WandbLaunch.Model;

namespace WandbLaunch.Agents;

/// <summary>What an agent tells of.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<AgentEventKind>))]
public enum AgentEventKind
{
    /// <summary>The agent listens; the message says to what.</summary>
    AgentStarted,

    /// <summary>What the agent runs of what others queue; each rule in full with -Verbose.</summary>
    Policy,

    /// <summary>Something that an admin should know.</summary>
    Warning,

    /// <summary>An item is this agent's now.</summary>
    ItemTaken,

    /// <summary>The policy refused an item; it was failed with the reason.</summary>
    ItemRefused,

    /// <summary>An item could not be started; it was failed with the reason.</summary>
    ItemFailed,

    /// <summary>An item that an earlier agent left behind is looked after.</summary>
    ItemAdopted,

    /// <summary>A run waits for its cluster; the message says what for. Said again when that changes.</summary>
    RunPending,

    /// <summary>A run's program runs.</summary>
    RunStarted,

    /// <summary>A run ended with exit code 0.</summary>
    RunFinished,

    /// <summary>A run ended otherwise.</summary>
    RunFailed,

    /// <summary>A run was stopped.</summary>
    RunStopped,

    /// <summary>A failure of the machine; the item is tried again.</summary>
    Retry,

    /// <summary>A preempted run went back to its queue.</summary>
    Requeued,

    /// <summary>The server does not answer; runs go on. Said once.</summary>
    ServerAway,

    /// <summary>The server answers again.</summary>
    ServerBack,

    /// <summary>No more items are taken; what runs is finished.</summary>
    Draining,

    /// <summary>The agent ended; the message says why.</summary>
    AgentStopped,
}

/// <summary>Something that happened to an agent or one of its items.</summary>
public sealed record AgentEvent
{
    /// <summary>When.</summary>
    public required DateTimeOffset Time { get; init; }

    /// <summary>What.</summary>
    public required AgentEventKind Kind { get; init; }

    /// <summary>Name of the agent.</summary>
    public required string Agent { get; init; }

    /// <summary>Queue of the item.</summary>
    public string? Queue { get; init; }

    /// <summary>Id of the item.</summary>
    public string? ItemId { get; init; }

    /// <summary>Id of the launch on this machine: what Get-WandbLaunch and Receive-WandbLaunchLog take.</summary>
    public string? Id { get; init; }

    /// <summary>Id of the W&amp;B run.</summary>
    public string? RunId { get; init; }

    /// <summary>What is launched.</summary>
    public string? Source { get; init; }

    /// <summary>Exit code of its program.</summary>
    public int? ExitCode { get; init; }

    /// <summary>How long it ran.</summary>
    public TimeSpan? Duration { get; init; }

    /// <summary>In words; secrets are masked.</summary>
    public string Message { get; init; } = "";

    /// <summary>Id of the fault, for a failure.</summary>
    public string? ErrorId { get; init; }

    /// <summary>The launch, where there is one.</summary>
    [JsonIgnore]
    public LaunchedRun? Run { get; init; }

    /// <inheritdoc/>
    public override string ToString() =>
        $"{Time.ToLocalTime():HH:mm:ss} {Kind}{(Queue is null ? "" : $" {Queue}/{ItemId}")}{(RunId is null ? "" : $" run {RunId}")}{(Message.Length == 0 ? "" : ": " + Message)}";
}
