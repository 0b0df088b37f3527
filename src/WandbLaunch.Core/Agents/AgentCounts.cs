namespace WandbLaunch.Agents;

/// <summary>What an agent did since its start.</summary>
internal sealed class AgentCounts
{
    private int _begun;
    private int _taken;
    private int _succeeded;
    private int _failed;
    private int _stopped;

    /// <summary>Items that were popped here and not turned out to be somebody else's.</summary>
    internal int Begun => Volatile.Read(ref _begun);

    internal int Taken => Volatile.Read(ref _taken);

    internal int Succeeded => Volatile.Read(ref _succeeded);

    internal int Failed => Volatile.Read(ref _failed);

    /// <summary>Runs that somebody stopped: no fault of theirs.</summary>
    internal int Stopped => Volatile.Read(ref _stopped);

    internal void Begin() => Interlocked.Increment(ref _begun);

    internal void Add(
        bool taken = false,
        bool succeeded = false,
        bool failed = false,
        bool stopped = false,
        bool notOurs = false
    )
    {
        Interlocked.Add(ref _begun, notOurs ? -1 : 0);
        Interlocked.Add(ref _taken, taken ? 1 : 0);
        Interlocked.Add(ref _succeeded, succeeded ? 1 : 0);
        Interlocked.Add(ref _failed, failed ? 1 : 0);
        Interlocked.Add(ref _stopped, stopped ? 1 : 0);
    }

    public override string ToString() =>
        $"{Taken} taken, {Succeeded} finished, {Failed} failed{(Stopped > 0 ? $", {Stopped} stopped" : "")}";
}
