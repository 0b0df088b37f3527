namespace WandbLaunch.Server.Data;

/// <summary>
/// Looks for runs that live no more: a process that was killed says nothing. Silence counts from when this server could have
/// heard something: not what passed before it started, nor while its machine slept.
/// </summary>
internal sealed partial class RunMonitor(
    RunEnds ends,
    LaunchServerOptions options,
    TimeProvider time,
    ILogger<RunMonitor> log
) : IDisposable
{
    private readonly object _lock = new();
    private ITimer? _timer;
    private DateTimeOffset _listening;
    private DateTimeOffset _last;

    private TimeSpan Between =>
        TimeSpan.FromTicks(
            Math.Clamp(
                options.HeartbeatLimit.Ticks / 10,
                TimeSpan.TicksPerMillisecond * 20,
                TimeSpan.TicksPerSecond * 30
            )
        );

    internal void Start()
    {
        _listening = _last = time.GetUtcNow();
        _timer = time.CreateTimer(_ => Look(), null, Between, Between);
    }

    /// <summary>One look.</summary>
    internal void Look()
    {
        // One that takes long is not overtaken by the next.
        if (!Monitor.TryEnter(_lock))
        {
            return;
        }

        try
        {
            var now = time.GetUtcNow();
            if (now < _last || now - _last > options.HeartbeatLimit / 2)
            {
                // The machine slept, or somebody set its clock.
                _listening = now;
            }

            _last = now;
            if (now - _listening >= options.HeartbeatLimit)
            {
                ends.Crash(options.HeartbeatLimit);
            }
        }
        catch (Exception e)
        {
            // A full disk, a busy database: the next look is soon.
            Failed(log, e);
        }
        finally
        {
            Monitor.Exit(_lock);
        }
    }

    public void Dispose()
    {
        _timer?.Dispose();
        lock (_lock)
        {
            // A look that is under way has ended.
        }
    }

    [LoggerMessage(10, LogLevel.Warning, "Runs that live no more could not be looked for.")]
    private static partial void Failed(ILogger log, Exception e);
}
