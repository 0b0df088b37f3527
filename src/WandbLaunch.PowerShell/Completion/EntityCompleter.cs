using System.Collections;
using WandbLaunch.Foundation;

namespace WandbLaunch.PowerShell;

/// <summary>Completes entities: the user and the teams, and the one that the environment names.</summary>
public sealed class EntityCompleter : LaunchCompleter
{
    private protected override Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    )
    {
        var known = WandbSession.Current is { } c ? c.Teams.Prepend(c.Username).Prepend(c.Entity) : [];
        return Task.FromResult<IReadOnlyList<(string, string)>>([
            .. known
                .Append(new LaunchContext().Environment["WANDB_ENTITY"])
                .OfType<string>()
                .Distinct(StringComparer.Ordinal)
                .Select(t => (t, "")),
        ]);
    }
}
