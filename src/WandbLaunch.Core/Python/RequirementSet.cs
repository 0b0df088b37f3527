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
            folder is null ? null
            : ReadLines(folder, RequirementsFile) is { } list
                ? Clean(list, RequirementsFile, false, folder, warnings, [RequirementsFile])
            : null;
        if (frozen is null)
        {
            return own is null ? None : new RequirementSet(own, false, warnings);
        }

        var exact = Clean(
            frozen.TrimStart('\uFEFF').Split('\n'),
            "the run's requirements.txt",
            true,
            null,
            warnings,
            []
        );
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

    private const string RequirementsFile = "requirements.txt";
    private const int MostFiles = 100;
    private const long MostBytes = 4 * 1024 * 1024;

    private static string[]? ReadLines(string folder, string path)
    {
        using var opened = SafeFolder.Open(folder);
        return opened.ReadText(path, "requirements file", MostBytes)?.Split('\n');
    }

    private static List<string> Include(
        string folder,
        string at,
        string named,
        string where,
        List<string> warnings,
        HashSet<string> open
    )
    {
        // "../base.txt" in a subfolder is still a file of this source.
        var parts = new List<string>();
        foreach (var part in (at + "/" + named.Replace('\\', '/')).Split('/').Where(p => p is not ("" or ".")))
        {
            if (part != "..")
            {
                parts.Add(part);
            }
            else if (parts.Count > 0)
            {
                parts.RemoveAt(parts.Count - 1);
            }
            else
            {
                throw Outside(where);
            }
        }

        var path = string.Join('/', parts);
        if (named[0] is '/' or '\\' || SafePath.Fault(path) is not null)
        {
            throw Outside(where);
        }

        if (!open.Add(path))
        {
            return [];
        }

        var lines = open.Count > MostFiles ? null : ReadLines(folder, path);
        return lines is null
            ? throw new LaunchException(
                "RequirementsMissing",
                LaunchErrorCategory.ObjectNotFound,
                $"The requirements file that {where} names does not exist, or is one of more than {MostFiles}.",
                where
            )
            : Clean(lines, path, false, folder, warnings, open);
    }

    // What pip gets is what is understood here, word by word. pip itself takes shortened options, variables, local
    // paths and more, and any of them could hand it a file or a secret of this machine. What stands in the file stays
    // out of every message: it may have been brought there from somewhere else.
    private static List<string> Clean(
        IEnumerable<string> source,
        string file,
        bool frozen,
        string? folder,
        List<string> warnings,
        HashSet<string> open
    )
    {
        var lines = new List<string>();
        var pending = "";
        var number = 0;
        foreach (var raw in source.Append(""))
        {
            number++;
            var line = pending + raw.TrimEnd('\r', ' ', '\t').TrimStart('\uFEFF');
            if (line.EndsWith('\\') && !raw.TrimStart().StartsWith('#'))
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

            var where = $"line {number} of {file}";
            if (line.Length > 8192 || line.Any(c => c is (< ' ' or > '~') and not '\t'))
            {
                Unknown(where, "it holds letters that no requirement has");
            }
            else if (line.Contains("${", StringComparison.Ordinal))
            {
                throw Refused(
                    where,
                    "pip would put a variable of this machine in its place. Set the index with -PipIndexUrl or -PipExtraIndexUrl"
                );
            }
            else if (IncludeLine().Match(line) is { Success: true } include && folder is not null)
            {
                var constraint = include.Groups[1].Value is "-c" or "--constraint";
                var at = Path.GetDirectoryName(file)?.Replace('\\', '/') ?? "";
                var inner = Include(folder, at, include.Groups[2].Value, where, warnings, open);
                if (constraint)
                {
                    warnings.Add($"requirements: the constraint file that {where} names is not used");
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
                    lines.Add(CheckAddress(editable.Groups[1].Value, where));
                }
                else
                {
                    warnings.Add(
                        $"requirements: {where} installs the project itself; the program runs in its folder instead"
                    );
                }
            }
            else if (line[0] == '-')
            {
                lines.AddRange(Options(line, where, warnings));
            }
            else if (Direct().Match(line) is { Success: true } direct)
            {
                var address = direct.Groups["url"].Value;
                if (address.StartsWith("file:", StringComparison.OrdinalIgnoreCase))
                {
                    warnings.Add($"requirements: {where} is a file of the original machine and is left out");
                }
                else
                {
                    _ = CheckAddress(address, where);
                    lines.Add(CheckTail(line, direct.Groups["tail"].Value, where));
                }
            }
            else if (
                line[0] is '.' or '/' or '\\' or '~'
                || Archive().IsMatch(line.Split(' ', '\t', ';', '[')[0])
                || (line.AsSpan().IndexOfAny('/', '\\') >= 0 && !line.Contains(';', StringComparison.Ordinal))
            )
            {
                warnings.Add(
                    $"requirements: {where} is a local path and is left out; the program runs in its own folder"
                );
            }
            else if (Requirement().Match(line) is { Success: true } requirement)
            {
                // wandb==…dev1 never was on an index (protocol E.2).
                lines.Add(
                    WandbDev().IsMatch(line) ? "wandb" : CheckTail(line, requirement.Groups["tail"].Value, where)
                );
            }
            else
            {
                Unknown(where, "it is no requirement of the form name, extras, versions, marker");
            }
        }

        return lines;

        // What was installed somewhere may have any name; what a source itself asks for must be meant.
        void Unknown(string where, string why)
        {
            if (!frozen)
            {
                throw Refused(where, why);
            }

            warnings.Add($"requirements: {where} is left out: {why}");
        }
    }

    private static LaunchException Outside(string where) =>
        new(
            "PathOutside",
            LaunchErrorCategory.SecurityError,
            $"{Capital(where)} names a requirements file outside the source. Give a path relative to that file.",
            where
        );

    private static LaunchException Refused(string where, string why) =>
        new("RequirementRefused", LaunchErrorCategory.SecurityError, $"{Capital(where)} is refused: {why}.", where);

    private static string Capital(string text) => char.ToUpperInvariant(text[0]) + text[1..];

    // A marker, then hashes. pip takes every word that begins with "-" as the begin of options.
    private static string CheckTail(string line, string tail, string where)
    {
        var words = tail.Split((char[])[' ', '\t'], StringSplitOptions.RemoveEmptyEntries);
        var options = words.SkipWhile(w => w[0] != '-').ToList();
        var marker = string.Join(' ', words.Take(words.Length - options.Count));
        return
            options.All(o => Hashes().IsMatch(o))
            && (marker.Length == 0 || MarkerText().IsMatch(marker))
            && (options.Count == 0 || !line.Contains('\t', StringComparison.Ordinal))
            ? line
            : throw Refused(
                where,
                "only a marker and --hash may follow a package; other options of pip are not what a requirements file needs"
            );
    }

    private static List<string> Options(string line, string where, List<string> warnings)
    {
        var words = new Queue<string>(line.Split((char[])[' ', '\t'], StringSplitOptions.RemoveEmptyEntries));
        var lines = new List<string>();
        while (words.TryDequeue(out var word))
        {
            var cut = word.StartsWith("--", StringComparison.Ordinal)
                ? word.IndexOf('=', StringComparison.Ordinal)
                : -1;
            var name = cut < 0 ? word : word[..cut];
            if (name is "--no-index" or "--pre" or "--prefer-binary" or "--require-hashes" && cut < 0)
            {
                lines.Add(name);
                continue;
            }

            var known =
                name
                is "-i"
                    or "--index-url"
                    or "--extra-index-url"
                    or "-f"
                    or "--find-links"
                    or "--trusted-host"
                    or "--no-binary"
                    or "--only-binary"
                    or "--use-feature";
            var value =
                cut >= 0 ? word[(cut + 1)..]
                : known && words.TryDequeue(out var next) ? next
                : "";
            if (!known || value.Length == 0)
            {
                throw Refused(
                    where,
                    "this option of pip is not one that a requirements file needs, or is not written in full"
                );
            }

            if (name == "--trusted-host")
            {
                // It would take the check of certificates from this machine's own index too.
                warnings.Add($"requirements: the --trusted-host in {where} is not used; set it with -PipTrustedHost");
                continue;
            }

            var address = name is "-i" or "--index-url" or "--extra-index-url" or "-f" or "--find-links";
            if (address ? !Https().IsMatch(value) : !Names().IsMatch(value))
            {
                throw Refused(
                    where,
                    address
                        ? "packages come from an index only over https. Set another one with -PipIndexUrl, -PipExtraIndexUrl or -PipFindLinks"
                        : "its value is no list of names"
                );
            }

            lines.Add(name + " " + value);
        }

        return lines;
    }

    private static string CheckAddress(string address, string where) =>
        Https().IsMatch(address) || Git().IsMatch(address)
            ? address
            : throw Refused(
                where,
                "packages come from an address only over https, and from git only over https or ssh, without what git could take as an option"
            );

    // As pip reads it: a "#egg=" behind a blank is a comment as well.
    [GeneratedRegex(@"(^|\s+)#.*$")]
    private static partial Regex Comment();

    [GeneratedRegex(@"^(-r|--requirement|-c|--constraint)(?:\s+|=)?(\S+)$")]
    private static partial Regex IncludeLine();

    [GeneratedRegex(@"^(?:-e|--editable)(?:\s+|=)(\S+)")]
    private static partial Regex Editable();

    [GeneratedRegex(@"^(?:[A-Za-z0-9._-]+(?:\[[^\]]*\])?\s*@\s*)?(?:git|hg|svn|bzr)\+", RegexOptions.IgnoreCase)]
    private static partial Regex Vcs();

    // An address, alone or behind "name @".
    [GeneratedRegex(
        @"^(?:[A-Za-z0-9][A-Za-z0-9._-]*[ \t]*(?:\[[A-Za-z0-9._, \t-]*\])?[ \t]*@[ \t]*)?(?<url>[A-Za-z][A-Za-z0-9+.-]+:[^ \t]*)(?<tail>(?:[ \t].*)?)$"
    )]
    private static partial Regex Direct();

    [GeneratedRegex(
        @"^(?<name>[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)[ \t]*(?:\[[A-Za-z0-9._, \t-]*\])?[ \t]*(?:\(?[ \t]*(?:===|==|~=|!=|<=|>=|<|>)[ \t]*[A-Za-z0-9._*+!-]+(?:[ \t]*,[ \t]*(?:===|==|~=|!=|<=|>=|<|>)[ \t]*[A-Za-z0-9._*+!-]+)*[ \t]*,?[ \t]*\)?)?(?<tail>(?:[ \t]*;.*|[ \t]+-.*)?)$",
        RegexOptions.NonBacktracking
    )]
    private static partial Regex Requirement();

    // With a name of this kind pip looks for a file first.
    [GeneratedRegex(@"\.(?:whl|zip|tar|tgz|tbz|txz|tlz|gz|bz2|xz|lz|lzma|egg)$", RegexOptions.IgnoreCase)]
    private static partial Regex Archive();

    [GeneratedRegex(@"^;[A-Za-z0-9_.,<>=!~'""() *+/-]+$")]
    private static partial Regex MarkerText();

    [GeneratedRegex(@"^--hash=(?:sha256|sha384|sha512):[0-9A-Fa-f]+$")]
    private static partial Regex Hashes();

    [GeneratedRegex(@"^https://[A-Za-z0-9\[][A-Za-z0-9._~:/?#\[\]@!&()*+,;=%-]*$")]
    private static partial Regex Https();

    [GeneratedRegex(
        @"^git\+(?:https|ssh)://(?:[A-Za-z0-9._~%-]+(?::[A-Za-z0-9._~%-]*)?@)?[A-Za-z0-9\[][A-Za-z0-9._:\]-]*/(?!-)[A-Za-z0-9._~/%+-]*(?:@(?!-)[A-Za-z0-9._/+-]+)?(?:\#[A-Za-z0-9._~=&/\[\],%+-]*)?$"
    )]
    private static partial Regex Git();

    [GeneratedRegex(@"^:?[A-Za-z0-9][A-Za-z0-9._,:-]*$")]
    private static partial Regex Names();

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
