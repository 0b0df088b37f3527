using System.Text;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Python;
using WandbLaunch.Wandb;

namespace WandbLaunch.Sources;

/// <summary>A version of a job on the connected server (protocol D.3). One of an image is that image by the time it runs.</summary>
internal sealed class JobVersionSource(string text) : ILaunchSource
{
    public string Shown => text;

    public string? Project => JobPath.Parse(text).Project;

    internal static ILaunchSource? TryParse(SourceRequest request) =>
        request.Config.Job is { } job ? new JobVersionSource(job) : null;

    public void CheckPolicy(SourcePolicy policy)
    {
        var entity = JobPath.Parse(text).Entity;
        if (!policy.AllowsEntity(entity))
        {
            throw policy.Refused(
                $"jobs of the entity '{entity}' may not be run on this agent, only those of {policy.Entities}",
                "-AllowEntity"
            );
        }
    }

    public async Task<ResolvedRun> ResolveAsync(LaunchConfig config, ResolveContext context, CancellationToken token)
    {
        var (api, job) =
            context.Job ?? throw new InvalidOperationException("a job is read before it is resolved (Launcher)");
        context.Progress.Report($"resolving the job {job.Job}");
        var source = job.Json?["source"];
        var remote = source?["git"]?["remote"]?.ToString();
        var reference = source?["artifact"]?.ToString();
        var (workspace, commit, patched) = job.SourceType switch
        {
            "repo" when remote is not null && job.Commit is { } wanted => await CheckoutAsync(
                api,
                job,
                GitSource.RemoteOf($"job {job.Job}", config.GitRepo ?? remote, context).Location,
                config.GitVersion,
                wanted,
                context,
                token
            ),
            "artifact" when reference is { Length: > 0 } => (
                await DownloadAsync(api, job, reference, context.ScratchFolder(), token),
                null,
                false
            ),
            _ => throw new LaunchException(
                "JobInvalid",
                LaunchErrorCategory.InvalidData,
                $"The job {job.Job} is of no kind that is known: its {JobApi.DefinitionFile} says source_type '{job.SourceType}'. Make it again with New-WandbLaunchJob.",
                job
            ),
        };
        var frozen = await api.FileAsync(job, JobApi.FrozenFile, SourceFiles.SmallFile, token);
        var entry = config.EntryPoint ?? job.EntryPoint;
        EntryPoint.Check(entry, workspace);
        var requirements = RequirementSet.Create(
            frozen is { Length: > 0 } ? Encoding.UTF8.GetString(frozen) : null,
            workspace
        );
        return new ResolvedRun
        {
            Commit = commit,
            Patched = patched,
            Workspace = workspace,
            EntryPoint = entry,
            Arguments = ArgumentSet.Apply([], config.Args),
            PythonVersion = job.PythonVersion ?? "3",
            Requirements = requirements,
            Project = job.Project,
            Warnings = requirements.Warnings,
        };
    }

    private static async Task<(string Workspace, string? Commit, bool Patched)> CheckoutAsync(
        JobApi api,
        WandbLaunchJob job,
        string remote,
        string? version,
        string wanted,
        ResolveContext context,
        CancellationToken token
    )
    {
        var mirror = context.Mirror(remote);
        var commit = await mirror.ResolveAsync(LaunchUri.CheckRef(version ?? wanted), token);
        var patch = version is null ? await api.FileAsync(job, "diff.patch", GitPatch.MaxBytes, token) : null;
        var (workspace, patched) = await GitWorkspace.EnsureAsync(context.Cache, mirror, commit, patch, [], token);
        return (workspace, commit, patched);
    }

    private static async Task<string> DownloadAsync(
        JobApi api,
        WandbLaunchJob job,
        string reference,
        string workspace,
        CancellationToken token
    )
    {
        var code =
            await api.Artifacts.GetByIdAsync(JobApi.CodeArtifactId(reference), job.Entity, job.Project, token)
            ?? throw new LaunchException(
                "CodeArtifactMissing",
                LaunchErrorCategory.ObjectNotFound,
                $"The code of the job {job.Job} ({reference}) is gone, or this key may not see it. Make the job again with New-WandbLaunchJob.",
                job
            );
        await api.Artifacts.SaveAsync(code.Id, workspace, token);
        return workspace;
    }
}
