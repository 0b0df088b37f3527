using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Docker.DotNet.Models;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>The docker flags that a launch config may give: a typed allow-list (protocol G.1). Mounts, networks, devices and privileges are not on it.</summary>
internal static partial class DockerArguments
{
    private static readonly Dictionary<string, Action<CreateContainerParameters, string>> Single = new(
        StringComparer.Ordinal
    )
    {
        ["cpus"] = (c, v) => c.HostConfig.NanoCPUs = (long)(Number(v) * 1_000_000_000),
        ["cpu-period"] = (c, v) => c.HostConfig.CPUPeriod = Whole(v, 1000, 1_000_000),
        ["cpu-quota"] = (c, v) => c.HostConfig.CPUQuota = Whole(v, 1000, long.MaxValue),
        ["cpu-shares"] = (c, v) => c.HostConfig.CPUShares = Whole(v, 2, 262_144),
        ["cpuset-cpus"] = (c, v) => c.HostConfig.CpusetCpus = Set(v),
        ["cpuset-mems"] = (c, v) => c.HostConfig.CpusetMems = Set(v),
        ["gpus"] = (c, v) => c.HostConfig.DeviceRequests = [Gpus(v)],
        ["memory"] = (c, v) => c.HostConfig.Memory = Bytes(v),
        ["memory-reservation"] = (c, v) => c.HostConfig.MemoryReservation = Bytes(v),
        ["memory-swap"] = (c, v) => c.HostConfig.MemorySwap = v == "-1" ? -1 : Bytes(v),
        ["name"] = (c, v) =>
            c.Name = ContainerName().IsMatch(v) ? v : throw new FormatException("is not a container name"),
        ["pids-limit"] = (c, v) => c.HostConfig.PidsLimit = Whole(v, -1, 4_194_304),
        ["platform"] = (c, v) =>
            c.Platform = Platform().IsMatch(v) ? v : throw new FormatException("is not a platform such as linux/amd64"),
        ["shm-size"] = (c, v) => c.HostConfig.ShmSize = Bytes(v),
        ["workdir"] = (c, v) =>
            c.WorkingDir = v.StartsWith('/')
                ? v
                : throw new FormatException("must be an absolute path in the container"),
    };

    // Each takes a wall of the container down: only where an agent's admin, or whoever launches by hand, names it.
    private static readonly Dictionary<string, Action<CreateContainerParameters, JsonNode?>> Extra = new(
        StringComparer.Ordinal
    )
    {
        ["network"] = (c, v) =>
            c.HostConfig.NetworkMode = NetworkName().IsMatch(Text(v))
                ? Text(v)
                : throw new FormatException("is not the name of a network"),
        ["ipc"] = (c, v) =>
            c.HostConfig.IpcMode = Text(v) is "host" or "private" or "shareable" or "none"
                ? Text(v)
                : throw new FormatException("must be host, private, shareable or none"),
        ["privileged"] = (c, v) =>
            c.HostConfig.Privileged = bool.TryParse(v?.ToString(), out var flag)
                ? flag
                : throw new FormatException("must be true or false"),
        ["device"] = (c, v) => c.HostConfig.Devices = [.. Many(v).Select(Device)],
        ["cap-add"] = (c, v) =>
            c.HostConfig.CapAdd = [
                .. c.HostConfig.CapAdd ?? [],
                .. Many(v)
                    .Select(n =>
                        Capability().IsMatch(n) ? n : throw new FormatException("is not the name of a capability")
                    ),
            ],
        ["add-host"] = (c, v) =>
            c.HostConfig.ExtraHosts = [
                .. (c.HostConfig.ExtraHosts ?? []),
                .. Many(v)
                    .Select(h =>
                        h.IndexOf(':', StringComparison.Ordinal) > 0
                            ? h
                            : throw new FormatException("must be name:address")
                    ),
            ],
        ["security-opt"] = (c, v) =>
            c.HostConfig.SecurityOpt =
                Many(v) is var options
                && options.All(o => o is "no-new-privileges" or "no-new-privileges=false" or "no-new-privileges=true")
                    ? [.. options]
                    : throw new FormatException("must be no-new-privileges=true or no-new-privileges=false"),
        ["hostname"] = (c, v) =>
            c.Hostname = ContainerName().IsMatch(Text(v)) ? Text(v) : throw new FormatException("is not a host name"),
    };

