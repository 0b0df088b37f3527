using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>The run that tells which keys there are, where the command names none.</summary>
internal static class KnownRun
{
    /// <summary>Where the newest run of a project is.</summary>
    /// <exception cref="LaunchException"><c>RunNotFound</c>: the project has none.</exception>
    internal static async Task<RunPath> NewestPathAsync(
        (WandbConnection Server, string Entity, string Project) place,
        CancellationToken token
    ) =>
        await NewestAsync(place, token) is { } run
            ? new RunPath(place.Entity, place.Project, run.Id)
            : throw new LaunchException(
                "RunNotFound",
                LaunchErrorCategory.ObjectNotFound,
                $"There is no run in {place.Entity}/{place.Project} yet.",
                $"{place.Entity}/{place.Project}"
            );

    /// <summary>The newest run of a project, or null.</summary>
    internal static async Task<WandbRun?> NewestAsync(
        (WandbConnection Server, string Entity, string Project) place,
        CancellationToken token
    )
    {
        await foreach (
            var run in place.Server.Api.RunsAsync(
                place.Entity,
                place.Project,
                null,
                null,
                1,
                place.Server.AppUrl,
                token
            )
        )
        {
            return run;
        }

        return null;
    }
}
