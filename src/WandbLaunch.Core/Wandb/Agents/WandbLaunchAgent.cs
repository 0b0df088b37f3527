using System.Text.Json.Serialization;

namespace WandbLaunch.Wandb;

/// <summary>An agent: one of this machine, or one that the server knows.</summary>
public sealed record WandbLaunchAgent
{
    /// <summary>Name: for -Name of the other agent commands.</summary>
    public required string Name { get; init; }

    /// <summary>What it does.</summary>
    public required AgentState State { get; init; }

    /// <summary>Names of its queues, in its order.</summary>
    public IReadOnlyList<string> Queues { get; init; } = [];

    /// <summary>Owner of the queues.</summary>
    public string? Entity { get; init; }

    /// <summary>Project of the queues.</summary>
    public string? QueueProject { get; init; }

    /// <summary>Machine that it runs on.</summary>
    public string? Hostname { get; init; }

    /// <summary>Process id, for an agent of this machine.</summary>
    public int? ProcessId { get; init; }

    /// <summary>Runs at a time; -1 for no limit.</summary>
    public int? MaxJobs { get; init; }

    /// <summary>The same for each resource that has a number of its own; null where all have one.</summary>
    public IReadOnlyDictionary<string, int>? MaxJobsOf { get; init; }

    /// <summary>Items that run now, or are being prepared.</summary>
    public int? Running { get; init; }

    /// <summary>Items taken since its start.</summary>
    public int? Taken { get; init; }

    /// <summary>Runs of them that ended with exit code 0.</summary>
    public int? Succeeded { get; init; }

    /// <summary>Items of them that failed or were refused.</summary>
    public int? Failed { get; init; }

    /// <summary>Items of them whose runs somebody stopped.</summary>
    public int? Stopped { get; init; }

    /// <summary>When it started.</summary>
    public DateTimeOffset? Started { get; init; }

    /// <summary>Last sign of life.</summary>
    public DateTimeOffset? Heartbeat { get; init; }

    /// <summary>Id on the server.</summary>
    public string? AgentId { get; init; }

    /// <summary>Name on the server: also the id of the run that holds its failure logs.</summary>
    public string? ServerName { get; init; }

    /// <summary>Address of the server's API.</summary>
    public string? Server { get; init; }

    /// <summary>Its log: JSON lines, for an agent of this machine.</summary>
    public string? LogPath { get; init; }

    /// <summary>How its last life ended: 0 all well, 1 it could not work, 2 runs failed, 3 it was stopped, 4 it was stopped with its runs.</summary>
    public int? ExitCode { get; init; }

    /// <summary>True for an agent of this user on this machine.</summary>
    [JsonIgnore]
    public bool Local => ProcessId is not null;

    /// <inheritdoc/>
    public override string ToString() => Name;
}
