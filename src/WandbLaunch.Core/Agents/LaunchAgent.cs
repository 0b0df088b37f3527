using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Text.Json;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.Agents;

/// <summary>
/// Takes items from queues and sends each down the one road (protocol F). Runs have supervisors of their own, or an
/// engine that remembers them, so that they outlive the agent; what it holds is in its journal, so that the next agent goes on where this one ended.
/// </summary>
internal sealed class LaunchAgent : IDisposable
{
    /// <summary>All well.</summary>
    internal const int ExitOk = 0;

    /// <summary>The agent could not work.</summary>
    internal const int ExitBroken = 1;

    /// <summary>At least one item failed, was refused or was stopped.</summary>
    internal const int ExitFailures = 2;

    /// <summary>Ended because it was asked to, after its runs.</summary>
    internal const int ExitStopped = 3;

    /// <summary>Ended because it was asked to, and its runs with it.</summary>
    internal const int ExitStoppedRuns = 4;

    private static readonly TimeSpan WaitAtServer = TimeSpan.FromSeconds(25);
    private static readonly TimeSpan MostPause = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan RestAfter = TimeSpan.FromSeconds(5);
    private static readonly TimeSpan AnswerLimit = TimeSpan.FromSeconds(90);

    private readonly AgentStore _store;
    private readonly FileLock _gate;
    private readonly AgentLog _log;
    private readonly GraphQLTransport _transport;
    private readonly ConcurrentDictionary<string, AgentItem> _items = new(StringComparer.Ordinal);
    private readonly CancellationTokenSource _noMore = new();
    private readonly CancellationTokenSource _end = new();
    private readonly CancellationTokenSource _closed = new();

    // What went unanswered last, by the place that asks: each fault is written down once.
    private readonly ConcurrentDictionary<int, string> _unanswered = new();
    private readonly DateTimeOffset _started = DateTimeOffset.UtcNow;
    private readonly AgentCallbacks _callbacks;
    private readonly object _lock = new();
    private readonly List<Task> _background = [];
    private TaskCompletionSource _wake = NewWake();
    private List<WandbRunQueue> _queues = [];
    private volatile AgentMode _mode;
    private string _why = "";
    private int _slots;
    private int _schedulers;
    private int _taken;
    private int _begun;
    private int _succeeded;
    private int _failed;
    private volatile bool _away;
    private string? _serverName;
    private DateTimeOffset _nextRest;
    private TimeSpan _pause = TimeSpan.FromSeconds(1);
    private volatile bool _askStopFlag;
    private volatile bool _gateLeft;
    private bool _disposed;
    private string? _said;
    private volatile bool _goodbye;
    private volatile Task _beat = Task.CompletedTask;

    private LaunchAgent(
        AgentConfig config,
        WandbConnection connection,
        AgentCallbacks callbacks,
        AgentStore store,
        string name,
        string folder,
        FileLock gate
    )
    {
        _callbacks = callbacks;
        Stopping = _end.Token;
        Closed = _closed.Token;
        Config = config;
        Connection = connection;
        _store = store;
        _gate = gate;
        Name = name;
        Folder = folder;
        Journal = new AgentJournal(folder);
        Supervision = new Supervision(Runs.Resources);
        _log = new AgentLog(folder);
        _transport = new GraphQLTransport(connection.Settings, 0);
        Api = new WandbApi(_transport);
        QueueApi = new QueueApi(_transport, Api, connection.AppUrl);
        AgentApi = new AgentApi(_transport, Api);
        Entity =
            config.Entity
            ?? connection.Entity
            ?? throw new LaunchException(
                "EntityMissing",
                LaunchErrorCategory.InvalidArgument,
                "It is not known whose queues are meant. Give -Entity, or set WANDB_ENTITY.",
                null
            );
    }

    internal AgentConfig Config { get; }
    internal WandbConnection Connection { get; }
    internal string Name { get; }
    internal string Folder { get; }
    internal string Entity { get; }
    internal string QueueProject { get; private set; } = "";
    internal AgentJournal Journal { get; }

    /// <summary>The launches of this machine.</summary>
    internal LaunchStore Runs { get; } = LaunchStore.Default;

    /// <summary>Looks after all runs whose engine remembers them; each of the others has a process of its own.</summary>
    internal Supervision Supervision { get; }
    internal WandbApi Api { get; }
    internal QueueApi QueueApi { get; }
    internal AgentApi AgentApi { get; }
    internal ServerDialect Dialect { get; private set; } = null!;
    internal GpuPool? Gpus { get; private set; }
    internal int GpusPerJob { get; private set; }
    internal string? AgentId { get; private set; }
    internal string LogPath => _log.Path;
    internal AgentMode Mode => _mode;

    /// <summary>Cancelled when runs must end.</summary>
    internal CancellationToken Stopping { get; }

    /// <summary>Cancelled when the agent is gone: what it still waits for is the next agent's.</summary>
    internal CancellationToken Closed { get; }

    /// <summary>The key that item ids are remembered under.</summary>
    internal string ServerKey => Connection.BaseUrl + Dialect.Store;

