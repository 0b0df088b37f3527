using System.Collections;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;

namespace WandbLaunch.PowerShell;

/// <summary>Completes ids of launches on this machine, newest first: those that the command can act on.</summary>
public sealed class LaunchIdCompleter : LocalCompleter
{
    private protected override bool OfCommand => true;

    private protected override Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    ) =>
        Task.FromResult<IReadOnlyList<(string, string)>>([
            .. LaunchStore.Of(new LaunchContext()).Known().Where(Applies).Select(r => (r.Id, $"{r.State} {r.Source}")),
        ]);

    private bool Applies(LaunchedRun run) =>
        Command.ToUpperInvariant() switch
        {
            "STOP-WANDBLAUNCH" or "WAIT-WANDBLAUNCH" => !run.IsDone,
            "REMOVE-WANDBLAUNCH" => run.IsDone,
            "SHOW-WANDBLAUNCH" => run.Uri is not null,
            _ => true,
        };
}
