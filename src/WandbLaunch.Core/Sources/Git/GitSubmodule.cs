using LibGit2Sharp;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Sources;

/// <summary>Where a submodule comes from, by the tree's own .gitmodules.</summary>
internal static class GitSubmodule
{
    /// <summary>The mirror of the submodule at a path, and its address; never a folder of this machine for a remote repository.</summary>
    internal static (GitMirror Mirror, string Location) Find(
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
        var location = GitSource.IsRemote(url, Path.GetTempPath())
            ? LaunchUri.Parse(url, Path.GetTempPath()).Location
            : throw new LaunchException(
                "SubmoduleInvalid",
                LaunchErrorCategory.SecurityError,
                $"The submodule '{path}' comes from '{url}', which is not a git address over https, ssh or file. Mend .gitmodules.",
                path
            );
        if (
            location.StartsWith("file:", StringComparison.OrdinalIgnoreCase)
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

        return (mirror.ForSubmodule(location), location);
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
