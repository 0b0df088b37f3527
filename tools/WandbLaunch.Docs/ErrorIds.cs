using System.Text.RegularExpressions;

namespace WandbLaunch.Docs;

/// <summary>One place in the sources that makes an error: its ids, its category, and what stands behind it (message and target).</summary>
public sealed record ErrorSite(string File, int Line, IReadOnlyList<string> Ids, string Category, string Rest);

/// <summary>Every error id that the sources can give, read from their text: what docs/errors.md must list.</summary>
public static partial class ErrorIds
{
    /// <summary>The sites of all sources under a root.</summary>
    public static IReadOnlyList<ErrorSite> Sites(string root)
    {
        var files = Directory
            .EnumerateFiles(Path.Combine(root, "src"), "*.cs", SearchOption.AllDirectories)
            .Select(f => Path.GetRelativePath(root, f).Replace('\\', '/'))
            .Where(f =>
                !f.Contains("/obj/", StringComparison.Ordinal) && !f.Contains("/bin/", StringComparison.Ordinal)
            )
            .Order(StringComparer.Ordinal)
            .Select(f => (Name: f, Text: File.ReadAllText(Path.Combine(root, f))))
            .ToList();
        // Helpers that take the id from their caller say so by the name of the parameter.
        var helpers = files.SelectMany(f => Helper().Matches(f.Text).Select(m => m.Groups[1].Value)).ToHashSet();
        helpers.Remove("LaunchException");
        var constants = files
            .SelectMany(f => Constant().Matches(f.Text))
            .ToLookup(m => m.Groups[1].Value, m => m.Groups[2].Value);
        return
        [
            .. files.SelectMany(f =>
                Direct(f.Name, f.Text, constants)
                    .Concat(ByHelper(f.Name, f.Text, helpers))
                    .Concat(Elsewhere(f.Name, f.Text))
            ),
        ];
    }

    /// <summary>The ids of all sources under a root, in order.</summary>
    public static IReadOnlyList<string> All(string root) =>
        [.. Sites(root).SelectMany(s => s.Ids).Distinct().Order(StringComparer.Ordinal)];

    /// <summary>The ids that a page lists: the first cell of each row that holds one.</summary>
    public static IReadOnlyList<string> Listed(string page) => [.. Row().Matches(page).Select(m => m.Groups[1].Value)];

    /// <summary>Rows for what the page lacks yet, to be written out by hand.</summary>
    public static IEnumerable<string> Missing(string root)
    {
        var listed = Listed(File.ReadAllText(Path.Combine(root, "docs", "errors.md")));
        return Sites(root)
            .SelectMany(s => s.Ids.Select(id => (Id: id, Site: s)))
            .Where(s => !listed.Contains(s.Id))
            .Select(s => $"| `{s.Id}` | {s.Site.Category} | {s.Site.File}:{s.Site.Line} | {s.Site.Rest} |");
    }

    // new LaunchException("RunNotFound", LaunchErrorCategory.ObjectNotFound, …), also with a choice of ids.
    private static IEnumerable<ErrorSite> Direct(string file, string text, ILookup<string, string> constants)
    {
        foreach (Match m in Category().Matches(text))
        {
            var open = Back(text, m.Index - 1);
            var first = text[(open + 1)..m.Index];
            if (!first.TrimEnd().EndsWith(','))
            {
                // A comparison with a category, no error.
                continue;
            }

            var ids = Literals(first);
            if (ids.Count == 0)
            {
                // The id is in a variable (what the file gives it, as a pair or a choice) or in a constant, of any file.
                ids =
                [
                    .. Pair().Matches(text).Select(p => p.Groups[1].Value),
                    .. Choice().Matches(text).SelectMany(c => Literals(c.Value)),
                    .. constants[first.TrimEnd(' ', ',', '\n', '\r').Split('.')[^1].Trim()],
                ];
            }

            yield return new ErrorSite(
                file,
                Line(text, m.Index),
                [.. ids.Distinct()],
                m.Groups[1].Value,
                Regex.Replace(text[(m.Index + m.Length)..Forward(text, m.Index)], @"\s+", " ").Trim(' ', ',')
            );
        }
    }

    private static IEnumerable<ErrorSite> ByHelper(string file, string text, HashSet<string> helpers)
    {
        foreach (Match m in Call().Matches(text).Where(m => helpers.Contains(m.Groups[1].Value)))
        {
            var start = m.Index + m.Length;
            // What has one hump is a word and no id.
            var ids = Literals(text[start..Forward(text, start)]).Where(i => i.Skip(1).Any(char.IsUpper)).ToList();
            if (ids.Count > 0)
            {
                yield return new ErrorSite(file, Line(text, m.Index), ids, "InvalidData", $"{m.Groups[1].Value}(…)");
            }
        }
    }

    // Ids that reach a user as a property: fault: … ?? "X", ErrorId = … : "X".
    private static IEnumerable<ErrorSite> Elsewhere(string file, string text)
    {
        foreach (Match m in Assigned().Matches(text))
        {
            var ids = Literals(m.Value);
            if (ids.Count > 0)
            {
                yield return new ErrorSite(
                    file,
                    Line(text, m.Index),
                    ids,
                    "InvalidOperation",
                    "(an event's or run's ErrorId)"
                );
            }
        }
    }

    private static List<string> Literals(string code) => [.. Literal().Matches(code).Select(m => m.Groups[1].Value)];

    private static int Line(string text, int index) => text.AsSpan(0, index).Count('\n') + 1;

    private static int Back(string text, int from)
    {
        var depth = 0;
        for (var i = from; i > 0; i--)
        {
            depth += text[i] switch
            {
                ')' or ']' or '}' => 1,
                '(' or '[' or '{' => -1,
                _ => 0,
            };
            if (depth < 0)
            {
                return i;
            }
        }

        return 0;
    }

    private static int Forward(string text, int from)
    {
        var depth = 0;
        var quoted = false;
        for (var i = from; i < text.Length; i++)
        {
            switch (text[i])
            {
                case '\\' when quoted:
                    i++;
                    break;
                case '"':
                    quoted = !quoted;
                    break;
                case '(' or '[' or '{' when !quoted:
                    depth++;
                    break;
                case ')' or ']' or '}' when !quoted && --depth < 0:
                    return i;
            }
        }

        return text.Length;
    }

    [GeneratedRegex(@"LaunchErrorCategory\.(\w+)")]
    private static partial Regex Category();

    [GeneratedRegex(@"""([A-Z][a-z]+[A-Za-z0-9]*)""")]
    private static partial Regex Literal();

    [GeneratedRegex(@"\(\s*""([A-Z][a-z]+[A-Za-z0-9]*)"",\s*(?:\$?""|ErrorCategory\.)")]
    private static partial Regex Pair();

    [GeneratedRegex(@"\bfault = [^;]*;")]
    private static partial Regex Choice();

    [GeneratedRegex(@"const string (\w+) = ""([A-Z][a-z]+[A-Za-z0-9]*)"";")]
    private static partial Regex Constant();

    [GeneratedRegex(@"\b(\w+)(?:<\w+>)?\((?:[^()]*,)?\s*string errorId\b")]
    private static partial Regex Helper();

    [GeneratedRegex(@"\b(\w+)\(")]
    private static partial Regex Call();

    [GeneratedRegex(@"(?:\bfault: |\b[Ff]ault = |\bErrorId = )[^;\n]*")]
    private static partial Regex Assigned();

    [GeneratedRegex(@"(?m)^\| `([A-Z][A-Za-z0-9]+)` \|")]
    private static partial Regex Row();
}
