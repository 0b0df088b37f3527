using Dapper;

namespace WandbLaunch.Server.Data;

/// <summary>Something that somebody did, or was refused.</summary>
internal sealed record AuditRecord
{
    public long Id { get; init; }
    public string At { get; init; } = "";
    public string User { get; init; } = "";
    public string Action { get; init; } = "";

    /// <summary>The mutation or endpoint.</summary>
    public string Operation { get; init; } = "";
    public string? Entity { get; init; }
    public string? Project { get; init; }
    public string Subject { get; init; } = "";

    /// <summary>The queue, where it was named by its number.</summary>
    public long? Queue { get; init; }
    public string Client { get; init; } = "";
    public string Address { get; init; } = "";
}

/// <summary>What of the log is asked for.</summary>
internal sealed record AuditQuery(long After, string? Since, string[] Actions, string? User, int First);

/// <summary>The log of who did what.</summary>
internal sealed class AuditRepository(Database database)
{
    /// <summary>The most that are kept, whatever their age.</summary>
    private const int Most = 1_000_000;

    internal void Add(IReadOnlyList<AuditRecord> entries) =>
        database.Transact(c =>
            c.Execute(
                "INSERT INTO audit (at, user, action, operation, entity, project, subject, queue, client, address) VALUES (@At, @User, @Action, @Operation, @Entity, @Project, @Subject, @Queue, @Client, @Address)",
                entries,
                database.Transaction
            )
        );

    /// <summary>The oldest first. A queue that was named by its number has its name, also when it was deleted since.</summary>
    internal (List<AuditRecord> Entries, bool More) Page(AuditQuery query)
    {
        var found = database.Read(c =>
            c.Query<AuditRecord>(
                    $"""
                    SELECT a.id AS Id, a.at AS At, a.user AS User, a.action AS Action, a.operation AS Operation, COALESCE(a.entity, q.entity) AS Entity, COALESCE(a.project, q.project) AS Project,
                      CASE WHEN q.name IS NULL THEN a.subject ELSE 'queue ' || q.name || CASE WHEN a.subject = '' THEN '' ELSE ', ' || a.subject END END AS Subject,
                      a.queue AS Queue, a.client AS Client, a.address AS Address
                    FROM audit a LEFT JOIN queues q ON q.id = a.queue
                    WHERE a.id > @After
                      {(
                        query.Since is null
                            ? ""
                            : "AND a.id >= COALESCE((SELECT MIN(id) FROM audit WHERE at >= @Since), 9223372036854775807) AND a.at >= @Since"
                    )}
                      {(query.Actions.Length == 0 ? "" : "AND a.action IN @Actions")}
                      {(query.User is null ? "" : "AND a.user = @User COLLATE NOCASE")}
                    ORDER BY a.id LIMIT @limit
                    """,
                    new
                    {
                        query.After,
                        query.Since,
                        query.Actions,
                        query.User,
                        limit = query.First + 1,
                    }
                )
                .AsList()
        );
        var more = found.Count > query.First;
        return (more ? found[..query.First] : found, more);
    }

    /// <summary>Forgets what is older than this, and the oldest of what is too much.</summary>
    internal int Forget(TimeSpan age) =>
        database.Write(c =>
            c.Execute(
                "DELETE FROM audit WHERE at < @before OR id <= (SELECT MAX(id) FROM audit) - @Most",
                new { before = Database.Before(age), Most }
            )
        );
}
