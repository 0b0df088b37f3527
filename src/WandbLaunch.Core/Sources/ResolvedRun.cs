using System.Text.Json.Nodes;
using WandbLaunch.Python;

namespace WandbLaunch.Sources;

/// <summary>What exactly runs: the answer to a launch config, with its code on disk.</summary>
internal sealed record ResolvedRun
{
    /// <summary>The project of what names none.</summary>
    internal const string NoProject = "uncategorized";

    internal string? Remote { get; init; }
    internal string? Commit { get; init; }
    internal bool Patched { get; init; }

    /// <summary>Folder with the code as it was; launches copy it and never write into it. Null for an image alone.</summary>
    internal string? Workspace { get; init; }

    internal IReadOnlyList<string> EntryPoint { get; init; } = [];
    internal IReadOnlyList<string> Arguments { get; init; } = [];
    internal string? PythonVersion { get; init; }
    internal string? CudaVersion { get; init; }
    internal bool Gpu { get; init; }
    internal RequirementSet Requirements { get; init; } = RequirementSet.None;
    internal JsonObject RunConfig { get; init; } = [];
    internal string? Entity { get; init; }
    internal string Project { get; init; } = NoProject;
    internal IReadOnlyList<string> Warnings { get; init; } = [];

    /// <summary>Python program of the entry point, relative to the workspace; null for other commands.</summary>
    internal string? Program => Sources.EntryPoint.ProgramOf(EntryPoint);
}
