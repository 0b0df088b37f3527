namespace WandbLaunch.Agents;

/// <summary>What an agent is about.</summary>
internal enum AgentMode
{
    /// <summary>Takes items.</summary>
    Working,

    /// <summary>Takes no more, for a reason of its own: empty, enough, time over.</summary>
    Done,

    /// <summary>Takes no more because somebody asked.</summary>
    Asked,

    /// <summary>Stops its runs.</summary>
    Stopping,

    /// <summary>Leaves at once; the runs go on.</summary>
    Detaching,
}

/// <summary>How long an agent goes on: what it is about, why, the tokens that end its parts, and the signal that wakes its loop.</summary>
internal sealed class AgentLifetime : IDisposable
{
    private readonly object _lock = new();
    private readonly CancellationTokenSource _noMore = new();
    private readonly CancellationTokenSource _stopping = new();
    private readonly CancellationTokenSource _closed = new();
    private volatile TaskCompletionSource _wake = NewWake();
    private volatile AgentMode _mode;
    private string _why = "";
    private bool _over;

    internal AgentLifetime()
    {
        NoMore = _noMore.Token;
        Stopping = _stopping.Token;
        Closed = _closed.Token;
    }

    internal AgentMode Mode => _mode;

    internal bool Works => _mode == AgentMode.Working;

    /// <summary>Why it ends; empty until it is known.</summary>
    internal string Why => _why;

    /// <summary>Cancelled when no more items are taken.</summary>
    internal CancellationToken NoMore { get; }

    /// <summary>Cancelled when runs must end.</summary>
    internal CancellationToken Stopping { get; }

    /// <summary>Cancelled when the agent is gone: what it still waits for is the next agent's.</summary>
    internal CancellationToken Closed { get; }

    /// <summary>Done when there is something to look at.</summary>
    internal Task Woken => _wake.Task;

    /// <summary>Takes no more items; false when that was decided before.</summary>
    internal bool TryDrain(string why, bool asked)
    {
        lock (_lock)
        {
            if (_mode != AgentMode.Working)
            {
                return false;
            }

            (_mode, _why) = (asked ? AgentMode.Asked : AgentMode.Done, why);
        }

        _noMore.Cancel();
        return true;
    }

    /// <summary>Stops the runs; false when that was decided before.</summary>
    internal bool TryStop(string why)
    {
        lock (_lock)
        {
            if (_mode is AgentMode.Stopping or AgentMode.Detaching)
            {
                return false;
            }

            (_mode, _why) = (AgentMode.Stopping, why);
        }

        _noMore.Cancel();
        _stopping.Cancel();
        return true;
    }

    /// <summary>Leaves the runs to the next agent.</summary>
    internal void Detach(string why)
    {
        lock (_lock)
        {
            if (_over)
            {
                return;
            }

            (_mode, _why) = (AgentMode.Detaching, why);
        }

        _noMore.Cancel();
        Wake();
    }

    internal void Wake() => _wake.TrySetResult();

    /// <summary>What woke the loop was looked at.</summary>
    internal void Rearm()
    {
        if (_wake.Task.IsCompleted)
        {
            _wake = NewWake();
        }
    }

    /// <summary>Nothing more is taken, whatever the reason that the loop ended.</summary>
    internal void EndWork() => _noMore.Cancel();

    internal Task CloseAsync() => _closed.CancelAsync();

    public void Dispose()
    {
        lock (_lock)
        {
            // From here on a signal that comes late changes nothing.
            _mode = AgentMode.Detaching;
            _over = true;
        }

        _closed.Cancel();
        _closed.Dispose();
        _stopping.Dispose();
        _noMore.Dispose();
    }

    private static TaskCompletionSource NewWake() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
