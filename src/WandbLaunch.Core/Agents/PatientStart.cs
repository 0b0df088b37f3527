using WandbLaunch.Foundation;

namespace WandbLaunch.Agents;

/// <summary>The start of an agent that nobody watches: at a machine's start the network or the server may come later, and a server may go away between two of its questions.</summary>
internal static class PatientStart
{
    private static readonly TimeSpan MostPause = TimeSpan.FromMinutes(1);

    /// <summary>Starts again from the beginning for as long as the server cannot be reached; any other fault ends it.</summary>
    /// <param name="start">Connects and registers; leaves nothing behind when it fails.</param>
    /// <param name="away">Told why, and how long it waits before the next try.</param>
    /// <param name="firstPause">The first pause; each is twice the one before, a minute at most.</param>
    /// <param name="time">The clock.</param>
    /// <param name="token">Ends the waiting.</param>
    internal static async Task<T> WhenReachableAsync<T>(
        Func<Task<T>> start,
        Action<LaunchException, TimeSpan> away,
        TimeSpan firstPause,
        TimeProvider time,
        CancellationToken token
    )
    {
        for (var pause = firstPause; ; pause = pause * 2 > MostPause ? MostPause : pause * 2)
        {
            try
            {
                return await start();
            }
            catch (LaunchException e) when (IsAway(e))
            {
                away(e, pause);
            }

            await Task.Delay(pause, time, token);
        }
    }

    // A machine does not get its GPUs by waiting.
    private static bool IsAway(LaunchException e) =>
        e.Category is LaunchErrorCategory.ConnectionError or LaunchErrorCategory.OperationTimeout
        || e is { Category: LaunchErrorCategory.ResourceUnavailable, ErrorId: not "GpusMissing" };
}
