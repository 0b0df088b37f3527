using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.RegularExpressions;
using Microsoft.Data.Sqlite;

namespace WandbLaunch.Server;

/// <summary>A row as GraphQL sees it.</summary>
internal sealed class Row : Dictionary<string, object?>
{
    internal Row()
        : base(StringComparer.Ordinal) { }

    internal long Key { get; init; }
}

/// <summary>Pages of rows that can be large: ended by their number, and by their weight.</summary>
internal static class Pages
{
    private const long Heavy = 8L << 20;

    internal static List<Row> TakePage(this IEnumerable<Row> rows, int first, Func<Row, long> weight, out bool more)
    {
        var page = new List<Row>();
        var sum = 0L;
        more = false;
        foreach (var row in rows)
        {
            if (page.Count == first || sum > Heavy)
            {
                more = true;
                break;
            }

            sum += weight(row);
            page.Add(row);
        }

        return page;
    }
}

/// <summary>Everything that the server knows, in one SQLite file in WAL mode; the content of files is beside it.</summary>
internal sealed partial class Store : IDisposable
{
    private readonly string _connectionString;
    private readonly object _writing = new();
    private readonly SqliteConnection _writer;
    private readonly DatabaseFile _file;
    private readonly Timer _checkpoints;
    private readonly TimeProvider _time;
    private readonly long _started;
    private int _checkpointing;
    private int _written = -1;

    /// <summary>Opens the database for this server alone, and brings it to this server's version. <paramref name="say"/> hears where a copy of an older one is.</summary>
    /// <exception cref="StartFault">It cannot be used, and was left as it is.</exception>
    internal Store(string path, TimeSpan? lease = null, TimeProvider? time = null, Action<string>? say = null)
    {
        Lease = lease ?? TimeSpan.FromSeconds(60);
        _time = time ?? TimeProvider.System;
        _started = _time.GetTimestamp();
        _file = DatabaseFile.Open(path);
        _connectionString = new SqliteConnectionStringBuilder
        {
            DataSource = _file.Path,
            Pooling = true,
            DefaultTimeout = 30,
        }.ToString();
        try
        {
            if (DatabaseCopy.BeforeUpgrade(_file.Path) is { } copy)
            {
                say?.Invoke(
                    string.Create(
                        CultureInfo.InvariantCulture,
                        $"{_file.Path} is of an older version and becomes one of version {DatabaseSchema.Latest}. What it was is kept in {copy}."
                    )
                );
            }

            _writer = Open();
            Execute(
                _writer,
                """
                PRAGMA journal_mode = WAL;
                PRAGMA synchronous = NORMAL;
                PRAGMA wal_autocheckpoint = 0;
                """
            );
            DatabaseSchema.Upgrade(_writer);
            using var command = Command(_writer, "SELECT name FROM identity");
            Identity = (string)command.ExecuteScalar()!;

            // A lease is counted on a clock that nobody sets, and which starts with the server: so do the leases that are open.
            using var leases = Command(
                _writer,
                "UPDATE items SET lease_until = $until WHERE state = 'LEASED'; UPDATE pushes SET at = 0 WHERE at <> 0",
                ("$until", Clock + (long)Lease.TotalMilliseconds)
            );
            leases.ExecuteNonQuery();
        }
        catch (SqliteException e)
        {
            _writer?.Dispose();
            SqliteConnection.ClearAllPools();
            _file.Dispose();
            throw DatabaseFile.Unusable(_file.Path, e);
        }
        catch (StartFault)
        {
            _file.Dispose();
            throw;
        }

        // The log is written back beside the writer, not by whichever request comes a thousandth.
        _checkpoints = new Timer(_ => Checkpoint("PASSIVE"), null, 1000, 1000);
        OpenFiles(path);
    }

    /// <summary>Name of this database, for clients that remember its small item ids.</summary>
    internal string Identity { get; }

