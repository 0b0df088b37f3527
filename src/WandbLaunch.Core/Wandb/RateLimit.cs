using System.Globalization;

namespace WandbLaunch.Wandb;

/// <summary>A server's rate limit: with nothing left, requests wait for the reset (protocol A.4).</summary>
internal sealed class RateLimit(TimeProvider time)
{
    private static readonly TimeSpan MostWait = TimeSpan.FromMinutes(1);

    private readonly long _started = time.GetTimestamp();
    private long _notBefore;

    internal async ValueTask WaitAsync(CancellationToken token)
    {
        var wait = TimeSpan.FromTicks(Interlocked.Read(ref _notBefore)) - time.GetElapsedTime(_started);
        if (wait > TimeSpan.Zero)
        {
            await Task.Delay(wait < MostWait ? wait : MostWait, time, token);
        }
    }

    /// <summary>Reads the headers of an answer; both are needed.</summary>
    internal void Note(HttpResponseMessage response)
    {
        if (Header("RateLimit-Remaining") is { } remaining && Header("RateLimit-Reset") is { } reset && remaining < 1)
        {
            Interlocked.Exchange(
                ref _notBefore,
                (time.GetElapsedTime(_started) + TimeSpan.FromSeconds(Math.Min(reset, 1e6))).Ticks
            );
        }

        double? Header(string name) =>
            response.Headers.TryGetValues(name, out var values)
            && double.TryParse(values.First(), NumberStyles.Float, CultureInfo.InvariantCulture, out var number)
                ? number
                : null;
    }
}
