namespace WandbLaunch.Wandb;

/// <summary>Today's protocol of W&amp;B: queues of an entity in one project of their own, and items pushed by the queue's name.</summary>
internal class ProtocolCurrent(GraphQLTransport transport, ServerDialect dialect) : LaunchProtocol(transport, dialect)
{
    /// <summary>Where queues lie (protocol K 21).</summary>
    internal const string QueuesProject = "model-registry";

    public override bool QueuesBelongToEntity => true;

    public override bool RunsKeepTheirId => true;

    public override bool AgentsHaveARun => true;

    public override string QueueProject(string? project) => QueuesProject;

    public override Task<bool> IsSharedAsync(string entity, CancellationToken token) =>
        Queues.IsTeamAsync(entity, token);

    public override Task<string?> CreateQueueAsync(NewQueue queue, CancellationToken token) =>
        Queues.CreateAsync(queue, token);

    // Null: no queue of that name there. The older way finds out, and makes the default queue (protocol B.3).
    private protected override async Task<IReadOnlyList<QueuePushed>> PushPartAsync(
        PushTarget target,
        List<QueuePush> items,
        CancellationToken token
    ) =>
        await Pushes.PushByNameAsync(target, items, token)
        ?? await Pushes.PushByIdAsync(await target.FindOrMakeAsync(token), items, token);
}
