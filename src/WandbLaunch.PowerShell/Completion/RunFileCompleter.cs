using System.Collections;
using System.Globalization;

namespace WandbLaunch.PowerShell;

/// <summary>Completes names of the files of a run.</summary>
public sealed class RunFileCompleter : LaunchCompleter
{
    private protected override IReadOnlyList<string> DependsOn => ["Entity", "Project", "Id"];

    private protected override async Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    ) =>
        WandbSession.Current is { } server && Run(bound, "Id") is { } run
            ?
            [
                .. (await server.Api.FilesAsync(run, null, token))
                    .OrderByDescending(f => f.Updated)
                    .Select(f => (f.Name, string.Create(CultureInfo.InvariantCulture, $"{f.Name} {f.Size:N0} bytes"))),
            ]
            : [];
}
