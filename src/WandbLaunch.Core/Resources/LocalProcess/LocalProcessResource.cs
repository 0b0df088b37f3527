using System.Collections.Concurrent;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Python;
using WandbLaunch.Sources;

namespace WandbLaunch.Resources;

/// <summary>Runs a program as a process of this machine, in a virtual environment of its own.</summary>
internal sealed class LocalProcessResource(SupervisorPlace place) : ILaunchResource
{
    // The process's own part of a spec: what the program started may outlive it.
    private const string KeepChildren = "KeepChildren";

    // Those that this process started: of others only a sign of life is known.
    private readonly ConcurrentDictionary<string, RunningProcess> _running = new(StringComparer.Ordinal);

    public ResourceInfo Info { get; } =
        new()
        {
            Name = "local-process",
            Aliases = ["bare"],
            Tip = "a process of this machine",
            Risk = "a process would run this code as the agent's own user",
        };

    public void Validate(LaunchConfig config, LaunchOptions options)
    {
        if (config.DockerImage is not null)
        {
            throw new LaunchException(
                "ImageWithProcess",
                LaunchErrorCategory.InvalidArgument,
                "A docker image cannot run as a local process. Leave out -DockerImage, or choose a -Resource that runs images.",
                config.DockerImage
            );
        }
    }

    public (LaunchConfig Config, LaunchOptions Options) ApplyPolicy(
        LaunchConfig config,
        LaunchOptions options,
        AgentPolicy policy,
        ItemContext item
    ) =>
        config.IsScheduler && config.EntryPoint is not ["wandb", "scheduler", _, ..]
            // It brings no code that a git host could be asked about, so its command would be anybody's (protocol F.7).
            ? throw AgentPolicy.Refused(
                "a scheduler that runs as a process must have the entry point 'wandb scheduler' with its sweep",
                null
            )
            : (config, options with { Gpus = item.Gpus });

    public async Task<ResourcePlan> PlanAsync(ResourceRequest request, CancellationToken token)
    {
        var python = "python";
        var prepared = true;
        var resolved = request.Resolved;
        if (EntryCommand.NeedsPython(resolved, request.Options))
        {
            (python, _) = await PythonFinder.FindAsync(resolved.PythonVersion, token);
            if (!request.Options.NoInstall)
            {
                var venv = VirtualEnvironment.FolderFor(request.Cache, python, resolved.Requirements);
                prepared = File.Exists(Path.Combine(venv, "wandblaunch-ready"));
                python = VirtualEnvironment.PythonIn(venv);
            }
        }

        return new ResourcePlan(
            [.. EntryCommand.Of(resolved, python, place.Environment), .. resolved.Arguments],
            null,
            prepared
        );
    }

    public async Task<RunSpec> PrepareAsync(PrepareContext context, CancellationToken token)
    {
        var (options, resolved, environment) = (context.Options, context.Resolved, context.Environment);
        var code = Path.Combine(context.Folder, "src");
        if (resolved.Workspace is { } workspace && !SafePath.IsInside(context.Folder, workspace))
        {
            Workspace.CopyPlain(workspace, FileModes.CreatePrivateFolder(code), token);
        }
        else
        {
            code = resolved.Workspace ?? FileModes.CreatePrivateFolder(code);
        }

        var python = "python";
        var needsPython = EntryCommand.NeedsPython(resolved, options);
        if (needsPython)
        {
            context.Progress.Report(
                resolved.PythonVersion is { } version ? $"looking for Python {version}" : "looking for Python"
            );
            (python, var mismatch) = await PythonFinder.FindAsync(resolved.PythonVersion, token);
            if (mismatch is not null)
            {
                context.Warnings.Add(mismatch);
            }
        }

        if (needsPython && !options.NoInstall)
        {
            (python, var failed) = await VirtualEnvironment.EnsureAsync(
                context.Cache,
                python,
                resolved.Requirements,
                options.Pip,
                context.Progress,
                token
            );
            if (failed is not null)
            {
                context.Warnings.Add(failed);
            }

            var scripts = Path.GetDirectoryName(python)!;
            if (File.Exists(Path.Combine(scripts, "..", "pyvenv.cfg")))
            {
                environment["VIRTUAL_ENV"] = Path.GetDirectoryName(scripts)!;
            }

            environment["PATH"] = scripts + Path.PathSeparator + place.Environment["PATH"];
        }

        var configPath = Path.Combine(context.Folder, "launch-config.json");
        FileModes.WritePrivate(configPath, context.LaunchConfigJson);
        environment["WANDB_LAUNCH_CONFIG_PATH"] = configPath;
        environment["PYTHONUNBUFFERED"] = "1";
        if (options.Gpus is { } own)
        {
            environment["CUDA_VISIBLE_DEVICES"] = string.Join(',', own);
        }

        return context.NewSpec(EntryCommand.Of(resolved, python, place.Environment), code) with
        {
            Resource = Info.Name,
            Data = new JsonObject { [KeepChildren] = options.KeepChildren },
        };
    }

