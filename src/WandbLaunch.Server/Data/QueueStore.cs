using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Data.Sqlite;

namespace WandbLaunch.Server;

/// <summary>Queues, their items and the agents. An item is leased by a pop, and taken by the first ack that comes (protocol J).</summary>
internal sealed partial class Store
{
    /// <summary>How long a popped item waits for its ack before others get it (about a minute, protocol B.3).</summary>
    internal TimeSpan Lease { get; }

    internal QueueSignals Signals { get; } = new();

    /// <summary>False where a test wants a server that gives its agents whatever was queued, as others do.</summary>
    internal bool ChecksItems { get; set; } = true;

    // The statements of every push and pop, compiled once; used by the one writer only.
    private SqliteCommand? _insertItem;
    private SqliteCommand? _expireItems;
    private SqliteCommand? _popItem;

    internal const int DefaultPriority = 2;

    private const string QueueColumns =
        "id, entity, project, name, created_by, access, created_at, mode, resource, resource_config, template_variables, external_links";

    private const string ItemColumns =
        "i.id, i.queue, i.state, i.run_name, i.spec, i.created_at, i.priority, i.agent, (SELECT name FROM agents a WHERE a.id = i.agent), i.exit_code, i.claimed_at, i.finished_at, i.error, i.warnings";

    internal List<Row> Queues(Row project) =>
        ReadQueues("entity = $e AND project = $p ORDER BY id", ("$e", project["entityName"]), ("$p", project["name"]));

    private SqliteTransaction? _pushing;
    private long _nextForgetting;

    // Every push and pop asks for its queue; whatever changes one empties this.
    private readonly System.Collections.Concurrent.ConcurrentDictionary<(string, string, string), Row> _queues = new();

    internal Row? Queue(string entity, string project, string name)
    {
        if (_queues.TryGetValue((entity, project, name), out var known))
        {
            return known;
        }

        lock (_writing)
        {
            var found = ReadQueues(
                    "entity = $e AND project = $p AND name = $n",
                    ("$e", entity),
                    ("$p", ProjectName(project)),
                    ("$n", name)
                )
                .FirstOrDefault();
            if (found is not null && _queues.Count < 10_000)
            {
                _queues[(entity, project, name)] = found;
            }

            return found;
        }
    }

    internal Row? Queue(long id) => ReadQueues("id = $i", ("$i", id)).FirstOrDefault();

    internal Row CreateQueue(
        string entity,
        string project,
        string name,
        string access,
        string? mode,
        long? config,
        string user
    )
    {
        Names.CheckPart("the name of a queue", name);
        if (name.Length > 64)
        {
            throw new ServerFault("The name of a queue has 1 to 64 characters.");
        }

        lock (_writing)
        {
            var (made, _) = UpsertProject(entity, project, null);
            if (Queue(entity, project, name) is not null)
            {
                throw new ServerFault($"There is a queue \"{name}\" in {entity}/{made["name"]} already.");
            }

            using var command = Command(
                _writer,
                "INSERT INTO queues (entity, project, name, created_by, access, created_at, mode, resource, resource_config, template_variables) SELECT $e, $p, $n, $u, $a, $now, $m, (SELECT resource FROM resource_configs WHERE id = $c), (SELECT config FROM resource_configs WHERE id = $c), (SELECT template_variables FROM resource_configs WHERE id = $c)",
                ("$e", entity),
                ("$p", made["name"]),
                ("$n", name),
                ("$u", user),
                ("$a", access),
                ("$now", Now),
                ("$m", mode ?? "DISABLED"),
                ("$c", config)
            );
            command.ExecuteNonQuery();
            return Queue(entity, project, name)!;
        }
    }

