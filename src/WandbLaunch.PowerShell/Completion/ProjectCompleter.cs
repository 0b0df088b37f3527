using System.Collections;
using WandbLaunch.Foundation;

namespace WandbLaunch.PowerShell;

/// <summary>Completes projects of the given or default entity, and the one that the environment names.</summary>
public sealed class ProjectCompleter : LaunchCompleter
{
    private protected override IReadOnlyList<string> DependsOn => ["Entity"];

    private protected override async Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    )
    {
        var set = new LaunchContext().Environment["WANDB_PROJECT"];
        if (WandbSession.Current is not { } connection || (One(bound, "Entity") ?? connection.Entity) is not { } entity)
        {
            return set is null ? [] : [(set, "WANDB_PROJECT")];
        }

        var names = await connection.Api.ProjectsAsync(entity, token);
        return [.. names.Order(StringComparer.OrdinalIgnoreCase).Select(n => (n, $"{entity}/{n}"))];
    }
}