    /// <summary>Takes the agent's folder, finds its queues and registers it.</summary>
    /// <exception cref="LaunchException"><c>AgentRunning</c>, <c>QueueNotFound</c>, or what the server says.</exception>
    internal static async Task<LaunchAgent> StartAsync(
        AgentConfig config,
        WandbConnection connection,
        AgentCallbacks callbacks,
        CancellationToken token
    )
    {
        var store = AgentStore.Default;
        var (name, folder, gate) = store.Enter(config.Name);
        LaunchAgent? agent = null;
        try
        {
            var before = AgentStore.Load(folder);
            agent = new LaunchAgent(config, connection, callbacks, store, name, folder, gate);
            await agent.RegisterAsync(token);
            await agent.BuryAsync(before);
            return agent;
        }
        catch
        {
            if (agent is null)
            {
                gate.Dispose();
            }
            else
            {
                agent.Dispose();
            }

            throw;
        }
    }

    private async Task RegisterAsync(CancellationToken token)
    {
        Dialect = await Connection.Api.DialectAsync(token);
        QueueProject = Dialect.PushByName
            ? Config.QueueProject ?? QueueApi.TodaysProject
            : Config.QueueProject
                ?? Config.Project
                ?? Connection.Project
                ?? throw new LaunchException(
                    "ProjectMissing",
                    LaunchErrorCategory.InvalidArgument,
                    "On this server queues belong to a project: name it, as Start-WandbLaunchAgent <project>, or set WANDB_PROJECT.",
                    null
                );
        _queues = await FindQueuesAsync(token);
        AgentId = await new AgentApi(Connection.Transport, Connection.Api).CreateAsync(
            Entity,
            QueueProject,
            [.. _queues.Select(q => q.Id)],
            Environment.MachineName,
            Config.ForServer().ToJsonString(),
            token
        );
        var state = await new AgentApi(Connection.Transport, Connection.Api).GetAsync(AgentId, token);
        _serverName = state.Name;
        if (_serverName is not null && Dialect.PushByName)
        {
            // The run that holds the logs of items that fail (protocol F.2, row 6).
            try
            {
                await Connection.Api.UpsertRunAsync(
                    new RunUpsert(_serverName, Entity, QueueProject)
                    {
                        DisplayName = _serverName,
                        JobType = "sweep-controller",
                        Host = Environment.MachineName,
                    },
                    token
                );
            }
            catch (LaunchException e)
            {
                Tell(AgentEventKind.Warning, null, $"Logs of failures cannot be kept on the server: {e.Message}");
                _serverName = null;
            }
        }

        var devices = await GpuPool.DevicesAsync(LaunchEnvironment.Current, token);
        GpusPerJob =
            Config.GpusPerJob
            ?? (
                devices.Count == 0
                    ? 0
                    : Math.Max(
                        1,
                        devices.Count
                            / Math.Max(1, Config.MaxJobs == AgentConfig.Unlimited ? devices.Count : Config.MaxJobs)
                    )
            );
        if (GpusPerJob > devices.Count)
        {
            throw new LaunchException(
                "GpusMissing",
                LaunchErrorCategory.ResourceUnavailable,
                $"-GpusPerJob {GpusPerJob} cannot be: this machine has {devices.Count} GPUs (nvidia-smi, CUDA_VISIBLE_DEVICES).",
                GpusPerJob
            );
        }

        Gpus = GpusPerJob > 0 ? new GpuPool(GpuPool.DefaultFolder, devices, Runs) : null;
    }

    // One that was killed could not say goodbye, and would be seen as working on the server.
    private async Task BuryAsync(WandbLaunchAgent? before)
    {
        if (
            before is not { State: not "stopped", AgentId: { } id, ServerName: { } name }
            || before.Server != Connection.BaseUrl
        )
        {
            return;
        }

        await OnceAsync(async t =>
        {
            // Ids are small numbers on some servers: after a change of database this one may be another's.
            if ((await AgentApi.GetAsync(id, t)).Name == name)
            {
                await AgentApi.UpdateAsync(id, "KILLED", t);
                if (LogRun is not null)
                {
                    await Api.CompleteAsync(new RunPath(before.Entity!, before.QueueProject!, name), 1, t);
                }
            }
        });
    }

    // Protocol B.4: without any queue the default one is made; one that is missing is an error.
    private async Task<List<WandbRunQueue>> FindQueuesAsync(CancellationToken token)
    {
        IReadOnlyList<WandbRunQueue> all;
        try
        {
            all = await Connection.Queues.QueuesAsync(Entity, QueueProject, token);
        }
        catch (LaunchException e) when (e.ErrorId == "ProjectNotFound" && Dialect.PushByName)
        {
            all = [];
        }

        if (Config.Queues.Contains(QueueApi.DefaultQueue) && all.All(q => q.Name != QueueApi.DefaultQueue))
        {
            await Connection.Queues.CreateAsync(
                Entity,
                QueueProject,
                QueueApi.DefaultQueue,
                "PROJECT",
                null,
                null,
                token
            );
            all = await Connection.Queues.QueuesAsync(Entity, QueueProject, token);
        }

        var missing = Config.Queues.Where(n => all.All(q => q.Name != n)).ToList();
        return missing.Count == 0
            ? [.. Config.Queues.Select(n => all.First(q => q.Name == n))]
            : throw new LaunchException(
                "QueueNotFound",
                LaunchErrorCategory.ObjectNotFound,
                $"There is no queue {string.Join(", ", missing)} in {Entity}/{QueueProject}. {(all.Count > 0 ? "There are: " + string.Join(", ", all.Select(q => q.Name)) + "." : "There is none at all.")} Make it with New-WandbRunQueue.",
                missing
            );
    }

