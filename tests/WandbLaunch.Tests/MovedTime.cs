namespace WandbLaunch.Tests;

/// <summary>The system's clocks, of which a test can set the one forward that leases are counted on: a lease is over when the test says so, not when a busy machine is late.</summary>
internal sealed class MovedTime : TimeProvider
{
    private long _moved;

    public override long GetTimestamp() => base.GetTimestamp() + Interlocked.Read(ref _moved);

    internal void Move(TimeSpan by) => Interlocked.Add(ref _moved, (long)(by.TotalSeconds * TimestampFrequency) + 1);
}
