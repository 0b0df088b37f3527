using System.Text;
using LibGit2Sharp;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Sources;

/// <summary>Writes code to disk: a tree of a mirror into the cache, or a copy of a folder as it is now.</summary>
internal static class Workspace
{
    /// <summary>The cached folder of a commit with its patch; made once, by a rename, so that half of one never counts.</summary>
    internal static async Task<(string Folder, bool Patched)> FromGitAsync(
        LaunchCache cache,
        GitMirror mirror,
        string remote,
        string commit,
        byte[]? patch,
        IReadOnlyDictionary<string, byte[]> extra,
        CancellationToken token
    )
    {
        using var repository = new Repository(mirror.Folder);
        var tree = (
            repository.Lookup<Commit>(commit)
            ?? throw new LaunchException(
                "CommitNotFound",
                LaunchErrorCategory.ObjectNotFound,
                $"The commit {commit} is not in the mirror of {Secrets.Mask(remote)}.",
                commit
            )
        ).Tree;
        if (patch is not null)
        {
            using var writing = await FileLock.EnterAsync(mirror.Folder + ".lock", token);
            tree = repository.Lookup<Tree>(GitPatch.Apply(repository, tree, patch));
        }

        // The first line is the age of the rules by which a workspace was written: what older ones let through is not used.
        var key =
            "links-2\n"
            + remote
            + "\n"
            + commit
            + "\n"
            + tree.Sha
            + string.Concat(extra.Select(e => $"\n{e.Key}={LaunchCache.Hash(e.Value)}"));
        var folder = cache.WorkspaceFolder(key);
        using var gate = await FileLock.EnterAsync(folder + ".lock", token);
        if (!Directory.Exists(folder))
        {
            var temporary = folder + ".new";
            LaunchCache.DeleteFolder(temporary);
            FileModes.CreatePrivateFolder(temporary);
            try
            {
                using (var target = SafeFolder.Make(temporary))
                {
                    await WriteAsync(mirror, repository, tree, remote, extra, target, token);
                }

                Directory.Move(temporary, folder);
            }
            catch (Exception e)
            {
                LaunchCache.DeleteFolder(temporary);
                if (DiskFull.Explain(e, temporary) is { } full)
                {
                    throw full;
                }

                throw e is LibGit2SharpException or IOException ? NotWritten(e, commit) : e;
            }
        }

        LaunchCache.Touch(folder);
        return (folder, patch is not null);
    }

    /// <summary>True when the tree of a commit holds this path.</summary>
    internal static bool Contains(GitMirror mirror, string commit, string path)
    {
        using var repository = new Repository(mirror.Folder);
        return repository.Lookup<Commit>(commit)?.Tree[path] is not null;
    }

    private static LaunchException NotWritten(Exception e, string commit) =>
        new(
            "WorkspaceNotWritten",
            LaunchErrorCategory.InvalidData,
            $"The files of the commit {commit} cannot be written: {e.Message}",
            commit,
            e
        );

