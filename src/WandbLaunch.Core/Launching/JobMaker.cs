using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Resources;
using WandbLaunch.Sources;
using WandbLaunch.Wandb;

namespace WandbLaunch.Launching;

/// <summary>What the maker of a job chose.</summary>
internal sealed record JobRequest
{
    internal string? Uri { get; init; }
    internal string? DockerImage { get; init; }
    internal string? Name { get; init; }
    internal string? Description { get; init; }
    internal IReadOnlyList<string> Aliases { get; init; } = [];
    internal IReadOnlyList<string>? EntryPoint { get; init; }
    internal string? GitVersion { get; init; }
    internal string? PythonVersion { get; init; }
    internal GitCredential? GitCredential { get; init; }
}

/// <summary>Finds out what a job is made of: a repository, a folder, a run or an image (protocol B.8, D.3).</summary>
internal static partial class JobMaker
{
    private const long SmallFile = 16L << 20;

    /// <summary>The parts of the job. A folder's files are read from <paramref name="scratch"/>, which must stay until it is logged.</summary>
    internal static async Task<JobSource> MakeAsync(
        JobRequest request,
        WandbConnection server,
        LaunchCache cache,
        string workingFolder,
        string scratch,
        Action<string> progress,
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

        JobSource source;
        if (request.DockerImage is { } image)
        {
            ImageName.Check(image);
            source = JobSource.Image(image);
        }
        else
        {
            var uri = LaunchUri.Parse(request.Uri!, workingFolder);
            source = uri.Kind switch
            {
                LaunchUriKind.Git => await FromGitAsync(uri, request, cache, progress, warn, token),
                LaunchUriKind.LocalFolder => FromFolder(uri, request, scratch, warn, token),
                LaunchUriKind.WandbRun => await FromRunAsync(uri.Run, request, server, workingFolder, token),
                _ => throw new LaunchException(
                    "InputNotSupported",
                    LaunchErrorCategory.InvalidArgument,
                    $"No job can be made of {uri.Text}. Import it first: Import-WandbRun '{uri.Location}' | New-WandbLaunchJob",
                    uri.Text
                ),
            };
        }

        return source with
        {
            Name = request.Name ?? source.Name,
            Description = request.Description,
            Aliases = [.. request.Aliases, .. source.Aliases],
        };
    }

    private static async Task<JobSource> FromGitAsync(
        LaunchUri uri,
        JobRequest request,
        LaunchCache cache,
        Action<string> progress,
        Action<string> warn,
        CancellationToken token
    )
    {
        var mirror = new GitMirror(cache, uri.Location, request.GitCredential, progress);
        var wanted = request.GitVersion ?? uri.Ref;
        var commit = await mirror.ResolveAsync(wanted is null ? null : LaunchUri.CheckRef(wanted), token);
        var (workspace, _) = await Workspace.FromGitAsync(
            cache,
            mirror,
            uri.Location,
            commit,
            null,
            new Dictionary<string, byte[]>(),
            token
        );
        var entry = Entry(request, workspace, uri.Subfolder, warn);

        // A login inside the address is this user's, and stays out of the job.
        return JobSource.Repository(
            WithoutLogin(uri.Location),
            commit,
            entry,
            Minor(request.PythonVersion ?? SourceResolver.ProjectPython(workspace))
        ) with
        {
            Requirements = ReadText(workspace, "requirements.txt"),
        };
    }

    private static JobSource FromFolder(
        LaunchUri uri,
        JobRequest request,
        string scratch,
        Action<string> warn,
        CancellationToken token
    )
    {
        var warnings = new List<string>();
        Workspace.CopyFolder(uri.Location, scratch, warnings, token);
        warnings.ForEach(warn);
        var entry = Entry(request, scratch, null, warn);
        using var copy = SafeFolder.Open(scratch);
        var files = copy.Entries()
            .Where(e => e.Kind == EntryKind.File)
            .Select(e => new ArtifactContent(
                e.Path,
                () =>
                {
                    using var folder = SafeFolder.Open(scratch);
                    return folder.OpenExactly(e.Path);
                }
            ))
            .ToList();
        var name = "job-" + Path.GetFileName(Path.TrimEndingDirectorySeparator(uri.Location));
        return JobSource.Folder(
            name,
            files,
            entry,
            Minor(request.PythonVersion ?? SourceResolver.ProjectPython(scratch))
        ) with
        {
            Requirements = ReadText(scratch, "requirements.txt"),
        };
    }