    /// <summary>Works until there is a reason to end, and gives the exit code.</summary>
    internal async Task<int> RunAsync()
    {
        var code = ExitBroken;
        try
        {
            Config.Warnings.ToList().ForEach(w => Tell(AgentEventKind.Warning, null, w));
            Tell(
                AgentEventKind.AgentStarted,
                null,
                $"listens to {string.Join(", ", _queues.Select(q => q.Name))} of {Entity}/{QueueProject} on {Connection.BaseUrl}, {(Config.MaxJobs == AgentConfig.Unlimited ? "any number of runs" : Config.MaxJobs == 1 ? "one run" : $"{Config.MaxJobs} runs")} at a time"
                    + (Gpus is null ? "" : $", {GpusPerJob} of {Gpus.Devices.Count} GPUs each")
                    + ". It runs other people's code. Policy: "
                    + string.Join("; ", Config.Policy.Describe(Entity))
            );
            await WarnOfTeamAsync();
            SaveState();
            Adopt();
            Prune();
            _background.Add(Task.Run(WatchAsync));
            await LoopAsync();
            code = _mode switch
            {
                AgentMode.Stopping => ExitStoppedRuns,
                AgentMode.Asked or AgentMode.Detaching => ExitStopped,
                _ => _failed > 0 ? ExitFailures : ExitOk,
            };
        }
        finally
        {
            await EndAsync(code);
        }

        return code;
    }

    /// <summary>Takes no more items and ends after the runs.</summary>
    internal void Drain(string why, bool asked = true)
    {
        lock (_lock)
        {
            if (_mode != AgentMode.Working)
            {
                return;
            }

            (_mode, _why) = (asked ? AgentMode.Asked : AgentMode.Done, why);
        }

        _noMore.Cancel();
        Tell(
            AgentEventKind.Draining,
            null,
            $"{why}; {(_items.IsEmpty ? "nothing runs" : $"waits for {_items.Count} {(_items.Count == 1 ? "run" : "runs")}")}"
        );
        SaveState();
        Wake();
    }

    /// <summary>Stops the runs and ends.</summary>
    internal void Stop(string why)
    {
        lock (_lock)
        {
            if (_mode is AgentMode.Stopping or AgentMode.Detaching)
            {
                return;
            }

            (_mode, _why) = (AgentMode.Stopping, why);
        }

        _noMore.Cancel();
        _end.Cancel();
        Tell(
            AgentEventKind.Draining,
            null,
            $"{why}; {(_items.IsEmpty ? "nothing runs" : $"stops {_items.Count} {(_items.Count == 1 ? "run" : "runs")}")}"
        );
        Wake();
    }

    /// <summary>Ends at once and leaves the runs to their supervisors and engines, and to the next agent: a service that is restarted.</summary>
    internal void Detach(string why)
    {
        lock (_lock)
        {
            if (_disposed)
            {
                return;
            }

            (_mode, _why) = (AgentMode.Detaching, why);
        }

        _noMore.Cancel();
        Wake();
    }

    private async Task LoopAsync()
    {
        while (true)
        {
            if (_mode == AgentMode.Detaching)
            {
                return;
            }

            if (_mode != AgentMode.Working)
            {
                // Reports that the server does not take are in the journal; the next agent hands them in.
                if (_items.Values.All(i => i.IsReporting && _away))
                {
                    return;
                }
            }
            else if (Config.MaxRuns is { } most && _begun >= most)
            {
                Drain($"-MaxRuns {most} are taken", false);
                continue;
            }
            else if (await HasRoomAsync())
            {
                bool? gave = false;
                try
                {
                    gave = await TakeNextAsync();
                }
                catch (OperationCanceledException)
                {
                    continue;
                }
                catch (Exception e) when (e is IOException or UnauthorizedAccessException)
                {
                    // Nothing is acknowledged that is not in the journal: the item goes back when its lease is over, and the agent waits for room.
                    SayOnce(
                        $"No item is taken, for the agent's journal cannot be written: {DiskFull.Explain(e, Folder)?.Message ?? e.Message}"
                    );
                    await Task.WhenAny(Task.Delay(TimeSpan.FromSeconds(5)), _wake.Task);
                    gave = null;
                }

                if (gave == true)
                {
                    _said = null;
                    _pause = TimeSpan.FromSeconds(1);
                    continue;
                }

                if (gave == false && Config.StopWhenEmpty && _items.IsEmpty)
                {
                    Drain("the queues are empty", false);
                    continue;
                }
            }

            await RestAsync();
        }
    }

