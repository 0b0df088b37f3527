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
    private readonly IProgress<LaunchProgress>? _progress;
    private readonly Action<string>? _check;
    private readonly LaunchCache _cache;
    private readonly TimeSpan _silence;

    // What git's credential helpers have for an address; asked for once.
    private (string Origin, GitCredential? Login)? _stored;

    /// <param name="cache">Where the mirror is kept.</param>
    /// <param name="remote">Address of the repository.</param>
    /// <param name="credential">For this host only.</param>
    /// <param name="progress">Told what is being fetched.</param>
    /// <param name="check">Throws for a remote that may not be used: an agent's policy.</param>
    /// <param name="silence">How long the host may be silent; null: <see cref="DefaultSilence"/>.</param>
    internal GitMirror(
        LaunchCache cache,
        string remote,
        GitCredential? credential,
        IProgress<LaunchProgress>? progress,
        Action<string>? check = null,
        TimeSpan? silence = null
    )
    {
        LaunchUri.CheckRemote(remote);
        check?.Invoke(remote);

        // A password inside the address is used, and kept nowhere: not in the mirror's configuration, not in its name.
        (_remote, var inside) = SplitCredential(remote);
        _credential = inside ?? credential;
        _progress = progress;
        _check = check;
        _silence = silence ?? DefaultSilence;
        _cache = cache;
        _folder = cache.GitFolder(_remote);
    }

    // Large repositories are counted before the first byte, but servers say so every few seconds meanwhile.
    private static readonly TimeSpan ConnectLimit = TimeSpan.FromSeconds(10);

    /// <summary>How long a host may be silent.</summary>
    internal static readonly TimeSpan DefaultSilence = TimeSpan.FromMinutes(2);

    internal string Folder => _folder;

    /// <summary>The repository, without a login.</summary>
    internal string Address => _remote;

    /// <summary>The mirror of a submodule: the same rules, and this remote's credential only where scheme, host and port are the same.</summary>
    internal GitMirror ForSubmodule(string remote) =>
        new(
            _cache,
            remote,
            LaunchUri.GitOrigin(remote) == LaunchUri.GitOrigin(_remote) ? _credential : null,
            null,
            _check,
            _silence
        );

    internal bool Fetched { get; private set; }

    /// <summary>Finds a commit by hash, branch or tag; null is the remote's default branch. Fetches only when it must.</summary>
    internal async Task<string> ResolveAsync(string? version, CancellationToken token)
    {
        using var held = await FileLock.EnterAsync(_folder + ".lock", token);
        while (true)
        {
            try
            {
                return await Task.Run(() => Resolve(version, token), token);
            }
            catch (LoginWanted e)
            {
                // A helper is a program, and a fetch waits for no program in its middle: it is asked between two fetches.
                _stored = (LaunchUri.GitOrigin(e.Url), await AskHelperAsync(e.Url, token));
                if (_stored is { Login: null })
                {
                    throw e.Fault;
                }
            }
        }
    }

    /// <summary>The names of what the remote has now; nothing is fetched.</summary>
    internal async Task<IReadOnlyList<string>> ReferencesAsync(CancellationToken token)
    {
        using var held = await FileLock.EnterAsync(_folder + ".lock", token);
        return await Task.Run(
            () =>
            {
                using var repository = Open();
                var names = new List<string>();
                Run(
                    repository,
                    null,
                    (origin, credentials) =>
                        names.AddRange(
                            repository.Network.ListReferences(origin, credentials).Select(r => r.CanonicalName)
                        ),
                    token
                );
                return names;
            },
            token
        );
    }

    private string Resolve(string? version, CancellationToken token)
    {
        using var repository = Open();
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
                        $"{Secrets.Mask(_remote)} has no branch, tag or commit '{version}'. Is it pushed? 'git ls-remote' shows what is there.",
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
            (origin, credentials) =>
                head = repository
                    .Network.ListReferences(origin, credentials)
                    .FirstOrDefault(r => r.CanonicalName == "HEAD")
                    ?.ResolveToDirectReference()
                    ?.TargetIdentifier,
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

    // The host wants a login, and those that were given do not fit.
    private sealed class LoginWanted(string url, LaunchException fault) : Exception(fault.Message, fault)
    {
        internal string Url => url;

        internal LaunchException Fault => fault;
    }

    private void Run(
        Repository repository,
        string[]? refSpecs,
        Action<Remote, CredentialsHandler>? before,
        CancellationToken token
    )
    {
        string? asking = null;
        try
        {
            var origin = Origin(repository);
            var place = LaunchUri.GitOrigin(origin.Url);
            using var logins = Logins(place).GetEnumerator();
            using var call = new GitHttpCall(
                place,
                () =>
                {
                    if (logins.MoveNext())
                    {
                        return logins.Current;
                    }

                    asking = origin.Url;
                    return null;
                },
                _check,
                repository.Config.Get<string>("http.proxy")?.Value,
                ConnectLimit,
                _silence,
                token
            );
            GitHttpTransport.Run(
                call,
                () =>
                {
                    before?.Invoke(origin, OtherCredentials());
                    if (refSpecs is null)
                    {
                        return;
                    }

                    Commands.Fetch(
                        repository,
                        "origin",
                        refSpecs,
                        new FetchOptions
                        {
                            CredentialsProvider = OtherCredentials(),
                            Prune = false,
                            TagFetchMode = TagFetchMode.None,
                            OnTransferProgress = p =>
                            {
                                _progress?.Report($"{p.ReceivedObjects}/{p.TotalObjects} objects");
                                return !token.IsCancellationRequested;
                            },
                        },
                        null
                    );
                }
            );
        }
        catch (UserCancelledException)
        {
            throw new OperationCanceledException(token);
        }
        catch (LibGit2SharpException e)
        {
            token.ThrowIfCancellationRequested();
            throw asking is { } url && _stored?.Origin != LaunchUri.GitOrigin(url)
                ? new LoginWanted(url, Explain(e))
                : Explain(e);
        }
    }

    // The remote as libgit2 will ask it: url.<base>.insteadOf of the user's own git configuration may have changed it.
    private Remote Origin(Repository repository)
    {
        if (repository.Network.Remotes["origin"] is null)
        {
            repository.Network.Remotes.Add("origin", _remote, "+refs/heads/*:refs/heads/*");
        }
        else
        {
            repository.Network.Remotes.Update("origin", r => r.Url = _remote);
        }

        var origin = repository.Network.Remotes["origin"]!;
        if (LaunchUri.GitOrigin(origin.Url) != LaunchUri.GitOrigin(_remote))
        {
            _check?.Invoke(LaunchUri.CheckRemote(origin.Url));
        }

        return origin;
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
                $"Cannot fetch {remote}: {text.TrimEnd('.')}. Try again; 'git ls-remote' shows whether it is the network or the host.",
                remote,
                e
            );
    }

    // Each is tried once. A credential that was given is for the address that it was given with.
    private IEnumerable<GitCredential> Logins(string origin)
    {
        if (_credential is not null && origin == LaunchUri.GitOrigin(_remote))
        {
            yield return _credential;
        }

        if (_stored is { Login: { } login } stored && origin == stored.Origin)
        {
            yield return login;
        }
    }

    // For what is not HTTP: ssh has keys of its own.
    private CredentialsHandler OtherCredentials()
    {
        var asked = false;
        return (_, _, _) =>
            asked || _credential is null
                ? throw new LibGit2SharpException("authentication failed: no (more) credentials for this host")
                : new UsernamePasswordCredentials { Username = _credential.User, Password = Take() };

        string Take()
        {
            asked = true;
            return Secrets.Register(_credential!.Password);
        }
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
    private async Task<GitCredential?> AskHelperAsync(string url, CancellationToken token)
    {
        // A line break in any of them would be a line of its own for the helper: a login of another host.
        if (
            !Uri.TryCreate(url, UriKind.Absolute, out var uri)
            || uri.Scheme is not ("http" or "https")
            || (uri.Authority + uri.AbsolutePath).Any(char.IsControl)
        )
        {
            return null;
        }

        var helper = new ExternalProgram("git", "credential", "fill")
        {
            // Not the shell's folder: a .git there could name a helper.
            WorkingFolder = Path.GetDirectoryName(_folder)!,
            TimeLimit = TimeSpan.FromSeconds(10),
            Input = $"protocol={uri.Scheme}\nhost={uri.Authority}\npath={uri.AbsolutePath.TrimStart('/')}\n\n",
            Environment = new Dictionary<string, string?>
            {
                ["GIT_TERMINAL_PROMPT"] = "0",
                ["GCM_INTERACTIVE"] = "never",
                ["GIT_ASKPASS"] = null,
                ["SSH_ASKPASS"] = null,
            },
        };
        try
        {
            var values = (await helper.RunAsync(token))
                .Output.Split('\n')
                .Select(l => l.Split('=', 2))
                .Where(p => p.Length == 2)
                .GroupBy(p => p[0])
                .ToDictionary(p => p.Key, p => p.Last()[1].TrimEnd('\r'));
            return values.TryGetValue("password", out var password)
                ? new GitCredential(values.GetValueOrDefault("username", ""), Secrets.Register(password))
                : null;
        }
        catch (LaunchException e) when (e.ErrorId is "ProgramNotStarted" or "ProgramTimeout")
        {
            return null;
        }
    }

    [GeneratedRegex("^[0-9a-f]{40}$")]
    private static partial Regex FullHash();

    [GeneratedRegex("^[0-9a-f]{7,40}$")]
    private static partial Regex AnyHash();
}
