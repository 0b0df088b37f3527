using Microsoft.Data.Sqlite;
using SQLitePCL;

namespace WandbLaunch.Server.Data;

/// <summary>The statement of every push: compiled once, and given the bytes as they came. Used by the one writer only, in a transaction.</summary>
internal sealed class ItemStatement : IDisposable
{
    private const int Queue = 1;
    private const int Spec = 2;
    private const int Priority = 3;
    private const int CreatedAt = 4;

    private readonly sqlite3 _database;
    private readonly sqlite3_stmt _statement;

    internal ItemStatement(SqliteConnection writer)
    {
        _database = writer.Handle!;
        Check(
            raw.sqlite3_prepare_v3(
                _database,
                "INSERT INTO items (queue, spec, priority, created_at) VALUES (?1, ?2, ?3, ?4)",
                raw.SQLITE_PREPARE_PERSISTENT,
                out _statement
            )
        );
    }

    internal void Begin(long queue, string now)
    {
        Check(raw.sqlite3_bind_int64(_statement, Queue, queue));
        Check(raw.sqlite3_bind_text(_statement, CreatedAt, now));
    }

    /// <summary>Adds an item, and gives its id.</summary>
    internal long Insert(ReadOnlySpan<byte> spec, int priority)
    {
        Check(raw.sqlite3_bind_text(_statement, Spec, spec));
        Check(raw.sqlite3_bind_int(_statement, Priority, priority));
        var result = raw.sqlite3_step(_statement);
        if (result != raw.SQLITE_DONE)
        {
            // The statement is good for the next one whatever came of this; the message is read before that.
            try
            {
                Check(result);
            }
            finally
            {
                raw.sqlite3_reset(_statement);
            }
        }

        raw.sqlite3_reset(_statement);
        return raw.sqlite3_last_insert_rowid(_database);
    }

    public void Dispose() => _statement.Dispose();

    private void Check(int result) => SqliteException.ThrowExceptionForRC(result, _database);
}
