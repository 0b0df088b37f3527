using System.Formats.Tar;
using System.Globalization;
using System.Text;
using Docker.DotNet;
using Docker.DotNet.Models;
using WandbLaunch.Foundation;
using WandbLaunch.Python;

namespace WandbLaunch.Resources;

/// <summary>
/// Installs packages in a container of a base image and commits it: pip's settings are variables of one exec call and are in
/// no layer or history.
/// </summary>
internal sealed class PackageInstaller(LaunchCache cache, DockerClient client, IProgress<LaunchProgress> progress)
{
    private const string Staging = "/tmp/wandb-launch-install";

    /// <summary>Gives a warning where a package could not be installed that need not be.</summary>
    internal async Task<string?> InstallAsync(
        EngineImageBuilder.Request request,
        string basis,
        PipSettings pip,
        CancellationToken token
    )
    {
        // Packages run code of their own as they are installed.
        var host = new HostConfig { NetworkMode = LocalhostIndex(pip) ? "host" : null };
        DockerArguments.Wall(host, true);
        var container = await client.Containers.CreateContainerAsync(
            new CreateContainerParameters
            {
                Image = basis,
                Cmd = ["python3", "-c", "import time; time.sleep(7200)"],
                Labels = new Dictionary<string, string> { [EngineImageBuilder.Label] = "install" },
                HostConfig = host,
            },
            token
        );
        try
        {
            await client.Containers.StartContainerAsync(container.ID, new ContainerStartParameters(), token);
            var wheels = await SendAsync(container.ID, request.Requirements, pip, token);
            var variables = pip.Environment(pip.ConfigFile is null ? null : Staging + "/pip.conf", wheels);
            variables["PIP_BREAK_SYSTEM_PACKAGES"] = "1";
            variables["PIP_ROOT_USER_ACTION"] = "ignore";
            var (code, text) = await ExecAsync(
                container.ID,
                [
                    "python3",
                    Staging + "/bootstrap.py",
                    Staging + "/requirements.txt",
                    request.Requirements.Frozen ? "frozen" : "strict",
                ],
                variables,
                token
            );
            if (code != 0)
            {
                throw VirtualEnvironment.Failed(
                    cache,
                    request.Tag,
                    Secrets.Mask(text),
                    $" in {request.BaseImage}",
                    "Check the list, the index (-PipIndexUrl, -PipFindLinks) and whether packages need system packages (-SystemPackage)."
                );
            }

            await ExecAsync(container.ID, ["rm", "-rf", Staging], [], token);
            var (repository, tag) = EngineImageBuilder.SplitTag(request.Tag);
            await client.Images.CommitContainerChangesAsync(
                new CommitContainerChangesParameters
                {
                    ContainerID = container.ID,
                    RepositoryName = repository,
                    Tag = tag,
                    Changes = ["CMD [\"python\"]", $"LABEL {EngineImageBuilder.ImageLabel}=packages"],
                    Comment = "packages of " + request.Requirements.Hash[..12],
                },
                token
            );
            return VirtualEnvironment.FailedPackages(text);
        }
        finally
        {
            await client.Containers.RemoveContainerAsync(
                container.ID,
                new ContainerRemoveParameters { Force = true },
                CancellationToken.None
            );
        }
    }

    private static bool LocalhostIndex(PipSettings pip) =>
        pip
            .ExtraIndexUrls.Append(pip.IndexUrl)
            .Any(u => Uri.TryCreate(u, UriKind.Absolute, out var uri) && uri.IsLoopback);

    // A folder of wheels goes along as files; an address stays what it is.
    private async Task<List<string>> SendAsync(
        string container,
        RequirementSet requirements,
        PipSettings pip,
        CancellationToken token
    )
    {
        var links = new List<string>();

        // On disk: wheels of a GPU framework are gigabytes.
        await using var archive = new FileStream(
            Path.GetTempFileName(),
            FileMode.Create,
            FileAccess.ReadWrite,
            FileShare.None,
            1 << 16,
            FileOptions.DeleteOnClose | FileOptions.Asynchronous
        );
        var writer = new TarWriter(archive, TarEntryFormat.Pax, true);
        await using (writer)
        {
            await AddAsync("requirements.txt", requirements.Text);
            await AddAsync("bootstrap.py", PipSettings.Bootstrap);
            if (pip.ConfigFile is not null)
            {
                await AddAsync("pip.conf", await File.ReadAllTextAsync(pip.ConfigFile, token));
            }

            foreach (var link in pip.FindLinks)
            {
                if (!Directory.Exists(link))
                {
                    links.Add(link);
                    continue;
                }

                var name = "wheels" + links.Count.ToString(CultureInfo.InvariantCulture);
                links.Add(Staging + "/" + name);
                foreach (
                    var file in Directory
                        .EnumerateFiles(link)
                        .Where(f =>
                            f.EndsWith(".whl", StringComparison.Ordinal)
                            || f.EndsWith(".tar.gz", StringComparison.Ordinal)
                            || f.EndsWith(".zip", StringComparison.Ordinal)
                        )
                )
                {
                    await writer.WriteEntryAsync(file, $"{Staging[1..]}/{name}/{Path.GetFileName(file)}", token);
                }
            }
        }

        archive.Position = 0;
        await client.Containers.ExtractArchiveToContainerAsync(
            container,
            new ContainerPathStatParameters { Path = "/" },
            archive,
            token
        );
        return links;

        async Task AddAsync(string name, string text)
        {
            using var content = new MemoryStream(Encoding.UTF8.GetBytes(text));
            await writer.WriteEntryAsync(
                new PaxTarEntry(TarEntryType.RegularFile, Staging[1..] + "/" + name) { DataStream = content },
                token
            );
        }
    }

    private async Task<(long Code, string Text)> ExecAsync(
        string container,
        string[] command,
        Dictionary<string, string> environment,
        CancellationToken token
    )
    {
        var exec = await client.Exec.ExecCreateContainerAsync(
            container,
            new ContainerExecCreateParameters
            {
                Cmd = command,
                User = "0",
                AttachStdout = true,
                AttachStderr = true,
                Env = [.. environment.Select(e => e.Key + "=" + e.Value)],
            },
            token
        );
        using var stream = await client.Exec.StartAndAttachContainerExecAsync(exec.ID, false, token);
        var text = new StringBuilder();
        var said = new PipOutput(progress);
        var buffer = new byte[16384];
        Utf8Pieces[] pieces = [new(), new()];
        while (true)
        {
            var read = await stream.ReadOutputAsync(buffer, 0, buffer.Length, token);
            if (read.EOF)
            {
                break;
            }

            var part = pieces[read.Target == MultiplexedStream.TargetStream.StandardError ? 1 : 0]
                .AddText(buffer.AsSpan(0, read.Count));
            text.Append(part);
            said.Add(part);
        }

        return ((await client.Exec.InspectContainerExecAsync(exec.ID, token)).ExitCode, text.ToString());
    }
}
