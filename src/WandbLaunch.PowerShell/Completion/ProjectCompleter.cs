using System.Collections;

namespace WandbLaunch.PowerShell;

/// <summary>Completes projects of the given or default entity.</summary>
public sealed class ProjectCompleter : LaunchCompleter
{
    private protected override async Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    )
    {
        if (
            WandbSession.Current is not { } connection
            || (bound["Entity"]?.ToString() ?? connection.Entity) is not { } entity
        )
        {
            return [];
        }

        var names = await connection.Api.ProjectsAsync(entity, token);
        return [.. names.Order(StringComparer.OrdinalIgnoreCase).Select(n => (n, $"{entity}/{n}"))];
    }
}