    private static readonly Dictionary<string, string> Short = new(StringComparer.Ordinal)
    {
        ["c"] = "cpu-shares",
        ["e"] = "env",
        ["h"] = "hostname",
        ["m"] = "memory",
        ["net"] = "network",
        ["p"] = "publish",
        ["u"] = "user",
        ["v"] = "volume",
        ["w"] = "workdir",
    };

    /// <summary>Arguments of the fixed list that may be widened without end only where they are named, as those beyond it.</summary>
    internal static readonly string[] Limits = ["pids-limit", "memory-swap", "ulimit"];

    /// <summary>Processes and threads of a container: more than programs need, and less than a machine has.</summary>
    internal const int MostProcesses = 4096;

    private const long MostFiles = 1_048_576;

    // What a root of an ordinary image does inside its own files: own, read, write, and become the user that it serves as.
    // Left out of docker's own list: raw sockets, device nodes, chroot, file capabilities, low ports, the audit log.
    private static readonly string[] RootCapabilities =
    [
        "CHOWN",
        "DAC_OVERRIDE",
        "FOWNER",
        "FSETID",
        "KILL",
        "SETGID",
        "SETUID",
    ];

    /// <summary>The walls that every container of ours has, also that in which packages are installed: before the arguments, which may widen them.</summary>
    internal static void Wall(HostConfig host, bool root)
    {
        host.SecurityOpt = ["no-new-privileges"];
        host.CapDrop = ["ALL"];
        host.CapAdd = root ? [.. RootCapabilities] : [];
        host.PidsLimit = MostProcesses;

        // A dump of memory fills disks, and holds the key. The number of open files is the engine's own setting: a rootless one can raise nothing.
        host.Ulimits =
        [
            new Ulimit
            {
                Name = "core",
                Soft = 0,
                Hard = 0,
            },
        ];
    }

    /// <summary>Names that are taken, for completion and messages.</summary>
    internal static IEnumerable<string> Names => Single.Keys.Concat(["env", "ulimit"]).Order(StringComparer.Ordinal);

    /// <summary>Puts the flags into the request, or refuses one by name.</summary>
    /// <exception cref="LaunchException"><c>DockerArgumentRefused</c> or <c>DockerArgumentInvalid</c>.</exception>
    internal static void Apply(
        CreateContainerParameters container,
        JsonObject? arguments,
        IReadOnlyList<string>? extra = null
    )
    {
        foreach (var (given, value) in arguments ?? [])
        {
            var name = NameOf(given);
            var list = name is "env" or "ulimit";
            var wide = extra?.Contains(name) == true;
            if (!list && !Single.ContainsKey(name) && extra?.Contains(name) != true)
            {
                throw new LaunchException(
                    "DockerArgumentRefused",
                    LaunchErrorCategory.PermissionDenied,
                    $"The docker argument '{given}' is not allowed. Allowed are: {string.Join(", ", Names.Concat(extra ?? []))}. For a mount of your own use the parameter -Volume{(Extra.ContainsKey(name) ? "; an agent's admin can allow this argument with -AllowDockerArgument" : "")}.",
                    given
                );
            }

            try
            {
                if (Extra.TryGetValue(name, out var apply))
                {
                    apply(container, value);
                }
                else if (list)
                {
                    foreach (var item in Many(value))
                    {
                        if (name == "env")
                        {
                            container.Env.Add(
                                item.IndexOf('=', StringComparison.Ordinal) > 0
                                    ? item
                                    : throw new FormatException("must be NAME=value")
                            );
                        }
                        else
                        {
                            var limit = Limit(item, wide);
                            container.HostConfig.Ulimits =
                            [
                                .. (container.HostConfig.Ulimits ?? []).Where(u => u.Name != limit.Name),
                                limit,
                            ];
                        }
                    }
                }
                else
                {
                    Single[name](container, Text(value));
                    if (!wide)
                    {
                        CheckLimit(name, container.HostConfig);
                    }
                }
            }
            catch (Exception e) when (e is FormatException or OverflowException)
            {
                throw new LaunchException(
                    "DockerArgumentInvalid",
                    LaunchErrorCategory.InvalidArgument,
                    $"The docker argument '{given}' has the value {value?.ToJsonString() ?? "null"}: it {e.Message}.",
                    given,
                    e
                );
            }
        }
    }

