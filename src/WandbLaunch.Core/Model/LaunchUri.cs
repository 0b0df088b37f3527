using System.Text.RegularExpressions;
using WandbLaunch.Foundation;

namespace WandbLaunch.Model;

internal enum LaunchUriKind
{
    WandbRun,
    Git,
    OfflineRun,
    LocalFolder,
}

/// <summary>What a URI names, by the rules of protocol D.1, and safer where those would take a guess.</summary>
internal sealed partial record LaunchUri(LaunchUriKind Kind, string Text)
{
    internal RunPath Run { get; init; }

    /// <summary>Remote for git, full path for a folder.</summary>
    internal string Location { get; init; } = "";

    internal string? Ref { get; init; }

    internal string? Subfolder { get; init; }

    /// <summary>Host and scheme of a run URL; null for a bare run path.</summary>
    internal string? RunHost { get; init; }

    /// <summary>Target project that the URI itself suggests (protocol D.1).</summary>
    internal string Project =>
        Kind switch
        {
            LaunchUriKind.WandbRun => Run.Project,
            LaunchUriKind.Git => GitProject(Location),
            _ => "uncategorized",
        };

    internal static LaunchUri Parse(string text, string workingFolder)
    {
        var uri = text.Trim();
        if (uri.Length == 0)
        {
            throw Invalid(text, "it is empty");
        }

        if (uri[0] == '-' || uri.Contains("://-", StringComparison.Ordinal))
        {
            throw new LaunchException(
                "UriRefused",
                LaunchErrorCategory.SecurityError,
                $"'{uri}' begins with a dash and could be taken for an option. Write a folder as ./{uri}.",
                uri
            );
        }

        if (uri.Any(char.IsControl))
        {
            throw new LaunchException(
                "UriRefused",
                LaunchErrorCategory.SecurityError,
                "The URI holds a control character.",
                uri
            );
        }

        // A folder that is really there wins over a name that only looks like git (protocol D.1 takes "my-git-folder" for a URL).
        if (!uri.Contains("://", StringComparison.Ordinal) && FolderAt(uri, workingFolder) is { } folder)
        {
            return ForFolder(uri, folder);
        }

        if (BareRun().Match(uri) is { Success: true } bare)
        {
            return new LaunchUri(LaunchUriKind.WandbRun, uri)
            {
                Run = new RunPath(bare.Groups[1].Value, bare.Groups[2].Value, bare.Groups[3].Value),
            };
        }

        if (
            uri.StartsWith("http://", StringComparison.OrdinalIgnoreCase)
            || uri.StartsWith("https://", StringComparison.OrdinalIgnoreCase)
        )
        {
            return ParseHttp(uri);
        }

        if (Transport().Match(uri) is { Success: true } helper)
        {
            throw new LaunchException(
                "GitTransportRefused",
                LaunchErrorCategory.SecurityError,
                $"The git transport '{helper.Value}' can run programs and is refused. Use https, ssh or file.",
                uri
            );
        }

        if (
            uri.StartsWith("ssh://", StringComparison.OrdinalIgnoreCase)
            || uri.StartsWith("git+ssh://", StringComparison.OrdinalIgnoreCase)
        )
        {
            var (remote, fragment) = SplitFragment(uri);
            var (location, reference) = SplitRef(remote, remote.IndexOf("://", StringComparison.Ordinal) + 3);
            return Git(uri, location, reference, fragment);
        }

        if (uri.StartsWith("file://", StringComparison.OrdinalIgnoreCase))
        {
            var (remote, fragment) = SplitFragment(uri);
            var (location, reference) = SplitRef(remote, 7);
            return Git(uri, location, reference, fragment);
        }

        if (uri.Contains("://", StringComparison.Ordinal))
        {
            throw new LaunchException(
                "UriNotSupported",
                LaunchErrorCategory.InvalidArgument,
                $"'{uri}' is neither a W&B run, nor git over https, ssh or file, nor a folder.",
                uri
            );
        }

        if (Scp().Match(uri) is { Success: true } scp)
        {
            var (remote, fragment) = SplitFragment(uri);
            var (location, reference) = SplitRef(remote, scp.Groups[1].Length + 1);
            return Git(uri, location, reference, fragment);
        }

        throw new LaunchException(
            "SourceNotFound",
            LaunchErrorCategory.ObjectNotFound,
            $"'{uri}' is not a URL, and there is no such folder. Give the URL of a W&B run (https://wandb.ai/<entity>/<project>/runs/<id>), a git URL, or a folder.",
            uri
        );
    }

    internal static string GitProject(string location)
    {
        var last = location.TrimEnd('/').Split('/', ':')[^1];
        return Path.GetFileNameWithoutExtension(last) is { Length: > 0 } name ? name : "uncategorized";
    }

