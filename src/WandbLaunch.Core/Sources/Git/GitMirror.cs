using System.Diagnostics;
using System.Text.RegularExpressions;
using LibGit2Sharp;
using LibGit2Sharp.Handlers;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Sources;

/// <summary>Name and password or token for a git host.</summary>
internal sealed record GitCredential(string User, string Password);

/// <summary>A bare mirror for each remote, kept in the cache: a commit that is there needs no network.</summary>
internal sealed partial class GitMirror
{
    private readonly string _folder;
    private readonly string _remote;
    private readonly GitCredential? _credential;
    private readonly Action<string>? _progress;
    private readonly Action<string>? _check;
    private readonly LaunchCache _cache;

    /// <param name="cache">Where the mirror is kept.</param>
    /// <param name="remote">Address of the repository.</param>
    /// <param name="credential">For this host only.</param>
    /// <param name="progress">Told what is being fetched.</param>
    /// <param name="check">Throws for a remote that may not be used: an agent's policy.</param>
    internal GitMirror(
        LaunchCache cache,
        string remote,
        GitCredential? credential,
        Action<string>? progress,
        Action<string>? check = null
    )
    {
        check?.Invoke(remote);

        // A password inside the address is used, and kept nowhere: not in the mirror's configuration, not in its name.
        (_remote, var inside) = SplitCredential(remote);
        _credential = inside ?? credential;
        _progress = progress;
        _check = check;
        _cache = cache;
        _folder = cache.GitFolder(_remote);
    }

    // Large repositories are counted before the first byte, but servers say so every few seconds meanwhile.
    private static readonly TimeSpan ConnectLimit = TimeSpan.FromSeconds(10);

    /// <summary>How long a host may be silent.</summary>
    internal static TimeSpan SilenceLimit { get; set; } = TimeSpan.FromMinutes(2);

    internal string Folder => _folder;

    /// <summary>The mirror of a submodule: the same rules, and this remote's credential only where the host is the same.</summary>
    internal GitMirror ForSubmodule(string remote) =>
        new(_cache, remote, LaunchUri.GitHost(remote) == LaunchUri.GitHost(_remote) ? _credential : null, null, _check);

    internal bool Fetched { get; private set; }

    /// <summary>Finds a commit by hash, branch or tag; null is the remote's default branch. Fetches only when it must.</summary>
    internal async Task<string> ResolveAsync(string? version, CancellationToken token)
    {
        using var gate = await FileLock.EnterAsync(_folder + ".lock", token);
        return await Task.Run(() => Resolve(version, token), token);
    }

    private string Resolve(string? version, CancellationToken token)
    {
        if (!Repository.IsValid(_folder))
        {
            Directory.CreateDirectory(_folder);
            Repository.Init(_folder, true);
        }

        using var repository = new Repository(_folder);
        if (version is not null && FullHash().IsMatch(version) && repository.Lookup<Commit>(version) is { } known)
        {
            return known.Sha;
        }

        var head = Fetch(repository, token);
        if (version is null)
        {
            // The remote's own HEAD; an old server that does not tell has main or master (protocol D.3).
            return (head is null ? null : repository.Lookup<Commit>(head))?.Sha
                ?? Peel(repository, "refs/heads/main")
                ?? Peel(repository, "refs/heads/master")
                ?? throw new LaunchException(
                    "GitRepositoryEmpty",
                    LaunchErrorCategory.ObjectNotFound,
                    $"{Secrets.Mask(_remote)} has no default branch. Name one with -GitVersion or URL@branch.",
                    _remote
                );
        }

        return Peel(repository, "refs/heads/" + version)
            ?? Peel(repository, "refs/tags/" + version)
            ?? (
                AnyHash().IsMatch(version)
                    ? repository.Lookup<Commit>(version)?.Sha ?? FetchExactly(repository, version, token)
                    : null
            )
            ?? throw (
                AnyHash().IsMatch(version)
                    ? new LaunchException(
                        "CommitNotFound",
                        LaunchErrorCategory.ObjectNotFound,
                        $"The commit {version} is not (or no longer) reachable at {Secrets.Mask(_remote)}. It was perhaps never pushed, or lost in a force push. Push it, or choose another with -GitVersion.",
                        version
                    )
                    : new LaunchException(
                        "GitVersionNotFound",
                        LaunchErrorCategory.ObjectNotFound,
                        $"{Secrets.Mask(_remote)} has no branch, tag or commit '{version}'.",
                        version
                    )
            );
    }

