using System.Text;
using LibGit2Sharp;
using WandbLaunch.Foundation;

namespace WandbLaunch.Sources;

/// <summary>Writes the tree of a commit, with its patch and its submodules, to a folder of the cache.</summary>
internal static class GitWorkspace
{
    /// <summary>The cached folder of a commit with its patch; made once, by a rename, so that half of one never counts.</summary>
    internal static async Task<(string Folder, bool Patched)> EnsureAsync(
        LaunchCache cache,
        GitMirror mirror,
        string commit,
        byte[]? patch,
        Dictionary<string, byte[]> extra,
        CancellationToken token
    )
    {
        var remote = mirror.Address;
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
        using var held = await FileLock.EnterAsync(folder + ".lock", token);
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
        Dictionary<string, byte[]> extra,
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
                var (module, location) = GitSubmodule.Find(from, top, path, path[prefix.Length..], address);
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
}
