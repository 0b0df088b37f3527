using System.Text.Json;
using Dapper;
using Microsoft.Data.Sqlite;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Pages;

/// <summary>A queue as the page shows it.</summary>
internal sealed record QueueView
{
    public long Id { get; init; }
    public string Entity { get; init; } = "";
    public string Project { get; init; } = "";
    public string Name { get; init; } = "";
    public string Access { get; init; } = "";
    public string Mode { get; init; } = "";
    public string? Resource { get; init; }
    public bool Paused { get; init; }
    public string CreatedAt { get; init; } = "";
    public string CreatedBy { get; init; } = "";
    public long Waiting { get; init; }
    public long Running { get; init; }

    /// <summary>How many failed in the last 24 hours.</summary>
    public long Failed { get; init; }

    /// <summary>When what waits longest was queued.</summary>
    public string? Oldest { get; init; }

    /// <summary>Agents that listen.</summary>
    public int Agents { get; set; }
}

/// <summary>An agent as the page shows it.</summary>
internal sealed record AgentView
{
    // As long as Get-WandbLaunchAgent waits before it takes one for lost.
    private static readonly TimeSpan LostAfter = TimeSpan.FromMinutes(2);

    public long Id { get; init; }
    public string Name { get; init; } = "";
    public string Entity { get; init; } = "";
    public string Hostname { get; init; } = "";
    public string? Version { get; init; }
    public string CreatedAt { get; init; } = "";
    public string HeartbeatAt { get; init; } = "";

    /// <summary>Polling, Running, Draining, Stopping, Stopped or Lost.</summary>
    public string State { get; init; } = "";

    /// <summary>Ids of the queues that it listens to.</summary>
    public IReadOnlyList<long> Queues { get; init; } = [];

    /// <summary>What it runs now.</summary>
    public IReadOnlyList<long> Items { get; set; } = [];

    /// <summary>True while it may take items.</summary>
    internal bool Listens => State is "Polling" or "Running";

    internal static AgentView Of(AgentRow row) =>
        new()
        {
            Id = row.Id,
            Name = row.Name,
            Entity = row.Entity,
            Hostname = row.Hostname,
            Version = row.Version,
            CreatedAt = row.CreatedAt,
            HeartbeatAt = row.HeartbeatAt,
            Queues = PageRequests.Json(row.Queues) is { ValueKind: JsonValueKind.Array } list
                ? list.EnumerateArray().Select(q => Ids.Parse(q.ToString())).ToList()
                : [],
            State =
                row.Status == "KILLED" ? "Stopped"
                : IsOld(row.HeartbeatAt) ? "Lost"
                : row.StopPolling > 1 ? "Stopping"
                : row.StopPolling > 0 ? "Draining"
                : row.Status == "RUNNING" ? "Running"
                : "Polling",
        };

    private static bool IsOld(string time) =>
        DateTime.TryParse(
            time,
            System.Globalization.CultureInfo.InvariantCulture,
            System.Globalization.DateTimeStyles.AssumeUniversal | System.Globalization.DateTimeStyles.AdjustToUniversal,
            out var at
        )
        && DateTime.UtcNow - at > LostAfter;
}

/// <summary>An agent's row.</summary>
internal sealed record AgentRow
{
    public long Id { get; init; }
    public string Name { get; init; } = "";
    public string Entity { get; init; } = "";
    public string Hostname { get; init; } = "";
    public string? Version { get; init; }
    public string CreatedAt { get; init; } = "";
    public string HeartbeatAt { get; init; } = "";
    public string Status { get; init; } = "";

    /// <summary>1: it is to take nothing more; 2: and to stop its runs.</summary>
    public long StopPolling { get; init; }
    public string Queues { get; init; } = "[]";
}

/// <summary>Queues and agents with what the page's tables say of them.</summary>
internal sealed class PageQueues(Database database)
{
    private const int MostAgents = 500;

    /// <summary>The queues that somebody may see.</summary>
    internal List<QueueView> Queues(Caller caller) =>
        database.Read(c =>
        {
            var agents = Agents(c, all: false);
            var queues = c.Query<QueueView>(
                    """
                    SELECT q.id AS Id, q.entity AS Entity, q.project AS Project, q.name AS Name, q.access AS Access, q.mode AS Mode, q.resource AS Resource, q.paused AS Paused,
                      q.created_at AS CreatedAt, q.created_by AS CreatedBy,
                      (SELECT COUNT(*) FROM items WHERE queue = q.id AND state = 'PENDING') AS Waiting,
                      (SELECT COUNT(*) FROM items WHERE queue = q.id AND state IN ('LEASED', 'CLAIMED')) AS Running,
                      (SELECT COUNT(*) FROM items WHERE queue = q.id AND finished_at >= @day AND state = 'FAILED') AS Failed,
                      (SELECT created_at FROM items WHERE id = (SELECT MIN(id) FROM items WHERE queue = q.id AND state = 'PENDING')) AS Oldest
                    FROM queues q WHERE q.deleted = 0 ORDER BY q.entity, q.project, q.name
                    """,
                    new { day = Time(DateTime.UtcNow.AddDays(-1)) }
                )
                .AsList();
            queues.RemoveAll(q => !caller.MaySee(q.Entity, q.Access, q.CreatedBy));
            foreach (var queue in queues)
            {
                queue.Agents = agents.Count(a => a.Listens && a.Queues.Contains(queue.Id));
            }

            return queues;
        });

    /// <summary>Agents that live, and with <paramref name="all"/> those of before.</summary>
    internal List<AgentView> Agents(bool all, Caller caller) =>
        database.Read(c => Agents(c, all)).FindAll(a => caller.MayRead(a.Entity));

    internal static string Time(DateTime time) =>
        time.ToString("yyyy-MM-dd'T'HH:mm:ss.fff", System.Globalization.CultureInfo.InvariantCulture);

    private static List<AgentView> Agents(SqliteConnection c, bool all)
    {
        // Agents are few; what they run is found by the index of what is under way.
        var agents = c.Query<AgentRow>(
                $"SELECT id AS Id, name AS Name, entity AS Entity, hostname AS Hostname, version AS Version, created_at AS CreatedAt, heartbeat_at AS HeartbeatAt, status AS Status, stop_polling AS StopPolling, queues AS Queues FROM agents {(all ? "" : "WHERE heartbeat_at >= @since AND status <> 'KILLED'")} ORDER BY id DESC LIMIT {MostAgents}",
                new { since = Time(DateTime.UtcNow.AddMinutes(-10)) }
            )
            .Select(AgentView.Of)
            .ToList();
        var running = c.Query<(long Agent, long Item)>(
                "SELECT agent, id FROM items WHERE state IN ('LEASED', 'CLAIMED') AND agent IS NOT NULL LIMIT 10000"
            )
            .ToLookup(r => r.Agent, r => r.Item);
        foreach (var agent in agents)
        {
            agent.Items = running[agent.Id].ToList();
        }

        return agents;
    }
}
