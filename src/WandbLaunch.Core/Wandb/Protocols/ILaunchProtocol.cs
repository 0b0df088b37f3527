using System.Text.Json.Nodes;
using WandbLaunch.Model;

namespace WandbLaunch.Wandb;

/// <summary>
/// What Launch asks of a server, in the protocol that the server speaks: chosen once for a connection (see
/// <see cref="LaunchProtocol.ConnectAsync"/>). Nothing else asks for a server's generation; where a caller must know a
/// fact of it, the fact is a property here.
/// </summary>
internal interface ILaunchProtocol
{
    /// <summary>Queues belong to the entity and lie in one project of their own; else each project has its own, and an agent works for its project alone (protocol B.2, F.4).</summary>
    bool QueuesBelongToEntity { get; }

    /// <summary>An item says how its run ended, with its exit code; else the state of its run does.</summary>
    bool ItemsTellTheirEnd { get; }

    /// <summary>The record of an item holds its launch config.</summary>
    bool ItemsShowTheirConfig { get; }

    /// <summary>The id of a run is given with the item, and stays what it is when the run is made again.</summary>
    bool RunsKeepTheirId { get; }

    /// <summary>The server tells waiting agents of work.</summary>
    bool CanWaitForWork { get; }

    /// <summary>A pop and a wait can leave out items of resources that have no room.</summary>
    bool PopsByResource { get; }

    /// <summary>Queues have a configuration, which can be read.</summary>
    bool QueuesAreConfigured { get; }

    /// <summary>An agent has a run of its own, which holds the logs of items that fail (protocol F.2, row 6).</summary>
    bool AgentsHaveARun { get; }

    /// <summary>The server has sweeps.</summary>
    bool HasSweeps { get; }

    /// <summary>Names the server's database, where ids of items are small numbers and another database counts anew; else empty.</summary>
    string Store { get; }

    /// <summary>The same protocol, spoken over another transport to the same server.</summary>
    ILaunchProtocol Over(GraphQLTransport transport);

    /// <summary>The project that queues lie in for runs of this project; null where that project has to be named and is not.</summary>
    string? QueueProject(string? project);

    /// <summary>True when queues of this entity are open to all members of a team.</summary>
    Task<bool> IsSharedAsync(string entity, CancellationToken token);

    Task<IReadOnlyList<WandbRunQueue>> QueuesAsync(string entity, string project, CancellationToken token);

    /// <summary>As <see cref="QueuesAsync"/>, with how many items run and failed and the age of what waits, where the server tells.</summary>
    Task<IReadOnlyList<WandbRunQueue>> CountedQueuesAsync(string entity, string project, CancellationToken token);

    /// <summary>Makes a queue in a project that is there, and gives its id; null when the server did not.</summary>
    Task<string?> CreateQueueAsync(NewQueue queue, CancellationToken token);

    /// <summary>Sets what a queue makes of its items (protocol B.2, upsertRunQueue). Warnings of the server come back.</summary>
    Task<IReadOnlyList<string>> ConfigureQueueAsync(QueueConfiguration configuration, CancellationToken token);

    /// <summary>Queues can be paused.</summary>
    bool QueuesCanBePaused { get; }

    /// <summary>Gives agents nothing of a queue, or again what waits in it; false when the server did not. See <see cref="QueuesCanBePaused"/>.</summary>
    Task<bool> PauseQueueAsync(WandbRunQueue queue, bool paused, CancellationToken token);

    Task DeleteQueueAsync(WandbRunQueue queue, CancellationToken token);

    /// <summary>Pushes items in as few requests as the server allows, in their order. One that is refused fails alone.</summary>
    Task<IReadOnlyList<QueuePushed>> PushAsync(
        PushTarget target,
        IReadOnlyList<QueuePush> items,
        CancellationToken token
    );

    /// <summary>The items of a queue, oldest first, page after page where the server has pages.</summary>
    IAsyncEnumerable<WandbLaunchQueueItem> ItemsAsync(
        WandbRunQueue queue,
        IReadOnlyList<QueueItemState> states,
        CancellationToken token
    );

    Task<WandbLaunchQueueItem?> ItemAsync(WandbRunQueue queue, string id, CancellationToken token);

    /// <summary>Removes items that wait, in few requests: for each whether it was removed, or was started or is gone.</summary>
    Task<IReadOnlyList<bool>> DeleteItemsAsync(WandbRunQueue queue, IReadOnlyList<string> ids, CancellationToken token);

    /// <summary>Waits until one of the queues has an item; false when the time is over.</summary>
    /// <param name="queueIds">The queues.</param>
    /// <param name="limit">How long.</param>
    /// <param name="token">Cancels.</param>
    /// <param name="except">Names of resources whose items do not count; empty for those without one. See <see cref="PopsByResource"/>.</param>
    Task<bool> WaitForWorkAsync(
        IReadOnlyList<string> queueIds,
        TimeSpan limit,
        CancellationToken token,
        IReadOnlyList<string>? except = null
    );

    /// <summary>Takes the next item of a queue, or null when it is empty. Another agent gets it unless it is acknowledged in time.</summary>
    /// <param name="entity">Owner of the queue.</param>
    /// <param name="project">Project of the queue.</param>
    /// <param name="queue">Name of the queue.</param>
    /// <param name="agent">Who takes it.</param>
    /// <param name="token">Cancels.</param>
    /// <param name="except">Names of resources whose items stay where they are; empty for those without one. See <see cref="PopsByResource"/>.</param>
    Task<PoppedItem?> PopAsync(
        string entity,
        string project,
        string queue,
        string? agent,
        CancellationToken token,
        IReadOnlyList<string>? except = null
    );

