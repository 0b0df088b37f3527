using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Dapper;
using Microsoft.Data.Sqlite;

namespace WandbLaunch.Server.Data;

/// <summary>Runs of projects.</summary>
internal sealed class RunRepository(Database database, ProjectRepository projects)
{
    private const string Select =
        "SELECT id AS Id, name AS Name, display_name AS DisplayName, description AS Description, notes AS Notes, tags AS Tags, state AS State, stopped AS Stopped, config AS Config, summary AS Summary, grp AS \"Group\", job_type AS JobType, sweep AS Sweep, commit_hash AS \"Commit\", host AS Host, repo AS Repo, user AS User, created_at AS CreatedAt, heartbeat_at AS HeartbeatAt, updated_at AS UpdatedAt, exit_code AS ExitCode, system AS System";

    private const string From = " FROM runs";

    // What a client sends, and where it is kept.
    private static readonly (string Column, string Field)[] Columns =
    [
        ("display_name", "displayName"),
        ("description", "description"),
        ("notes", "notes"),
        ("config", "config"),
        ("summary", "summaryMetrics"),
        ("grp", "groupName"),
        ("job_type", "jobType"),
        ("sweep", "sweep"),
        ("commit_hash", "commit"),
        ("host", "host"),
        ("program", "jobProgram"),
        ("repo", "jobRepo"),
        ("state", "state"),
    ];

    internal RunRecord? Find(ProjectRecord project, string name)
    {
        var run = database.Read(c =>
            c.QueryFirstOrDefault<RunRecord>(
                Select + From + " WHERE project = @project AND name = @name",
                new { project = project.Id, name }
            )
        );
        return run is null ? null : Of(project, run);
    }

    internal RunRecord? Find(string? entity, string? project, string name) =>
        projects.Find(entity, project) is { } found ? Find(found, name) : null;

    internal RunRecord? FindByStorageId(string id) =>
        Ids.ParseRun(id) is var (run, project, entity) ? Find(entity, project, run) : null;

    internal RunRecord? Find(long id)
    {
        var run = database.Read(c => c.ExecuteScalar<long?>("SELECT project FROM runs WHERE id = @id", new { id }));
        return
            projects.Find(run ?? -1) is { } project
            && database.Read(c => c.QueryFirstOrDefault<RunRecord>(Select + From + " WHERE id = @id", new { id }))
                is { } found
            ? Of(project, found)
            : null;
    }

    /// <summary>A page of runs, and the cursor of each (<see cref="RunOrder"/>).</summary>
    internal (List<RunRecord> Runs, Func<RunRecord, string> Cursor, bool More) Page(
        ProjectRecord project,
        string? filters,
        string? after,
        int first,
        string? order,
        string? only = null,
        object? onlyValue = null
    )
    {
        var parameters = new DynamicParameters();
        parameters.Add("project", project.Id);
        parameters.Add("limit", first + 1);
        var reader = new RunFilters(parameters);
        var where = new StringBuilder("project = @project");
        if (only is not null)
        {
            where.Append(" AND ").Append(only).Append(" = @only");
            parameters.Add("only", onlyValue);
        }

        if (filters is { Length: > 0 })
        {
            where.Append(" AND (").Append(reader.Where(filters)).Append(')');
        }

        var by = RunOrder.Parse(order, reader);
        if (by.After(after, parameters) is { } later)
        {
            where.Append(" AND ").Append(later);
        }

        using var connection = Open();
        var runs = connection
            .Query<RunRecord>(
                $"{Select}, {by.Column}{From} WHERE {where} ORDER BY {by.By} LIMIT @limit",
                parameters,
                buffered: false
            )
            .TakePage(first, r => r.Config.Length + r.Summary.Length, out var more);
        runs.ForEach(r => Of(project, r));
        return (runs, by.Cursor, more);
    }

    internal long Count(ProjectRecord project, string? filters)
    {
        var parameters = new DynamicParameters();
        parameters.Add("project", project.Id);
        var where = filters is { Length: > 0 } ? new RunFilters(parameters).Where(filters) : "1";
        using var connection = Open();
        return connection.ExecuteScalar<long>(
            $"SELECT COUNT(*) FROM runs WHERE project = @project AND ({where})",
            parameters
        );
    }

