using System.Formats.Tar;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using Docker.DotNet;
using Docker.DotNet.Models;
using WandbLaunch.Foundation;
using WandbLaunch.Python;

namespace WandbLaunch.Resources;

/// <summary>Puts a run's code on top of an image with its packages, and pushes it.</summary>
internal sealed class ImagePusher(
    LaunchEnvironment environment,
    DockerClient client,
    IProgress<LaunchProgress> progress
)
{
    private const string Code = "code";

    private static readonly string[] AwayWords =
    [
        "connection refused",
        "connection reset",
        "no such host",
        "no route to host",
        "network is unreachable",
        "i/o timeout",
        "handshake timeout",
        "request canceled",
        "server misbehaving",
        "unexpected EOF",
        "502 Bad Gateway",
        "503 Service Unavailable",
        "504 Gateway",
    ];

    /// <summary>The name of an image: the same for the same base, packages and code.</summary>
    internal static string NameOf(ImageBuilder.Request request, string? workspace, string repository) =>
        repository + ":" + LaunchCache.Hash(request.Tag + "\n" + request.UserId + "\n" + HashOf(workspace))[..16];

    internal async Task PushAsync(string basis, string? workspace, int user, string image, CancellationToken token)
    {
        await BuildAsync(basis, workspace, user, image, token);
        var (name, tag) = ImageBuilder.SplitTag(image);
        string? error = null;
        var layers = new Dictionary<string, (long Done, long Total)>(StringComparer.Ordinal);
        try
        {
            await client.Images.PushImageAsync(
                name,
                new ImagePushParameters { Tag = tag },
                await RegistryLogin.ForAsync(environment, image, token) ?? new AuthConfig(),
                new Inline<JSONMessage>(m =>
                {
                    error = m.Error?.Message ?? m.ErrorMessage ?? error;
                    if (m.ID is not null && m.Progress is { Total: > 0 })
                    {
                        layers[m.ID] = (m.Progress.Current, m.Progress.Total);
                    }

                    var total = layers.Values.Sum(l => l.Total);
                    progress.Report(
                        $"pushing {image}",
                        total > 0 ? (int)Math.Min(100, 100.0 * layers.Values.Sum(l => l.Done) / total) : null
                    );
                }),
                token
            );
        }
        catch (DockerApiException e)
        {
            error = e.Message;
        }

        if (error is not null && IsAway(error))
        {
            throw new LaunchException(
                "RegistryUnavailable",
                LaunchErrorCategory.ConnectionError,
                $"The registry of {image} does not answer: {Secrets.Mask(error)}. Is it up, and does -Repository say where it is? The Docker Engine pushes, so that its own network and proxy settings count.",
                image
            );
        }

        if (error is not null)
        {
            throw new LaunchException(
                "ImagePushFailed",
                LaunchErrorCategory.PermissionDenied,
                $"The image {image} could not be pushed: {Secrets.Mask(error)}. Check -Repository, and log in with 'docker login' as a user who may push there.",
                image
            );
        }
    }

    // The engine hands on what its HTTP client said; it has no codes of its own for it.
    internal static bool IsAway(string error) =>
        AwayWords.Any(w => error.Contains(w, StringComparison.OrdinalIgnoreCase));

    private async Task BuildAsync(string basis, string? workspace, int user, string image, CancellationToken token)
    {
        var path = Path.GetTempFileName();
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
                var text = string.Create(
                    CultureInfo.InvariantCulture,
                    $"FROM {basis}\n{(workspace is null ? "" : $"COPY --chown={user}:0 {Code}/ {ImageCommand.Home}/\n")}LABEL {ImageBuilder.ImageLabel}=run\n"
                );
                using var content = new MemoryStream(Encoding.UTF8.GetBytes(text));
                await writer.WriteEntryAsync(
                    new PaxTarEntry(TarEntryType.RegularFile, "Dockerfile") { DataStream = content },
                    token
                );
                if (workspace is not null)
                {
                    await writer.WriteEntryAsync(
                        new PaxTarEntry(TarEntryType.Directory, Code) { Mode = (UnixFileMode)0x1FD },
                        token
                    );
                    await ContainerCode.AddFolderAsync(writer, workspace, Code, user, token);
                }
            }

            archive.Position = 0;
            string? error = null;
            var log = new StringBuilder();
            try
            {
                await client.Images.BuildImageFromDockerfileAsync(
                    new ImageBuildParameters
                    {
                        Tags = [image],
                        Remove = true,
                        ForceRemove = true,
                    },
                    archive,
                    [],
                    new Dictionary<string, string>(),
                    new Inline<JSONMessage>(m =>
                    {
                        error = m.Error?.Message ?? m.ErrorMessage ?? error;
                        log.Append(m.Stream);
                        progress.Report($"building {image}", null);
                    }),
                    token
                );
            }
            catch (DockerApiException e)
            {
                error = e.Message;
            }

            if (error is not null)
            {
                throw new LaunchException(
                    "ImageBuildFailed",
                    LaunchErrorCategory.InvalidData,
                    $"The image could not be built: {Secrets.Mask(error)}. Last lines: {VirtualEnvironment.Tail(log.ToString(), 5)}",
                    image
                );
            }
        }
    }

    // Names, kinds and contents; times differ from checkout to checkout.
    private static string HashOf(string? workspace)
    {
        if (workspace is null)
        {
            return "";
        }

        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        using var source = SafeFolder.Open(workspace);
        foreach (var entry in Sources.Workspace.Content(source).OrderBy(e => e.Path, StringComparer.Ordinal))
        {
            hash.AppendData(Encoding.UTF8.GetBytes($"{entry.Kind} {entry.Path} {entry.Target}\0"));
            if (entry.Kind == EntryKind.File)
            {
                using var content = source.OpenExactly(entry.Path);
                var executable = !OperatingSystem.IsWindows() && Sources.Workspace.IsExecutable(content);
                hash.AppendData(SHA256.HashData(content));
                hash.AppendData([executable ? (byte)1 : (byte)0]);
            }
        }

        return Convert.ToHexString(hash.GetHashAndReset());
    }

    // Progress<T> posts to another thread, out of order.
    private sealed class Inline<T>(Action<T> action) : IProgress<T>
    {
        public void Report(T value) => action(value);
    }
}