    public void Dispose()
    {
        CloseFiles();
        using (var done = new ManualResetEvent(false))
        {
            if (_checkpoints.Dispose(done))
            {
                done.WaitOne();
            }
        }

        Checkpoint("TRUNCATE");
        _writer.Dispose();
        SqliteConnection.ClearAllPools();
        _file.Dispose();
    }

    /// <summary>Says under which address the database is served.</summary>
    internal void Announce(string url) => _file.Announce(url);

    /// <summary>The database's file.</summary>
    internal string Path => _file.Path;

    /// <summary>The connection that writes, for tests of what a disk does.</summary>
    internal SqliteConnection Writer => _writer;

    // Milliseconds since the start, from 1 on: not changed by whoever sets the machine's clock.
    private long Clock => 1 + (long)_time.GetElapsedTime(_started).TotalMilliseconds;

    internal static string Now => DateTime.UtcNow.ToString("yyyy-MM-dd'T'HH:mm:ss.fff", CultureInfo.InvariantCulture);

    /// <summary>Lower case, runs of other characters as one dash, trimmed (protocol B.6, UpsertModel).</summary>
    internal static string ProjectName(string name) =>
        NotWord().Replace(name.Trim().ToLowerInvariant(), "-").Trim('-', '_');

    internal static string StorageId(string run, string project, string entity) =>
        Convert.ToBase64String(Encoding.UTF8.GetBytes($"Run:v1:{run}:{project}:{entity}"));

    internal Row? Project(string? entity, string? name)
    {
        using var connection = Open();
        using var command = Command(
            connection,
            "SELECT id, entity, name, description, created_at FROM projects WHERE entity = $e AND name = $n",
            ("$e", entity ?? ""),
            ("$n", ProjectName(name ?? ""))
        );
        using var reader = command.ExecuteReader();
        return reader.Read() ? ProjectRow(reader) : null;
    }

    internal List<Row> Projects(string? entity, long after, int first)
    {
        using var connection = Open();
        using var command = Command(
            connection,
            "SELECT id, entity, name, description, created_at FROM projects WHERE ($e IS NULL OR entity = $e) AND id > $a ORDER BY id LIMIT $f",
            ("$e", entity),
            ("$a", after),
            ("$f", first)
        );
        using var reader = command.ExecuteReader();
        var rows = new List<Row>();
        while (reader.Read())
        {
            rows.Add(ProjectRow(reader));
        }

        return rows;
    }

    internal (Row Project, bool Inserted) UpsertProject(string entity, string name, string? description)
    {
        Names.CheckPart("the name of a project", name);
        Names.CheckPart("the name of an entity", entity);
        var clean = ProjectName(name);
        if (clean.Length == 0 || clean is "." or "..")
        {
            throw new ServerFault($"\"{name}\" cannot be the name of a project: no letter or digit is left of it.");
        }

        lock (_writing)
        {
            using var command = Command(
                _writer,
                "INSERT INTO projects (entity, name, description, created_at) VALUES ($e, $n, $d, $now) ON CONFLICT (entity, name) DO UPDATE SET description = COALESCE($d, description) WHERE $d IS NOT NULL",
                ("$e", entity),
                ("$n", clean),
                ("$d", description),
                ("$now", Now)
            );
            var existing = Project(entity, clean);
            command.ExecuteNonQuery();
            return (existing ?? Project(entity, clean)!, existing is null);
        }
    }

    internal Row? Run(Row project, string name) =>
        RunsWhere(project, "name = $name", c => c.Parameters.AddWithValue("$name", name), 1).FirstOrDefault();

    internal Row? RunByStorageId(string id)
    {
        string text;
        try
        {
            text = Encoding.UTF8.GetString(Convert.FromBase64String(id));
        }
        catch (FormatException)
        {
            return null;
        }

        return
            text.Split(':') is ["Run", "v1", var run, var project, var entity] && Project(entity, project) is { } found
            ? Run(found, run)
            : null;
    }

