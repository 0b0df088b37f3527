using System.Globalization;
using System.Text;
using Microsoft.Data.Sqlite;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server;

/// <summary>Content that is asked for: a stream that can seek, and a tag that changes with it.</summary>
internal sealed record StoredFile(Stream Content, string Tag);

/// <summary>Which file has which content. The content itself is in <see cref="FileStore"/>; older databases hold it as blobs, which are moved there.</summary>
internal sealed partial class Store
{
    /// <summary>Files that the server itself reads are small ones.</summary>
    private const int SmallFile = 16 << 20;

    private readonly CancellationTokenSource _stopping = new();
    private Thread? _mover;

    /// <summary>Content of files: the folder beside the database.</summary>
    internal FileStore Contents { get; private set; } = null!;

    /// <summary>True once nothing is left of an older database's blobs, nor of what a crash left behind.</summary>
    internal bool FilesSettled { get; private set; }

    private void OpenFiles(string path)
    {
        Contents = new FileStore(System.IO.Path.GetFullPath(path) + ".files");
        _mover = new Thread(Settle) { IsBackground = true, Name = "files" };
        _mover.Start();
    }

    private void CloseFiles()
    {
        _stopping.Cancel();
        _mover?.Join();
        _stopping.Dispose();
    }

    internal (List<Row> Files, bool More) Files(
        long run,
        IReadOnlyCollection<string>? names,
        string? pattern,
        string? after,
        int first
    )
    {
        using var connection = Open();
        using var command = Command(
            connection,
            "SELECT name, md5, size, updated_at FROM files WHERE run = $r AND name > $a AND ($p IS NULL OR name GLOB $p) ORDER BY name",
            ("$r", run),
            ("$a", after ?? ""),
            ("$p", pattern)
        );
        using var reader = command.ExecuteReader();
        var rows = new List<Row>();
        while (reader.Read())
        {
            var name = reader.GetString(0);
            if (names is null || names.Contains(name))
            {
                rows.Add(
                    new Row
                    {
                        ["id"] = $"{run}/{name}",
                        ["name"] = name,
                        ["md5"] = reader.GetValue(1) as string,
                        ["sizeBytes"] = reader.GetInt64(2),
                        ["updatedAt"] = reader.GetString(3),
                    }
                );
            }

            if (rows.Count > first)
            {
                rows.RemoveAt(first);
                return (rows, true);
            }
        }

        return (rows, false);
    }

    /// <summary>Opens a file's content, or null.</summary>
    internal StoredFile? OpenFile(long run, string name) =>
        OpenContent("files", "run = $a AND name = $b", ("$a", run), ("$b", name));

    /// <summary>Opens content by its digest, or null.</summary>
    internal StoredFile? OpenBlob(string entity, string md5) =>
        OpenContent("blobs", "entity = $a AND md5 = $b", ("$a", entity), ("$b", md5.ToLowerInvariant()));

    /// <summary>A small file as bytes; null when it is not there, or not small.</summary>
    internal byte[]? ReadFile(long run, string name)
    {
        if (OpenFile(run, name) is not { Content: var stream })
        {
            return null;
        }

        using (stream)
        {
            if (stream.Length > SmallFile)
            {
                return null;
            }

            var bytes = new byte[stream.Length];
            stream.ReadExactly(bytes);
            return bytes;
        }
    }

    /// <summary>True when the file has this very content.</summary>
    internal bool HasFile(long run, string name, string hash)
    {
        using var connection = Open();
        using var command = Command(
            connection,
            "SELECT 1 FROM files WHERE run = $r AND name = $n AND hash = $h",
            ("$r", run),
            ("$n", name),
            ("$h", hash)
        );
        return command.ExecuteScalar() is not null && Contents.Contains(hash);
    }

    internal bool HasBlob(string entity, string md5)
    {
        using var found = OpenBlob(entity, md5)?.Content;
        return found is not null;
    }

