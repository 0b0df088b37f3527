using System.Collections;

namespace WandbLaunch.PowerShell;

/// <summary>Completes run ids of the given project, newest first.</summary>
public sealed class RunIdCompleter : LaunchCompleter
{
    private protected override async Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    )
    {
        if (
            WandbSession.Current is not { } connection
            || (bound["Entity"]?.ToString() ?? connection.Entity) is not { } entity
            || (bound["Project"]?.ToString() ?? connection.Project) is not { } project
        )
        {
            return [];
        }

        var values = new List<(string, string)>();
        await foreach (var run in connection.Api.RunsAsync(entity, project, null, null, 50, connection.AppUrl, token))
        {
            values.Add((run.Id, $"{run.Name} {run.State}"));
            if (values.Count >= 50)
            {
                break;
            }
        }

        return values;
    }
}
