using System.Collections;

namespace WandbLaunch.PowerShell;

/// <summary>Completes run ids of the given project, newest first.</summary>
public sealed class RunIdCompleter : LaunchCompleter
{
    private protected override IReadOnlyList<string> DependsOn => ["Entity", "Project"];

    private protected override async Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    )
    {
        var values = new List<(string, string)>();
        if (Place(bound) is not { } place)
        {
            return values;
        }

        await foreach (
            var run in place.Server.Api.RunsAsync(
                place.Entity,
                place.Project,
                null,
                null,
                50,
                place.Server.AppUrl,
                token
            )
        )
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
