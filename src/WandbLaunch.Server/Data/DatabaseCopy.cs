using System.Globalization;
using Microsoft.Data.Sqlite;

namespace WandbLaunch.Server.Data;

/// <summary>The copy that is kept of a database before its tables are changed.</summary>
internal static class DatabaseCopy
{
    /// <summary>Copies a database of an older version that has something in it. Null when there is no need.</summary>
    /// <exception cref="StartFault">It cannot be copied, and was left as it is.</exception>
    internal static string? BeforeUpgrade(string path)
    {
        using var connection = new SqliteConnection(
            new SqliteConnectionStringBuilder
            {
                DataSource = path,
                Mode = SqliteOpenMode.ReadOnly,
                Pooling = false,
            }.ToString()
        );
        connection.Open();
        if (DatabaseSchema.Version(connection) == DatabaseSchema.Latest || !HasRows(connection))
        {
            return null;
        }

        var name = string.Create(CultureInfo.InvariantCulture, $"{path}.before-v{DatabaseSchema.Latest}");
        var aside = name + ".new";
        try
        {
            // Of a server that ended while it copied.
            Discard(aside);
            Write(connection, aside);

            // One view of all that was committed, in the file or in its log; on the disk before the first change is.
            var place = name;
            for (var i = 1; Exists(place); i++)
            {
                if (AreEqual(place, aside))
                {
                    // Of a server that ended after it: one copy of one state is enough.
                    Discard(aside);
                    return place;
                }

                place = string.Create(CultureInfo.InvariantCulture, $"{name}.{i}");
            }

            File.Move(aside, place, false);
            FileStore.Sync(Path.GetDirectoryName(path)!);
            return place;
        }
        catch (Exception e) when (e is SqliteException or IOException or UnauthorizedAccessException)
        {
            try
            {
                Discard(aside);
            }
            catch (Exception inner) when (inner is IOException or UnauthorizedAccessException)
            {
                // The next start does it.
            }

            if (
                e is SqliteException
                {
                    SqliteErrorCode: SQLitePCL.raw.SQLITE_CORRUPT or SQLitePCL.raw.SQLITE_NOTADB
                } damaged
            )
            {
                throw DatabaseFile.Unusable(path, damaged);
            }

            throw new StartFault(
                StartFault.Database,
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{path} is of an older version, and no copy of it can be made beside it, as {name}, before it becomes one of version {DatabaseSchema.Latest} ({e.Message.ReplaceLineEndings(" ").Trim()}). It was left as it is: make room for a second one of its size, or move it to a disk with room."
                )
            );
        }
    }

    private static bool HasRows(SqliteConnection connection)
    {
        using var command = connection.CreateCommand();
        command.CommandText =
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' AND name <> 'identity'";
        var tables = new List<string>();
        using (var reader = command.ExecuteReader())
        {
            while (reader.Read())
            {
                tables.Add(reader.GetString(0).Replace("\"", "\"\"", StringComparison.Ordinal));
            }
        }

        return tables.Exists(t =>
        {
            command.CommandText = $"SELECT 1 FROM \"{t}\" LIMIT 1";
            return command.ExecuteScalar() is not null;
        });
    }

    /// <summary>Writes what a database is at one moment to a new file.</summary>
    internal static void Write(SqliteConnection connection, string path)
    {
        // SQLite takes an empty file for its own, with the permissions that it has.
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.ReadWrite };
        if (!OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
        }

        new FileStream(path, options).Dispose();
        using (var command = connection.CreateCommand())
        {
            command.CommandText = "VACUUM INTO $path";
            command.CommandTimeout = 0;
            command.Parameters.AddWithValue("$path", path);
            command.ExecuteNonQuery();
        }

        using var written = new FileStream(path, FileMode.Open, FileAccess.ReadWrite);
        written.Flush(true);
    }

    // A link that leads nowhere is there too.
    private static bool Exists(string path) => Path.Exists(path) || new FileInfo(path).LinkTarget is not null;

    private static bool AreEqual(string one, string other)
    {
        using var a = new FileStream(one, FileMode.Open, FileAccess.Read);
        using var b = new FileStream(other, FileMode.Open, FileAccess.Read);
        if (a.Length != b.Length)
        {
            return false;
        }

        var (left, right) = (new byte[1 << 17], new byte[1 << 17]);
        int read;
        while ((read = a.ReadAtLeast(left, left.Length, false)) > 0)
        {
            if (
                b.ReadAtLeast(right.AsSpan(0, read), read, false) < read
                || !left.AsSpan(0, read).SequenceEqual(right.AsSpan(0, read))
            )
            {
                return false;
            }
        }

        return true;
    }

    private static void Discard(string path)
    {
        File.Delete(path);
        File.Delete(path + "-journal");
    }
}