    // The same trouble, once a second for hours, is one message.
    private void SayOnce(string warning)
    {
        if (warning != _said)
        {
            _said = warning;
            Tell(AgentEventKind.Warning, null, warning);
        }
    }

    private async Task<bool> HasRoomAsync()
    {
        if (Gpus is not null)
        {
            await Gpus.LookAsync(Closed);
        }

        lock (_lock)
        {
            return (Config.MaxJobs == AgentConfig.Unlimited || _slots < Config.MaxJobs)
                && (Gpus is null || Gpus.Free() >= GpusPerJob);
        }
    }

    /// <summary>Takes an item: true; false when the queues are empty, null when there was no looking, for the GPUs are another agent's just now.</summary>
    private async Task<bool?> TakeNextAsync()
    {
        // The GPUs come first: an item that was popped without them would only wait for its lease to be over.
        var reserved = "reserved-" + Guid.NewGuid().ToString("n");
        var gpus = Gpus?.TryTake(GpusPerJob, reserved, Name);
        if (Gpus is not null && gpus is null)
        {
            return null;
        }

        try
        {
            return await TakeNextAsync(gpus, reserved);
        }
        finally
        {
            Gpus?.Release(reserved);
        }
    }

    private async Task<bool> TakeNextAsync(IReadOnlyList<string>? gpus, string reserved)
    {
        foreach (var queue in _queues.ToList())
        {
            var item = await AskAsync(
                t => AgentApi.PopAsync(Entity, QueueProject, queue.Name, AgentId, t),
                _noMore.Token
            );
            if (item is null)
            {
                continue;
            }

            Step("popped");
            if (Config.QueueOrder == QueueOrder.Fair)
            {
                _queues.Remove(queue);
                _queues.Add(queue);
            }

            var launchId = AgentJournal.LaunchIdOf(ServerKey, item.Id);
            if (_items.ContainsKey(launchId) || AgentJournal.TryHold(launchId) is not { } held)
            {
                // The server's slip, or another agent of this machine was late to acknowledge it: it is held already, and runs once.
                continue;
            }

            if (
                ItemPreparation.IsScheduler(item.Spec)
                && Config.MaxSchedulers != AgentConfig.Unlimited
                && _schedulers >= Config.MaxSchedulers
            )
            {
                // Not acknowledged: it goes back to its place (protocol F.3).
                held.Dispose();
                continue;
            }

            var entry = new JournalEntry
            {
                LaunchId = launchId,
                Item = item.Id,
                Server = ServerKey,
                Entity = Entity,
                QueueProject = QueueProject,
                Queue = queue.Name,
                QueueId = queue.Id,
                Spec = item.Spec,
                Fault = item.Fault,
                Taken = DateTimeOffset.UtcNow,
                Gpus = gpus,
            };
            try
            {
                Gpus?.Give(reserved, launchId, Name);
                Journal.Save(entry);
            }
            catch
            {
                held.Dispose();
                throw;
            }

            Step("journaled");
            Begin(entry, false, held);
            return true;
        }

        return false;
    }

    private void Begin(JournalEntry entry, bool adopted, FileLock held)
    {
        var item = new AgentItem(this, entry, adopted);
        if (!_items.TryAdd(entry.LaunchId, item))
        {
            held.Dispose();
            return;
        }

        lock (_lock)
        {
            _begun += adopted ? 0 : 1;
            if (entry.State != EntryState.Ended)
            {
                TakeSlot(item);
            }
        }

        _ = Task.Run(async () =>
        {
            try
            {
                await item.RunAsync();
            }
            catch (OperationCanceledException)
            {
                // The agent ends; the journal has it.
            }
            catch (Exception e)
            {
                // A fault of this program must not take the other runs with it; the journal keeps the item for the next start.
                Tell(AgentEventKind.Warning, entry, $"The item could not be looked after: {e.Message}");
            }
            finally
            {
                LeaveSlot(item);
                if (Journal.Has(entry.LaunchId))
                {
                    held.Dispose();
                }
                else
                {
                    AgentJournal.LetGo(entry.LaunchId, held);
                }

                _items.TryRemove(entry.LaunchId, out _);
                SaveState();
                Wake();
            }
        });
    }

    private void TakeSlot(AgentItem item)
    {
        item.HoldsSlot = true;
        _slots += item.IsScheduler ? 0 : 1;
        _schedulers += item.IsScheduler ? 1 : 0;
    }

    /// <summary>Lets others run while an item only waits.</summary>
    internal void LeaveSlot(AgentItem item)
    {
        lock (_lock)
        {
            if (!item.HoldsSlot)
            {
                return;
            }

            item.HoldsSlot = false;
            _slots -= item.IsScheduler ? 0 : 1;
            _schedulers -= item.IsScheduler ? 1 : 0;
        }

        Wake();
    }

