using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using System.Threading.Channels;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Resources;

/// <summary>Runs a program as a job of a Slurm cluster, through its commands: on a login node, or by ssh.</summary>
internal sealed partial class SlurmResource : ILaunchResource
{
    /// <summary>What a handle's id names.</summary>
    internal const string HandleKind = "slurm-job";

    private const string HostSetting = "slurm_host";
    private const string FolderSetting = "slurm_folder";

    private static readonly TimeSpan StopPause = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan KillPatience = TimeSpan.FromSeconds(20);

    private readonly LaunchContext _context;
    private readonly SlurmSites _sites;
    private readonly SlurmSubmission _submission;
    private readonly SlurmCodes _codes = new();
    private readonly SlurmLog _log;
    private readonly ConcurrentDictionary<string, SlurmLook> _looks = new(StringComparer.Ordinal);

    // Runs that this process knows to be over: whoever follows their output need not wait for more.
    private readonly ConcurrentDictionary<string, byte> _over = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<WatchedRuns, byte> _watched = new();

    internal SlurmResource(LaunchContext context)
    {
        _context = context;
        _sites = new SlurmSites(context);
        _submission = new SlurmSubmission(_sites);
        _log = new SlurmLog(_sites, _over);
    }

    public ResourceInfo Info { get; } =
        new()
        {
            Name = "slurm",
            Tip = "a job of a Slurm cluster",
            PolicyKey = "slurm_args",
            Settings = [HostSetting, FolderSetting],
            EngineRemembers = true,
            Queues = true,
            Risk = "a job would run this code as the agent's own user, on the cluster's nodes",
        };

    public LaunchConfig Canonical(LaunchConfig config) =>
        config.ResourceArgs is { } all && all.TryGetPropertyValue(Info.ArgumentKey, out var own) && own is not null
            ? config with
            {
                ResourceArgs = With(
                    all,
                    SlurmArguments.Canonical(
                        own as JsonObject
                            ?? throw new LaunchException(
                                "ConfigInvalid",
                                LaunchErrorCategory.InvalidData,
                                $"The launch config key 'resource_args.{Info.ArgumentKey}' must be an object.",
                                Info.ArgumentKey
                            )
                    )
                ),
            }
            : config;

    public void Validate(LaunchConfig config, LaunchOptions options)
    {
        if (config.DockerImage is not null)
        {
            ImageName.Check(config.DockerImage);
        }

        SlurmArguments.Check(Own(config));
        _ = PlaceOf(options);
        foreach (var name in options.Environment.Keys)
        {
            if (!VariableName().IsMatch(name))
            {
                throw new LaunchException(
                    "EnvironmentNameInvalid",
                    LaunchErrorCategory.InvalidArgument,
                    $"'{name}' cannot be the name of an environment variable. Names have letters, digits and _, and no digit first.",
                    name
                );
            }
        }
    }

    public (LaunchConfig Config, LaunchOptions Options) ApplyPolicy(
        LaunchConfig config,
        LaunchOptions options,
        AgentPolicy policy,
        ItemContext item
    )
    {
        config = Canonical(config);
        SlurmArguments.CheckPolicy(Own(config), policy);
        return config.IsScheduler && config.EntryPoint is not ["wandb", "scheduler", _, ..]
            ? throw AgentPolicy.Refused("a scheduler must have the entry point 'wandb scheduler' with its sweep", null)
            // GPUs are the cluster's to give; those of this machine are not the job's.
            : (config, options with { Gpus = null });
    }

    public string CheckExtraArgument(string given) => SlurmArguments.CheckExtra(given);

    public async Task<ResourcePlan> PlanAsync(ResourceRequest request, CancellationToken token)
    {
        var site = _sites.Get(PlaceOf(request.Options).ToString());
        var (root, _) = await site.OpenAsync(token);
        var result = await site.RunAsync(
            SlurmScripts.Test,
            [.. SlurmArguments.Words(Own(request.Config), WantsGpu(request))],
            token
        );
        var said = SlurmSubmission.Plain(result.Error.Length > 0 ? result.Error : result.Output);
        if (!result.Succeeded)
        {
            throw new LaunchException(
                "SlurmRefused",
                LaunchErrorCategory.InvalidArgument,
                $"Slurm would not take the job: {SlurmSite.Last(said)} Change -ResourceArgs @{{ slurm = @{{ … }} }}.",
                request.Config.Source
            );
        }

        var environment = SlurmPython.NeedsEnvironment(request);
        return new ResourcePlan(
            [.. SlurmPython.Entry(request.Resolved), .. request.Resolved.Arguments],
            request.Config.DockerImage,
            !environment
                || (
                    await site.RunAsync(SlurmScripts.IsPrepared, [root, SlurmPython.HashOf(request.Resolved)], token)
                ).Succeeded
        )
        {
            Note = $"Slurm on {site.Name} says: {SlurmSite.Last(said)}",
        };
    }

