using System.Buffers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dapper;
using Microsoft.Data.Sqlite;

namespace WandbLaunch.Server.Data;

/// <summary>What came of an item that was pushed: its id and its text where the queue changed it, or why it was refused.</summary>
internal readonly record struct PushedItem(long Id, string? Filled, string? Fault);

/// <summary>Items of queues. An item is leased by a pop, and taken by the first ack that comes (protocol J).</summary>
internal sealed class ItemRepository(Database database, QueueSignals signals) : IDisposable
{
    internal const int DefaultPriority = 2;

    private const string Select =
        "SELECT i.id AS Id, i.queue AS Queue, i.state AS State, i.run_name AS RunName, i.spec AS Spec, i.created_at AS CreatedAt, i.priority AS Priority, i.agent AS Agent, a.name AS AgentName, i.exit_code AS ExitCode, i.claimed_at AS ClaimedAt, i.finished_at AS FinishedAt, i.engine_id AS EngineId, i.reason AS Reason, i.error AS Error, i.warnings AS Warnings FROM items i LEFT JOIN agents a ON a.id = i.agent WHERE ";

    // An answer is kept for longer than any client asks for it.
    private const long Kept = 3_600_000;
    private const long BetweenForgetting = 600_000;

    // The statements of every push and pop, compiled once; used by the one writer only.
    private ItemStatement? _insert;
    private SqliteCommand? _expire;
    private SqliteCommand? _pop;
    private SqliteCommand? _popExcept;
    private long _nextForgetting;

    /// <summary>False where a test wants a server that gives its agents whatever was queued, as others do.</summary>
    internal bool ChecksItems { get; set; } = true;

    /// <summary>Puts one item into a queue, and gives its id and its text as it was queued.</summary>
    /// <exception cref="ServerFault">It is refused.</exception>
    internal (long Id, string Spec) Push(QueueRecord queue, string spec, int? priority, string? variables)
    {
        // The order in which faults are told is that of the push itself.
        CheckPriority(queue, priority);
        JsonLimits.CheckObject("runSpec", spec);
        if (variables is not null && queue.Resource is not null)
        {
            JsonLimits.CheckObject("templateVariableValues", variables);
        }

        var item = new NewItem(
            Encoding.UTF8.GetBytes(spec.TrimStart()),
            priority,
            Encoding.UTF8.GetBytes(variables?.TrimStart() ?? ""),
            null
        );
        var (id, filled, fault) = Push(queue, [item])[0];
        return fault is null ? (id, filled ?? spec) : throw new ServerFault(fault);
    }

    /// <summary>Puts items into a queue, all in one transaction; one that is refused has its reason in the place of its id.</summary>
    internal List<PushedItem> Push(QueueRecord queue, List<NewItem> items)
    {
        var results = new List<PushedItem>(items.Count);
        var pushed = 0;
        database.Transact(c =>
        {
            var insert = _insert ??= new ItemStatement(c);
            insert.Begin(queue.Id, Database.Now);
            foreach (var (spec, priority, variables, fault) in items)
            {
                try
                {
                    if (fault is not null)
                    {
                        results.Add(new PushedItem(0, null, fault));
                        continue;
                    }

                    CheckPriority(queue, priority);
                    var filled = QueueTemplates.Fill(queue, spec.Span, variables.Span);
                    var id = insert.Insert(
                        filled is null ? spec.Span : Encoding.UTF8.GetBytes(filled),
                        priority ?? DefaultPriority
                    );
                    results.Add(new PushedItem(id, filled, null));
                    pushed++;
                }
                catch (ServerFault e)
                {
                    results.Add(new PushedItem(0, null, e.Message));
                }
            }

            return pushed;
        });
        signals.Wake(queue.Id, pushed);
        return results;
    }

    /// <summary>Pushes a batch and gives the answer for it: the id of each item, or why it was refused. One that was answered before under the same name is answered the same and pushes nothing.</summary>
    internal byte[] PushBatch(QueueRecord queue, List<NewItem> items, string? request) =>
        request is null ? Answer(Push(queue, items)) : Once(request, () => Answer(Push(queue, items)));

