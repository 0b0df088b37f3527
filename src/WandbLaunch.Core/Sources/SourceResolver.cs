using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Python;
using WandbLaunch.Wandb;

namespace WandbLaunch.Sources;

/// <summary>What a resolve may use, and whom it tells.</summary>
internal sealed record ResolveContext(
    string WorkingFolder,
    LaunchCache Cache,
    Func<CancellationToken, Task<WandbConnection>> Connect
)
{
    internal GitCredential? GitCredential { get; init; }

    /// <summary>Throws for a git address that may not be used.</summary>
    internal Action<string>? CheckRemote { get; init; }

    /// <summary>The job that is launched, read already.</summary>
    internal (JobApi Api, WandbLaunchJob Job)? Job { get; init; }

    internal bool NoInstall { get; init; }
    internal Action<string> Progress { get; init; } = _ => { };
    internal required Func<string> ScratchFolder { get; init; }
}

/// <summary>From a launch config to what exactly runs, with its code on disk (protocol D).</summary>
internal static partial class SourceResolver
{
    private const long SmallFile = 16L << 20;

    internal static async Task<ResolvedRun> ResolveAsync(
        LaunchConfig config,
        ResolveContext context,
        CancellationToken token
    )
    {
        if (config.IsScheduler)
        {
            // A sweep's scheduler brings a command and no code (protocol D.3, last row).
            return new ResolvedRun
            {
                Source = null,
                Workspace = context.ScratchFolder(),
                EntryPoint =
                    config.EntryPoint
                    ?? throw new LaunchException(
                        "EntryPointMissing",
                        LaunchErrorCategory.InvalidData,
                        "The scheduler of a sweep has no entry point.",
                        config.Uri
                    ),
                Arguments = ArgumentSet.Apply([], config.Args),
                RunConfig = Config(config),
                Project = config.Project ?? "uncategorized",
                Entity = config.Entity,
            };
        }

        if (context.Job is { } job && config.DockerImage is null)
        {
            return await FromJobAsync(job.Api, job.Job, config, context, token) with
            {
                RunConfig = Config(config),
                Project = config.Project ?? job.Job.Project,
                Entity = config.Entity,
                Gpu = config.Cuda ?? false,
                CudaVersion = config.CudaVersion,
            };
        }

        var imageOnly =
            config.Uri is null
            || (
                config.DockerImage is not null
                && LaunchUri.Parse(config.Uri, context.WorkingFolder).Kind
                    is LaunchUriKind.Git
                        or LaunchUriKind.LocalFolder
            );
        if (imageOnly)
        {
            // A given image holds its own code (protocol D.2, first row).
            return config.DockerImage is null
                ? throw new LaunchException(
                    "SourceMissing",
                    LaunchErrorCategory.InvalidArgument,
                    "There is nothing to launch: give a run URL, a git URL, a folder, or a docker image (-DockerImage).",
                    config
                )
                : new ResolvedRun
                {
                    Source = config.Uri is null ? null : LaunchUri.Parse(config.Uri, context.WorkingFolder),
                    EntryPoint = config.EntryPoint ?? [],
                    Arguments = ArgumentSet.Apply([], config.Args),
                    RunConfig = Config(config),
                    Project = config.Project ?? context.Job?.Job.Project ?? "uncategorized",
                    Entity = config.Entity,
                    Gpu = config.Cuda ?? false,
                };
        }

        var uri = LaunchUri.Parse(config.Uri!, context.WorkingFolder);
        context.Progress($"resolving {Secrets.Mask(config.Uri!)}");
        var resolved = uri.Kind switch
        {
            LaunchUriKind.WandbRun => await FromServerAsync(uri, config, context, token),
            LaunchUriKind.OfflineRun => await FromRecordAsync(
                uri,
                new FolderRunRecord(uri.Location),
                config,
                context,
                token
            ),
            LaunchUriKind.Git => await FromGitAsync(uri, config, context, token),
            _ => FromFolder(uri, config, context, token),
        };
        return resolved with
        {
            RunConfig = Config(config),
            Project = config.Project ?? uri.Project,
            Entity = config.Entity,
            PythonVersion = config.PythonVersion ?? resolved.PythonVersion,
            CudaVersion = config.CudaVersion ?? resolved.CudaVersion,
            // Null follows the run, false forces the CPU (protocol C.1, cuda).
            Gpu = config.Cuda ?? resolved.Gpu,
        };
    }

