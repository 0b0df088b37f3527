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

    /// <summary>The run that it names; null for anything else.</summary>
    internal RunPath? AsRun => Kind == LaunchUriKind.WandbRun ? Run : null;

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

    private static string? FolderAt(string path, string workingFolder)
    {
        var expanded =
            path == "~"
            || path.StartsWith("~/", StringComparison.Ordinal)
            || path.StartsWith("~\\", StringComparison.Ordinal)
                ? new LaunchEnvironment().Home + path[1..]
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

    [GeneratedRegex(@"^(offline-)?run-\d{8}_\d{6}-")]
    private static partial Regex OfflineFolder();
}
