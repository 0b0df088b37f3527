using System.Text.Json;
using System.Text.RegularExpressions;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Launching;

/// <summary>The launches of this user on this machine, a folder each: any shell can see, wait for, stop and read them.</summary>
internal sealed partial class LaunchStore(string root, ResourceCatalog resources)
{
    /// <summary>Why it is not known how a run ended.</summary>
    internal const string SupervisorGone = "the process that watched this run was ended, so its exit code is not known";

    private static readonly TimeSpan MostWait = TimeSpan.FromMilliseconds(250);

    private readonly TimeProvider _time = resources.Context.Time;

    internal static readonly JsonSerializerOptions Json = new()
    {
        WriteIndented = true,
        DefaultIgnoreCondition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingNull,
    };

    /// <summary>The ways to run that its launches may have.</summary>
    internal ResourceCatalog Resources => resources;

    /// <summary>The store of a machine's user.</summary>
    internal static LaunchStore Of(LaunchContext context) =>
        new(
            Path.Combine(context.DataFolder, "runs"),
            new ResourceCatalog(context, new SupervisorPlace(false, () => HostProcess.Adopter(context.Environment)))
        );

    internal string Folder(string id) =>
        IdForm().IsMatch(id)
            ? Path.Combine(root, id)
            : throw new LaunchException(
                "RunIdInvalid",
                LaunchErrorCategory.InvalidArgument,
                $"'{id}' cannot be a run id: letters, digits, - _ . only, 64 at most.",
                id
            );

    /// <summary>Makes the folder of a new launch; a second launch with the same id collides here.</summary>
    internal string Create(string id)
    {
        var folder = Folder(id);
        if (Directory.Exists(folder))
        {
            throw new LaunchException(
                "RunExists",
                LaunchErrorCategory.ResourceExists,
                $"There is a launch {id} already on this machine (Get-WandbLaunch {id}). Choose another -RunId.",
                id
            );
        }

        return FileModes.CreatePrivateFolder(folder);
    }

    internal static void Save(string folder, LaunchedRun run) =>
        FileModes.WritePrivate(Path.Combine(folder, "run.json"), LaunchedRunText.Write(run));

    internal static void SaveSpec(string folder, RunSpec spec) =>
        FileModes.WritePrivate(Path.Combine(folder, "spec.json"), spec.Write());

    internal static RunSpec LoadSpec(string folder) =>
        RunSpec.Read(FileModes.ReadShared(Path.Combine(folder, "spec.json")));

