using System.IO.Enumeration;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Sources;

namespace WandbLaunch.Resources;

/// <summary>
/// What an agent runs of what others queue. The default: resources that keep the code from the
/// agent's files, code of the agent's own entity from the public
/// git hosts, no mounts, and docker arguments of the fixed list. Names may hold * and ?.
/// </summary>
internal sealed record AgentPolicy
{
    internal const string Refusal = "PolicyRefused";

    /// <summary>Owners of the runs that may be run and reproduced; null: the agent's own entity.</summary>
    internal IReadOnlyList<string>? Entities { get; init; }

    /// <summary>Hosts that code may come from; "file" is this machine's own disk.</summary>
    internal IReadOnlyList<string> GitHosts { get; init; } = PublicHosts;

    private static readonly IReadOnlyList<string> PublicHosts =
    [
        "github.com",
        "gitlab.com",
        "bitbucket.org",
        "dev.azure.com",
        "ssh.dev.azure.com",
    ];

    internal IReadOnlyList<string> Images { get; init; } = ["*"];

    /// <summary>Resources that items may ask for; null: those that need no leave.</summary>
    internal IReadOnlyList<string>? Resources { get; init; }

    /// <summary>Folders of this machine that items may mount.</summary>
    internal IReadOnlyList<string> Mounts { get; init; } = [];

    /// <summary>Arguments of a resource beyond its fixed list.</summary>
    internal IReadOnlyList<string> ExtraArguments { get; init; } = [];

    /// <summary>Items may not say which program runs (protocol F.6): see <see cref="CheckSecure"/>.</summary>
    internal bool SecureMode { get; init; }

    /// <summary>The policy in words, one line for each rule.</summary>
    internal IReadOnlyList<string> Describe(string entity, IReadOnlyList<string> resources) =>
        [
            "entities: " + List(Entities ?? [entity]),
            "resources: " + List(Resources ?? resources),
            "git hosts: " + List(GitHosts),
            "images: " + List(Images),
            "mounts: " + List(Mounts),
            "docker arguments: the fixed list"
                + And(ExtraArguments.Where(a => !a.Contains(':', StringComparison.Ordinal))),
            .. ExtraArguments
                .Where(a => a.Contains(':', StringComparison.Ordinal))
                .GroupBy(a => a.Split(':')[0], a => a.Split(':', 2)[1])
                .Select(g => $"{g.Key} arguments: the fixed list" + And(g)),
            .. SecureMode
                ? ["secure mode: items bring no entry points, no arguments for images, no docker env or workdir"]
                : Array.Empty<string>(),
        ];

    /// <summary>The policy for a line or two: what is run, from where, and what was allowed beyond the default.</summary>
    internal string Summary(string entity, IReadOnlyList<string> resources)
    {
        var hosts = ReferenceEquals(GitHosts, PublicHosts) ? "public git hosts" : List(GitHosts);
        return string.Join(
            "; ",
            [
                List(Resources ?? resources),
                $"code of {(Entities is ["*"] ? "anybody" : List(Entities ?? [entity]))} from {hosts}",
                Images is ["*"] ? "any image" : "images " + List(Images),
                .. Mounts.Count > 0 ? ["mounts " + List(Mounts)] : Array.Empty<string>(),
                .. ExtraArguments
                    .GroupBy(
                        a => a.Contains(':', StringComparison.Ordinal) ? a.Split(':')[0] : "docker",
                        a => a.Split(':', 2)[^1]
                    )
                    .Select(g => $"{g.Key} arguments {List([.. g])}"),
                .. SecureMode ? ["secure mode"] : Array.Empty<string>(),
            ]
        );
    }

    private static string And(IEnumerable<string> names) =>
        names.ToList() is { Count: > 0 } some ? " and " + List(some) : "";

    /// <summary>Checks what an item launches, and for whom, before anything is fetched. What it asks of its resource is that resource's to check.</summary>
    /// <exception cref="LaunchException"><c>PolicyRefused</c>.</exception>
    internal void Check(LaunchConfig config, string agentEntity, string targetEntity)
    {
        var entities = Entities ?? [agentEntity];
        if (!Matches(entities, targetEntity))
        {
            throw Refused(
                $"runs for the entity '{targetEntity}' are not allowed on this agent, only for {List(entities)}",
                "-AllowEntity"
            );
        }

        CheckSecure(config);
        if (config.BaseImage is { } baseImage)
        {
            CheckImage(baseImage);
        }

        SourceCatalog.CheckPolicy(
            config,
            new SourcePolicy(e => Matches(entities, e), List(entities), CheckRemote, CheckImage, Refused)
        );
    }

