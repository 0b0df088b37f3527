using System.Globalization;
using Microsoft.Data.Sqlite;

namespace WandbLaunch.Server.Data;

/// <summary>
/// Everything that the server knows, in one SQLite file in WAL mode: one connection that writes, under one lock, and as
/// many that read as there are requests. The content of files is beside it (<see cref="FileStore"/>).
/// </summary>
internal sealed class Database : IDisposable
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
    internal Database(string path, TimeSpan? lease = null, TimeProvider? time = null, Action<string>? say = null)
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
    }

    /// <summary>How long a popped item waits for its ack before others get it (about a minute, protocol B.3).</summary>
    internal TimeSpan Lease { get; }

    /// <summary>Name of this database, for clients that remember its small item ids.</summary>
    internal string Identity { get; }

    /// <summary>The database's file.</summary>
    internal string Path => _file.Path;

    /// <summary>The connection that writes, for tests of what a disk does.</summary>
    internal SqliteConnection Writer => _writer;

    /// <summary>The transaction of the <see cref="Transact"/> that is under way, for commands that are kept.</summary>
    internal SqliteTransaction? Transaction { get; private set; }

    /// <summary>Milliseconds since the start, from 1 on: not changed by whoever sets the machine's clock.</summary>
    internal long Clock => 1 + (long)_time.GetElapsedTime(_started).TotalMilliseconds;

    /// <summary>The time of day, as it stands in rows.</summary>
    internal static string Now => DateTime.UtcNow.ToString("yyyy-MM-dd'T'HH:mm:ss.fff", CultureInfo.InvariantCulture);

    /// <summary>The time of day so long ago, as it stands in rows.</summary>
    internal static string Before(TimeSpan ago) =>
        (DateTime.UtcNow - ago).ToString("yyyy-MM-dd'T'HH:mm:ss.fff", CultureInfo.InvariantCulture);

    /// <summary>Says under which address the database is served.</summary>
    internal void Announce(string url) => _file.Announce(url);

    /// <summary>A connection that reads.</summary>
    internal SqliteConnection Open()
    {
        var connection = new SqliteConnection(_connectionString);
        connection.Open();
        return connection;
    }

    /// <summary>Reads on a connection of its own.</summary>
    internal T Read<T>(Func<SqliteConnection, T> read)
    {
        using var connection = Open();
        return read(connection);
    }

    /// <summary>Writes, alone. What is written inside another write is a part of that.</summary>
    internal T Write<T>(Func<SqliteConnection, T> write)
    {
        lock (_writing)
        {
            return write(_writer);
        }
    }

    /// <inheritdoc cref="Write{T}"/>
    internal void Write(Action<SqliteConnection> write)
    {
        lock (_writing)
        {
            write(_writer);
        }
    }

    /// <summary>Writes all of it or nothing. One inside another is a part of that.</summary>
    internal T Transact<T>(Func<SqliteConnection, T> write)
    {
        lock (_writing)
        {
            if (Transaction is not null)
            {
                return write(_writer);
            }

            using var transaction = Transaction = _writer.BeginTransaction();
            try
            {
                var result = write(_writer);
                transaction.Commit();
                return result;
            }
            finally
            {
                Transaction = null;
            }
        }
    }

    /// <summary>Writes all of it or nothing, and has it on the disk: content of files goes when no row names it, and a row of before a power cut would name nothing.</summary>
    internal T Durable<T>(Func<SqliteConnection, T> write)
    {
        lock (_writing)
        {
            Execute(_writer, "PRAGMA synchronous = FULL");
            try
            {
                Execute(_writer, "BEGIN IMMEDIATE");
                try
                {
                    var result = write(_writer);
                    Execute(_writer, "COMMIT");
                    return result;
                }
                catch
                {
                    // A full disk may have rolled back already.
                    if (SQLitePCL.raw.sqlite3_get_autocommit(_writer.Handle) == 0)
                    {
                        Execute(_writer, "ROLLBACK");
                    }

                    throw;
                }
            }
            finally
            {
                Execute(_writer, "PRAGMA synchronous = NORMAL");
            }
        }
    }

    public void Dispose()
    {
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

    /// <summary>A command with its parameters.</summary>
    internal static SqliteCommand Command(
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

    internal static void Execute(SqliteConnection connection, string text)
    {
        using var command = Command(connection, text);
        command.ExecuteNonQuery();
    }

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
}
