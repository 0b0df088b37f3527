using System.Formats.Tar;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Docker.DotNet;
using Docker.DotNet.Models;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Python;

namespace WandbLaunch.Resources;

/// <summary>
/// Images for runs. An image holds Python and the packages, not the code, so that every commit with the same
/// requirements shares it. Packages are installed in a container of the base image that is then committed: the pip
/// settings of this machine reach it as variables of one exec call and leave nothing in any layer or history.
/// </summary>
internal sealed partial class EngineImageBuilder(
    LaunchEnvironment environment,
    DockerClient client,
    IProgress<LaunchProgress> progress
)
{
    internal const string Repository = "wandb-launch";
    internal const string Home = ImageCommand.Home;
    internal const string Label = "ai.wandb.launch";

    // Containers inherit the labels of their image, so theirs is another one.
    internal const string ImageLabel = ImageCommand.ImageLabel;

    internal sealed record Request(
        string BaseImage,
        int UserId,
        RequirementSet Requirements,
        IReadOnlyList<string> SystemPackages,
        string? PythonForCuda
    )
    {
        internal string Dockerfile => EngineImageBuilder.Dockerfile(this);

        internal string Tag =>
            Repository
            + ":"
            + LaunchCache.Hash(Dockerfile + "\n" + Requirements.Hash + "\n" + PipSettings.Bootstrap)[..16];
    }

    /// <summary>The base for a run (protocol E.1): the given image, CUDA with a GPU, else Debian's Python of the run's version.</summary>
    internal static Request Plan(
        string? baseImage,
        string? pythonVersion,
        bool gpu,
        string? cudaVersion,
        int userId,
        RequirementSet requirements,
        IReadOnlyList<string> systemPackages
    )
    {
        var python = pythonVersion is null ? "3" : string.Join('.', pythonVersion.Split('.').Take(2));
        if (!PythonVersion().IsMatch(python))
        {
            throw new LaunchException(
                "PythonVersionInvalid",
                LaunchErrorCategory.InvalidData,
                $"'{pythonVersion}' is not a Python version. Give one such as -PythonVersion 3.11.",
                pythonVersion
            );
        }

        if (baseImage is not null)
        {
            ImageName.Check(baseImage);
            return new Request(baseImage, userId, requirements, CheckPackages(systemPackages), null);
        }

        if (gpu)
        {
            var cuda = cudaVersion ?? "10.0";
            return CudaVersion().IsMatch(cuda)
                ? new Request(
                    $"nvidia/cuda:{cuda}-runtime",
                    userId,
                    requirements,
                    CheckPackages(systemPackages),
                    python
                )
                : throw new LaunchException(
                    "CudaVersionInvalid",
                    LaunchErrorCategory.InvalidData,
                    $"'{cuda}' is not a CUDA version. Give one such as 12.4, or leave the GPU out with -Cuda:$false.",
                    cuda
                );
        }

        var parts = python.Split('.');
        var release =
            parts.Length > 1 && int.Parse(parts[1], CultureInfo.InvariantCulture) < 12 ? "-buster" : "-bookworm";
        return new Request("python:" + python + release, userId, requirements, CheckPackages(systemPackages), null);
    }

    /// <summary>Gives the tag, building it when the engine does not have it.</summary>
    internal async Task<(string Tag, string? Warning)> EnsureAsync(
        Request request,
        PipSettings pip,
        LaunchCache cache,
        CancellationToken token
    )
    {
        if (await ExistsAsync(request.Tag, token))
        {
            return (request.Tag, null);
        }

        var basis = request.Requirements.IsEmpty ? request.Tag : request.Tag + "-base";
        await BuildAsync(request.Dockerfile, basis, request.BaseImage, token);
        return (
            request.Tag,
            request.Requirements.IsEmpty
                ? null
                : await new PackageInstaller(cache, client, progress).InstallAsync(request, basis, pip, token)
        );
    }

    /// <summary>Pulls an image unless it is there.</summary>
    internal async Task EnsurePulledAsync(string image, CancellationToken token)
    {
        if (await ExistsAsync(image, token))
        {
            return;
        }

        var (name, tag) = SplitTag(image);
        string? error = null;
        var layers = new Dictionary<string, (long Done, long Total)>();
        var report = new Inline<JSONMessage>(m =>
        {
            error = m.Error?.Message ?? m.ErrorMessage ?? error;
            if (m.ID is not null && m.Progress is { Total: > 0 })
            {
                layers[m.ID] = (m.Progress.Current, m.Progress.Total);
                progress.Report(
                    $"pulling {image}",
                    (int)(100.0 * layers.Values.Sum(l => l.Done) / layers.Values.Sum(l => l.Total))
                );
            }
            else
            {
                progress.Report($"pulling {image}: {m.Status}", null);
            }
        });
        try
        {
            await client.Images.CreateImageAsync(
                new ImagesCreateParameters { FromImage = name, Tag = tag },
                await RegistryLogin.ForAsync(environment, image, token),
                report,
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
                "ImagePullFailed",
                LaunchErrorCategory.ObjectNotFound,
                $"The image '{image}' is not on this machine and cannot be pulled: {Secrets.Mask(error)}. Check the name and 'docker login', or build it first.",
                image
            );
        }
    }

    internal async Task<bool> ExistsAsync(string image, CancellationToken token)
    {
        try
        {
            await client.Images.InspectImageAsync(image, token);
            return true;
        }
        catch (DockerImageNotFoundException)
        {
            return false;
        }
    }

    internal static string Dockerfile(Request request)
    {
        var text = new StringBuilder();
        text.Append("FROM ").Append(request.BaseImage).Append("\nUSER 0\n");
        List<string> packages = [.. request.SystemPackages];
        if (request.PythonForCuda is { } python)
        {
            packages.InsertRange(0, [$"python{python}", $"libpython{python}", "python3-pip", "python3-setuptools"]);
        }

        if (packages.Count > 0)
        {
            text.Append(
                    "RUN apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "
                )
                .AppendJoin(' ', packages)
                .Append(" && rm -rf /var/lib/apt/lists/*\n");
        }

        if (request.PythonForCuda is { } version)
        {
            text.Append("RUN ln -sf /usr/bin/python")
                .Append(version)
                .Append(" /usr/local/bin/python && ln -sf /usr/bin/python")
                .Append(version)
                .Append(" /usr/local/bin/python3\n");
        }

        // The name of this machine's user does not go into an image; the id is what counts (guide, docker.user_id).
        text.Append(
            CultureInfo.InvariantCulture,
            $"RUN useradd --create-home --home-dir {Home} --uid {request.UserId} --gid 0 --shell /bin/bash launch || true; mkdir -p {Home}/.cache && chown -R {request.UserId}:0 {Home}\n"
        );
        text.Append(
            CultureInfo.InvariantCulture,
            $"ENV HOME={Home} SHELL=/bin/bash PYTHONUNBUFFERED=1\nWORKDIR {Home}\nUSER {request.UserId}\nLABEL {ImageLabel}=base\n"
        );
        return text.ToString();
    }

    private async Task BuildAsync(string dockerfile, string tag, string baseImage, CancellationToken token)
    {
        await EnsurePulledAsync(baseImage, token);
        using var context = new MemoryStream();
        var writer = new TarWriter(context, TarEntryFormat.Pax, true);
        await using (writer)
        {
            using var content = new MemoryStream(Encoding.UTF8.GetBytes(dockerfile));
            await writer.WriteEntryAsync(
                new PaxTarEntry(TarEntryType.RegularFile, "Dockerfile.wandb-autogenerated") { DataStream = content },
                token
            );
        }

        context.Position = 0;
        var log = new StringBuilder();
        string? error = null;
        var report = new Inline<JSONMessage>(m =>
        {
            error = m.Error?.Message ?? m.ErrorMessage ?? error;
            log.Append(m.Stream);
            if (m.Stream?.Trim() is { Length: > 0 } line)
            {
                progress.Report(
                    "building image: " + line,
                    Step().Match(line) is { Success: true } s
                        ? 100
                            * int.Parse(s.Groups[1].Value, CultureInfo.InvariantCulture)
                            / int.Parse(s.Groups[2].Value, CultureInfo.InvariantCulture)
                        : null
                );
            }
        });
        try
        {
            await client.Images.BuildImageFromDockerfileAsync(
                new ImageBuildParameters
                {
                    Dockerfile = "Dockerfile.wandb-autogenerated",
                    Tags = [tag],
                    Remove = true,
                    ForceRemove = true,
                },
                context,
                [],
                new Dictionary<string, string>(),
                report,
                token
            );
        }
        catch (DockerApiException e)
        {
            error = e.Message;
        }

        // The build call answers 200 for a failed build as well: only the image itself proves it.
        if (error is not null || !await ExistsAsync(tag, token))
        {
            throw new LaunchException(
                "ImageBuildFailed",
                LaunchErrorCategory.InvalidData,
                $"The image could not be built: {Secrets.Mask(error ?? "unknown")}. Last lines: {VirtualEnvironment.Tail(log.ToString(), 5)}",
                baseImage
            );
        }
    }

    internal static (string Name, string Tag) SplitTag(string image)
    {
        if (image.Contains('@', StringComparison.Ordinal))
        {
            return (image, "");
        }

        var colon = image.LastIndexOf(':');
        return colon > image.LastIndexOf('/') ? (image[..colon], image[(colon + 1)..]) : (image, "latest");
    }

    private static IReadOnlyList<string> CheckPackages(IReadOnlyList<string> names) =>
        names.FirstOrDefault(n => !SystemPackage().IsMatch(n)) is { } bad
            ? throw new LaunchException(
                "SystemPackageInvalid",
                LaunchErrorCategory.InvalidArgument,
                $"'{bad}' is not the name of a Debian package. Give one such as libgl1.",
                bad
            )
            : [.. names.Order(StringComparer.Ordinal)];

    [GeneratedRegex(@"^[a-z0-9][a-z0-9+.-]*$")]
    private static partial Regex SystemPackage();

    [GeneratedRegex(@"^[23](\.\d{1,2})?$")]
    private static partial Regex PythonVersion();

    [GeneratedRegex(@"^\d{1,2}\.\d{1,2}(\.\d{1,2})?$")]
    private static partial Regex CudaVersion();

    [GeneratedRegex(@"^Step (\d+)/(\d+)")]
    private static partial Regex Step();

    // Progress<T> posts to another thread, out of order; the build's lines are wanted in theirs.
    private sealed class Inline<T>(Action<T> action) : IProgress<T>
    {
        public void Report(T value) => action(value);
    }
}