    internal static LaunchedRun? Load(string folder)
    {
        try
        {
            var text = FileModes.ReadShared(Path.Combine(folder, "run.json"));
            var run = LaunchedRunText.Read(text);
            return run is { Handle: null, State: not LaunchState.Starting }
                ? run with
                {
                    Handle = JsonSerializer
                        .Deserialize<OldHandle>(text, Json)!
                        .Handle(() => (string?)LoadSpec(folder).Data!["DockerEndpoint"]),
                }
                : run;
        }
        catch (Exception e) when (e is IOException or JsonException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    internal static void AskStop(string folder) =>
        FileModes
            .OpenPrivate(Path.Combine(folder, "stop"), FileMode.OpenOrCreate, FileAccess.Write, FileShare.ReadWrite)
            .Dispose();

    internal static bool StopAsked(string folder) => File.Exists(Path.Combine(folder, "stop"));

    /// <summary>There from just before a process is started: with it, a second start is refused.</summary>
    internal static string StartedPath(string folder) => Path.Combine(folder, "started");

    internal static string LockPath(string folder) => Path.Combine(folder, "run.lock");

    /// <summary>A launch, as whoever runs it knows it now.</summary>
    /// <exception cref="LaunchException"><c>LaunchNotFound</c>.</exception>
    internal async Task<LaunchedRun> GetAsync(string id, CancellationToken token) =>
        await RefreshAsync(Folder(IdOf(id)), token)
        ?? throw new LaunchException(
            "LaunchNotFound",
            LaunchErrorCategory.ObjectNotFound,
            $"There is no launch {id} on this machine. See Get-WandbLaunch.",
            id
        );

    /// <summary>All launches of a kind of name, newest first, as whoever runs them knows them now.</summary>
    internal Task<IReadOnlyList<LaunchedRun>> AllAsync(Func<string, bool> named, CancellationToken token) =>
        RefreshAsync(Folders().Where(f => named(Path.GetFileName(f))), token);

    /// <summary>All launches, newest first, as they were written down last: nobody is asked.</summary>
    internal IEnumerable<LaunchedRun> Known() => Folders().Select(Load).OfType<LaunchedRun>();

    /// <summary>The id of the launch that is meant: an agent's is not that of its W&amp;B run, which people know it by.</summary>
    internal string IdOf(string id) => Directory.Exists(Folder(id)) ? id : OfRun(id).FirstOrDefault() ?? id;

    /// <summary>Ids of the launches of a W&amp;B run on this machine, newest first.</summary>
    internal IEnumerable<string> OfRun(string run) => Known().Where(r => (r.RunId ?? r.Id) == run).Select(r => r.Id);

    /// <summary>Reads a launch; one that nobody looks after is looked after.</summary>
    internal async Task<LaunchedRun?> RefreshAsync(string folder, CancellationToken token) =>
        await RefreshAsync([folder], token) is [var run, ..] ? run : null;

    private async Task<IReadOnlyList<LaunchedRun>> RefreshAsync(IEnumerable<string> folders, CancellationToken token)
    {
        var all = new List<LaunchedRun>();
        var left = new List<(int Index, string Folder, LaunchedRun Run, FileLock Held)>();
        try
        {
            foreach (var folder in folders)
            {
                if (Load(folder) is not { } run)
                {
                    continue;
                }

                all.Add(run);
                if (run.IsDone || FileLock.TryEnter(LockPath(folder)) is not { } held)
                {
                    continue;
                }

                // Nobody looks after it. Read again under the lock, for it may have ended in between.
                run = Load(folder) ?? run;
                all[^1] = run;
                left.Add((all.Count - 1, folder, run, held));
            }

            // Of each resource all that nobody looks after, asked for in one call.
            var standings = new Dictionary<string, RunStanding>(StringComparer.Ordinal);
            foreach (
                var group in left.Where(l => l.Run is { IsDone: false, Handle: not null }).GroupBy(l => l.Run.Resource)
            )
            {
                // Of a resource that another version has nothing is known here.
                foreach (
                    var (id, standing) in resources.Find(group.Key) is { } resource
                        ? await resource.LookAsync([.. group.Select(l => l.Run)], token)
                        : new Dictionary<string, RunStanding>()
                )
                {
                    standings[id] = standing;
                }
            }

            foreach (var (index, folder, run, _) in left.Where(l => !l.Run.IsDone))
            {
                all[index] = await RefreshAsync(folder, run, standings, token);
            }

            return all;
        }
        finally
        {
            left.ForEach(l => l.Held.Dispose());
        }
    }

    private async Task<LaunchedRun> RefreshAsync(
        string folder,
        LaunchedRun run,
        Dictionary<string, RunStanding> standings,
        CancellationToken token
    )
    {
        if (resources.Find(run.Resource) is not { } resource)
        {
            return run;
        }

        if (run.Handle is null)
        {
            // What an agent launched is the agent's to start, or to look after again.
            if (
                run.Agent is not null
                || (
                    run.State == LaunchState.Starting
                    && Directory.GetLastWriteTimeUtc(folder) > _time.GetUtcNow().UtcDateTime.AddSeconds(-30)
                )
            )
            {
                return run;
            }

            try
            {
                if (await resource.FindAsync(LoadSpec(folder), token) is { } handle)
                {
                    // How it stands is asked for at the next look.
                    var found = resource.Info.Queues ? RunStanding.WaitsFor("it was handed over") : RunStanding.Runs;
                    run = found.ApplyTo(run, _time.GetUtcNow()) with { Handle = handle };
                    Save(folder, run);
                    return run;
                }
            }
            catch (Exception e) when (e is LaunchException or IOException or JsonException)
            {
                // An engine that is away, or a folder that was never whole.
                return resource.Info.EngineRemembers && e is LaunchException ? run : Lost(folder, run, SupervisorGone);
            }

            return Lost(folder, run, SupervisorGone);
        }

        if (!standings.TryGetValue(run.Id, out var standing))
        {
            return run;
        }

        if (standing.End is not { } end)
        {
            if (resource.Info.Queues && standing.ApplyTo(run, _time.GetUtcNow()) is var now && now != run)
            {
                Save(folder, run = now);
            }

            return run;
        }

        if (!resource.Info.EngineRemembers)
        {
            return Lost(folder, run, end.Reason);
        }

        // Its engine remembers how it ended: taken over now, for good.
        using var supervisor = new Supervisor(folder, run, resource, LoadSpec(folder).MaxLogSize, time: _time);
        await supervisor.CollectAsync(end, StopAsked(folder), token);
        if (supervisor.TrySave())
        {
            await supervisor.SaveEndAsync();
        }

        return supervisor.Run;
    }

    private LaunchedRun Lost(string folder, LaunchedRun run, string? reason)
    {
        run = run with { State = LaunchState.Unknown, Finished = _time.GetUtcNow(), Reason = reason };
        Save(folder, run);
        return run;
    }

    private IEnumerable<string> Folders() =>
        !Directory.Exists(root)
            ? []
            : new DirectoryInfo(root)
                .EnumerateDirectories()
                .OrderByDescending(d => d.CreationTimeUtc)
                .Select(d => d.FullName);

    /// <summary>Ends a run: by whoever looks after it, or from here where nobody does, or does not answer.</summary>
    internal async Task<LaunchedRun> StopAsync(string id, CancellationToken token)
    {
        var folder = Folder(id);
        var grace = TimeSpan.FromSeconds(LoadSpec(folder).StopGraceSeconds);
        AskStop(folder);
        var until = _time.GetUtcNow() + grace + TimeSpan.FromSeconds(10);
        var wait = TimeSpan.FromMilliseconds(20);
        var run = await GetAsync(id, token);
        while (!run.IsDone && _time.GetUtcNow() < until)
        {
            if (run.Handle is not null && resources.Get(run.Resource).Info.EngineRemembers && !IsLookedAfter(folder))
            {
                await resources.Get(run.Resource).StopAsync(run, grace, token);
            }
            else
            {
                await Task.Delay(wait, _time, token);
                wait = wait * 2 < MostWait ? wait * 2 : MostWait;
            }

            run = await GetAsync(id, token);
        }

        if (run.IsDone && run.State != LaunchState.Unknown)
        {
            return run;
        }

        // Its supervisor is gone or does not answer: end what is left of it from here.
        await resources.Get(run.Resource).StopAsync(run, grace, token);
        await resources.Get(run.Resource).ForgetAsync(run, token);
        run = Load(folder)! with { State = LaunchState.Stopped, Finished = run.Finished ?? _time.GetUtcNow() };
        Save(folder, run);
        return run;
    }

    /// <summary>Copies what a run printed, where its engine has it and nobody copies it just now.</summary>
    internal async Task CopyLogAsync(LaunchedRun run, CancellationToken token)
    {
        var folder = Folder(run.Id);
        var resource = resources.Get(run.Resource);
        if (run.IsDone || run.Handle is null || !resource.Info.EngineRemembers)
        {
            return;
        }

        using var held = FileLock.TryEnter(LockPath(folder));
        if (held is not null && Load(folder) is { IsDone: false } now)
        {
            using var supervisor = new Supervisor(folder, now, resource, LoadSpec(folder).MaxLogSize, time: _time);
            await supervisor.CopyLogAsync(token);
        }
    }

    private static bool IsLookedAfter(string folder)
    {
        using var held = FileLock.TryEnter(LockPath(folder));
        return held is null;
    }

    /// <summary>Removes a launch that is done.</summary>
    internal void Remove(string id) => LaunchCache.DeleteFolder(Folder(id));

    [GeneratedRegex(@"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]
    private static partial Regex IdForm();

    /// <summary>What version 0.1 wrote in the place of a handle.</summary>
    private sealed record OldHandle(int? ProcessId, string? ContainerId, string? Cgroup)
    {
        internal RunHandle? Handle(Func<string?> engine) =>
            ContainerId is { } container ? new RunHandle(RunHandle.Container, container, engine())
            : ProcessId is { } process
                ? new RunHandle(
                    RunHandle.Process,
                    process.ToString(System.Globalization.CultureInfo.InvariantCulture),
                    Cgroup
                )
            : null;
    }
}