    /// <summary>Host of a git address in lower case; "file" for a folder of this machine, and for nothing else.</summary>
    internal static string GitHost(string location) =>
        location.StartsWith("file:", StringComparison.OrdinalIgnoreCase) ? "file"
        : Scp().Match(location) is { Success: true } scp ? NotFile(scp.Groups[1].Value.Split('@')[^1])
        : Uri.TryCreate(location, UriKind.Absolute, out var uri) ? NotFile(uri.Host)
        : "";

    /// <summary>Scheme, host and port of a git address: whoever has the same one gets the same credential.</summary>
    internal static string GitOrigin(string location) =>
        location.StartsWith("file:", StringComparison.OrdinalIgnoreCase) ? "file:"
        : Scp().Match(location) is { Success: true } scp
            ? $"ssh://{scp.Groups[1].Value.Split('@')[^1].ToLowerInvariant()}:22"
        : Uri.TryCreate(location, UriKind.Absolute, out var uri)
            ? $"{(uri.Scheme == "git+ssh" ? "ssh" : uri.Scheme)}://{uri.Host.ToLowerInvariant()}:{(uri.Port > 0 ? uri.Port : 22)}"
        : "";

    /// <summary>
    /// Refuses an address of a git server that two programs could read as two hosts: this class and the policy read it
    /// with System.Uri, the request is made by libgit2 or ssh.
    /// </summary>
    /// <exception cref="LaunchException"><c>UriRefused</c>, <c>GitTransportRefused</c>.</exception>
    internal static string CheckRemote(string remote)
    {
        if (remote.Any(char.IsControl))
        {
            throw Refused("it holds a control character");
        }

        if (remote.StartsWith("file://", StringComparison.OrdinalIgnoreCase))
        {
            return remote;
        }

        if (!remote.Contains("://", StringComparison.Ordinal))
        {
            if (Scp().IsMatch(remote))
            {
                return StrictScp().IsMatch(remote)
                    ? remote
                    : throw Refused("the user and host of an ssh address are plain letters, digits, dots and dashes");
            }

            // A folder's path; Git's own short form of ssh needs a user here.
            return Path.IsPathFullyQualified(remote)
                ? remote
                : throw Refused("it is neither a URL nor user@host:path nor a full path");
        }

        if (
            remote.StartsWith("http://", StringComparison.OrdinalIgnoreCase)
            && Uri.TryCreate(remote, UriKind.Absolute, out var open)
            && !open.IsLoopback
        )
        {
            throw new LaunchException(
                "GitTransportRefused",
                LaunchErrorCategory.SecurityError,
                $"git over plain http would show code and credentials to the network. Use https://{open.Authority}{open.AbsolutePath}.",
                remote
            );
        }

        var match = StrictRemote().Match(remote);
        if (!match.Success || !Uri.TryCreate(remote, UriKind.Absolute, out var uri))
        {
            throw Refused(
                "its host is not written plainly. Use https:// or ssh://, a host of ASCII letters, digits, dots and dashes (international names as xn--…), and no backslash, blank or final dot"
            );
        }

        var host = match.Groups["host"].Value;
        var same =
            host[0] == '['
                ? System.Net.IPAddress.TryParse(host, out var address)
                    && System.Net.IPAddress.TryParse(uri.Host, out var read)
                    && address.Equals(read)
                : host.Equals(uri.Host, StringComparison.OrdinalIgnoreCase);
        if (!same || Uri.UnescapeDataString(match.Groups["user"].Value).Any(char.IsControl))
        {
            throw Refused($"'{Secrets.Mask(host)}' means {uri.Host}: write that");
        }

        return remote;

        LaunchException Refused(string why) =>
            new(
                "UriRefused",
                LaunchErrorCategory.SecurityError,
                $"The git address '{remote}' is refused: {why}.",
                remote
            );
    }

    private static string NotFile(string host) =>
        host.ToLowerInvariant() is var name && name == "file" ? "file." : name;

    /// <summary>Checks a branch, tag or commit as git's own ref rules do, and no leading dash.</summary>
    internal static string CheckRef(string reference)
    {
        if (reference.Length is 0 or > 250 || reference[0] == '-' || BadRef().IsMatch(reference))
        {
            throw new LaunchException(
                "GitVersionRefused",
                LaunchErrorCategory.SecurityError,
                $"'{reference}' cannot be the name of a branch, tag or commit.",
                reference
            );
        }

        return reference;
    }

    private static string? FolderAt(string path, string workingFolder)
    {
        var expanded =
            path == "~"
            || path.StartsWith("~/", StringComparison.Ordinal)
            || path.StartsWith("~\\", StringComparison.Ordinal)
                ? LaunchEnvironment.Current.Home + path[1..]
                : path;
        try
        {
            var full = Path.GetFullPath(expanded, workingFolder);
            return Directory.Exists(full) ? full
                : File.Exists(full) && full.EndsWith(".wandb", StringComparison.Ordinal) ? Path.GetDirectoryName(full)
                : null;
        }
        catch (ArgumentException)
        {
            return null;
        }
    }

