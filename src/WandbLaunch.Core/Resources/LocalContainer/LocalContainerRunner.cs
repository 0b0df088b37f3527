using System.Diagnostics;
using System.Formats.Tar;
using System.Text;
using Docker.DotNet;
using Docker.DotNet.Models;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>Runs a program in a container of this machine's Docker Engine, through its API: nothing is on a command line.</summary>
internal sealed class LocalContainerRunner : IRunner
{
    internal const string RunLabel = "ai.wandb.launch.run";
    private const string ConfigFolder = "tmp/wandb-launch";

    /// <summary>How long an engine that went away in the middle of a run is waited for: <c>WANDBLAUNCH_DOCKER_TIMEOUT</c> seconds, 120 by default.</summary>
    private static TimeSpan EnginePatience =>
        TimeSpan.FromSeconds(
            int.TryParse(LaunchEnvironment.Current["WANDBLAUNCH_DOCKER_TIMEOUT"], out var seconds) && seconds > 0
                ? seconds
                : 120
        );

    internal static string NameFor(string id) => "wandb-launch-" + id;

    public async Task<RunOutcome> RunAsync(
        RunSpec spec,
        IReadOnlyDictionary<string, string> secrets,
        IRunObserver observer,
        CancellationToken stop
    )
    {
        var (client, _) = await DockerEngine.ConnectAsync(spec.DockerEndpoint, stop);
        using (client)
        {
            var parameters = Parameters(spec, secrets);

            // A container of this very launch that has run is watched, not run again: its name is the launch's id. One that was only made is made anew.
            var (id, started) = await FindAsync(client, spec, stop);
            if (id is { } made && !started)
            {
                await RemoveAsync(client, made);
            }

            if (!started)
            {
                try
                {
                    id = (await client.Containers.CreateContainerAsync(parameters, stop)).ID;
                }
                catch (DockerApiException e)
                {
                    throw Explain(e, spec);
                }
            }

            try
            {
                return await RunCreatedAsync(client, id!, started, spec, observer, stop);
            }
            finally
            {
                await RemoveAsync(client, id!);
            }
        }
    }

    private static async Task<(string? Id, bool Started)> FindAsync(
        DockerClient client,
        RunSpec spec,
        CancellationToken token
    )
    {
        try
        {
            var found = await client.Containers.InspectContainerAsync(NameFor(spec.Id), token);
            return found.Config.Labels is { } labels && labels.TryGetValue(RunLabel, out var run) && run == spec.Id
                ? (found.ID, found.State.Status != "created")
                : (null, false);
        }
        catch (DockerContainerNotFoundException)
        {
            return (null, false);
        }
    }

    private static async Task<RunOutcome> RunCreatedAsync(
        DockerClient client,
        string id,
        bool started,
        RunSpec spec,
        IRunObserver observer,
        CancellationToken stop
    )
    {
        if (!started)
        {
            try
            {
                await SendCodeAsync(client, id, spec, stop);
                await client.Containers.StartContainerAsync(id, new ContainerStartParameters(), stop);
            }
            catch (DockerApiException e)
            {
                throw Explain(e, spec);
            }
        }

        observer.Started(null, id);
        var logs = CopyLogsAsync(client, id, observer);
        using var registration = stop.Register(() => _ = StopAsync(client, id, spec.StopGraceSeconds));
        var (code, outOfMemory, reason) = await WaitAsync(client, id, spec, stop);
        await Task.WhenAny(logs, Task.Delay(TimeSpan.FromSeconds(30), CancellationToken.None));
        return new RunOutcome(
            code,
            reason
                ?? (
                    outOfMemory
                        ? "out of memory: the container reached its memory limit and was killed. Raise it with -DockerArgs @{memory='…'}"
                    : code == 127
                        ? $"the image {spec.Image} has no program '{(spec.Command.Count > 0 ? spec.Command[0] : "")}', or the program ended with exit code 127"
                    : null
                ),
            outOfMemory
        );
    }

    /// <summary>Removes the container of a launch whose watcher is gone.</summary>
    internal static async Task RemoveOrphanAsync(string? endpoint, string container, CancellationToken token)
    {
        var (client, _) = await DockerEngine.ConnectAsync(endpoint, token);
        using (client)
        {
            await StopAsync(client, container, 10);
            await RemoveAsync(client, container);
        }
    }

    private static CreateContainerParameters Parameters(RunSpec spec, IReadOnlyDictionary<string, string> secrets)
    {
        var container = new CreateContainerParameters
        {
            Image = spec.Image,
            Name = NameFor(spec.Id),
            Env = [],
            Labels = new Dictionary<string, string> { [ImageBuilder.Label] = "run", [RunLabel] = spec.Id },
            HostConfig = new HostConfig { Binds = [.. spec.Volumes], Init = true },
        };
        DockerArguments.Wall(container.HostConfig, spec.UserId is null or 0);
        DockerArguments.Apply(container, spec.DockerArgs, spec.ExtraDockerArguments);

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

        if (spec.UserImage)
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

            container.User = spec.UserId?.ToString(System.Globalization.CultureInfo.InvariantCulture);
        }
        else
        {
            container.Entrypoint = [.. spec.Command];
            container.Cmd = [.. spec.Arguments];
            container.WorkingDir ??= spec.WorkingFolder;
        }