    /// <summary>Leases the next item of a queue.</summary>
    /// <param name="queue">The queue.</param>
    /// <param name="agent">Who takes it.</param>
    /// <param name="except">Resources whose items are passed by; empty for items without one.</param>
    internal (long Id, string Spec)? Pop(QueueRecord queue, long? agent, string[]? except = null) =>
        database.Write<(long, string)?>(c =>
        {
            if (queue.Paused)
            {
                return null;
            }

            var now = database.Clock;
            var expire = _expire ??= Database.Command(
                c,
                "UPDATE items SET state = 'PENDING' WHERE state = 'LEASED' AND lease_until < $now",
                ("$now", 0L)
            );
            expire.Parameters["$now"].Value = now;
            expire.ExecuteNonQuery();
            var command = except is { Length: > 0 }
                ? _popExcept ??= Database.Command(
                    c,
                    $"UPDATE items SET state = 'LEASED', lease_until = $until, agent = $a WHERE id = ({Others("$q", "$except")}) RETURNING id, spec",
                    ("$q", 0L),
                    ("$until", 0L),
                    ("$a", null),
                    ("$except", "[]")
                )
                : _pop ??= Database.Command(
                    c,
                    "UPDATE items SET state = 'LEASED', lease_until = $until, agent = $a WHERE id = (SELECT id FROM items WHERE queue = $q AND state = 'PENDING' ORDER BY priority, id LIMIT 1) RETURNING id, spec",
                    ("$q", 0L),
                    ("$until", 0L),
                    ("$a", null)
                );
            if (except is { Length: > 0 })
            {
                command.Parameters["$except"].Value = JsonSerializer.Serialize(except);
            }

            command.Parameters["$q"].Value = queue.Id;
            command.Parameters["$until"].Value = now + (long)database.Lease.TotalMilliseconds;
            command.Parameters["$a"].Value = agent is { } known ? known : DBNull.Value;
            while (true)
            {
                (long Id, string Spec) item;
                using (var reader = command.ExecuteReader())
                {
                    if (!reader.Read())
                    {
                        return null;
                    }

                    item = (reader.GetInt64(0), reader.GetString(1));
                }

                if (!ChecksItems || JsonLimits.ObjectFault("The item", item.Spec) is not { } fault)
                {
                    return item;
                }

                // From before there were limits, or by another program: it ends alone, and with the reason.
                Finish(item.Id, "FAILED", null, Unreadable(fault).ToJsonString());
            }
        });

    /// <summary>The first ack takes an item that was popped; whoever comes later is told no. An agent of 2022 says the run "None" when the item failed before its start (protocol B.3).</summary>
    internal bool Ack(long item, string run) =>
        database.Write(c =>
            c.Execute(
                "UPDATE items SET state = @state, run_name = @run, claimed_at = @now, finished_at = CASE WHEN @state = 'FAILED' THEN @now END WHERE id = @item AND (state = 'LEASED' OR (state = 'PENDING' AND lease_until IS NOT NULL))",
                new
                {
                    item,
                    state = run == "None" ? "FAILED" : "CLAIMED",
                    run = run == "None" ? null : run,
                    now = Database.Now,
                }
            ) == 1
        );

    internal bool Finish(long item, string state, int? exitCode, string? report) =>
        database.Write(c =>
            c.Execute(
                "UPDATE items SET state = @state, exit_code = COALESCE(@exitCode, exit_code), error = COALESCE(@report, CASE WHEN by_run = 0 THEN error END), finished_at = @now, by_run = 0 WHERE id = @item AND (state IN ('LEASED', 'CLAIMED') OR by_run = 1 OR (state = 'PENDING' AND lease_until IS NOT NULL))",
                new
                {
                    item,
                    state,
                    exitCode,
                    report,
                    now = Database.Now,
                }
            ) == 1
        );

    /// <summary>Notes where an item's run is and what it waits for, or why it ended.</summary>
    internal bool SetEngine(long item, string? engineId, string? reason) =>
        database.Write(c =>
            c.Execute(
                "UPDATE items SET engine_id = COALESCE(@engineId, engine_id), reason = @reason WHERE id = @item AND state NOT IN ('PENDING', 'LEASED')",
                new
                {
                    item,
                    engineId,
                    reason,
                }
            ) == 1
        );

