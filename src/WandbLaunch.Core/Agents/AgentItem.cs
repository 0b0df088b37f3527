using System.Diagnostics;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Resources;
using WandbLaunch.Wandb;

namespace WandbLaunch.Agents;

/// <summary>One item on its road: claim, prepare, start, watch, report. Each step is in the journal before the next one begins.</summary>
internal sealed class AgentItem(LaunchAgent agent, JournalEntry entry, bool adopted)
{
    private const int MostRequeues = 5;
    private const int MostRefusals = 4;
    private const int MostLogBytes = 1 << 20;

    // Failures of the machine, the network or an engine. A program that fails, a wrong commit or a missing package stays what it is.
    private static readonly HashSet<string> MachineFaults =
    [
        "DockerUnavailable",
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
    ];

    private readonly CancellationToken _stop = agent.Stopping;
    private JournalEntry _entry = entry;
    private string _doing = "claiming";
    private DateTimeOffset? _since;
    private bool _handedOver;

    internal bool HoldsSlot { get; set; }

    internal bool IsReporting => _entry.State == EntryState.Ended;

    internal bool IsScheduler { get; } = Scheduler(entry.Spec);

    private string Folder => LaunchStore.Default.Folder(_entry.LaunchId);

    private static int ResumeCount(JsonObject spec) =>
        spec["_resume_count"] is JsonValue value && int.TryParse(value.ToString(), out var count) ? count : 0;

    internal static bool Scheduler(JsonObject spec) =>
        spec["uri"] is JsonValue uri && uri.ToString().StartsWith("placeholder", StringComparison.Ordinal);

    /// <summary>For the status line.</summary>
    internal string Describe() =>
        $"{ItemSpec.Shown(_entry.RunId, 64)} {(_since is { } from ? (DateTimeOffset.UtcNow - from).ToString(@"hh\:mm\:ss", System.Globalization.CultureInfo.InvariantCulture) : _doing)}";

    internal async Task RunAsync()
    {
        if (adopted)
        {
            agent.Tell(
                AgentEventKind.ItemAdopted,
                _entry,
                $"was left {_entry.State.ToString().ToLowerInvariant()} by an agent that ended"
            );
        }

        if (_entry.State == EntryState.Popped && !await ClaimAsync())
        {
            return;
        }

        while (_entry.State is EntryState.Claimed or EntryState.Started)
        {
            if (_entry.State == EntryState.Claimed)
            {
                await StartAsync();
            }

            if (_entry.State == EntryState.Started)
            {
                await WatchAsync();
            }
        }

        agent.LeaveSlot(this);
        agent.Gpus?.Release(_entry.LaunchId);
        await ReportAsync();
        agent.Journal.Remove(_entry.LaunchId);
        agent.Step("reported");
    }

