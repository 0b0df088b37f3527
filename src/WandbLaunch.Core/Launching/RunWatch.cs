using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Launching;

/// <summary>Waits for the ends of runs: one watch of each resource, however many of its runs are waited for in this process.</summary>
internal sealed class RunWatch(Func<string, ILaunchResource> resourceOf, TimeProvider? time = null)
{
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);

    private readonly TimeProvider _time = time ?? TimeProvider.System;
    private readonly object _lock = new();
    private readonly Dictionary<string, Group> _groups = new(StringComparer.Ordinal);

    /// <summary>How a run ended. Cancelling ends the waiting, not the run.</summary>
    /// <param name="run">The run.</param>
    /// <param name="changed">Told how it stands before that, where its resource says so.</param>
    /// <param name="token">Cancels.</param>
    internal async Task<RunOutcome> EndOfAsync(LaunchedRun run, Action<RunStanding> changed, CancellationToken token)
    {
        var end = new Awaited(changed);
        lock (_lock)
        {
            if (!_groups.TryGetValue(run.Resource, out var group))
            {
                _groups[run.Resource] = group = new Group();
                _ = PumpAsync(resourceOf(run.Resource), group);
            }

            group.Ends[run.Id] = end;
            group.Runs.Add(run);
        }

        try
        {
            return await end.End.Task.WaitAsync(token);
        }
        finally
        {
            lock (_lock)
            {
                if (_groups.TryGetValue(run.Resource, out var group) && group.Ends.GetValueOrDefault(run.Id) == end)
                {
                    group.Ends.Remove(run.Id);
                    group.Runs.Remove(run.Id);
                    if (group.Ends.Count == 0)
                    {
                        _groups.Remove(run.Resource);
                        group.Over.Cancel();
                    }
                }
            }
        }
    }

    private async Task PumpAsync(ILaunchResource resource, Group group)
    {
        await Task.Yield();
        while (!group.Over.IsCancellationRequested)
        {
            try
            {
                await foreach (var change in resource.WatchAsync(group.Runs, group.Over.Token))
                {
                    Awaited? awaited;
                    lock (_lock)
                    {
                        group.Ends.TryGetValue(change.Id, out awaited);
                    }

                    if (change.Standing.End is { } end)
                    {
                        awaited?.End.TrySetResult(end);
                    }
                    else
                    {
                        awaited?.Changed(change.Standing);
                    }
                }
            }
            catch (OperationCanceledException) when (group.Over.IsCancellationRequested)
            {
                return;
            }
            catch (Exception e) when (e is not OutOfMemoryException)
            {
                // A watch that fails is begun again: nobody's run may be forgotten.
            }

            await Task.Delay(Pause, _time, CancellationToken.None);
        }
    }

    private sealed record Awaited(Action<RunStanding> Changed)
    {
        internal TaskCompletionSource<RunOutcome> End { get; } =
            new(TaskCreationOptions.RunContinuationsAsynchronously);
    }

    private sealed class Group
    {
        internal WatchedRuns Runs { get; } = new();

        internal Dictionary<string, Awaited> Ends { get; } = new(StringComparer.Ordinal);

        internal CancellationTokenSource Over { get; } = new();
    }
}