    private static LaunchUri ForFolder(string text, string folder)
    {
        var offline =
            File.Exists(Path.Combine(folder, "files", "wandb-metadata.json"))
            || (
                Path.GetFileName(folder) is var name
                && OfflineFolder().IsMatch(name)
                && Directory.EnumerateFiles(folder, "*.wandb").Any()
            );
        return new LaunchUri(offline ? LaunchUriKind.OfflineRun : LaunchUriKind.LocalFolder, text)
        {
            Location = folder,
        };
    }

    private static LaunchUri ParseHttp(string uri)
    {
        if (!Uri.TryCreate(uri, UriKind.Absolute, out var parsed) || parsed.Host.Length == 0)
        {
            throw Invalid(uri, "it is not a well-formed URL");
        }

        if (IsWandbHost(parsed))
        {
            return ParseRun(uri, parsed);
        }

        // The path alone may tell a run on a self-hosted server.
        if (RunPage().IsMatch(parsed.AbsolutePath))
        {
            return ParseRun(uri, parsed);
        }

        if (parsed.Scheme == "http" && !parsed.IsLoopback)
        {
            throw new LaunchException(
                "GitTransportRefused",
                LaunchErrorCategory.SecurityError,
                $"git over plain http would show code and credentials to the network. Use https://{parsed.Authority}{parsed.AbsolutePath}.",
                uri
            );
        }

        var path = parsed.AbsolutePath;
        if (TreePage().Match(path) is { Success: true } tree)
        {
            var location = parsed.GetLeftPart(UriPartial.Authority) + tree.Groups["repo"].Value;
            var sub = tree.Groups["sub"].Value.Trim('/');
            return Git(
                uri,
                location,
                Uri.UnescapeDataString(tree.Groups["ref"].Value),
                sub.Length > 0 ? Uri.UnescapeDataString(sub) : null
            );
        }

        var (remote, fragment) = SplitFragment(uri);
        var (plain, reference) = SplitRef(remote, remote.IndexOf("://", StringComparison.Ordinal) + 3);
        var segments = new Uri(plain).AbsolutePath.Trim('/').Split('/', StringSplitOptions.RemoveEmptyEntries);
        if (segments.Length == 0 || (parsed.Query.Length > 0 && !plain.Contains("_git", StringComparison.Ordinal)))
        {
            throw new LaunchException(
                "UriNotSupported",
                LaunchErrorCategory.InvalidArgument,
                $"'{uri}' is neither a W&B run (https://wandb.ai/<entity>/<project>/runs/<id>) nor a git repository (https://<host>/<user>/<repository>).",
                uri
            );
        }

        return Git(uri, plain, reference, fragment);
    }

    private static bool IsWandbHost(Uri uri) =>
        WandbHost().IsMatch(uri.Host)
        || ((uri.HostNameType is UriHostNameType.IPv4 || uri.IsLoopback) && RunPage().IsMatch(uri.AbsolutePath));

    private static LaunchUri ParseRun(string text, Uri uri)
    {
        var parts = uri
            .AbsolutePath.Split('/', StringSplitOptions.RemoveEmptyEntries)
            .Select(Uri.UnescapeDataString)
            .ToArray();
        if (parts.Length >= 3 && parts[2] is "artifacts")
        {
            throw new LaunchException(
                "UriNotSupported",
                LaunchErrorCategory.NotImplemented,
                $"'{text}' is an artifact or job, not a run.",
                text
            );
        }

        if (parts.Length >= 3 && parts[2] is "sweeps" or "groups" or "reports")
        {
            throw new LaunchException(
                "RunUriInvalid",
                LaunchErrorCategory.InvalidArgument,
                $"'{text}' is a page of {parts[2]}, not of a run. Open one of its runs and take that address.",
                text
            );
        }

        if (
            parts.Length < 4
            || parts[2] != "runs"
            || parts[0] is "create-team" or "fully-connected" or "registry" or "settings" or "subscriptions"
            || parts[1] is "likes" or "projects"
        )
        {
            throw new LaunchException(
                "RunUriInvalid",
                LaunchErrorCategory.InvalidArgument,
                $"'{text}' is an address on a W&B server but not of a run. A run is https://wandb.ai/<entity>/<project>/runs/<id>.",
                text
            );
        }

        return new LaunchUri(LaunchUriKind.WandbRun, text)
        {
            Run = new RunPath(parts[0], parts[1], parts[3]),
            RunHost = uri.GetLeftPart(UriPartial.Authority),
        };
    }

