using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;

namespace WandbLaunch.Agents;

/// <summary>Looks after a started run until it is over.</summary>
internal sealed class ItemWatch(LaunchAgent agent, AgentItem item, ItemStart start)
{
    private static readonly TimeSpan NoteAfter = TimeSpan.FromSeconds(1);

    private bool _late;

    internal async Task WatchAsync()
    {
        item.Doing = "starting";
        var told = item.Adopted && !item.HandedOver;
        var from = agent.Time.GetTimestamp();
        var asked = from;
        long? stopWanted = null;
        var stopSaid = false;
        string? waitsFor = null;
        (string?, string?) noted = (null, null);
        var revived = 0;
        while (true)
        {
            // What this agent looks after itself it need not read; its end counts when it is on disk.
            var own = Directory.Exists(item.Folder) ? agent.Supervision.Find(item.Folder) : null;
            var run = own is { IsDone: false }
                ? own
                : await agent.Runs.RefreshAsync(item.Folder, CancellationToken.None);
            if (run is null)
            {
                item.Finish(
                    new EntryReport(
                        "FAILED",
                        null,
                        "The launch was removed from the agent's machine while it ran; how it ended is not known.",
                        "run",
                        null
                    ),
                    AgentEventKind.RunFailed,
                    "its folder was removed",
                    null,
                    "LaunchRemoved"
                );
                return;
            }

            if (run.Started is not null && !told)
            {
                told = true;
                item.Since = run.Started;
                agent.Tell(AgentEventKind.RunStarted, item.Entry, run.Handle?.ToString() ?? "", run);
            }

            if (run.State == LaunchState.Pending && run.Reason != waitsFor)
            {
                waitsFor = run.Reason;
                await PendingAsync(run);
            }

            if (run.IsDone)
            {
                await EndedAsync(run);
                return;
            }

            // What is over within a moment says so at its end.
            var stands = (Engine: run.EngineId, Reason: item.ReasonOf(run));
            if (noted != stands && agent.Time.GetElapsedTime(from) > NoteAfter)
            {
                noted = stands;
                await agent.OnceAsync(t =>
                    agent.Protocol.NoteRunAsync(item.Entry.Item, stands.Engine, stands.Reason, t)
                );
            }

            if (own is null && !IsLookedAfter(run) && !await ReviveAsync(run, ++revived))
            {
                return;
            }

            // What must not happen again and again is asked for once; its supervisor does the rest.
            if (
                !stopSaid
                && (
                    agent.Stopping.IsCancellationRequested
                    || (stopWanted is { } since && agent.Time.GetElapsedTime(since) >= agent.Config.StoppedRunTimeout)
                    || (
                        run.State == LaunchState.Starting && agent.Time.GetElapsedTime(from) > agent.Config.StartTimeout
                    )
                )
            )
            {
                stopSaid = true;
                _late = run.State == LaunchState.Starting && !agent.Stopping.IsCancellationRequested;
                LaunchStore.AskStop(item.Folder);
            }

            if (agent.Mode == AgentMode.Detaching)
            {
                throw new OperationCanceledException();
            }

            if (stopWanted is null && agent.Time.GetElapsedTime(asked) > TimeSpan.FromSeconds(10) && told)
            {
                // A stop of the run that was asked for in W&B: the SDK ends it, and if it does not, the agent does (protocol F.5).
                asked = agent.Time.GetTimestamp();
                await agent.OnceAsync(async t =>
                    stopWanted = await agent.Api.RunStoppedAsync(item.RunPathOf(run), t)
                        ? agent.Time.GetTimestamp()
                        : null
                );
            }

            await Task.Delay(
                TimeSpan.FromMilliseconds(
                    agent.Time.GetElapsedTime(from).TotalSeconds switch
                    {
                        < 3 => 40,
                        < 60 => 250,
                        _ => 1000,
                    }
                ),
                agent.Time,
                CancellationToken.None
            );
        }
    }

    private async Task PendingAsync(LaunchedRun run)
    {
        var why = run.Reason ?? "it waits for its cluster";
        item.Doing = $"waiting: {why}";
        agent.Tell(AgentEventKind.RunPending, item.Entry, why, run);
        if (run.IsStuck)
        {
            await agent.OnceAsync(t =>
                agent.Protocol.WarnAsync(item.Entry.Item, $"The run {run.Id} does not start: {why}", "run", [], t)
            );
        }
    }

