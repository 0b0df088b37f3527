namespace WandbLaunch.Foundation;

/// <summary>Paths that other people gave: they stay inside the folder, on every platform.</summary>
internal static class SafePath
{
    private static readonly HashSet<string> DeviceNames = new(StringComparer.OrdinalIgnoreCase)
    {
        "CON",
        "CONIN$",
        "CONOUT$",
        "PRN",
        "AUX",
        "NUL",
        "COM0",
        "COM\u00b9",
        "COM\u00b2",
        "COM\u00b3",
        "COM1",
        "COM2",
        "COM3",
        "COM4",
        "COM5",
        "COM6",
        "COM7",
        "COM8",
        "COM9",
        "LPT0",
        "LPT\u00b9",
        "LPT\u00b2",
        "LPT\u00b3",
        "LPT1",
        "LPT2",
        "LPT3",
        "LPT4",
        "LPT5",
        "LPT6",
        "LPT7",
        "LPT8",
        "LPT9",
    };

    /// <summary>Bytes of the longest path or link target that is taken.</summary>
    internal const int LongestPath = 4096;

    private const int DeepestPath = 128;

    private static readonly System.Buffers.SearchValues<char> NotOnWindows = System.Buffers.SearchValues.Create(
        ":<>\"|?*"
    );

    // What HFS+ ignores in names (git's utf8.c, next_hfs_char).
    private static bool IsIgnored(char c) =>
        c
            is (>= '\u200c' and <= '\u200f')
                or (>= '\u202a' and <= '\u202e')
                or (>= '\u206a' and <= '\u206f')
                or '\ufeff';

    /// <summary>Says what is wrong with one name, or null: git's own verify_path, with protectHFS and protectNTFS on every platform.</summary>
    internal static string? NameFault(string name)
    {
        if (name.Length == 0)
        {
            return "it is empty";
        }

        if (name.AsSpan().IndexOfAny('\0', '\n') >= 0)
        {
            return "it holds a control character";
        }

        if (name is "." or ".." || name.AsSpan().IndexOfAny('/', '\\') >= 0)
        {
            return "it leads out of the folder";
        }

        // ".g\u200cit", ".GIT. ", ".git::$INDEX_ALLOCATION" and "GIT~1" are all git's own folder somewhere.
        var plain = string.Concat(name.Where(c => !IsIgnored(c))).Split(':')[0].TrimEnd('.', ' ');
        if (
            plain.Equals(".git", StringComparison.OrdinalIgnoreCase)
            || plain.Equals("git~1", StringComparison.OrdinalIgnoreCase)
        )
        {
            return "it leads into git's own folder";
        }

        return
            OperatingSystem.IsWindows()
            && (
                name.AsSpan().ContainsAny(NotOnWindows)
                || name[^1] is '.' or ' '
                || name.Any(c => c < ' ')
                || DeviceNames.Contains(name.Split('.')[0].TrimEnd(' '))
            )
            ? "Windows has no such file name"
            : null;
    }

    /// <summary>Says what is wrong with a relative path, or null. The same answer on every platform, but for names that Windows does not have.</summary>
    internal static string? Fault(string path)
    {
        if (path.Length == 0)
        {
            return "it is empty";
        }

        if (path[0] is '/' or '\\' || (path.Length > 1 && path[1] == ':' && char.IsAsciiLetter(path[0])))
        {
            return "it is absolute";
        }

        return path.Split('/', '\\')
            .Where(p => p is not ("" or "."))
            .Select(NameFault)
            .FirstOrDefault(f => f is not null);
    }

    /// <summary>Refuses a path that no ordinary source has, before it fills the stack or the disk.</summary>
    internal static void CheckDepth(string path)
    {
        if (path.Length > LongestPath || path.AsSpan().Count('/') > DeepestPath)
        {
            throw new LaunchException(
                "PathTooDeep",
                LaunchErrorCategory.SecurityError,
                $"The path '{Show(path)}' is refused: it is longer than {LongestPath} letters or deeper than {DeepestPath} folders.",
                Show(path)
            );
        }
    }

    /// <summary>A path of others as messages show it: short, and without what a terminal would act on.</summary>
    internal static string Show(string path)
    {
        var text = new string([.. path.Take(200).Select(c => char.IsControl(c) || IsIgnored(c) ? '?' : c)]);
        return path.Length > 200 ? text + "..." : text;
    }

