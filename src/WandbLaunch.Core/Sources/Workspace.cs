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

        var key =
            remote
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
                await WriteTreeAsync(mirror, repository, tree, temporary, remote, token);
                foreach (var (name, content) in extra)
                {
                    var path = SafePath.Combine(temporary, name, "run file");
                    Directory.CreateDirectory(Path.GetDirectoryName(path)!);
                    await File.WriteAllBytesAsync(path, content, token);
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

                throw;
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

    /// <summary>Copies a folder with its uncommitted state, without what .gitignore and .dockerignore leave out, and without this module's own data folder.</summary>
    internal static void CopyFolder(string source, string target, List<string> warnings, CancellationToken token)
    {
        // Whoever launches a folder that holds the data folder must not copy the copy.
        string[] own = [Path.GetFullPath(LaunchEnvironment.Current.DataFolder), Path.GetFullPath(target)];
        using var ignore = new FolderIgnore(source);
        try
        {
            Copy("");
        }
        catch (Exception e) when (DiskFull.Explain(e, target) is { } full)
        {
            throw full;
        }

        void Copy(string at)
        {
            token.ThrowIfCancellationRequested();
            Directory.CreateDirectory(Path.Combine(target, at));
            foreach (var entry in new DirectoryInfo(Path.Combine(source, at)).EnumerateFileSystemInfos())
            {
                var relative = at.Length == 0 ? entry.Name : at + "/" + entry.Name;
                var isFolder = entry is DirectoryInfo;
                if (
                    ignore.Leaves(relative, isFolder && entry.LinkTarget is null)
                    || (isFolder && own.Contains(Path.GetFullPath(entry.FullName)))
                )
                {
                    continue;
                }

                if (entry.LinkTarget is { } link)
                {
                    if (!SafePath.LinkStaysInside(relative, link.Replace('\\', '/')))
                    {
                        warnings.Add($"'{relative}' is a link that leads out of the folder and is left out");
                    }
                    else if (isFolder)
                    {
                        Directory.CreateSymbolicLink(Path.Combine(target, relative), link);
                    }
                    else
                    {
                        File.CreateSymbolicLink(Path.Combine(target, relative), link);
                    }
                }
                else if (isFolder)
                {
                    Copy(relative);
                }
                else if (entry is FileInfo file)
                {
                    file.CopyTo(Path.Combine(target, relative));
                }
            }
        }
    }

    /// <summary>Copies a cached workspace for one launch, so that launches cannot disturb each other.</summary>
    internal static void CopyPlain(string source, string target, CancellationToken token)
    {
        try
        {
            Copy(source, target);
        }
        catch (Exception e) when (DiskFull.Explain(e, target) is { } full)
        {
            throw full;
        }

        void Copy(string from, string to)
        {
            token.ThrowIfCancellationRequested();
            Directory.CreateDirectory(to);
            foreach (var entry in new DirectoryInfo(from).EnumerateFileSystemInfos())
            {
                var path = Path.Combine(to, entry.Name);
                if (entry.LinkTarget is { } link)
                {
                    File.CreateSymbolicLink(path, link);
                }
                else if (entry is FileInfo file)
                {
                    file.CopyTo(path);
                }
                else
                {
                    Copy(entry.FullName, path);
                }
            }
        }
    }

    // The tree is written by hand: no hooks, no filters, no attributes, no links out; the same bytes on every platform.
    private static async Task WriteTreeAsync(
        GitMirror mirror,
        Repository repository,
        Tree tree,
        string folder,
        string remote,
        CancellationToken token
    )
    {
        var links = new List<(string Path, string Target)>();
        var modules = new List<(string Path, string Commit)>();
        Write(tree, "");
        foreach (var (path, commit) in modules)
        {
            await WriteSubmoduleAsync(path, commit);
        }

        // Links come last, so that no file is ever written through one.
        foreach (var (path, target) in links)
        {
            var full = Path.Combine(folder, path);
            if (OperatingSystem.IsWindows())
            {
                // As git does with core.symlinks=false.
                await File.WriteAllTextAsync(full, target, token);
            }
            else
            {
                File.CreateSymbolicLink(full, target);
            }
        }

        void Write(Tree current, string at)
        {
            token.ThrowIfCancellationRequested();
            foreach (var entry in current)
            {
                var path = at + entry.Name;
                if (
                    SafePath.Fault(path) is { } fault
                    || entry.Name.Contains('/', StringComparison.Ordinal)
                    || entry.Name.Contains('\\', StringComparison.Ordinal)
                )
                {
                    throw new LaunchException(
                        "PathOutside",
                        LaunchErrorCategory.SecurityError,
                        $"The repository holds the file name '{path}', which is refused: it would leave the folder.",
                        path
                    );
                }

                var full = Path.Combine(folder, path);
                switch (entry.Mode)
                {
                    case Mode.Directory:
                        Directory.CreateDirectory(full);
                        Write((Tree)entry.Target, path + "/");
                        break;
                    case Mode.SymbolicLink:
                        var target = ((Blob)entry.Target).GetContentText();
                        if (!SafePath.LinkStaysInside(path, target))
                        {
                            throw new LaunchException(
                                "LinkOutside",
                                LaunchErrorCategory.SecurityError,
                                $"The repository's symbolic link '{path}' leads out of it, to '{target}'. It is refused.",
                                path
                            );
                        }

                        links.Add((path, target));
                        break;
                    case Mode.GitLink:
                        Directory.CreateDirectory(full);
                        modules.Add((path, entry.Target.Sha));
                        break;
                    default:
                        using (var input = ((Blob)entry.Target).GetContentStream())
                        using (var output = new FileStream(full, FileMode.CreateNew))
                        {
                            input.CopyTo(output);
                        }

                        if (entry.Mode == Mode.ExecutableFile && !OperatingSystem.IsWindows())
                        {
                            File.SetUnixFileMode(
                                full,
                                File.GetUnixFileMode(full)
                                    | UnixFileMode.UserExecute
                                    | UnixFileMode.GroupExecute
                                    | UnixFileMode.OtherExecute
                            );
                        }

                        break;
                }
            }
        }

        async Task WriteSubmoduleAsync(string path, string commit)
        {
            var url = SubmoduleUrl(tree, path) is { } found
                ? Absolute(found, remote)
                : throw new LaunchException(
                    "SubmoduleInvalid",
                    LaunchErrorCategory.InvalidData,
                    $"The submodule '{path}' has no URL in .gitmodules.",
                    path
                );
            var source = LaunchUri.Parse(url, folder);
            if (source.Kind != LaunchUriKind.Git)
            {
                throw new LaunchException(
                    "SubmoduleInvalid",
                    LaunchErrorCategory.SecurityError,
                    $"The submodule '{path}' comes from '{url}', which is not a git address over https, ssh or file.",
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

            var module = mirror.ForSubmodule(source.Location);
            await module.ResolveAsync(commit, token);
            using var inner = new Repository(module.Folder);
            await WriteTreeAsync(
                module,
                inner,
                inner.Lookup<Commit>(commit).Tree,
                Path.Combine(folder, path),
                source.Location,
                token
            );
        }
    }

    private static string? SubmoduleUrl(Tree tree, string path)
    {
        if (tree[".gitmodules"]?.Target is not Blob blob)
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