    public Task<RunHandle> StartAsync(
        RunSpec spec,
        IReadOnlyDictionary<string, string> secrets,
        CancellationToken token
    )
    {
        token.ThrowIfCancellationRequested();
        var running = _running.GetOrAdd(
            spec.Id,
            _ => RunningProcess.Start(spec, (bool?)spec.Data?[KeepChildren] == true, secrets, place)
        );
        return Task.FromResult(
            new RunHandle(RunHandle.Process, running.Id.ToString(CultureInfo.InvariantCulture), running.Cgroup)
        );
    }

    public Task<RunHandle?> FindAsync(RunSpec spec, CancellationToken token) => Task.FromResult<RunHandle?>(null);

    public Task<IReadOnlyDictionary<string, RunStanding>> LookAsync(
        IReadOnlyCollection<LaunchedRun> runs,
        CancellationToken token
    ) =>
        Task.FromResult<IReadOnlyDictionary<string, RunStanding>>(
            runs.ToDictionary(
                r => r.Id,
                r =>
                    r.ProcessId is { } process && ProcessTree.IsAlive(process, r.Started, r.Id, r.Handle!.Place)
                        ? RunStanding.Runs
                        : RunStanding.Ended(
                            new RunOutcome(
                                null,
                                "the process that watched this run was ended, so its exit code is not known"
                            )
                        )
            )
        );

    public async IAsyncEnumerable<RunChange> WatchAsync(
        WatchedRuns runs,
        [EnumeratorCancellation] CancellationToken token
    )
    {
        var told = new HashSet<string>(StringComparer.Ordinal);
        while (true)
        {
            var changed = runs.Changed;
            var mine = runs
                .All.Where(r => !told.Contains(r.Id) && _running.ContainsKey(r.Id))
                .Select(r => (r.Id, Running: _running[r.Id]))
                .ToList();
            await Task.WhenAny([changed, .. mine.Select(m => m.Running.Ended)]).WaitAsync(token);
            foreach (var (id, running) in mine.Where(m => m.Running.Ended.IsCompleted))
            {
                told.Add(id);
                _running.TryRemove(id, out _);
                RunOutcome outcome;
                try
                {
                    outcome = await running.Ended;
                }
                catch (Exception e) when (e is not OutOfMemoryException)
                {
                    outcome = new RunOutcome(null, Secrets.Mask(e.Message));
                }

                running.Dispose();
                yield return new RunChange(id, RunStanding.Ended(outcome));
            }
        }
    }

    public Task ReadLogAsync(LaunchedRun run, string? from, bool follow, IRunLogSink to, CancellationToken token) =>
        follow && _running.TryGetValue(run.Id, out var running) ? running.ReadAsync(to, token) : Task.CompletedTask;

    public Task StopAsync(LaunchedRun run, TimeSpan grace, CancellationToken token)
    {
        if (_running.TryGetValue(run.Id, out var running))
        {
            return running.StopAsync(grace);
        }

        // Its supervisor is gone: end what is left of it.
        ProcessTree.KillOrphans(run.Id, run.Handle?.Place);
        return Task.CompletedTask;
    }
}