    /// <summary>Names content as a file of a run. False when the run is gone.</summary>
    internal bool SaveFile(long run, string name, FileContent content) =>
        Save(
            content,
            () =>
            {
                var old = Text("SELECT hash FROM files WHERE run = $r AND name = $n", ("$r", run), ("$n", name));
                var saved = false;
                Durable(() =>
                {
                    using var command = Command(
                        _writer,
                        "INSERT INTO files (run, name, md5, size, updated_at, content, hash) SELECT $r, $n, $m, $s, $now, x'', $h WHERE EXISTS (SELECT 1 FROM runs WHERE id = $r) ON CONFLICT (run, name) DO UPDATE SET md5 = $m, size = $s, updated_at = $now, content = x'', hash = $h",
                        ("$r", run),
                        ("$n", name),
                        ("$m", Convert.ToBase64String(content.Md5)),
                        ("$s", content.Size),
                        ("$now", Now),
                        ("$h", content.Hash)
                    );
                    saved = command.ExecuteNonQuery() > 0;
                });
                if (old is not null && old != content.Hash)
                {
                    DropUnused(old);
                }

                return saved;
            }
        );

    /// <summary>Names content by its own digest.</summary>
    internal bool SaveBlob(string entity, FileContent content) =>
        Save(
            content,
            () =>
            {
                var md5 = Convert.ToHexString(content.Md5).ToLowerInvariant();
                var old = Text("SELECT hash FROM blobs WHERE entity = $e AND md5 = $m", ("$e", entity), ("$m", md5));

                // What is there stays: content of the same MD5 that is another was made to take its place.
                if (old is null || !Contents.Contains(old))
                {
                    Durable(() =>
                    {
                        using var command = Command(
                            _writer,
                            "INSERT INTO blobs (entity, md5, content, hash) VALUES ($e, $m, x'', $h) ON CONFLICT (entity, md5) DO UPDATE SET hash = $h WHERE hash IS NOT NULL",
                            ("$e", entity),
                            ("$m", md5),
                            ("$h", content.Hash)
                        );
                        command.ExecuteNonQuery();
                    });
                }

                return true;
            }
        );

    /// <summary>The console of a run that has ended, as its output.log.</summary>
    internal void SaveConsole(long run)
    {
        var writer = Contents.Create();
        try
        {
            using (var connection = Open())
            using (
                var command = Command(connection, "SELECT row FROM console WHERE run = $r ORDER BY line", ("$r", run))
            )
            using (var reader = command.ExecuteReader())
            {
                var block = new MemoryStream(1 << 17);
                while (reader.Read())
                {
                    block.Write(Encoding.UTF8.GetBytes(reader.GetString(0)));
                    if (block.Length > 1 << 16)
                    {
                        writer.Write(block.GetBuffer().AsSpan(0, (int)block.Length));
                        block.SetLength(0);
                    }
                }

                writer.Write(block.GetBuffer().AsSpan(0, (int)block.Length));
            }

            if (writer.Length > 0)
            {
                SaveFile(run, "output.log", Contents.Place(writer));
            }
        }
        finally
        {
            FileStore.Discard(writer);
        }
    }

    internal bool DeleteFile(long run, string name)
    {
        lock (_writing)
        {
            var hash = Text("SELECT hash FROM files WHERE run = $r AND name = $n", ("$r", run), ("$n", name));
            var deleted = false;
            Durable(() =>
            {
                using var command = Command(
                    _writer,
                    "DELETE FROM files WHERE run = $r AND name = $n",
                    ("$r", run),
                    ("$n", name)
                );
                deleted = command.ExecuteNonQuery() > 0;
            });
            if (hash is not null)
            {
                DropUnused(hash);
            }

            return deleted;
        }
    }

    internal void DeleteRun(long run)
    {
        lock (_writing)
        {
            var hashes = new List<string>();
            using (
                var read = Command(
                    _writer,
                    "SELECT DISTINCT hash FROM files WHERE run = $r AND hash IS NOT NULL",
                    ("$r", run)
                )
            )
            using (var reader = read.ExecuteReader())
            {
                while (reader.Read())
                {
                    hashes.Add(reader.GetString(0));
                }
            }

            Durable(() =>
            {
                using var command = Command(
                    _writer,
                    "DELETE FROM files WHERE run = $r; DELETE FROM history WHERE run = $r; DELETE FROM console WHERE run = $r; DELETE FROM runs WHERE id = $r",
                    ("$r", run)
                );
                command.ExecuteNonQuery();
            });
            hashes.ForEach(DropUnused);
        }
    }

