using System.Runtime.CompilerServices;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.Agents;

/// <summary>
/// Takes items from queues and sends each down the one road (protocol F). Runs have supervisors of their own, or an
/// engine that remembers them, so that they outlive the agent; what it holds is in its journal, so that the next agent goes on where this one ended. This class puts
/// the parts together, begins and ends; each part owns its piece of the state.
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

    private readonly AgentHome _home;
    private readonly AgentRegistration _registration;
    private readonly AgentLifetime _lifetime;
    private readonly AgentTeller _teller;
    private readonly AgentSlots _slots;
    private readonly AgentCounts _counts = new();
    private readonly ServerLink _link;
    private readonly AgentQueues _queues;
    private readonly AgentItems _items;
    private readonly AgentBoard _board;
    private readonly AgentShutdown _shutdown;
    private readonly AgentHeartbeat _heartbeat;
    private readonly AgentTicker _ticker;
    private readonly AgentLoop _loop;

    private LaunchAgent(
        AgentConfig config,
        AgentCallbacks callbacks,
        TimeProvider time,
        LaunchStore runs,
        AgentHome home,
        AgentRegistration registration,
        AgentLifetime lifetime,
        AgentTeller teller,
        AgentSlots slots
    )
    {
        Runs = runs;
        Supervision = new Supervision(runs.Resources);
        Config = config;
        Callbacks = callbacks;
        Time = time;
        _home = home;
        _registration = registration;
        _lifetime = lifetime;
        _teller = teller;
        _slots = slots;
        _link = new ServerLink(registration.Connection.BaseUrl, teller, callbacks, time);
        _queues = new AgentQueues(registration, _link, runs.Resources, time);
        _items = new AgentItems(
            (entry, adopted) => new AgentItem(this, entry, adopted),
            home,
            slots,
            _counts,
            lifetime,
            teller
        );
        _board = new AgentBoard(config, home, registration, _items, _counts, lifetime, _link, time);
        _items.Changed = _board.Save;
        teller.Told = () => teller.Status(_board.Line);
        _shutdown = new AgentShutdown(lifetime, _items, teller, _board);
        _heartbeat = new AgentHeartbeat(registration, _link, lifetime, _shutdown, _board, time);
        _ticker = new AgentTicker(
            config,
            home.Folder,
            new AgentAdoption(home, registration, _items, lifetime, teller),
            new AgentPruning(config, runs, time),
            _heartbeat,
            lifetime,
            _shutdown,
            _items,
            _counts,
            _board,
            callbacks,
            time
        );
        _items.Begun = _heartbeat.Hurry = _ticker.Wake;
        _loop = new AgentLoop(
            config,
            home.Folder,
            new ItemTaker(
                config,
                home,
                registration,
                _link,
                _queues,
                runs.Resources,
                slots,
                _items,
                lifetime,
                _heartbeat,
                teller,
                time
            ),
            slots,
            _items,
            _counts,
            lifetime,
            _shutdown,
            _link,
            _board,
            teller,
            time
        );
    }

    internal AgentConfig Config { get; }
    internal AgentCallbacks Callbacks { get; }

    /// <summary>The launches of this machine.</summary>
    internal LaunchStore Runs { get; }

    /// <summary>Looks after all runs whose engine remembers them; each of the others has a process of its own.</summary>
    internal Supervision Supervision { get; }
    internal TimeProvider Time { get; }
    internal string Name => _home.Name;
    internal string Folder => _home.Folder;
    internal string LogPath => _home.Log.Path;
    internal AgentJournal Journal => _home.Journal;
    internal WandbConnection Connection => _registration.Connection;
    internal ILaunchProtocol Protocol => _registration.Protocol;
    internal WandbApi Api => _registration.Api;
    internal QueueApi QueueApi => _registration.QueueApi;
    internal string Entity => _registration.Entity;
    internal string QueueProject => _registration.QueueProject;
    internal string? AgentId => _registration.AgentId;
    internal RunPath? LogRun => _registration.LogRun;
    internal string ServerKey => _registration.ServerKey;
    internal GpuPool? Gpus => _slots.Gpus;
    internal int GpusPerJob => _slots.GpusPerRun;
    internal AgentMode Mode => _lifetime.Mode;

    /// <summary>The policy in full, one line for each rule.</summary>
    internal IReadOnlyList<string> PolicyLines => Config.Policy.Describe(Entity, Runs.Resources.AllowedByDefault);
    internal CancellationToken Stopping => _lifetime.Stopping;
    internal CancellationToken Closed => _lifetime.Closed;

    /// <summary>Takes the agent's folder, finds its queues and registers it.</summary>
    /// <exception cref="LaunchException"><c>AgentRunning</c>, <c>QueueNotFound</c>, or what the server says.</exception>
    internal static async Task<LaunchAgent> StartAsync(
        AgentConfig config,
        WandbConnection connection,
        AgentCallbacks callbacks,
        CancellationToken token,
        LaunchContext? given = null
    )
    {
        var context = given ?? new LaunchContext();
        var home = AgentHome.Enter(AgentStore.Of(context), config.Name);
        var lifetime = new AgentLifetime();
        AgentRegistration? registration = null;
        try
        {
            var before = AgentStore.Load(home.Folder);
            var teller = new AgentTeller(home.Name, home.Log, callbacks, context.Time);
            registration = await AgentRegistration.CreateAsync(config, connection, teller, token);
            var runs = LaunchStore.Of(context);
            var slots = await AgentSlots.CreateAsync(config, context, runs, lifetime, home.Name, token);
            var agent = new LaunchAgent(
                config,
                callbacks,
                context.Time,
                runs,
                home,
                registration,
                lifetime,
                teller,
                slots
            );
            await registration.BuryAsync(before, agent._link);
            return agent;
        }
        catch
        {
            registration?.Dispose();
            lifetime.Dispose();
            home.Dispose();
            throw;
        }
    }

    /// <summary>Works until there is a reason to end, and gives the exit code.</summary>
    internal async Task<int> RunAsync()
    {
        var code = ExitBroken;
        try
        {
            Config.Warnings.ToList().ForEach(_teller.Warn);
            _teller.Tell(AgentEventKind.AgentStarted, null, Greeting());
            _teller.Tell(AgentEventKind.Policy, null, Config.Policy.Summary(Entity, Runs.Resources.AllowedByDefault));
            await WarnOfTeamAsync();
            _board.Save();
            _ticker.Start();
            await _loop.RunAsync();
            code = _lifetime.Mode switch
            {
                AgentMode.Stopping => ExitStoppedRuns,
                AgentMode.Asked or AgentMode.Detaching => ExitStopped,
                _ => _counts.Failed + _counts.Stopped > 0 ? ExitFailures : ExitOk,
            };
        }
        finally
        {
            await EndAsync(code);
        }

        return code;
    }

    private string Greeting()
    {
        return $"listens to {string.Join(", ", _registration.Queues.Select(q => q.Name))} of {Entity}/{QueueProject} on {Connection.BaseUrl}, {Config.Jobs.Describe()} at a time"
            + (Gpus is null ? "" : $", {_slots.GpusPerRun} of {Gpus.Devices.Count} GPUs each");
    }

    private async Task WarnOfTeamAsync()
    {
        if (Entity != Connection.Username)
        {
            await _link.OnceAsync(async t =>
            {
                if (await Protocol.IsSharedAsync(Entity, t))
                {
                    _teller.Warn($"{Entity} is a team: every member can queue code that this agent runs.");
                }
            });
        }
    }

    private async Task EndAsync(int code)
    {
        _lifetime.EndWork();
        await _heartbeat.GoodbyeAsync(code == ExitBroken);
        var left = _items.Count;
        _teller.Tell(
            AgentEventKind.AgentStopped,
            null,
            $"{(_lifetime.Why.Length > 0 ? _lifetime.Why : "the agent broke off")}; {_counts}{(left > 0 ? $"; {left} go on and are looked after by the next agent of this machine" : "")} (exit code {code})"
        );
        _board.SaveEnd(code);
        await _lifetime.CloseAsync();
        await Supervision.LeaveAllAsync(TimeSpan.FromSeconds(5));
        await _ticker.EndAsync();
    }

    /// <summary>Takes no more items and ends after the runs.</summary>
    internal void Drain(string why) => _shutdown.Drain(why);

    /// <summary>Stops the runs and ends.</summary>
    internal void Stop(string why) => _shutdown.Stop(why);

    /// <summary>Ends at once and leaves the runs to their supervisors and engines, and to the next agent: a service that is restarted.</summary>
    internal void Detach(string why) => _lifetime.Detach(why);

    // What items need of the parts.
    internal Task<T> AskAsync<T>(
        Func<CancellationToken, Task<T>> ask,
        CancellationToken token,
        int mostRefusals = int.MaxValue
    ) => _link.AskAsync(ask, token, mostRefusals);

    internal Task<bool> OnceAsync(
        Func<CancellationToken, Task> ask,
        [CallerMemberName] string asker = "",
        [CallerLineNumber] int line = 0
    ) => _link.OnceAsync(ask, asker, line);

    /// <summary>The limits of an item's run: the smallest of its own, its queue's and the agent's.</summary>
    internal async Task<RunLimits> LimitsOfAsync(JournalEntry entry) =>
        entry.Config.Limits.Smallest(Config.Limits).Smallest(await _queues.LimitsOfAsync(entry.QueueId));

    internal void LeaveSlot(AgentItem item) => _slots.Leave(item);

    internal Task EnterSlotAsync(AgentItem item, CancellationToken token) => _slots.EnterAsync(item, token);

    internal void Count(
        bool taken = false,
        bool succeeded = false,
        bool failed = false,
        bool stopped = false,
        bool notOurs = false
    ) => _counts.Add(taken, succeeded, failed, stopped, notOurs);

    internal void Tell(
        AgentEventKind kind,
        JournalEntry? entry,
        string message,
        LaunchedRun? run = null,
        string? fault = null
    ) => _teller.Tell(kind, entry, message, run, fault);

    internal void Status(string line) => _teller.Status(line);

    internal void Step(string name) => _teller.Step(name);

    public void Dispose()
    {
        _board.Leave();
        Supervision.Dispose();
        _ticker.Dispose();
        _lifetime.Dispose();
        _registration.Dispose();
        _home.Dispose();
    }
}