    internal long CreateResourceConfig(string entity, string resource, string config, string? variables)
    {
        CheckObject(config, "config");
        CheckVariables(variables ?? "{}");
        lock (_writing)
        {
            using var command = Command(
                _writer,
                "INSERT INTO resource_configs (entity, resource, config, template_variables) VALUES ($e, $r, $c, $t) RETURNING id",
                ("$e", entity),
                ("$r", resource),
                ("$c", config),
                ("$t", variables ?? "{}")
            );
            return (long)command.ExecuteScalar()!;
        }
    }

    internal void ConfigureQueue(
        long queue,
        string resource,
        string config,
        string? variables,
        string? mode,
        string? links
    )
    {
        CheckObject(config, "resourceConfig");
        CheckVariables(variables ?? "{}");
        CheckObject(links ?? "{}", "externalLinks");
        lock (_writing)
        {
            using var command = Command(
                _writer,
                "UPDATE queues SET resource = $r, resource_config = $c, template_variables = COALESCE($t, template_variables), mode = COALESCE($m, mode), external_links = COALESCE($l, external_links) WHERE id = $q",
                ("$q", queue),
                ("$r", resource),
                ("$c", config),
                ("$t", variables),
                ("$m", mode),
                ("$l", links)
            );
            command.ExecuteNonQuery();
            _queues.Clear();
        }
    }

    /// <summary>Deletes a queue with the items that wait in it; those that were started stay (guide).</summary>
    internal void DeleteQueue(long id)
    {
        lock (_writing)
        {
            var queue = Queue(id) ?? throw new ServerFault("There is no such queue.");
            if ((string)queue["name"]! == "default")
            {
                throw new ServerFault("The default queue cannot be deleted.");
            }

            using var command = Command(
                _writer,
                "DELETE FROM items WHERE queue = $q AND state IN ('PENDING', 'LEASED'); UPDATE queues SET deleted = 1 WHERE id = $q",
                ("$q", id)
            );
            command.ExecuteNonQuery();
            _queues.Clear();
        }
    }

    /// <summary>Puts items into a queue, all in one transaction; one that is refused has its reason in the place of its id.</summary>
    internal List<(long Id, string Spec, string? Fault)> Push(
        Row queue,
        IEnumerable<(string Spec, int? Priority, string? Variables, string? Fault)> items
    )
    {
        var results = new List<(long, string, string?)>();
        var pushed = 0;
        lock (_writing)
        {
            using var own = _pushing is null ? _writer.BeginTransaction() : null;
            var command = _insertItem ??= Command(
                _writer,
                "INSERT INTO items (queue, spec, priority, created_at) VALUES ($q, $s, $p, $now)",
                ("$q", 0L),
                ("$s", ""),
                ("$p", 0),
                ("$now", "")
            );
            command.Transaction = own ?? _pushing;
            command.Parameters["$q"].Value = queue.Key;
            command.Parameters["$now"].Value = Now;
            foreach (var (spec, priority, variables, fault) in items)
            {
                try
                {
                    if (fault is not null)
                    {
                        throw new ServerFault(fault);
                    }

                    if (priority is not null && (string)queue["prioritizationMode"]! == "DISABLED")
                    {
                        throw new ServerFault(
                            $"The queue \"{queue["name"]}\" has no priorities (its prioritizationMode is DISABLED)."
                        );
                    }

                    if (priority is < 0 or > 3)
                    {
                        throw new ServerFault("A priority is 0 (critical), 1 (high), 2 (medium) or 3 (low).");
                    }

                    var full = QueueTemplates.Fill(queue, spec, variables);
                    command.Parameters["$s"].Value = full;
                    command.Parameters["$p"].Value = priority ?? DefaultPriority;
                    command.ExecuteNonQuery();
                    results.Add((SQLitePCL.raw.sqlite3_last_insert_rowid(_writer.Handle), full, null));
                    pushed++;
                }
                catch (ServerFault e)
                {
                    results.Add((0, spec, e.Message));
                }
            }

            own?.Commit();
        }

        Signals.Wake(queue.Key, pushed);
        return results;
    }