    /// <summary>Makes a popped item this agent's own; false when its lease was over and somebody else has it.</summary>
    Task<bool> AckAsync(string item, string run, CancellationToken token);

    /// <summary>
    /// As <see cref="AckAsync"/>, and can be asked again after an answer that was lost: an item that carries this run then
    /// is this agent's. Only then: the id of a run is made of the item or stands in it, so that another agent, which
    /// took the item when the lease was over, acknowledged it with the same one.
    /// </summary>
    Task<bool> ClaimAsync(WandbRunQueue queue, string item, string run, bool askedBefore, CancellationToken token);

    /// <summary>Reports an item that could not be run.</summary>
    Task FailAsync(
        string item,
        string message,
        string stage,
        IReadOnlyList<string> files,
        bool acknowledged,
        CancellationToken token
    );

    /// <summary>Adds a warning to an item, where items have them.</summary>
    Task WarnAsync(string item, string message, string stage, IReadOnlyList<string> files, CancellationToken token);

    /// <summary>Notes on an acknowledged item where its run is found on its engine, and what it waits for; nothing where items have no place for it.</summary>
    Task NoteRunAsync(string item, string? engineId, string? reason, CancellationToken token);

    /// <summary>Reports how an acknowledged item ended, as far as the server does not see it from the run.</summary>
    Task ReportEndAsync(ItemEnd end, CancellationToken token);

    /// <summary>Registers an agent; null on servers that know no agents (protocol B.1).</summary>
    Task<string?> RegisterAgentAsync(NewAgent agent, CancellationToken token);

    /// <summary>Says what the agent does; also its sign of life.</summary>
    Task SendHeartbeatAsync(string? agent, AgentState state, CancellationToken token);

    /// <summary>What the server says of an agent.</summary>
    Task<AgentAnswer> AgentAsync(string? agent, CancellationToken token);

    /// <summary>The agents of a project, where the server lists them.</summary>
    Task<IReadOnlyList<WandbLaunchAgent>> AgentsAsync(string entity, string project, CancellationToken token);

    /// <summary>Asks an agent to end by way of the server; false when the server has no such thing.</summary>
    Task<bool> StopAgentAsync(string agent, CancellationToken token);

    /// <summary>State of a sweep, or null when there is none (protocol B.7).</summary>
    Task<string?> SweepStateAsync(string entity, string project, string sweep, CancellationToken token);

    /// <summary>Ends a sweep whose scheduler failed (protocol F.5, B.7), where the server has sweeps; one that is over already stays as it is.</summary>
    Task CancelSweepAsync(string entity, string project, string sweep, CancellationToken token);

    /// <summary>Announces files of a run, and gives where they go (protocol B.6).</summary>
    Task<RunUploads> CreateRunFilesAsync(RunPath run, IReadOnlyList<string> names, CancellationToken token);
}

/// <summary>A queue to be made.</summary>
internal sealed record NewQueue(
    string Entity,
    string Project,
    string Name,
    string Access,
    string? PrioritizationMode = null,
    string? ConfigId = null
);

/// <summary>What a queue makes of its items.</summary>
internal sealed record QueueConfiguration(
    string Entity,
    string Project,
    string Name,
    string Resource,
    JsonObject ResourceArgs,
    JsonObject? TemplateVariables,
    string? PrioritizationMode
)
{
    /// <summary>Of its runs; no server knows them, and agents of this project read them there.</summary>
    internal RunLimits Limits { get; init; } = RunLimits.None;
}

/// <summary>Where items are pushed to.</summary>
/// <param name="Entity">Owner of the queue.</param>
/// <param name="Project">Project of the queue.</param>
/// <param name="Queue">Name of the queue.</param>
/// <param name="FindOrMakeAsync">Gives the queue's id, and makes the default queue where it is missing (protocol B.3).</param>
internal sealed record PushTarget(
    string Entity,
    string Project,
    string Queue,
    Func<CancellationToken, Task<string>> FindOrMakeAsync
);

/// <summary>An item that was popped: leased until it is acknowledged. With a fault its spec could not be read, and is empty.</summary>
internal sealed record PoppedItem(string Id, JsonObject Spec, string? Fault = null);

/// <summary>How an item ended.</summary>
/// <param name="Item">Id of the item.</param>
/// <param name="State">FINISHED, FAILED or STOPPED.</param>
/// <param name="Run">Its run.</param>
internal sealed record ItemEnd(string Item, string State, RunPath Run)
{
    internal int? ExitCode { get; init; }
    internal string? Message { get; init; }
    internal string? Stage { get; init; }

    /// <summary>What its engine calls its run.</summary>
    internal string? EngineId { get; init; }

    /// <summary>Why the run ended as it did.</summary>
    internal string? Reason { get; init; }
    internal IReadOnlyList<string> Files { get; init; } = [];

    /// <summary>What is odd about it, though it ended as it says.</summary>
    internal string? Warning { get; init; }

    /// <summary>The program ran and became a W&amp;B run, which shows by itself how it ended.</summary>
    internal bool RunShowsIt { get; init; }
}

/// <summary>An agent to be registered.</summary>
internal sealed record NewAgent(
    string Entity,
    string Project,
    IReadOnlyList<string> QueueIds,
    string Hostname,
    string Config
);

/// <summary>What a server says of an agent.</summary>
/// <param name="Name">Its name there.</param>
/// <param name="StopPolling">It is to take nothing more.</param>
/// <param name="StopRuns">It is to stop what it runs, too.</param>
internal sealed record AgentAnswer(string? Name, bool StopPolling, bool StopRuns = false);

/// <summary>Where the files of a run go, and the header lines to send with them.</summary>
internal sealed record RunUploads(IReadOnlyList<string> Headers, IReadOnlyList<(string Name, string Url)> Targets);