    // Protocol D.3.
    private static async Task<ResolvedRun> FromJobAsync(
        JobApi api,
        WandbLaunchJob job,
        LaunchConfig config,
        ResolveContext context,
        CancellationToken token
    )
    {
        context.Progress($"resolving the job {job.Job}");
        string workspace;
        string? commit = null;
        var patched = false;
        var source = job.Json?["source"];
        var remote = source?["git"]?["remote"]?.ToString();
        var reference = source?["artifact"]?.ToString();
        switch (job.SourceType)
        {
            case "repo" when remote is not null && job.Commit is { } wanted:
                var uri = GitUri(config.GitRepo ?? remote, $"job {job.Job}", context);
                var mirror = new GitMirror(
                    context.Cache,
                    uri.Location,
                    context.GitCredential,
                    context.Progress,
                    context.CheckRemote
                );
                commit = await mirror.ResolveAsync(LaunchUri.CheckRef(config.GitVersion ?? wanted), token);
                var patch = config.GitVersion is null
                    ? await api.FileAsync(job, "diff.patch", GitPatch.MaxBytes, token)
                    : null;
                (workspace, patched) = await Workspace.FromGitAsync(
                    context.Cache,
                    mirror,
                    uri.Location,
                    commit,
                    patch,
                    new Dictionary<string, byte[]>(),
                    token
                );
                break;
            case "artifact" when reference is { Length: > 0 }:
                workspace = context.ScratchFolder();
                if (
                    await api.Artifacts.GetByIdAsync(JobApi.CodeArtifactId(reference), job.Entity, job.Project, token)
                    is not { } code
                )
                {
                    throw new LaunchException(
                        "CodeArtifactMissing",
                        LaunchErrorCategory.ObjectNotFound,
                        $"The code of the job {job.Job} ({reference}) is gone, or this key may not see it. Make the job again with New-WandbLaunchJob.",
                        job
                    );
                }

                await api.Artifacts.SaveAsync(code.Id, workspace, token);
                break;
            default:
                throw new LaunchException(
                    "JobInvalid",
                    LaunchErrorCategory.InvalidData,
                    $"The job {job.Job} is of no kind that is known: its {JobApi.DefinitionFile} says source_type '{job.SourceType}'. Make it again with New-WandbLaunchJob.",
                    job
                );
        }

        var frozen = await api.FileAsync(job, JobApi.FrozenFile, SmallFile, token);
        var entry = config.EntryPoint ?? job.EntryPoint;
        CheckEntry(entry, workspace);
        var requirements = RequirementSet.Create(
            frozen is { Length: > 0 } ? Encoding.UTF8.GetString(frozen) : null,
            workspace
        );
        return new ResolvedRun
        {
            Source = null,
            Commit = commit,
            Patched = patched,
            Workspace = workspace,
            EntryPoint = entry,
            Arguments = ArgumentSet.Apply([], config.Args),
            PythonVersion = config.PythonVersion ?? job.PythonVersion ?? "3",
            Requirements = requirements,
            Warnings = requirements.Warnings,
        };
    }

