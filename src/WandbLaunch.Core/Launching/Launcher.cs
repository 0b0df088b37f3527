using System.Text;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Python;
using WandbLaunch.Resources;
using WandbLaunch.Sources;
using WandbLaunch.Wandb;

namespace WandbLaunch.Launching;

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
    internal int StopGraceSeconds { get; init; } = 10;

    /// <summary>What a program started may outlive it.</summary>
    internal bool KeepChildren { get; init; }

    /// <summary>Most bytes of the log; null: no limit.</summary>
    internal long? MaxLogSize { get; init; }

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

    internal IReadOnlyList<string> ExtraDockerArguments { get; init; } = [];

    /// <summary>The GPUs that are this run's own; null: no choice.</summary>
    internal IReadOnlyList<string>? Gpus { get; init; }
}

/// <summary>A launch that is ready to start: everything is on disk, nothing runs yet.</summary>
internal sealed record PreparedLaunch(
    string Folder,
    LaunchedRun Run,
    RunSpec Spec,
    IReadOnlyDictionary<string, string> Secrets,
    IReadOnlyList<string> Warnings
);

/// <summary>The one road from a launch config to a run.</summary>
internal sealed partial class Launcher(
    LaunchCache cache,
    LaunchStore store,
    Func<CancellationToken, Task<WandbConnection?>> connection
)
{
    // One Linux environment string holds 128 KiB; Windows 32,767 characters. The SDK's own limit is below both (protocol E.4).
    private const int VariableLimit = 32670;

    /// <summary>Told what is being done, with a percentage where one is known.</summary>
    internal Action<string, int?> Progress { get; init; } = (_, _) => { };

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
            var resource = ResourceName.Of(config);
            Validate(config, options, resource);
            var resolved = await ResolveAsync(config, job, options, workingFolder, () => Scratch(scratch), token);
            var environment = await EnvironmentAsync(config, options, resolved, "<new id>", token);
            string? image = null;
            bool prepared;
            IReadOnlyList<string> command;
            if (resource == "local-process")
            {
                var python = "python";
                prepared = true;
                if (NeedsPython(resolved, options))
                {
                    (python, _) = await VirtualEnvironment.FindPythonAsync(resolved.PythonVersion, token);
                    if (!options.NoInstall)
                    {
                        var venv = VirtualEnvironment.FolderFor(cache, python, resolved.Requirements);
                        prepared = File.Exists(Path.Combine(venv, "wandblaunch-ready"));
                        python = VirtualEnvironment.PythonIn(venv);
                    }
                }

                command = ProcessCommand(resolved, python);
            }
            else
            {
                var request = config.DockerImage is null ? ImageRequest(config, resolved, options) : null;
                image = config.DockerImage ?? request!.Tag;
                command = [.. resolved.EntryPoint, .. resolved.Arguments];
                prepared = await IsImageThereAsync(image, options, token);
            }

            return new LaunchPlan
            {
                Source = SourceCatalog.Shown(config, workingFolder),
                Commit = resolved.Commit,
                Patched = resolved.Patched,
                Program = resolved.Program,
                Arguments = resolved.Arguments,
                Resource = resource,
                Image = image,
                Prepared = prepared,
                PythonVersion = resolved.PythonVersion,
                Requirements = resolved.Requirements.Lines,
                Command = Secrets.Mask(CommandLine.Show(command)),
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
    internal async Task<PreparedLaunch> PrepareAsync(
        LaunchConfig config,
        LaunchOptions options,
        string workingFolder,
        CancellationToken token
    )
    {
        (config, var job) = await WithJobAsync(config, options, token);
        var resource = ResourceName.Of(config);
        Validate(config, options, resource);
        var runId = config.RunId ?? options.LaunchId ?? RunPath.NewId();
        var id = options.LaunchId ?? runId;
        var folder = store.Create(id);
        try
        {
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
            var warnings = resolved.Warnings.ToList();
            var environment = await EnvironmentAsync(config, options, resolved, runId, token);
            var launchConfig = new JsonObject
            {
                ["overrides"] = new JsonObject { ["run_config"] = resolved.RunConfig.DeepClone() },
            }.ToJsonString();
            var spec =
                resource == "local-process"
                    ? await ProcessSpecAsync(
                        id,
                        folder,
                        options,
                        resolved,
                        environment.Plain,
                        launchConfig,
                        warnings,
                        token
                    )
                    : await ContainerSpecAsync(
                        id,
                        config,
                        options,
                        resolved,
                        environment.Plain,
                        launchConfig,
                        warnings,
                        token
                    );
            LaunchStore.SaveSpec(folder, spec);
            var logPath = Path.Combine(folder, "output.log");
            FileModes.WritePrivate(logPath, "");
            var run = new LaunchedRun
            {
                Id = id,
                Agent = options.Agent,
                RunId = runId == id ? null : runId,
                Name = config.Name,
                Source = SourceCatalog.Shown(config, workingFolder),
                Commit = resolved.Commit,
                Patched = resolved.Patched,
                Resource = resource,
                Image = spec.Image,
                Command = resource == "local-process" ? spec.Command : [.. spec.Command, .. spec.Arguments],
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
        config = ResourceNames.Canonical(config);
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
    internal static void Check(LaunchConfig config, LaunchOptions options) =>
        Validate(ResourceNames.Canonical(config), options, ResourceName.Of(config));

    private static void Validate(LaunchConfig config, LaunchOptions options, string resource)
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

        if (resource == "local-process" && config.DockerImage is not null)
        {
            throw new LaunchException(
                "ImageWithProcess",
                LaunchErrorCategory.InvalidArgument,
                "A docker image cannot run as a local process. Leave out -DockerImage, or use -Resource local-container.",
                config.DockerImage
            );
        }

        if (config.DockerImage is not null)
        {
            ImageBuilder.CheckImageName(config.DockerImage);
        }

        if (resource == "local-container")
        {
            DockerArguments.Check(AllDockerArguments(config), Allowed(options));
        }
    }

    // resource_args.local-container is today's place, docker.args that of 2022; the more specific wins.
    private static JsonObject? AllDockerArguments(LaunchConfig config)
    {
        var all = config.DockerArgs is null ? [] : (JsonObject)config.DockerArgs.DeepClone();
        foreach (var (key, value) in config.ResourceArgs?[ResourceName.Container] as JsonObject ?? [])
        {
            all[key] = value?.DeepClone();
        }

        return all.Count > 0 ? all : null;
    }

    // Whoever launches by hand may lift the limits of a container of their own; an item only where the agent's admin says so.
    private static IReadOnlyList<string> Allowed(LaunchOptions options) =>
        options.Agent is null
            ? [.. options.ExtraDockerArguments, .. DockerArguments.Limits]
            : options.ExtraDockerArguments;

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
                cache,
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
                GitCredential = options.GitCredential,
                CheckRemote = options.CheckRemote,
                Job = job,
                NoInstall = options.NoInstall,
                Progress = text => Progress(text, null),
                ScratchFolder = scratch,
            },
            token
        );

    private async Task<RunSpec> ProcessSpecAsync(
        string id,
        string folder,
        LaunchOptions options,
        ResolvedRun resolved,
        Dictionary<string, string> environment,
        string launchConfig,
        List<string> warnings,
        CancellationToken token
    )
    {
        var code = Path.Combine(folder, "src");
        if (resolved.Workspace is { } workspace && !SafePath.IsInside(folder, workspace))
        {
            Workspace.CopyPlain(workspace, FileModes.CreatePrivateFolder(code), token);
        }
        else
        {
            code = resolved.Workspace ?? FileModes.CreatePrivateFolder(code);
        }

        var python = "python";
        var needsPython = NeedsPython(resolved, options);
        if (needsPython)
        {
            (python, var mismatch) = await VirtualEnvironment.FindPythonAsync(resolved.PythonVersion, token);
            if (mismatch is not null)
            {
                warnings.Add(mismatch);
            }
        }

        if (needsPython && !options.NoInstall)
        {
            (python, var failed) = await VirtualEnvironment.EnsureAsync(
                cache,
                python,
                resolved.Requirements,
                options.Pip,
                text => Progress(text, null),
                token
            );
            if (failed is not null)
            {
                warnings.Add(failed);
            }

            var scripts = Path.GetDirectoryName(python)!;
            if (File.Exists(Path.Combine(scripts, "..", "pyvenv.cfg")))
            {
                environment["VIRTUAL_ENV"] = Path.GetDirectoryName(scripts)!;
            }

            environment["PATH"] = scripts + Path.PathSeparator + Environment.GetEnvironmentVariable("PATH");
        }

        var configPath = Path.Combine(folder, "launch-config.json");
        FileModes.WritePrivate(configPath, launchConfig);
        environment["WANDB_LAUNCH_CONFIG_PATH"] = configPath;
        environment["PYTHONUNBUFFERED"] = "1";
        if (options.Gpus is { } own)
        {
            environment["CUDA_VISIBLE_DEVICES"] = string.Join(',', own);
        }

        return new RunSpec
        {
            Id = id,
            Resource = "local-process",
            Command = ProcessCommand(resolved, python),
            Arguments = resolved.Arguments,
            WorkingFolder = code,
            Environment = environment,
            StopGraceSeconds = options.StopGraceSeconds,
            KeepChildren = options.KeepChildren,
            MaxLogSize = options.MaxLogSize,
        };
    }

    // A shell script, a binary, any other program runs on a machine without Python, unless packages are to be installed for it.
    private static bool NeedsPython(ResolvedRun resolved, LaunchOptions options) =>
        (!options.NoInstall && !resolved.Requirements.IsEmpty)
        || (
            resolved.EntryPoint.Count > 0
            && (
                PythonName().IsMatch(resolved.EntryPoint[0])
                || resolved.EntryPoint[0].EndsWith(".py", StringComparison.Ordinal)
            )
        );

    // "python" is the environment's own; a shell is the user's (protocol D.2, step 10).
    private static IReadOnlyList<string> ProcessCommand(ResolvedRun resolved, string python)
    {
        var entry = resolved.EntryPoint.ToList();
        if (entry.Count > 0 && PythonName().IsMatch(entry[0]))
        {
            entry[0] = python;
        }
        else if (entry.Count > 0 && entry[0].EndsWith(".py", StringComparison.Ordinal))
        {
            entry.Insert(0, python);
        }
        else if (entry.Count > 0 && entry[0].EndsWith(".sh", StringComparison.Ordinal))
        {
            entry.Insert(0, "bash");
        }

        if (entry.Count > 0 && entry[0] == "bash")
        {
            entry[0] =
                Environment.GetEnvironmentVariable("SHELL") is { Length: > 0 } shell && File.Exists(shell)
                    ? shell
                    : "bash";
        }

        return [.. entry, .. resolved.Arguments];
    }

    // Jobs say python3.11, where the version is the environment's already.
    [System.Text.RegularExpressions.GeneratedRegex(@"^python(3(\.\d+)?)?$")]
    private static partial System.Text.RegularExpressions.Regex PythonName();

    private async Task<RunSpec> ContainerSpecAsync(
        string id,
        LaunchConfig config,
        LaunchOptions options,
        ResolvedRun resolved,
        Dictionary<string, string> environment,
        string launchConfig,
        List<string> warnings,
        CancellationToken token
    )
    {
        if (
            options.SecureMode
            && config.DockerImage is not null
            && resolved.EntryPoint.Concat(resolved.Arguments).Any()
        )
        {
            throw new LaunchException(
                "PolicyRefused",
                LaunchErrorCategory.PermissionDenied,
                "The agent's policy refuses this: in secure mode a docker image gets no entry point and no arguments, also not those of the run that is reproduced. Its admin can change that with -SecureMode.",
                config.DockerImage
            );
        }

        var (client, endpoint) = await DockerEngine.ConnectAsync(options.DockerHost, token);
        using (client)
        {
            var builder = new ImageBuilder(client, Progress);
            string image;
            if (config.DockerImage is { } given)
            {
                await builder.EnsurePulledAsync(given, token);
                image = given;
                environment["WANDB_DOCKER"] = given;
                if (!options.KeepRunId)
                {
                    // Such a run gets an id of its own (protocol E.4 and K 8).
                    environment.Remove("WANDB_RUN_ID");
                }
            }
            else
            {
                (image, var failed) = await builder.EnsureAsync(
                    ImageRequest(config, resolved, options),
                    options.Pip,
                    token
                );
                if (failed is not null)
                {
                    warnings.Add(failed);
                }
            }

            environment["WANDB_LAUNCH_CONFIG_PATH"] = "/tmp/wandb-launch/launch-config.json";
            var entry = resolved.EntryPoint.ToList();
            if (entry.Count > 0 && config.DockerImage is null && entry[0].EndsWith(".py", StringComparison.Ordinal))
            {
                entry.Insert(0, "python");
            }
            else if (
                entry.Count > 0
                && config.DockerImage is null
                && entry[0].EndsWith(".sh", StringComparison.Ordinal)
            )
            {
                entry.Insert(0, "bash");
            }

            return new RunSpec
            {
                Id = id,
                Resource = "local-container",
                Command = entry,
                Arguments = resolved.Arguments,
                WorkingFolder = ImageBuilder.Home,
                Environment = environment,
                Image = image,
                UserImage = config.DockerImage is not null,
                Workspace = config.DockerImage is null ? resolved.Workspace : null,
                DockerArgs = AllDockerArguments(config),
                ExtraDockerArguments = Allowed(options),
                Volumes = options.Volumes,
                Gpu = resolved.Gpu,
                Gpus = options.Gpus,
                UserId = config.DockerImage is null ? config.UserId ?? 1000 : config.UserId,
                DockerEndpoint = endpoint.Address,
                BaseUrl = environment.GetValueOrDefault("WANDB_BASE_URL"),
                LaunchConfigJson = launchConfig,
                StopGraceSeconds = options.StopGraceSeconds,
                MaxLogSize = options.MaxLogSize,
            };
        }
    }

    private static ImageBuilder.Request ImageRequest(
        LaunchConfig config,
        ResolvedRun resolved,
        LaunchOptions options
    ) =>
        ImageBuilder.Plan(
            config.BaseImage,
            resolved.PythonVersion,
            resolved.Gpu,
            resolved.CudaVersion,
            config.UserId ?? 1000,
            options.NoInstall ? RequirementSet.None : resolved.Requirements,
            config.SystemPackages ?? []
        );

    private static async Task<bool> IsImageThereAsync(string image, LaunchOptions options, CancellationToken token)
    {
        try
        {
            var (client, _) = await DockerEngine.ConnectAsync(options.DockerHost, token);
            using (client)
            {
                return await new ImageBuilder(client, (_, _) => { }).ExistsAsync(image, token);
            }
        }
        catch (LaunchException e) when (e.ErrorId == "DockerUnavailable")
        {
            return false;
        }
    }

    private sealed record RunEnvironment(
        Dictionary<string, string> Plain,
        Dictionary<string, string> Secret,
        string? Entity,
        string? AppUrl
    );

    // Protocol E.4.
    private async Task<RunEnvironment> EnvironmentAsync(
        LaunchConfig config,
        LaunchOptions options,
        ResolvedRun resolved,
        string id,
        CancellationToken token
    )
    {
        var server = await connection(token);
        var entity = config.Entity ?? server?.Entity;
        var plain = new Dictionary<string, string>
        {
            ["WANDB_LAUNCH"] = "True",
            ["WANDB_RUN_ID"] = id,
            ["WANDB_PROJECT"] = resolved.Project.ToLowerInvariant(),
        };
        var secret = new Dictionary<string, string>();
        Set("WANDB_ENTITY", entity);
        Set("WANDB_BASE_URL", server?.BaseUrl);
        Set("WANDB_NAME", config.Name);
        if ((options.ApiKey ?? server?.ApiKey) is { } key)
        {
            secret["WANDB_API_KEY"] = key;
        }

        Chunk("WANDB_CONFIG", resolved.RunConfig.ToJsonString());
        var artifacts = config.Artifacts is null ? [] : (JsonObject)config.Artifacts.DeepClone();
        if (config.Job is not null)
        {
            artifacts["_wandb_job"] = config.Job;
        }

        Chunk("WANDB_ARTIFACTS", artifacts.ToJsonString());
        foreach (var (name, value) in options.Environment)
        {
            plain.Remove(name);
            secret.Remove(name);
            if (Secrets.IsSecretName(name))
            {
                secret[name] = Secrets.Register(value);
            }
            else
            {
                plain[name] = value;
            }
        }

        return new RunEnvironment(plain, secret, entity, server?.AppUrl);

        void Set(string name, string? value)
        {
            if (!string.IsNullOrEmpty(value))
            {
                plain[name] = value;
            }
        }

        void Chunk(string name, string json)
        {
            if (json.Length <= VariableLimit)
            {
                plain[name] = json;
                return;
            }

            for (var (at, part) = (0, 0); at < json.Length; at += VariableLimit, part++)
            {
                plain[$"{name}_{part}"] = json.Substring(at, Math.Min(VariableLimit, json.Length - at));
            }
        }
    }

    /// <summary>Starts a prepared launch and waits for its end.</summary>
    internal static Task<LaunchedRun> RunAsync(
        PreparedLaunch launch,
        Action<ReadOnlyMemory<byte>>? output,
        Action<LaunchedRun>? changed,
        CancellationToken token
    ) => Supervisor.RunAsync(launch.Folder, launch.Spec, launch.Secrets, output, changed, false, token);

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
