using System.Text.Json.Nodes;

namespace WandbLaunch.Resources;

/// <summary>Everything that a runner needs, as it is written beside the run. Secrets are not in it.</summary>
internal sealed record RunSpec
{
    public required string Id { get; init; }
    public required string Resource { get; init; }
    public required IReadOnlyList<string> Command { get; init; }
    public IReadOnlyList<string> Arguments { get; init; } = [];
    public required string WorkingFolder { get; init; }
    public Dictionary<string, string> Environment { get; init; } = [];
    public string? Image { get; init; }
    public bool UserImage { get; init; }
    public string? Workspace { get; init; }
    public JsonObject? DockerArgs { get; init; }

    /// <summary>Docker arguments that an agent's admin allows beyond the fixed list.</summary>
    public IReadOnlyList<string> ExtraDockerArguments { get; init; } = [];
    public IReadOnlyList<string> Volumes { get; init; } = [];
    public bool Gpu { get; init; }

    /// <summary>The GPUs that are this run's own, by index or UUID; null: no choice was made.</summary>
    public IReadOnlyList<string>? Gpus { get; init; }
    public int? UserId { get; init; }
    public string? DockerEndpoint { get; init; }
    public string? BaseUrl { get; init; }
    public string? LaunchConfigJson { get; init; }
    public int StopGraceSeconds { get; init; } = 10;

    /// <summary>What the program started may outlive it.</summary>
    public bool KeepChildren { get; init; }

    /// <summary>Most bytes of output.log; null: no limit.</summary>
    public long? MaxLogSize { get; init; }
}

/// <summary>How a run ended.</summary>
internal sealed record RunOutcome(int? ExitCode, string? Reason = null, bool OutOfMemory = false);

/// <summary>The two ways out of a program.</summary>
internal enum RunStream
{
    Output,
    Error,
}

/// <summary>What a runner tells while it works.</summary>
internal interface IRunObserver
{
    /// <summary>It runs: as a process, in a control group where there is one, or in a container.</summary>
    void Started(int? processId, string? containerId, string? cgroup = null);

    /// <summary>What it printed, piece by piece; a piece may end within a character. Never throws: whoever reads the pipe goes on reading.</summary>
    void Output(RunStream stream, ReadOnlySpan<byte> bytes);
}

/// <summary>A way to run: a process, a container, later a cluster.</summary>
internal interface IRunner
{
    /// <summary>Runs to the end. Cancelling stops the program, gracefully first, and still gives the outcome.</summary>
    Task<RunOutcome> RunAsync(
        RunSpec spec,
        IReadOnlyDictionary<string, string> secrets,
        IRunObserver observer,
        CancellationToken stop
    );
}
