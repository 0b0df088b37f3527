using System.Collections.Concurrent;
using System.Threading.Channels;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Resources;

/// <summary>All watched runs of one Slurm: one question for all their jobs at a time, and none too often.</summary>
internal sealed class SlurmWatch(
    SlurmSites sites,
    SlurmLook look,
    string place,
    WatchedRuns runs,
    ConcurrentDictionary<string, byte> over,
    ChannelWriter<RunChange> changes
)
{
    private readonly Dictionary<string, RunStanding> _told = new(StringComparer.Ordinal);

    private IEnumerable<LaunchedRun> Mine => runs.All.Where(r => r.Handle!.Place == place);

    internal async Task RunAsync(CancellationToken token)
    {
        var pause = sites.Poll;
        while (!token.IsCancellationRequested)
        {
            var changed = runs.Changed;
            var mine = Mine.Where(r => !over.ContainsKey(r.Id)).ToList();
            foreach (var gone in _told.Keys.Except(mine.Select(r => r.Id)).ToList())
            {
                _told.Remove(gone);
            }

            if (mine.Count == 0)
            {
                await changed.WaitAsync(token);
                continue;
            }

            var standings = await TryLookAsync(mine, token);
            if (standings is null)
            {
                // Each call waits for its own limit; a controller that comes back is not to be met by a crowd.
                pause = pause * 2 < sites.MostPoll ? pause * 2 : sites.MostPoll;
            }
            else
            {
                pause = sites.Poll;
                foreach (var (id, standing) in standings)
                {
                    Tell(id, standing);
                }
            }

            await Task.Delay(pause, sites.Time, token);
        }
    }

    private async Task<IReadOnlyDictionary<string, RunStanding>?> TryLookAsync(
        IReadOnlyList<LaunchedRun> mine,
        CancellationToken token
    )
    {
        try
        {
            return await look.LookAsync(mine, token);
        }
        catch (Exception e) when (e is LaunchException or IOException)
        {
            // Away. That is no state of a run.
            return null;
        }
    }

    private void Tell(string id, RunStanding standing)
    {
        if (_told.GetValueOrDefault(id) == standing)
        {
            return;
        }

        _told[id] = standing;
        if (standing.End is not null)
        {
            over.TryAdd(id, 0);
        }

        changes.TryWrite(new RunChange(id, standing));
    }
}
