namespace WandbLaunch.Agents;

/// <summary>Whom an agent tells.</summary>
internal sealed record AgentCallbacks
{
    /// <summary>Everything that happens, in order for each item, from any thread.</summary>
    internal Action<AgentEvent> Happened { get; init; } = _ => { };

    /// <summary>A line for people whenever something changes.</summary>
    internal Action<string> Status { get; init; } = _ => { };

    /// <summary>Called once when there has been nothing to do for some seconds after work.</summary>
    internal Action Rests { get; init; } = () => { };

    /// <summary>Each step of the road by its name: tests end the process there.</summary>
    internal Action<string> Step { get; init; } = _ => { };

    /// <summary>How long to wait before a try after a failure of the machine.</summary>
    internal Func<int, TimeSpan> RetryPause { get; init; } =
        attempt =>
            TimeSpan.FromSeconds(
                Math.Min(5 * Math.Pow(3, attempt - 1), 300) * (0.8 + (Random.Shared.NextDouble() * 0.4))
            );

    /// <summary>How long to leave a server alone that does not answer.</summary>
    internal Func<int, TimeSpan> AwayPause { get; init; } =
        attempt =>
            TimeSpan.FromSeconds(
                Math.Min(Math.Pow(2, Math.Min(attempt, 10)), 30) * (0.75 + (Random.Shared.NextDouble() * 0.5))
            );

    /// <summary>How long to wait before a run that W&amp;B does not show is looked for again (protocol F.5).</summary>
    internal Func<int, TimeSpan> RunPause { get; init; } = attempt => TimeSpan.FromSeconds(1 << attempt);
}