    /// <summary>A page of runs, newest first, or oldest first with the order "+created_at".</summary>
    internal (List<Row> Rows, bool More) Runs(Row project, string? filters, string? after, int first, string? order)
    {
        var ascending = order is { Length: > 0 } && order[0] == '+';
        var rows = RunsWhere(
                project,
                null,
                command =>
                {
                    var where = new StringBuilder("1");
                    if (filters is { Length: > 0 })
                    {
                        where.Append(" AND (").Append(RunFilters.Where(command, filters)).Append(')');
                    }

                    if (after is { Length: > 0 })
                    {
                        var (created, id) = ReadCursor(after);
                        command.Parameters.AddWithValue("$created", created);
                        command.Parameters.AddWithValue("$id", id);
                        where.Append(
                            ascending
                                ? " AND (created_at, id) > ($created, $id)"
                                : " AND (created_at, id) < ($created, $id)"
                        );
                    }

                    command.CommandText = command.CommandText.Replace(
                        "$WHERE",
                        where.ToString(),
                        StringComparison.Ordinal
                    );
                },
                first + 1,
                ascending
            )
            .TakePage(first, r => ((string)r["config"]!).Length + ((string)r["summaryMetrics"]!).Length, out var more);
        return (rows, more);
    }

    internal long CountRuns(Row project, string? filters)
    {
        using var connection = Open();
        AddRegexp(connection);
        using var command = Command(connection, "", ("$p", project.Key));
        command.CommandText =
            $"SELECT COUNT(*) FROM runs WHERE project = $p AND ({(filters is { Length: > 0 } ? RunFilters.Where(command, filters) : "1")})";
        return (long)command.ExecuteScalar()!;
    }

    private static (string Created, long Id) ReadCursor(string text)
    {
        try
        {
            if (Encoding.UTF8.GetString(Convert.FromBase64String(text)).Split('|') is [var created, var id])
            {
                return (created, long.Parse(id, NumberStyles.None, CultureInfo.InvariantCulture));
            }
        }
        catch (Exception e) when (e is FormatException or OverflowException)
        {
            // Said below.
        }

        throw new ServerFault("after is no cursor of an earlier page.");
    }

    internal static string Cursor(Row run) =>
        Convert.ToBase64String(
            Encoding.UTF8.GetBytes($"{run["createdAt"]}|{run.Key.ToString(CultureInfo.InvariantCulture)}")
        );

    internal (Row Run, bool Inserted) UpsertRun(
        Row project,
        string name,
        IReadOnlyDictionary<string, object?> values,
        string user
    )
    {
        Names.CheckRun(name);

        lock (_writing)
        {
            var existing = Run(project, name);
            if (existing is null)
            {
                using var insert = Command(
                    _writer,
                    "INSERT INTO runs (project, name, display_name, state, user, created_at, heartbeat_at, updated_at) VALUES ($p, $n, $n, 'running', $u, $c, $now, $now)",
                    ("$p", project.Key),
                    ("$n", name),
                    ("$u", user),
                    ("$c", values.GetValueOrDefault("createdAt") is { } created ? TimeText(created) : Now),
                    ("$now", Now)
                );
                insert.ExecuteNonQuery();
            }

            var columns = new (string Column, string Field)[]
            {
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
            };
            using var update = _writer.CreateCommand();
            var set = new StringBuilder("updated_at = $now, heartbeat_at = $now");
            update.Parameters.AddWithValue("$now", Now);
            foreach (var (column, field) in columns)
            {
                if (values.GetValueOrDefault(field) is { } value)
                {
                    set.Append(CultureInfo.InvariantCulture, $", {column} = ${column}");
                    update.Parameters.AddWithValue("$" + column, value.ToString());
                }
            }

            if (values.GetValueOrDefault("tags") is IEnumerable<object?> tags)
            {
                set.Append(", tags = $tags");
                update.Parameters.AddWithValue("$tags", JsonSerializer.Serialize(tags.Select(t => t?.ToString())));
            }

            update.CommandText = $"UPDATE runs SET {set} WHERE project = $p AND name = $n";
            update.Parameters.AddWithValue("$p", project.Key);
            update.Parameters.AddWithValue("$n", name);
            update.ExecuteNonQuery();
            return (Run(project, name)!, existing is null);
        }
    }

