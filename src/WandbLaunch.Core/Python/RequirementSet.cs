using System.Text.RegularExpressions;
using WandbLaunch.Foundation;

namespace WandbLaunch.Python;

/// <summary>The packages of a run, as lines for pip. Lines that pip could misuse are refused or left out with a warning.</summary>
internal sealed partial record RequirementSet(IReadOnlyList<string> Lines, bool Frozen, IReadOnlyList<string> Warnings)
{
    internal static RequirementSet None { get; } = new([], false, []);

    internal bool IsEmpty => Lines.All(l => l.StartsWith('-'));

    internal string Text => string.Join('\n', Lines) + "\n";

    /// <summary>Key of everything that is installed.</summary>
    internal string Hash => LaunchCache.Hash((Frozen ? "frozen\n" : "") + Text);

    /// <summary>
    /// Joins what the run had installed (<paramref name="frozen"/>) with the repository's own list: with both, only the
    /// packages of the list are installed, at the versions of the run (protocol E.2, bootstrap).
    /// </summary>
    internal static RequirementSet Create(string? frozen, string? folder)
    {
        var warnings = new List<string>();
        var own =
            folder is not null && File.Exists(Path.Combine(folder, "requirements.txt"))
                ? Read(folder, "requirements.txt", warnings, [])
                : null;
        if (frozen is null)
        {
            return own is null ? None : new RequirementSet(own, false, warnings);
        }

        var exact = Clean(frozen.Split('\n'), folder, warnings, []);
        if (own is null)
        {
            return new RequirementSet(exact, true, warnings);
        }

        var versions = exact
            .Select(l => (Line: l, Match: Pinned().Match(l)))
            .Where(p => p.Match.Success)
            .GroupBy(p => Normal(p.Match.Groups[1].Value))
            .ToDictionary(g => g.Key, g => g.First().Match.Groups[2].Value);
        var joined = own.Select(line =>
                Name().Match(line) is { Success: true } name
                && !line.Contains("--hash", StringComparison.Ordinal)
                && !line.Contains('@', StringComparison.Ordinal)
                && versions.TryGetValue(Normal(name.Groups[1].Value), out var version)
                    ? name.Groups[1].Value + name.Groups[2].Value + "==" + version + Marker().Match(line).Value
                    : line
            )
            .ToArray();
        return new RequirementSet(joined, false, warnings);
    }

    internal static string Normal(string name) => Separators().Replace(name, "-").ToLowerInvariant();

    private static List<string> Read(string folder, string path, List<string> warnings, HashSet<string> open)
    {
        var full = SafePath.CombineExisting(folder, path, "requirements file");
        if (!File.Exists(full))
        {
            throw new LaunchException(
                "RequirementsMissing",
                LaunchErrorCategory.ObjectNotFound,
                $"The requirements file '{path}' that another one names does not exist.",
                path
            );
        }

        if (!open.Add(full))
        {
            return [];
        }

        if (new FileInfo(full).Length > 4 * 1024 * 1024)
        {
            throw WandbLaunch.Wandb.WandbApi.TooLarge(path, 4 * 1024 * 1024);
        }

        return Clean(File.ReadLines(full), folder, warnings, open, Path.GetDirectoryName(path) ?? "");
    }

