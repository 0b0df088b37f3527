using System.Text;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.Sources;

/// <summary>A run on a server.</summary>
internal sealed class WandbRunSource(LaunchUri address) : ILaunchSource
{
    private readonly RunPath _run = address.Run;

    public string Shown => address.Text;

    public string? Project => _run.Project;

    public bool CountsBesideImage => true;

    internal static ILaunchSource? TryParse(SourceRequest request) =>
        request.Address is { Kind: LaunchUriKind.WandbRun } address ? new WandbRunSource(address) : null;

    public void CheckPolicy(SourcePolicy policy)
    {
        if (!policy.AllowsEntity(_run.Entity))
        {
            throw policy.Refused(
                $"runs of the entity '{_run.Entity}' may not be reproduced on this agent, only those of {policy.Entities}",
                "-AllowEntity"
            );
        }
    }

    // A bare path means this server; an agent elsewhere, or of another kind, is told so.
    public LaunchConfig ForQueue(LaunchConfig config, string appUrl) =>
        address.RunHost is null
            ? config with
            {
                Uri = $"{appUrl}/{_run.Entity}/{_run.Project}/runs/{_run.Id}",
            }
            : config;

    public async Task<ResolvedRun> ResolveAsync(LaunchConfig config, ResolveContext context, CancellationToken token)
    {
        context.Progress.Report($"resolving {Secrets.Mask(address.Text)}");
        var connection = await context.Connect(token);
        if (address.RunHost is { } host && !IsOf(host, connection))
        {
            throw new LaunchException(
                "OtherServer",
                LaunchErrorCategory.InvalidOperation,
                $"'{address.Text}' is on another server than the connected {connection.BaseUrl}. Connect there first: Connect-Wandb -BaseUrl {ApiUrl(host)}",
                address.Text
            );
        }

        var record = new ServerRunRecord(connection.Api, _run);
        return await RecordedRun.ResolveAsync(address.Text, record, config, context, token) with
        {
            Project = _run.Project,
        };
    }

    // The kind by what the run has, in the order of protocol B.8: repository, code, image.
    public async Task<JobSource> ToJobAsync(JobRequest request, ResolveContext context, CancellationToken token)
    {
        var server = await context.Connect(token);
        var record = new ServerRunRecord(server.Api, _run);
        var info = await record.InfoAsync(token);
        var requirements = await record.FileAsync("requirements.txt", SourceFiles.SmallFile, token);
        if (requirements is null || (request.PythonVersion ?? info.Python) is null)
        {
            throw NotPossible(
                $"The run {_run} has no {(requirements is null ? "requirements.txt" : "Python version in its metadata")}, so no job can be made of it."
            );
        }

        var metadata = await RunMetadata.OfAsync(record, token);
        var python = SourceFiles.JobPython(request.PythonVersion ?? info.Python);
        var program = metadata.CodePath ?? info.Program;
        var entry = request.EntryPoint ?? (program is null ? null : [$"python{python}", program]);
        if (
            info.Remote is { Length: > 0 } remote
            && (request.GitVersion ?? info.Commit) is { } commit
            && entry is not null
            && GitSource.IsRemote(remote, context.WorkingFolder)
        )
        {
            return JobSource.Repository(GitSource.WithoutLogin(remote), LaunchUri.CheckRef(commit), entry, python) with
            {
                Requirements = Encoding.UTF8.GetString(requirements),
                Patch = request.GitVersion is null
                    ? await record.FileAsync("diff.patch", GitPatch.MaxBytes, token)
                    : null,
            };
        }

        return metadata.Docker is { } image
            ? JobSource.Image(image)
            : throw NotPossible(
                $"The run {_run} has neither a git commit nor a docker image, so no job can be made of it. Make one of the folder with its code: New-WandbLaunchJob <folder>"
            );
    }

    private LaunchException NotPossible(string why) =>
        new("JobNotPossible", LaunchErrorCategory.InvalidData, why, _run.ToString());

    private static bool IsOf(string host, WandbConnection connection) =>
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
}
