using System.Text.Json;
using System.Text.RegularExpressions;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Launching;

/// <summary>The launches of this user on this machine, a folder each: any shell can see, wait for, stop and read them.</summary>
internal sealed partial class LaunchStore(string root)
{
    internal static readonly JsonSerializerOptions Json = new()
    {
        WriteIndented = true,
        DefaultIgnoreCondition = System.Text.Json.Serialization.JsonIgnoreCondition.WhenWritingNull,
    };

    internal static LaunchStore Default => new(Path.Combine(LaunchEnvironment.Current.DataFolder, "runs"));

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
        FileModes.WritePrivate(Path.Combine(folder, "run.json"), JsonSerializer.Serialize(run, Json));

    internal static void SaveSpec(string folder, RunSpec spec) =>
        FileModes.WritePrivate(Path.Combine(folder, "spec.json"), JsonSerializer.Serialize(spec, Json));

    internal static RunSpec LoadSpec(string folder) =>
        JsonSerializer.Deserialize<RunSpec>(FileModes.ReadShared(Path.Combine(folder, "spec.json")), Json)!;

    internal static LaunchedRun? Load(string folder)
    {
        try
        {
            return JsonSerializer.Deserialize<LaunchedRun>(
                FileModes.ReadShared(Path.Combine(folder, "run.json")),
                Json
            );
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

    internal LaunchedRun Get(string id)
    {
        var folder = Folder(id);
        return Refresh(folder)
            ?? throw new LaunchException(
                "LaunchNotFound",
                LaunchErrorCategory.ObjectNotFound,
                $"There is no launch {id} on this machine. See Get-WandbLaunch.",
                id
            );
    }

    /// <summary>All launches, newest first.</summary>
    internal IEnumerable<LaunchedRun> All() =>
        !Directory.Exists(root)
            ? []
            : new DirectoryInfo(root)
                .EnumerateDirectories()
                .OrderByDescending(d => d.CreationTimeUtc)
                .Select(d => Refresh(d.FullName))
                .OfType<LaunchedRun>();

    /// <summary>Reads a launch; one whose watcher is gone is looked after.</summary>
    internal static LaunchedRun? Refresh(string folder)
    {
        var run = Load(folder);
        if (run is null || run.IsDone)
        {
            return run;
        }

        using (var gate = FileLock.TryEnter(LockPath(folder)))
        {
            if (gate is null)
            {
                return run;
            }

            // Nobody watches it. Read again under the lock, for it may have ended in between.
            run = Load(folder);
            if (run is null || run.IsDone)
            {
                return run;
            }

            // What an agent launched is the agent's to start, or to look after again.
            if (run.Agent is not null && (run.State == LaunchState.Starting || run.Resource == "local-container"))
            {
                return run;
            }

            if (
                run.State == LaunchState.Starting
                && Directory.GetLastWriteTimeUtc(folder) > DateTime.UtcNow.AddSeconds(-30)
            )
            {
                return run;
            }

            if (run.ProcessId is { } process && ProcessTree.IsAlive(process, run.Started, run.Id, run.Cgroup))
            {
                return run;
            }

            run = run with
            {
                State = LaunchState.Unknown,
                Finished = DateTimeOffset.UtcNow,
                Reason = "the process that watched this run was ended, so its exit code is not known",
            };
            Save(folder, run);
            return run;
        }
    }

    /// <summary>Removes a launch that is done.</summary>
    internal void Remove(string id) => LaunchCache.DeleteFolder(Folder(id));

    [GeneratedRegex(@"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}$")]
    private static partial Regex IdForm();
}
