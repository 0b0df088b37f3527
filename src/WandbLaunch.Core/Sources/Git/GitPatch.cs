using System.Text;
using System.Text.RegularExpressions;
using LibGit2Sharp;
using WandbLaunch.Foundation;

namespace WandbLaunch.Sources;

/// <summary>A <c>diff.patch</c>: looked through before git sees it, then applied to a tree as a whole or not at all.</summary>
internal static partial class GitPatch
{
    /// <summary>Larger patches are refused: a patch is a change of source, not data.</summary>
    internal const long MaxBytes = 100L * 1024 * 1024;

    private const int MostFolders = 100_000;

    /// <summary>Gives the id of the tree with the patch in it.</summary>
    /// <exception cref="LaunchException">The patch is unsafe, too large, or does not fit; the message names file and hunk.</exception>
    internal static string Apply(Repository repository, Tree tree, byte[] patch)
    {
        if (patch.Length > MaxBytes)
        {
            throw SafeFolder.TooLarge("diff.patch", MaxBytes);
        }

        if (patch.AsSpan().Trim(" \r\n\t"u8).IsEmpty)
        {
            return tree.Sha;
        }

        try
        {
            var paths = Inspect(patch);
            var prefix = FindSubfolder(tree, paths);
            patch = Normalize(patch, prefix.Length > 0 ? prefix + "/" : "");
            return GitNative.ApplyToTree(repository.Info.Path, tree.Sha, patch);
        }
        catch (LibGit2SharpException e)
        {
            throw new LaunchException(
                "PatchDoesNotApply",
                LaunchErrorCategory.InvalidData,
                $"The run's diff.patch does not fit its commit ({e.Message}). Nothing was changed. Launch with -GitVersion <commit> to run without the patch.",
                "diff.patch",
                e
            );
        }
        catch (GitNative.PatchFault e)
        {
            var where =
                e.File is null ? ""
                : e.Hunk > 0 ? $": hunk {e.Hunk} of {e.File}"
                : $": {e.File}";
            throw new LaunchException(
                "PatchDoesNotApply",
                LaunchErrorCategory.InvalidData,
                $"The run's diff.patch does not fit its commit{where} ({e.Message}). Nothing was changed. Launch with -GitVersion <commit> to run without the patch.",
                e.File ?? "diff.patch",
                e
            );
        }
    }

    /// <summary>Refuses a patch that would write outside the tree or make links out of it; gives the paths of existing files.</summary>
    internal static IReadOnlyList<string> Inspect(byte[] patch)
    {
        var existing = new List<string>();
        var position = 0;
        string? current = null;
        var isLink = false;
        while (position < patch.Length)
        {
            var length = patch.AsSpan(position).IndexOf((byte)'\n');
            length = length < 0 ? patch.Length - position : length;
            var line = patch.AsSpan(position, length);
            position += length + 1;

            if (line.StartsWith("diff --git "u8))
            {
                isLink = false;
                foreach (var path in DiffHeader(Encoding.UTF8.GetString(line).TrimEnd('\r')))
                {
                    current = Check(path);
                }
            }
            else if (line.StartsWith("--- "u8) || line.StartsWith("+++ "u8))
            {
                // Inside a hunk such a line is content; checking it as well can only refuse more, so only real headers count.
                var text = Encoding.UTF8.GetString(line[4..]).TrimEnd('\r');
                var name = Unquote(text.Split('\t')[0]);
                if (
                    name is "/dev/null"
                    || !(
                        name.StartsWith("a/", StringComparison.Ordinal)
                        || name.StartsWith("b/", StringComparison.Ordinal)
                    )
                )
                {
                    if (current is null && name != "/dev/null")
                    {
                        Check(name);
                    }

                    continue;
                }

                current = Check(name[2..]);
                if (line[0] == (byte)'-')
                {
                    existing.Add(current);
                }
            }
            else if (line.StartsWith("rename from "u8) || line.StartsWith("copy from "u8))
            {
                var text = Encoding.UTF8.GetString(line).TrimEnd('\r');
                existing.Add(Check(Unquote(text[(text.IndexOf(" from ", StringComparison.Ordinal) + 6)..])));
            }
            else if (line.StartsWith("rename to "u8) || line.StartsWith("copy to "u8))
            {
                var text = Encoding.UTF8.GetString(line).TrimEnd('\r');
                Check(Unquote(text[(text.IndexOf(" to ", StringComparison.Ordinal) + 4)..]));
            }
            else if (
                line.StartsWith("new file mode 120000"u8)
                || line.StartsWith("new mode 120000"u8)
                || (line.StartsWith("index "u8) && line.TrimEnd((byte)'\r').EndsWith(" 120000"u8))
            )
            {
                isLink = true;
            }
            else if (isLink && line.Length > 1 && line[0] == (byte)'+' && current is not null)
            {
                // Only what this line alone shows. The links of the patched tree are checked as a whole before it is written.
                var target = Encoding.UTF8.GetString(line[1..]);
                if (new TreeLinks().Fault(current, target) is { } fault)
                {
                    throw new LaunchException(
                        "PatchUnsafe",
                        LaunchErrorCategory.SecurityError,
                        $"The patch makes '{current}' a symbolic link that {fault}. It is refused. Launch with -GitVersion <commit> to run without the patch.",
                        current
                    );
                }
            }
        }

        return existing;

        static string Check(string path) =>
            SafePath.Fault(path) is { } fault
                ? throw new LaunchException(
                    "PatchUnsafe",
                    LaunchErrorCategory.SecurityError,
                    $"The patch names the file '{SafePath.Show(path)}', which is refused: {fault}. Launch with -GitVersion <commit> to run without the patch.",
                    SafePath.Show(path)
                )
                : path;
    }

