using System.Collections;
using WandbLaunch.Foundation;
using WandbLaunch.Sources;

namespace WandbLaunch.PowerShell;

/// <summary>Completes commands: the programs of a folder, or of a repository that is in the cache. Code is not fetched for it.</summary>
public sealed class EntryPointCompleter : RepositoryCompleter
{
    private protected override IReadOnlyList<string> DependsOn => ["GitRepo", "Uri", "GitVersion"];

    private protected override async Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    )
    {
        if (await RepositoryAsync(bound, token) is not var (folder, remote))
        {
            return [];
        }

        var programs = folder is null
            ? GitReferences.ProgramsOfMirror(new LaunchContext().Cache, remote!, One(bound, "GitVersion"))
            : GitReferences.ProgramsOfFolder(folder, One(bound, "GitVersion"));
        return
        [
            .. programs
                .OrderBy(p => p.Count(c => c == '/'))
                .ThenBy(p => p is not ("main.py" or "train.py"))
                .ThenBy(p => p, StringComparer.Ordinal)
                .Select(p => (CommandFor(p), p)),
        ];
    }

    // The program's name alone is enough.
    private protected override bool Matches(string value) =>
        base.Matches(value)
        || value[(value.IndexOf(' ', StringComparison.Ordinal) + 1)..]
            .StartsWith(Word, StringComparison.CurrentCultureIgnoreCase);

    private static string CommandFor(string program)
    {
        // Words are split again where they are used: a blank in a name stays in it.
        var word = program.Any(char.IsWhiteSpace) ? '"' + program + '"' : program;
        return program.EndsWith(".ps1", StringComparison.Ordinal)
            ? word
            : (program.EndsWith(".sh", StringComparison.Ordinal) ? "bash " : "python ") + word;
    }
}