    // A supervisor holds the lock from before it says that it is there. A run that no engine remembers, and whose supervisor is gone, is looked after by its signs of life.
    private bool IsLookedAfter(LaunchedRun run)
    {
        if (run.State != LaunchState.Starting && !Remembered(run))
        {
            return true;
        }

        using var held = FileLock.TryEnter(LaunchStore.LockPath(item.Folder));
        return held is null;
    }

    private bool Remembered(LaunchedRun run) => agent.Runs.Resources.Get(run.Resource).Info.EngineRemembers;

    /// <summary>A new supervisor for a run whose own is gone: with its engine it goes on meanwhile.</summary>
    private async Task<bool> ReviveAsync(LaunchedRun run, int times)
    {
        if (run.State == LaunchState.Starting && !File.Exists(LaunchStore.StartedPath(item.Folder)))
        {
            // The supervisor never came to it, or no further than a container that has the launch's name and is found by it. Its secrets are gone, so it is prepared anew.
            item.Save(item.Entry with { State = EntryState.Claimed });
            return false;
        }

        if (times > 5 && !Remembered(run))
        {
            item.Finish(
                new EntryReport(
                    "FAILED",
                    null,
                    "The process that watches this run ends again and again.",
                    "run",
                    run.LogPath
                ),
                AgentEventKind.RunFailed,
                "its supervisor ends again and again",
                run,
                "HostFailed"
            );
            return false;
        }

        try
        {
            await agent.Supervision.TakeOverAsync(
                item.Folder,
                LaunchStore.LoadSpec(item.Folder),
                CancellationToken.None
            );
        }
        catch (Exception e) when (e is LaunchException or IOException)
        {
            // Tried again at the next look.
            await Task.Delay(TimeSpan.FromSeconds(1), agent.Time, CancellationToken.None);
        }

        return true;
    }

    private async Task EndedAsync(LaunchedRun run)
    {
        if (
            run.Started is null
            && run.State == LaunchState.Failed
            && ItemStart.MachineFaults.Contains(run.ErrorId ?? "")
        )
        {
            await start.FailedAsync(
                new LaunchException(
                    run.ErrorId!,
                    LaunchErrorCategory.ResourceUnavailable,
                    run.Reason ?? "it could not be started",
                    run
                ),
                "run",
                run
            );
            return;
        }

        if (
            run is { State: LaunchState.Failed, Started: not null, ErrorId: { } lost }
            && ItemStart.Disruptions.Contains(lost)
            && await start.TryAgainAsync(lost, $"The run {run.Id} was lost: {run.Reason}.", run)
        )
        {
            return;
        }

        foreach (var warning in run.Warnings)
        {
            agent.Tell(AgentEventKind.Warning, item.Entry, warning, run);
            await agent.OnceAsync(t => agent.Protocol.WarnAsync(item.Entry.Item, warning, "run", [], t));
        }

        var why =
            run.Reason
            ?? (run.ExitCode is { } code ? $"exit code {ExitCodes.Show(code)}" : "how it ended is not known");
        var (state, kind) = run.State switch
        {
            LaunchState.Finished => ("FINISHED", AgentEventKind.RunFinished),
            LaunchState.Stopped => ("STOPPED", AgentEventKind.RunStopped),
            _ => ("FAILED", AgentEventKind.RunFailed),
        };
        if (_late && run is { State: LaunchState.Stopped, Started: null })
        {
            (state, why) = ("FAILED", "It did not start in time (WANDB_LAUNCH_START_TIMEOUT).");
        }

        item.Finish(
            new EntryReport(
                state,
                run.ExitCode,
                state == "FINISHED"
                    ? null
                    : $"The run {item.Entry.RunId} of {run.Source} {(state == "STOPPED" ? "was stopped" : "failed")}: {why}",
                "run",
                run.LogPath
            ),
            kind,
            why
                + (
                    run.Duration is { } took
                        ? $" after {took.ToString(took.TotalDays >= 1 ? @"d\.hh\:mm\:ss" : @"hh\:mm\:ss", System.Globalization.CultureInfo.InvariantCulture)}"
                        : ""
                ),
            run
        );
        if (run.State == LaunchState.Finished)
        {
            // The copy of the code; what a run keeps is on the server and in its log.
            try
            {
                LaunchCache.DeleteFolder(Path.Combine(item.Folder, "src"));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Something that it started still sits there; the whole folder goes when its time is over.
            }
        }
    }
}
