using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Resources;
using WandbLaunch.Wandb;

namespace WandbLaunch.Agents;

/// <summary>From an acknowledged item to a run that is handed over, or to why there is none.</summary>
internal sealed class ItemStart(LaunchAgent agent, AgentItem item)
{
    // What a cluster took away from a program that ran. It is launched anew under its run's id, and goes on where it left off if it can.
    internal static readonly HashSet<string> Disruptions = ["RunDisrupted", "SlurmNodeFailed", "SlurmPreempted"];

    // Failures of the machine, the network or an engine. A program that fails, a wrong commit or a missing package stays what it is.
    internal static readonly HashSet<string> MachineFaults =
    [
        "DockerUnavailable",
        "KubernetesUnavailable",
        "KubernetesQuotaExceeded",
        "SlurmUnavailable",
        "SlurmHostUnreachable",
        "DiskFull",
        "GitFetchFailed",
        "ServerError",
        "ServerTimeout",
        "RateLimited",
        "HostUnreachable",
        "HostNotFound",
        "ConnectionFailed",
        "ServerAnswerInvalid",
        "HostFailed",
        "MachineFailed",
        "RegistryUnavailable",
        "SlurmLaunchFailed",
        .. Disruptions,
    ];

    internal async Task StartAsync()
    {
        try
        {
            if (LeftBehind())
            {
                item.Save(item.Entry with { State = EntryState.Started });
                return;
            }

            await CheckSweepAsync();
            var limits = await agent.LimitsOfAsync(item.Entry);
            using var late = new CancellationTokenSource(TimeToStart(limits), agent.Time);
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(agent.Stopping, late.Token);

            try
            {
                await LeaveWhenHungAsync(PrepareAndStartAsync(limits, limit.Token), limit.Token);
            }
            catch (OperationCanceledException) when (!agent.Stopping.IsCancellationRequested)
            {
                if (limits.Start is { } longest && agent.Time.GetUtcNow() - item.Entry.Asked >= longest)
                {
                    throw new LaunchException(
                        RunLimits.StartFault,
                        LaunchErrorCategory.OperationTimeout,
                        $"The run was not started: {RunLimits.StartIsOver(longest, item.Doing)}.",
                        null
                    );
                }

                throw new LaunchException(
                    "StartTimeout",
                    LaunchErrorCategory.OperationTimeout,
                    $"The run did not start within {agent.Config.StartTimeout!.Value.TotalSeconds:0} s (WANDB_LAUNCH_START_TIMEOUT); it was {item.Doing}.",
                    null
                );
            }
        }
        catch (OperationCanceledException) when (agent.Stopping.IsCancellationRequested)
        {
            item.Finish(
                new EntryReport(
                    "STOPPED",
                    null,
                    "The agent was stopped before the run began. Queue it again.",
                    "agent",
                    null
                ),
                AgentEventKind.RunStopped,
                "stopped before it began",
                null
            );
        }
        catch (Exception e)
        {
            await FailedAsync(
                e as LaunchException
                    ?? new LaunchException(
                        e is IOException or HttpRequestException ? "MachineFailed" : "Unexpected",
                        LaunchErrorCategory.InvalidOperation,
                        e.Message,
                        null,
                        e
                    ),
                "build"
            );
        }
        finally
        {
            item.LetHostGo();
        }
    }

    // The admin's patience counts from each try, a start limit from when the item was taken.
    private TimeSpan TimeToStart(RunLimits limits)
    {
        var left = limits.Start - (agent.Time.GetUtcNow() - item.Entry.Asked);
        var most = agent.Config.StartTimeout;
        return left is { } own && (most is null || own < most)
            ? own > TimeSpan.Zero
                ? own
                : TimeSpan.Zero
            : most ?? Timeout.InfiniteTimeSpan;
    }

    // A fetch from a host that accepts and never answers cannot be cancelled; it is left behind, and nothing starts after it.
    private async Task LeaveWhenHungAsync(Task work, CancellationToken token)
    {
        try
        {
            await work.WaitAsync(token);
        }
        catch (OperationCanceledException) when (!work.IsCompleted)
        {
            await Task.WhenAny(work, Task.Delay(TimeSpan.FromSeconds(5), agent.Time, CancellationToken.None));
            if (!work.IsCompleted)
            {
                _ = work.ContinueWith(
                    static t => t.Exception,
                    CancellationToken.None,
                    TaskContinuationOptions.OnlyOnFaulted,
                    TaskScheduler.Default
                );
                throw;
            }

            await work;
        }
    }

    /// <summary>True when the launch was started before, here or by an agent that is gone: it must not be started again. Half-made ones are cleared away.</summary>
    private bool LeftBehind()
    {
        if (!Directory.Exists(item.Folder))
        {
            return false;
        }

        var run = LaunchStore.Load(item.Folder);
        using (var held = FileLock.TryEnter(LaunchStore.LockPath(item.Folder)))
        {
            if (
                held is null
                || (
                    run is not null
                    && (run.State != LaunchState.Starting || File.Exists(LaunchStore.StartedPath(item.Folder)))
                )
            )
            {
                return true;
            }
        }

        LaunchCache.DeleteFolder(item.Folder);
        return false;
    }