    // git diff --relative in a subfolder names files from there. Where the tree has none of them but exactly one folder has them all, that folder is meant.
    private static string FindSubfolder(Tree tree, IReadOnlyList<string> paths)
    {
        if (paths.Count == 0 || paths.Any(p => tree[p] is not null))
        {
            return "";
        }

        var found = new List<string>();
        var waiting = new Queue<(Tree Folder, string At)>([(tree, "")]);
        for (var seen = 0; waiting.TryDequeue(out var next); )
        {
            foreach (var entry in next.Folder.Where(e => e.TargetType == TreeEntryTargetType.Tree))
            {
                // A tree can name one folder in it a billion times.
                if (++seen > MostFolders)
                {
                    return "";
                }

                var child = (Tree)entry.Target;
                if (paths.All(p => child[p] is not null))
                {
                    found.Add(next.At + entry.Name);
                }

                waiting.Enqueue((child, next.At + entry.Name + "/"));
            }
        }

        return found.Count == 1 ? found[0] : "";
    }

    // Puts the folder before the names, and takes the tab away that git writes behind a name with blanks and libgit2 1.9 does not read.
    // Only header lines change; a hunk's lines are counted, so that content which looks like a header stays.
    private static byte[] Normalize(byte[] patch, string prefix)
    {
        var output = new MemoryStream(patch.Length + 256);
        long oldLeft = 0,
            newLeft = 0;
        var number = 0;
        var position = 0;
        while (position < patch.Length)
        {
            var length = patch.AsSpan(position).IndexOf((byte)'\n');
            length = length < 0 ? patch.Length - position : length + 1;
            var line = patch.AsSpan(position, length);
            position += length;
            number++;
            if (oldLeft > 0 || newLeft > 0)
            {
                oldLeft -= line[0] is (byte)' ' or (byte)'-' or (byte)'\n' ? 1 : 0;
                newLeft -= line[0] is (byte)' ' or (byte)'+' or (byte)'\n' ? 1 : 0;
                output.Write(line);
                continue;
            }

            var text = Encoding.UTF8.GetString(line);
            if (HunkHeader().Match(text) is { Success: true } hunk)
            {
                _ = Count(hunk.Groups[1], number);
                oldLeft = Count(hunk.Groups[2], number);
                _ = Count(hunk.Groups[3], number);
                newLeft = Count(hunk.Groups[4], number);
                output.Write(line);
            }
            else if (
                text.StartsWith("diff --git ", StringComparison.Ordinal)
                || text.StartsWith("--- ", StringComparison.Ordinal)
                || text.StartsWith("+++ ", StringComparison.Ordinal)
            )
            {
                output.Write(
                    Encoding.UTF8.GetBytes(
                        text.Contains('"', StringComparison.Ordinal) || !Blank().IsMatch(text)
                            ? SidePath().Replace(TrailingTab().Replace(text, "$1"), m => m.Value + prefix)
                            : Quoted(TrailingTab().Replace(text, "$1").TrimEnd('\r', '\n'), prefix)
                    )
                );
            }
            else if (MovePath().Match(text) is { Success: true } move)
            {
                var name = text[move.Length..].TrimEnd('\r', '\n');
                output.Write(Encoding.UTF8.GetBytes($"{move.Value}\"{prefix}{name.Trim('"')}\"\n"));
            }
            else
            {
                output.Write(line);
            }
        }

        return output.ToArray();
    }

    // Larger numbers than the largest patch has bytes are no counts.
    private static long Count(Group group, int line) =>
        !group.Success ? 1
        : group.Length <= 10
        && long.TryParse(
            group.Value,
            System.Globalization.NumberStyles.None,
            System.Globalization.CultureInfo.InvariantCulture,
            out var count
        )
        && count <= int.MaxValue
            ? count
        : throw new LaunchException(
            "PatchInvalid",
            LaunchErrorCategory.InvalidData,
            $"The run's diff.patch is broken: line {line} counts more lines than a patch can have. Launch with -GitVersion <commit> to run without the patch.",
            "diff.patch"
        );

    // libgit2 reads a name with blanks only in quotes.
    private static string Quoted(string line, string prefix)
    {
        if (!line.StartsWith("diff", StringComparison.Ordinal))
        {
            return line.Length > 6 && line[4] is 'a' or 'b' && line[5] == '/'
                ? $"{line[..4]}\"{line[4..6]}{prefix}{line[6..]}\"\n"
                : line + "\n";
        }

        var names = DiffHeader(line).ToList();
        return $"diff --git \"a/{prefix}{names[0]}\" \"b/{prefix}{names[^1]}\"\n";
    }

    private static IEnumerable<string> DiffHeader(string line)
    {
        var rest = line["diff --git ".Length..];
        if (rest.StartsWith('"') || rest.EndsWith('"'))
        {
            foreach (Match quoted in QuotedName().Matches(rest))
            {
                yield return Strip(quoted.Value[0] == '"' ? Unquote(quoted.Value) : quoted.Value);
            }

            yield break;
        }

        // "a/x y b/x y": both halves are the same but for the letter, except for renames, whose own lines name them.
        var middle = rest.Length / 2;
        if (
            rest.Length % 2 == 1
            && rest[middle] == ' '
            && rest.AsSpan(0, middle).Length > 2
            && rest.AsSpan(2, middle - 2).SequenceEqual(rest.AsSpan(middle + 3))
        )
        {
            yield return Strip(rest[..middle]);
            yield break;
        }

        var cut = rest.IndexOf(" b/", StringComparison.Ordinal);
        if (cut > 0)
        {
            yield return Strip(rest[..cut]);
            yield return Strip(rest[(cut + 1)..]);
        }
        else
        {
            yield return Strip(rest);
        }

        static string Strip(string name) =>
            name.StartsWith("a/", StringComparison.Ordinal) || name.StartsWith("b/", StringComparison.Ordinal)
                ? name[2..]
                : name;
    }

    private static string Unquote(string name)
    {
        if (name.Length < 2 || name[0] != '"' || name[^1] != '"')
        {
            return name;
        }

        var bytes = new List<byte>();
        for (var i = 1; i < name.Length - 1; i++)
        {
            if (name[i] != '\\')
            {
                var pair = char.IsHighSurrogate(name[i]) && i + 1 < name.Length;
                bytes.AddRange(Encoding.UTF8.GetBytes(name.Substring(i, pair ? 2 : 1)));
                i += pair ? 1 : 0;
            }
            else if (
                i + 3 < name.Length
                && name[i + 1] is >= '0' and <= '3'
                && name[i + 2] is >= '0' and <= '7'
                && name[i + 3] is >= '0' and <= '7'
            )
            {
                bytes.Add(Convert.ToByte(name.Substring(i + 1, 3), 8));
                i += 3;
            }
            else
            {
                i++;
                bytes.Add(
                    (byte)(
                        name[i] switch
                        {
                            'n' => '\n',
                            't' => '\t',
                            'r' => '\r',
                            'a' => '\a',
                            'b' => '\b',
                            'f' => '\f',
                            'v' => '\v',
                            var c => c,
                        }
                    )
                );
            }
        }

        return Encoding.UTF8.GetString([.. bytes]);
    }

    [GeneratedRegex(@"^@@ -([0-9]+)(?:,([0-9]+))? \+([0-9]+)(?:,([0-9]+))? @@")]
    private static partial Regex HunkHeader();

    [GeneratedRegex(@"(?<=(?:^--- |^\+\+\+ |^diff --git | )""?)[ab]/")]
    private static partial Regex SidePath();

    [GeneratedRegex(@"\t(\r?\n?)$")]
    private static partial Regex TrailingTab();

    // More blanks than the form itself has.
    [GeneratedRegex(@"^(?:diff --git \S+ \S+\s*\S|(?:---|\+\+\+) \S+[ ]\S)")]
    private static partial Regex Blank();

    [GeneratedRegex(@"^(rename|copy) (from|to) ")]
    private static partial Regex MovePath();

    [GeneratedRegex(@"""(?:\\.|[^""\\])*""|\S+")]
    private static partial Regex QuotedName();
}
