using System.Formats.Tar;
using System.Text;
using Docker.DotNet;
using Docker.DotNet.Models;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>Puts code and launch config into a container that was made and not started.</summary>
internal static class ContainerCode
{
    private const string ConfigFolder = "tmp/wandb-launch";

    /// <summary>The code goes as an archive, so that it works with an engine on another machine too, and the host's folder stays clean.</summary>
    internal static async Task SendAsync(
        DockerClient client,
        string id,
        RunSpec spec,
        ContainerData data,
        CancellationToken token
    )
    {
        if (data.Workspace is null && data.LaunchConfigJson is null)
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
                    if (data.Workspace is not null)
                    {
                        await AddFolderAsync(
                            writer,
                            data.Workspace,
                            spec.WorkingFolder.Trim('/'),
                            data.UserId ?? 0,
                            token
                        );
                    }

                    if (data.LaunchConfigJson is not null)
                    {
                        using var content = new MemoryStream(Encoding.UTF8.GetBytes(data.LaunchConfigJson));
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

    /// <summary>Adds a folder with the code to an archive.</summary>
    internal static async Task AddFolderAsync(
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
}