    /// <summary>Waits for room, and takes it.</summary>
    internal async Task EnterSlotAsync(AgentItem item, CancellationToken token)
    {
        while (true)
        {
            lock (_lock)
            {
                if (item.IsScheduler || Config.MaxJobs == AgentConfig.Unlimited || _slots < Config.MaxJobs)
                {
                    TakeSlot(item);
                    return;
                }
            }

            await Task.WhenAny(_wake.Task, Task.Delay(1000, token));
            token.ThrowIfCancellationRequested();
        }
    }

    private async Task RestAsync()
    {
        var wake = _wake.Task;
        var hasRoom = await HasRoomAsync();
        using var rested = CancellationTokenSource.CreateLinkedTokenSource(_noMore.Token);
        var rest =
            _mode != AgentMode.Working || !hasRoom ? Task.Delay(1000, CancellationToken.None)
            : Dialect.Wait ? WaitAtServerAsync(rested.Token)
            : PauseAsync(rested.Token);
        await Task.WhenAny(rest, wake);
        await rested.CancelAsync();
        if (_wake.Task.IsCompleted)
        {
            _wake = NewWake();
        }

        try
        {
            await rest.WaitAsync(TimeSpan.FromSeconds(rest.IsCompleted ? 1 : 0));
        }
        catch (Exception e) when (e is OperationCanceledException or TimeoutException)
        {
            // Woken before.
        }

        Status(StatusLine());
    }

    private async Task WaitAtServerAsync(CancellationToken token)
    {
        // A stop that was asked for between two waits wakes nobody.
        _askStopFlag = true;
        var from = DateTimeOffset.UtcNow;
        var ready = await AskAsync(t => AgentApi.WaitAsync([.. _queues.Select(q => q.Id)], WaitAtServer, t), token);
        _askStopFlag |= ready;

        // Told of work that others took, or that is not for us: not again at once.
        if (ready && from < _nextRest)
        {
            await Task.Delay(200, token);
        }

        _nextRest = DateTimeOffset.UtcNow.AddMilliseconds(100);
    }

    // Plain polling: often after work came, seldom when none does; never all agents at the same moment.
    private async Task PauseAsync(CancellationToken token)
    {
        await Task.Delay(_pause * (0.75 + (Random.Shared.NextDouble() * 0.5)), token);
        _pause = _pause * 1.5 > MostPause ? MostPause : _pause * 1.5;
        _askStopFlag = true;
    }

    /// <summary>
    /// Asks the server until it answers: it says once that it is away, waits longer each time, and goes on. Where an item
    /// is asked for, a server that answers and says no so many times is taken at its word.
    /// </summary>
    internal async Task<T> AskAsync<T>(
        Func<CancellationToken, Task<T>> ask,
        CancellationToken token,
        int mostRefusals = int.MaxValue
    )
    {
        var refusals = 0;
        for (var attempt = 0; ; attempt++)
        {
            Exception fault;
            TimeSpan? after = null;
            using (var limit = CancellationTokenSource.CreateLinkedTokenSource(token))
            {
                limit.CancelAfter(AnswerLimit);
                try
                {
                    var answer = await ask(limit.Token);
                    SetAway(false, null);
                    return answer;
                }
                catch (OperationCanceledException) when (token.IsCancellationRequested)
                {
                    throw;
                }
                catch (LaunchException e)
                {
                    (fault, after) = (e, e.RetryAfter);
                }
                catch (Exception e)
                {
                    // Garbage of any kind: what a server says must never end an agent.
                    fault = e;
                }
            }

            if (
                mostRefusals < int.MaxValue
                && fault is LaunchException { ErrorId: "GraphQLError" or "AccessDenied" } no
            )
            {
                SetAway(false, null);
                if (++refusals >= mostRefusals)
                {
                    throw no;
                }
            }
            else
            {
                SetAway(true, fault);
            }

            var pause = after ?? _callbacks.AwayPause(attempt);
            await Task.Delay(pause > TimeSpan.FromMinutes(5) ? TimeSpan.FromMinutes(5) : pause, token);
        }
    }

    private void SetAway(bool away, Exception? fault)
    {
        lock (_lock)
        {
            if (_away == away)
            {
                return;
            }

            _away = away;
        }

        if (away)
        {
            Tell(
                AgentEventKind.ServerAway,
                null,
                $"{fault!.Message} Runs go on; it is tried again until the server answers.",
                fault: (fault as LaunchException)?.ErrorId ?? "ServerAnswerInvalid"
            );
        }
        else
        {
            Tell(AgentEventKind.ServerBack, null, $"{Connection.BaseUrl} answers again.");
        }
    }