    private StoredFile? OpenContent(string table, string where, params (string Name, object? Value)[] parameters)
    {
        // A second look, for the content that was read of may have been replaced before it was opened.
        for (var i = 0; i < 3; i++)
        {
            var connection = Open();
            var keep = false;
            try
            {
                // One view of row and blob, for the blob may be moved meanwhile; it ends with the connection.
                var transaction = connection.BeginTransaction(deferred: true);
                using var command = Command(connection, $"SELECT rowid, hash FROM {table} WHERE {where}", parameters);
                command.Transaction = transaction;
                using var reader = command.ExecuteReader();
                if (!reader.Read())
                {
                    return null;
                }

                var row = reader.GetInt64(0);
                if (reader.IsDBNull(1))
                {
                    var blob = new SqliteBlob(connection, table, "content", row, true);
                    keep = true;
                    return new StoredFile(
                        new BlobStream(connection, blob),
                        "blob-" + row.ToString(CultureInfo.InvariantCulture)
                    );
                }

                var hash = reader.GetString(1);
                if (Contents.Open(hash) is { } stream)
                {
                    return new StoredFile(stream, hash);
                }
            }
            finally
            {
                if (!keep)
                {
                    connection.Dispose();
                }
            }
        }

        return null;
    }

    private bool Save(FileContent content, Func<bool> write)
    {
        var saved = false;
        lock (_writing)
        {
            try
            {
                saved = write();
            }
            catch (SqliteException e) when (e.SqliteErrorCode == 13)
            {
                throw FileFault.NoRoom(e);
            }
            finally
            {
                content.Dispose();
                DropUnused(content.Hash);
            }
        }

        return saved;
    }

    // Content goes when no row names it, and that must be on the disk before: a row of before a power cut would name nothing.
    private void Durable(Action change)
    {
        Execute(_writer, "PRAGMA synchronous = FULL");
        try
        {
            Execute(_writer, "BEGIN IMMEDIATE");
            try
            {
                change();
                Execute(_writer, "COMMIT");
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

    // Under the lock of writing.
    private void DropUnused(string hash)
    {
        try
        {
            if (
                Text(
                    "SELECT 'used' WHERE EXISTS (SELECT 1 FROM files WHERE hash = $h) OR EXISTS (SELECT 1 FROM blobs WHERE hash = $h)",
                    ("$h", hash)
                )
                is null
            )
            {
                Contents.Drop(hash);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or SqliteException)
        {
            // Swept at the next start.
        }
    }

    private string? Text(string text, params (string Name, object? Value)[] parameters)
    {
        using var command = Command(_writer, text, parameters);
        return command.ExecuteScalar() as string;
    }

    // Beside the server's work: an older database is served from the first moment.
    private void Settle()
    {
        try
        {
            var moved = MoveBlobs("files") | MoveBlobs("blobs");
            foreach (var hash in Contents.Hashes().TakeWhile(_ => !_stopping.IsCancellationRequested))
            {
                lock (_writing)
                {
                    DropUnused(hash);
                }
            }

            lock (_writing)
            {
                if (
                    _stopping.IsCancellationRequested
                    || Text(
                        "SELECT 'left' FROM files WHERE hash IS NULL UNION SELECT 'left' FROM blobs WHERE hash IS NULL"
                    )
                        is not null
                )
                {
                    return;
                }

                if (moved)
                {
                    // The space of the blobs goes back to the disk.
                    Execute(_writer, "VACUUM");
                }
            }

            FilesSettled = true;
        }
        catch (Exception e)
            when (e is IOException or UnauthorizedAccessException or SqliteException or OperationCanceledException)
        {
            // A full disk, most likely: what is not moved is served as it is, and the next start goes on.
        }
    }

    // A row counts as moved only when its file is in place: a kill at any moment costs at most one file's copy.
    private bool MoveBlobs(string table)
    {
        var moved = false;
        var last = long.MinValue;
        while (!_stopping.IsCancellationRequested)
        {
            using var connection = Open();
            using var transaction = connection.BeginTransaction(deferred: true);
            using var command = Command(
                connection,
                $"SELECT rowid, {(table == "files" ? "updated_at" : "''")} FROM {table} WHERE hash IS NULL AND rowid > $l ORDER BY rowid LIMIT 1",
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

            var writer = Contents.Create();
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

                var content = Contents.Place(writer);
                var (row, time) = (last, updated);
                Save(
                    content,
                    () =>
                    {
                        using var update = Command(
                            _writer,
                            $"UPDATE {table} SET hash = $h, content = x'' WHERE rowid = $r AND hash IS NULL"
                                + (table == "files" ? " AND updated_at = $u" : ""),
                            ("$h", content.Hash),
                            ("$r", row)
                        );
                        if (table == "files")
                        {
                            update.Parameters.AddWithValue("$u", time);
                        }

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