    /// <summary>Copies a folder with its uncommitted state, without what .gitignore and .dockerignore leave out, and without this module's own data folder.</summary>
    internal static void CopyFolder(string source, string target, List<string> warnings, CancellationToken token)
    {
        // Whoever launches a folder that holds the data folder must not copy the copy.
        string[] own = [Path.GetFullPath(LaunchEnvironment.Current.DataFolder), Path.GetFullPath(target)];
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
                        using (var input = from.OpenExactly(entry.Path))
                        using (var output = to.Create(entry.Path, "file", IsExecutable(input)))
                        {
                            input.CopyTo(output);
                        }

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

    /// <summary>True when the owner may run the file.</summary>
    internal static bool IsExecutable(FileStream file) =>
        !OperatingSystem.IsWindows() && (File.GetUnixFileMode(file.SafeFileHandle) & UnixFileMode.UserExecute) != 0;

    // More than any repository that is worked with; a tree of shared folders names without end what it holds once.
    private const int MostEntries = 1_000_000;

    private sealed record Planned(string Path, Mode Mode, Blob? Blob, byte[]? Content);

    // The tree is written by hand: no hooks, no filters, no attributes, no links out; the same bytes on every platform.
    // All of it (submodules, the patch, a run's saved program) is looked through as one tree before a byte is written.
    private static async Task WriteAsync(
        GitMirror mirror,
        Repository repository,
        Tree tree,
        string remote,
        IReadOnlyDictionary<string, byte[]> extra,
        SafeFolder target,
        CancellationToken token
    )
    {
        var plan = new Dictionary<string, Planned>(StringComparer.Ordinal);
        var opened = new List<Repository>();
        try
        {
            await CollectAsync(mirror, tree, "", remote);
            foreach (var (path, content) in extra)
            {
                AddExtra(plan, path, content);
            }

            var links = CheckLinks(plan);
            foreach (var entry in plan.Values)
            {
                token.ThrowIfCancellationRequested();
                switch (entry.Mode)
                {
                    case Mode.Directory or Mode.GitLink:
                        target.CreateFolder(entry.Path, "folder");
                        break;
                    case Mode.SymbolicLink:
                        break;
                    default:
                        using (var input = entry.Blob?.GetContentStream() ?? new MemoryStream(entry.Content!, false))
                        using (var output = target.Create(entry.Path, "file", entry.Mode == Mode.ExecutableFile))
                        {
                            input.CopyTo(output);
                        }

                        break;
                }
            }

            // Links come last, so that no file is ever written through one.
            foreach (var (path, to) in links)
            {
                if (OperatingSystem.IsWindows())
                {
                    // As git does with core.symlinks=false.
                    using var output = target.Create(path, "link");
                    output.Write(Encoding.UTF8.GetBytes(to));
                }
                else
                {
                    target.CreateLink(path, to, "link");
                }
            }
        }
        finally
        {
            opened.ForEach(r => r.Dispose());
        }

        async Task CollectAsync(GitMirror from, Tree top, string prefix, string address)
        {
            var modules = new List<(string Path, string Commit)>();
            var waiting = new Stack<(Tree Tree, string At)>([(top, prefix)]);
            while (waiting.TryPop(out var next))
            {
                token.ThrowIfCancellationRequested();
                foreach (var entry in next.Tree)
                {
                    var path = next.At + entry.Name;
                    if (SafePath.NameFault(entry.Name) is { } fault)
                    {
                        throw new LaunchException(
                            "PathOutside",
                            LaunchErrorCategory.SecurityError,
                            $"The repository holds the file name '{SafePath.Show(path)}', which is refused: {fault}.",
                            SafePath.Show(path)
                        );
                    }

                    SafePath.CheckDepth(path);
                    if (plan.Count >= MostEntries)
                    {
                        throw new LaunchException(
                            "RepositoryTooLarge",
                            LaunchErrorCategory.SecurityError,
                            $"{Secrets.Mask(address)} holds more than {MostEntries} files. It is refused: launch a smaller repository, and keep data in artifacts.",
                            address
                        );
                    }

                    if (!plan.TryAdd(path, new Planned(path, entry.Mode, entry.Target as Blob, null)))
                    {
                        throw Twice(path);
                    }

                    if (entry.Target is Tree child)
                    {
                        waiting.Push((child, path + "/"));
                    }
                    else if (entry.Mode == Mode.GitLink)
                    {
                        modules.Add((path, entry.Target.Sha));
                    }
                }
            }

            foreach (var (path, commit) in modules)
            {
                var (module, location) = Submodule(from, top, path, path[prefix.Length..], address);
                await module.ResolveAsync(commit, token);
                var inner = new Repository(module.Folder);
                opened.Add(inner);
                await CollectAsync(
                    module,
                    (
                        inner.Lookup<Commit>(commit)
                        ?? throw new LaunchException(
                            "CommitNotFound",
                            LaunchErrorCategory.ObjectNotFound,
                            $"The submodule '{SafePath.Show(path)}' has no commit {commit}.",
                            commit
                        )
                    ).Tree,
                    path + "/",
                    location
                );
            }
        }
    }

    private static LaunchException Twice(string path) =>
        new(
            "PathOutside",
            LaunchErrorCategory.SecurityError,
            $"The repository holds two entries of the name '{SafePath.Show(path)}', which is refused: one would be written through the other.",
            SafePath.Show(path)
        );

    // The program that a run saved: it may stand beside the tree's files, never behind one of its links.
    private static void AddExtra(Dictionary<string, Planned> plan, string path, byte[] content)
    {
        if (SafePath.Fault(path) is { } fault)
        {
            throw Refused(fault);
        }

        path = string.Join('/', path.Split('/', '\\').Where(p => p is not ("" or ".")));
        SafePath.CheckDepth(path);
        var parts = path.Split('/');
        for (var i = 1; i < parts.Length; i++)
        {
            var above = string.Join('/', parts[..i]);
            if (plan.TryGetValue(above, out var found) && found.Mode is not (Mode.Directory or Mode.GitLink))
            {
                throw Refused($"'{above}' is no folder of the repository");
            }

            plan.TryAdd(above, new Planned(above, Mode.Directory, null, null));
        }

        if (plan.TryGetValue(path, out var there) && there.Mode is Mode.Directory or Mode.GitLink or Mode.SymbolicLink)
        {
            throw Refused("the repository has a folder or link of this name");
        }

        plan[path] = new Planned(path, Mode.NonExecutableFile, null, content);

        LaunchException Refused(string why) =>
            new(
                "PathOutside",
                LaunchErrorCategory.SecurityError,
                $"The run's saved program '{SafePath.Show(path)}' is refused: {why}.",
                SafePath.Show(path)
            );
    }

    private static List<(string Path, string Target)> CheckLinks(Dictionary<string, Planned> plan)
    {
        var links = new TreeLinks();
        foreach (var entry in plan.Values.Where(e => e.Mode == Mode.SymbolicLink))
        {
            links.Add(entry.Path);
        }

        var kept = new List<(string, string)>();
        foreach (var entry in plan.Values)
        {
            if (entry.Mode != Mode.SymbolicLink)
            {
                // "D" and "d" are one name on many machines.
                if (links.IsLink(entry.Path))
                {
                    throw Twice(entry.Path);
                }

                continue;
            }

            // Larger ones are no paths, and are not read into memory.
            var target = entry.Blob!.Size > SafePath.LongestPath ? null : TextOf(entry.Blob);
            if ((target is null ? "has no path as its target" : links.Fault(entry.Path, target)) is { } fault)
            {
                throw new LaunchException(
                    "LinkOutside",
                    LaunchErrorCategory.SecurityError,
                    $"The source's symbolic link '{SafePath.Show(entry.Path)}' {fault}. It is refused: a link must lead straight to a file or folder of the same source.",
                    SafePath.Show(entry.Path)
                );
            }

            kept.Add((entry.Path, target!));
        }

        return kept;
    }

    private static string? TextOf(Blob blob)
    {
        using var content = blob.GetContentStream();
        using var bytes = new MemoryStream();
        content.CopyTo(bytes);
        try
        {
            return new UTF8Encoding(false, true).GetString(bytes.ToArray());
        }
        catch (DecoderFallbackException)
        {
            return null;
        }
    }

    private static (GitMirror Mirror, string Location) Submodule(
        GitMirror mirror,
        Tree tree,
        string path,
        string name,
        string remote
    )
    {
        var url = SubmoduleUrl(tree, name) is { } found
            ? Absolute(found, remote)
            : throw new LaunchException(
                "SubmoduleInvalid",
                LaunchErrorCategory.InvalidData,
                $"The submodule '{path}' has no URL in .gitmodules. Commit one there.",
                path
            );
        var source = LaunchUri.Parse(url, Path.GetTempPath());
        if (source.Kind != LaunchUriKind.Git)
        {
            throw new LaunchException(
                "SubmoduleInvalid",
                LaunchErrorCategory.SecurityError,
                $"The submodule '{path}' comes from '{url}', which is not a git address over https, ssh or file. Mend .gitmodules.",
                path
            );
        }

        if (
            source.Location.StartsWith("file:", StringComparison.OrdinalIgnoreCase)
            && !remote.StartsWith("file:", StringComparison.OrdinalIgnoreCase)
        )
        {
            throw new LaunchException(
                "SubmoduleInvalid",
                LaunchErrorCategory.SecurityError,
                $"The submodule '{path}' of a remote repository points to a folder of this machine ({url}). It is refused.",
                path
            );
        }

        return (mirror.ForSubmodule(source.Location), source.Location);
    }

    private static string? SubmoduleUrl(Tree tree, string path)
    {
        // A link would be another file's path, and a huge file no list of modules.
        if (
            tree[".gitmodules"] is not { Mode: Mode.NonExecutableFile or Mode.ExecutableFile, Target: Blob blob }
            || blob.Size > 1 << 20
        )
        {
            return null;
        }

        string? currentPath = null,
            currentUrl = null;
        foreach (var line in blob.GetContentText().Split('\n').Select(l => l.Trim()).Append("[end]"))
        {
            if (line.StartsWith('['))
            {
                if (currentPath == path)
                {
                    return currentUrl;
                }

                currentPath = currentUrl = null;
            }
            else if (line.Split('=', 2) is [var name, var value])
            {
                currentPath = name.Trim() == "path" ? value.Trim() : currentPath;
                currentUrl = name.Trim() == "url" ? value.Trim() : currentUrl;
            }
        }

        return null;
    }

    private static string Absolute(string url, string remote)
    {
        if (!url.StartsWith("./", StringComparison.Ordinal) && !url.StartsWith("../", StringComparison.Ordinal))
        {
            return url;
        }

        var parent = remote.TrimEnd('/');
        while (url.StartsWith("../", StringComparison.Ordinal) || url.StartsWith("./", StringComparison.Ordinal))
        {
            if (url.StartsWith("../", StringComparison.Ordinal))
            {
                parent = parent[..Math.Max(parent.LastIndexOf('/'), 0)];
            }

            url = url[(url.IndexOf('/', StringComparison.Ordinal) + 1)..];
        }

        return parent + "/" + url;
    }
}