    internal void SetRun(long run, string assignment, object? value)
    {
        lock (_writing)
        {
            using var command = Command(
                _writer,
                $"UPDATE runs SET {assignment} = $v, updated_at = $now WHERE id = $r",
                ("$v", value),
                ("$now", Now),
                ("$r", run)
            );
            command.ExecuteNonQuery();
        }
    }

    /// <summary>Lines of a stream file; a line that is sent again takes the place of the old one.</summary>
    internal void AppendLines(long run, string table, long offset, IEnumerable<string> lines)
    {
        lock (_writing)
        {
            using var transaction = _writer.BeginTransaction();
            using var command = Command(
                _writer,
                $"INSERT OR REPLACE INTO {table} (run, line, row) VALUES ($r, $l, $t)",
                ("$r", run),
                ("$l", 0L),
                ("$t", "")
            );
            command.Transaction = transaction;
            foreach (var line in lines)
            {
                command.Parameters["$l"].Value = offset++;
                command.Parameters["$t"].Value = line;
                command.ExecuteNonQuery();
            }

            transaction.Commit();
        }
    }

    internal List<string> Lines(long run, string table, long from, long to)
    {
        using var connection = Open();
        using var command = Command(
            connection,
            $"SELECT row FROM {table} WHERE run = $r AND line >= $f AND line < $t ORDER BY line",
            ("$r", run),
            ("$f", from),
            ("$t", to)
        );
        using var reader = command.ExecuteReader();
        var lines = new List<string>();
        while (reader.Read())
        {
            lines.Add(reader.GetString(0));
        }

        return lines;
    }

    internal long CountLines(long run, string table)
    {
        using var connection = Open();
        using var command = Command(connection, $"SELECT COUNT(*) FROM {table} WHERE run = $r", ("$r", run));
        return (long)command.ExecuteScalar()!;
    }

    private IEnumerable<Row> RunsWhere(
        Row project,
        string? where,
        Action<SqliteCommand> bind,
        int limit,
        bool ascending = false
    )
    {
        using var connection = Open();
        AddRegexp(connection);
        using var command = Command(
            connection,
            "SELECT id, name, display_name, description, notes, tags, state, stopped, config, summary, grp, job_type, sweep, commit_hash, host, repo, user, created_at, heartbeat_at, updated_at FROM runs "
                + $"WHERE project = $p AND {where ?? "$WHERE"} ORDER BY created_at {(ascending ? "ASC, id ASC" : "DESC, id DESC")} LIMIT $limit",
            ("$p", project.Key),
            ("$limit", limit)
        );
        bind(command);
        using var reader = command.ExecuteReader();
        while (reader.Read())
        {
            var name = reader.GetString(1);
            var user = reader.GetValue(16) as string;
            yield return new Row
            {
                Key = reader.GetInt64(0),
                ["id"] = StorageId(name, (string)project["name"]!, (string)project["entityName"]!),
                ["name"] = name,
                ["displayName"] = reader.GetValue(2) as string,
                ["description"] = reader.GetValue(3) as string,
                ["notes"] = reader.GetValue(4) as string,
                ["tags"] = JsonSerializer.Deserialize<string[]>(reader.GetString(5)),
                ["state"] = reader.GetString(6),
                ["stopped"] = reader.GetInt64(7) != 0,
                ["config"] = reader.GetString(8),
                ["summaryMetrics"] = reader.GetString(9),
                ["systemMetrics"] = "{}",
                ["group"] = reader.GetValue(10) as string,
                ["jobType"] = reader.GetValue(11) as string,
                ["sweepName"] = reader.GetValue(12) as string,
                ["commit"] = reader.GetValue(13) as string,
                ["host"] = reader.GetValue(14) as string,
                ["repo"] = reader.GetValue(15) as string,
                ["readOnly"] = false,
                ["user"] = user is null
                    ? null
                    : new Row
                    {
                        ["id"] = "user:" + user,
                        ["name"] = user,
                        ["username"] = user,
                        ["entity"] = user,
                    },
                ["createdAt"] = reader.GetString(17),
                ["heartbeatAt"] = reader.GetValue(18) as string,
                ["updatedAt"] = reader.GetValue(19) as string,
                ["project"] = project,
            };
        }
    }

