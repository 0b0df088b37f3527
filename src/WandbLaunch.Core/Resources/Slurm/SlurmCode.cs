using System.Formats.Tar;
using System.Security.Cryptography;
using System.Text;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>Archives for the cluster: code, and the small files of runs.</summary>
internal static class SlurmCode
{
    // One time for all, so that the same code is the same archive; zip, which wheels are, knows none before 1980.
    private static readonly DateTimeOffset Then = new(2000, 1, 1, 0, 0, 0, TimeSpan.Zero);

    /// <summary>Packs a folder into a file, and gives its hash: the same content is the same archive.</summary>
    internal static async Task<string> PackAsync(string folder, Stream archive, CancellationToken token)
    {
        var writer = new TarWriter(archive, TarEntryFormat.Pax, true);
        await using (writer)
        {
            // Files are opened by what they were found to be, so that none that became a link meanwhile goes along.
            using var source = SafeFolder.Open(folder);
            foreach (
                var entry in Sources.Workspace.Content(source).OrderBy(e => e.Path, StringComparer.Ordinal).ToList()
            )
            {
                switch (entry.Kind)
                {
                    case EntryKind.Link:
                        await writer.WriteEntryAsync(
                            new PaxTarEntry(TarEntryType.SymbolicLink, entry.Path)
                            {
                                LinkName = OperatingSystem.IsWindows()
                                    ? entry.Target!.Replace('\\', '/')
                                    : entry.Target!,
                                ModificationTime = Then,
                            },
                            token
                        );
                        break;
                    case EntryKind.Folder:
                        await writer.WriteEntryAsync(
                            new PaxTarEntry(TarEntryType.Directory, entry.Path)
                            {
                                Mode = (UnixFileMode)0x1C0,
                                ModificationTime = Then,
                            },
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
                                new PaxTarEntry(TarEntryType.RegularFile, entry.Path)
                                {
                                    DataStream = content,
                                    Mode = (UnixFileMode)(executable ? 0x1C0 : 0x180),
                                    ModificationTime = Then,
                                },
                                token
                            );
                        }

                        break;
                    default:
                        break;
                }
            }
        }

        archive.Position = 0;
        var hash = Convert.ToHexString(await SHA256.HashDataAsync(archive, token)).ToLowerInvariant()[..40];
        archive.Position = 0;
        return hash;
    }

    /// <summary>Writes small files, private ones, as an archive.</summary>
    internal static async Task WriteAsync(
        Stream stream,
        IEnumerable<(string Path, string Text)> files,
        CancellationToken token
    )
    {
        var writer = new TarWriter(stream, TarEntryFormat.Pax, true);
        await using (writer)
        {
            var folders = new HashSet<string>(StringComparer.Ordinal);
            foreach (var (path, text) in files)
            {
                var folder = path[..path.LastIndexOf('/')];
                if (folders.Add(folder))
                {
                    await writer.WriteEntryAsync(
                        new PaxTarEntry(TarEntryType.Directory, folder) { Mode = (UnixFileMode)0x1C0 },
                        token
                    );
                }

                using var content = new MemoryStream(Encoding.UTF8.GetBytes(text));
                await writer.WriteEntryAsync(
                    new PaxTarEntry(TarEntryType.RegularFile, path)
                    {
                        DataStream = content,
                        Mode = (UnixFileMode)0x180,
                    },
                    token
                );
            }
        }
    }
}
