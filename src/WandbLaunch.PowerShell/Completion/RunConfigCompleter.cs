using System.Collections;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Completes keys of a run's config: of the run that is launched, else of the project's newest.</summary>
public class RunConfigCompleter : NameValueCompleter
{
    private protected override IReadOnlyList<string> DependsOn => ["Uri", "Entity", "Project"];

    private protected override async Task<
        IReadOnlyList<(string Name, string Tip, IReadOnlyList<string> Values)>
    > KnownAsync(IDictionary bound, CancellationToken token) =>
        await RunAsync(bound, token) is { } run ? [.. run.Config.Select(p => Pair(p.Key, p.Value))] : [];

    /// <summary>The run that is launched, else the project's newest.</summary>
    private protected async Task<WandbRun?> RunAsync(IDictionary bound, CancellationToken token)
    {
        if (WandbSession.Current is not { } server)
        {
            return null;
        }

        return Run(bound, "") is { } path ? await server.Api.RunAsync(path, server.AppUrl, token)
            : Place(bound) is { } place ? await KnownRun.NewestAsync(place, token)
            : null;
    }

    private protected static (string Name, string Tip, IReadOnlyList<string> Values) Pair(string name, object? value)
    {
        var text = ArgumentSet.Word(value);
        return (name, $"{name} is {text} now", text.Length is > 0 and < 200 ? [text] : []);
    }
}