    private static async Task<ResolvedRun> FromServerAsync(
        LaunchUri uri,
        LaunchConfig config,
        ResolveContext context,
        CancellationToken token
    )
    {
        var connection = await context.Connect(token);
        if (uri.RunHost is { } host && !SameServer(host, connection))
        {
            throw new LaunchException(
                "OtherServer",
                LaunchErrorCategory.InvalidOperation,
                $"'{uri.Text}' is on another server than the connected {connection.BaseUrl}. Connect there first: Connect-Wandb -BaseUrl {ApiUrl(host)}",
                uri.Text
            );
        }

        return await FromRecordAsync(uri, new ServerRunRecord(connection.Api, uri.Run), config, context, token);
    }

    private static bool SameServer(string host, WandbConnection connection) =>
        Same(host, connection.BaseUrl)
        || Same(host, connection.AppUrl)
        || (
            Uri.TryCreate(host, UriKind.Absolute, out var a)
            && Uri.TryCreate(connection.BaseUrl, UriKind.Absolute, out var b)
            && a.IsLoopback
            && b.IsLoopback
            && a.Port == b.Port
        );

    private static bool Same(string a, string b) =>
        string.Equals(a.TrimEnd('/'), b.TrimEnd('/'), StringComparison.OrdinalIgnoreCase);

    private static string ApiUrl(string host) =>
        host.Contains("://wandb.ai", StringComparison.OrdinalIgnoreCase) ? "https://api.wandb.ai" : host;

    private static async Task<ResolvedRun> FromRecordAsync(
        LaunchUri uri,
        IRunRecord record,
        LaunchConfig config,
        ResolveContext context,
        CancellationToken token
    )
    {
        var info = await record.InfoAsync(token);
        var metadata = await record.FileAsync("wandb-metadata.json", SmallFile, token);
        var (codePath, cuda, root) = Metadata(metadata);
        var program = config.EntryPoint is null ? ProgramPath(codePath ?? info.Program, root, record) : null;
        var warnings = new List<string>();

        string? workspace;
        string? commit = null;
        string? remote = null;
        var patched = false;
        var code = program is null ? null : await record.FileAsync("code/" + program, SmallFile, token);
        var chosenRemote = config.GitRepo ?? info.Remote;
        if (config.DockerImage is not null)
        {
            workspace = null;
        }
        else if (chosenRemote is { Length: > 0 } && (config.GitVersion ?? info.Commit) is { } version)
        {
            var git = GitUri(chosenRemote, record.Describe, context);
            remote = git.Location;
            var mirror = new GitMirror(
                context.Cache,
                remote,
                context.GitCredential,
                context.Progress,
                context.CheckRemote
            );
            commit = await mirror.ResolveAsync(LaunchUri.CheckRef(version), token);

            // With a git version of the user's own the patch of the run does not count (guide, "git.git_version").
            var patch = config.GitVersion is null
                ? await record.FileAsync("diff.patch", GitPatch.MaxBytes, token)
                : null;
            var extra = new Dictionary<string, byte[]>();
            if (program is not null && code is not null && !Workspace.Contains(mirror, commit, program))
            {
                extra[program] = code;
                if (
                    patch is not null
                    && Encoding.UTF8.GetString(patch).Contains(" b/" + program, StringComparison.Ordinal)
                )
                {
                    extra.Clear();
                }
            }

            (workspace, patched) = await Workspace.FromGitAsync(
                context.Cache,
                mirror,
                remote,
                commit,
                patch,
                extra,
                token
            );
        }
        else if (code is not null && program is not null)
        {
            warnings.Add($"The {record.Describe} has no git commit; only its saved program {program} is there.");
            workspace = context.ScratchFolder();
            using var folder = SafeFolder.Make(workspace);
            using var file = folder.Create(program, "entry point");
            await file.WriteAsync(code, token);
        }
        else
        {
            throw new LaunchException(
                "GitMissing",
                LaunchErrorCategory.ObjectNotFound,
                $"The {record.Describe} was not made from a git repository, and its code was not saved, so it cannot be made again. Launch from a folder or git URL, or name the repository with -GitRepo and -GitVersion.",
                uri.Text
            );
        }

        var frozen = await record.FileAsync("requirements.txt", SmallFile, token);
        if (frozen is null && workspace is not null && !HasFile(workspace, "requirements.txt") && !context.NoInstall)
        {
            throw RequirementsMissing(record.Describe, workspace);
        }

        var entry = config.EntryPoint ?? (workspace is null ? [] : EntryFor(program!, ref workspace, context));
        if (workspace is not null)
        {
            CheckEntry(entry, workspace);
        }

        var requirements = RequirementSet.Create(frozen is null ? null : Encoding.UTF8.GetString(frozen), workspace);
        return new ResolvedRun
        {
            Source = uri,
            Remote = remote,
            Commit = commit,
            Patched = patched,
            Workspace = workspace,
            EntryPoint = entry,
            Arguments = ArgumentSet.Apply(info.Args, config.Args),
            PythonVersion = info.Python ?? "3",
            CudaVersion = cuda,
            Gpu = cuda is not null,
            Requirements = requirements,
            Warnings = [.. warnings, .. requirements.Warnings],
        };
    }