    /// <summary>Pushes, and keeps the answer in the same transaction: a client whose connection broke asks again under the same name and gets it, and nothing is queued twice.</summary>
    internal byte[] PushOnce(string request, Func<byte[]> push)
    {
        lock (_writing)
        {
            using (var known = Command(_writer, "SELECT answer FROM pushes WHERE request = $r", ("$r", request)))
            {
                if (known.ExecuteScalar() is byte[] answered)
                {
                    return answered;
                }
            }

            using var transaction = _pushing = _writer.BeginTransaction();
            try
            {
                var answer = push();
                var now = Clock;
                using var keep = Command(
                    _writer,
                    "INSERT INTO pushes (request, answer, at) VALUES ($r, $a, $now)",
                    ("$r", request),
                    ("$a", answer),
                    ("$now", now)
                );
                keep.ExecuteNonQuery();
                if (now > _nextForgetting)
                {
                    // No client asks for that long.
                    _nextForgetting = now + 600_000;
                    using var forget = Command(
                        _writer,
                        "DELETE FROM pushes WHERE at < $then",
                        ("$then", now - 3_600_000)
                    );
                    forget.ExecuteNonQuery();
                }

                transaction.Commit();
                return answer;
            }
            finally
            {
                _pushing = null;
            }
        }
    }

    /// <summary>Puts many plain items into a queue that adds nothing to them: one statement for all, in their order. Gives the first id; the others follow it.</summary>
    internal long PushPlain(Row queue, string items, int count)
    {
        lock (_writing)
        {
            using var command = Command(
                _writer,
                "INSERT INTO items (queue, spec, priority, created_at) SELECT $q, json_extract(value, '$.runSpec'), $p, $now FROM json_each($items) ORDER BY key",
                ("$q", queue.Key),
                ("$p", DefaultPriority),
                ("$now", Now),
                ("$items", items)
            );
            command.ExecuteNonQuery();
            var last = SQLitePCL.raw.sqlite3_last_insert_rowid(_writer.Handle);
            Signals.Wake(queue.Key, count);
            return last - count + 1;
        }
    }

