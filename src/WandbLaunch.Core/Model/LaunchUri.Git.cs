using System.Text.RegularExpressions;
using WandbLaunch.Foundation;

namespace WandbLaunch.Model;

/// <summary>Addresses of git: their parts, and which are refused.</summary>
internal sealed partial record LaunchUri
{
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

    [GeneratedRegex(@"^((?:[\w.-]+@)[\w.-]+):(?!/?/)[^\s\\]+")]
    private static partial Regex Scp();

    [GeneratedRegex(@"^[A-Za-z0-9_][A-Za-z0-9_.+-]*@[A-Za-z0-9_][A-Za-z0-9_.-]*:(?!/?/|-)[^\s\\]+\z")]
    private static partial Regex StrictScp();

    [GeneratedRegex(
        @"^(?:https?|ssh|git\+ssh)://(?:(?<user>[^-/@?#\\\s][^/@?#\\\s]*)@)?(?<host>[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9_])?|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[^\\\s]*)?\z",
        RegexOptions.IgnoreCase | RegexOptions.CultureInvariant
    )]
    private static partial Regex StrictRemote();

    [GeneratedRegex(@"\.\.|@\{|[\x00-\x20~^:?*\[\\\x7f]|\.lock(/|$)|//|/$|^/|\.$|(^|/)\.")]
    private static partial Regex BadRef();
}
