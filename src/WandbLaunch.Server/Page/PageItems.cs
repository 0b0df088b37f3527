using Dapper;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Pages;

/// <summary>An item's row.</summary>
internal sealed record ItemRow
{
    public long Id { get; init; }
    public long Queue { get; init; }
    public string State { get; init; } = "";
    public string? Run { get; init; }
    public string Spec { get; init; } = "";
    public string CreatedAt { get; init; } = "";
    public int Priority { get; init; }
    public long? Agent { get; init; }
    public string? AgentName { get; init; }
    public int? ExitCode { get; init; }
    public string? ClaimedAt { get; init; }
    public string? FinishedAt { get; init; }
    public string? EngineId { get; init; }
    public string? Reason { get; init; }
    public string? Error { get; init; }
    public string? Warnings { get; init; }
}

/// <summary>What happened to an item.</summary>
internal sealed record ItemEvent(string At, string State, string? Agent, string? Note);

/// <summary>What the list of a queue is asked for.</summary>
internal sealed record ItemQuery(long Queue, long Before, int First, string[] States, string? Text);

/// <summary>Items as the page reads and changes them.</summary>
internal sealed class PageItems(Database database, QueueRepository queues, ItemRepository items)
{
    private const string Select =
        "SELECT i.id AS Id, i.queue AS Queue, i.state AS State, i.run_name AS Run, i.spec AS Spec, i.created_at AS CreatedAt, i.priority AS Priority, i.agent AS Agent, a.name AS AgentName, i.exit_code AS ExitCode, i.claimed_at AS ClaimedAt, i.finished_at AS FinishedAt, i.engine_id AS EngineId, i.reason AS Reason, i.error AS Error, i.warnings AS Warnings FROM items i LEFT JOIN agents a ON a.id = i.agent WHERE ";

    internal (List<ItemRow> Items, bool More) Page(ItemQuery query) =>
        database.Read(c =>
        {
            var found = c.Query<ItemRow>(
                    Select
                        + "i.queue = @Queue AND i.id < @Before"
                        + (query.States.Length > 0 ? " AND i.state IN @States" : "")
                        + (
                            query.Text is null
                                ? ""
                                : " AND (instr(lower(i.spec), lower(@Text)) > 0 OR instr(lower(COALESCE(i.run_name, '')), lower(@Text)) > 0 OR i.id = CAST(@Text AS INTEGER))"
                        )
                        + " ORDER BY i.id DESC LIMIT @limit",
                    new
                    {
                        query.Queue,
                        query.Before,
                        query.States,
                        query.Text,
                        limit = query.First + 1,
                    },
                    buffered: false
                )
                .TakePage(query.First, i => i.Spec.Length, out var more);
            return (found, more);
        });

    internal ItemRow? Find(long id) =>
        database.Read(c => c.QueryFirstOrDefault<ItemRow>(Select + "i.id = @id", new { id }));

    /// <summary>True where somebody may see an item: its queue says so.</summary>
    internal bool MayRead(ItemRow item, Caller caller) =>
        caller.IsAdmin || (queues.Find(item.Queue) is { } queue && caller.MayRead(queue));

    /// <summary>Items that are a run, the newest first.</summary>
    internal List<ItemRow> OfRun(string run) =>
        database.Read(c =>
            c.Query<ItemRow>(Select + "i.run_name = @run ORDER BY i.id DESC LIMIT 20", new { run }).AsList()
        );

    /// <summary>Items that name a run as what they repeat, the newest first, of the last few thousand.</summary>
    internal List<ItemRow> Repeating(string path) =>
        database.Read(c =>
            c.Query<ItemRow>(
                    Select
                        + "i.id > (SELECT MAX(id) - 5000 FROM items) AND instr(i.spec, @path) > 0 ORDER BY i.id DESC LIMIT 50",
                    new { path }
                )
                .AsList()
        );

