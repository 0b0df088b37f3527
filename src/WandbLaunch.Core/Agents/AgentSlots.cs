using WandbLaunch.Foundation;
using WandbLaunch.Launching;

namespace WandbLaunch.Agents;

/// <summary>How many items may be at work at a time: slots of runs and of schedulers, and the GPUs of each run.</summary>
internal sealed class AgentSlots
{
    private readonly AgentConfig _config;
    private readonly AgentLifetime _lifetime;
    private readonly TimeProvider _time;
    private readonly string _agent;
    private readonly object _lock = new();
    private readonly HashSet<AgentItem> _holders = [];

    private AgentSlots(
        AgentConfig config,
        AgentLifetime lifetime,
        TimeProvider time,
        string agent,
        GpuPool? gpus,
        int gpusPerRun
    )
    {
        _config = config;
        _lifetime = lifetime;
        _time = time;
        _agent = agent;
        Gpus = gpus;
        GpusPerRun = gpusPerRun;
    }

    /// <summary>Null where runs get none.</summary>
    internal GpuPool? Gpus { get; }

    internal int GpusPerRun { get; }

    /// <summary>There can be no more schedulers of sweeps (protocol F.3).</summary>
    internal bool IsFullOfSchedulers
    {
        get
        {
            lock (_lock)
            {
                return _config.MaxSchedulers != AgentConfig.Unlimited
                    && _holders.Count(h => h.IsScheduler) >= _config.MaxSchedulers;
            }
        }
    }

    // Schedulers only wait for the runs of their sweeps, so they take no run's slot.
    private bool IsRoomForRun =>
        _config.MaxJobs == AgentConfig.Unlimited || _holders.Count(h => !h.IsScheduler) < _config.MaxJobs;

    /// <summary>Divides the machine's GPUs among the runs.</summary>
    /// <exception cref="LaunchException"><c>GpusMissing</c>.</exception>
    internal static async Task<AgentSlots> CreateAsync(
        AgentConfig config,
        LaunchContext context,
        LaunchStore runs,
        AgentLifetime lifetime,
        string agent,
        CancellationToken token
    )
    {
        var devices = await GpuPool.DevicesAsync(context.Environment, token);
        var each =
            config.GpusPerJob
            ?? (
                devices.Count == 0
                    ? 0
                    : Math.Max(
                        1,
                        devices.Count
                            / Math.Max(1, config.MaxJobs == AgentConfig.Unlimited ? devices.Count : config.MaxJobs)
                    )
            );
        if (each > devices.Count)
        {
            throw new LaunchException(
                "GpusMissing",
                LaunchErrorCategory.ResourceUnavailable,
                $"-GpusPerJob {each} cannot be: this machine has {devices.Count} GPUs (nvidia-smi, CUDA_VISIBLE_DEVICES).",
                each
            );
        }

        var gpus = each > 0 ? new GpuPool(context, devices, runs) : null;
        return new AgentSlots(config, lifetime, context.Time, agent, gpus, each);
    }

    /// <summary>Finds the ends of runs that hold GPUs and that nobody looks after.</summary>
    internal Task LookAsync(CancellationToken token) => Gpus?.LookAsync(token) ?? Task.CompletedTask;

    internal bool HasRoom()
    {
        lock (_lock)
        {
            return IsRoomForRun && (Gpus is null || Gpus.Free() >= GpusPerRun);
        }
    }

    /// <summary>Takes the GPUs of a run that is not known yet; null when they are another agent's just now.</summary>
    internal GpuReservation? TryReserve()
    {
        var name = "reserved-" + Guid.NewGuid().ToString("n");
        var devices = Gpus?.TryTake(GpusPerRun, name, _agent);
        return Gpus is not null && devices is null ? null : new GpuReservation(Gpus, name, devices, _agent);
    }

    /// <summary>For an item that begins, whether there is room or not.</summary>
    internal void Take(AgentItem item)
    {
        lock (_lock)
        {
            _holders.Add(item);
        }
    }

    /// <summary>Lets others run while an item only waits.</summary>
    internal void Leave(AgentItem item)
    {
        lock (_lock)
        {
            if (!_holders.Remove(item))
            {
                return;
            }
        }

        _lifetime.Wake();
    }

    /// <summary>Waits for room, and takes it.</summary>
    internal async Task EnterAsync(AgentItem item, CancellationToken token)
    {
        while (true)
        {
            lock (_lock)
            {
                if (item.IsScheduler || IsRoomForRun)
                {
                    _holders.Add(item);
                    return;
                }
            }

            await Task.WhenAny(_lifetime.Woken, Task.Delay(TimeSpan.FromSeconds(1), _time, token));
            token.ThrowIfCancellationRequested();
        }
    }
}

/// <summary>GPUs that are held until an item has them, or given back.</summary>
internal sealed class GpuReservation(GpuPool? pool, string name, IReadOnlyList<string>? devices, string agent)
    : IDisposable
{
    internal IReadOnlyList<string>? Devices => devices;

    internal void GiveTo(string launchId) => pool?.Give(name, launchId, agent);

    public void Dispose() => pool?.Release(name);
}