    // One tick for all that is looked at: each waking of an idle process costs more than what it does then.
    private async Task WatchAsync()
    {
        var looked = DateTimeOffset.UtcNow;
        var pruned = looked;
        var heartbeat = new AgentHeartbeat();
        while (_mode != AgentMode.Detaching && !_gateLeft)
        {
            await Task.Delay(1000);
            var now = DateTimeOffset.UtcNow;
            try
            {
                if (Config.Until is { } until && now >= until && _mode == AgentMode.Working)
                {
                    Drain($"the time is over ({until.ToLocalTime():yyyy-MM-dd HH:mm:ss})", false);
                }

                ReadMarker();
                if (now - looked > TimeSpan.FromSeconds(20))
                {
                    looked = now;
                    Adopt();
                }

                if (now - pruned > TimeSpan.FromHours(6))
                {
                    pruned = now;
                    Prune();
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Being written just now; the next look sees it.
            }

            // Asks the server, which may take its time: the rest is looked at meanwhile.
            if (_beat.IsCompleted && !_goodbye)
            {
                _beat = BeatAsync(heartbeat, now);
            }
        }

        await _beat;
    }

    // Whoever is on this machine can ask an agent to end, without a signal and without the server.
    private void ReadMarker()
    {
        switch (AgentStore.TakeStop(Folder))
        {
            case "drain":
                Drain("asked to stop after its runs");
                break;
            case "stop":
                Stop("asked to stop with its runs");
                break;
            default:
                break;
        }
    }

    private async Task BeatAsync(AgentHeartbeat last, DateTimeOffset now)
    {
        if (!_items.IsEmpty || _begun != last.Begun)
        {
            (last.Begun, last.Busy, last.Worked) = (_begun, true, now);
        }
        else if (last.Busy && now - last.Worked > RestAfter)
        {
            last.Busy = false;
            _callbacks.Rests();
        }

        if (_away || _gateLeft || _goodbye)
        {
            return;
        }

        try
        {
            var status = _items.IsEmpty ? "POLLING" : "RUNNING";
            if (status != last.Status || now - last.Said > TimeSpan.FromSeconds(30))
            {
                await OnceAsync(t => AgentApi.UpdateAsync(AgentId, status, t));
                (last.Status, last.Said) = (status, now);
                SaveState();
            }

            // A server that wakes its agents does so for a stop too; elsewhere the flag has to be looked for.
            if (
                _mode == AgentMode.Working
                && (_askStopFlag || now - last.Asked > TimeSpan.FromSeconds(Dialect.Wait ? 60 : 10))
            )
            {
                _askStopFlag = false;
                last.Asked = now;
                await OnceAsync(async t =>
                {
                    if ((await AgentApi.GetAsync(AgentId, t)).StopPolling)
                    {
                        Drain("stopped from the server");
                    }
                });
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The state file: written again the next time.
        }
    }

    // What the last heartbeats saw and said.
    private sealed class AgentHeartbeat
    {
        internal int Begun { get; set; }
        internal bool Busy { get; set; }
        internal DateTimeOffset Worked { get; set; }
        internal string? Status { get; set; }
        internal DateTimeOffset Said { get; set; }
        internal DateTimeOffset Asked { get; set; }
    }

    /// <summary>Asks once; what fails is tried at the next occasion, and stands in the agent's log until then.</summary>
    internal async Task<bool> OnceAsync(
        Func<CancellationToken, Task> ask,
        [CallerMemberName] string asker = "",
        [CallerLineNumber] int line = 0
    )
    {
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(20));
        try
        {
            await ask(limit.Token);
            _unanswered.TryRemove(line, out _);
            return true;
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            // A fault of the server or the network in a line; one of this program with its story.
            var expected =
                e
                is LaunchException
                    or HttpRequestException
                    or IOException
                    or OperationCanceledException
                    or JsonException;
            var why = expected ? e.Message : e.ToString();
            if (!_unanswered.TryGetValue(line, out var known) || known != why)
            {
                _unanswered[line] = why;
                _log.Write(
                    new AgentEvent
                    {
                        Time = DateTimeOffset.UtcNow,
                        Kind = AgentEventKind.Warning,
                        Agent = Name,
                        Message = Secrets.Mask($"{asker}: {why}"),
                        ErrorId = (e as LaunchException)?.ErrorId ?? (expected ? "ConnectionFailed" : "Unexpected"),
                    }
                );
            }

            return false;
        }
    }

    /// <summary>Takes what this agent, or one of this machine that is gone, left behind: watched by anyone, started only by whoever listens to its queue.</summary>
    private void Adopt()
    {
        if (_mode != AgentMode.Working)
        {
            return;
        }

        foreach (var folder in _store.Folders())
        {
            var own = folder == Folder;
            using var gate = own ? null : FileLock.TryEnter(AgentStore.LockPath(folder));
            if (!own && gate is null)
            {
                continue;
            }

            var journal = own ? Journal : new AgentJournal(folder);
            foreach (var entry in journal.Entries(what => Tell(AgentEventKind.Warning, null, what)))
            {
                if (entry.Server != ServerKey)
                {
                    continue;
                }

                if (_items.ContainsKey(entry.LaunchId))
                {
                    if (!own)
                    {
                        // A copy of a folder has the same items; this one is looked after already.
                        journal.Remove(entry.LaunchId);
                    }

                    continue;
                }

                if (!own)
                {
                    var unstarted = entry.State is EntryState.Popped or EntryState.Claimed;
                    if (
                        entry.Entity != Entity
                        || (
                            unstarted
                            && !_queues.Exists(q => q.Name == entry.Queue && entry.QueueProject == QueueProject)
                        )
                    )
                    {
                        continue;
                    }
                }

                if (AgentJournal.TryHold(entry.LaunchId) is not { } held)
                {
                    // An agent of this machine has it at this moment. When its journal says so too, this one is a copy.
                    if (own && IsElsewhere(entry.LaunchId))
                    {
                        Journal.Remove(entry.LaunchId);
                        Tell(
                            AgentEventKind.Warning,
                            entry,
                            "Another agent of this machine looks after this item: the agent's folder seems to be a copy of that one's."
                        );
                    }

                    continue;
                }

                if (!own)
                {
                    Journal.TakeFrom(journal, entry.LaunchId);
                }

                Begin(entry, true, held);
            }
        }
    }

    private bool IsElsewhere(string launchId)
    {
        foreach (var folder in _store.Folders().Where(f => f != Folder))
        {
            using var gate = FileLock.TryEnter(AgentStore.LockPath(folder));
            if (gate is null && new AgentJournal(folder).Has(launchId))
            {
                return true;
            }
        }

        return false;
    }

    // Months of runs must not fill the disk: this agent's own launches go after a while.
    private void Prune()
    {
        if (Config.KeepLogDays == 0)
        {
            return;
        }

        var oldest = DateTimeOffset.UtcNow.AddDays(-Config.KeepLogDays);
        foreach (
            var run in Runs
                .Known()
                .Where(r => r.Agent is not null && r.IsDone && r.Finished < oldest)
                .ToList()
        )
        {
            try
            {
                Runs.Remove(run.Id);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Open somewhere; the next start tries again.
            }
        }
    }

    private async Task WarnOfTeamAsync()
    {
        if (Dialect.PushByName && Entity != Connection.Username)
        {
            await OnceAsync(async t =>
            {
                var data = await _transport.QueryAsync(
                    "EntityIsTeam",
                    """
                    query EntityIsTeam($entity: String!) {
                      entity(name: $entity) { id isTeam }
                    }
                    """,
                    new { entity = Entity },
                    t
                );
                if (data.Flag("entity", "isTeam") == true)
                {
                    Tell(
                        AgentEventKind.Warning,
                        null,
                        $"{Entity} is a team: every member can queue code that this agent runs."
                    );
                }
            });
        }
    }

    internal void Count(bool taken = false, bool succeeded = false, bool failed = false, bool notOurs = false)
    {
        lock (_lock)
        {
            _begun -= notOurs ? 1 : 0;
            _taken += taken ? 1 : 0;
            _succeeded += succeeded ? 1 : 0;
            _failed += failed ? 1 : 0;
        }
    }

    /// <summary>The run that holds the logs of failures, where the server has one.</summary>
    internal RunPath? LogRun =>
        _serverName is null || !Dialect.PushByName ? null : new RunPath(Entity, QueueProject, _serverName);

    internal void Tell(
        AgentEventKind kind,
        JournalEntry? entry,
        string message,
        LaunchedRun? run = null,
        string? fault = null
    )
    {
        var happened = new AgentEvent
        {
            Time = DateTimeOffset.UtcNow,
            Kind = kind,
            Agent = Name,
            Queue = entry?.Queue,
            ItemId = entry?.Item,
            Id = entry?.LaunchId,
            RunId = entry is null ? null : ItemSpec.Shown(entry.RunId, 128),
            Source = ItemSpec.Shown(Secrets.Mask(QueueSpec.SourceOf(entry?.Spec) ?? ""), 1000) is { Length: > 0 } source
                ? source
                : null,
            ExitCode = run?.ExitCode,
            Duration = run?.Duration,
            Message = ItemSpec.Shown(Secrets.Mask(message), 8000),
            ErrorId = fault ?? run?.ErrorId,
            Run = run,
        };
        _log.Write(happened);
        try
        {
            _callbacks.Happened(happened);
        }
        catch (Exception e) when (e is InvalidOperationException or OperationCanceledException)
        {
            // Whoever listened is gone.
        }

        Status(StatusLine());
    }

    /// <summary>Shows a line for people.</summary>
    internal void Status(string line) => _callbacks.Status(line);

    internal void Step(string name) => _callbacks.Step(name);

    internal AgentCallbacks Callbacks => _callbacks;

    private string StatusLine()
    {
        var running = _items
            .Values.Where(i => !i.IsReporting)
            .Select(i => i.Describe())
            .Order(StringComparer.Ordinal)
            .ToList();
        var doing =
            running.Count > 0
                ? string.Join(", ", running.Take(4)) + (running.Count > 4 ? $" and {running.Count - 4} more" : "")
            : _mode == AgentMode.Working ? "waits for " + string.Join(", ", Config.Queues)
            : "ends";
        return $"{(_mode == AgentMode.Working ? "" : "draining; ")}{(_away ? "server away; " : "")}{doing} ({_taken} taken, {_succeeded} finished, {_failed} failed)";
    }

    private void SaveState()
    {
        lock (_lock)
        {
            if (!_gateLeft)
            {
                SaveState(
                    _mode == AgentMode.Working
                        ? _items.IsEmpty
                            ? "polling"
                            : "running"
                        : "draining",
                    null
                );
            }
        }
    }

    // For people to read, and written again within seconds: a full disk is no reason to end.
    private void SaveState(string state, int? exitCode)
    {
        try
        {
            AgentStore.Save(Folder, State(state, exitCode));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // The next one says the same, and more.
        }
    }

    private WandbLaunchAgent State(string state, int? exitCode) =>
        new()
        {
            Name = Name,
            State = state,
            Queues = Config.Queues,
            Entity = Entity,
            QueueProject = QueueProject,
            Hostname = Environment.MachineName,
            ProcessId = Environment.ProcessId,
            MaxJobs = Config.MaxJobs,
            Running = _items.Values.Count(i => !i.IsReporting),
            Taken = _taken,
            Succeeded = _succeeded,
            Failed = _failed,
            Started = _started,
            Heartbeat = DateTimeOffset.UtcNow,
            AgentId = AgentId,
            ServerName = _serverName,
            Server = Connection.BaseUrl,
            LogPath = _log.Path,
            ExitCode = exitCode,
        };

    private async Task EndAsync(int code)
    {
        _noMore.Cancel();

        // A sign of life that is on its way would arrive after the last word, and count.
        _goodbye = true;
        await Task.WhenAny(_beat, Task.Delay(TimeSpan.FromSeconds(10)));
        if (!_away)
        {
            await OnceAsync(t => AgentApi.UpdateAsync(AgentId, "KILLED", t));
            if (LogRun is { } run)
            {
                await OnceAsync(t => Api.CompleteAsync(run, code == ExitBroken ? 1 : 0, t));
            }
        }

        var left = _items.Count;
        Tell(
            AgentEventKind.AgentStopped,
            null,
            $"{(_why.Length > 0 ? _why : "the agent broke off")}; {_taken} taken, {_succeeded} finished, {_failed} failed{(left > 0 ? $"; {left} go on and are looked after by the next agent of this machine" : "")} (exit code {code})"
        );
        lock (_lock)
        {
            _gateLeft = true;
            SaveState("stopped", code);
        }

        await _closed.CancelAsync();
        await Supervision.LeaveAllAsync(TimeSpan.FromSeconds(5));
        await Task.WhenAll(_background)
            .WaitAsync(TimeSpan.FromSeconds(2))
            .ContinueWith(static _ => { }, TaskScheduler.Default);
    }

    internal void Wake()
    {
        _wake.TrySetResult();
    }

    private static TaskCompletionSource NewWake() => new(TaskCreationOptions.RunContinuationsAsynchronously);

    public void Dispose()
    {
        _gateLeft = true;
        lock (_lock)
        {
            // From here on a signal that comes late changes nothing.
            _mode = AgentMode.Detaching;
            _disposed = true;
        }

        _closed.Cancel();
        _closed.Dispose();
        _end.Dispose();
        _noMore.Dispose();
        _transport.Dispose();
        _log.Dispose();
        _gate.Dispose();
    }
}

/// <summary>Whom an agent tells.</summary>
internal sealed record AgentCallbacks
{
    /// <summary>Everything that happens, in order for each item, from any thread.</summary>
    internal Action<AgentEvent> Happened { get; init; } = _ => { };

