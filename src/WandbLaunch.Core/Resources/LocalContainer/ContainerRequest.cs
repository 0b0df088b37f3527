using Docker.DotNet;
using Docker.DotNet.Models;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>A container as it is asked for, and what the engine says to that.</summary>
internal static class ContainerRequest
{
    /// <summary>Label with the id of the launch.</summary>
    internal const string RunLabel = "ai.wandb.launch.run";

    /// <summary>The name that a launch's container has: a second one of the same launch collides here.</summary>
    internal static string NameFor(string id) => "wandb-launch-" + id;

    /// <summary>What the engine is asked for.</summary>
    internal static CreateContainerParameters Parameters(
        RunSpec spec,
        ContainerData data,
        IReadOnlyDictionary<string, string> secrets
    )
    {
        var container = new CreateContainerParameters
        {
            Image = spec.Image,
            Name = NameFor(spec.Id),
            Env = [],
            Labels = new Dictionary<string, string> { [EngineImageBuilder.Label] = "run", [RunLabel] = spec.Id },
            HostConfig = new HostConfig { Binds = [.. data.Volumes], Init = true },
        };
        DockerArguments.Wall(container.HostConfig, data.UserId is null or 0);
        DockerArguments.Apply(container, data.DockerArgs, data.ExtraDockerArguments);

        // One of each name: of two the program would see the first, which is the item's.
        var own = spec.Environment.Concat(secrets).ToList();
        var names = own.Select(v => v.Key).ToHashSet(StringComparer.Ordinal);
        container.Env =
        [
            .. container
                .Env.Select(v => (Name: v[..v.IndexOf('=', StringComparison.Ordinal)], Text: v))
                .Where(v => !names.Contains(v.Name))
                .GroupBy(v => v.Name, StringComparer.Ordinal)
                .Select(g => g.Last().Text),
            .. own.Select(v => v.Key + "=" + v.Value),
        ];
        CommandSize.Check(container.Env, [.. spec.Command, .. spec.Arguments]);

        if (data.UserImage)
        {
            // The image's own entry point takes the arguments, unless a command was given (protocol E.5).
            var words = spec.Command.Concat(spec.Arguments).ToList();
            if (spec.Command.Count > 0)
            {
                container.Entrypoint = [spec.Command[0]];
                words.RemoveAt(0);
            }

            if (words.Count > 0 || spec.Command.Count > 0)
            {
                container.Cmd = words;
            }

            container.User = data.UserId?.ToString(System.Globalization.CultureInfo.InvariantCulture);
        }
        else
        {
            container.Entrypoint = [.. spec.Command];
            container.Cmd = [.. spec.Arguments];
            container.WorkingDir ??= spec.WorkingFolder;
        }

        if (data.Gpus is { Count: > 0 } gpus && (data.Gpu || container.HostConfig.DeviceRequests is not null))
        {
            container.HostConfig.DeviceRequests = [DockerArguments.Gpus("device=" + string.Join(',', gpus))];
        }
        else if (data.Gpu && container.HostConfig.DeviceRequests is null)
        {
            container.HostConfig.DeviceRequests = [DockerArguments.Gpus("all")];
        }

        // A server on this machine must be reachable from inside (protocol E.5).
        if (data.BaseUrl is { } url && new Uri(url).IsLoopback)
        {
            // A network that was asked for stays: whoever says "none" must not get the machine's own.
            var linux = OperatingSystem.IsLinux();
            if (linux)
            {
                container.HostConfig.NetworkMode ??= "host";
                container.HostConfig.ExtraHosts =
                [
                    .. container.HostConfig.ExtraHosts ?? [],
                    "host.docker.internal:host-gateway",
                ];
            }
            else
            {
                container.Env.Remove("WANDB_BASE_URL=" + url);
                container.Env.Add(
                    $"WANDB_BASE_URL={new UriBuilder(url) { Host = "host.docker.internal" }.Uri.GetLeftPart(UriPartial.Authority)}"
                );
            }
        }

        return container;
    }

    /// <summary>What the engine said, in the words of whoever launches.</summary>
    internal static LaunchException Explain(DockerApiException e, RunSpec spec)
    {
        var text = Secrets.Mask(e.ResponseBody ?? e.Message).Trim();
        return text.Contains("is already in use", StringComparison.Ordinal)
                ? new LaunchException(
                    "RunExists",
                    LaunchErrorCategory.ResourceExists,
                    $"A container of the run {spec.Id} is there already. Choose another -RunId, or stop that one.",
                    spec.Id,
                    e
                )
            : text.Contains("could not select device driver", StringComparison.Ordinal)
                ? new LaunchException(
                    "GpuUnavailable",
                    LaunchErrorCategory.ResourceUnavailable,
                    "The Docker Engine has no GPU support (nvidia-container-toolkit). Install it, or launch with -Cuda:$false.",
                    spec.Id,
                    e
                )
            : text.Contains("executable file not found", StringComparison.Ordinal)
            || text.Contains("no such file or directory", StringComparison.Ordinal)
                ? new LaunchException(
                    "ProgramNotStarted",
                    LaunchErrorCategory.ResourceUnavailable,
                    $"The image {spec.Image} has no '{(spec.Command.Count > 0 ? spec.Command[0] : spec.Image)}': {text}",
                    spec.Image,
                    e
                )
            : text.Contains("argument list too long", StringComparison.OrdinalIgnoreCase)
                ? CommandSize.TooLarge(spec.Id, e)
            : text.Contains("no space left", StringComparison.Ordinal)
                ? new LaunchException(
                    "DiskFull",
                    LaunchErrorCategory.WriteError,
                    "The disk of the Docker Engine is full. Free room with 'docker system prune'.",
                    spec.Image,
                    e
                )
            : new LaunchException(
                "ContainerFailed",
                LaunchErrorCategory.InvalidOperation,
                $"The container of {spec.Image} could not be started: {text}",
                spec.Image,
                e
            );
    }
}
