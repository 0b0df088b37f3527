using System.Text.Json;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;

namespace WandbLaunch.Agents;

/// <summary>
/// Hands this machine's GPUs to runs, so that no two that run at the same time share one: also not those of two agents.
/// A claim is a file that names the launch; it is void once that launch is done.
/// </summary>
internal sealed class GpuPool
{
    private readonly string _folder;
    private readonly AgentStore _agents;
    private readonly LaunchStore _runs;
    private readonly object _lock = new();

    internal GpuPool(LaunchContext context, IReadOnlyList<string> devices, LaunchStore runs)
    {
        _folder = Path.Combine(context.DataFolder, "gpus");
        _agents = AgentStore.Of(context);
        _runs = runs;
        Devices = devices;
    }

    internal IReadOnlyList<string> Devices { get; }

    /// <summary>The machine's devices: of <c>WANDBLAUNCH_GPUS</c> (names with commas between), else of CUDA_VISIBLE_DEVICES, else what nvidia-smi lists.</summary>
    internal static async Task<IReadOnlyList<string>> DevicesAsync(
        LaunchEnvironment environment,
        CancellationToken token
    )
    {
        if ((environment["WANDBLAUNCH_GPUS"] ?? environment["CUDA_VISIBLE_DEVICES"]) is { } given)
        {
            return given == "-1"
                ? []
                : given.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        }

        try
        {
            var listed = await new ExternalProgram("nvidia-smi", "--query-gpu=index", "--format=csv,noheader")
            {
                TimeLimit = TimeSpan.FromSeconds(15),
            }.RunAsync(token);
            return listed.Succeeded
                ? listed.Output.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
                : [];
        }
        catch (LaunchException)
        {
            // No driver, or one that does not answer.
            return [];
        }
    }

    /// <summary>Finds the ends of launches that hold some and that nobody looks after.</summary>
    internal async Task LookAsync(CancellationToken token)
    {
        foreach (var id in Devices.Select(PathOf).Select(Read).OfType<Claim>().Select(c => c.LaunchId).Distinct())
        {
            if (Directory.Exists(_runs.Folder(id)))
            {
                await _runs.RefreshAsync(_runs.Folder(id), token);
            }
        }
    }

    /// <summary>How many nobody holds.</summary>
    internal int Free()
    {
        lock (_lock)
        {
            return Devices.Count(d => !IsHeld(PathOf(d)));
        }
    }

    /// <summary>Takes some for a launch, all or none.</summary>
    internal IReadOnlyList<string>? TryTake(int count, string launchId, string agent)
    {
        lock (_lock)
        {
            FileModes.CreatePrivateFolder(_folder);

            // One at a time over all agents: between the look and the claim nobody else may claim.
            using var held = FileLock.TryEnter(Path.Combine(_folder, "lock"));
            if (held is null)
            {
                return null;
            }

            var free = Devices.Where(d => !IsHeld(PathOf(d))).Take(count).ToList();
            if (free.Count < count)
            {
                return null;
            }

            foreach (var device in free)
            {
                FileModes.WritePrivate(PathOf(device), JsonSerializer.Serialize(new Claim(launchId, agent)));
            }

            return free;
        }
    }

    /// <summary>Passes what was reserved on to the launch that it is for.</summary>
    internal void Give(string reserved, string launchId, string agent)
    {
        lock (_lock)
        {
            foreach (var path in Devices.Select(PathOf).Where(p => Read(p)?.LaunchId == reserved))
            {
                FileModes.WritePrivate(path, JsonSerializer.Serialize(new Claim(launchId, agent)));
            }
        }
    }

    internal void Release(string launchId)
    {
        lock (_lock)
        {
            foreach (var path in Devices.Select(PathOf).Where(p => Read(p)?.LaunchId == launchId))
            {
                File.Delete(path);
            }
        }
    }

    // Void when the launch is done; or when there is none yet and the agent that claimed it is gone.
    private bool IsHeld(string path)
    {
        if (Read(path) is not { } claim)
        {
            return false;
        }

        var folder = _runs.Folder(claim.LaunchId);
        if (Directory.Exists(folder) && LaunchStore.Load(folder) is { } run)
        {
            return !run.IsDone;
        }

        using var held = FileLock.TryEnter(AgentStore.LockPath(_agents.FolderOf(claim.Agent)));
        return held is null;
    }

    private static Claim? Read(string path)
    {
        try
        {
            return File.Exists(path) ? JsonSerializer.Deserialize<Claim>(File.ReadAllText(path)) : null;
        }
        catch (Exception e) when (e is IOException or JsonException)
        {
            return null;
        }
    }

    private string PathOf(string device) => Path.Combine(_folder, LaunchCache.Hash(device)[..16] + ".json");

    private sealed record Claim(string LaunchId, string Agent);
}