    /// <summary>
    /// Secure mode: the program is the repository's, the job's or the image's own, and the item gives it no more than
    /// arguments and a config. An image's arguments may be its command, whatever its entry point: most of them end in
    /// exec "$@".
    /// </summary>
    internal void CheckSecure(LaunchConfig config)
    {
        if (!SecureMode)
        {
            return;
        }

        if (config.EntryPoint is not null)
        {
            throw Refused("entry points are not allowed in secure mode", "-SecureMode");
        }

        if (config.DockerImage is not null && config.Args is { IsEmpty: false })
        {
            throw Refused(
                "arguments for a docker image are not allowed in secure mode, for they may be its command",
                "-SecureMode"
            );
        }
    }

    internal void CheckRemote(string location)
    {
        var host = LaunchUri.GitHost(location);
        if (!Matches(GitHosts, host))
        {
            throw Refused(
                host == "file"
                    ? "repositories on the agent's own disk are not allowed"
                    : $"code from the git host '{host}' is not allowed on this agent, only from {List(GitHosts)}",
                "-AllowGitHost"
            );
        }
    }

    internal void CheckImage(string image)
    {
        if (!Images.Any(p => ImagePattern.Allows(p, image)))
        {
            throw Refused($"the image '{image}' is not allowed on this agent, only {List(Images)}", "-AllowImage");
        }
    }

    /// <summary>Checks a mount, host:container[:ro] as docker takes it, and gives it with the place that was judged.</summary>
    internal string CheckMount(string volume)
    {
        // A drive letter is no separator.
        var drive =
            volume.Length > 2 && volume[1] == ':' && char.IsAsciiLetter(volume[0]) && volume[2] is '\\' or '/' ? 2 : 0;
        var cut = volume.IndexOf(':', drive);
        var host = cut > 0 ? volume[..cut] : volume;
        var rest = cut > 0 ? volume[(cut + 1)..].Split(':') : [];
        if (
            rest.Length is 0 or > 2
            || !rest[0].StartsWith('/')
            || (rest.Length == 2 && rest[1] is not ("ro" or "rw"))
            || !Path.IsPathFullyQualified(host)
            || host.Split('/', '\\').Contains("..")
            || volume.Any(char.IsControl)
        )
        {
            throw Refused($"the mount '{volume}' is not host:container or host:container:ro with absolute paths", null);
        }

        // Links are followed first: a link in an allowed folder must not lead out of it. The longest of the allowed
        // places decides, so that one folder in another can be read-only.
        var real = RealPath(host);
        var allowed =
            real is null || real.IndexOf(':', drive) >= 0
                ? null
                : Mounts
                    .Select(m =>
                        (
                            Path: RealPath(m.EndsWith(":ro", StringComparison.Ordinal) ? m[..^3] : m),
                            ReadOnly: m.EndsWith(":ro", StringComparison.Ordinal)
                        )
                    )
                    .Where(m =>
                        m.Path is { } place
                        && (
                            string.Equals(real, place, SafePath.Comparison)
                            || (Directory.Exists(place) && SafePath.IsInside(place, real))
                        )
                    )
                    .GroupBy(m => m.Path!.Length)
                    .MaxBy(g => g.Key)
                    ?.ToList();

        // A socket or device is another machine's or another program's door: only by its own name.
        if (allowed is null || (IsDoor(real!) && !string.Equals(allowed[0].Path, real, SafePath.Comparison)))
        {
            throw Refused(
                $"the mount of '{host}' is not allowed on this agent{(Mounts.Count > 0 ? ", only of " + List(Mounts) : "")}",
                "-AllowMount"
            );
        }

        if (allowed.All(m => m.ReadOnly) && rest is not [_, "ro"])
        {
            throw Refused($"the mount of '{host}' is allowed on this agent only read-only: {volume}:ro", "-AllowMount");
        }

        // The engine gets the place that was judged, not the name that led there.
        return real + ":" + string.Join(':', rest);
    }

    private static bool IsDoor(string path) =>
        path.EndsWith(".sock", StringComparison.OrdinalIgnoreCase)
        || (!OperatingSystem.IsWindows() && PosixFolder.KindOf(path) == EntryKind.Other);

    // Null where it cannot be seen to its end: what this user may not look at, the engine may follow anywhere.
    private static string? RealPath(string path)
    {
        try
        {
            return SafePath.RealPath(path);
        }
        catch (IOException)
        {
            return null;
        }
    }

    private static bool Matches(IEnumerable<string> patterns, string value) =>
        patterns.Any(p => FileSystemName.MatchesSimpleExpression(p, value));

    internal static string List(IReadOnlyList<string> names) => names.Count == 0 ? "none" : string.Join(", ", names);

    internal static LaunchException Refused(string why, string? parameter) =>
        new(
            Refusal,
            LaunchErrorCategory.PermissionDenied,
            $"The agent's policy refuses this: {why}.{(parameter is null ? "" : $" Its admin can change that with {parameter}.")}",
            null
        );
}