    private static async Task<ResolvedRun> FromGitAsync(
        LaunchUri uri,
        LaunchConfig config,
        ResolveContext context,
        CancellationToken token
    )
    {
        var mirror = new GitMirror(
            context.Cache,
            uri.Location,
            context.GitCredential,
            context.Progress,
            context.CheckRemote
        );
        var version = config.GitVersion ?? uri.Ref;
        var commit = await mirror.ResolveAsync(version is null ? null : LaunchUri.CheckRef(version), token);
        var (workspace, _) = await Workspace.FromGitAsync(
            context.Cache,
            mirror,
            uri.Location,
            commit,
            null,
            new Dictionary<string, byte[]>(),
            token
        );
        if (uri.Subfolder is not null)
        {
            string? inside;
            using (var root = SafeFolder.Open(workspace))
            {
                inside =
                    root.Kind(uri.Subfolder, "subfolder") == EntryKind.Folder
                        ? root.RealPath(uri.Subfolder, "subfolder")
                        : null;
            }

            if (inside is null)
            {
                throw new LaunchException(
                    "SubfolderNotFound",
                    LaunchErrorCategory.ObjectNotFound,
                    $"The commit {commit} of {Secrets.Mask(uri.Location)} has no folder '{uri.Subfolder}'.",
                    uri.Subfolder
                );
            }

            workspace = Path.Combine(workspace, inside.Replace('/', Path.DirectorySeparatorChar));
        }

        var resolved = FromCode(uri, workspace, config, context);
        return resolved with
        {
            Remote = uri.Location,
            Commit = commit,
            Warnings =
            [
                .. uri.Subfolder is null
                    ? []
                    : Workspace
                        .BadLinks(workspace)
                        .Select(l => $"'{SafePath.Show(l.Path)}' is a link that {l.Fault} and is left out"),
                .. resolved.Warnings,
            ],
        };
    }

    private static ResolvedRun FromFolder(
        LaunchUri uri,
        LaunchConfig config,
        ResolveContext context,
        CancellationToken token
    )
    {
        if (config.GitVersion is not null)
        {
            throw new LaunchException(
                "GitVersionForFolder",
                LaunchErrorCategory.InvalidArgument,
                $"A folder is launched as it is now, so -GitVersion has no meaning for it. Launch file://{uri.Location} to take a commit of it.",
                config.GitVersion
            );
        }

        var warnings = new List<string>();
        var copy = context.ScratchFolder();
        Workspace.CopyFolder(uri.Location, copy, warnings, token);
        string? commit = null;
        var changed = false;
        if (LibGit2Sharp.Repository.Discover(uri.Location) is { } found)
        {
            using var repository = new LibGit2Sharp.Repository(found);
            commit = repository.Head.Tip?.Sha;
            changed =
                commit is not null
                && repository.RetrieveStatus(new LibGit2Sharp.StatusOptions { IncludeIgnored = false }).IsDirty;
        }

        var resolved = FromCode(uri, copy, config, context);
        return resolved with { Commit = commit, Patched = changed, Warnings = [.. warnings, .. resolved.Warnings] };
    }