    private static string? Peel(Repository repository, string reference) =>
        repository.Refs[reference]?.ResolveToDirectReference()?.Target?.Peel<Commit>()?.Sha;

    private string? Fetch(Repository repository, CancellationToken token)
    {
        string? head = null;
        Run(
            repository,
            ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"],
            () =>
            {
                var listed = Repository.ListRemoteReferences(_remote, Credentials());
                head = listed
                    .FirstOrDefault(r => r.CanonicalName == "HEAD")
                    ?.ResolveToDirectReference()
                    ?.TargetIdentifier;
            },
            token
        );
        Fetched = true;
        return head;
    }

    private string? FetchExactly(Repository repository, string hash, CancellationToken token)
    {
        if (!FullHash().IsMatch(hash))
        {
            return null;
        }

        try
        {
            // Hosts such as GitHub serve a commit that no branch holds any more, for a while.
            Run(repository, [$"{hash}:refs/wandblaunch/{hash}"], null, token);
            return repository.Lookup<Commit>(hash)?.Sha;
        }
        catch (LaunchException e) when (e.ErrorId == "GitFetchFailed")
        {
            return null;
        }
    }

    private void Run(Repository repository, string[] refSpecs, Action? before, CancellationToken token)
    {
        var options = new FetchOptions
        {
            CredentialsProvider = Credentials(),
            Prune = false,
            TagFetchMode = TagFetchMode.None,
            OnTransferProgress = p =>
            {
                _progress?.Invoke($"{p.ReceivedObjects}/{p.TotalObjects} objects");
                return !token.IsCancellationRequested;
            },
        };
        GitNative.LimitWaits(ConnectLimit, SilenceLimit);
        try
        {
            before?.Invoke();
            if (repository.Network.Remotes["origin"] is null)
            {
                repository.Network.Remotes.Add("origin", _remote, "+refs/heads/*:refs/heads/*");
            }

            Commands.Fetch(repository, "origin", refSpecs, options, null);
        }
        catch (UserCancelledException)
        {
            throw new OperationCanceledException(token);
        }
        catch (LibGit2SharpException e)
        {
            token.ThrowIfCancellationRequested();
            throw Explain(e);
        }
    }

    private LaunchException Explain(LibGit2SharpException e)
    {
        var remote = Secrets.Mask(_remote);
        var text = e.Message;
        return text.Contains("401", StringComparison.Ordinal)
            || text.Contains("403", StringComparison.Ordinal)
            || text.Contains("authentication", StringComparison.OrdinalIgnoreCase)
            || text.Contains("credentials", StringComparison.OrdinalIgnoreCase)
                ? new LaunchException(
                    "GitAuthenticationFailed",
                    LaunchErrorCategory.AuthenticationError,
                    $"{remote} wants a login, and none fits. Give -GitCredential (user and token), store one in git's credential manager, or use ssh. ({text})",
                    remote,
                    e
                )
            : text.Contains("404", StringComparison.Ordinal)
            || text.Contains("not found", StringComparison.OrdinalIgnoreCase)
            || text.Contains("does not exist", StringComparison.OrdinalIgnoreCase)
            || text.Contains("failed to resolve path", StringComparison.OrdinalIgnoreCase)
                ? new LaunchException(
                    "GitRepositoryNotFound",
                    LaunchErrorCategory.ObjectNotFound,
                    $"There is no git repository at {remote}, or it is private and no login was given (-GitCredential). ({text})",
                    remote,
                    e
                )
            : text.Contains("certificate", StringComparison.OrdinalIgnoreCase)
                ? new LaunchException(
                    "TlsFailed",
                    LaunchErrorCategory.ConnectionError,
                    $"The certificate of {remote} was not accepted. ({text})",
                    remote,
                    e
                )
            : text.Contains("No space left", StringComparison.OrdinalIgnoreCase)
                ? new LaunchException(
                    "DiskFull",
                    LaunchErrorCategory.WriteError,
                    $"The disk is full while fetching {remote}. Free room, or empty the caches with Clear-WandbLaunchCache.",
                    remote,
                    e
                )
            : new LaunchException(
                "GitFetchFailed",
                LaunchErrorCategory.ConnectionError,
                $"Cannot fetch {remote}: {text.TrimEnd('.')}.",
                remote,
                e
            );
    }

