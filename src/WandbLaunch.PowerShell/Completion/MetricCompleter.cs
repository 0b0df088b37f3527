using System.Collections;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Completes metrics: the numbers in the summary of the run that is named, else of the project's newest.</summary>
public sealed class MetricCompleter : LaunchCompleter
{
    private protected override IReadOnlyList<string> DependsOn => ["Entity", "Project", "Id"];

    private protected override async Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    )
    {
        if (Place(bound) is not { } place)
        {
            return [];
        }

        var run = Run(bound, "Id") is { } path
            ? await place.Server.Api.RunAsync(path, place.Server.AppUrl, token)
            : await KnownRun.NewestAsync(place, token);
        return run is null
            ? []
            : [.. Metrics(run).Select(m => (m, $"{m} is {ArgumentSet.Word(run.Summary[m])} in {run.Id}"))];
    }

    /// <summary>What a run has logged that can be drawn; W&amp;B's own begins with an underscore.</summary>
    internal static IEnumerable<string> Metrics(WandbRun run) =>
        run
            .Summary.Where(p => p.Value is int or long or double or decimal && !p.Key.StartsWith('_'))
            .Select(p => p.Key);
}
