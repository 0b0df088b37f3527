using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Resources;

namespace WandbLaunch.Agents;

/// <summary>How many items may be at work at a time: slots of runs and of schedulers, and the GPUs of each run.</summary>
internal sealed class AgentSlots
{
    private readonly AgentConfig _config;
    private readonly AgentLifetime _lifetime;
    private readonly TimeProvider _time;
    private readonly string _agent;
    private readonly ResourceCatalog _resources;
    private readonly object _lock = new();
    private readonly HashSet<AgentItem> _holders = [];

    private AgentSlots(
        AgentConfig config,
        AgentLifetime lifetime,
        TimeProvider time,
        string agent,
        ResourceCatalog resources,
        GpuPool? gpus,
        int gpusPerRun
    )
    {
        _resources = resources;
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
    private bool IsFull(string resource) =>
        _config.Jobs.IsFull(resource, of => _holders.Count(h => !h.IsScheduler && (of is null || h.Resource == of)));

    /// <summary>True when a run of this resource gets GPUs of this machine: what an engine takes before it has a place for it runs on the engine's machines.</summary>
    internal bool TakesGpus(string resource) => Gpus is not null && _resources.Find(resource)?.Info.Queues != true;

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
                            / Math.Max(1, config.Jobs.Total == JobLimits.Unlimited ? devices.Count : config.Jobs.Total)
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
        return new AgentSlots(config, lifetime, context.Time, agent, runs.Resources, gpus, each);
    }

    /// <summary>Finds the ends of runs that hold GPUs and that nobody looks after.</summary>
    internal Task LookAsync(CancellationToken token) => Gpus?.LookAsync(token) ?? Task.CompletedTask;

    /// <summary>True when an item of some resource can begin.</summary>
    internal bool HasRoom() => IsAnyOpen(Closed());

    /// <summary>True when there is a resource that the agent takes and that is not among these.</summary>
    internal bool IsAnyOpen(IReadOnlySet<string> closed) => Allowed.Any(r => !closed.Contains(r));

    /// <summary>The resources that the agent takes and whose items are left in their queues now, under their own names.</summary>
    internal IReadOnlySet<string> Closed()
    {
        lock (_lock)
        {
            var noGpus = Gpus is not null && Gpus.Free() < GpusPerRun;
            return Allowed.Where(r => IsFull(r) || (noGpus && TakesGpus(r))).ToHashSet(StringComparer.Ordinal);
        }
    }

    private IEnumerable<string> Allowed => _config.Policy.Resources ?? _resources.AllowedByDefault;

    /// <summary>Takes the GPUs of a run that is not known yet. When they are another agent's just now, what needs them is closed.</summary>
    internal GpuReservation Reserve(ref IReadOnlySet<string> closed)
    {
        var name = "reserved-" + Guid.NewGuid().ToString("n");
        var open = closed;
        if (Gpus is null || !Allowed.Any(r => TakesGpus(r) && !open.Contains(r)))
        {
            return new GpuReservation(null, name, null, _agent);
        }

        var devices = Gpus.TryTake(GpusPerRun, name, _agent);
        if (devices is null)
        {
            closed = Allowed.Where(r => TakesGpus(r) || open.Contains(r)).ToHashSet(StringComparer.Ordinal);
        }

        return new GpuReservation(devices is null ? null : Gpus, name, devices, _agent);
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
                if (item.IsScheduler || !IsFull(item.Resource))
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
