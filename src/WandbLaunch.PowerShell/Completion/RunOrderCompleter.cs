using System.Collections;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Completes orders of runs: by time, and on W&amp;B's servers by what the newest run has in its summary and config.</summary>
public sealed class RunOrderCompleter : LaunchCompleter
{
    private protected override IReadOnlyList<string> DependsOn => ["Entity", "Project"];

    private protected override async Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    )
    {
        List<(string, string)> orders = [("-created_at", "newest first"), ("+created_at", "oldest first")];
        if (Place(bound) is { } place && place.Server.Settings.LocalServerPath is null)
        {
            orders.AddRange([("-heartbeat_at", "last heard of first"), ("+heartbeat_at", "longest silent first")]);
            if (await KnownRun.NewestAsync(place, token) is { } run)
            {
                orders.AddRange(
                    Keys(run).SelectMany(k => new[] { ("-" + k, "largest first"), ("+" + k, "smallest first") })
                );
            }
        }

        return orders;
    }

    private static IEnumerable<string> Keys(WandbRun run) =>
        run
            .Summary.Where(p => p.Value is int or long or double && !p.Key.StartsWith('_'))
            .Select(p => "summary_metrics." + p.Key)
            .Concat(run.Config.Where(p => p.Value is int or long or double).Select(p => $"config.{p.Key}.value"));
}