    // One answer of each kind: asked again with the same credential libgit2 would loop for ever.
    private CredentialsHandler Credentials()
    {
        var step = 0;
        return (url, userFromUrl, types) =>
        {
            while (true)
            {
                switch (step++)
                {
                    case 0 when _credential is not null:
                        return Basic(_credential);
                    case 1 when AskHelper(url, userFromUrl) is { } stored:
                        return Basic(stored);
                    case > 1:
                        throw new LibGit2SharpException("authentication failed: no (more) credentials for this host");
                }
            }
        };

        static UsernamePasswordCredentials Basic(GitCredential c) =>
            new() { Username = c.User, Password = Secrets.Register(c.Password) };
    }

    private static (string Remote, GitCredential? Credential) SplitCredential(string remote)
    {
        if (
            !Uri.TryCreate(remote, UriKind.Absolute, out var uri)
            || uri.Scheme is not ("http" or "https")
            || uri.UserInfo.Length == 0
        )
        {
            return (remote, null);
        }

        var parts = uri.UserInfo.Split(':', 2);
        var plain = new UriBuilder(uri) { UserName = "", Password = "" }
            .Uri
            .AbsoluteUri;

        // A lone user name is how tokens are often written.
        return (
            plain,
            parts.Length == 2
                ? new GitCredential(
                    Uri.UnescapeDataString(parts[0]),
                    Secrets.Register(Uri.UnescapeDataString(parts[1]))
                )
                : new GitCredential(Uri.UnescapeDataString(parts[0]), "")
        );
    }

    /// <summary>Asks git's own credential helpers, without a prompt. No git program: no answer.</summary>
    private static GitCredential? AskHelper(string url, string? user)
    {
        if (!Uri.TryCreate(url, UriKind.Absolute, out var uri) || uri.Scheme is not ("http" or "https"))
        {
            return null;
        }

        var start = new ProcessStartInfo("git")
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
            CreateNoWindow = true,
        };
        start.ArgumentList.Add("credential");
        start.ArgumentList.Add("fill");
        start.Environment["GIT_TERMINAL_PROMPT"] = "0";
        start.Environment["GCM_INTERACTIVE"] = "never";
        start.Environment.Remove("GIT_ASKPASS");
        start.Environment.Remove("SSH_ASKPASS");
        try
        {
            using var process = Process.Start(start)!;
            process.StandardInput.Write(
                $"protocol={uri.Scheme}\nhost={uri.Authority}\npath={uri.AbsolutePath.TrimStart('/')}\n{(string.IsNullOrEmpty(user) ? "" : $"username={user}\n")}\n"
            );
            process.StandardInput.Close();
            var answer = process.StandardOutput.ReadToEndAsync();
            _ = process.StandardError.ReadToEndAsync();
            if (!process.WaitForExit(10_000))
            {
                process.Kill(true);
                return null;
            }

            // libgit2 asks for a credential in a callback, and wants its answer there.
#pragma warning disable VSTHRD002
            var values = answer
                .Result.Split('\n')
                .Select(l => l.Split('=', 2))
                .Where(p => p.Length == 2)
                .ToDictionary(p => p[0], p => p[1].TrimEnd('\r'));
#pragma warning restore VSTHRD002
            return values.TryGetValue("password", out var password)
                ? new GitCredential(values.GetValueOrDefault("username", ""), password)
                : null;
        }
        catch (Exception e) when (e is System.ComponentModel.Win32Exception or IOException)
        {
            return null;
        }
    }

    [GeneratedRegex("^[0-9a-f]{40}$")]
    private static partial Regex FullHash();

    [GeneratedRegex("^[0-9a-f]{7,40}$")]
    private static partial Regex AnyHash();
}