    /// <summary>Checks the item against the policy, and makes it this agent's. False when it is not, or refused.</summary>
    private async Task<bool> ClaimAsync()
    {
        LaunchException? refusal = null;
        try
        {
            _ = Prepare();
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            // Whatever an item holds, it must fail with a reason, and not come back for ever.
            refusal =
                e as LaunchException
                ?? new LaunchException("Unexpected", LaunchErrorCategory.InvalidOperation, e.Message, null, e);
        }

        if (refusal is not null)
        {
            agent.Count(taken: true);
            var refused = refusal.ErrorId == AgentPolicy.Refusal;
            End(new EntryReport("FAILED", null, refusal.Message, "agent", null));
            agent.Tell(
                refused ? AgentEventKind.ItemRefused : AgentEventKind.ItemFailed,
                _entry,
                refusal.Message,
                fault: refusal.ErrorId
            );

            // Servers of 2022 are told by an ack with the run "None", so it must not have been acknowledged before.
            await ReportAsync(t =>
                agent.Protocol.FailAsync(_entry.Item, _entry.Report!.Message ?? "", "agent", [], false, t)
            );
            agent.Count(failed: true);
            agent.LeaveSlot(this);
            agent.Gpus?.Release(_entry.LaunchId);
            agent.Journal.Remove(_entry.LaunchId);
            return false;
        }

        var queue = new WandbRunQueue
        {
            Id = _entry.QueueId,
            Name = _entry.Queue,
            Entity = _entry.Entity,
            QueueProject = _entry.QueueProject,
        };
        var asked = adopted;
        bool mine;
        try
        {
            mine = await agent.AskAsync(
                t =>
                {
                    var before = asked;
                    asked = true;
                    return agent.Protocol.ClaimAsync(queue, _entry.Item, _entry.RunId, before, t);
                },
                _stop,
                MostRefusals
            );
        }
        catch (LaunchException e)
        {
            // An item of another entity, or one that was deleted: not this agent's.
            mine = false;
            agent.Tell(
                AgentEventKind.Warning,
                _entry,
                $"The item could not be acknowledged: {e.Message}",
                fault: e.ErrorId
            );
        }

        agent.Step("acknowledged");
        if (!mine)
        {
            // Its lease was over and somebody else has it.
            agent.Count(notOurs: true);
            agent.Gpus?.Release(_entry.LaunchId);
            agent.Journal.Remove(_entry.LaunchId);
            return false;
        }

        Save(_entry with { State = EntryState.Claimed });
        agent.Count(taken: true);
        agent.Tell(AgentEventKind.ItemTaken, _entry, QueueSpec.SourceOf(_entry.Spec) ?? "");
        agent.Step("claimed");
        return true;
    }