        if (spec.Gpus is { Count: > 0 } gpus && (spec.Gpu || container.HostConfig.DeviceRequests is not null))
        {
            container.HostConfig.DeviceRequests = [DockerArguments.Gpus("device=" + string.Join(',', gpus))];
        }
        else if (spec.Gpu && container.HostConfig.DeviceRequests is null)
        {
            container.HostConfig.DeviceRequests = [DockerArguments.Gpus("all")];
        }

        // A server on this machine must be reachable from inside (protocol E.5).
        if (spec.BaseUrl is { } url && new Uri(url).IsLoopback)
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

    // The code goes as an archive, so that it works with an engine on another machine too, and the host's folder stays clean.
    private static async Task SendCodeAsync(DockerClient client, string id, RunSpec spec, CancellationToken token)
    {
        if (spec.Workspace is null && spec.LaunchConfigJson is null)
        {
            return;
        }

        var path = Path.GetTempFileName();
        try
        {
            var archive = new FileStream(
                path,
                FileMode.Create,
                FileAccess.ReadWrite,
                FileShare.None,
                1 << 16,
                FileOptions.DeleteOnClose | FileOptions.Asynchronous
            );
            await using (archive)
            {
                var writer = new TarWriter(archive, TarEntryFormat.Pax, true);
                await using (writer)
                {
                    if (spec.Workspace is not null)
                    {
                        await AddFolderAsync(
                            writer,
                            spec.Workspace,
                            spec.WorkingFolder.Trim('/'),
                            spec.UserId ?? 0,
                            token
                        );
                    }

                    if (spec.LaunchConfigJson is not null)
                    {
                        using var content = new MemoryStream(Encoding.UTF8.GetBytes(spec.LaunchConfigJson));
                        await writer.WriteEntryAsync(
                            new PaxTarEntry(TarEntryType.RegularFile, ConfigFolder + "/launch-config.json")
                            {
                                DataStream = content,
                                Mode = (UnixFileMode)0x1A4,
                            },
                            token
                        );
                    }
                }

                archive.Position = 0;
                await client.Containers.ExtractArchiveToContainerAsync(
                    id,
                    new ContainerPathStatParameters { Path = "/", AllowOverwriteDirWithFile = false },
                    archive,
                    token
                );
            }
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static async Task AddFolderAsync(
        TarWriter writer,
        string folder,
        string name,
        int owner,
        CancellationToken token
    )
    {
        // Files are opened by what they were found to be, so that none that became a link meanwhile goes along.
        using var source = SafeFolder.Open(folder);
        foreach (var entry in Sources.Workspace.Content(source))
        {
            var path = name + "/" + entry.Path;
            switch (entry.Kind)
            {
                case EntryKind.Link:
                    await writer.WriteEntryAsync(
                        Owned(
                            new PaxTarEntry(TarEntryType.SymbolicLink, path)
                            {
                                LinkName = OperatingSystem.IsWindows()
                                    ? entry.Target!.Replace('\\', '/')
                                    : entry.Target!,
                            }
                        ),
                        token
                    );
                    break;
                case EntryKind.Folder:
                    await writer.WriteEntryAsync(
                        Owned(new PaxTarEntry(TarEntryType.Directory, path) { Mode = (UnixFileMode)0x1FD }),
                        token
                    );
                    break;
                case EntryKind.File:
                    var content = source.OpenExactly(entry.Path);
                    await using (content)
                    {
                        var executable = OperatingSystem.IsWindows()
                            ? entry.Name.EndsWith(".sh", StringComparison.Ordinal)
                            : Sources.Workspace.IsExecutable(content);
                        await writer.WriteEntryAsync(
                            Owned(
                                new PaxTarEntry(TarEntryType.RegularFile, path)
                                {
                                    DataStream = content,
                                    Mode = (UnixFileMode)(executable ? 0x1FD : 0x1B4),
                                    ModificationTime = File.GetLastWriteTimeUtc(content.SafeFileHandle),
                                }
                            ),
                            token
                        );
                    }

                    break;
                default:
                    break;
            }
        }

        PaxTarEntry Owned(PaxTarEntry entry)
        {
            entry.Uid = owner;
            return entry;
        }
    }

    private static async Task CopyLogsAsync(DockerClient client, string id, IRunObserver observer)
    {
        // What has been written of each stream: after the engine was away the log is read from its start and that much left out, so that no byte is lost or said twice.
        var written = new Dictionary<MultiplexedStream.TargetStream, long>();
        for (var away = Stopwatch.StartNew(); away.Elapsed < EnginePatience; )
        {
            try
            {
                using var stream = await client.Containers.GetContainerLogsAsync(
                    id,
                    false,
                    new ContainerLogsParameters
                    {
                        ShowStdout = true,
                        ShowStderr = true,
                        Follow = true,
                    },
                    CancellationToken.None
                );
                var buffer = new byte[131072];
                var seen = new Dictionary<MultiplexedStream.TargetStream, long>();
                while (true)
                {
                    var read = await stream.ReadOutputAsync(buffer, 0, buffer.Length, CancellationToken.None);
                    if (read.EOF)
                    {
                        return;
                    }

                    away.Restart();
                    var at = seen.GetValueOrDefault(read.Target);
                    var skip = (int)Math.Clamp(written.GetValueOrDefault(read.Target) - at, 0, read.Count);
                    seen[read.Target] = at + read.Count;
                    if (skip < read.Count)
                    {
                        observer.Output(
                            read.Target == MultiplexedStream.TargetStream.StandardError
                                ? RunStream.Error
                                : RunStream.Output,
                            buffer.AsSpan(skip, read.Count - skip)
                        );
                        written[read.Target] = at + read.Count;
                    }
                }
            }
            catch (Exception e)
                when (e is IOException or HttpRequestException or TimeoutException or System.Net.Sockets.SocketException
                )
            {
                await Task.Delay(1000);
            }
            catch (Exception e) when (e is DockerApiException or ObjectDisposedException)
            {
                return;
            }
        }
    }

    private static async Task<(int? Code, bool OutOfMemory, string? Reason)> WaitAsync(
        DockerClient client,
        string id,
        RunSpec spec,
        CancellationToken stop
    )
    {
        Stopwatch? away = null;
        while (true)
        {
            try
            {
                var done = await client.Containers.WaitContainerAsync(id, CancellationToken.None);
                var state = (await client.Containers.InspectContainerAsync(id, CancellationToken.None)).State;
                var failed = new[] { done.Error?.Message, state.Error }.FirstOrDefault(m => !string.IsNullOrEmpty(m));
                var code = ExitCodes.Fold(done.StatusCode);
                return (
                    // An engine that could not wait says so beside a code that means nothing.
                    code == 0
                    && failed is not null
                        ? null
                        : code,
                    state.OOMKilled && code != 0,
                    failed is null ? null : Secrets.Mask(failed)
                );
            }
            catch (DockerContainerNotFoundException)
            {
                return (null, false, "the container was removed by someone else, so its exit code is not known");
            }
            catch (Exception e)
                when (e
                        is IOException
                            or HttpRequestException
                            or TimeoutException
                            or System.Net.Sockets.SocketException
                            or DockerApiException
                )
            {
                if (await AnswersAsync(client))
                {
                    away = null;
                    if (stop.IsCancellationRequested)
                    {
                        // The first request to stop may have gone to an engine that was away.
                        await StopAsync(client, id, spec.StopGraceSeconds);
                    }
                }
                else if ((away ??= Stopwatch.StartNew()).Elapsed > EnginePatience || stop.IsCancellationRequested)
                {
                    return (
                        null,
                        false,
                        $"the Docker Engine stopped answering while the run was under way ({e.Message}), so how it ended is not known; its container {NameFor(spec.Id)} may still run"
                    );
                }

                await Task.Delay(1000, CancellationToken.None);
            }
        }
    }

    private static async Task<bool> AnswersAsync(DockerClient client)
    {
        try
        {
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(5));
            await client.System.PingAsync(limit.Token);
            return true;
        }
        catch (Exception e)
            when (e
                    is IOException
                        or HttpRequestException
                        or TimeoutException
                        or System.Net.Sockets.SocketException
                        or DockerApiException
                        or OperationCanceledException
            )
        {
            return false;
        }
    }

    private static async Task StopAsync(DockerClient client, string id, int grace)
    {
        try
        {
            await client.Containers.StopContainerAsync(
                id,
                new ContainerStopParameters { WaitBeforeKillSeconds = (uint)grace },
                CancellationToken.None
            );
        }
        catch (Exception e)
            when (e is DockerApiException or HttpRequestException or IOException or ObjectDisposedException)
        {
            // It ended by itself.
        }
    }

    private static async Task RemoveAsync(DockerClient client, string id)
    {
        try
        {
            await client.Containers.RemoveContainerAsync(
                id,
                new ContainerRemoveParameters { Force = true, RemoveVolumes = true },
                CancellationToken.None
            );
        }
        catch (Exception e) when (e is DockerApiException or HttpRequestException or IOException)
        {
            // Gone already, or the engine is: nothing that can be done here.
        }
    }

    private static LaunchException Explain(DockerApiException e, RunSpec spec)
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
