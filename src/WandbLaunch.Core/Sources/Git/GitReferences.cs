using LibGit2Sharp;
using WandbLaunch.Foundation;

namespace WandbLaunch.Sources;

/// <summary>What can be named in a repository: branches, tags and programs. Nothing is fetched for it.</summary>
internal static class GitReferences
{
    private const int Most = 1000;

    private static readonly string[] Programs = [".py", ".sh"];

    // What holds programs of others, or is deeper than anybody starts one.
    private static readonly string[] LeftOut = ["node_modules", "site-packages", "venv", "__pycache__", "wandb"];

    /// <summary>Branches and tags of a repository in a folder, newest first.</summary>
    internal static IReadOnlyList<(string Name, string Tip)> OfFolder(string folder)
    {
        if (!Repository.IsValid(folder))
        {
            return [];
        }

        using var repository = new Repository(folder);
        return
        [
            .. repository
                .Refs.Where(r => r.IsLocalBranch || r.IsTag)
                .Select(r => (Reference: r, Commit: r.ResolveToDirectReference()?.Target?.Peel<Commit>()))
                .Where(r => r.Commit is not null)
                .OrderByDescending(r => r.Commit!.Committer.When)
                .ThenBy(r => r.Reference.IsTag)
                .Take(Most)
                .Select(r =>
                    (Short(r.Reference.CanonicalName), $"{Kind(r.Reference.CanonicalName)}: {r.Commit!.MessageShort}")
                ),
        ];
    }

    /// <summary>Branches and tags of a repository elsewhere, as it has them now: branches first, then tags, the highest first.</summary>
    internal static async Task<IReadOnlyList<(string Name, string Tip)>> OfRemoteAsync(
        LaunchCache cache,
        string remote,
        CancellationToken token
    )
    {
        var names = await new GitMirror(cache, remote, null, null).ReferencesAsync(token);
        return
        [
            .. names
                .Where(n =>
                    n.StartsWith("refs/heads/", StringComparison.Ordinal)
                    || (
                        n.StartsWith("refs/tags/", StringComparison.Ordinal)
                        && !n.EndsWith("^{}", StringComparison.Ordinal)
                    )
                )
                .OrderBy(n => n.StartsWith("refs/tags/", StringComparison.Ordinal))
                .ThenBy(n => n is not ("refs/heads/main" or "refs/heads/master"))
                .ThenBy(n => n.StartsWith("refs/heads/", StringComparison.Ordinal) ? n : "", StringComparer.Ordinal)
                .ThenByDescending(n => n, StringComparer.Ordinal)
                .Take(Most)
                .Select(n => (Short(n), Kind(n))),
        ];
    }

    /// <summary>Programs of a folder, or of a version of the repository that it is; paths with forward slashes.</summary>
    internal static IReadOnlyList<string> ProgramsOfFolder(string folder, string? version)
    {
        // A bare one has its HEAD at the top; git is not asked about a plain folder.
        if ((version is not null || File.Exists(Path.Combine(folder, "HEAD"))) && Repository.IsValid(folder))
        {
            using var repository = new Repository(folder);
            return Of(repository, version);
        }

        var root = new DirectoryInfo(folder);
        return !root.Exists
            ? []
            :
            [
                .. Below(root, "", 0)
                    .Where(p => Programs.Contains(Path.GetExtension(p), StringComparer.Ordinal))
                    .Take(Most),
            ];
    }

    /// <summary>Programs of a repository elsewhere, where the cache has it.</summary>
    internal static IReadOnlyList<string> ProgramsOfMirror(LaunchCache cache, string remote, string? version)
    {
        var folder = new GitMirror(cache, remote, null, null).Folder;
        if (!Repository.IsValid(folder))
        {
            return [];
        }

        using var repository = new Repository(folder);
        return Of(repository, version);
    }

    private static List<string> Of(Repository repository, string? version)
    {
        var commit = version is null
            ? repository.Head?.Tip ?? Tip("main") ?? Tip("master")
            : Tip(version) ?? Peel(repository.Refs["refs/tags/" + version]) ?? repository.Lookup<Commit>(version);
        return commit is null ? [] : [.. Below(commit.Tree, "", 0).Take(Most)];

        Commit? Tip(string branch) => Peel(repository.Refs["refs/heads/" + branch]);

        static Commit? Peel(Reference? reference) => reference?.ResolveToDirectReference()?.Target?.Peel<Commit>();
    }

    private static IEnumerable<string> Below(Tree tree, string path, int depth)
    {
        foreach (var entry in tree)
        {
            if (
                entry.TargetType == TreeEntryTargetType.Blob
                && Programs.Contains(Path.GetExtension(entry.Name), StringComparer.Ordinal)
            )
            {
                yield return path + entry.Name;
            }
            else if (entry.TargetType == TreeEntryTargetType.Tree && depth < 3 && Interesting(entry.Name))
            {
                foreach (var deeper in Below((Tree)entry.Target, $"{path}{entry.Name}/", depth + 1))
                {
                    yield return deeper;
                }
            }
        }
    }

    private static IEnumerable<string> Below(DirectoryInfo folder, string path, int depth)
    {
        var options = new EnumerationOptions
        {
            IgnoreInaccessible = true,
            AttributesToSkip = FileAttributes.ReparsePoint,
        };
        foreach (var file in folder.EnumerateFiles("*", options))
        {
            yield return path + file.Name;
        }

        foreach (var inner in folder.EnumerateDirectories("*", options).Where(d => depth < 3 && Interesting(d.Name)))
        {
            foreach (var deeper in Below(inner, $"{path}{inner.Name}/", depth + 1))
            {
                yield return deeper;
            }
        }
    }

    private static bool Interesting(string name) =>
        !name.StartsWith('.') && !LeftOut.Contains(name, StringComparer.OrdinalIgnoreCase);

    private static string Short(string name) => name[(name.IndexOf('/', 5) + 1)..];

    private static string Kind(string name) =>
        name.StartsWith("refs/tags/", StringComparison.Ordinal) ? "tag" : "branch";
}
