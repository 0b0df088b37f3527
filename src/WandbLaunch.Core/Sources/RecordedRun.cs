using System.Text;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Python;

namespace WandbLaunch.Sources;

/// <summary>Makes a run again from its record (protocol D.2).</summary>
internal static class RecordedRun
{
    private sealed record Code(string? Workspace, string? Remote, string? Commit, bool Patched, string? Warning);

    internal static async Task<ResolvedRun> ResolveAsync(
        string text,
        IRunRecord record,
        LaunchConfig config,
        ResolveContext context,
        CancellationToken token
    )
    {
        var info = await record.InfoAsync(token);
        var metadata = await RunMetadata.OfAsync(record, token);
        var program = config.EntryPoint is null
            ? EntryPoint.Recorded(metadata, metadata.CodePath ?? info.Program, record.Describe)
            : null;
        var saved = program is null ? null : await record.FileAsync("code/" + program, SourceFiles.SmallFile, token);
        var code =
            config.DockerImage is not null ? new Code(null, null, null, false, null)
            : (config.GitRepo ?? info.Remote) is { Length: > 0 } remote
            && (config.GitVersion ?? info.Commit) is { } version
                ? await CheckoutAsync(remote, version, program, saved, record, config, context, token)
            : saved is not null && program is not null
                ? await SaveAsync(program, saved, record, context.ScratchFolder(), token)
            : throw new LaunchException(
                "GitMissing",
                LaunchErrorCategory.ObjectNotFound,
                $"The {record.Describe} was not made from a git repository, and its code was not saved, so it cannot be made again. Launch from a folder or git URL, or name the repository with -GitRepo and -GitVersion.",
                text
            );
        var workspace = code.Workspace;
        var frozen = await record.FileAsync("requirements.txt", SourceFiles.SmallFile, token);
        if (
            frozen is null
            && workspace is not null
            && !SourceFiles.Has(workspace, "requirements.txt")
            && !context.NoInstall
        )
        {
            throw SourceFiles.RequirementsMissing(record.Describe, workspace);
        }

        var entry = config.EntryPoint ?? [];
        if (workspace is not null)
        {
            entry = config.EntryPoint ?? EntryPoint.Command(program!, ref workspace, context.ScratchFolder);
            EntryPoint.Check(entry, workspace);
        }

        var requirements = RequirementSet.Create(frozen is null ? null : Encoding.UTF8.GetString(frozen), workspace);
        return new ResolvedRun
        {
            Remote = code.Remote,
            Commit = code.Commit,
            Patched = code.Patched,
            Workspace = workspace,
            EntryPoint = entry,
            Arguments = ArgumentSet.Apply(info.Args, config.Args),
            PythonVersion = info.Python ?? "3",
            CudaVersion = metadata.Cuda,
            Gpu = metadata.Cuda is not null,
            Requirements = requirements,
            Warnings = [.. code.Warning is { } warning ? [warning] : Array.Empty<string>(), .. requirements.Warnings],
        };
    }

    private static async Task<Code> CheckoutAsync(
        string named,
        string version,
        string? program,
        byte[]? saved,
        IRunRecord record,
        LaunchConfig config,
        ResolveContext context,
        CancellationToken token
    )
    {
        var remote = GitSource.RemoteOf(record.Describe, named, context).Location;
        var mirror = context.Mirror(remote);
        var commit = await mirror.ResolveAsync(LaunchUri.CheckRef(version), token);

        // With a git version of the user's own the patch of the run does not count (guide, "git.git_version").
        var patch = config.GitVersion is null ? await record.FileAsync("diff.patch", GitPatch.MaxBytes, token) : null;
        var extra = new Dictionary<string, byte[]>();
        if (
            program is not null
            && saved is not null
            && !GitWorkspace.Contains(mirror, commit, program)
            && (patch is null || !Encoding.UTF8.GetString(patch).Contains(" b/" + program, StringComparison.Ordinal))
        )
        {
            extra[program] = saved;
        }

        var (workspace, patched) = await GitWorkspace.EnsureAsync(context.Cache, mirror, commit, patch, extra, token);
        return new Code(workspace, remote, commit, patched, null);
    }

    private static async Task<Code> SaveAsync(
        string program,
        byte[] saved,
        IRunRecord record,
        string workspace,
        CancellationToken token
    )
    {
        using var folder = SafeFolder.Make(workspace);
        using var file = folder.Create(program, "entry point");
        await file.WriteAsync(saved, token);
        return new Code(
            workspace,
            null,
            null,
            false,
            $"The {record.Describe} has no git commit; only its saved program {program} is there."
        );
    }
}