    internal (RunRecord Run, bool Inserted) Upsert(
        ProjectRecord project,
        string name,
        IReadOnlyDictionary<string, object?> values,
        string user
    )
    {
        Names.CheckRun(name);
        return database.Write(c =>
        {
            var existing = Find(project, name);
            if (existing is null)
            {
                c.Execute(
                    "INSERT INTO runs (project, name, display_name, state, user, created_at, heartbeat_at, updated_at) VALUES (@project, @name, @name, 'running', @user, @created, @now, @now)",
                    new
                    {
                        project = project.Id,
                        name,
                        user,
                        created = values.GetValueOrDefault("createdAt") is { } created
                            ? TimeText(created)
                            : Database.Now,
                        now = Database.Now,
                    }
                );
            }

            var parameters = new DynamicParameters();
            parameters.Add("project", project.Id);
            parameters.Add("name", name);
            parameters.Add("now", Database.Now);
            var set = new StringBuilder("updated_at = @now, heartbeat_at = @now");
            foreach (var (column, field) in Columns)
            {
                if (values.GetValueOrDefault(field) is { } value)
                {
                    set.Append(CultureInfo.InvariantCulture, $", {column} = @v_{column}");
                    parameters.Add("v_" + column, value.ToString());
                }
            }

            // A process that begins says on which machine (name and host, and no id as in an edit): one that goes on with a run
            // that had ended has it running again, and one of a sweep begins what was pending.
            if (
                existing is { State: not "running" }
                && values.GetValueOrDefault("host") is not null
                && values.GetValueOrDefault("id") is null
                && values.GetValueOrDefault("state") is null
            )
            {
                set.Append(", state = 'running', stopped = 0, exit_code = NULL");
            }

            if (values.GetValueOrDefault("tags") is IEnumerable<object?> tags)
            {
                set.Append(", tags = @tags");
                parameters.Add("tags", JsonSerializer.Serialize(tags.Select(t => t?.ToString())));
            }

            c.Execute($"UPDATE runs SET {set} WHERE project = @project AND name = @name", parameters);
            return (Find(project, name)!, existing is null);
        });
    }

    internal void SetState(long run, string state) => Set(run, "state", state);

    internal void SetStopped(long run) => Set(run, "stopped", 1L);

    /// <summary>Lines came of a run: it lives, and one that was taken for dead did not die.</summary>
    internal void Beat(long run) =>
        database.Write(c =>
        {
            c.Execute(
                "UPDATE runs SET heartbeat_at = @now, updated_at = @now, state = CASE WHEN state IN ('crashed', 'pending') THEN 'running' ELSE state END WHERE id = @run",
                new { run, now = Database.Now }
            );
        });

    /// <summary>Runs that nobody has heard of since a time; given are those that were running until now. An agent's own run, which only holds its logs, is not heard of at all.</summary>
    internal List<long> Crash(string since) =>
        database.Transact(c =>
            c.Query<long>(
                    "UPDATE runs SET state = 'crashed', updated_at = @now WHERE state IN ('running', 'preempting') AND heartbeat_at < @since AND COALESCE(job_type, '') <> 'sweep-controller' RETURNING id",
                    new { since, now = Database.Now }
                )
                .AsList()
        );

    internal void SetSummary(long run, string summary) => Set(run, "summary", summary);

    internal void SetExitCode(long run, int code) => Set(run, "exit_code", code);

    private void Set(long run, string column, object value) =>
        database.Write(c =>
        {
            c.Execute(
                $"UPDATE runs SET {column} = @value, updated_at = @now WHERE id = @run",
                new
                {
                    run,
                    value,
                    now = Database.Now,
                }
            );
        });

    private static RunRecord Of(ProjectRecord project, RunRecord run)
    {
        run.Project = project;
        return run;
    }

    // Only filters of runs have need of it, and it costs more than most queries.
    private SqliteConnection Open()
    {
        var connection = database.Open();
        connection.CreateFunction(
            "regexp",
            (string pattern, string? text) =>
                text is not null
                && Regex.IsMatch(text, pattern, RegexOptions.CultureInvariant, TimeSpan.FromMilliseconds(200))
        );
        return connection;
    }

    private static string TimeText(object value) =>
        value is DateTime time
            ? time.ToUniversalTime().ToString("yyyy-MM-dd'T'HH:mm:ss.fff", CultureInfo.InvariantCulture)
        : DateTime.TryParse(
            value.ToString(),
            CultureInfo.InvariantCulture,
            DateTimeStyles.AdjustToUniversal | DateTimeStyles.AssumeUniversal,
            out var read
        )
            ? read.ToString("yyyy-MM-dd'T'HH:mm:ss.fff", CultureInfo.InvariantCulture)
        : throw new ServerFault("createdAt is no time.");
}
