using System.IO.Enumeration;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Resources;
using WandbLaunch.Sources;

namespace WandbLaunch.Agents;

/// <summary>
/// What an agent runs of what others queue. The default: containers only, code of the agent's own entity from the public
/// git hosts, no mounts, and docker arguments of the fixed list. Names may hold * and ?.
/// </summary>
internal sealed record AgentPolicy
{
    internal const string Refusal = "PolicyRefused";

    /// <summary>Owners of the runs that may be run and reproduced; null: the agent's own entity.</summary>
    internal IReadOnlyList<string>? Entities { get; init; }

    /// <summary>Hosts that code may come from; "file" is this machine's own disk.</summary>
    internal IReadOnlyList<string> GitHosts { get; init; } =
    ["github.com", "gitlab.com", "bitbucket.org", "dev.azure.com", "ssh.dev.azure.com"];

    internal IReadOnlyList<string> Images { get; init; } = ["*"];

    /// <summary>A process runs other people's code as the agent's user, so it must be asked for.</summary>
    internal IReadOnlyList<string> Resources { get; init; } = ["local-container"];

    /// <summary>Folders of this machine that items may mount.</summary>
    internal IReadOnlyList<string> Mounts { get; init; } = [];

    /// <summary>Docker arguments beyond the fixed list.</summary>
    internal IReadOnlyList<string> DockerArguments { get; init; } = [];

    /// <summary>Items may not say which program runs (protocol F.6): see <see cref="CheckSecure"/>.</summary>
    internal bool SecureMode { get; init; }

    /// <summary>The policy in words, one line for each rule.</summary>
    internal IReadOnlyList<string> Describe(string entity) =>
        [
            "entities: " + List(Entities ?? [entity]),
            "resources: " + List(Resources),
            "git hosts: " + List(GitHosts),
            "images: " + List(Images),
            "mounts: " + List(Mounts),
            "docker arguments: the fixed list" + (DockerArguments.Count > 0 ? " and " + List(DockerArguments) : ""),
            .. SecureMode
                ? ["secure mode: items bring no entry points, no arguments for images, no docker env or workdir"]
                : Array.Empty<string>(),
        ];

    /// <summary>Checks an item before anything is fetched. What the item may mount comes back, taken out of its config.</summary>
    /// <exception cref="LaunchException"><c>PolicyRefused</c>.</exception>
    internal (LaunchConfig Config, IReadOnlyList<string> Volumes) Check(
        LaunchConfig config,
        string agentEntity,
        string targetEntity
    )
    {
        config = ResourceNames.Canonical(config);
        var entities = Entities ?? [agentEntity];
        if (!Matches(entities, targetEntity))
        {
            throw Refused(
                $"runs for the entity '{targetEntity}' are not allowed on this agent, only for {List(entities)}",
                "-AllowEntity"
            );
        }

        var resource = ResourceName.Of(config);
        if (!Resources.Contains(resource))
        {
            throw Refused(
                $"the resource {resource} is not allowed on this agent, only {List(Resources)}{(resource == "local-process" ? "; a process would run this code as the agent's own user" : "")}",
                "-AllowResource"
            );
        }

        CheckSecure(config);
        if (
            resource == ResourceName.Process
            && config.IsScheduler
            && config.EntryPoint is not ["wandb", "scheduler", _, ..]
        )
        {
            // It brings no code that a git host could be asked about, so its command would be anybody's (protocol F.7).
            throw Refused(
                "a scheduler that runs as a process must have the entry point 'wandb scheduler' with its sweep",
                null
            );
        }

        if (config.BaseImage is { } baseImage)
        {
            CheckImage(baseImage);
        }

        SourceCatalog.CheckPolicy(
            config,
            new SourcePolicy(e => Matches(entities, e), List(entities), CheckRemote, CheckImage, Refused)
        );
        return TakeVolumes(config);
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

        foreach (var map in new[] { config.DockerArgs, config.ResourceArgs?[ResourceName.Container] as JsonObject })
        {
            if (
                map
                    ?.Select(p => WandbLaunch.Resources.DockerArguments.NameOf(p.Key))
                    .FirstOrDefault(n => n is "env" or "workdir") is
                { } name
            )
            {
                throw Refused(
                    $"the docker argument '{name}' is not allowed in secure mode, for it can change which program runs",
                    "-SecureMode"
                );
            }
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

    // resource_args.local-container.volume or docker.args.volume: host:container[:ro], as docker takes it.
    private (LaunchConfig Config, IReadOnlyList<string> Volumes) TakeVolumes(LaunchConfig config)
    {
        var volumes = new List<string>();
        var dockerArguments = Without(config.DockerArgs);
        var resourceArguments = config.ResourceArgs is null ? null : (JsonObject)config.ResourceArgs.DeepClone();
        if (resourceArguments?[ResourceName.Container] is JsonObject container)
        {
            resourceArguments[ResourceName.Container] = Without(container);
        }

        return (
            config with
            {
                DockerArgs = dockerArguments,
                ResourceArgs = resourceArguments,
            },
            [.. volumes.Select(CheckMount)]
        );

        JsonObject? Without(JsonObject? given)
        {
            var map = (JsonObject?)given?.DeepClone();
            foreach (
                var key in map?.Select(p => p.Key)
                    .Where(k => WandbLaunch.Resources.DockerArguments.NameOf(k) == "volume")
                    .ToList()
                    ?? []
            )
            {
                volumes.AddRange(
                    map![key] is JsonArray many ? many.Select(v => v?.ToString() ?? "") : [map[key]?.ToString() ?? ""]
                );
                map.Remove(key);
            }

            return map;
        }
    }

    private string CheckMount(string volume)
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

    private static string List(IReadOnlyList<string> names) => names.Count == 0 ? "none" : string.Join(", ", names);

    private static LaunchException Refused(string why, string? parameter) =>
        new(
            Refusal,
            LaunchErrorCategory.PermissionDenied,
            $"The agent's policy refuses this: {why}.{(parameter is null ? "" : $" Its admin can change that with {parameter}.")}",
            null
        );
}
