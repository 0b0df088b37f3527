using System.Collections;

namespace WandbLaunch.PowerShell;

/// <summary>Completes entities: the user and the teams.</summary>
public sealed class EntityCompleter : LaunchCompleter
{
    private protected override Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    ) =>
        Task.FromResult<IReadOnlyList<(string, string)>>(
            WandbSession.Current is { } c
                ? [.. c.Teams.Prepend(c.Entity).OfType<string>().Distinct().Select(t => (t, ""))]
                : []
        );
}
