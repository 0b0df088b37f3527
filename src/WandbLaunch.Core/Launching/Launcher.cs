using System.Text;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Resources;
using WandbLaunch.Sources;
using WandbLaunch.Wandb;

namespace WandbLaunch.Launching;

/// <summary>A launch that is ready to start: everything is on disk, nothing runs yet.</summary>
internal sealed record PreparedLaunch(
    string Folder,
    LaunchedRun Run,
    RunSpec Spec,
    IReadOnlyDictionary<string, string> Secrets,
    IReadOnlyList<string> Warnings
);

/// <summary>The one road from a launch config to a run.</summary>
internal sealed class Launcher(LaunchStore store, Func<CancellationToken, Task<WandbConnection?>> connection)
{
    private readonly LaunchContext _machine = store.Resources.Context;

    /// <summary>Told what is being done, with a percentage where one is known.</summary>
    internal IProgress<LaunchProgress> Progress { get; init; } = CallbackProgress.None;

    /// <summary>Told of a launch that is about to be prepared, by its folder: what it will run under can get ready meanwhile.</summary>
    internal Action<string, ILaunchResource>? Begun { get; init; }

    /// <summary>Says what a launch would do. Reads and fetches, but starts, builds and installs nothing.</summary>
    internal async Task<LaunchPlan> PlanAsync(
        LaunchConfig config,
        LaunchOptions options,
        string workingFolder,
        CancellationToken token
    )
    {
        var scratch = new List<string>();
        try
        {
            (config, var job) = await WithJobAsync(config, options, token);
            var resource = store.Resources.Of(config);
            Validate(config, options, resource);
            var resolved = await ResolveAsync(config, job, options, workingFolder, () => Scratch(scratch), token);
            var environment = RunEnvironment.Of(config, options, resolved, "<new id>", await connection(token));
            var plan = await resource.PlanAsync(new ResourceRequest(config, options, resolved, _machine.Cache), token);
            return new LaunchPlan
            {
                Source = SourceCatalog.Shown(config, workingFolder),
                Commit = resolved.Commit,
                Patched = resolved.Patched,
                Program = resolved.Program,
                Arguments = resolved.Arguments,
                Resource = resource.Info.Name,
                Image = plan.Image,
                Prepared = plan.Prepared,
                Manifest = plan.Manifest is { } manifest ? Secrets.Mask(manifest) : null,
                Note = plan.Note,
                PythonVersion = resolved.PythonVersion,
                Requirements = resolved.Requirements.Lines,
                Command = Secrets.Mask(CommandLine.Show(plan.Command)),
                Environment = environment
                    .Plain.Concat(environment.Secret.Select(s => KeyValuePair.Create(s.Key, Secrets.Masked)))
                    .OrderBy(e => e.Key, StringComparer.Ordinal)
                    .ToDictionary(e => e.Key, e => Secrets.Mask(e.Value)),
                Entity = environment.Entity,
                Project = resolved.Project,
            };
        }
        finally
        {
            scratch.ForEach(LaunchCache.DeleteFolder);
        }
    }

    /// <summary>Does everything up to the start: source, packages or image, folder of the run.</summary>
    /// <exception cref="LaunchException">Whatever is wrong; <c>StartLimit</c>: it takes too long.</exception>
    internal async Task<PreparedLaunch> PrepareAsync(
        LaunchConfig config,
        LaunchOptions options,
        string workingFolder,
        CancellationToken token
    )
    {
        if (config.Limits.Smallest(options.Limits).Start is not { } longest)
        {
            return await PrepareAsync(config, options, workingFolder, null, token);
        }

        var now = _machine.Time.GetUtcNow();
        var by = (options.Asked ?? now) + longest;
        using var late = new CancellationTokenSource(by > now ? by - now : TimeSpan.Zero, _machine.Time);
        using var either = CancellationTokenSource.CreateLinkedTokenSource(token, late.Token);
        try
        {
            return await PrepareAsync(config, options, workingFolder, by, either.Token);
        }
        catch (OperationCanceledException) when (!token.IsCancellationRequested)
        {
            throw new LaunchException(
                RunLimits.StartFault,
                LaunchErrorCategory.OperationTimeout,
                $"The run was not started: {RunLimits.StartIsOver(longest, "it was being prepared")}. Give it longer with -StartLimit.",
                config.Source
            );
        }
    }

