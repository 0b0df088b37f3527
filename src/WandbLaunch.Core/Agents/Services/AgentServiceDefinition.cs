namespace WandbLaunch.Agents;

/// <summary>Which service manager a machine has.</summary>
public enum AgentServiceKind
{
    /// <summary>A unit of systemd, on Linux.</summary>
    SystemdUnit,

    /// <summary>A property list of launchd, on macOS.</summary>
    LaunchdPropertyList,

    /// <summary>A task of the Windows Task Scheduler.</summary>
    ScheduledTask,
}

/// <summary>An agent as a service: what is written where, and what is called to start it.</summary>
public sealed record AgentServiceDefinition
{
    /// <summary>Name of the agent.</summary>
    public required string Name { get; init; }

    /// <summary>What manages it.</summary>
    public required AgentServiceKind Kind { get; init; }

    /// <summary>File of the definition, or the path of the scheduled task.</summary>
    public required string Path { get; init; }

    /// <summary>The definition, as it is written.</summary>
    public required string Content { get; init; }

    /// <summary>File with the agent's settings.</summary>
    public required string ConfigPath { get; init; }

    /// <summary>The settings, as they are written; addresses and variables that hold secrets are masked here.</summary>
    public required string ConfigContent { get; init; }

    /// <summary>Account that it runs under; empty for the current user.</summary>
    public string? Account { get; init; }

    /// <summary>Commands that make the service manager take it.</summary>
    public IReadOnlyList<string> Activation { get; init; } = [];

    /// <summary>Commands that make it let go.</summary>
    public IReadOnlyList<string> Deactivation { get; init; } = [];

    internal IReadOnlyList<string[]> ActivationWords { get; init; } = [];

    internal IReadOnlyList<string[]> DeactivationWords { get; init; } = [];

    internal string ConfigText { get; init; } = "";

    internal bool MachineWide { get; init; }

    /// <inheritdoc/>
    public override string ToString() => Path;
}
