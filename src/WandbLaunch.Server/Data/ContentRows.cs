using System.Globalization;
using Dapper;
using Microsoft.Data.Sqlite;

namespace WandbLaunch.Server.Data;

/// <summary>Content that is asked for: a stream that can seek, and a tag that changes with it.</summary>
internal sealed record StoredFile(Stream Content, string Tag);

/// <summary>
/// What the rows of files and of blobs have in common: each names content by its digest. The content itself is in
/// <see cref="FileStore"/>; older databases hold it as blobs, which <see cref="BlobMover"/> moves there.
/// </summary>
internal sealed class ContentRows(Database database, FileStore contents)
{
    /// <summary>Opens content, or null.</summary>
    internal StoredFile? Open(string table, string where, params (string Name, object? Value)[] parameters)
    {
        // A second look, for the content that was read of may have been replaced before it was opened.
        for (var i = 0; i < 3; i++)
        {
            var connection = database.Open();
            var keep = false;
            try
            {
                // One view of row and blob, for the blob may be moved meanwhile; it ends with the connection.
                var transaction = connection.BeginTransaction(deferred: true);
                using var command = Database.Command(
                    connection,
                    $"SELECT rowid, hash FROM {table} WHERE {where}",
                    parameters
                );
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
                if (contents.Open(hash) is { } stream)
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

    /// <summary>Writes a row that names content, and lets go of the content.</summary>
    internal bool Save(FileContent content, Func<SqliteConnection, bool> write) =>
        database.Write(c =>
        {
            try
            {
                return write(c);
            }
            catch (SqliteException e) when (e.SqliteErrorCode == SQLitePCL.raw.SQLITE_FULL)
            {
                throw FileFault.NoRoom(e);
            }
            finally
            {
                content.Dispose();
                DropUnused(content.Hash);
            }
        });

    /// <summary>Removes content that no row names any more.</summary>
    internal void DropUnused(string hash) =>
        database.Write(c =>
        {
            try
            {
                if (
                    !c.ExecuteScalar<bool>(
                        "SELECT EXISTS (SELECT 1 FROM files WHERE hash = @hash) OR EXISTS (SELECT 1 FROM blobs WHERE hash = @hash)",
                        new { hash }
                    )
                )
                {
                    contents.Drop(hash);
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or SqliteException)
            {
                // Swept at the next start.
            }
        });

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
