using System.Text;
using System.Text.RegularExpressions;
using WandbLaunch.Foundation;

namespace WandbLaunch.Wandb;

/// <summary>The netrc file as the Python SDK reads and writes it (protocol A.2).</summary>
internal static partial class Netrc
{
    /// <summary><c>$NETRC</c>, else <c>~/.netrc</c> or <c>~/_netrc</c> if there, else the platform's usual name.</summary>
    internal static string FilePath(LaunchEnvironment environment)
    {
        if (environment["NETRC"] is { } named)
        {
            return named.StartsWith('~') ? environment.Home + named[1..] : named;
        }

        var dot = Path.Combine(environment.Home, ".netrc");
        var underscore = Path.Combine(environment.Home, "_netrc");
        return File.Exists(dot) ? dot
            : File.Exists(underscore) ? underscore
            : environment.IsWindows ? underscore
            : dot;
    }

    /// <summary>The password of the machine's entry; any login name counts (protocol K 28).</summary>
    internal static string? FindPassword(string path, string machine)
    {
        if (!File.Exists(path))
        {
            return null;
        }

        var tokens = Tokens(File.ReadAllText(path)).ToList();
        for (var i = 0; i + 1 < tokens.Count; i++)
        {
            if (tokens[i] != "machine" || !string.Equals(tokens[i + 1], machine, StringComparison.OrdinalIgnoreCase))
            {
                continue;
            }

            for (var j = i + 2; j + 1 < tokens.Count && tokens[j] is not ("machine" or "default"); j += 2)
            {
                if (tokens[j] == "password")
                {
                    return tokens[j + 1];
                }
            }
        }

        return null;
    }

    /// <summary>The machines that have an entry.</summary>
    internal static IReadOnlyList<string> Machines(string path)
    {
        if (!File.Exists(path))
        {
            return [];
        }

        var tokens = Tokens(File.ReadAllText(path)).ToList();
        return
        [
            .. tokens
                .Zip(tokens.Skip(1))
                .Where(p => p.First == "machine")
                .Select(p => p.Second)
                .Distinct(StringComparer.OrdinalIgnoreCase),
        ];
    }

    /// <summary>Replaces the machine's entry by a new one at the end; other entries stay letter for letter.</summary>
    internal static void Save(string path, string machine, string login, string password)
    {
        var old = File.Exists(path) ? File.ReadAllText(path) : "";
        var kept = RemoveEntry(old, machine);
        if (kept.Length > 0 && !kept.EndsWith('\n'))
        {
            kept += "\n";
        }

        FileModes.WritePrivate(path, $"{kept}machine {machine}\n  login {login}\n  password {Quote(password)}\n");
    }

    /// <summary>Removes the machine's entry; true when there was one.</summary>
    internal static bool Remove(string path, string machine)
    {
        if (!File.Exists(path))
        {
            return false;
        }

        var old = File.ReadAllText(path);
        var kept = RemoveEntry(old, machine);
        if (kept == old)
        {
            return false;
        }

        FileModes.WritePrivate(path, kept);
        return true;
    }

    private static string RemoveEntry(string text, string machine)
    {
        var starts = EntryStart().Matches(text);
        var kept = new StringBuilder(text.Length);
        var position = 0;
        for (var i = 0; i < starts.Count; i++)
        {
            var end = i + 1 < starts.Count ? starts[i + 1].Index : text.Length;
            if (
                starts[i].Groups["name"].Success
                && string.Equals(starts[i].Groups["name"].Value, machine, StringComparison.OrdinalIgnoreCase)
            )
            {
                kept.Append(text, position, starts[i].Index - position);
                position = end;
            }
        }

        return kept.Append(text, position, text.Length - position).ToString();
    }

    private static string Quote(string value) =>
        PlainValue().IsMatch(value)
            ? value
            : "\""
                + value.Replace("\\", "\\\\", StringComparison.Ordinal).Replace("\"", "\\\"", StringComparison.Ordinal)
                + "\"";

    private static IEnumerable<string> Tokens(string text)
    {
        foreach (Match match in Token().Matches(text))
        {
            if (match.Value[0] == '#')
            {
                continue;
            }

            yield return match.Value[0] == '"' && match.Value.Length > 1
                ? Escape().Replace(match.Value[1..^1], "$1")
                : match.Value;
        }
    }

    [GeneratedRegex(@"(?m)^[ \t]*(?:machine\s+(?<name>\S+)|default\b)")]
    private static partial Regex EntryStart();

    [GeneratedRegex(@"(?m)^\s*#.*$|""(?:\\.|[^""\\])*""|\S+")]
    private static partial Regex Token();

    [GeneratedRegex(@"\\(.)")]
    private static partial Regex Escape();

    [GeneratedRegex(@"^[\w@%+=:,./-]+$")]
    private static partial Regex PlainValue();
}
