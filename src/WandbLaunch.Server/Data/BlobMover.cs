using Microsoft.Data.Sqlite;

namespace WandbLaunch.Server.Data;

/// <summary>
/// Moves the blobs of an older database to files, and sweeps up what a crash left behind, beside the server's work: an
/// older database is served from the first moment.
/// </summary>
internal sealed class BlobMover : IDisposable
{
    private readonly Database _database;
    private readonly FileStore _contents;
    private readonly ContentRows _rows;
    private readonly CancellationTokenSource _stopping = new();
    private readonly Thread _thread;

    public BlobMover(Database database, FileStore contents, ContentRows rows)
    {
        (_database, _contents, _rows) = (database, contents, rows);
        _thread = new Thread(Settle) { IsBackground = true, Name = "files" };
    }

    internal void Start() => _thread.Start();

    public void Dispose()
    {
        _stopping.Cancel();
        if (_thread.ThreadState.HasFlag(ThreadState.Unstarted))
        {
            _stopping.Dispose();
            return;
        }

        _thread.Join();
        _stopping.Dispose();
    }

    private void Settle()
    {
        try
        {
            var moved = Move("files", "updated_at") | Move("blobs", "''");
            foreach (var hash in _contents.Hashes().TakeWhile(_ => !_stopping.IsCancellationRequested))
            {
                _rows.DropUnused(hash);
            }

            _database.Write(c =>
            {
                using var left = Database.Command(
                    c,
                    "SELECT EXISTS (SELECT 1 FROM files WHERE hash IS NULL) OR EXISTS (SELECT 1 FROM blobs WHERE hash IS NULL)"
                );
                if (!_stopping.IsCancellationRequested && left.ExecuteScalar() is 0L && (moved || IsMostlyFree(c)))
                {
                    // The space of the blobs goes back to the disk.
                    Database.Execute(c, "VACUUM");
                }
            });
        }
        catch (Exception e)
            when (e is IOException or UnauthorizedAccessException or SqliteException or OperationCanceledException)
        {
            // A full disk, most likely: what is not moved is served as it is, and the next start goes on.
        }
    }

    // The server before may have been killed when all was moved and the space not yet given back.
    private static bool IsMostlyFree(SqliteConnection connection)
    {
        using var free = Database.Command(connection, "PRAGMA freelist_count");
        using var all = Database.Command(connection, "PRAGMA page_count");
        return (long)free.ExecuteScalar()! * 2 > (long)all.ExecuteScalar()!;
    }

    // A row counts as moved only when its file is in place: a kill at any moment costs at most one file's copy.
    private bool Move(string table, string stamp)
    {
        var moved = false;
        var last = long.MinValue;
        while (!_stopping.IsCancellationRequested)
        {
            using var connection = _database.Open();
            using var transaction = connection.BeginTransaction(deferred: true);
            using var command = Database.Command(
                connection,
                $"SELECT rowid, {stamp} FROM {table} WHERE hash IS NULL AND rowid > $l ORDER BY rowid LIMIT 1",
                ("$l", last)
            );
            command.Transaction = transaction;
            string updated;
            using (var reader = command.ExecuteReader())
            {
                if (!reader.Read())
                {
                    return moved;
                }

                last = reader.GetInt64(0);
                updated = reader.GetString(1);
            }

            var writer = _contents.Create();
            try
            {
                using (var blob = new SqliteBlob(connection, table, "content", last, true))
                {
                    var block = new byte[1 << 17];
                    int read;
                    while ((read = blob.Read(block, 0, block.Length)) > 0)
                    {
                        _stopping.Token.ThrowIfCancellationRequested();
                        writer.Write(block.AsSpan(0, read));
                    }
                }

                var content = _contents.Place(writer);
                var (row, time) = (last, updated);
                _rows.Save(
                    content,
                    c =>
                    {
                        using var update = Database.Command(
                            c,
                            $"UPDATE {table} SET hash = $h, content = x'' WHERE rowid = $r AND hash IS NULL AND {stamp} = $u",
                            ("$h", content.Hash),
                            ("$r", row),
                            ("$u", time)
                        );
                        return update.ExecuteNonQuery() > 0;
                    }
                );
                moved = true;
            }
            finally
            {
                FileStore.Discard(writer);
            }
        }

        return moved;
    }
}
