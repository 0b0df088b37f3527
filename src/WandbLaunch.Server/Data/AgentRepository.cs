using Dapper;
using WandbLaunch.Model;

namespace WandbLaunch.Server.Data;

/// <summary>Agents that were registered, and what they said last (protocol B.4).</summary>
internal sealed class AgentRepository(Database database, QueueSignals signals)
{
    private const string Select =
        "SELECT id AS Id, entity AS Entity, name AS Name, queues AS Queues, hostname AS Hostname, status AS Status, stop_polling > 0 AS StopPolling, stop_polling = 2 AS StopRuns, heartbeat_at AS HeartbeatAt, created_at AS CreatedAt, version AS Version FROM agents WHERE ";

    internal long Create(
        string entity,
        string project,
        string queues,
        string hostname,
        string? config,
        string? version
    ) =>
        database.Write(c =>
            c.ExecuteScalar<long>(
                "INSERT INTO agents (entity, project, queues, hostname, name, status, heartbeat_at, created_at, config, version) VALUES (@entity, @project, @queues, @hostname, @name, 'POLLING', @now, @now, @config, @version) RETURNING id",
                new
                {
                    entity,
                    project = Names.Project(project),
                    queues,
                    hostname,
                    name = "agent-" + RunId.New(),
                    now = Database.Now,
                    config,
                    version,
                }
            )
        );

    internal bool Update(long agent, string? status) =>
        database.Write(c =>
            c.Execute(
                "UPDATE agents SET status = COALESCE(@status, status), heartbeat_at = @now WHERE id = @agent",
                new
                {
                    agent,
                    status,
                    now = Database.Now,
                }
            ) == 1
        );

    /// <summary>An agent is to take nothing more, and with <paramref name="runs"/> to stop what it runs. The stronger stays.</summary>
    internal bool Stop(long agent, bool runs = false)
    {
        var done = database.Write(c =>
            c.Execute(
                "UPDATE agents SET stop_polling = MAX(stop_polling, @how) WHERE id = @agent",
                new { agent, how = runs ? 2 : 1 }
            ) == 1
        );
        signals.WakeAll();
        return done;
    }

    internal AgentRecord? Find(long id) =>
        database.Read(c => c.QueryFirstOrDefault<AgentRecord>(Select + "id = @id", new { id }));

    internal List<AgentRecord> List(ProjectRecord project) =>
        database.Read(c =>
            c.Query<AgentRecord>(
                    Select + "entity = @Entity AND project = @Name ORDER BY id",
                    new { project.Entity, project.Name }
                )
                .AsList()
        );
}
