using WandbLaunch.Foundation;

namespace WandbLaunch.Sources;

/// <summary>Copies of folders with code, written without following links.</summary>
internal static class Workspace
{
    /// <summary>Copies a folder with its uncommitted state, without what .gitignore and .dockerignore leave out, and without this module's own data folder.</summary>
    internal static void CopyFolder(
        string source,
        string target,
        string dataFolder,
        List<string> warnings,
        CancellationToken token
    )
    {
        // Whoever launches a folder that holds the data folder must not copy the copy.
        string[] own = [Path.GetFullPath(dataFolder), Path.GetFullPath(target)];
        using var ignore = new FolderIgnore(source);
        Copy(
            source,
            target,
            entry =>
                !ignore.Leaves(entry.Path, entry.Kind == EntryKind.Folder)
                && !(
                    entry.Kind == EntryKind.Folder && own.Contains(Path.GetFullPath(Path.Combine(source, entry.Path)))
                ),
            (entry, fault) => warnings.Add($"'{entry.Path}' is a link that {fault} and is left out"),
            token
        );
    }

    /// <summary>Copies a cached workspace for one launch, so that launches cannot disturb each other. A link that leaves the part which is copied is left out.</summary>
    internal static void CopyPlain(string source, string target, CancellationToken token) =>
        Copy(source, target, null, (_, _) => { }, token);

    /// <summary>The links of a workspace that lead out of it, or through other links; a subfolder of a repository may have some.</summary>
    internal static IReadOnlyList<(string Path, string Fault)> BadLinks(string folder)
    {
        using var opened = SafeFolder.Open(folder);
        return [.. Judge([.. opened.Entries()]).Select(b => (b.Key, b.Value))];
    }

    /// <summary>Everything in a workspace that goes along to where it runs, without the links of <see cref="BadLinks"/>.</summary>
    internal static IReadOnlyList<FolderEntry> Content(SafeFolder folder)
    {
        var all = folder.Entries().ToList();
        var bad = Judge(all);
        return [.. all.Where(e => !bad.ContainsKey(e.Path))];
    }

    private static Dictionary<string, string> Judge(IReadOnlyList<FolderEntry> entries)
    {
        var links = new TreeLinks();
        foreach (var entry in entries.Where(e => e.Kind == EntryKind.Link))
        {
            links.Add(entry.Path);
        }

        return entries
            .Where(e => e.Kind == EntryKind.Link)
            .Select(e => (e.Path, Fault: links.Fault(e.Path, TargetOf(e))))
            .Where(e => e.Fault is not null)
            .ToDictionary(e => e.Path, e => e.Fault!);
    }

    private static string TargetOf(FolderEntry entry) =>
        OperatingSystem.IsWindows() ? entry.Target!.Replace('\\', '/') : entry.Target!;

    private static void Copy(
        string source,
        string target,
        Func<FolderEntry, bool>? take,
        Action<FolderEntry, string> leftOut,
        CancellationToken token
    )
    {
        try
        {
            using var from = SafeFolder.Open(source);
            using var to = SafeFolder.Make(target);
            var all = from.Entries(take).ToList();
            var bad = Judge(all);
            foreach (var entry in all)
            {
                token.ThrowIfCancellationRequested();
                switch (entry.Kind)
                {
                    case EntryKind.Folder:
                        to.CreateFolder(entry.Path, "folder");
                        break;
                    case EntryKind.File:
                        CopyFile(from, to, entry.Path);
                        break;
                    case EntryKind.Link when bad.TryGetValue(entry.Path, out var fault):
                        leftOut(entry, fault);
                        break;
                    default:
                        break;
                }
            }

            // Links come last, so that no file is ever written through one.
            foreach (var entry in all.Where(e => e.Kind == EntryKind.Link && !bad.ContainsKey(e.Path)))
            {
                to.CreateLink(
                    entry.Path,
                    entry.Target!,
                    "link",
                    OperatingSystem.IsWindows() && Directory.Exists(Path.Combine(source, entry.Path))
                );
            }
        }
        catch (Exception e) when (DiskFull.Explain(e, target) is { } full)
        {
            throw full;
        }
    }

    private static void CopyFile(SafeFolder from, SafeFolder to, string path)
    {
        FileStream input;
        try
        {
            input = from.OpenExactly(path);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            // It was listed and is gone: an editor's swap file, a database's log. The copy has what there is.
            return;
        }

        using (input)
        using (var output = to.Create(path, "file", IsExecutable(input)))
        {
            input.CopyTo(output);
        }
    }

    /// <summary>True when the owner may run the file.</summary>
    internal static bool IsExecutable(FileStream file) =>
        !OperatingSystem.IsWindows() && (File.GetUnixFileMode(file.SafeFileHandle) & UnixFileMode.UserExecute) != 0;
}
