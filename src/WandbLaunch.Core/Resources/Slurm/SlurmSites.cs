using System.Collections.Concurrent;
using System.Globalization;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>The Slurms that were spoken to, by their place, and how often each is asked.</summary>
internal sealed class SlurmSites(LaunchContext context)
{
    private readonly ConcurrentDictionary<string, SlurmSite> _sites = new(StringComparer.Ordinal);

    /// <summary>Between two questions about all jobs: <c>WANDBLAUNCH_SLURM_POLL</c> seconds, 10 by default. A controller has others to serve.</summary>
    internal TimeSpan Poll => Seconds("WANDBLAUNCH_SLURM_POLL", 10);

    /// <summary>The same for a controller that does not answer.</summary>
    internal TimeSpan MostPoll => TimeSpan.FromSeconds(Math.Max(30, Poll.TotalSeconds));

    /// <summary>How long a run that Slurm forgot and that left nothing behind is waited for: <c>WANDBLAUNCH_SLURM_LOST</c> seconds, 90 by default. File systems of clusters show a file up to a minute late.</summary>
    internal TimeSpan Grace => Seconds("WANDBLAUNCH_SLURM_LOST", 90);

    /// <summary>The clock of all that waits here.</summary>
    internal TimeProvider Time => context.Time;

    internal SlurmSite Get(string place) => _sites.GetOrAdd(place, p => new SlurmSite(context, SlurmPlace.Parse(p)));

    private TimeSpan Seconds(string name, double usual) =>
        TimeSpan.FromSeconds(
            double.TryParse(
                context.Environment[name],
                NumberStyles.AllowDecimalPoint,
                CultureInfo.InvariantCulture,
                out var seconds
            ) && seconds is > 0 and < 86400
                ? seconds
                : usual
        );
}