    private static LaunchUri Git(string text, string location, string? reference, string? subfolder)
    {
        var host =
            Scp().Match(location) is { Success: true } scp ? scp.Groups[1].Value
            : Uri.TryCreate(location, UriKind.Absolute, out var parsed) ? parsed.UserInfo + "@" + parsed.Host
            : throw Invalid(text, "it is not a well-formed URL");
        if (
            host.Split('@').Any(p => p.StartsWith('-'))
            || location.Split('/', ':').Any(p => p.StartsWith("--", StringComparison.Ordinal))
        )
        {
            throw new LaunchException(
                "UriRefused",
                LaunchErrorCategory.SecurityError,
                $"'{text}' has a part that begins with a dash and could be taken for an option.",
                text
            );
        }

        if (
            location.StartsWith("ssh", StringComparison.OrdinalIgnoreCase)
            && location.Contains("%2", StringComparison.Ordinal)
        )
        {
            throw new LaunchException(
                "UriRefused",
                LaunchErrorCategory.SecurityError,
                $"'{text}' hides characters in the ssh address.",
                text
            );
        }

        return new LaunchUri(LaunchUriKind.Git, text)
        {
            Location = CheckRemote(location),
            Ref = reference is null ? null : CheckRef(reference),
            Subfolder =
                subfolder is null ? null
                : SafePath.Fault(subfolder) is { } fault
                    ? throw new LaunchException(
                        "PathOutside",
                        LaunchErrorCategory.SecurityError,
                        $"The subfolder '{subfolder}' is refused: {fault}.",
                        subfolder
                    )
                : subfolder,
        };
    }

    private static (string Remote, string? Fragment) SplitFragment(string uri)
    {
        var cut = uri.IndexOf('#', StringComparison.Ordinal);
        return cut < 0 ? (uri, null) : (uri[..cut], cut + 1 < uri.Length ? uri[(cut + 1)..] : null);
    }

    // "@ref" counts only behind the last part of the path, so that user@host stays what it is.
    private static (string Location, string? Ref) SplitRef(string remote, int hostStart)
    {
        var slash = remote.IndexOf('/', hostStart);
        var from = slash < 0 ? (Scp().IsMatch(remote) ? hostStart : -1) : slash;
        var at = from < 0 ? -1 : remote.IndexOf('@', from);
        return at < 0 ? (remote, null) : (remote[..at], remote[(at + 1)..]);
    }

    private static LaunchException Invalid(string text, string why) =>
        new(
            "UriInvalid",
            LaunchErrorCategory.InvalidArgument,
            $"'{text}' cannot be launched: {why}. Give the URL of a W&B run, a git URL, or a folder.",
            text
        );

    [GeneratedRegex(@"^/?([^/\s:@]+)/([^/\s:@]+)/(?:runs/)([A-Za-z0-9_.-]+)$")]
    private static partial Regex BareRun();

    [GeneratedRegex(@"^(wandb|api.wandb|ap\w\.wandb|ap\w\.qa\.wandb)", RegexOptions.IgnoreCase)]
    private static partial Regex WandbHost();

    [GeneratedRegex(@"^/[^/]+/[^/]+/runs/[^/]+")]
    private static partial Regex RunPage();

    [GeneratedRegex(@"^(?<repo>/[^/]+/.+?)(?:/-)?/(?:tree|src/(?:commit|branch|tag)|src)/(?<ref>[^/]+)(?<sub>/.*)?$")]
    private static partial Regex TreePage();

    [GeneratedRegex(@"^[A-Za-z][A-Za-z0-9+.-]*::")]
    private static partial Regex Transport();

    [GeneratedRegex(@"^((?:[\w.-]+@)[\w.-]+):(?!/?/)[^\s\\]+")]
    private static partial Regex Scp();

    [GeneratedRegex(@"^[A-Za-z0-9_][A-Za-z0-9_.+-]*@[A-Za-z0-9_][A-Za-z0-9_.-]*:(?!/?/|-)[^\s\\]+\z")]
    private static partial Regex StrictScp();

    [GeneratedRegex(
        @"^(?:https?|ssh|git\+ssh)://(?:(?<user>[^-/@?#\\\s][^/@?#\\\s]*)@)?(?<host>[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[^\\\s]*)?\z",
        RegexOptions.IgnoreCase | RegexOptions.CultureInvariant
    )]
    private static partial Regex StrictRemote();

    [GeneratedRegex(@"^(offline-)?run-\d{8}_\d{6}-")]
    private static partial Regex OfflineFolder();

    [GeneratedRegex(@"\.\.|@\{|[\x00-\x20~^:?*\[\\\x7f]|\.lock(/|$)|//|/$|^/|\.$|(^|/)\.")]
    private static partial Regex BadRef();
}
