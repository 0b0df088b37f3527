using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.Sources;

/// <summary>An image that holds its own code (protocol D.2, first row).</summary>
internal sealed class ImageSource(string image) : ILaunchSource
{
    public string Shown => image;

    public string? Project => null;

    public bool CountsBesideImage => true;

    internal static ILaunchSource? TryParse(SourceRequest request) =>
        request.Config.DockerImage is { } image ? new ImageSource(image) : null;

    public void CheckPolicy(SourcePolicy policy) => policy.CheckImage(image);

    public Task<ResolvedRun> ResolveAsync(LaunchConfig config, ResolveContext context, CancellationToken token) =>
        Task.FromResult(
            new ResolvedRun
            {
                EntryPoint = config.EntryPoint ?? [],
                Arguments = ArgumentSet.Apply([], config.Args),
                Project = context.Job?.Job.Project ?? ResolvedRun.NoProject,
            }
        );

    public Task<JobSource> ToJobAsync(JobRequest request, ResolveContext context, CancellationToken token) =>
        Task.FromResult(JobSource.Image(image));
}
