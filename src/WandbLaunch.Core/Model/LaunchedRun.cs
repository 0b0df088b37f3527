using System.Text.Json.Serialization;

namespace WandbLaunch.Model;

/// <summary>States of a launch (protocol F.5).</summary>
[JsonConverter(typeof(JsonStringEnumConverter<LaunchState>))]
public enum LaunchState
{
    /// <summary>Prepared, not running yet.</summary>
    Starting,

    /// <summary>Its cluster has it and has not begun with it; the reason says why.</summary>
    Pending,

    /// <summary>The program runs.</summary>
    Running,

    /// <summary>A stop was asked for.</summary>
    Stopping,

    /// <summary>Ended with exit code 0.</summary>
    Finished,

    /// <summary>Ended with another exit code, or could not be started.</summary>
    Failed,

    /// <summary>Ended because a stop was asked for.</summary>
    Stopped,

    /// <summary>The supervisor of the run is gone and nothing tells how the run ended.</summary>
    Unknown,
}

/// <summary>One launch: what ran, and what happened to it.</summary>
public sealed record LaunchedRun
{
    /// <summary>Id of the launch; also the id of the new W&amp;B run.</summary>
    public required string Id { get; init; }

    /// <summary>Id of the W&amp;B run, where it is not the launch's own: a run that goes on after it was preempted.</summary>
    public string? RunId { get; init; }

    /// <summary>Display name of the run, if one was given.</summary>
    public string? Name { get; init; }

    /// <summary>What was launched: a run URL, git URL, the full path of a folder, or an image. Credentials are masked.</summary>
    public required string Source { get; init; }

    /// <summary>The launch config, as JSON, that launches the same again: source, commit, arguments. Credentials are masked, and secret environment variables left out; null for launches of older versions.</summary>
    public string? Config { get; init; }

    /// <summary>Git commit of the code.</summary>
    public string? Commit { get; init; }

    /// <summary>True when uncommitted changes come on top of the commit.</summary>
    public bool Patched { get; init; }

    /// <summary>Name of the resource that runs it.</summary>
    public required string Resource { get; init; }

    /// <summary>Docker image, for a container.</summary>
    public string? Image { get; init; }

    /// <summary>Words of the command.</summary>
    public IReadOnlyList<string> Command { get; init; } = [];

    /// <summary>The arguments among them.</summary>
    public IReadOnlyList<string> Arguments { get; init; } = [];

    /// <summary>Target entity.</summary>
    public string? Entity { get; init; }

    /// <summary>Target project.</summary>
    public string? Project { get; init; }

    /// <summary>Page of the W&amp;B run, when a server is connected.</summary>
    public string? Uri { get; init; }

    /// <summary>Where it stands.</summary>
    public LaunchState State { get; init; }

    /// <summary>Exit code of the program; null while it runs or when it never started.</summary>
    public int? ExitCode { get; init; }

    /// <summary>Why it failed, where the exit code alone does not tell (out of memory, could not start); while it is pending, what it waits for.</summary>
    public string? Reason { get; init; }

    /// <summary>Id of the fault, when the program could not be started.</summary>
    public string? ErrorId { get; init; }

    /// <summary>True while it is pending for a reason that somebody has to do something about.</summary>
    public bool IsStuck { get; init; }

    /// <summary>How often its engine began with it anew: on another node, after the first one failed.</summary>
    public int Restarts { get; init; }

    /// <summary>Name of the agent that launched it from a queue.</summary>
    public string? Agent { get; init; }

    /// <summary>True when the container was killed because its memory limit was reached.</summary>
    public bool OutOfMemory { get; init; }

    /// <summary>When the program was started.</summary>
    public DateTimeOffset? Started { get; init; }

    /// <summary>When it ended.</summary>
    public DateTimeOffset? Finished { get; init; }

    /// <summary>How long it ran, or runs.</summary>
    [JsonIgnore]
    public TimeSpan? Duration => Started is { } from ? (Finished ?? DateTimeOffset.UtcNow) - from : null;

    /// <summary>File with everything that the program printed.</summary>
    public string? LogPath { get; init; }

    /// <summary>True when something that the program printed is not in the log; <see cref="Warnings"/> says how much, and why.</summary>
    public bool LogTruncated { get; init; }

    /// <summary>What went wrong beside the run itself, such as a log that could not be written.</summary>
    public IReadOnlyList<string> Warnings { get; init; } = [];

    /// <summary>Where it is found again; null until it was started.</summary>
    public RunHandle? Handle { get; init; }

    /// <summary>What its engine calls it: id of the container, the process, or the cluster's job; null until it was started.</summary>
    [JsonIgnore]
    public string? EngineId => Handle?.Id;

    /// <summary>Process id on this machine, for a process.</summary>
    [JsonIgnore]
    public int? ProcessId =>
        Handle is { Kind: RunHandle.Process, Id: var id } && int.TryParse(id, out var number) ? number : null;

    /// <summary>Container id, for a container.</summary>
    [JsonIgnore]
    public string? ContainerId => Handle is { Kind: RunHandle.Container, Id: var id } ? id : null;

    /// <summary>True when it will not change any more.</summary>
    [JsonIgnore]
    public bool IsDone =>
        State is LaunchState.Finished or LaunchState.Failed or LaunchState.Stopped or LaunchState.Unknown;

    /// <inheritdoc/>
    public override string ToString() => Id;
}

/// <summary>What a launch would do: printed by -WhatIf. Secrets are masked.</summary>
public sealed record LaunchPlan
{
    /// <summary>What would be launched.</summary>
    public required string Source { get; init; }

    /// <summary>Commit of the code.</summary>
    public string? Commit { get; init; }

    /// <summary>Whether the run's uncommitted changes go on top.</summary>
    public bool Patched { get; init; }

    /// <summary>Program that runs.</summary>
    public string? Program { get; init; }

    /// <summary>Its arguments.</summary>
    public IReadOnlyList<string> Arguments { get; init; } = [];

    /// <summary>Resource that runs it.</summary>
    public required string Resource { get; init; }

    /// <summary>Image that it runs in.</summary>
    public string? Image { get; init; }

    /// <summary>Whether the image or virtual environment is there already.</summary>
    public bool Prepared { get; init; }

    /// <summary>What a cluster would be given, where it runs in one: secrets are in it by reference only.</summary>
    public string? Manifest { get; init; }

    /// <summary>What the resource's own engine says to it: when a cluster would begin with it.</summary>
    public string? Note { get; init; }

    /// <summary>Python version that is wanted.</summary>
    public string? PythonVersion { get; init; }

    /// <summary>Packages that are installed.</summary>
    public IReadOnlyList<string> Requirements { get; init; } = [];

    /// <summary>Command line, for reading.</summary>
    public required string Command { get; init; }

    /// <summary>Environment variables that are set; secret values are masked.</summary>
    public IReadOnlyDictionary<string, string> Environment { get; init; } = new Dictionary<string, string>();

    /// <summary>Target entity.</summary>
    public string? Entity { get; init; }

    /// <summary>Target project.</summary>
    public string? Project { get; init; }
}
