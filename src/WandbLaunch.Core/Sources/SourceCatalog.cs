using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Sources;

/// <summary>The kinds of sources, and which of them a launch config means (protocol D.1).</summary>
internal static class SourceCatalog
{
    // Of a config that names several, the first one is what it is about; the image comes last, for it may only be where
    // another one runs.
    private static readonly Func<SourceRequest, ILaunchSource?>[] Kinds =
    [
        SchedulerSource.TryParse,
        JobVersionSource.TryParse,
        WandbRunSource.TryParse,
        OfflineRunSource.TryParse,
        GitSource.TryParse,
        FolderSource.TryParse,
        ImageSource.TryParse,
    ];

    /// <summary>Everything that a config names.</summary>
    internal static IReadOnlyList<ILaunchSource> Named(
        LaunchConfig config,
        string workingFolder,
        Func<string, LaunchUri>? parse = null
    )
    {
        var request = new SourceRequest(
            config,
            config.Uri is not { } text || config.IsScheduler ? null
                : parse is null ? LaunchUri.Parse(text, workingFolder)
                : parse(text)
        );
        return [.. Kinds.Select(k => k(request)).OfType<ILaunchSource>()];
    }

    /// <summary>The one that runs; null where nothing is named.</summary>
    internal static ILaunchSource? Find(LaunchConfig config, string workingFolder) =>
        Named(config, workingFolder).FirstOrDefault(s => config.DockerImage is null || s.CountsBesideImage);

    /// <summary>What a launch of this config is listed as.</summary>
    internal static string Shown(LaunchConfig config, string workingFolder) =>
        Secrets.Mask(Named(config, workingFolder)[0].Shown);

    /// <summary>The config that launches the same once more, as a run of its own.</summary>
    internal static LaunchConfig Again(LaunchConfig config, string workingFolder, string? commit) =>
        (Find(config, workingFolder)?.Again(config, commit) ?? config) with
        {
            RunId = null,
            ApiKey = null,
            ResumeCount = null,
            SweepId = null,
        };

    /// <summary>Checks everything that an item names, before anything is fetched.</summary>
    internal static void CheckPolicy(LaunchConfig config, SourcePolicy policy)
    {
        foreach (var source in Named(config, Path.GetTempPath()))
        {
            source.CheckPolicy(policy);
        }

        if (config.GitRepo is { } repository)
        {
            policy.CheckRemote(repository);
        }
    }

    /// <summary>From a launch config to what exactly runs, with its code on disk (protocol D).</summary>
    internal static async Task<ResolvedRun> ResolveAsync(
        LaunchConfig config,
        ResolveContext context,
        CancellationToken token
    )
    {
        var source =
            Find(config, context.WorkingFolder)
            ?? throw new LaunchException(
                "SourceMissing",
                LaunchErrorCategory.InvalidArgument,
                "There is nothing to launch: give a run URL, a git URL, a folder, or a docker image (-DockerImage).",
                config
            );
        var resolved = await source.ResolveAsync(config, context, token);
        return resolved with
        {
            RunConfig = RunConfig(config),
            Project = config.Project ?? resolved.Project,
            Entity = config.Entity,
            PythonVersion = config.PythonVersion ?? resolved.PythonVersion,
            CudaVersion = config.CudaVersion ?? resolved.CudaVersion,
            // Null follows the run, false forces the CPU (protocol C.1, cuda).
            Gpu = config.Cuda ?? resolved.Gpu,
        };
    }

    // A name that is given as an argument wins over the same name in run_config (protocol C.2).
    private static JsonObject RunConfig(LaunchConfig config)
    {
        var map = config.RunConfig is null ? [] : (JsonObject)config.RunConfig.DeepClone();
        foreach (var name in config.Args?.TruthyNames() ?? [])
        {
            map.Remove(name);
        }

        return map;
    }
}