    private static void CheckLimit(string name, HostConfig host)
    {
        switch (name)
        {
            case "pids-limit" when host.PidsLimit is not (> 0 and <= MostProcesses):
                throw new FormatException(
                    $"must be 1 to {MostProcesses}; an agent's admin can allow more with -AllowDockerArgument pids-limit"
                );
            case "memory-swap" when host.MemorySwap < 0:
                throw new FormatException(
                    "must be a size; an agent's admin can allow swap without a limit with -AllowDockerArgument memory-swap"
                );
            default:
                break;
        }
    }

    /// <summary>The same arguments under their long names, as docker has them.</summary>
    /// <exception cref="LaunchException"><c>DockerArgumentTwice</c>.</exception>
    internal static JsonObject Canonical(JsonObject arguments)
    {
        var map = new JsonObject();
        foreach (var (given, value) in arguments)
        {
            var name = NameOf(given);
            if (map.ContainsKey(name))
            {
                throw new LaunchException(
                    "DockerArgumentTwice",
                    LaunchErrorCategory.InvalidArgument,
                    $"The docker argument '{name}' is given twice: '{given}' is another way to write it. Give it once; env, ulimit and volume take a list.",
                    given
                );
            }

            map[name] = value?.DeepClone();
        }

        return map;
    }

    /// <summary>The same without environment variables whose names say that they are secrets.</summary>
    internal static JsonObject WithoutSecrets(JsonObject arguments)
    {
        var map = Canonical(arguments);
        if (map["env"] is { } env)
        {
            map["env"] = new JsonArray([
                .. Many(env)
                    .Where(v => !Secrets.IsSecretName(v.Split('=')[0]))
                    .Select(v => (JsonNode)JsonValue.Create(v)),
            ]);
        }

        return map;
    }

    /// <summary>Checks without an engine, before anything is built.</summary>
    internal static void Check(JsonObject? arguments, IReadOnlyList<string>? extra = null) =>
        Apply(new CreateContainerParameters { HostConfig = new HostConfig(), Env = [] }, arguments, extra);

    /// <summary>The name as docker has it in its long form, whatever way it was written.</summary>
    internal static string NameOf(string given) =>
        given.Trim().Replace('_', '-').TrimStart('-').ToLowerInvariant() is var name
            ? Short.GetValueOrDefault(name, name)
            : "";

    /// <summary>Checks the name of an argument that an agent's admin allows beyond the fixed list.</summary>
    internal static string CheckExtra(string given) =>
        NameOf(given) is var name && (Extra.ContainsKey(name) || Names.Contains(name))
            ? name
            : throw new LaunchException(
                "DockerArgumentUnknown",
                LaunchErrorCategory.InvalidArgument,
                $"'{given}' cannot be allowed. Beyond the fixed list there are: {string.Join(", ", Extra.Keys.Order(StringComparer.Ordinal))}. Mounts are allowed with -AllowMount.",
                given
            );

    internal static DeviceRequest Gpus(string value)
    {
        var request = new DeviceRequest
        {
            Driver = "nvidia",
            Capabilities =
            [
                ["gpu"],
            ],
        };
        if (value == "all")
        {
            request.Count = -1;
        }
        else if (long.TryParse(value, CultureInfo.InvariantCulture, out var count) && count > 0)
        {
            request.Count = count;
        }
        else if (Devices().Match(value) is { Success: true } devices)
        {
            request.DeviceIDs = devices.Groups[1].Value.Split(',');
        }
        else
        {
            throw new FormatException("must be 'all', a number, or device=0,1");
        }

        return request;
    }

    internal static long Bytes(string text)
    {
        var match = Size().Match(text);
        if (!match.Success)
        {
            throw new FormatException("must be a size such as 512m or 2g");
        }

        var shift = match.Groups[2].Value.ToLowerInvariant() switch
        {
            "k" => 10,
            "m" => 20,
            "g" => 30,
            "t" => 40,
            _ => 0,
        };
        var bytes = double.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture) * (1L << shift);

