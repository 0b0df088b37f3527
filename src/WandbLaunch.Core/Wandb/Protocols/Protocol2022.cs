namespace WandbLaunch.Wandb;

/// <summary>W&amp;B's protocol of 2022: queues of each project, and items pushed by the queue's id (protocol B.2, B.3).</summary>
internal sealed class Protocol2022(GraphQLTransport transport, ServerDialect dialect)
    : LaunchProtocol(transport, dialect)
{
    public override bool QueuesBelongToEntity => false;

    public override bool RunsKeepTheirId => false;

    public override bool AgentsHaveARun => false;

    public override string? QueueProject(string? project) => project;

    public override Task<string?> CreateQueueAsync(NewQueue queue, CancellationToken token) =>
        Queues.CreatePlainAsync(queue, token);

    private protected override async Task<IReadOnlyList<QueuePushed>> PushPartAsync(
        PushTarget target,
        List<QueuePush> items,
        CancellationToken token
    )
    {
        var id = await target.FindOrMakeAsync(token);
        var known = items.Where(i => !NeedsMore(i)).ToList();
        var pushed = new Queue<QueuePushed>(known.Count > 0 ? await Pushes.PushByIdAsync(id, known, token) : []);
        return
        [
            .. items.Select(i =>
                NeedsMore(i)
                    ? new QueuePushed(null, i, null, TooOld("A priority or a template variable"))
                    : pushed.Dequeue()
            ),
        ];
    }

    private static bool NeedsMore(QueuePush item) => item is { Priority: not null } or { TemplateVariables.Count: > 0 };
}
