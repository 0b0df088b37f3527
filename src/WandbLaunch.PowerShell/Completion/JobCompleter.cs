using System.Collections;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Completes jobs: names for Get-WandbLaunchJob, whole paths where one is launched.</summary>
public sealed class JobCompleter : LaunchCompleter
{
    private protected override IReadOnlyList<string> DependsOn => ["Entity", "Project"];

    private protected override bool OfCommand => true;

    private protected override async Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    )
    {
        if (Place(bound) is not { } place)
        {
            return [];
        }

        var whole = !Command.Equals("Get-WandbLaunchJob", StringComparison.OrdinalIgnoreCase);
        var versions = await new ArtifactApi(place.Server.Transport, place.Server.Api).ListAsync(
            place.Entity,
            place.Project,
            "job",
            token
        );
        return
        [
            .. versions
                .Select(v => v.Collection)
                .Distinct(StringComparer.Ordinal)
                .Select(n => (whole ? $"{place.Entity}/{place.Project}/{n}:latest" : n, n)),
        ];
    }

    // The name alone is what people remember of a path.
    private protected override bool Matches(string value) =>
        base.Matches(value)
        || value[(value.LastIndexOf('/') + 1)..].StartsWith(Word, StringComparison.CurrentCultureIgnoreCase);
}
