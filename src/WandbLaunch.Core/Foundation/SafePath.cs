namespace WandbLaunch.Foundation;

/// <summary>Paths that other people gave: they stay inside the folder, on every platform.</summary>
internal static class SafePath
{
    private static readonly HashSet<string> DeviceNames = new(StringComparer.OrdinalIgnoreCase)
    {
        "CON",
        "PRN",
        "AUX",
        "NUL",
        "COM1",
        "COM2",
        "COM3",
        "COM4",
        "COM5",
        "COM6",
        "COM7",
        "COM8",
        "COM9",
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

    /// <summary>Says what is wrong with a relative path, or null. The same answer on every platform.</summary>
    internal static string? Fault(string path)
    {
        if (path.Length == 0)
        {
            return "it is empty";
        }

        if (path.Contains('\0', StringComparison.Ordinal) || path.Contains('\n', StringComparison.Ordinal))
        {
            return "it holds a control character";
        }

        if (path[0] is '/' or '\\' || (path.Length > 1 && path[1] == ':' && char.IsAsciiLetter(path[0])))
        {
            return "it is absolute";
        }

        foreach (var part in path.Split('/', '\\'))
        {
            if (part == "..")
            {
                return "it leads out of the folder";
            }

            if (
                part.Equals(".git", StringComparison.OrdinalIgnoreCase)
                || part.Equals("git~1", StringComparison.OrdinalIgnoreCase)
            )
            {
                return "it leads into git's own folder";
            }

            if (
                OperatingSystem.IsWindows()
                && (part.Contains(':', StringComparison.Ordinal) || DeviceNames.Contains(part.Split('.')[0]))
            )
            {
                return "Windows has no such file name";
            }
        }

        return null;
    }

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

    /// <summary>As <see cref="Combine"/>, and no part of the path may be a link that leads out.</summary>
    internal static string CombineExisting(string folder, string path, string what)
    {
        var full = Combine(folder, path, what);
        var root = RealPath(Path.GetFullPath(folder));
        if (!IsInside(root, RealPath(full)))
        {
            throw new LaunchException(
                "PathOutside",
                LaunchErrorCategory.SecurityError,
                $"The {what} '{path}' is refused: a symbolic link in it leads out of the folder.",
                path
            );
        }

        return full;
    }

    /// <summary>True when a link at <paramref name="linkPath"/> (relative) with this target stays inside.</summary>
    internal static bool LinkStaysInside(string linkPath, string target)
    {
        if (target.Length == 0 || target[0] is '/' or '\\' || target.Contains(':', StringComparison.Ordinal))
        {
            return false;
        }

        var depth = linkPath.Count(c => c == '/');
        foreach (var part in target.Split('/', '\\'))
        {
            depth +=
                part is "" or "." ? 0
                : part == ".." ? -1
                : 1;
            if (depth < 0)
            {
                return false;
            }
        }

        return true;
    }

    internal static bool IsInside(string root, string full) =>
        full == root
        || full.StartsWith(
            root.EndsWith(Path.DirectorySeparatorChar) ? root : root + Path.DirectorySeparatorChar,
            StringComparison.Ordinal
        );

    private static string RealPath(string path)
    {
        var current = Path.GetPathRoot(path)!;
        foreach (
            var part in path[current.Length..].Split(Path.DirectorySeparatorChar, StringSplitOptions.RemoveEmptyEntries)
        )
        {
            var next = Path.Combine(current, part);
            FileSystemInfo info = Directory.Exists(next) ? new DirectoryInfo(next) : new FileInfo(next);
            current = info.LinkTarget is null ? next : info.ResolveLinkTarget(true)?.FullName ?? next;
        }

        return current;
    }
}