    internal bool AddWarning(long item, JsonNode report) =>
        database.Write(c =>
        {
            if (
                c.ExecuteScalar<string?>("SELECT COALESCE(warnings, '[]') FROM items WHERE id = @item", new { item })
                is not { } text
            )
            {
                return false;
            }

            var list = Json(text) as JsonArray ?? [];
            list.Add(report);
            return c.Execute(
                    "UPDATE items SET warnings = @warnings WHERE id = @item",
                    new { item, warnings = list.ToJsonString() }
                ) == 1;
        });

    /// <summary>The queue of an item, be it deleted or not.</summary>
    internal QueueRecord? QueueOf(long item) =>
        database.Read(c =>
            c.QueryFirstOrDefault<QueueRecord>(
                "SELECT q.id AS Id, q.entity AS Entity, q.project AS Project, q.name AS Name, q.created_by AS CreatedBy, q.access AS Access FROM items i JOIN queues q ON q.id = i.queue WHERE i.id = @item",
                new { item }
            )
        );

    /// <summary>Removes an item that waits; one that was started stays.</summary>
    internal bool Delete(long queue, long item) =>
        database.Write(c =>
            c.Execute(
                "DELETE FROM items WHERE id = @item AND queue = @queue AND state IN ('PENDING', 'LEASED')",
                new { item, queue }
            ) == 1
        );

    /// <summary>The same for many, all at once; gives those that were removed.</summary>
    internal IReadOnlyList<long> Delete(long queue, IEnumerable<long> items)
    {
        // Few or many, SQLite reads one statement.
        var list = JsonSerializer.Serialize(items);
        return database.Write(c =>
            c.Query<long>(
                    "DELETE FROM items WHERE queue = @queue AND id IN (SELECT value FROM json_each(@list)) AND state IN ('PENDING', 'LEASED') RETURNING id",
                    new { queue, list }
                )
                .AsList()
        );
    }

    internal ItemRecord? Find(long queue, long item) =>
        database.Read(c =>
            Read(
                    c,
                    "i.queue = @queue AND i.id = @item",
                    new
                    {
                        queue,
                        item,
                        limit = 1,
                    }
                )
                .FirstOrDefault()
        );

    internal (List<ItemRecord> Items, bool More) Page(long queue, long after, int first, string[]? states)
    {
        using var connection = database.Open();
        var items = Read(
                connection,
                "i.queue = @queue AND i.id > @after" + (states is { Length: > 0 } ? " AND i.state IN @states" : ""),
                new
                {
                    queue,
                    after,
                    states,
                    limit = first + 1,
                }
            )
            .TakePage(first, i => i.Weight, out var more);
        return (items, more);
    }

