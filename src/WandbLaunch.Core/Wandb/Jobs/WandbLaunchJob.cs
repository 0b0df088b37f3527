using System.Text.Json.Nodes;

namespace WandbLaunch.Wandb;

/// <summary>A job: what to run, kept on the server as a versioned artifact (protocol B.8).</summary>
public sealed record WandbLaunchJob
{
    /// <summary>Name of the job.</summary>
    public required string Name { get; init; }

    /// <summary>Owner.</summary>
    public required string Entity { get; init; }

    /// <summary>Project.</summary>
    public required string Project { get; init; }

    /// <summary>Version, from v0 on.</summary>
    public string? Version { get; init; }

    /// <summary>Aliases of the version; latest is one.</summary>
    public IReadOnlyList<string> Alias { get; init; } = [];

    /// <summary>repo, artifact or image.</summary>
    public string? SourceType { get; init; }

    /// <summary>Git remote, code artifact or image.</summary>
    public string? Source { get; init; }

    /// <summary>Git commit, for a job of a repository.</summary>
    public string? Commit { get; init; }

    /// <summary>Command, as words.</summary>
    public IReadOnlyList<string> EntryPoint { get; init; } = [];

    /// <summary>Python version.</summary>
    public string? PythonVersion { get; init; }

    /// <summary>Description.</summary>
    public string? Description { get; init; }

    /// <summary>When it was made.</summary>
    public DateTimeOffset? Created { get; init; }

    /// <summary>entity/project/name:version: what -Job of the launch commands takes.</summary>
    public string Job => $"{Entity}/{Project}/{Name}:{Version ?? "latest"}";

    /// <summary>The whole definition as JSON.</summary>
    public string? Definition => Json?.ToJsonString();

    internal JsonObject? Json { get; init; }

    internal string Id { get; init; } = "";

    /// <inheritdoc/>
    public override string ToString() => Job;
}