    internal (long Id, string Spec)? Pop(Row queue, long? agent)
    {
        lock (_writing)
        {
            var now = Clock;
            var expire = _expireItems ??= Command(
                _writer,
                "UPDATE items SET state = 'PENDING' WHERE state = 'LEASED' AND lease_until < $now",
                ("$now", 0L)
            );
            expire.Parameters["$now"].Value = now;
            expire.ExecuteNonQuery();
            var command = _popItem ??= Command(
                _writer,
                "UPDATE items SET state = 'LEASED', lease_until = $until, agent = $a WHERE id = (SELECT id FROM items WHERE queue = $q AND state = 'PENDING' ORDER BY priority, id LIMIT 1) RETURNING id, spec",
                ("$q", 0L),
                ("$until", 0L),
                ("$a", null)
            );
            command.Parameters["$q"].Value = queue.Key;
            command.Parameters["$until"].Value = now + (long)Lease.TotalMilliseconds;
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
                Finish(item.Id, "FAILED", null, UnreadableReport(fault).ToJsonString());
            }
        }
    }

    /// <summary>The first ack takes an item that was popped; whoever comes later is told no. An agent of 2022 says the run "None" when the item failed before its start (protocol B.3).</summary>
    internal bool Ack(long item, string run)
    {
        lock (_writing)
        {
            using var command = Command(
                _writer,
                "UPDATE items SET state = $s, run_name = $r, claimed_at = $now, finished_at = CASE WHEN $s = 'FAILED' THEN $now END WHERE id = $i AND (state = 'LEASED' OR (state = 'PENDING' AND lease_until IS NOT NULL))",
                ("$i", item),
                ("$s", run == "None" ? "FAILED" : "CLAIMED"),
                ("$r", run == "None" ? null : run),
                ("$now", Now)
            );
            return command.ExecuteNonQuery() == 1;
        }
    }

    internal bool Finish(long item, string state, int? exitCode, string? report)
    {
        lock (_writing)
        {
            using var command = Command(
                _writer,
                "UPDATE items SET state = $s, exit_code = COALESCE($c, exit_code), error = COALESCE($e, error), finished_at = $now WHERE id = $i AND (state IN ('LEASED', 'CLAIMED') OR (state = 'PENDING' AND lease_until IS NOT NULL))",
                ("$i", item),
                ("$s", state),
                ("$c", exitCode),
                ("$e", report),
                ("$now", Now)
            );
            return command.ExecuteNonQuery() == 1;
        }
    }

    internal bool AddWarning(long item, JsonNode report)
    {
        lock (_writing)
        {
            using var read = Command(_writer, "SELECT COALESCE(warnings, '[]') FROM items WHERE id = $i", ("$i", item));
            if (read.ExecuteScalar() is not string text)
            {
                return false;
            }

            var list = Read(text) as JsonArray ?? [];
            list.Add(report);
            using var command = Command(
                _writer,
                "UPDATE items SET warnings = $w WHERE id = $i",
                ("$i", item),
                ("$w", list.ToJsonString())
            );
            return command.ExecuteNonQuery() == 1;
        }
    }

    /// <summary>Removes an item that waits; one that was started stays.</summary>
    internal bool DeleteItem(long queue, long item)
    {
        lock (_writing)
        {
            using var command = Command(
                _writer,
                "DELETE FROM items WHERE id = $i AND queue = $q AND state IN ('PENDING', 'LEASED')",
                ("$i", item),
                ("$q", queue)
            );
            return command.ExecuteNonQuery() == 1;
        }
    }

    internal Row? Item(long queue, long item) =>
        ReadItems("i.queue = $q AND i.id = $i", 1, ("$q", queue), ("$i", item)).FirstOrDefault();

    internal (List<Row> Rows, bool More) Items(long queue, long after, int first, string[]? states)
    {
        var wanted = states is { Length: > 0 }
            ? $" AND i.state IN ({string.Join(", ", states.Select((_, n) => "$s" + n))})"
            : "";
        var rows = ReadItems(
                "i.queue = $q AND i.id > $a" + wanted,
                first + 1,
                [("$q", queue), ("$a", after), .. (states ?? []).Select((s, n) => ("$s" + n, (object?)s))]
            )
            .TakePage(first, r => (int)r["weight"]!, out var more);
        return (rows, more);
    }

    /// <summary>All items of a queue, or those in one of the states.</summary>
    internal long CountItems(long queue, params string[] states) =>
        states.Length == 0
            ? Count("SELECT COUNT(*) FROM items WHERE queue = $q", ("$q", queue))
            : states.Sum(s =>
                Count(
                    // A text and no parameter: only so is the index of those that wait used.
                    s == "PENDING"
                        ? "SELECT COUNT(*) FROM items WHERE queue = $q AND state = 'PENDING'"
                        : "SELECT COUNT(*) FROM items WHERE queue = $q AND state = $s",
                    s == "PENDING" ? [("$q", queue)] : [("$q", queue), ("$s", s)]
                )
            );

    /// <summary>When what waits longest was queued; null for a queue in which nothing waits.</summary>
    internal string? OldestPending(long queue)
    {
        using var connection = Open();
        using var command = Command(
            connection,
            "SELECT created_at FROM items WHERE id = (SELECT MIN(id) FROM items WHERE queue = $q AND state = 'PENDING')",
            ("$q", queue)
        );
        return command.ExecuteScalar() as string;
    }

    /// <summary>True when an item can be popped from one of the queues.</summary>
    internal bool AnyWaiting(IEnumerable<long> queues)
    {
        using var connection = Open();
        foreach (var queue in queues)
        {
            using var command = Command(
                connection,
                "SELECT EXISTS (SELECT 1 FROM items WHERE queue = $q AND state = 'PENDING')",
                ("$q", queue)
            );
            if ((long)command.ExecuteScalar()! != 0)
            {
                return true;
            }
        }

        return false;
    }

    /// <summary>How many are before it, from 1 on; null for one that does not wait.</summary>
    internal int? Position(Row item) =>
        (string)item["state"]! != "PENDING"
            ? null
            : 1
                + (int)Count(
                    "SELECT COUNT(*) FROM items WHERE queue = $q AND state = 'PENDING' AND (priority, id) < ($p, $i)",
                    ("$q", item["queue"]),
                    ("$p", item["priority"]),
                    ("$i", item.Key)
                );

    internal long CreateAgent(
        string entity,
        string project,
        string queues,
        string hostname,
        string? config,
        string? version
    )
    {
        lock (_writing)
        {
            using var command = Command(
                _writer,
                "INSERT INTO agents (entity, project, queues, hostname, name, status, heartbeat_at, created_at, config, version) VALUES ($e, $p, $q, $h, $n, 'POLLING', $now, $now, $c, $v) RETURNING id",
                ("$e", entity),
                ("$p", ProjectName(project)),
                ("$q", queues),
                ("$h", hostname),
                ("$n", "agent-" + WandbSchema.NewRunId()),
                ("$now", Now),
                ("$c", config),
                ("$v", version)
            );
            return (long)command.ExecuteScalar()!;
        }
    }

    internal bool UpdateAgent(long agent, string? status)
    {
        lock (_writing)
        {
            using var command = Command(
                _writer,
                "UPDATE agents SET status = COALESCE($s, status), heartbeat_at = $now WHERE id = $i",
                ("$i", agent),
                ("$s", status),
                ("$now", Now)
            );
            return command.ExecuteNonQuery() == 1;
        }
    }

    internal bool StopAgent(long agent)
    {
        lock (_writing)
        {
            using var command = Command(_writer, "UPDATE agents SET stop_polling = 1 WHERE id = $i", ("$i", agent));
            var done = command.ExecuteNonQuery() == 1;
            Signals.WakeAll();
            return done;
        }
    }

    internal Row? Agent(long id) => ReadAgents("id = $i", ("$i", id)).FirstOrDefault();

    internal List<Row> Agents(Row project) =>
        ReadAgents("entity = $e AND project = $p ORDER BY id", ("$e", project["entityName"]), ("$p", project["name"]));

    internal (string Resource, string Config, string Variables)? ResourceConfig(string entity, string id)
    {
        using var connection = Open();

        // A queue of its own is its config's id too: "queue:7".
        var ofQueue = id.StartsWith("queue:", StringComparison.Ordinal);
        using var command = ofQueue
            ? Command(
                connection,
                "SELECT resource, resource_config, COALESCE(template_variables, '{}') FROM queues WHERE entity = $e AND id = $i AND resource IS NOT NULL",
                ("$e", entity),
                ("$i", Id(id[6..]))
            )
            : Command(
                connection,
                "SELECT resource, config, template_variables FROM resource_configs WHERE entity = $e AND id = $i",
                ("$e", entity),
                ("$i", Id(id))
            );
        using var reader = command.ExecuteReader();
        return reader.Read() ? (reader.GetString(0), reader.GetString(1), reader.GetString(2)) : null;
    }

    internal static long Id(string? text) =>
        long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var id) ? id : -1;

    private long Count(string text, params (string Name, object? Value)[] parameters)
    {
        using var connection = Open();
        using var command = Command(connection, text, parameters);
        return (long)command.ExecuteScalar()!;
    }

    private List<Row> ReadQueues(string where, params (string Name, object? Value)[] parameters)
    {
        using var connection = Open();
        using var command = Command(
            connection,
            $"SELECT {QueueColumns} FROM queues WHERE deleted = 0 AND {where}",
            parameters
        );
        using var reader = command.ExecuteReader();
        var rows = new List<Row>();
        while (reader.Read())
        {
            rows.Add(
                new Row
                {
                    Key = reader.GetInt64(0),
                    ["id"] = reader.GetInt64(0).ToString(CultureInfo.InvariantCulture),
                    ["entityName"] = reader.GetString(1),
                    ["projectName"] = reader.GetString(2),
                    ["name"] = reader.GetString(3),
                    ["createdBy"] = reader.GetString(4),
                    ["access"] = reader.GetString(5),
                    ["createdAt"] = reader.GetString(6),
                    ["prioritizationMode"] = reader.GetString(7),
                    ["resource"] = reader.GetValue(8) as string,
                    ["resourceConfig"] = reader.GetValue(9) as string,
                    ["templateVariables"] = reader.GetValue(10) as string,
                    ["externalLinks"] = reader.GetValue(11) as string,
                    ["defaultResourceConfigID"] = reader.IsDBNull(8)
                        ? null
                        : "queue:" + reader.GetInt64(0).ToString(CultureInfo.InvariantCulture),
                }
            );
        }

        return rows;
    }

    private IEnumerable<Row> ReadItems(string where, int limit, params (string Name, object? Value)[] parameters)
    {
        using var connection = Open();
        using var command = Command(
            connection,
            $"SELECT {ItemColumns} FROM items i WHERE {where} ORDER BY i.id LIMIT $limit",
            [.. parameters, ("$limit", limit)]
        );
        using var reader = command.ExecuteReader();
        while (reader.Read())
        {
            var state = reader.GetString(2);
            var spec = reader.GetString(4);
            var fault = JsonLimits.ObjectFault("The item", spec);
            yield return new Row
            {
                Key = reader.GetInt64(0),
                ["id"] = reader.GetInt64(0).ToString(CultureInfo.InvariantCulture),
                ["queue"] = reader.GetInt64(1),
                ["state"] = state,
                ["associatedRunId"] = reader.GetValue(3) as string,
                ["runSpec"] = fault is null ? JsonSerializer.Deserialize<JsonElement>(spec) : null,
                ["weight"] = fault is null ? spec.Length : 0,
                ["createdAt"] = reader.GetString(5),
                ["priority"] = reader.GetInt32(6),
                ["launchAgentId"] =
                    state == "PENDING" || reader.IsDBNull(7)
                        ? null
                        : reader.GetInt64(7).ToString(CultureInfo.InvariantCulture),
                ["launchAgentName"] = state == "PENDING" ? null : reader.GetValue(8) as string,
                ["exitCode"] = reader.IsDBNull(9) ? null : reader.GetInt32(9),
                ["claimedAt"] = reader.GetValue(10) as string,
                ["finishedAt"] = reader.GetValue(11) as string,
                ["error"] =
                    reader.GetValue(12) is string error ? Report(Read(error))
                    : fault is not null ? Report(UnreadableReport(fault))
                    : null,
                ["warnings"] =
                    reader.GetValue(13) is string warnings && Read(warnings) is JsonArray list
                        ? list.Select(Report).ToArray()
                        : [],
            };
        }
    }

    private static JsonObject UnreadableReport(string fault) =>
        new() { ["message"] = "This item cannot be run by anyone: " + fault, ["stage"] = "queue" };

    private static JsonNode? Read(string text)
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

    private static Row Report(JsonNode? report) =>
        report is JsonObject map
            ? new()
            {
                ["message"] = map["message"]?.ToString(),
                ["stage"] = map["stage"]?.ToString(),
                ["filePaths"] =
                    (map["filePaths"] as JsonArray)?.Select(p => p?.ToString()).OfType<string>().ToArray() ?? [],
            }
            : new() { ["message"] = report?.ToString(), ["filePaths"] = Array.Empty<string>() };

    private List<Row> ReadAgents(string where, params (string Name, object? Value)[] parameters)
    {
        using var connection = Open();
        using var command = Command(
            connection,
            $"SELECT id, name, queues, hostname, status, stop_polling, heartbeat_at, created_at, version FROM agents WHERE {where}",
            parameters
        );
        using var reader = command.ExecuteReader();
        var rows = new List<Row>();
        while (reader.Read())
        {
            rows.Add(
                new Row
                {
                    Key = reader.GetInt64(0),
                    ["id"] = reader.GetInt64(0).ToString(CultureInfo.InvariantCulture),
                    ["name"] = reader.GetString(1),
                    ["runQueues"] = JsonSerializer.Deserialize<string[]>(reader.GetString(2)),
                    ["hostname"] = reader.GetString(3),
                    ["agentStatus"] = reader.GetString(4),
                    ["stopPolling"] = reader.GetInt64(5) != 0,
                    ["heartbeatAt"] = reader.GetString(6),
                    ["createdAt"] = reader.GetString(7),
                    ["version"] = reader.GetValue(8) as string,
                }
            );
        }

        return rows;
    }

    private static void CheckObject(string text, string name)
    {
        if (JsonLimits.ObjectFault(name, text) is { } fault)
        {
            throw new ServerFault(fault);
        }
    }

    // {"name": {"schema": {…}, …}}, as QueueTemplates reads them.
    private static void CheckVariables(string text)
    {
        CheckObject(text, "templateVariables");
        foreach (var (name, variable) in JsonNode.Parse(text)!.AsObject())
        {
            if (
                variable is not JsonObject map
                || (map.TryGetPropertyValue("schema", out var schema) && schema is not (null or JsonObject))
                || (schema is JsonObject limits && (!IsNumber(limits["minimum"]) || !IsNumber(limits["maximum"])))
            )
            {
                throw new ServerFault(
                    $"templateVariables: \"{JsonLimits.Short(name)}\" must be an object with a schema, whose minimum and maximum are numbers."
                );
            }
        }

        static bool IsNumber(JsonNode? limit) => limit is null || limit.GetValueKind() == JsonValueKind.Number;
    }
}

