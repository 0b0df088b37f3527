using System.Collections.Concurrent;
using WandbLaunch.Model;

namespace WandbLaunch.Resources;

/// <summary>The runs of one resource whose ends are waited for: they come and go while they are watched.</summary>
internal sealed class WatchedRuns
{
    private readonly ConcurrentDictionary<string, LaunchedRun> _runs = new(StringComparer.Ordinal);
    private volatile TaskCompletionSource _changed = NewSignal();

    /// <summary>Those that are there now.</summary>
    internal ICollection<LaunchedRun> All => _runs.Values;

    internal int Count => _runs.Count;

    /// <summary>Done when runs came since it was asked for: ask before looking at <see cref="All"/>.</summary>
    internal Task Changed => _changed.Task;

    internal LaunchedRun? Find(string id) => _runs.GetValueOrDefault(id);

    internal void Add(LaunchedRun run)
    {
        _runs[run.Id] = run;
        Signal();
    }

    internal void Remove(string id) => _runs.TryRemove(id, out _);

    private void Signal() => Interlocked.Exchange(ref _changed, NewSignal()).TrySetResult();

    private static TaskCompletionSource NewSignal() => new(TaskCreationOptions.RunContinuationsAsynchronously);
}