    private static ResolvedRun FromCode(LaunchUri uri, string workspace, LaunchConfig config, ResolveContext context)
    {
        if (!context.NoInstall && config.DockerImage is null && !HasFile(workspace, "requirements.txt"))
        {
            throw RequirementsMissing(Secrets.Mask(uri.Text), workspace);
        }

        var folder = workspace;
        var entry = config.EntryPoint ?? EntryFor("main.py", ref folder, context);
        CheckEntry(entry, folder);
        var requirements = RequirementSet.Create(null, folder);
        return new ResolvedRun
        {
            Source = uri,
            Workspace = folder,
            EntryPoint = entry,
            Arguments = ArgumentSet.Apply([], config.Args),
            PythonVersion = ProjectPython(folder),
            Requirements = requirements,
            Warnings = requirements.Warnings,
        };
    }

    // Protocol D.3: runtime.txt, else the first line of .python-version.
    internal static string? ProjectPython(string folder)
    {
        using var opened = SafeFolder.Open(folder);
        foreach (var name in new[] { "runtime.txt", ".python-version" })
        {
            // Only the number is taken, so that nothing else of the file stands in a message.
            if (
                opened.Kind(name, "version file") == EntryKind.File
                && opened.ReadText(name, "version file", 1 << 16) is { } text
                && Number().Match(text.Split('\n')[0].Trim()) is { Success: true } version
            )
            {
                return version.Groups[1].Value;
            }
        }

        return null;
    }

    [System.Text.RegularExpressions.GeneratedRegex(@"^(?:python-)?([0-9]{1,4}(?:\.[0-9]{1,4}){0,3})")]
    private static partial System.Text.RegularExpressions.Regex Number();

    // A link counts when it leads to a file of the same source.
    private static bool HasFile(string folder, string name, string what = "file")
    {
        using var opened = SafeFolder.Open(folder);
        return opened.FileExists(name, what);
    }

    private static LaunchException RequirementsMissing(string what, string workspace) =>
        new(
            "RequirementsMissing",
            LaunchErrorCategory.ObjectNotFound,
            $"{what} has no requirements.txt, so its packages are not known."
                + (
                    HasFile(workspace, "environment.yml")
                        ? " It has an environment.yml; export it with 'pip freeze'."
                        : ""
                )
                + " Add one at the root (it may be empty), use -NoInstall to take the packages that are there, or give an image with -DockerImage.",
            what
        );

    private static LaunchUri GitUri(string remote, string what, ResolveContext context)
    {
        var uri = LaunchUri.Parse(remote, context.WorkingFolder);
        return uri.Kind == LaunchUriKind.Git ? uri
            : uri.Kind == LaunchUriKind.LocalFolder
                ? uri with
                {
                    Kind = LaunchUriKind.Git,
                    Location = new Uri(uri.Location).AbsoluteUri,
                }
            : throw new LaunchException(
                "GitRemoteInvalid",
                LaunchErrorCategory.InvalidData,
                $"The {what} names the git remote '{Secrets.Mask(remote)}', which is not a git address. Give the right one with -GitRepo.",
                remote
            );
    }

    private static string ProgramPath(string? program, string? root, IRunRecord record)
    {
        if (program is null or "" or "<python with no main file>")
        {
            throw new LaunchException(
                "EntryPointMissing",
                LaunchErrorCategory.ObjectNotFound,
                $"The {record.Describe} does not say which program it ran. Give it with -EntryPoint.",
                record.Describe
            );
        }

        var path = program.Replace('\\', '/');
        var origin = root?.Replace('\\', '/').TrimEnd('/') + "/";
        path = origin.Length > 1 && path.StartsWith(origin, StringComparison.Ordinal) ? path[origin.Length..] : path;
        path = path.StartsWith("./", StringComparison.Ordinal) ? path[2..] : path;
        if (SafePath.Fault(path) is { } fault)
        {
            throw new LaunchException(
                "PathOutside",
                LaunchErrorCategory.SecurityError,
                $"The program '{program}' of the {record.Describe} is refused: {fault}. Give its path inside the repository with -EntryPoint.",
                program
            );
        }

        return path;
    }