/// <summary>Wakes agents that wait for work: one waiter for each item that comes.</summary>
internal sealed class QueueSignals
{
    private readonly Dictionary<long, LinkedList<TaskCompletionSource>> _waiting = [];

    internal IDisposable Register(IReadOnlyCollection<long> queues, TaskCompletionSource waiter)
    {
        lock (_waiting)
        {
            var nodes = queues
                .Select(q =>
                {
                    var list = _waiting.TryGetValue(q, out var there)
                        ? there
                        : _waiting[q] = new LinkedList<TaskCompletionSource>();
                    return (q, list.AddLast(waiter));
                })
                .ToList();
            return new Registration(this, nodes);
        }
    }

    internal void Wake(long queue, int count)
    {
        lock (_waiting)
        {
            if (_waiting.TryGetValue(queue, out var list))
            {
                for (var node = list.First; node is not null && count > 0; node = node.Next)
                {
                    count -= node.Value.TrySetResult() ? 1 : 0;
                }
            }
        }
    }

    internal void WakeAll()
    {
        lock (_waiting)
        {
            foreach (var waiter in _waiting.Values.SelectMany(l => l))
            {
                waiter.TrySetResult();
            }
        }
    }

    private sealed class Registration(
        QueueSignals signals,
        List<(long Queue, LinkedListNode<TaskCompletionSource> Node)> nodes
    ) : IDisposable
    {
        public void Dispose()
        {
            lock (signals._waiting)
            {
                foreach (var (queue, node) in nodes)
                {
                    var list = signals._waiting[queue];
                    list.Remove(node);
                    if (list.Count == 0)
                    {
                        signals._waiting.Remove(queue);
                    }
                }
            }
        }
    }
}