    /// <summary>A line for people whenever something changes.</summary>
    internal Action<string> Status { get; init; } = _ => { };

    /// <summary>Called once when there has been nothing to do for some seconds after work.</summary>
    internal Action Rests { get; init; } = () => { };

    /// <summary>Each step of the road by its name: tests end the process there.</summary>
    internal Action<string> Step { get; init; } = _ => { };

    /// <summary>How long to wait before a try after a failure of the machine.</summary>
    internal Func<int, TimeSpan> RetryPause { get; init; } =
        attempt =>
            TimeSpan.FromSeconds(
                Math.Min(5 * Math.Pow(3, attempt - 1), 300) * (0.8 + (Random.Shared.NextDouble() * 0.4))
            );

    /// <summary>How long to leave a server alone that does not answer.</summary>
    internal Func<int, TimeSpan> AwayPause { get; init; } =
        attempt =>
            TimeSpan.FromSeconds(
                Math.Min(Math.Pow(2, Math.Min(attempt, 10)), 30) * (0.75 + (Random.Shared.NextDouble() * 0.5))
            );

    /// <summary>How long to wait before a run that W&amp;B does not show is looked for again (protocol F.5).</summary>
    internal Func<int, TimeSpan> RunPause { get; init; } = attempt => TimeSpan.FromSeconds(1 << attempt);
}

/// <summary>What an agent is about.</summary>
internal enum AgentMode
{
    /// <summary>Takes items.</summary>
    Working,

    /// <summary>Takes no more, for a reason of its own: empty, enough, time over.</summary>
    Done,

    /// <summary>Takes no more because somebody asked.</summary>
    Asked,

    /// <summary>Stops its runs.</summary>
    Stopping,

    /// <summary>Leaves at once; the runs go on.</summary>
    Detaching,
}