    private static Row ProjectRow(SqliteDataReader reader) =>
        new()
        {
            Key = reader.GetInt64(0),
            ["id"] = "project:" + reader.GetInt64(0).ToString(CultureInfo.InvariantCulture),
            ["entityName"] = reader.GetString(1),
            ["entity"] = new Row
            {
                ["id"] = "entity:" + reader.GetString(1),
                ["name"] = reader.GetString(1),
                ["isTeam"] = false,
            },
            ["name"] = reader.GetString(2),
            ["description"] = reader.GetValue(3) as string,
            ["createdAt"] = reader.GetString(4),
            ["readOnly"] = false,
        };

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

    private void Checkpoint(string mode)
    {
        if (Interlocked.Exchange(ref _checkpointing, 1) == 1)
        {
            return;
        }

        try
        {
            // An idle server leaves its disk alone.
            var changes = SQLitePCL.raw.sqlite3_total_changes(_writer.Handle);
            if (mode == "PASSIVE" && changes == _written)
            {
                return;
            }

            using var connection = Open();
            using var command = Command(connection, $"PRAGMA wal_checkpoint({mode})");
            using var reader = command.ExecuteReader();

            // Pages that a reader still needed stay in the log for the next round.
            if (reader.Read() && reader.GetInt64(1) == reader.GetInt64(2))
            {
                _written = changes;
            }
        }
        catch (SqliteException)
        {
            // Busy, or a disk that is full: the next round tries again, and what was written is in the log.
        }
        finally
        {
            Volatile.Write(ref _checkpointing, 0);
        }
    }

    private SqliteConnection Open()
    {
        var connection = new SqliteConnection(_connectionString);
        connection.Open();
        return connection;
    }

    // Only filters of runs have need of it, and it costs more than most queries.
    private static void AddRegexp(SqliteConnection connection) =>
        connection.CreateFunction(
            "regexp",
            (string pattern, string? text) =>
                text is not null
                && Regex.IsMatch(text, pattern, RegexOptions.CultureInvariant, TimeSpan.FromMilliseconds(200))
        );

    private static SqliteCommand Command(
        SqliteConnection connection,
        string text,
        params (string Name, object? Value)[] parameters
    )
    {
        var command = connection.CreateCommand();
        command.CommandText = text;
        foreach (var (name, value) in parameters)
        {
            command.Parameters.AddWithValue(name, value ?? DBNull.Value);
        }

        return command;
    }

    private static void Execute(SqliteConnection connection, string text)
    {
        using var command = Command(connection, text);
        command.ExecuteNonQuery();
    }

    [GeneratedRegex(@"[^a-z0-9_.]+")]
    private static partial Regex NotWord();

    private sealed class BlobStream(SqliteConnection connection, SqliteBlob blob) : Stream
    {
        public override bool CanRead => true;
        public override bool CanSeek => true;
        public override bool CanWrite => false;
        public override long Length => blob.Length;
        public override long Position
        {
            get => blob.Position;
            set => blob.Position = value;
        }

        public override int Read(byte[] buffer, int offset, int count) => blob.Read(buffer, offset, count);

        public override long Seek(long offset, SeekOrigin origin) => blob.Seek(offset, origin);

        public override void Flush() { }

        public override void SetLength(long value) => throw new NotSupportedException();

        public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

        protected override void Dispose(bool disposing)
        {
            blob.Dispose();
            connection.Dispose();
            base.Dispose(disposing);
        }
    }
}