    /// <summary>The launch config and options that the item and the agent's settings make together.</summary>
    private (LaunchConfig Config, LaunchOptions Options) Prepare()
    {
        if (_entry.Fault is { } fault)
        {
            throw new LaunchException(
                "ItemInvalid",
                LaunchErrorCategory.InvalidData,
                $"The item's launch config cannot be used: {fault}.",
                _entry.Item
            );
        }

        var spec = (JsonObject)_entry.Spec.DeepClone();
        var key = Take("_wandb_api_key");
        var author = Take("author");
        var sweep = Take("sweep_id");
        foreach (
            var name in new[]
            {
                "queue_entity",
                "_resume_count",
                "template_variables",
                "build",
                "builder",
                "registry",
                "job_name",
            }
        )
        {
            spec.Remove(name);
        }

        if (!agent.Protocol.QueuesBelongToEntity && !Scheduler(spec))
        {
            // Agents of 2022 work for their own project alone (protocol F.4, row 4; K 7).
            foreach (var (name, own) in new[] { ("entity", agent.Entity), ("project", agent.QueueProject) })
            {
                if (
                    spec[name]?.ToString() is { Length: > 0 } other
                    && other != own
                    && _entry.State == EntryState.Popped
                )
                {
                    agent.Tell(
                        AgentEventKind.Warning,
                        _entry,
                        $"The item's {name} '{other}' is not this agent's; its run goes to '{own}'."
                    );
                }

                spec[name] = own;
            }
        }

        string? baseImage = null;
        if (spec["resource_args"] is JsonObject resources)
        {
            foreach (var arguments in resources.Select(r => r.Value).OfType<JsonObject>())
            {
                baseImage ??= arguments["builder"] is JsonObject builder
                    ? (builder["base_image"] ?? (builder["accelerator"] as JsonObject)?["base_image"])?.ToString()
                    : null;
                arguments.Remove("builder");
            }
        }

        CheckRunId(_entry.RunId);
        var config = ResourceNames.Canonical(LaunchConfig.FromJson(spec));
        config = config with
        {
            RunId = _entry.RunId,
            Entity = config.Entity ?? agent.Entity,
            BaseImage = config.BaseImage ?? baseImage,
        };
        (config, var volumes) = agent.Config.Policy.Check(config, agent.Entity, config.Entity!);

        // The agent's own image is its admin's choice, and needs no leave.
        config = config with
        {
            BaseImage = config.BaseImage ?? agent.Config.BaseImage,
            DockerArgs = OwnNames(config.DockerArgs),
            ResourceArgs = OwnNames(config.ResourceArgs?["local-container"] as JsonObject) is { } plain
                ? WithContainer(config.ResourceArgs!, plain)
                : config.ResourceArgs,
        };
        var environment = new Dictionary<string, string>(agent.Config.Launch.Environment)
        {
            ["WANDB_LAUNCH_QUEUE_NAME"] = _entry.Queue,
            ["WANDB_LAUNCH_QUEUE_ENTITY"] = agent.Entity,
            ["WANDB_LAUNCH_TRACE_ID"] = _entry.Item,
        };
        if (author is not null && key is null)
        {
            environment["WANDB_USERNAME"] = author;
        }

        if (sweep is not null)
        {
            environment["WANDB_SWEEP_ID"] = sweep;
        }

        if (ResumeCount(_entry.Spec) > 0)
        {
            environment["WANDB_RESUME"] = "allow";
        }

        if ((_entry.Spec["overrides"] as JsonObject)?["files"] is JsonObject { Count: > 0 } files)
        {
            environment["WANDB_LAUNCH_FILE_OVERRIDES"] = files.ToJsonString();
        }

        var options = agent.Config.Launch with
        {
            Agent = agent.Name,
            LaunchId = _entry.LaunchId,
            CheckRemote = agent.Config.Policy.CheckRemote,
            CheckImage = agent.Config.Policy.CheckImage,
            ApiKey = key is null ? null : Secrets.Register(key),
            KeepRunId = agent.Protocol.RunsKeepTheirId,
            Environment = environment,
            Volumes = [.. agent.Config.Launch.Volumes, .. volumes],
            ExtraDockerArguments = agent.Config.Policy.DockerArguments,
            CheckConfig = agent.Config.Policy.CheckSecure,
            SecureMode = agent.Config.Policy.SecureMode,
            Gpus = _entry.Gpus,
        };
        Launcher.Check(config, options);
        return (config, options);

        static void CheckRunId(string id)
        {
            if (
                id.Length > 128
                || id is "." or ".."
                || id.Any(c =>
                    char.IsControl(c) || char.IsWhiteSpace(c) || "/\\#?%:".Contains(c, StringComparison.Ordinal)
                )
            )
            {
                throw new LaunchException(
                    "RunIdInvalid",
                    LaunchErrorCategory.InvalidData,
                    "The item's run_id cannot be the id of a run: 128 characters at most, none of / \\ # ? % : and no spaces.",
                    ItemSpec.Shown(id, 128)
                );
            }
        }

        // Each becomes one variable of the program.
        string? Take(string name)
        {
            var node = spec[name];
            spec.Remove(name);
            return node switch
            {
                null => null,
                JsonValue value when value.ToString() is { Length: <= 1000 } text && !text.Any(char.IsControl) =>
                    text.Length > 0 ? text : null,
                _ => throw new LaunchException(
                    "ConfigInvalid",
                    LaunchErrorCategory.InvalidData,
                    $"The launch config key '{name}' must be a string of one line, 1000 characters at most.",
                    _entry.Item
                ),
            };
        }

        // A container is named after its item; and a GPU that another run has cannot be asked for by number.
        JsonObject? OwnNames(JsonObject? given)
        {
            if (given is null)
            {
                return null;
            }

            var map = (JsonObject)given.DeepClone();
            map.Remove("name");
            if (_entry.Gpus is not null && map.Remove("gpus"))
            {
                config = config with { Cuda = true };
            }

            return map;
        }

        static JsonObject WithContainer(JsonObject all, JsonObject container)
        {
            var map = (JsonObject)all.DeepClone();
            map["local-container"] = container;
            return map;
        }
    }

