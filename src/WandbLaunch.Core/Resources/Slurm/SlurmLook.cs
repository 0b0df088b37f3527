using System.Collections.Concurrent;
using System.Globalization;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Resources;

/// <summary>
/// One look at many runs of one Slurm: squeue for all, then accounts where the cluster keeps them, then what the runs wrote
/// themselves, each only for what is not known yet.
/// </summary>
internal sealed class SlurmLook(SlurmSites sites, string place)
{
    // Runs whose job is not the one that was found first.
    private readonly ConcurrentDictionary<string, SlurmKey> _other = new(StringComparer.Ordinal);
    private bool _noAccounts;

    /// <summary>The job of a run.</summary>
    internal SlurmKey? KeyOf(LaunchedRun run) =>
        _other.TryGetValue(run.Id, out var other) ? other : SlurmKey.Parse(run.Handle?.Id ?? "");

    /// <summary>The run is nobody's any more.</summary>
    internal void Forget(string id) => _other.TryRemove(id, out _);

    /// <summary>How they stand. One of which nothing is known now is left out. Null: Slurm cannot be asked now.</summary>
    /// <exception cref="LaunchException">It cannot be reached.</exception>
    internal async Task<IReadOnlyDictionary<string, RunStanding>?> LookAsync(
        IReadOnlyCollection<LaunchedRun> runs,
        CancellationToken token
    )
    {
        var site = sites.Get(place);
        var (root, _) = await site.OpenAsync(token);
        var keys = runs.Select(r => (Run: r, Key: KeyOf(r)))
            .Where(r => r.Key is not null)
            .Select(r => (r.Run, Key: r.Key!.Value))
            .ToList();
        if (keys.Count == 0)
        {
            return new Dictionary<string, RunStanding>();
        }

        if (await site.QueueAsync([.. keys.Select(k => k.Key.Id).Distinct().Order()], token) is not { } jobs)
        {
            return null;
        }

        var known = new SlurmIndex(jobs);
        var absent = keys.Where(k => known.Find(k.Key) is null).ToList();
        var accounts = absent.Count > 0 ? await AccountsAsync(site, absent.Select(a => a.Key.Id), token) : null;
        var asked = keys.Where(k => (known.Find(k.Key) ?? accounts?.Find(k.Key)) is not { IsOver: false }).ToList();
        var markers =
            asked.Count > 0
                ? await MarkersAsync(
                    site,
                    root,
                    asked.Select(k => ((known.Find(k.Key) ?? accounts?.Find(k.Key)) is null ? "-" : "") + k.Run.Id),
                    token
                )
                : new Dictionary<string, SlurmMarker>();
        var standings = new Dictionary<string, RunStanding>(StringComparer.Ordinal);
        foreach (var (run, key) in keys)
        {
            var marker = markers.GetValueOrDefault(run.Id);
            if (marker?.Key is { } begun && begun != key)
            {
                // Its own job found it begun by the other one, and did nothing.
                _other[run.Id] = begun;
                standings[run.Id] = SlurmStanding.Of(marker, sites.Grace) is { ExitCode: not null } told
                    ? RunStanding.Ended(told)
                    : RunStanding.Runs;
            }
            else if ((known.Find(key) ?? accounts?.Find(key)) is { } job)
            {
                standings[run.Id] = SlurmStanding.Of(job, marker);
            }
            else if (SlurmStanding.Of(marker, sites.Grace) is { } end)
            {
                standings[run.Id] = RunStanding.Ended(end);
            }
        }

        return standings;
    }

    private static async Task<IReadOnlyDictionary<string, SlurmMarker>> MarkersAsync(
        SlurmSite site,
        string root,
        IEnumerable<string> ids,
        CancellationToken token
    )
    {
        var result = await site.RunAsync(SlurmScripts.Markers, [root, .. ids], token);
        return result.Succeeded ? SlurmMarker.Read(result.Output) : new Dictionary<string, SlurmMarker>();
    }

    private async Task<SlurmIndex?> AccountsAsync(SlurmSite site, IEnumerable<long> ids, CancellationToken token)
    {
        if (_noAccounts)
        {
            return null;
        }

        var list = string.Join(',', ids.Distinct().Order().Select(i => i.ToString(CultureInfo.InvariantCulture)));
        var result = await site.RunAsync(
            SlurmScripts.Accounting,
            ["-n", "-X", "-P", "--format=" + SlurmReader.SacctFormat, "-j", list],
            token
        );
        _noAccounts = result.ExitCode == 71;
        return result.Succeeded ? new SlurmIndex(SlurmReader.Accounting(result.Output)) : null;
    }
}

/// <summary>Jobs by what they are known by.</summary>
internal sealed class SlurmIndex
{
    private readonly Dictionary<SlurmKey, SlurmJob> _jobs = [];
    private readonly Dictionary<long, SlurmJob> _waiting = [];

    internal SlurmIndex(IEnumerable<SlurmJob> jobs)
    {
        foreach (var job in jobs)
        {
            if (job.Waiting is not null || job.Key.Task is null)
            {
                _waiting[job.Key.Id] = job;
            }

            if (job.Waiting is null)
            {
                _jobs[job.Key] = job;
            }
        }
    }

    /// <summary>The job, or the record of its array that stands for all tasks that wait.</summary>
    internal SlurmJob? Find(SlurmKey key) =>
        _jobs.TryGetValue(key, out var job) ? job
        : key.Task is { } task && _waiting.TryGetValue(key.Id, out var rest) && rest.Waiting?.Has(task) == true ? rest
        // A list that was cut off may hold it; those that are over are not in it, so that it waits or is forgotten.
        : key.Task is not null && _waiting.TryGetValue(key.Id, out var cut) && cut.Waiting?.IsCut == true ? cut
        : null;
}