    private static List<string> Clean(
        IEnumerable<string> source,
        string? folder,
        List<string> warnings,
        HashSet<string> open,
        string at = ""
    )
    {
        var lines = new List<string>();
        var pending = "";
        foreach (var raw in source)
        {
            var line = pending + raw.TrimEnd('\r', ' ', '\t').TrimStart('\uFEFF');
            if (line.EndsWith('\\'))
            {
                pending = line[..^1];
                continue;
            }

            pending = "";
            line = Comment().Replace(line, "").Trim();
            if (line.Length == 0)
            {
                continue;
            }

            if (Include().Match(line) is { Success: true } include && folder is not null)
            {
                var constraint = include.Groups[1].Value is "-c" or "--constraint";
                var inner = Read(folder, Path.Combine(at, include.Groups[2].Value).Replace('\\', '/'), warnings, open);
                if (constraint)
                {
                    warnings.Add($"requirements: the constraint file {include.Groups[2].Value} is not used");
                }
                else
                {
                    lines.AddRange(inner);
                }
            }
            else if (Editable().Match(line) is { Success: true } editable)
            {
                if (Vcs().IsMatch(editable.Groups[1].Value))
                {
                    lines.Add(CheckVcs(editable.Groups[1].Value));
                }
                else
                {
                    warnings.Add(
                        $"requirements: '{line}' installs the project itself; the program runs in its folder instead"
                    );
                }
            }
            else if (Vcs().IsMatch(line) || line.Contains(" @ ", StringComparison.Ordinal))
            {
                if (line.Contains("@ file:", StringComparison.OrdinalIgnoreCase))
                {
                    warnings.Add($"requirements: '{line}' is a file of the original machine and is left out");
                }
                else
                {
                    lines.Add(CheckVcs(line));
                }
            }
            else if (line[0] == '-')
            {
                if (
                    !KnownOption().IsMatch(line)
                    || (
                        line.StartsWith("--find-links", StringComparison.Ordinal)
                        && !line.Contains("https://", StringComparison.Ordinal)
                    )
                )
                {
                    throw new LaunchException(
                        "RequirementRefused",
                        LaunchErrorCategory.SecurityError,
                        $"The requirements line '{line}' is refused: this option of pip is not one that a requirements file needs.",
                        line
                    );
                }

                lines.Add(line);
            }
            else if (
                line[0] is '.' or '/' or '\\'
                || line.StartsWith("file:", StringComparison.OrdinalIgnoreCase)
                || line.Contains(":\\", StringComparison.Ordinal)
            )
            {
                warnings.Add(
                    $"requirements: '{line}' is a local path and is left out; the program runs in its own folder"
                );
            }
            else
            {
                // wandb==…dev1 never was on an index (protocol E.2).
                lines.Add(WandbDev().IsMatch(line) ? "wandb" : line);
            }
        }

        return lines;
    }

    private static string CheckVcs(string line)
    {
        var match = Vcs().Match(line);
        if (match.Success && !(match.Value is "git+https:" or "git+ssh:"))
        {
            throw new LaunchException(
                "RequirementRefused",
                LaunchErrorCategory.SecurityError,
                $"The requirements line '{line}' is refused: packages come from git only over https or ssh.",
                line
            );
        }

        if (
            line.Contains("ext::", StringComparison.Ordinal)
            || line.Contains("://-", StringComparison.Ordinal)
            || line.Contains("--upload-pack", StringComparison.Ordinal)
        )
        {
            throw new LaunchException(
                "RequirementRefused",
                LaunchErrorCategory.SecurityError,
                $"The requirements line '{line}' is refused: it could make git run a program.",
                line
            );
        }

        return line;
    }

    [GeneratedRegex(@"(^|\s)#(?!egg=|subdirectory=).*$")]
    private static partial Regex Comment();

    [GeneratedRegex(@"^(-r|--requirement|-c|--constraint)(?:\s+|=)?(\S+)$")]
    private static partial Regex Include();

    [GeneratedRegex(@"^(?:-e|--editable)(?:\s+|=)(\S+)")]
    private static partial Regex Editable();

    [GeneratedRegex(@"\b(?:git|hg|svn|bzr)\+[a-z+]+:", RegexOptions.IgnoreCase)]
    private static partial Regex Vcs();

    [GeneratedRegex(
        @"^(--index-url|-i|--extra-index-url|--trusted-host|--find-links|-f|--no-index|--pre|--prefer-binary|--no-binary|--only-binary|--require-hashes|--use-feature)(\s|=|$)"
    )]
    private static partial Regex KnownOption();

    [GeneratedRegex(@"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*==\s*([^\s;]+)")]
    private static partial Regex Pinned();

    [GeneratedRegex(@"^([A-Za-z0-9][A-Za-z0-9._-]*)\s*(\[[^\]]*\])?")]
    private static partial Regex Name();

    [GeneratedRegex(@"\s*;.*$")]
    private static partial Regex Marker();

    [GeneratedRegex(@"[-_.]+")]
    private static partial Regex Separators();

    [GeneratedRegex(@"^wandb==.*dev\d*$")]
    private static partial Regex WandbDev();
}