    public async Task<RunSpec> PrepareAsync(PrepareContext context, CancellationToken token)
    {
        var (config, options, resolved) = (context.Config, context.Options, context.Resolved);
        if (config.BaseImage is not null && options.Agent is null)
        {
            context.Warnings.Add(
                "no image is built for Slurm, so the base image is not used; -DockerImage names one to run in"
            );
        }

        if (config.DockerImage is { } given)
        {
            context.Environment["WANDB_DOCKER"] = given;
            if (!options.KeepRunId)
            {
                // Such a run gets an id of its own (protocol E.4 and K 8).
                context.Environment.Remove("WANDB_RUN_ID");
            }
        }

        var place = PlaceOf(options);
        var site = _sites.Get(place.ToString());
        var environment = SlurmPython.NeedsEnvironment(context);
        string? code = null;
        try
        {
            if (environment)
            {
                await SlurmPython.PrepareAsync(context, site, token);
            }

            if (config.DockerImage is null && resolved.Workspace is { } workspace)
            {
                context.Progress.Report($"sending the code to {site.Name}");
                code = await _codes.SendAsync(site, workspace, token);
            }
        }
        catch when (environment)
        {
            // The settings of pip may hold a login.
            await ForgetAsync(site, context.Id, CancellationToken.None);
            throw;
        }

        var own = Own(config);
        return context.NewSpec(SlurmPython.Entry(resolved), place.Folder ?? "") with
        {
            Resource = Info.Name,
            Image = config.DockerImage,
            Data = RunSpec.DataOf(
                new SlurmData
                {
                    Place = place.ToString(),
                    Code = code,
                    Options = SlurmArguments.Words(own, WantsGpu(context)),
                    Throttle = SlurmArguments.Limit(own),
                    Requeue = SlurmArguments.Flag(own, SlurmArguments.Requeue),
                    Srun = SlurmArguments.Flag(own, SlurmArguments.Srun),
                    Keep = SlurmArguments.Flag(own, SlurmArguments.Keep),
                    NeedsPython = config.DockerImage is null && SlurmPython.IsPython(resolved),
                    PythonVersion = SlurmPython.VersionOf(resolved),
                    RequirementsHash = environment ? SlurmPython.HashOf(resolved) : null,
                    Frozen = resolved.Requirements.Frozen,
                    Volumes = config.DockerImage is null ? [] : options.Volumes,
                    Gpu = WantsGpu(context),
                    LaunchConfigJson = context.LaunchConfigJson,
                }
            ),
        };
    }

    public Task<RunHandle> StartAsync(
        RunSpec spec,
        IReadOnlyDictionary<string, string> secrets,
        CancellationToken token
    )
    {
        token.ThrowIfCancellationRequested();
        CommandSize.Check(
            spec.Environment.Concat(secrets).Select(v => v.Key + "=" + v.Value),
            spec.Command.Concat(spec.Arguments)
        );
        _over.TryRemove(spec.Id, out _);
        return _submission.SubmitAsync(spec, secrets, token);
    }

    public async Task<RunHandle?> FindAsync(RunSpec spec, CancellationToken token)
    {
        var site = _sites.Get(spec.DataAs<SlurmData>().Place);
        var (root, _) = await site.OpenAsync(token);
        var result = await site.RunAsync(SlurmScripts.Find, [root, spec.Id], token);
        return !result.Succeeded ? throw site.Unavailable(result)
            : SlurmKey.Parse(result.Output.Trim()) is { } key
                ? new RunHandle(HandleKind, key.ToString(), site.Place.ToString())
            : null;
    }

    public async Task<IReadOnlyDictionary<string, RunStanding>> LookAsync(
        IReadOnlyCollection<LaunchedRun> runs,
        CancellationToken token
    )
    {
        var all = new Dictionary<string, RunStanding>(StringComparer.Ordinal);
        foreach (var group in runs.Where(r => r.Handle is not null).GroupBy(r => r.Handle!.Place ?? ""))
        {
            try
            {
                foreach (var (id, standing) in await Look(group.Key).LookAsync([.. group], token) ?? all)
                {
                    all[id] = standing;
                    if (standing.End is not null)
                    {
                        _over.TryAdd(id, 0);
                    }
                }
            }
            catch (Exception e) when (e is LaunchException or IOException)
            {
                // Away: nothing is known of its runs.
            }
        }

        return all;
    }