    // The kind by what the run has, in the order of protocol B.8: repository, code, image.
    private static async Task<JobSource> FromRunAsync(
        RunPath run,
        JobRequest request,
        WandbConnection server,
        string workingFolder,
        CancellationToken token
    )
    {
        var record = new ServerRunRecord(server.Api, run);
        var info = await record.InfoAsync(token);
        var requirements = await record.FileAsync("requirements.txt", SmallFile, token);
        var metadata = await record.FileAsync("wandb-metadata.json", SmallFile, token);
        if (requirements is null || (request.PythonVersion ?? info.Python) is null)
        {
            throw new LaunchException(
                "JobNotPossible",
                LaunchErrorCategory.InvalidData,
                $"The run {run} has no {(requirements is null ? "requirements.txt" : "Python version in its metadata")}, so no job can be made of it.",
                run.ToString()
            );
        }

        string? docker = null;
        string? codePath = null;
        if (metadata is not null)
        {
            using var document = JsonDocument.Parse(metadata);
            (docker, codePath) = (document.RootElement.Text("docker"), document.RootElement.Text("codePath"));
        }

        var python = Minor(request.PythonVersion ?? info.Python);
        var program = codePath ?? info.Program;
        var entry = request.EntryPoint ?? (program is null ? null : [$"python{python}", program]);
        if (
            info.Remote is { Length: > 0 } remote
            && (request.GitVersion ?? info.Commit) is { } commit
            && entry is not null
            && LaunchUri.Parse(remote, workingFolder).Kind == LaunchUriKind.Git
        )
        {
            return JobSource.Repository(WithoutLogin(remote), LaunchUri.CheckRef(commit), entry, python) with
            {
                Requirements = Encoding.UTF8.GetString(requirements),
                Patch = request.GitVersion is null
                    ? await record.FileAsync("diff.patch", GitPatch.MaxBytes, token)
                    : null,
            };
        }

        return docker is { Length: > 0 }
            ? JobSource.Image(docker)
            : throw new LaunchException(
                "JobNotPossible",
                LaunchErrorCategory.InvalidData,
                $"The run {run} has neither a git commit nor a docker image, so no job can be made of it. Make one of the folder with its code: New-WandbLaunchJob <folder>",
                run.ToString()
            );
    }

    private static IReadOnlyList<string> Entry(
        JobRequest request,
        string workspace,
        string? subfolder,
        Action<string> warn
    )
    {
        var entry = request.EntryPoint;
        if (entry is null)
        {
            var program = subfolder is null ? "main.py" : subfolder + "/main.py";
            warn($"No entry point was given: the job runs {program}.");
            entry = ["python", program];
        }

        SourceResolver.CheckEntry(entry, workspace);
        return entry;
    }

    private static string WithoutLogin(string remote) =>
        Uri.TryCreate(remote, UriKind.Absolute, out var uri) && uri.UserInfo.Contains(':', StringComparison.Ordinal)
        || remote.StartsWith("http", StringComparison.OrdinalIgnoreCase)
            && remote.Contains('@', StringComparison.Ordinal)
            ? Login().Replace(remote, "$1")
            : remote;

    private static string? ReadText(string folder, string name)
    {
        using var opened = SafeFolder.Open(folder);
        return opened.ReadText(name, "requirements file", SmallFile);
    }

    private static string Minor(string? version) =>
        version is null
            ? "3"
            : string.Join('.', version.Replace("python-", "", StringComparison.Ordinal).Split('.').Take(2));

    [GeneratedRegex(@"^3(\.\d+){0,2}$")]
    private static partial Regex Runtime();

    [GeneratedRegex(@"^([A-Za-z][A-Za-z0-9+.-]*://)[^/@]*@")]
    private static partial Regex Login();
}