        // To the engine 0 is "no limit".
        return bytes is >= 1 and <= 1L << 60
            ? (long)bytes
            : throw new FormatException("must be more than 0 and no more than a machine can have");
    }

    private static string Text(JsonNode? node) =>
        node is JsonValue value && value.GetValueKind() is JsonValueKind.String or JsonValueKind.Number
            ? node.ToString() is { Length: > 0 } text && !text.Contains('\0', StringComparison.Ordinal)
                ? text
                : throw new FormatException("is empty")
            : throw new FormatException("must be a string or a number");

    private static string[] Many(JsonNode? value) => value is JsonArray many ? [.. many.Select(Text)] : [Text(value)];

    private static DeviceMapping Device(string text) =>
        text.Split(':') is var parts
        && parts.Length is >= 1 and <= 3
        && parts[0].StartsWith('/')
        && !parts[0].Contains("..", StringComparison.Ordinal)
            ? new DeviceMapping
            {
                PathOnHost = parts[0],
                PathInContainer = parts.Length > 1 ? parts[1] : parts[0],
                CgroupPermissions = parts.Length > 2 ? parts[2] : "rwm",
            }
            : throw new FormatException("must be /dev/name or /dev/name:/dev/inside");

    private static double Number(string text) =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number)
        && number is >= 0.001 and <= 65_536
            ? number
            : throw new FormatException("must be a number above 0, such as 1.5");

    private static long Whole(string text, long least, long most) =>
        long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number)
        && number >= least
        && number <= most
            ? number
            : throw new FormatException(
                most == long.MaxValue
                    ? $"must be a whole number of {least} or more"
                    : $"must be a whole number from {least} to {most}"
            );

    private static string Set(string text) =>
        CpuSet().IsMatch(text) ? text : throw new FormatException("must be a list such as 0-3,6");

    private static Ulimit Limit(string text, bool wide)
    {
        if (UlimitForm().Match(text) is not { Success: true } match)
        {
            throw new FormatException("must be name=soft[:hard]");
        }

        var name = match.Groups[1].Value;
        var soft = long.Parse(match.Groups[2].Value, CultureInfo.InvariantCulture);
        var hard = match.Groups[3].Success ? long.Parse(match.Groups[3].Value, CultureInfo.InvariantCulture) : soft;
        if (!wide && name is "nice" or "rtprio" or "rttime" or "msgqueue" or "sigpending")
        {
            throw new FormatException(
                $"may not set {name}, which takes from other programs of the machine; an agent's admin can allow that with -AllowDockerArgument ulimit"
            );
        }

        return wide || name != "nofile" || (soft is > 0 and <= MostFiles && hard is > 0 and <= MostFiles)
            ? new Ulimit
            {
                Name = name,
                Soft = soft,
                Hard = hard,
            }
            : throw new FormatException($"may set nofile to {MostFiles} at most");
    }

    [GeneratedRegex(@"^(\d+(?:\.\d+)?)\s*([kmgt]?)b?$", RegexOptions.IgnoreCase)]
    private static partial Regex Size();

    [GeneratedRegex(@"^""?device=([\w,:-]+)""?$")]
    private static partial Regex Devices();

    [GeneratedRegex(@"^[\d,-]+$")]
    private static partial Regex CpuSet();

    [GeneratedRegex(@"^([a-z]+)=(-?\d+)(?::(-?\d+))?$")]
    private static partial Regex UlimitForm();

    [GeneratedRegex(@"^[a-zA-Z0-9][a-zA-Z0-9_.-]+$")]
    private static partial Regex ContainerName();

    [GeneratedRegex(@"^[a-zA-Z0-9][a-zA-Z0-9_.-]*$")]
    private static partial Regex NetworkName();

    [GeneratedRegex("^[A-Za-z_]+$")]
    private static partial Regex Capability();

    [GeneratedRegex(@"^[a-z0-9]+(/[a-z0-9_]+){0,2}$")]
    private static partial Regex Platform();
}
