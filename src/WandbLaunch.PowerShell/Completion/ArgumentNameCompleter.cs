using System.Collections;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.PowerShell;

/// <summary>Completes names of a program's arguments: those that the run had, then the keys of its config.</summary>
public sealed class ArgumentNameCompleter : RunConfigCompleter
{
    private protected override async Task<
        IReadOnlyList<(string Name, string Tip, IReadOnlyList<string> Values)>
    > KnownAsync(IDictionary bound, CancellationToken token)
    {
        if (await RunAsync(bound, token) is not { } run)
        {
            return [];
        }

        List<KeyValuePair<string, object?>> own;
        try
        {
            var info = await WandbSession.Current!.Api.RunInfoAsync(
                new RunPath(run.Entity, run.Project, run.Id),
                token
            );
            own = ArgumentSet.Named(info.Args) ?? [];
        }
        catch (LaunchException)
        {
            // A run that did not record how it was started, or arguments that are no names.
            own = [];
        }

        return
        [
            .. own.Select(p => Pair(p.Key, p.Value)),
            .. run.Config.Where(c => own.All(o => o.Key != c.Key)).Select(c => Pair(c.Key, c.Value)),
        ];
    }
}
