using System.Text;
using Dapper;
using Microsoft.Data.Sqlite;
using WandbLaunch.Model;

namespace WandbLaunch.Server.Data;

/// <summary>Sweeps, and the agents that ask them for runs.</summary>
internal sealed class SweepRepository(Database database, ProjectRepository projects)
{
    private const string Select =
        "SELECT id AS Id, name AS Name, display_name AS DisplayName, description AS Description, method AS Method, config AS Config, state AS State, controller AS Controller, scheduler AS Scheduler, user AS User, made AS Made, created_at AS CreatedAt, updated_at AS UpdatedAt, heartbeat_at AS HeartbeatAt FROM sweeps WHERE ";

    private const string SelectAgent =
        "SELECT id AS Id, sweep AS Sweep, name AS Name, host AS Host, made AS Made, created_at AS CreatedAt, heartbeat_at AS HeartbeatAt FROM sweep_agents WHERE ";

    // What a client sends, and where it is kept.
    private static readonly string[] Columns =
    [
        "display_name",
        "description",
        "method",
        "config",
        "state",
        "controller",
        "scheduler",
    ];

    internal SweepRecord? Find(ProjectRecord project, string name)
    {
        var sweep = database.Read(c =>
            c.QueryFirstOrDefault<SweepRecord>(
                Select + "project = @project AND name = @name",
                new { project = project.Id, name }
            )
        );
        if (sweep is not null)
        {
            sweep.Project = project;
        }

        return sweep;
    }

    internal SweepRecord? Find(long id)
    {
        var project = database.Read(c =>
            c.ExecuteScalar<long?>("SELECT project FROM sweeps WHERE id = @id", new { id })
        );
        return
            projects.Find(project ?? -1) is { } found
            && database.Read(c => c.QueryFirstOrDefault<SweepRecord>(Select + "id = @id", new { id })) is { } sweep
            ? Of(sweep, found)
            : null;
    }

    internal List<SweepRecord> List(ProjectRecord project, long after, int first) =>
        database.Read(c =>
            c.Query<SweepRecord>(
                    Select + "project = @project AND id > @after ORDER BY id LIMIT @first",
                    new
                    {
                        project = project.Id,
                        after,
                        first,
                    }
                )
                .Select(s => Of(s, project))
                .ToList()
        );

    /// <summary>The newest sweeps of a project.</summary>
    internal List<SweepRecord> Newest(ProjectRecord project, int first) =>
        database.Read(c =>
            c.Query<SweepRecord>(
                    Select + "project = @project ORDER BY id DESC LIMIT @first",
                    new { project = project.Id, first }
                )
                .Select(s => Of(s, project))
                .ToList()
        );

    internal int Count(ProjectRecord project) =>
        database.Read(c => c.ExecuteScalar<int>("SELECT COUNT(*) FROM sweeps WHERE project = @Id", new { project.Id }));

    internal long Create(ProjectRecord project, string name, string method, string config, string user) =>
        database.Write(c =>
            c.ExecuteScalar<long>(
                "INSERT INTO sweeps (project, name, method, config, state, user, created_at, updated_at) VALUES (@project, @name, @method, @config, 'RUNNING', @user, @now, @now) RETURNING id",
                new
                {
                    project = project.Id,
                    name,
                    method,
                    config,
                    user,
                    now = Database.Now,
                }
            )
        );

    /// <summary>Changes what is given, by the names of columns.</summary>
    internal void Change(long sweep, IReadOnlyDictionary<string, string?> values) =>
        database.Write(c =>
        {
            var parameters = new DynamicParameters(new { sweep, now = Database.Now });
            var set = new StringBuilder("updated_at = @now");
            foreach (var column in Columns)
            {
                if (values.GetValueOrDefault(column) is { } value)
                {
                    set.Append(", ").Append(column).Append(" = @").Append(column);
                    parameters.Add(column, value);
                }
            }

            c.Execute($"UPDATE sweeps SET {set} WHERE id = @sweep", parameters);
        });

    /// <summary>All runs of a sweep that have not ended are to stop.</summary>
    internal void StopRuns(SweepRecord sweep) =>
        database.Write(c =>
        {
            c.Execute(
                "UPDATE runs SET stopped = 1, updated_at = @now, state = CASE state WHEN 'pending' THEN 'killed' ELSE state END WHERE project = @project AND sweep = @name AND state IN ('running', 'preempting', 'pending')",
                new
                {
                    project = sweep.Project.Id,
                    name = sweep.Name,
                    now = Database.Now,
                }
            );
        });

    /// <summary>How many of its runs there are, and how many have not ended.</summary>
    internal (int All, int Open) Runs(SweepRecord sweep) =>
        database.Read(c =>
            c.QuerySingle<(int, int)>(
                "SELECT COUNT(*), COUNT(CASE WHEN state IN ('running', 'preempting', 'pending') THEN 1 END) FROM runs WHERE project = @project AND sweep = @name",
                new { project = sweep.Project.Id, name = sweep.Name }
            )
        );

