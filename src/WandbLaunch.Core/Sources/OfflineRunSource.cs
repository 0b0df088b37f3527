using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.Sources;

/// <summary>A run in the folder that the SDK left on this machine.</summary>
internal sealed class OfflineRunSource(string folder, string text) : ILaunchSource
{
    public string Shown => folder;

    public string? Project => null;

    public bool CountsBesideImage => true;

    internal static ILaunchSource? TryParse(SourceRequest request) =>
        request.Address is { Kind: LaunchUriKind.OfflineRun } address
            ? new OfflineRunSource(address.Location, address.Text)
            : null;

    public void CheckPolicy(SourcePolicy policy) => FolderSource.RefuseFolder(policy);

    public LaunchConfig ForQueue(LaunchConfig config, string appUrl) =>
        throw new LaunchException(
            "FolderCannotBeQueued",
            LaunchErrorCategory.InvalidArgument,
            $"The run folder {folder} is only on this machine, and the agent may run on another, so it cannot be queued. Import it first: Import-WandbRun '{folder}' | Add-WandbLaunchQueueItem.",
            config.Uri
        );

    public LaunchConfig Again(LaunchConfig config, string? commit) => config with { Uri = folder };

    public Task<ResolvedRun> ResolveAsync(LaunchConfig config, ResolveContext context, CancellationToken token)
    {
        context.Progress.Report($"resolving {Secrets.Mask(text)}");
        return RecordedRun.ResolveAsync(text, new FolderRunRecord(folder), config, context, token);
    }

    public Task<JobSource> ToJobAsync(JobRequest request, ResolveContext context, CancellationToken token) =>
        throw new LaunchException(
            "InputNotSupported",
            LaunchErrorCategory.InvalidArgument,
            $"No job can be made of {text}. Import it first: Import-WandbRun '{folder}' | New-WandbLaunchJob",
            text
        );
}