    private async Task<PreparedLaunch> PrepareAsync(
        LaunchConfig config,
        LaunchOptions options,
        string workingFolder,
        DateTimeOffset? startBy,
        CancellationToken token
    )
    {
        var given = config;
        (config, var job) = await WithJobAsync(config, options, token);
        var resource = store.Resources.Of(config);
        Validate(config, options, resource);
        var runId = config.RunId ?? options.LaunchId ?? RunId.New();
        var id = options.LaunchId ?? runId;
        var folder = store.Create(id);
        try
        {
            Begun?.Invoke(folder, resource);
            var scratch = 0;
            var resolved = await ResolveAsync(
                config,
                job,
                options,
                workingFolder,
                () =>
                    FileModes.CreatePrivateFolder(Path.Combine(folder, "src" + (scratch++ == 0 ? "" : "-" + scratch))),
                token
            );
            CheckSecure(config, options, resolved);
            var warnings = resolved.Warnings.ToList();
            var environment = RunEnvironment.Of(config, options, resolved, runId, await connection(token));
            var context = new PrepareContext(config, options, resolved, _machine.Cache)
            {
                Id = id,
                Folder = folder,
                Environment = environment.Plain,
                LaunchConfigJson = new JsonObject
                {
                    ["overrides"] = new JsonObject { ["run_config"] = resolved.RunConfig.DeepClone() },
                }.ToJsonString(),
                Warnings = warnings,
                Progress = Progress,
                StartBy = startBy,
            };
            var spec = await resource.PrepareAsync(context, token);
            LaunchStore.SaveSpec(folder, spec);
            var logPath = Path.Combine(folder, "output.log");
            FileModes.WritePrivate(logPath, context.Log);
            var run = new LaunchedRun
            {
                Id = id,
                Agent = options.Agent,
                RunId = runId == id ? null : runId,
                Name = config.Name,
                Source = SourceCatalog.Shown(config, workingFolder),
                Config = SourceCatalog
                    .Again(store.Resources.WithoutSecrets(given), workingFolder, resolved.Commit)
                    .ToString(),
                Commit = resolved.Commit,
                Patched = resolved.Patched,
                Resource = spec.Resource,
                Image = spec.Image,
                Command = [.. spec.Command, .. spec.Arguments],
                Arguments = resolved.Arguments,
                Entity = environment.Entity,
                Project = resolved.Project,
                Uri =
                    environment.AppUrl is { } app && environment.Entity is { } entity
                        ? $"{app}/{entity}/{resolved.Project.ToLowerInvariant()}/runs/{runId}"
                        : null,
                State = LaunchState.Starting,
                LogPath = logPath,
            };
            LaunchStore.Save(folder, run);
            return new PreparedLaunch(folder, run, spec, environment.Secret, warnings);
        }
        catch (Exception e)
        {
            LaunchCache.DeleteFolder(folder);
            if (DiskFull.Explain(e, folder) is { } full)
            {
                throw full;
            }

            throw;
        }
    }

