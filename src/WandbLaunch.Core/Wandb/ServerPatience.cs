using Microsoft.Extensions.Logging;
using WandbLaunch.Foundation;

namespace WandbLaunch.Wandb;

/// <summary>
/// How long the work that is being done waits for a server that fails: somebody at a prompt some tens of seconds, and is
/// told of it; an agent as long as it takes. It goes with the work and not with the connection, which many commands use.
/// </summary>
/// <param name="Total">For one request, with all its tries.</param>
/// <param name="Context">Whose log is told of requests, and at the second try of what is happening.</param>
internal sealed record ServerPatience(TimeSpan Total, LaunchContext Context)
{
    private static readonly AsyncLocal<ServerPatience?> Flowing = new();

    private static readonly TimeSpan WarnPause = TimeSpan.FromSeconds(10);

    private long _lastWarning = long.MinValue;

    /// <summary>Of the work that asks; null for work that nobody waits for.</summary>
    internal static ServerPatience? Current
    {
        get => Flowing.Value;
        set => Flowing.Value = value;
    }

    /// <summary>Said once in a while: a command with many requests is not to repeat itself.</summary>
    internal bool TryWarn(string text)
    {
        var now = Context.Time.GetTimestamp();
        var last = Interlocked.Read(ref _lastWarning);
        if (
            (last != long.MinValue && Context.Time.GetElapsedTime(last, now) < WarnPause)
            || Interlocked.CompareExchange(ref _lastWarning, now, last) != last
        )
        {
            return false;
        }

        Context.Log.LogWarning("{Text}", text);
        return true;
    }
}
