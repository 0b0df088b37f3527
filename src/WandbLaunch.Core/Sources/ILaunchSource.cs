using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.Sources;

/// <summary>
/// Something that can be launched, named by a launch config. Each kind has a TryParse that is listed in
/// <see cref="SourceCatalog"/>; nobody else asks which kind it is.
/// </summary>
internal interface ILaunchSource
{
    /// <summary>How a launch of it is listed: a folder by its full path, for who reads it later is somewhere else.</summary>
    string Shown { get; }

    /// <summary>Target project that it suggests; null where it suggests none (protocol D.1).</summary>
    string? Project { get; }

    /// <summary>It says more than which code runs, so it counts beside an image that is given; code alone gives way (protocol D.2, first row).</summary>
    bool CountsBesideImage => false;

    /// <summary>Throws where an agent's policy does not allow it. Nothing is fetched.</summary>
    void CheckPolicy(SourcePolicy policy);

    /// <summary>The config as an agent on any machine can run it.</summary>
    /// <exception cref="LaunchException"><c>FolderCannotBeQueued</c>.</exception>
    LaunchConfig ForQueue(LaunchConfig config, string appUrl) => config;

    /// <summary>The config that launches the same once more, from any folder: with the commit that was taken, where one was.</summary>
    LaunchConfig Again(LaunchConfig config, string? commit) => config;

    /// <summary>What exactly runs, with its code on disk.</summary>
    Task<ResolvedRun> ResolveAsync(LaunchConfig config, ResolveContext context, CancellationToken token);

    /// <summary>The parts of a job of it.</summary>
    /// <exception cref="LaunchException"><c>InputNotSupported</c>, <c>JobNotPossible</c>.</exception>
    Task<JobSource> ToJobAsync(JobRequest request, ResolveContext context, CancellationToken token) =>
        throw new LaunchException(
            "InputNotSupported",
            LaunchErrorCategory.InvalidArgument,
            $"No job can be made of {Shown}.",
            Shown
        );
}

/// <summary>A config, and what its address names.</summary>
/// <param name="Config">The config.</param>
/// <param name="Address">Null where it has none.</param>
internal readonly record struct SourceRequest(LaunchConfig Config, LaunchUri? Address);

/// <summary>What a resolve may use, and whom it tells.</summary>
internal sealed record ResolveContext(
    string WorkingFolder,
    LaunchCache Cache,
    Func<CancellationToken, Task<WandbConnection>> Connect
)
{
    /// <summary>The module's data folder, which no copy of a folder holds.</summary>
    internal required string DataFolder { get; init; }

    internal GitCredential? GitCredential { get; init; }

    /// <summary>How long a git host may be silent.</summary>
    internal TimeSpan GitSilence { get; init; } = GitMirror.DefaultSilence;

    /// <summary>Throws for a git address that may not be used.</summary>
    internal Action<string>? CheckRemote { get; init; }

    /// <summary>The job that is launched, read already.</summary>
    internal (JobApi Api, WandbLaunchJob Job)? Job { get; init; }

    internal bool NoInstall { get; init; }
    internal IProgress<LaunchProgress> Progress { get; init; } = CallbackProgress.None;
    internal Action<string> Warn { get; init; } = _ => { };
    internal required Func<string> ScratchFolder { get; init; }

    internal GitMirror Mirror(string remote) => new(Cache, remote, GitCredential, Progress, CheckRemote, GitSilence);
}

/// <summary>What the maker of a job chose.</summary>
internal sealed record JobRequest
{
    internal string? Uri { get; init; }
    internal string? DockerImage { get; init; }
    internal string? Name { get; init; }
    internal string? Description { get; init; }
    internal IReadOnlyList<string> Aliases { get; init; } = [];
    internal IReadOnlyList<string>? EntryPoint { get; init; }
    internal string? GitVersion { get; init; }
    internal string? PythonVersion { get; init; }

    internal GitCredential? GitCredential { get; init; }
}
