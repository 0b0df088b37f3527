using System.Formats.Tar;
using System.Globalization;
using System.IO.Compression;
using System.Text;
using WandbLaunch.Foundation;
using WandbLaunch.Python;

namespace WandbLaunch.Resources;

/// <summary>What an image is built of in the cluster: its Dockerfile, and an archive with it, the packages' list and the code.</summary>
internal static class KubeBuildContext
{
    /// <summary>A Secret holds at most 1 MiB.</summary>
    internal const int PieceBytes = 900 * 1024;

    /// <summary>So many are brought to a build. What is larger is no code: the cluster's own store is not for it.</summary>
    internal const int MostPieces = 24;

    private const string Staging = "wandblaunch";
    private const string Code = "code";

    /// <summary>Where the settings of pip are seen while it installs: mounted, and in no layer.</summary>
    internal const string Settings = "/run/wandblaunch";

    /// <summary>The whole Dockerfile.</summary>
    /// <param name="request">The base with its packages.</param>
    /// <param name="builder">Each has its own way to mount what must not stay.</param>
    /// <param name="hasCode">The code is copied on top.</param>
    internal static string Dockerfile(ImageBuilder.Request request, KubeBuilder builder, bool hasCode)
    {
        var text = new StringBuilder(request.Dockerfile);
        if (!request.Requirements.IsEmpty)
        {
            var mounts = builder.IsKaniko
                ? ""
                : $"--mount=type=secret,id=pip,target={Settings}/pip --mount=type=secret,id=pip.conf,target={Settings}/pip.conf ";
            text.Append(
                CultureInfo.InvariantCulture,
                $"USER 0\nCOPY {Staging}/ /tmp/{Staging}/\nRUN {mounts}if [ -f {Settings}/pip ]; then . {Settings}/pip; fi; export PIP_BREAK_SYSTEM_PACKAGES=1 PIP_ROOT_USER_ACTION=ignore; python3 /tmp/{Staging}/bootstrap.py /tmp/{Staging}/requirements.txt {(request.Requirements.Frozen ? "frozen" : "strict")}\nUSER {request.UserId}\n"
            );
        }

        if (hasCode)
        {
            text.Append(
                CultureInfo.InvariantCulture,
                $"COPY --chown={request.UserId}:0 {Code}/ {ImageCommand.Home}/\n"
            );
        }

        return text.Append("LABEL ").Append(ImageBuilder.ImageLabel).Append("=run\n").ToString();
    }

    /// <summary>What pip is told, as files of a Secret: none where it needs to be told nothing.</summary>
    /// <exception cref="LaunchException"><c>PipFolderNotInCluster</c>.</exception>
    internal static async Task<IReadOnlyDictionary<string, string>> SettingsAsync(
        PipSettings pip,
        CancellationToken token
    )
    {
        if (pip.FindLinks.FirstOrDefault(l => !l.Contains("://", StringComparison.Ordinal)) is { } folder)
        {
            throw new LaunchException(
                "PipFolderNotInCluster",
                LaunchErrorCategory.InvalidArgument,
                $"A build in the cluster has no folders of this machine, so pip finds nothing in {folder}. Give an index (-PipIndexUrl) or an address, or build here: -ImageBuilder docker.",
                folder
            );
        }

        var files = new SortedDictionary<string, string>(StringComparer.Ordinal);
        if (pip.ConfigFile is { } path)
        {
            files["pip.conf"] = await File.ReadAllTextAsync(path, token);
        }

        var plain = new PipSettings().Environment(null, []);
        var variables = pip.Environment(pip.ConfigFile is null ? null : Settings + "/pip.conf", pip.FindLinks);
        if (variables.Count > plain.Count)
        {
            files["pip"] = SlurmBatch.Variables(variables.OrderBy(v => v.Key, StringComparer.Ordinal));
        }

        return files;
    }

    /// <summary>The archive, in pieces that a Secret can hold.</summary>
    /// <exception cref="LaunchException"><c>ImageContextTooLarge</c>.</exception>
    internal static async Task<IReadOnlyList<byte[]>> PackAsync(
        ImageBuilder.Request request,
        string dockerfile,
        string? workspace,
        CancellationToken token
    )
    {
        var file = new FileStream(
            Path.GetTempFileName(),
            FileMode.Create,
            FileAccess.ReadWrite,
            FileShare.None,
            1 << 16,
            FileOptions.DeleteOnClose | FileOptions.Asynchronous
        );
        await using (file)
        {
            var packed = new GZipStream(file, CompressionLevel.Optimal, true);
            await using (packed)
            {
                var writer = new TarWriter(packed, TarEntryFormat.Pax, true);
                await using (writer)
                {
                    await AddAsync(writer, "Dockerfile", dockerfile, token);
                    if (!request.Requirements.IsEmpty)
                    {
                        await AddAsync(writer, Staging + "/requirements.txt", request.Requirements.Text, token);
                        await AddAsync(writer, Staging + "/bootstrap.py", PipSettings.Bootstrap, token);
                    }

                    if (workspace is not null)
                    {
                        await writer.WriteEntryAsync(
                            new PaxTarEntry(TarEntryType.Directory, Code) { Mode = (UnixFileMode)0x1FD },
                            token
                        );
                        await ContainerCode.AddFolderAsync(writer, workspace, Code, request.UserId, token);
                    }
                }
            }

            if (file.Length > (long)PieceBytes * MostPieces)
            {
                throw new LaunchException(
                    "ImageContextTooLarge",
                    LaunchErrorCategory.InvalidData,
                    $"The code is {file.Length / 1048576.0:0} MB when it is packed; a build in the cluster gets {(long)PieceBytes * MostPieces / 1048576} MB at most. Leave large files out (.gitignore, or data that the program fetches itself), build on this machine (-ImageBuilder docker), or give an image that has the code (-DockerImage).",
                    workspace
                );
            }

            file.Position = 0;
            var pieces = new List<byte[]>();
            while (file.Position < file.Length)
            {
                var piece = new byte[Math.Min(PieceBytes, file.Length - file.Position)];
                await file.ReadExactlyAsync(piece, token);
                pieces.Add(piece);
            }

            return pieces;
        }
    }

    private static async Task AddAsync(TarWriter writer, string name, string text, CancellationToken token)
    {
        using var content = new MemoryStream(Encoding.UTF8.GetBytes(text));
        await writer.WriteEntryAsync(
            new PaxTarEntry(TarEntryType.RegularFile, name) { DataStream = content, Mode = (UnixFileMode)0x1A4 },
            token
        );
    }
}