    /// <summary>All items of a queue, or those in one of the states, which are words of ours and nobody's input.</summary>
    internal long Count(long queue, params string[] states) =>
        database.Read(c =>
            c.ExecuteScalar<long>(
                // In the text, and no parameters: only so is the index of those that wait used.
                $"SELECT COUNT(*) FROM items WHERE queue = @queue{states.Length switch
                {
                    0 => "",
                    1 => $" AND state = '{states[0]}'",
                    _ => $" AND state IN ('{string.Join("', '", states)}')",
                }}",
                new { queue }
            )
        );

    /// <summary>When what waits longest was queued; null for a queue in which nothing waits.</summary>
    internal string? OldestPending(long queue) =>
        database.Read(c =>
            c.ExecuteScalar<string?>(
                "SELECT created_at FROM items WHERE id = (SELECT MIN(id) FROM items WHERE queue = @queue AND state = 'PENDING')",
                new { queue }
            )
        );

    /// <summary>True when an item can be popped from one of the queues.</summary>
    /// <param name="queues">The queues.</param>
    /// <param name="except">Resources whose items do not count.</param>
    internal bool AnyWaiting(IEnumerable<long> queues, string[]? except = null) =>
        database.Read(c =>
            queues.Any(queue =>
                !c.ExecuteScalar<bool>("SELECT paused FROM queues WHERE id = @queue", new { queue })
                && (
                    except is { Length: > 0 }
                        ? c.ExecuteScalar<long?>(
                            Others("@queue", "@except"),
                            new { queue, except = JsonSerializer.Serialize(except) }
                        )
                            is not null
                        : c.ExecuteScalar<bool>(
                            "SELECT EXISTS (SELECT 1 FROM items WHERE queue = @queue AND state = 'PENDING')",
                            new { queue }
                        )
                )
            )
        );

    // The first item of other resources. Of a long queue its front is looked at: the rest comes there.
    private static string Others(string queue, string except) =>
        $"SELECT id FROM (SELECT id, spec, priority FROM items WHERE queue = {queue} AND state = 'PENDING' ORDER BY priority, id LIMIT 10000) WHERE CASE WHEN json_valid(spec) THEN COALESCE(json_extract(spec, '$.resource'), '') ELSE '' END NOT IN (SELECT value FROM json_each({except})) ORDER BY priority, id LIMIT 1";

    /// <summary>How many are before it, from 1 on; null for one that does not wait.</summary>
    internal int? Position(ItemRecord item) =>
        item.State != "PENDING"
            ? null
            : 1
                + database.Read(c =>
                    c.ExecuteScalar<int>(
                        "SELECT COUNT(*) FROM items WHERE queue = @Queue AND state = 'PENDING' AND (priority, id) < (@Priority, @Id)",
                        new
                        {
                            item.Queue,
                            item.Priority,
                            item.Id,
                        }
                    )
                );

    /// <summary>JSON that was stored; a text that is none as that text.</summary>
    internal static JsonNode? Json(string text)
    {
        try
        {
            return JsonNode.Parse(text);
        }
        catch (JsonException)
        {
            return JsonValue.Create(text);
        }
    }

    /// <summary>The report of an item that nobody can run.</summary>
    internal static JsonObject Unreadable(string fault) =>
        new() { ["message"] = "This item cannot be run by anyone: " + fault, ["stage"] = "queue" };

    /// <summary>The report of an agent that gives none.</summary>
    internal static JsonObject Unexplained() =>
        new()
        {
            ["message"] = "Its agent could not run it, and did not say why: the agent's own log has more.",
            ["stage"] = "agent",
        };

    public void Dispose()
    {
        _insert?.Dispose();
        _expire?.Dispose();
        _pop?.Dispose();
        _popExcept?.Dispose();
    }

    private static void CheckPriority(QueueRecord queue, int? priority)
    {
        if (priority is not null && queue.Mode == "DISABLED")
        {
            throw new ServerFault(
                $"The queue \"{queue.Name}\" has no priorities (its prioritizationMode is DISABLED)."
            );
        }

        if (priority is < 0 or > 3)
        {
            throw new ServerFault("A priority is 0 (critical), 1 (high), 2 (medium) or 3 (low).");
        }
    }

    private static byte[] Answer(List<PushedItem> results)
    {
        var buffer = new ArrayBufferWriter<byte>(8 * results.Count + 16);
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartArray();
            foreach (var (id, _, fault) in results)
            {
                if (fault is null)
                {
                    writer.WriteNumberValue(id);
                }
                else
                {
                    writer.WriteStringValue(fault);
                }
            }

            writer.WriteEndArray();
        }

        return buffer.WrittenSpan.ToArray();
    }

    // The answer is kept in the transaction of the push: a client whose connection broke asks again under the same name and gets it, and nothing is queued twice.
    private byte[] Once(string request, Func<byte[]> push) =>
        database.Transact(c =>
        {
            if (
                c.ExecuteScalar<byte[]?>("SELECT answer FROM pushes WHERE request = @request", new { request }) is
                { } answered
            )
            {
                return answered;
            }

            var answer = push();
            var now = database.Clock;
            c.Execute(
                "INSERT INTO pushes (request, answer, at) VALUES (@request, @answer, @now)",
                new
                {
                    request,
                    answer,
                    now,
                }
            );
            if (now > _nextForgetting)
            {
                _nextForgetting = now + BetweenForgetting;
                c.Execute("DELETE FROM pushes WHERE at < @then", new { then = now - Kept });
            }

            return answer;
        });

    private static IEnumerable<ItemRecord> Read(SqliteConnection connection, string where, object parameters)
    {
        foreach (
            var item in connection.Query<ItemRecord>(
                Select + where + " ORDER BY i.id LIMIT @limit",
                parameters,
                buffered: false
            )
        )
        {
            item.Fault = JsonLimits.ObjectFault("The item", item.Spec);
            yield return item;
        }
    }
}
