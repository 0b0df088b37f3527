using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Wandb;

/// <summary>
/// What all generations have in common. Servers of one generation differ among themselves by version: what a single
/// field or mutation decides is looked for in the operations, and what makes a generation is in the three protocols.
/// </summary>
internal abstract class LaunchProtocol : ILaunchProtocol
{
    private readonly AgentOperations _agents;
    private readonly ItemOperations _items;
    private readonly SweepOperations _sweeps;
    private readonly RunFileOperations _runFiles;

    private protected LaunchProtocol(GraphQLTransport transport, ServerDialect dialect)
    {
        Transport = transport;
        Dialect = dialect;
        Queues = new QueueOperations(transport, dialect);
        Pushes = new PushOperations(transport);
        Leases = new LeaseOperations(transport, dialect);
        _items = new ItemOperations(transport, dialect);
        _agents = new AgentOperations(transport, dialect, Queues);
        _sweeps = new SweepOperations(transport, dialect);
        _runFiles = new RunFileOperations(transport, dialect);
    }

    public abstract bool QueuesBelongToEntity { get; }

    public virtual bool ItemsTellTheirEnd => false;

    public bool ItemsShowTheirConfig => Dialect.ItemFields.Contains("runSpec");

    public abstract bool RunsKeepTheirId { get; }

    public virtual bool CanWaitForWork => false;

    public bool PopsByResource => Dialect.PopsByResource;

    public bool QueuesAreConfigured => Dialect.QueueFields.Contains("defaultResourceConfigID");

    public abstract bool AgentsHaveARun { get; }

    public bool HasSweeps => _sweeps.Known;

    public virtual string Store => "";

    private protected GraphQLTransport Transport { get; }

    private protected ServerDialect Dialect { get; }

    private protected QueueOperations Queues { get; }

    private protected PushOperations Pushes { get; }

    private protected LeaseOperations Leases { get; }

    // A field for each item: what a request may hold without being refused for its size or complexity.
    private protected virtual int ItemsPerRequest => 50;

    // Bytes of the specs in one request: what servers take at once, with their escaping and wrapping.
    private protected virtual int BytesPerRequest => 4 << 20;

    /// <summary>Asks a server what it has, and chooses the protocol to speak with it.</summary>
    internal static async Task<ILaunchProtocol> ConnectAsync(GraphQLTransport transport, CancellationToken token) =>
        Choose(transport, await ServerDialect.ProbeAsync(transport, token));

    /// <summary>Of today is whoever takes items by the queue's name, and our own whoever has what no other server has.</summary>
    internal static ILaunchProtocol Choose(GraphQLTransport transport, ServerDialect dialect) =>
        !dialect.PushByName ? new Protocol2022(transport, dialect)
        : dialect.Own ? new ProtocolLocal(transport, dialect)
        : new ProtocolCurrent(transport, dialect);

    internal static LaunchException TooOld(string what) =>
        new(
            "ServerTooOld",
            LaunchErrorCategory.NotImplemented,
            $"{what} is not known to this server: it speaks W&B's protocol of 2022. Update the server, or do it in its web page.",
            null
        );

    public ILaunchProtocol Over(GraphQLTransport transport) => Choose(transport, Dialect);

    public abstract string? QueueProject(string? project);

    public virtual Task<bool> IsSharedAsync(string entity, CancellationToken token) => Task.FromResult(false);

    public Task<IReadOnlyList<WandbRunQueue>> QueuesAsync(string entity, string project, CancellationToken token) =>
        Queues.ListAsync(entity, project, false, token);

    public Task<IReadOnlyList<WandbRunQueue>> CountedQueuesAsync(
        string entity,
        string project,
        CancellationToken token
    ) => Queues.ListAsync(entity, project, true, token);

    public abstract Task<string?> CreateQueueAsync(NewQueue queue, CancellationToken token);

    public Task<IReadOnlyList<string>> ConfigureQueueAsync(QueueConfiguration configuration, CancellationToken token) =>
        Queues.ConfigureAsync(configuration, token);

    public bool QueuesCanBePaused => Dialect.Mutations.Contains("pauseRunQueue");

    public Task<bool> PauseQueueAsync(WandbRunQueue queue, bool paused, CancellationToken token) =>
        Queues.PauseAsync(queue, paused, token);

    public Task DeleteQueueAsync(WandbRunQueue queue, CancellationToken token) => Queues.DeleteAsync(queue, token);

    public async Task<IReadOnlyList<QueuePushed>> PushAsync(
        PushTarget target,
        IReadOnlyList<QueuePush> items,
        CancellationToken token
    )
    {
        var results = new List<QueuePushed>(items.Count);
        for (var at = 0; at < items.Count; )
        {
            var part = Part(items, at, ItemsPerRequest, BytesPerRequest);
            at += part.Count;
            results.AddRange(await PushPartAsync(target, part, token));
        }

        return results;
    }

