using WandbLaunch.Model;
using WandbLaunch.Python;
using WandbLaunch.Sources;

namespace WandbLaunch.Resources;

/// <summary>What the caller of a launch chose beside the launch config.</summary>
internal sealed record LaunchOptions
{
    /// <summary>A log is useful from here on: its marks alone take some hundred bytes.</summary>
    internal const long LeastLogSize = 4096;

    internal bool NoInstall { get; init; }
    internal PipSettings Pip { get; init; } = new();
    internal IReadOnlyDictionary<string, string> Environment { get; init; } = new Dictionary<string, string>();
    internal IReadOnlyList<string> Volumes { get; init; } = [];
    internal GitCredential? GitCredential { get; init; }
    internal string? DockerHost { get; init; }

    /// <summary>What single resources alone read, by the names that they say (<see cref="ResourceInfo.Settings"/>).</summary>
    internal IReadOnlyDictionary<string, string> Settings { get; init; } = new Dictionary<string, string>();

    /// <summary>Where images go that others are to fetch: registry.example.org/team/launch.</summary>
    internal string? Repository { get; init; }

    internal int StopGraceSeconds { get; init; } = 10;

    /// <summary>What a program started may outlive it.</summary>
    internal bool KeepChildren { get; init; }

    /// <summary>Most bytes of the log; null: no limit.</summary>
    internal long? MaxLogSize { get; init; }

    /// <summary>Limits beside those of the config: the smallest holds.</summary>
    internal RunLimits Limits { get; init; } = RunLimits.None;

    /// <summary>Since when the start limit counts; null: from the launch on.</summary>
    internal DateTimeOffset? Asked { get; init; }

    /// <summary>Id of the launch on this machine, where it is not the run's: an agent's launches are named by their item.</summary>
    internal string? LaunchId { get; init; }

    /// <summary>Name of the agent that launches.</summary>
    internal string? Agent { get; init; }

    /// <summary>Throws for a git address that may not be used.</summary>
    internal Action<string>? CheckRemote { get; init; }

    /// <summary>Throws for an image that may not be used.</summary>
    internal Action<string>? CheckImage { get; init; }

    /// <summary>Throws for what only shows when the source is known: a job of an image, with arguments.</summary>
    internal Action<LaunchConfig>? CheckConfig { get; init; }

    /// <summary>A given image runs as it is, with no words of the item or of the run that it reproduces.</summary>
    internal bool SecureMode { get; init; }

    /// <summary>Key of the run, where it is not the connection's.</summary>
    internal string? ApiKey { get; init; }

    /// <summary>Today's servers know a run of a given image by the id that was acknowledged; those of 2022 let it choose one (protocol E.4).</summary>
    internal bool KeepRunId { get; init; }

    /// <summary>Arguments of the resource that are allowed beyond its fixed list.</summary>
    internal IReadOnlyList<string> ExtraArguments { get; init; } = [];

    /// <summary>The GPUs that are this run's own; null: no choice.</summary>
    internal IReadOnlyList<string>? Gpus { get; init; }
}