    /// <summary>The same text for all paths that are one on a file system which ignores case, forms of letters, and blanks and dots at the end.</summary>
    internal static string Fold(string path) =>
        string.Join(
            '/',
            path.Split('/')
                .Select(p =>
                {
                    var plain = string.Concat(p.Where(c => !IsIgnored(c))).TrimEnd('.', ' ');
                    return (plain.IsNormalized() ? plain : plain.Normalize()).ToUpperInvariant().ToLowerInvariant();
                })
        );

    /// <summary>Says why no link may have this target, wherever it stands; null when the tree decides.</summary>
    internal static string? TargetFault(string target) =>
        target.Length == 0 ? "leads nowhere"
        : target[0] is '/' or '\\' ? "leads out of the folder"
        : target.Length > LongestPath || target.AsSpan().IndexOfAny("\0\n\\:") >= 0
            ? "has a target that is another file on another system"
        : null;

    /// <summary>The path below the folder, or an error that names what it is.</summary>
    /// <exception cref="LaunchException"><c>PathOutside</c>.</exception>
    internal static string Combine(string folder, string path, string what)
    {
        if (Fault(path) is { } fault)
        {
            throw new LaunchException(
                "PathOutside",
                LaunchErrorCategory.SecurityError,
                $"The {what} '{path}' is refused: {fault}. Give a path relative to the source folder.",
                path
            );
        }

        var root = Path.GetFullPath(folder);
        var full = Path.GetFullPath(Path.Combine(root, path.Replace('\\', '/')));
        if (!IsInside(root, full))
        {
            throw new LaunchException(
                "PathOutside",
                LaunchErrorCategory.SecurityError,
                $"The {what} '{path}' is refused: it leads out of the folder.",
                path
            );
        }

        return full;
    }

    /// <summary>How two paths of this system are compared.</summary>
    internal static StringComparison Comparison { get; } =
        OperatingSystem.IsWindows() ? StringComparison.OrdinalIgnoreCase : StringComparison.Ordinal;

    internal static bool IsInside(string root, string full) =>
        string.Equals(full, root, Comparison)
        || full.StartsWith(
            root.EndsWith(Path.DirectorySeparatorChar) ? root : root + Path.DirectorySeparatorChar,
            Comparison
        );

    /// <summary>
    /// Where a path really leads, by the rules of the operating system: links are followed one by one, also those that
    /// lead to nothing yet. Fails where this user may not look, for what cannot be seen cannot be judged.
    /// </summary>
    /// <exception cref="IOException">A circle of links, or a place that may not be looked at.</exception>
    internal static string RealPath(string path)
    {
        if (OperatingSystem.IsWindows())
        {
            return RealPathOnWindows(path);
        }

        var pending = new Stack<string>(
            Enumerable.Reverse(
                Path.Combine(Environment.CurrentDirectory, path).Split('/', StringSplitOptions.RemoveEmptyEntries)
            )
        );
        var real = new List<string>();
        var links = 0;
        while (pending.TryPop(out var part))
        {
            if (part is ".")
            {
                continue;
            }

            if (part == "..")
            {
                real.RemoveRange(Math.Max(real.Count - 1, 0), Math.Min(real.Count, 1));
                continue;
            }

            var full = "/" + string.Join('/', real.Append(part));
            if (PosixFolder.KindOf(full) != EntryKind.Link)
            {
                real.Add(part);
                continue;
            }

            var target = new FileInfo(full).LinkTarget;
            if (target is null || ++links > 40)
            {
                throw new IOException($"The links of {path} lead in a circle.");
            }

            if (target.StartsWith('/'))
            {
                real.Clear();
            }

            foreach (var next in Enumerable.Reverse(target.Split('/', StringSplitOptions.RemoveEmptyEntries)))
            {
                pending.Push(next);
            }
        }

        return "/" + string.Join('/', real);
    }

    // The part that exists, as Windows itself names it (links, short names and case), and the rest as it is.
    private static string RealPathOnWindows(string path)
    {
        var full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        var rest = new Stack<string>();
        for (var at = full; ; )
        {
            try
            {
                return Path.Combine([WindowsFolder.FinalPath(at), .. rest]);
            }
            catch (FileNotFoundException)
                when (Path.GetDirectoryName(at) is { } above && new FileInfo(at).LinkTarget is null)
            {
                rest.Push(Path.GetFileName(at));
                at = above;
            }
        }
    }
}
