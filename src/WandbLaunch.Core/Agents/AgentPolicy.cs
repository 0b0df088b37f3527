using System.IO.Enumeration;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

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

    /// <summary>Items may not bring an entry point of their own (protocol F.6).</summary>
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
            .. SecureMode ? ["secure mode: no entry points from items"] : Array.Empty<string>(),
        ];

    /// <summary>Checks an item before anything is fetched. What the item may mount comes back, taken out of its config.</summary>
    /// <exception cref="LaunchException"><c>PolicyRefused</c>.</exception>
    internal (LaunchConfig Config, IReadOnlyList<string> Volumes) Check(
        LaunchConfig config,
        string agentEntity,
        string targetEntity
    )
    {
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

        if (SecureMode && config.EntryPoint is not null)
        {
            throw Refused("entry points are not allowed in secure mode", "-SecureMode");
        }

        if (config.DockerImage is { } image)
        {
            CheckImage(image);
        }

        if (config.BaseImage is { } baseImage)
        {
            CheckImage(baseImage);
        }

        if (config.Uri is { } text && !config.IsScheduler)
        {
            var uri = LaunchUri.Parse(text, Path.GetTempPath());
            switch (uri.Kind)
            {
                case LaunchUriKind.WandbRun when !Matches(entities, uri.Run.Entity):
                    throw Refused(
                        $"runs of the entity '{uri.Run.Entity}' may not be reproduced on this agent, only those of {List(entities)}",
                        "-AllowEntity"
                    );
                case LaunchUriKind.Git:
                    CheckRemote(uri.Location);
                    break;
                case LaunchUriKind.LocalFolder or LaunchUriKind.OfflineRun:
                    throw Refused(
                        "a folder of the agent's machine cannot be launched from a queue; push it to git",
                        null
                    );
                default:
                    break;
            }
        }

        if (config.Job is { } job && JobPath.Parse(job) is var path && !Matches(entities, path.Entity))
        {
            throw Refused(
                $"jobs of the entity '{path.Entity}' may not be run on this agent, only those of {List(entities)}",
                "-AllowEntity"
            );
        }

        if (config.GitRepo is { } repo)
        {
            CheckRemote(repo);
        }

        return TakeVolumes(config);
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
        if (!Matches(Images, image))
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
        foreach (var name in new[] { "local", "local-container" })
        {
            if (resourceArguments?[name] is JsonObject map)
            {
                resourceArguments[name] = Without(map);
            }
        }

        foreach (var volume in volumes)
        {
            CheckMount(volume);
        }

        return (config with { DockerArgs = dockerArguments, ResourceArgs = resourceArguments }, volumes);

        JsonObject? Without(JsonObject? given)
        {
            var map = (JsonObject?)given?.DeepClone();
            foreach (var key in map?.Select(p => p.Key).Where(k => k.TrimStart('-') is "v" or "volume").ToList() ?? [])
            {
                volumes.AddRange(
                    map![key] is JsonArray many ? many.Select(v => v?.ToString() ?? "") : [map[key]?.ToString() ?? ""]
                );
                map.Remove(key);
            }

            return map;
        }
    }

    private void CheckMount(string volume)
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
        )
        {
            throw Refused($"the mount '{volume}' is not host:container or host:container:ro with absolute paths", null);
        }

        // Links are followed first: a link in an allowed folder must not lead out of it.
        var real = RealPath(host);
        var allowed = Mounts
            .Select(m =>
                (
                    Path: RealPath(m.EndsWith(":ro", StringComparison.Ordinal) ? m[..^3] : m),
                    ReadOnly: m.EndsWith(":ro", StringComparison.Ordinal)
                )
            )
            .Where(m => real == m.Path || (Directory.Exists(m.Path) && SafePath.IsInside(m.Path, real)))
            .ToList();
        var socket = real.EndsWith(".sock", StringComparison.Ordinal) && !allowed.Any(m => m.Path == real);
        if (allowed.Count == 0 || socket)
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
    }

    private static string RealPath(string path)
    {
        var full = Path.TrimEndingDirectorySeparator(Path.GetFullPath(path));
        var at = Path.GetPathRoot(full)!;
        foreach (
            var part in full[at.Length..].Split(Path.DirectorySeparatorChar, StringSplitOptions.RemoveEmptyEntries)
        )
        {
            at = Path.Combine(at, part);
            try
            {
                FileSystemInfo entry = Directory.Exists(at) ? new DirectoryInfo(at) : new FileInfo(at);
                at = entry.LinkTarget is null ? at : entry.ResolveLinkTarget(true)?.FullName ?? at;
            }
            catch (IOException)
            {
                // Not there, or a circle: the path as it is written counts, and docker says the rest.
            }
        }

        return at;
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
