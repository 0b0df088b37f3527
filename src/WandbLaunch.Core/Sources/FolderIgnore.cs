using System.Text;
using System.Text.RegularExpressions;
using LibGit2Sharp;
using WandbLaunch.Foundation;

namespace WandbLaunch.Sources;

/// <summary>What of a folder is not taken along: git's own folder, the SDK's run folders, .gitignore and .dockerignore.</summary>
internal sealed class FolderIgnore : IDisposable
{
    private readonly Repository _repository;
    private readonly string _prefix;
    private readonly string? _temporary;
    private readonly List<(Regex Pattern, bool Keep)> _docker;

    internal FolderIgnore(string folder)
    {
        var found = Repository.Discover(folder);
        if (found is not null && new Repository(found) is { Info.IsBare: false } repository)
        {
            _repository = repository;
            var root = Path.GetFullPath(repository.Info.WorkingDirectory);
            _prefix = Path.GetRelativePath(root, Path.GetFullPath(folder)).Replace('\\', '/');
            _prefix = _prefix == "." ? "" : _prefix + "/";
        }
        else
        {
            // git reads .gitignore files for us in a folder that is no repository, too: a repository elsewhere takes it as its work tree.
            _temporary = Directory.CreateTempSubdirectory("wandblaunch-").FullName;
            Repository.Init(_temporary);
            using (var configured = new Repository(_temporary))
            {
                configured.Config.Set("core.worktree", Path.GetFullPath(folder));
            }

            _repository = new Repository(_temporary);
            _prefix = "";
        }

        using var opened = SafeFolder.Open(folder);
        _docker =
            opened.Kind(".dockerignore", "ignore file") == EntryKind.File
            && opened.ReadText(".dockerignore", "ignore file", 1 << 20) is { } text
                ? ReadDockerIgnore(text.Split('\n'))
                : [];
    }

    internal bool Leaves(string path, bool isFolder)
    {
        var name = path[(path.LastIndexOf('/') + 1)..];
        if (
            name == ".git"
            || (
                isFolder
                && name is "wandb" or "__pycache__" or ".venv"
                && (name != "wandb" || !path.Contains('/', StringComparison.Ordinal))
            )
        )
        {
            return true;
        }

        if (name is ".dockerignore" or "requirements.txt")
        {
            return false;
        }

        var left = false;
        foreach (var (pattern, keep) in _docker)
        {
            if (pattern.IsMatch(path))
            {
                left = !keep;
            }
        }

        if (left)
        {
            // A later "!" may bring back something below: the folder must be walked then.
            return !isFolder || !_docker.Any(d => d.Keep);
        }

        var inRepository = _prefix + path;
        return _repository.Ignore.IsPathIgnored(isFolder ? inRepository + "/" : inRepository)
            && (isFolder ? !HasTracked(inRepository + "/") : _repository.Index[inRepository] is null);
    }

    public void Dispose()
    {
        _repository.Dispose();
        if (_temporary is not null)
        {
            LaunchCache.DeleteFolder(_temporary);
        }
    }

    private bool HasTracked(string prefix) =>
        _repository.Index.Any(e => e.Path.StartsWith(prefix, StringComparison.Ordinal));

    // docs.docker.com/build/concepts/context/#dockerignore-files
    internal static List<(Regex Pattern, bool Keep)> ReadDockerIgnore(IEnumerable<string> lines)
    {
        var rules = new List<(Regex, bool)>();
        foreach (var raw in lines)
        {
            var line = raw.Trim();
            if (line.Length == 0 || line[0] == '#')
            {
                continue;
            }

            var keep = line[0] == '!';
            line = (keep ? line[1..] : line).Trim().Trim('/');
            if (line is "" or ".")
            {
                continue;
            }

            var pattern = new StringBuilder("^");
            for (var i = 0; i < line.Length; i++)
            {
                if (line.AsSpan(i).StartsWith("**/"))
                {
                    pattern.Append("(?:.*/)?");
                    i += 2;
                }
                else if (line.AsSpan(i).StartsWith("**"))
                {
                    pattern.Append(".*");
                    i++;
                }
                else
                {
                    pattern.Append(
                        line[i] switch
                        {
                            '*' => "[^/]*",
                            '?' => "[^/]",
                            var c => Regex.Escape(c.ToString()),
                        }
                    );
                }
            }

            rules.Add(
                (
                    new Regex(
                        pattern.Append("(?:/.*)?$").ToString(),
                        RegexOptions.CultureInvariant | RegexOptions.NonBacktracking
                    ),
                    keep
                )
            );
        }

        return rules;
    }
}
