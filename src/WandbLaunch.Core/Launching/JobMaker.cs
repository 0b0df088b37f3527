using System.Text.RegularExpressions;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Sources;
using WandbLaunch.Wandb;

namespace WandbLaunch.Launching;

/// <summary>Finds out what a job is made of: a repository, a folder, a run or an image (protocol B.8, D.3).</summary>
internal static partial class JobMaker
{
    /// <summary>The parts of the job. A folder's files are read from <paramref name="scratch"/>, which must stay until it is logged.</summary>
    internal static async Task<JobSource> MakeAsync(
        JobRequest request,
        WandbConnection server,
        LaunchContext context,
        string workingFolder,
        string scratch,
        IProgress<LaunchProgress> progress,
        Action<string> warn,
        CancellationToken token
    )
    {
        if (request.PythonVersion is { } version && !Runtime().IsMatch(version))
        {
            throw new LaunchException(
                "PythonVersionInvalid",
                LaunchErrorCategory.InvalidArgument,
                $"'{version}' is not a Python version such as 3.11.",
                version
            );
        }

        if (request.DockerImage is { } image)
        {
            ImageName.Check(image);
        }

        // One of the two is there: the command says so.
        var named = SourceCatalog.Find(
            new LaunchConfig
            {
                Uri = request.DockerImage is null ? request.Uri : null,
                DockerImage = request.DockerImage,
            },
            workingFolder
        )!;
        var source = await named.ToJobAsync(
            request,
            new ResolveContext(workingFolder, context.Cache, _ => Task.FromResult(server))
            {
                DataFolder = context.DataFolder,
                GitCredential = request.GitCredential,
                Progress = progress,
                Warn = warn,
                ScratchFolder = () => scratch,
            },
            token
        );
        return source with
        {
            Name = request.Name ?? source.Name,
            Description = request.Description,
            Aliases = [.. request.Aliases, .. source.Aliases],
        };
    }

    [GeneratedRegex(@"^3(\.\d+){0,2}$")]
    private static partial Regex Runtime();
}