    public async IAsyncEnumerable<RunChange> WatchAsync(
        WatchedRuns runs,
        [EnumeratorCancellation] CancellationToken token
    )
    {
        var changes = Channel.CreateUnbounded<RunChange>();
        using var over = CancellationTokenSource.CreateLinkedTokenSource(token);
        var watches = new Dictionary<string, Task>(StringComparer.Ordinal);
        var next = changes.Reader.WaitToReadAsync(over.Token).AsTask();
        _watched.TryAdd(runs, 0);
        try
        {
            while (true)
            {
                var changed = runs.Changed;
                foreach (var place in runs.All.Select(r => r.Handle!.Place!).Distinct().Except(watches.Keys).ToList())
                {
                    watches[place] = new SlurmWatch(_sites, Look(place), place, runs, _over, changes.Writer).RunAsync(
                        over.Token
                    );
                }

                var first = await Task.WhenAny([changed, next, .. watches.Values]);
                while (changes.Reader.TryRead(out var change))
                {
                    yield return change;
                }

                if (next.IsCompleted)
                {
                    await next;
                    next = changes.Reader.WaitToReadAsync(over.Token).AsTask();
                }
                else if (first != changed)
                {
                    // A watch ends by a fault alone; its caller begins again.
                    await first;
                }
            }
        }
        finally
        {
            _watched.TryRemove(runs, out _);
            await over.CancelAsync();
        }
    }

    public Task ReadLogAsync(LaunchedRun run, string? from, bool follow, IRunLogSink to, CancellationToken token) =>
        run.Handle is { } handle
            ? _log.ReadAsync(handle.Place ?? "", run.Id, from, follow, to, token)
            : Task.CompletedTask;

    public async Task StopAsync(LaunchedRun run, TimeSpan grace, CancellationToken token)
    {
        if (run.Handle is not { } handle)
        {
            return;
        }

        var place = handle.Place ?? "";
        var site = _sites.Get(place);
        await site.OpenAsync(token);
        var job = Look(place).KeyOf(run)?.ToString() ?? handle.Id;
        if (grace > TimeSpan.Zero)
        {
            await CommandAsync(site, SlurmScripts.Ask, job, token);
            await EndedAsync(run, grace, token);
        }

        if (!_over.ContainsKey(run.Id))
        {
            await CommandAsync(site, SlurmScripts.Cancel, job, token);
            if (!IsWatched(run))
            {
                await EndedAsync(run, KillPatience, token);
            }
        }
    }

    public async Task ForgetAsync(LaunchedRun run, CancellationToken token)
    {
        _over.TryRemove(run.Id, out _);
        if (run.Handle is { } handle)
        {
            Look(handle.Place ?? "").Forget(run.Id);
            await ForgetAsync(_sites.Get(handle.Place ?? ""), run.Id, token);
        }
    }

    private static async Task ForgetAsync(SlurmSite site, string id, CancellationToken token)
    {
        var (root, _) = await site.OpenAsync(token);
        await site.RunAsync(SlurmScripts.Forget, [root, id], token);
    }

    private async Task CommandAsync(SlurmSite site, string script, string job, CancellationToken token)
    {
        // A controller that is away comes back: what runs must not go on because of that.
        for (var i = 0; ; i++)
        {
            var result = await site.RunAsync(script, [job], token);
            if (result.Succeeded)
            {
                return;
            }

            if (i == 5)
            {
                throw site.Unavailable(result);
            }

            await Task.Delay(StopPause * (i + 1), _context.Time, token);
        }
    }

    // Until it is known to be over: by the watch, where there is one, for a question each second and run would be a burden.
    private async Task EndedAsync(LaunchedRun run, TimeSpan most, CancellationToken token)
    {
        var from = _context.Time.GetTimestamp();
        while (!_over.ContainsKey(run.Id) && _context.Time.GetElapsedTime(from) < most)
        {
            await Task.Delay(StopPause < most ? StopPause : most, _context.Time, token);
            if (!IsWatched(run))
            {
                await LookAsync([run], token);
            }
        }
    }

    private bool IsWatched(LaunchedRun run) => _watched.Keys.Any(w => w.Find(run.Id) is not null);

    private SlurmLook Look(string place) => _looks.GetOrAdd(place, p => new SlurmLook(_sites, p));

    private SlurmPlace PlaceOf(LaunchOptions options) =>
        SlurmPlace.Of(
            options.Settings.GetValueOrDefault(HostSetting),
            options.Settings.GetValueOrDefault(FolderSetting),
            Path.Combine(_context.DataFolder, Info.Name)
        );

    private JsonObject? Own(LaunchConfig config) => config.ResourceArgs?[Info.ArgumentKey] as JsonObject;

    private JsonObject With(JsonObject all, JsonObject own)
    {
        var map = (JsonObject)all.DeepClone();
        map[Info.ArgumentKey] = own;
        return map;
    }

    private static bool WantsGpu(ResourceRequest request) => request.Config.Cuda ?? request.Resolved.Gpu;

    [GeneratedRegex("^[A-Za-z_][A-Za-z0-9_]*$")]
    private static partial Regex VariableName();
}
