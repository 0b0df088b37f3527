using LibGit2Sharp;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.Sources;

/// <summary>A folder of this machine, as it is now.</summary>
internal sealed class FolderSource(string folder, string text) : ILaunchSource
{
    public string Shown => folder;

    public string? Project => null;

    internal static ILaunchSource? TryParse(SourceRequest request) =>
        request.Address is { Kind: LaunchUriKind.LocalFolder } address
            ? new FolderSource(address.Location, address.Text)
            : null;

    public void CheckPolicy(SourcePolicy policy) => RefuseFolder(policy);

    /// <summary>Whoever queues an item knows nothing of the agent's disk.</summary>
    internal static void RefuseFolder(SourcePolicy policy) =>
        throw policy.Refused("a folder of the agent's machine cannot be launched from a queue; push it to git", null);

    public LaunchConfig ForQueue(LaunchConfig config, string appUrl) =>
        throw new LaunchException(
            "FolderCannotBeQueued",
            LaunchErrorCategory.InvalidArgument,
            $"The folder {folder} is only on this machine, and the agent may run on another, so it cannot be queued. Push it to git and queue the git URL, make a job of it (New-WandbLaunchJob '{folder}' | Add-WandbLaunchQueueItem), or run it here with Start-WandbLaunch.",
            config.Uri
        );

    public LaunchConfig Again(LaunchConfig config, string? commit) => config with { Uri = folder };

    public Task<ResolvedRun> ResolveAsync(LaunchConfig config, ResolveContext context, CancellationToken token)
    {
        if (config.GitVersion is not null)
        {
            throw new LaunchException(
                "GitVersionForFolder",
                LaunchErrorCategory.InvalidArgument,
                $"A folder is launched as it is now, so -GitVersion has no meaning for it. Launch file://{folder} to take a commit of it.",
                config.GitVersion
            );
        }

        context.Progress.Report($"resolving {Secrets.Mask(text)}");
        var warnings = new List<string>();
        var copy = context.ScratchFolder();
        Workspace.CopyFolder(folder, copy, context.DataFolder, warnings, token);
        string? commit = null;
        var changed = false;
        if (Repository.Discover(folder) is { } found)
        {
            using var repository = new Repository(found);
            commit = repository.Head.Tip?.Sha;
            changed =
                commit is not null && repository.RetrieveStatus(new StatusOptions { IncludeIgnored = false }).IsDirty;
        }

        var resolved = SourceFiles.Run(text, copy, config, context);
        return Task.FromResult(
            resolved with
            {
                Commit = commit,
                Patched = changed,
                Warnings = [.. warnings, .. resolved.Warnings],
            }
        );
    }

    public Task<JobSource> ToJobAsync(JobRequest request, ResolveContext context, CancellationToken token)
    {
        var warnings = new List<string>();
        var copy = context.ScratchFolder();
        Workspace.CopyFolder(folder, copy, context.DataFolder, warnings, token);
        warnings.ForEach(context.Warn);
        var entry = SourceFiles.JobEntry(request, copy, null, context);
        using var opened = SafeFolder.Open(copy);
        var files = opened
            .Entries()
            .Where(e => e.Kind == EntryKind.File)
            .Select(e => new ArtifactContent(
                e.Path,
                () =>
                {
                    using var inside = SafeFolder.Open(copy);
                    return inside.OpenExactly(e.Path);
                }
            ))
            .ToList();
        return Task.FromResult(
            JobSource.Folder(
                "job-" + Path.GetFileName(Path.TrimEndingDirectorySeparator(folder)),
                files,
                entry,
                SourceFiles.JobPython(request.PythonVersion ?? SourceFiles.PythonVersion(copy))
            ) with
            {
                Requirements = SourceFiles.Requirements(copy),
            }
        );
    }
}
