using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Launching;

/// <summary>Whether the time of a run is over. What is found stands in the run itself while it is being stopped, so that whoever looks after it next knows why.</summary>
internal static class LimitCheck
{
    /// <summary>True when it is being stopped because a limit is over; nothing else writes a fault down before the end.</summary>
    internal static bool IsOver(LaunchedRun run) =>
        run is { State: LaunchState.Stopping, ErrorId: RunLimits.TimeFault or RunLimits.StartFault };

    /// <summary>The run, marked when a limit of it is over and nobody stopped it before.</summary>
    internal static LaunchedRun Apply(LaunchedRun run, RunSpec spec, DateTimeOffset now) =>
        run.IsDone || run.State == LaunchState.Stopping ? run
        : run.Started is { } began
            ? spec.TimeLimit is { } most && now - began >= most
                    ? Over(run, RunLimits.TimeFault, RunLimits.TimeIsOver(most))
                : run
        : spec is { StartBy: { } by, StartLimit: { } limit } && now >= by
            ? Over(run, RunLimits.StartFault, RunLimits.StartIsOver(limit, run.Reason))
        : run;

    private static LaunchedRun Over(LaunchedRun run, string fault, string why) =>
        run with
        {
            State = LaunchState.Stopping,
            Reason = why,
            ErrorId = fault,
        };
}