    /// <summary>Reads the job that is to be launched; one of an image becomes that image.</summary>
    private async Task<(LaunchConfig Config, (JobApi, WandbLaunchJob)? Job)> WithJobAsync(
        LaunchConfig config,
        LaunchOptions options,
        CancellationToken token
    )
    {
        config = store.Resources.Canonical(config);
        if (config.Job is not { } text)
        {
            return (config, null);
        }

        if (config.DockerImage is not null)
        {
            throw new LaunchException(
                "JobWithImage",
                LaunchErrorCategory.InvalidArgument,
                "A job says what it runs, so it cannot be given with a docker image. Leave out one of them.",
                text
            );
        }

        var server =
            await connection(token)
            ?? throw new LaunchException(
                "NotConnected",
                LaunchErrorCategory.AuthenticationError,
                "A job needs a server. Use Connect-Wandb first, or set WANDB_API_KEY.",
                text
            );
        var api = new JobApi(new ArtifactApi(server.Transport, server.Api));
        var job = await api.GetAsync(JobPath.Parse(text), token);
        if (job.SourceType == "image")
        {
            options.CheckImage?.Invoke(job.Source!);
            config = config with { DockerImage = job.Source };
            options.CheckConfig?.Invoke(config);
        }

        return (config, (api, job));
    }

    /// <summary>Says what is wrong with a config before anything is fetched.</summary>
    internal static void Check(ResourceCatalog resources, LaunchConfig config, LaunchOptions options) =>
        Validate(resources.Canonical(config), options, resources.Of(config));

    private static void Validate(LaunchConfig config, LaunchOptions options, ILaunchResource resource)
    {
        foreach (var name in options.Environment.Keys)
        {
            if (
                name.Length == 0
                || name.Contains('=', StringComparison.Ordinal)
                || name.Contains('\0', StringComparison.Ordinal)
            )
            {
                throw new LaunchException(
                    "EnvironmentNameInvalid",
                    LaunchErrorCategory.InvalidArgument,
                    $"'{name}' cannot be the name of an environment variable. Names have letters, digits and _, and no digit first.",
                    name
                );
            }
        }

        resource.Validate(config, options);
    }

    // What a run or a job brings is known only now.
    private static void CheckSecure(LaunchConfig config, LaunchOptions options, ResolvedRun resolved)
    {
        if (
            options.SecureMode
            && config.DockerImage is not null
            && resolved.EntryPoint.Concat(resolved.Arguments).Any()
        )
        {
            throw new LaunchException(
                AgentPolicy.Refusal,
                LaunchErrorCategory.PermissionDenied,
                "The agent's policy refuses this: in secure mode a docker image gets no entry point and no arguments, also not those of the run that is reproduced. Its admin can change that with -SecureMode.",
                config.DockerImage
            );
        }
    }

    private static string Scratch(List<string> made)
    {
        made.Add(Directory.CreateTempSubdirectory("wandblaunch-").FullName);
        return made[^1];
    }

    private Task<ResolvedRun> ResolveAsync(
        LaunchConfig config,
        (JobApi, WandbLaunchJob)? job,
        LaunchOptions options,
        string workingFolder,
        Func<string> scratch,
        CancellationToken token
    ) =>
        SourceCatalog.ResolveAsync(
            config,
            new ResolveContext(
                workingFolder,
                _machine.Cache,
                async t =>
                    await connection(t)
                    ?? throw new LaunchException(
                        "NotConnected",
                        LaunchErrorCategory.AuthenticationError,
                        "A W&B run needs a server. Use Connect-Wandb first, or set WANDB_API_KEY.",
                        config.Uri
                    )
            )
            {
                DataFolder = _machine.DataFolder,
                GitCredential = options.GitCredential,
                CheckRemote = options.CheckRemote,
                Job = job,
                NoInstall = options.NoInstall,
                Progress = Progress,
                ScratchFolder = scratch,
            },
            token
        );

    /// <summary>The last lines of a log, masked.</summary>
    internal static string LastLines(string path, int count)
    {
        if (!File.Exists(path))
        {
            return "";
        }

        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        stream.Seek(Math.Max(0, stream.Length - 8192), SeekOrigin.Begin);
        FileModes.SkipRestOfCharacter(stream);
        using var reader = new StreamReader(stream, Encoding.UTF8);
        return Secrets.Mask(
            string.Join('\n', reader.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries).TakeLast(count))
        );
    }
}
