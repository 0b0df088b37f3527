using System.Text.Json.Nodes;
using Polly;
using Polly.Retry;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.Agents;

/// <summary>Tells the server how an item ended.</summary>
internal sealed class ItemReport(LaunchAgent agent, AgentItem item)
{
    private const int MostRequeues = 5;
    private const int MostRefusals = 4;
    private const int MostLogBytes = 1 << 20;

    internal async Task ReportAsync()
    {
        var report = item.Entry.Report!;
        var run = LaunchStore.Load(item.Folder);
        var ran = report.Stage == "run" && run?.Started is not null;
        var warning = (string?)null;
        if (ran && item.Entry.RunEntity == agent.Entity)
        {
            // Whether it became a W&B run at all (protocol F.5).
            var state = await RunStateAsync(item.RunPathOf(run!));
            if (
                state is "preempted" or "preempting"
                && report.State == "FAILED"
                && (item.Entry.Config.ResumeCount ?? 0) < MostRequeues
            )
            {
                try
                {
                    var again = await RequeueAsync();
                    report = report with
                    {
                        State = "STOPPED",
                        Message = $"The run was preempted; it goes on as item {again}.",
                    };
                    agent.Tell(AgentEventKind.Requeued, item.Entry, report.Message!, run);
                }
                catch (LaunchException e)
                {
                    report = report with
                    {
                        Message = $"The run was preempted, and could not be queued again: {e.Message}",
                    };
                }
            }
            else if (state is null or "pending" && report.State != "STOPPED")
            {
                warning =
                    report.ExitCode == 0
                        ? "The program ended well but never called wandb.init, so there is no W&B run of it."
                        : "The program ended before it called wandb.init, so there is no W&B run of it.";
                report =
                    agent.Protocol.ItemsTellTheirEnd || report.State == "FAILED"
                        ? report
                        : report with
                        {
                            State = "FAILED",
                            Message = warning,
                        };
            }
        }

        if (
            item.IsScheduler
            && report.State == "FAILED"
            && !await agent.OnceAsync(t =>
                agent.Protocol.CancelSweepAsync(
                    item.Entry.RunEntity,
                    item.Entry.Config.Project ?? "",
                    item.Entry.RunId,
                    t
                )
            )
        )
        {
            agent.Tell(
                AgentEventKind.Warning,
                item.Entry,
                $"The sweep {item.Entry.RunId} could not be set to CANCELED, though its scheduler failed; do so on its page."
            );
        }

        var files = report.State == "FAILED" ? await UploadAsync("error", report) : [];
        var end = new ItemEnd(
            item.Entry.Item,
            report.State,
            new RunPath(item.Entry.RunEntity, run?.Project ?? agent.QueueProject, item.Entry.RunId)
        )
        {
            ExitCode = report.ExitCode,
            Message = report.Message,
            Stage = report.Stage,
            Files = files,
            Warning = warning,
            RunShowsIt = ran && warning is null,
            EngineId = run?.EngineId,
            Reason = item.ReasonOf(run),
        };
        await ReportAsync(t => agent.Protocol.ReportEndAsync(end, t));
    }

    /// <summary>Tells the server how the item ended. One that does not take it, for the item was deleted or is not this key's, is not asked for ever.</summary>
    internal async Task ReportAsync(Func<CancellationToken, Task> tell)
    {
        try
        {
            await agent.AskAsync(
                async t =>
                {
                    await tell(t);
                    return true;
                },
                agent.Closed,
                MostRefusals
            );
        }
        catch (LaunchException e)
        {
            agent.Tell(
                AgentEventKind.Warning,
                item.Entry,
                $"The server does not take the report of this item: {e.Message}",
                fault: e.ErrorId
            );
        }
    }

    private async Task<string?> RunStateAsync(RunPath path)
    {
        // Our own server is asked once: there the run is made before wandb.init returns. W&B's may lag.
        var pipeline = new ResiliencePipelineBuilder<string?> { TimeProvider = agent.Time }
            .AddRetry(
                new RetryStrategyOptions<string?>
                {
                    MaxRetryAttempts = 6,
                    ShouldHandle = args =>
                        ValueTask.FromResult(
                            args.Outcome is { Exception: null, Result: null or "pending" }
                                && !agent.Protocol.ItemsTellTheirEnd
                        ),
                    DelayGenerator = args =>
                        ValueTask.FromResult<TimeSpan?>(agent.Callbacks.RunPause(args.AttemptNumber)),
                }
            )
            .Build();
        return await pipeline.ExecuteAsync(
            async _ =>
            {
                string? state = null;
                await agent.OnceAsync(async t => state = await agent.Api.RunStateAsync(path, t));
                return state;
            },
            agent.Closed
        );
    }

    // Protocol F.5, preempted: the same run, once more, without its sweep. An agent that was killed in between finds the copy.
    private async Task<string> RequeueAsync()
    {
        var spec = (JsonObject)item.Entry.Spec.DeepClone();
        var count = (item.Entry.Config.ResumeCount ?? 0) + 1;
        spec["run_id"] = item.Entry.RunId;
        spec["_resume_count"] = count;
        spec.Remove("sweep_id");
        spec.Remove("_wandb_api_key");
        var queue = new WandbRunQueue
        {
            Id = item.Entry.QueueId,
            Name = item.Entry.Queue,
            Entity = item.Entry.Entity,
            QueueProject = item.Entry.QueueProject,
        };
        return await agent.AskAsync(
            async t =>
            {
                if (item.Adopted && agent.Protocol.ItemsShowTheirConfig)
                {
                    await foreach (var other in agent.QueueApi.ItemsAsync(queue, [], t))
                    {
                        var config = LaunchConfig.Tolerant(other.Spec);
                        if (config.RunId == item.Entry.RunId && config.ResumeCount == count)
                        {
                            return other.Id;
                        }
                    }
                }

                var pushed = (
                    await agent.QueueApi.PushAsync(
                        item.Entry.Entity,
                        item.Entry.QueueProject,
                        item.Entry.Queue,
                        null,
                        [new QueuePush(spec)],
                        t
                    )
                )[0];
                return pushed.Id ?? throw pushed.Fault!;
            },
            agent.Closed,
            MostRefusals
        );
    }

    // Protocol F.5: <item>/<type>/<name> in the agent's own run.
    private async Task<IReadOnlyList<string>> UploadAsync(string kind, EntryReport report)
    {
        if (agent.LogRun is not { } run)
        {
            return [];
        }

        var text = Secrets.Mask(
            report.LogPath is not null && File.Exists(report.LogPath) ? Tail(report.LogPath) : report.Message ?? ""
        );
        if (text.Length == 0)
        {
            return [];
        }

        // An id with a path in it would be a file of another name.
        var folder = item.Entry.Item.All(c => char.IsAsciiLetterOrDigit(c) || c is '=' or '-' or '_' or ':')
            ? item.Entry.Item
            : item.Entry.LaunchId;
        var name = $"{folder}/{kind}/{kind}.log";
        var bytes = System.Text.Encoding.UTF8.GetBytes(text);
        return await agent.OnceAsync(t => agent.Api.UploadFilesAsync(run, [(name, () => new MemoryStream(bytes))], t))
            ? [name]
            : [];
    }

    private static string Tail(string path)
    {
        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        stream.Seek(-Math.Min(MostLogBytes, stream.Length), SeekOrigin.End);
        FileModes.SkipRestOfCharacter(stream);
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }
}
