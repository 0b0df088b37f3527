using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>The run that tells which keys there are, where the command names none.</summary>
internal static class KnownRun
{
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