    // Protocol D.2, steps 7 and 10.
    private static IReadOnlyList<string> EntryFor(string program, ref string workspace, ResolveContext context)
    {
        var extension = Path.GetExtension(program);
        if (extension == ".ipynb")
        {
            byte[] notebook;
            using (var source = SafeFolder.Open(workspace))
            {
                notebook = source.ReadAllBytes(program, "entry point", SmallFile) ?? throw EntryMissing(program);
            }

            var text = Notebook.ToScript(notebook, program);
            var copy = context.ScratchFolder();
            Workspace.CopyPlain(workspace, copy, CancellationToken.None);
            var script = Path.ChangeExtension(program, ".py").Replace('\\', '/');
            using var target = SafeFolder.Open(copy);

            // Where the notebook's own folder is a link, the script stands beside the notebook, as it did for the run.
            var at = script.LastIndexOf('/');
            var place = at < 0 ? script : target.RealPath(script[..at], "entry point") + script[at..];
            using (var output = target.Replace(place.TrimStart('/'), "notebook's script"))
            {
                output.Write(Encoding.UTF8.GetBytes(text));
            }

            workspace = copy;
            return ["python", script];
        }

        return extension switch
        {
            ".py" => ["python", program],
            ".sh" => ["bash", program],
            _ => throw new LaunchException(
                "EntryPointUnsupported",
                LaunchErrorCategory.InvalidData,
                $"'{program}' is neither a .py, .sh nor .ipynb program. Say how to run it with -EntryPoint, such as -EntryPoint 'python {program}'.",
                program
            ),
        };
    }

    // The file of a command: the first word if it is a program file, else the second (protocol D.3, last row).
    internal static void CheckEntry(IReadOnlyList<string> entry, string workspace)
    {
        if (entry.Count == 0)
        {
            throw new LaunchException(
                "EntryPointMissing",
                LaunchErrorCategory.InvalidArgument,
                "The entry point is empty. Give the command, such as -EntryPoint 'python train.py'.",
                null
            );
        }

        var program = entry
            .Take(2)
            .FirstOrDefault(w =>
                w.EndsWith(".py", StringComparison.Ordinal) || w.EndsWith(".sh", StringComparison.Ordinal)
            );
        if (program is not null && !HasFile(workspace, program, "entry point"))
        {
            throw EntryMissing(program);
        }
    }

    private static LaunchException EntryMissing(string program) =>
        new(
            "EntryPointNotFound",
            LaunchErrorCategory.ObjectNotFound,
            $"There is no file '{program}' in the source. Name the program with -EntryPoint, relative to the root of the repository or folder.",
            program
        );

    private static (string? CodePath, string? Cuda, string? Root) Metadata(byte[]? bytes)
    {
        if (bytes is null)
        {
            return default;
        }

        try
        {
            using var document = JsonDocument.Parse(bytes);
            var root = document.RootElement;
            var cuda = root.Text("cuda") is { Length: > 0 } version
                ? string.Join('.', version.Split('.').Take(2))
                : null;
            return (root.Text("codePath"), cuda, root.Text("root"));
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return default;
        }
    }

    // A name that is given as an argument wins over the same name in run_config (protocol C.2).
    private static JsonObject Config(LaunchConfig config)
    {
        var map = config.RunConfig is null ? [] : (JsonObject)config.RunConfig.DeepClone();
        foreach (var name in config.Args?.TruthyNames() ?? [])
        {
            map.Remove(name);
        }

        return map;
    }
}
