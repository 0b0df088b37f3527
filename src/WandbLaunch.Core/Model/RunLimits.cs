using WandbLaunch.Foundation;

namespace WandbLaunch.Model;

/// <summary>How long a run may run, and how long it may take until it does. An item, its queue and its agent each have a word in it, and the smallest holds.</summary>
internal sealed record RunLimits
{
    /// <summary>Id of the fault of a run that ran too long.</summary>
    internal const string TimeFault = "TimeLimit";

    /// <summary>Id of the fault of a run that did not begin in time.</summary>
    internal const string StartFault = "StartLimit";

    internal static readonly RunLimits None = new();

    /// <summary>From the program's start; null for no limit.</summary>
    internal TimeSpan? Time { get; init; }

    /// <summary>From when the launch was asked for, or its item was taken, to the program's start; null for no limit.</summary>
    internal TimeSpan? Start { get; init; }

    /// <summary>The smaller of both, one by one.</summary>
    internal RunLimits Smallest(RunLimits other) =>
        new() { Time = Smaller(Time, other.Time), Start = Smaller(Start, other.Start) };

    /// <summary>Why a run was ended that ran too long.</summary>
    internal static string TimeIsOver(TimeSpan limit) =>
        $"it reached its time limit of {SpanText.Show(limit)} and was stopped";

    /// <summary>Why a run was given up that did not begin in time.</summary>
    /// <param name="limit">The limit.</param>
    /// <param name="meanwhile">What it waited for.</param>
    internal static string StartIsOver(TimeSpan limit, string? meanwhile) =>
        $"it did not begin to run within its start limit of {SpanText.Show(limit)}"
        + (string.IsNullOrEmpty(meanwhile) ? "" : $"; until then: {meanwhile}");

    private static TimeSpan? Smaller(TimeSpan? a, TimeSpan? b) => a is null || b < a ? b : a;
}