    private async Task PrepareAndStartAsync(RunLimits limits, CancellationToken token)
    {
        var host = item.Expect();
        var (config, options) = ItemPreparation.Prepare(agent, item.Entry);
        options = options with { Limits = limits, Asked = item.Entry.Asked };
        var launcher = new Launcher(agent.Runs, _ => Task.FromResult<WandbConnection?>(agent.Connection))
        {
            Progress = new CallbackProgress(p =>
            {
                item.Doing = p.Text;
                agent.Status(item.Describe());
            }),
        };
        var prepared = await launcher.PrepareAsync(config, options, Path.GetTempPath(), token);
        foreach (var warning in prepared.Warnings)
        {
            agent.Tell(AgentEventKind.Warning, item.Entry, warning);
            await agent.OnceAsync(t => agent.Protocol.WarnAsync(item.Entry.Item, warning, "build", [], t));
        }

        agent.Step("prepared");
        item.Doing = "starting";
        await agent.Supervision.TakeOnAsync(prepared.Folder, prepared.Spec, prepared.Secrets, token, host);
        item.HandedOver = true;
        agent.Step("handed over");
        item.Save(item.Entry with { State = EntryState.Started });
        agent.Step("started");
    }

    // Protocol F.4, row 7; servers that know no sweeps have none to check.
    private async Task CheckSweepAsync()
    {
        if (item.Entry.Config.SweepId is not { } sweep || !agent.Protocol.HasSweeps)
        {
            return;
        }

        var state = await agent.AskAsync(
            t => agent.Protocol.SweepStateAsync(item.Entry.RunEntity, item.Entry.Config.Project ?? "", sweep, t),
            agent.Stopping
        );
        if (state is not ("RUNNING" or "PAUSED"))
        {
            throw new LaunchException(
                "SweepEnded",
                LaunchErrorCategory.InvalidOperation,
                $"The sweep {sweep} is {state ?? "gone"}, so this run of it is not started.",
                sweep
            );
        }
    }

    /// <summary>A failure before the program ran: tried again when the machine is to blame, else reported.</summary>
    /// <param name="fault">What failed.</param>
    /// <param name="stage">Where.</param>
    /// <param name="run">What was launched, where it came so far.</param>
    internal async Task FailedAsync(LaunchException fault, string stage, LaunchedRun? run = null)
    {
        item.LetHostGo();
        if (await TryAgainAsync(fault.ErrorId, fault.Message, run))
        {
            return;
        }

        item.Finish(
            new EntryReport(
                "FAILED",
                null,
                fault.Message,
                fault.ErrorId is AgentPolicy.Refusal or "StartTimeout" or "SweepEnded" or RunLimits.StartFault
                    ? "agent"
                    : stage,
                null
            ),
            fault.ErrorId == AgentPolicy.Refusal ? AgentEventKind.ItemRefused : AgentEventKind.ItemFailed,
            fault.Message,
            null,
            fault.ErrorId
        );
    }

    /// <summary>Tries an item again after a failure of the machine, for as often as the agent may. False when it may not.</summary>
    /// <param name="errorId">What failed.</param>
    /// <param name="message">The same in words.</param>
    /// <param name="run">What was launched, where it came so far.</param>
    internal async Task<bool> TryAgainAsync(string errorId, string message, LaunchedRun? run)
    {
        if (
            !MachineFaults.Contains(errorId)
            || item.Entry.Attempt >= agent.Config.MaxRetry
            || agent.Mode is not (AgentMode.Working or AgentMode.Asked or AgentMode.Done)
        )
        {
            return false;
        }

        var (folder, attempt) = (item.Folder, item.Entry.Attempt + 1);
        var pause = agent.Callbacks.RetryPause(attempt);

        // A cluster had a job for it: the next one has another name, and what is known of this one stays.
        var lost = run is { Handle: not null } && agent.Runs.Resources.Get(run.Resource).Info.Queues;
        item.Save(
            item.Entry with
            {
                State = EntryState.Claimed,
                Attempt = attempt,
                Disruptions = item.Entry.Disruptions + (lost ? 1 : 0),
                Disrupted = lost ? run!.Reason ?? message : item.Entry.Disrupted,
                Again = lost ? agent.Time.GetUtcNow() : item.Entry.Again,
            }
        );
        var told = $"{message} Tried again in {pause.TotalSeconds:0} s ({attempt} of {agent.Config.MaxRetry}).";
        agent.Tell(AgentEventKind.Retry, item.Entry, told, fault: errorId);
        item.Doing = "waiting for another try";
        item.Since = null;
        agent.LeaveSlot(item);
        if (lost)
        {
            await agent.OnceAsync(t => agent.Protocol.NoteRunAsync(item.Entry.Item, run!.EngineId, told, t));
        }

        try
        {
            await Task.Delay(pause, agent.Time, agent.Stopping);
            await agent.EnterSlotAsync(item, agent.Stopping);
        }
        catch (OperationCanceledException)
        {
            // StartAsync says that it was stopped.
        }

        if (!lost)
        {
            LaunchCache.DeleteFolder(folder);
        }

        return true;
    }
}
