using System.Globalization;
using WandbLaunch.Foundation;

namespace WandbLaunch.Wandb;

/// <summary>Today's protocol as this project's own server speaks it: with batches, waiting agents, and items that tell how their runs ended. Each is a feature that a version of it may lack.</summary>
internal sealed class ProtocolLocal(GraphQLTransport transport, ServerDialect dialect)
    : ProtocolCurrent(transport, dialect)
{
    private const int RemovesPerRequest = 10_000;

    public override bool ItemsTellTheirEnd => Dialect.Finish;

    public override bool CanWaitForWork => Dialect.Wait;

    public override string Store => Dialect.Store;

    private protected override int ItemsPerRequest => Dialect.PushBatch ? 2500 : base.ItemsPerRequest;

    private protected override int BytesPerRequest => Dialect.PushBatch ? 32 << 20 : base.BytesPerRequest;

    private protected override async Task<IReadOnlyList<QueuePushed>> PushPartAsync(
        PushTarget target,
        List<QueuePush> items,
        CancellationToken token
    )
    {
        if (!Dialect.PushBatch)
        {
            return await base.PushPartAsync(target, items, token);
        }

        if (await Pushes.PushBatchAsync(target, items, token) is { } pushed)
        {
            return pushed;
        }

        var id = await target.FindOrMakeAsync(token);
        return await Pushes.PushBatchAsync(target, items, token) ?? await Pushes.PushByIdAsync(id, items, token);
    }

    public override async Task<IReadOnlyList<bool>> DeleteItemsAsync(
        WandbRunQueue queue,
        IReadOnlyList<string> ids,
        CancellationToken token
    )
    {
        if (!Dialect.RemoveBatch)
        {
            return await base.DeleteItemsAsync(queue, ids, token);
        }

        var removed = new HashSet<string>(StringComparer.Ordinal);
        foreach (var part in ids.Chunk(RemovesPerRequest))
        {
            var answer = await Transport.PostAsync(
                $"/queues/remove?queue={Uri.EscapeDataString(queue.Id)}",
                part,
                token
            );
            removed.UnionWith(answer.Items("removed").Select(i => i.GetRawText()));
        }

        return [.. ids.Select(removed.Contains)];
    }

    public override async Task<bool> WaitForWorkAsync(
        IReadOnlyList<string> queueIds,
        TimeSpan limit,
        CancellationToken token,
        IReadOnlyList<string>? except = null
    )
    {
        var path =
            $"/queues/wait?timeout={limit.TotalSeconds.ToString(CultureInfo.InvariantCulture)}{string.Concat(queueIds.Select(q => "&queue=" + Uri.EscapeDataString(q)))}{string.Concat((except ?? []).Select(r => "&except=" + Uri.EscapeDataString(r)))}";
        return (await Transport.GetAsync(path, token)).Flag("ready") ?? false;
    }

    public override async Task ReportEndAsync(ItemEnd end, CancellationToken token)
    {
        if (!ItemsTellTheirEnd)
        {
            await base.ReportEndAsync(end, token);
            return;
        }

        if (end.Warning is not null)
        {
            await Leases.WarnAsync(end.Item, end.Warning, "run", [], token);
        }

        await Leases.FinishAsync(end, token);
    }
}
