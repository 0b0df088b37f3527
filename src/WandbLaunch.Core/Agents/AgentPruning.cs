using WandbLaunch.Launching;

namespace WandbLaunch.Agents;

/// <summary>Months of runs must not fill the disk: launches of agents go after a while.</summary>
internal sealed class AgentPruning(AgentConfig config, LaunchStore launches, TimeProvider time)
{
    internal void Prune()
    {
        if (config.KeepLogDays == 0)
        {
            return;
        }

        var oldest = time.GetUtcNow().AddDays(-config.KeepLogDays);
        foreach (
            var run in launches.Known().Where(r => r.Agent is not null && r.IsDone && r.Finished < oldest).ToList()
        )
        {
            try
            {
                launches.Remove(run.Id);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Open somewhere; the next start tries again.
            }
        }
    }
}