    internal List<ItemEvent> History(ItemRow item) =>
        database.Read(c =>
            c.Query<(string At, string State, string? Agent, string? Note)>(
                    "SELECT e.at, e.state, a.name, e.note FROM item_events e LEFT JOIN agents a ON a.id = e.agent WHERE e.item = @Id ORDER BY e.id LIMIT 1000",
                    new { item.Id }
                )
                .Select(e => new ItemEvent(e.At, e.State, e.Agent, e.Note))
                .Prepend(new ItemEvent(item.CreatedAt, "PENDING", null, null))
                .ToList()
        );

    /// <summary>How many are before one that waits.</summary>
    internal long Before(ItemRow item) =>
        database.Read(c =>
            c.ExecuteScalar<long>(
                "SELECT COUNT(*) FROM items WHERE queue = @Queue AND state = 'PENDING' AND (priority, id) < (@Priority, @Id)",
                new
                {
                    item.Queue,
                    item.Priority,
                    item.Id,
                }
            )
        );

    /// <summary>Removes one that waits.</summary>
    internal void Delete(ItemRow item)
    {
        if (!items.Delete(item.Queue, item.Id))
        {
            throw Started(item);
        }
    }

    /// <summary>Queues again what an item asked for, as a new item of the same queue; the old one stays as it ended.</summary>
    internal long Requeue(ItemRow item)
    {
        if (item.State is "PENDING" or "LEASED" or "CLAIMED")
        {
            throw new ServerFault($"The item {Ids.Text(item.Id)} has not ended: it is in the queue, or runs.");
        }

        var queue = Queue(item.Queue);
        return database.Transact(c =>
        {
            var (id, _) = items.Push(queue, item.Spec, queue.Mode == "DISABLED" ? null : item.Priority, null);
            Note(item.Id, item.State, $"Queued again as {Ids.Text(id)}.");
            Note(id, "PENDING", $"Queued again: it was {Ids.Text(item.Id)}.");
            return id;
        });
    }

    internal void SetPriority(ItemRow item, int priority)
    {
        var queue = Queue(item.Queue);
        if (queue.Mode == "DISABLED")
        {
            throw new ServerFault(
                $"The queue \"{queue.Name}\" has no priorities. Switch them on where the queue is configured."
            );
        }

        if (priority is < 0 or > 3)
        {
            throw new ServerFault("A priority is 0 (critical), 1 (high), 2 (medium) or 3 (low).");
        }

        database.Transact(c =>
        {
            if (
                c.Execute(
                    "UPDATE items SET priority = @priority WHERE id = @Id AND state = 'PENDING'",
                    new { item.Id, priority }
                ) == 0
            )
            {
                throw Started(item);
            }

            Note(item.Id, "PENDING", $"Its priority became {Ids.Text(priority)}.");
            return true;
        });
    }

    /// <summary>Moves an item that waits to another queue, as if it had been pushed there.</summary>
    internal long Move(ItemRow item, QueueRecord to)
    {
        if (to.Id == item.Queue)
        {
            return item.Id;
        }

        return database.Transact(c =>
        {
            Delete(item);
            var (id, _) = items.Push(to, item.Spec, to.Mode == "DISABLED" ? null : item.Priority, null);
            Note(id, "PENDING", $"Moved from another queue, where it was {Ids.Text(item.Id)}.");
            return id;
        });
    }

    private QueueRecord Queue(long id) => queues.Find(id) ?? throw new ServerFault("The queue was deleted.");

    private void Note(long item, string state, string note) =>
        database.Write(c =>
            c.Execute(
                "INSERT INTO item_events (item, at, state, note) VALUES (@item, @now, @state, @note)",
                new
                {
                    item,
                    state,
                    note,
                    now = Database.Now,
                }
            )
        );

    private static ServerFault Started(ItemRow item) =>
        new($"The item {Ids.Text(item.Id)} does not wait any more: it was started, or deleted.");
}