    /// <summary>Pushes the items of one request.</summary>
    private protected abstract Task<IReadOnlyList<QueuePushed>> PushPartAsync(
        PushTarget target,
        List<QueuePush> items,
        CancellationToken token
    );

    // The next items that go together: one at least, however large.
    private static List<QueuePush> Part(IReadOnlyList<QueuePush> items, int from, int most, int bytes)
    {
        var part = new List<QueuePush>(Math.Min(most, items.Count - from));
        for (var sum = 0L; part.Count < most && from + part.Count < items.Count; part.Add(items[from + part.Count]))
        {
            sum += items[from + part.Count].Json.Length;
            if (part.Count > 0 && sum > bytes)
            {
                break;
            }
        }

        return part;
    }

    public IAsyncEnumerable<WandbLaunchQueueItem> ItemsAsync(
        WandbRunQueue queue,
        IReadOnlyList<QueueItemState> states,
        CancellationToken token
    ) => _items.ListAsync(queue, states, token);

    public Task<WandbLaunchQueueItem?> ItemAsync(WandbRunQueue queue, string id, CancellationToken token) =>
        _items.GetAsync(queue, id, token);

    public virtual Task<IReadOnlyList<bool>> DeleteItemsAsync(
        WandbRunQueue queue,
        IReadOnlyList<string> ids,
        CancellationToken token
    ) => _items.DeleteAsync(queue, ids, token);

    public virtual Task<bool> WaitForWorkAsync(
        IReadOnlyList<string> queueIds,
        TimeSpan limit,
        CancellationToken token,
        IReadOnlyList<string>? except = null
    ) => throw new NotSupportedException("This server tells nobody of work: see CanWaitForWork.");

    public Task<PoppedItem?> PopAsync(
        string entity,
        string project,
        string queue,
        string? agent,
        CancellationToken token,
        IReadOnlyList<string>? except = null
    ) => Leases.PopAsync(entity, project, queue, agent, except ?? [], token);

    public Task<bool> AckAsync(string item, string run, CancellationToken token) => Leases.AckAsync(item, run, token);

    public async Task<bool> ClaimAsync(
        WandbRunQueue queue,
        string item,
        string run,
        bool askedBefore,
        CancellationToken token
    ) =>
        await Leases.AckAsync(item, run, token)
        || (askedBefore && (await _items.GetAsync(queue, item, token))?.RunId == run);

    public Task FailAsync(
        string item,
        string message,
        string stage,
        IReadOnlyList<string> files,
        bool acknowledged,
        CancellationToken token
    ) => Leases.FailAsync(item, message, stage, files, acknowledged, token);

    public Task WarnAsync(
        string item,
        string message,
        string stage,
        IReadOnlyList<string> files,
        CancellationToken token
    ) => Leases.WarnAsync(item, message, stage, files, token);

    public Task NoteRunAsync(string item, string? engineId, string? reason, CancellationToken token) =>
        Leases.NoteRunAsync(item, engineId, reason, token);

    // W&B shows how a run ended by itself; an item fails where there is no run to show it.
    public virtual async Task ReportEndAsync(ItemEnd end, CancellationToken token)
    {
        if (end is not { State: "FAILED", RunShowsIt: false })
        {
            return;
        }

        await Leases.FailAsync(end.Item, end.Message ?? "", end.Stage ?? "agent", end.Files, true, token);
        if (!Leases.TakesFailures)
        {
            // There is no word for it once an item was acknowledged: the run itself says so.
            await new RunUpsert(end.Run.Id, end.Run.Entity, end.Run.Project)
            {
                State = "failed",
                Notes = Secrets.Mask(end.Message ?? ""),
            }.SendAsync(Transport, token);
        }
    }

    public Task<string?> RegisterAgentAsync(NewAgent agent, CancellationToken token) =>
        _agents.RegisterAsync(agent, token);

    public Task SendHeartbeatAsync(string? agent, AgentState state, CancellationToken token) =>
        _agents.SendHeartbeatAsync(agent, state, token);

    public Task<AgentAnswer> AgentAsync(string? agent, CancellationToken token) => _agents.GetAsync(agent, token);

    public Task<IReadOnlyList<WandbLaunchAgent>> AgentsAsync(string entity, string project, CancellationToken token) =>
        _agents.ListAsync(entity, project, token);

    public Task<bool> StopAgentAsync(string agent, CancellationToken token) => _agents.StopAsync(agent, token);

    public Task<string?> SweepStateAsync(string entity, string project, string sweep, CancellationToken token) =>
        _sweeps.StateAsync(entity, project, sweep, token);

    public Task CancelSweepAsync(string entity, string project, string sweep, CancellationToken token) =>
        _sweeps.CancelAsync(entity, project, sweep, token);

    public Task<RunUploads> CreateRunFilesAsync(RunPath run, IReadOnlyList<string> names, CancellationToken token) =>
        _runFiles.CreateAsync(run, names, token);
}