    private async Task StartAsync()
    {
        try
        {
            if (LeftBehind())
            {
                Save(_entry with { State = EntryState.Started });
                return;
            }

            await CheckSweepAsync();
            using var limit = CancellationTokenSource.CreateLinkedTokenSource(_stop);
            if (agent.Config.StartTimeout is { } longest)
            {
                limit.CancelAfter(longest);
            }

            try
            {
                await LeaveWhenHungAsync(PrepareAndStartAsync(limit.Token), limit.Token);
            }
            catch (OperationCanceledException) when (!_stop.IsCancellationRequested)
            {
                throw new LaunchException(
                    "StartTimeout",
                    LaunchErrorCategory.OperationTimeout,
                    $"The run did not start within {agent.Config.StartTimeout!.Value.TotalSeconds:0} s (WANDB_LAUNCH_START_TIMEOUT); it was {_doing}.",
                    null
                );
            }
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            Finish(
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
    }

    // A fetch from a host that accepts and never answers cannot be cancelled; it is left behind, and nothing starts after it.
    private static async Task LeaveWhenHungAsync(Task work, CancellationToken token)
    {
        try
        {
            await work.WaitAsync(token);
        }
        catch (OperationCanceledException) when (!work.IsCompleted)
        {
            await Task.WhenAny(work, Task.Delay(TimeSpan.FromSeconds(5), CancellationToken.None));
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
        if (!Directory.Exists(Folder))
        {
            return false;
        }

        var run = LaunchStore.Load(Folder);
        using (var gate = FileLock.TryEnter(LaunchStore.LockPath(Folder)))
        {
            if (
                gate is null
                || (
                    run is not null
                    && (run.State != LaunchState.Starting || File.Exists(LaunchStore.StartedPath(Folder)))
                )
            )
            {
                return true;
            }
        }

        LaunchCache.DeleteFolder(Folder);
        return false;
    }

    private async Task PrepareAndStartAsync(CancellationToken token)
    {
        var (config, options) = Prepare();
        var launcher = new Launcher(
            LaunchCache.Default,
            LaunchStore.Default,
            _ => Task.FromResult<WandbConnection?>(agent.Connection)
        )
        {
            Progress = (text, _) =>
            {
                _doing = text;
                agent.Status(Describe());
            },
        };
        var prepared = await launcher.PrepareAsync(config, options, Path.GetTempPath(), token);
        foreach (var warning in prepared.Warnings)
        {
            agent.Tell(AgentEventKind.Warning, _entry, warning);
            await agent.OnceAsync(t => agent.Protocol.WarnAsync(_entry.Item, warning, "build", [], t));
        }

        agent.Step("prepared");
        _doing = "starting";
        await HostProcess.StartRunAsync(prepared.Folder, prepared.Secrets, token);
        _handedOver = true;
        agent.Step("handed over");
        Save(_entry with { State = EntryState.Started });
        agent.Step("started");
    }

    // Protocol F.4, row 7; servers that know no sweeps have none to check.
    private async Task CheckSweepAsync()
    {
        if (_entry.Spec["sweep_id"]?.ToString() is not { Length: > 0 } sweep || !agent.Protocol.HasSweeps)
        {
            return;
        }

        var state = await agent.AskAsync(
            t =>
                agent.Protocol.SweepStateAsync(
                    _entry.RunEntity,
                    (_entry.Spec["project"] as JsonValue)?.ToString() ?? "",
                    sweep,
                    t
                ),
            _stop
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
    private async Task FailedAsync(LaunchException fault, string stage)
    {
        if (
            MachineFaults.Contains(fault.ErrorId)
            && _entry.Attempt < agent.Config.MaxRetry
            && agent.Mode is AgentMode.Working or AgentMode.Asked or AgentMode.Done
        )
        {
            var attempt = _entry.Attempt + 1;
            var pause = agent.Callbacks.RetryPause(attempt);
            Save(_entry with { State = EntryState.Claimed, Attempt = attempt });
            agent.Tell(
                AgentEventKind.Retry,
                _entry,
                $"{fault.Message} Tried again in {pause.TotalSeconds:0} s ({attempt} of {agent.Config.MaxRetry}).",
                fault: fault.ErrorId
            );
            _doing = "waiting for another try";
            agent.LeaveSlot(this);
            try
            {
                await Task.Delay(pause, _stop);
                await agent.EnterSlotAsync(this, _stop);
            }
            catch (OperationCanceledException)
            {
                // StartAsync says that it was stopped.
            }

            LaunchCache.DeleteFolder(Folder);
            return;
        }

        Finish(
            new EntryReport(
                "FAILED",
                null,
                fault.Message,
                fault.ErrorId is AgentPolicy.Refusal or "StartTimeout" or "SweepEnded" ? "agent" : stage,
                null
            ),
            fault.ErrorId == AgentPolicy.Refusal ? AgentEventKind.ItemRefused : AgentEventKind.ItemFailed,
            fault.Message,
            null,
            fault.ErrorId
        );
    }

    private async Task WatchAsync()
    {
        _doing = "starting";
        var told = adopted && !_handedOver;
        var from = Stopwatch.StartNew();
        var asked = Stopwatch.StartNew();
        Stopwatch? stopWanted = null;
        var stopSaid = false;
        var revived = 0;
        while (true)
        {
            var run = LaunchStore.Refresh(Folder);
            if (run is null)
            {
                Finish(
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
                _since = run.Started;
                agent.Tell(
                    AgentEventKind.RunStarted,
                    _entry,
                    run.Resource == "local-process"
                        ? $"process {run.ProcessId}"
                        : $"container {run.ContainerId?[..Math.Min(12, run.ContainerId.Length)]}",
                    run
                );
            }

            if (run.IsDone)
            {
                await EndedAsync(run);
                return;
            }

            if (!IsWatched(run) && !await ReviveWatcherAsync(run, ++revived))
            {
                return;
            }

            // What must not happen again and again is asked for once; the watcher does the rest.
            if (
                !stopSaid
                && (
                    _stop.IsCancellationRequested
                    || stopWanted?.Elapsed >= agent.Config.StoppedRunTimeout
                    || (run.State == LaunchState.Starting && from.Elapsed > agent.Config.StartTimeout)
                )
            )
            {
                stopSaid = true;
                LaunchStore.AskStop(Folder);
            }

            if (agent.Mode == AgentMode.Detaching)
            {
                throw new OperationCanceledException();
            }

            if (stopWanted is null && asked.Elapsed > TimeSpan.FromSeconds(10) && told)
            {
                // A stop of the run that was asked for in W&B: the SDK ends it, and if it does not, the agent does (protocol F.5).
                asked.Restart();
                await agent.OnceAsync(async t =>
                    stopWanted = await agent.Api.RunStoppedAsync(RunPathOf(run), t) ? Stopwatch.StartNew() : null
                );
            }

            await Task.Delay(
                from.ElapsedMilliseconds switch
                {
                    < 3000 => 40,
                    < 60_000 => 250,
                    _ => 1000,
                },
                CancellationToken.None
            );
        }
    }

    // A watcher holds the lock from before it says that it watches. A process without one is looked after by its id.
    private bool IsWatched(LaunchedRun run)
    {
        if (run.Resource == "local-process" && run.State != LaunchState.Starting)
        {
            return true;
        }

        using var gate = FileLock.TryEnter(LaunchStore.LockPath(Folder));
        return gate is null;
    }

    /// <summary>A new watcher for a run whose own is gone: its container goes on meanwhile.</summary>
    private async Task<bool> ReviveWatcherAsync(LaunchedRun run, int times)
    {
        if (run.State == LaunchState.Starting && !File.Exists(LaunchStore.StartedPath(Folder)))
        {
            // The watcher never came to it, or no further than a container that has the launch's name and is found by it. Its secrets are gone, so it is prepared anew.
            Save(_entry with { State = EntryState.Claimed });
            return false;
        }

        if (times > 5)
        {
            Finish(
                new EntryReport(
                    "FAILED",
                    null,
                    "The process that watches this run ends again and again.",
                    "run",
                    run.LogPath
                ),
                AgentEventKind.RunFailed,
                "its watcher ends again and again",
                run,
                "HostFailed"
            );
            return false;
        }

        try
        {
            await HostProcess.StartRunAsync(Folder, new Dictionary<string, string>(), CancellationToken.None);
        }
        catch (LaunchException)
        {
            // Tried again at the next look.
            await Task.Delay(1000, CancellationToken.None);
        }

        return true;
    }

    private async Task EndedAsync(LaunchedRun run)
    {
        if (run.Started is null && run.State == LaunchState.Failed && MachineFaults.Contains(run.ErrorId ?? ""))
        {
            await FailedAsync(
                new LaunchException(
                    run.ErrorId!,
                    LaunchErrorCategory.ResourceUnavailable,
                    run.Reason ?? "it could not be started",
                    run
                ),
                "run"
            );
            return;
        }

        foreach (var warning in run.Warnings)
        {
            agent.Tell(AgentEventKind.Warning, _entry, warning, run);
            await agent.OnceAsync(t => agent.Protocol.WarnAsync(_entry.Item, warning, "run", [], t));
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
        if (run is { State: LaunchState.Stopped, Started: null } && !_stop.IsCancellationRequested)
        {
            (state, why) = ("FAILED", "It did not start in time (WANDB_LAUNCH_START_TIMEOUT).");
        }

        Finish(
            new EntryReport(
                state,
                run.ExitCode,
                state == "FINISHED"
                    ? null
                    : $"The run {_entry.RunId} of {run.Source} {(state == "STOPPED" ? "was stopped" : "failed")}: {why}",
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
                LaunchCache.DeleteFolder(Path.Combine(Folder, "src"));
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Something that it started still sits there; the whole folder goes when its time is over.
            }
        }
    }

    private void Finish(EntryReport report, AgentEventKind kind, string message, LaunchedRun? run, string? fault = null)
    {
        End(report);
        agent.Count(succeeded: report.State == "FINISHED", failed: report.State != "FINISHED");
        agent.Tell(kind, _entry, message, run, fault);
        agent.Step("ended");
    }

    private async Task ReportAsync()
    {
        var report = _entry.Report!;
        var run = LaunchStore.Load(Folder);
        var ran = report.Stage == "run" && run?.Started is not null;
        var warning = (string?)null;
        if (ran && _entry.RunEntity == agent.Entity)
        {
            // Whether it became a W&B run at all (protocol F.5).
            var state = await RunStateAsync(RunPathOf(run!));
            if (
                state is "preempted" or "preempting"
                && report.State == "FAILED"
                && ResumeCount(_entry.Spec) < MostRequeues
            )
            {
                try
                {
                    var item = await RequeueAsync();
                    report = report with
                    {
                        State = "STOPPED",
                        Message = $"The run was preempted; it goes on as item {item}.",
                    };
                    agent.Tell(AgentEventKind.Requeued, _entry, report.Message!, run);
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
            IsScheduler
            && report.State == "FAILED"
            && !await agent.OnceAsync(t =>
                agent.Protocol.CancelSweepAsync(
                    _entry.RunEntity,
                    (_entry.Spec["project"] as JsonValue)?.ToString() ?? "",
                    _entry.RunId,
                    t
                )
            )
        )
        {
            agent.Tell(
                AgentEventKind.Warning,
                _entry,
                $"The sweep {_entry.RunId} could not be set to CANCELED, though its scheduler failed; do so on its page."
            );
        }

        var files = report.State == "FAILED" ? await UploadAsync("error", report) : [];
        var end = new ItemEnd(
            _entry.Item,
            report.State,
            new RunPath(_entry.RunEntity, run?.Project ?? agent.QueueProject, _entry.RunId)
        )
        {
            ExitCode = report.ExitCode,
            Message = report.Message,
            Stage = report.Stage,
            Files = files,
            Warning = warning,
            RunShowsIt = ran && warning is null,
        };
        await ReportAsync(t => agent.Protocol.ReportEndAsync(end, t));
    }

    /// <summary>Tells the server how the item ended. One that does not take it, for the item was deleted or is not this key's, is not asked for ever.</summary>
    private async Task ReportAsync(Func<CancellationToken, Task> tell)
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
                _entry,
                $"The server does not take the report of this item: {e.Message}",
                fault: e.ErrorId
            );
        }
    }

    private async Task<string?> RunStateAsync(RunPath path)
    {
        // Our own server is asked once: there the run is made before wandb.init returns. W&B's may lag.
        for (var attempt = 0; ; attempt++)
        {
            string? state = null;
            await agent.OnceAsync(async t => state = await agent.Api.RunStateAsync(path, t));
            if (state is not (null or "pending") || agent.Protocol.ItemsTellTheirEnd || attempt == 6)
            {
                return state;
            }

            await Task.Delay(agent.Callbacks.RunPause(attempt), agent.Closed);
        }
    }

    // Protocol F.5, preempted: the same run, once more, without its sweep. An agent that was killed in between finds the copy.
    private async Task<string> RequeueAsync()
    {
        var spec = (JsonObject)_entry.Spec.DeepClone();
        var count = ResumeCount(spec) + 1;
        spec["run_id"] = _entry.RunId;
        spec["_resume_count"] = count;
        spec.Remove("sweep_id");
        spec.Remove("_wandb_api_key");
        var queue = new WandbRunQueue
        {
            Id = _entry.QueueId,
            Name = _entry.Queue,
            Entity = _entry.Entity,
            QueueProject = _entry.QueueProject,
        };
        return await agent.AskAsync(
            async t =>
            {
                if (adopted && agent.Protocol.ItemsShowTheirConfig)
                {
                    await foreach (var other in agent.QueueApi.ItemsAsync(queue, [], t))
                    {
                        if (other.Spec?["run_id"]?.ToString() == _entry.RunId && ResumeCount(other.Spec) == count)
                        {
                            return other.Id;
                        }
                    }
                }

                var pushed = (
                    await agent.QueueApi.PushAsync(
                        _entry.Entity,
                        _entry.QueueProject,
                        _entry.Queue,
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
        var folder = _entry.Item.All(c => char.IsAsciiLetterOrDigit(c) || c is '=' or '-' or '_' or ':')
            ? _entry.Item
            : _entry.LaunchId;
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

    private RunPath RunPathOf(LaunchedRun run) =>
        new(_entry.RunEntity, run.Project?.ToLowerInvariant() ?? "", _entry.RunId);

    private void End(EntryReport report) =>
        Save(
            _entry with
            {
                State = EntryState.Ended,
                Report = report with
                {
                    Message = report.Message is null ? null : ItemSpec.Shown(Secrets.Mask(report.Message), 8000),
                },
            }
        );

    private void Save(JournalEntry entry)
    {
        _entry = entry;
        try
        {
            agent.Journal.Save(entry);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The item was written down when it was taken. What it says then is what a killed agent would have left, from where the next one finds the run by its folder; this one goes on with what it knows.
            agent.Tell(
                AgentEventKind.Warning,
                _entry,
                $"The agent's journal cannot be written: {DiskFull.Explain(e, agent.Folder)?.Message ?? e.Message}"
            );
        }
    }
}
