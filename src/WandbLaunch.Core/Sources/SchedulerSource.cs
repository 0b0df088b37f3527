using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Sources;

/// <summary>The scheduler of a sweep: a command, and no code (protocol D.3, last row).</summary>
internal sealed class SchedulerSource(string placeholder) : ILaunchSource
{
    public string Shown => placeholder;

    public string? Project => null;

    public bool CountsBesideImage => true;

    internal static ILaunchSource? TryParse(SourceRequest request) =>
        request.Config.IsScheduler ? new SchedulerSource(request.Config.Uri!) : null;

    // What it may run is the policy's own rule: there is no place that its command comes from.
    public void CheckPolicy(SourcePolicy policy) { }

    public Task<ResolvedRun> ResolveAsync(LaunchConfig config, ResolveContext context, CancellationToken token) =>
        Task.FromResult(
            new ResolvedRun
            {
                Workspace = context.ScratchFolder(),
                EntryPoint =
                    config.EntryPoint
                    ?? throw new LaunchException(
                        "EntryPointMissing",
                        LaunchErrorCategory.InvalidData,
                        "The scheduler of a sweep has no entry point.",
                        placeholder
                    ),
                Arguments = ArgumentSet.Apply([], config.Args),
            }
        );
}
