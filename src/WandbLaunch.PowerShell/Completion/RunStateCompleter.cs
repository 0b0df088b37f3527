using System.Collections;

namespace WandbLaunch.PowerShell;

/// <summary>Completes run states.</summary>
public sealed class RunStateCompleter : LaunchCompleter
{
    private static readonly string[] States =
    [
        "running",
        "finished",
        "failed",
        "crashed",
        "killed",
        "preempting",
        "preempted",
        "pending",
    ];

    private protected override Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    ) => Task.FromResult<IReadOnlyList<(string, string)>>([.. States.Select(s => (s, ""))]);
}