    /// <summary>The best value of a metric among its runs.</summary>
    internal double? Best(SweepRecord sweep, string metric, bool less) =>
        database.Read(c =>
            c.ExecuteScalar<double?>(
                $"SELECT {(less ? "MIN" : "MAX")}(json_extract(summary, @path)) FROM runs WHERE project = @project AND sweep = @name AND json_type(summary, @path) IN ('integer', 'real')",
                new
                {
                    project = sweep.Project.Id,
                    name = sweep.Name,
                    path = $"$.\"{metric.Replace("\"", "", StringComparison.Ordinal)}\"",
                }
            )
        );

    /// <summary>Makes a run of a sweep that waits for its agent, and gives its id.</summary>
    internal string AddRun(SweepRecord sweep, string arguments, long? agent, string user) =>
        database.Transact(c =>
        {
            var name = RunId.New();
            var number = c.ExecuteScalar<long>(
                "UPDATE sweeps SET made = made + 1, updated_at = @now WHERE id = @Id RETURNING made",
                new { sweep.Id, now = Database.Now }
            );
            c.Execute(
                "INSERT INTO runs (project, name, display_name, state, config, sweep, sweep_agent, user, created_at, heartbeat_at, updated_at) VALUES (@project, @name, @shown, 'pending', @arguments, @sweep, @agent, @user, @now, @now, @now); UPDATE sweep_agents SET made = made + 1 WHERE id = @agent",
                new
                {
                    project = sweep.Project.Id,
                    name,
                    shown = string.Create(
                        System.Globalization.CultureInfo.InvariantCulture,
                        $"{sweep.Name}-sweep-{number}"
                    ),
                    arguments,
                    sweep = sweep.Name,
                    agent,
                    user,
                    now = Database.Now,
                }
            );
            return name;
        });

    /// <summary>A run that a controller planned and no agent has, which this agent gets now.</summary>
    internal (string Name, string Config)? TakeRun(SweepRecord sweep, long agent) =>
        database.Transact<(string, string)?>(c =>
        {
            var run = c.QueryFirstOrDefault<(long Id, string Name, string Config)>(
                "SELECT id, name, config FROM runs WHERE project = @project AND sweep = @name AND state = 'pending' AND sweep_agent IS NULL ORDER BY id LIMIT 1",
                new { project = sweep.Project.Id, name = sweep.Name }
            );
            if (run.Name is null)
            {
                return null;
            }

            c.Execute(
                "UPDATE runs SET sweep_agent = @agent WHERE id = @Id; UPDATE sweep_agents SET made = made + 1 WHERE id = @agent",
                new { run.Id, agent }
            );
            return (run.Name, run.Config);
        });

    /// <summary>Runs that this agent was given and has no more, without their program ever having begun.</summary>
    internal void CrashUnstarted(SweepRecord sweep, long agent, IReadOnlyCollection<string> running) =>
        database.Write(c =>
        {
            c.Execute(
                "UPDATE runs SET state = 'crashed', updated_at = @now WHERE project = @project AND sweep = @name AND sweep_agent = @agent AND state = 'pending' AND name NOT IN @running",
                new
                {
                    project = sweep.Project.Id,
                    name = sweep.Name,
                    agent,
                    running,
                    now = Database.Now,
                }
            );
        });

    /// <summary>Which of these runs are to be stopped.</summary>
    internal List<string> ToStop(SweepRecord sweep, IReadOnlyCollection<string> running) =>
        database.Read(c =>
            c.Query<string>(
                    "SELECT name FROM runs WHERE project = @project AND stopped = 1 AND name IN @running",
                    new { project = sweep.Project.Id, running }
                )
                .AsList()
        );

    /// <summary>Asks runs of the sweep to stop, by their names.</summary>
    internal void Stop(SweepRecord sweep, IReadOnlyCollection<string> runs) =>
        database.Write(c =>
        {
            c.Execute(
                "UPDATE runs SET stopped = 1, updated_at = @now WHERE project = @project AND sweep = @name AND name IN @runs",
                new
                {
                    project = sweep.Project.Id,
                    name = sweep.Name,
                    runs,
                    now = Database.Now,
                }
            );
        });

    /// <summary>Makes runs that are there already a part of the sweep.</summary>
    internal void Adopt(SweepRecord sweep, string filters) =>
        database.Write(c =>
        {
            var parameters = new DynamicParameters(new { project = sweep.Project.Id, sweep = sweep.Name });
            var where = new RunFilters(parameters).Where(filters);
            c.Execute($"UPDATE runs SET sweep = @sweep WHERE project = @project AND ({where})", parameters);
        });

    internal SweepAgentRecord AddAgent(long sweep, string host) =>
        database.Write(c =>
            FindAgent(
                c.ExecuteScalar<long>(
                    "INSERT INTO sweep_agents (sweep, name, host, created_at, heartbeat_at) VALUES (@sweep, @name, @host, @now, @now) RETURNING id",
                    new
                    {
                        sweep,
                        name = RunId.New(),
                        host,
                        now = Database.Now,
                    }
                )
            )!
        );

    internal SweepAgentRecord? FindAgent(long id) =>
        database.Read(c => c.QueryFirstOrDefault<SweepAgentRecord>(SelectAgent + "id = @id", new { id }));

    internal List<SweepAgentRecord> Agents(long sweep) =>
        database.Read(c =>
            c.Query<SweepAgentRecord>(SelectAgent + "sweep = @sweep ORDER BY id LIMIT 1000", new { sweep }).AsList()
        );

    internal void Beat(SweepAgentRecord agent) =>
        database.Write(c =>
        {
            c.Execute(
                "UPDATE sweep_agents SET heartbeat_at = @now WHERE id = @Id; UPDATE sweeps SET heartbeat_at = @now WHERE id = @Sweep",
                new
                {
                    agent.Id,
                    agent.Sweep,
                    now = Database.Now,
                }
            );
        });

    private static SweepRecord Of(SweepRecord sweep, ProjectRecord project)
    {
        sweep.Project = project;
        return sweep;
    }
}
