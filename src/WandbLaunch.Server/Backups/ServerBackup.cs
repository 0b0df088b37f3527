using System.Globalization;
using System.Text.Json;
using Dapper;
using Microsoft.Data.Sqlite;
using WandbLaunch.Server.Data;
using WandbLaunch.Server.Endpoints;

namespace WandbLaunch.Server.Backups;

/// <summary>What a backup says of itself, and the answer of who makes or restores one.</summary>
internal sealed record BackupInfo
{
    public string Product { get; init; } = ServerBackup.Product;

    /// <summary>Version of the database's tables.</summary>
    public int Version { get; init; }

    /// <summary>Name of the database that it is of.</summary>
    public string Identity { get; init; } = "";
    public string Created { get; init; } = "";
    public long Files { get; init; }
    public long Bytes { get; init; }

    /// <summary>How many files were copied this time; those that were there already were not.</summary>
    public long Copied { get; init; }
}

/// <summary>
/// A copy of all that a server has, in a folder: the database as it was at one moment, and the content that it names. The
/// server goes on meanwhile. A second backup into the same folder copies what is new, and is the first one's successor
/// when it is whole.
/// </summary>
internal static class ServerBackup
{
    internal const string Product = "WandbLaunch server backup";
    internal const string Description = "backup.json";
    internal const string DatabaseName = "wandb.db";
    internal const string FilesName = "files";
    private const string LockName = DatabaseName + ".server.lock";

    // Content that is deleted while it is copied is named by the next copy of the database no more.
    private const int Rounds = 10;

    /// <summary>Makes or renews a backup.</summary>
    /// <exception cref="StartFault">It cannot be made; an older one in the folder stays good.</exception>
    internal static BackupInfo Make(string path, string folder)
    {
        var database = DatabaseFile.RealPath(path);
        if (!File.Exists(database))
        {
            throw new StartFault(StartFault.Database, $"There is no database {database}.");
        }

        try
        {
            return MakeIn(database, ContentOf(path), Path.GetFullPath(folder));
        }
        catch (SqliteException e) when (FaultAnswers.IsFull(e))
        {
            // The database is only read.
            throw new StartFault(StartFault.Backup, $"There is no room for the backup in {folder}.");
        }
        catch (SqliteException e)
        {
            throw DatabaseFile.Unusable(database, e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new StartFault(StartFault.Backup, $"The backup could not be written to {folder}: {e.Message}");
        }
    }

    // As the server has it: beside the path that it was given, also where that is a link.
    private static string ContentOf(string path) => Path.GetFullPath(path) + ".files";

    // Holds the folder: two into one would take each other's files for what only the one before named. Somebody else's
    // folder is not written to.
    private static IDisposable Open(string folder, string identity)
    {
        var path = Path.Combine(folder, LockName);
        while (true)
        {
            var held = File.Exists(path) ? Hold(folder) : null;
            if (
                !Directory.Exists(folder)
                || Directory.EnumerateFileSystemEntries(folder).All(e => Path.GetFileName(e) == LockName)
                || Read(folder)?.Identity == identity
            )
            {
                FileStore.CreateFolder(folder);
                return held ?? Hold(folder);
            }

            // Unless somebody began in between.
            held?.Dispose();
            if (held is not null || !File.Exists(path))
            {
                throw new StartFault(
                    StartFault.Occupied,
                    $"{folder} is not empty, and holds no backup of this server. Name a folder that is empty or not there."
                );
            }
        }
    }

    private static IDisposable Hold(string folder)
    {
        try
        {
            return DatabaseFile.Take(Path.Combine(folder, DatabaseName));
        }
        catch (StartFault e) when (e.ExitCode == StartFault.InUse)
        {
            throw new StartFault(
                StartFault.Backup,
                $"Another backup into {folder} is under way. Wait for it, or name another folder."
            );
        }
    }

    private static BackupInfo MakeIn(string database, string content, string folder)
    {
        using var connection = new SqliteConnection(
            new SqliteConnectionStringBuilder
            {
                DataSource = database,
                Mode = SqliteOpenMode.ReadOnly,
                Pooling = false,
            }.ToString()
        );
        connection.Open();
        var identity = Identity(connection, database);
        using var held = Open(folder, identity);
        if (Read(folder) is null)
        {
            // Whose it is, so that a first one that is cut off can go on.
            Describe(folder, new BackupInfo { Identity = identity });
        }

        var files = Path.Combine(folder, FilesName);
        FileStore.CreateFolder(files);
        var aside = Path.Combine(folder, DatabaseName + ".new");
        long copied = 0;
        for (var round = 1; ; round++)
        {
            File.Delete(aside);
            File.Delete(aside + "-journal");
            try
            {
                DatabaseCopy.Write(connection, aside);
            }
            catch
            {
                // Half of one would keep a full disk full.
                File.Delete(aside);
                throw;
            }

            var (version, named) = Content(aside);
            var missing = 0;
            foreach (var hash in named)
            {
                var target = FileStore.PathOf(files, hash);
                if (File.Exists(target))
                {
                    continue;
                }

                if (BackupFiles.Copy(FileStore.PathOf(content, hash), target, hash))
                {
                    copied++;
                }
                else
                {
                    missing++;
                }
            }

            if (missing == 0)
            {
                return Finish(folder, aside, identity, version, named, copied);
            }

            if (round == Rounds)
            {
                throw new StartFault(
                    StartFault.Backup,
                    $"{missing} files that the database names are not in {content}. What was copied stays in {folder}."
                );
            }
        }
    }

    /// <summary>Puts a backup in the place of a database.</summary>
    /// <exception cref="StartFault">It is none, is damaged, or something is there already; what was there stays.</exception>
    internal static BackupInfo Restore(string folder, string path, bool force)
    {
        folder = Path.GetFullPath(folder);
        if (Read(folder) is not { } info || !File.Exists(Path.Combine(folder, DatabaseName)))
        {
            throw new StartFault(
                StartFault.Invalid,
                $"{folder} is no backup of a launch server, or one that is not finished. Name the folder that Backup-WandbLaunchServer was given."
            );
        }

        if (info.Version > DatabaseSchema.Latest)
        {
            throw new StartFault(
                StartFault.Invalid,
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"The backup in {folder} is of version {info.Version}, and this server knows versions up to {DatabaseSchema.Latest}. Restore it with the newer WandbLaunch that made it."
                )
            );
        }

        try
        {
            var database = DatabaseFile.RealPath(path);
            Directory.CreateDirectory(Path.GetDirectoryName(database)!);
            using var held = DatabaseFile.Take(database);
            return RestoreTo(folder, database, ContentOf(path), force, info);
        }
        catch (SqliteException e)
        {
            throw new StartFault(StartFault.Invalid, $"The backup in {folder} is damaged ({e.Message.Trim()}).");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new StartFault(StartFault.Backup, $"The backup could not be restored to {path}: {e.Message}");
        }
    }

    private static BackupInfo RestoreTo(string folder, string database, string content, bool force, BackupInfo info)
    {
        // The content first: of all it is the likeliest that cannot be moved.
        var old = new (string Path, string Suffix)[]
        {
            (content, ".files"),
            (database, ""),
            (database + "-wal", "-wal"),
            (database + "-shm", "-shm"),
        }
            .Where(o => Path.Exists(o.Path))
            .ToList();
        if (old.Count > 0 && !force)
        {
            throw new StartFault(
                StartFault.Occupied,
                $"There is a database {database} already. Restore to another path, or with -Force: what is there is kept beside it then."
            );
        }

        // All of it beside the place first: what is there is touched when the new one is whole.
        var (aside, files) = (database + ".restoring", content + ".restoring");
        BackupFiles.Discard(aside, files);
        HashSet<string> named;
        try
        {
            named = Prepare(folder, database, aside, files);
        }
        catch
        {
            // On a full disk it would be in the server's way.
            BackupFiles.Discard(aside, files);
            throw;
        }

        var kept = BackupFiles.Free(database + ".before-restore");
        var moved = new List<(string From, string To)>();
        try
        {
            foreach (
                var (from, to) in old.Select(o => (o.Path, kept + o.Suffix))
                    .Append((files, content))
                    .Append((aside, database))
            )
            {
                BackupFiles.Move(from, to);
                moved.Add((from, to));
            }
        }
        catch
        {
            foreach (var (from, to) in Enumerable.Reverse(moved))
            {
                BackupFiles.Move(to, from);
            }

            BackupFiles.Discard(aside, files);
            throw;
        }

        FileStore.Sync(Path.GetDirectoryName(database)!);
        return info with { Files = named.Count, Copied = named.Count };
    }

    private static HashSet<string> Prepare(string folder, string database, string aside, string files)
    {
        File.Copy(Path.Combine(folder, DatabaseName), aside);
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(aside, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        }

        using (var copied = new FileStream(aside, FileMode.Open, FileAccess.ReadWrite))
        {
            copied.Flush(true);
        }

        var (_, named) = Content(aside);
        FileStore.CreateFolder(files);
        foreach (var hash in named)
        {
            if (
                !BackupFiles.Copy(
                    FileStore.PathOf(Path.Combine(folder, FilesName), hash),
                    FileStore.PathOf(files, hash),
                    hash
                )
            )
            {
                throw new StartFault(
                    StartFault.Invalid,
                    $"The backup in {folder} lacks the file {hash}. What was at {database} was left as it is."
                );
            }
        }

        return named;
    }

    /// <summary>What a folder's backup says of itself; null where it is none.</summary>
    internal static BackupInfo? Read(string folder)
    {
        try
        {
            return
                JsonSerializer.Deserialize<BackupInfo>(File.ReadAllText(Path.Combine(folder, Description)))
                    is { Product: Product } info
                ? info
                : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            return null;
        }
    }

    private static BackupInfo Finish(
        string folder,
        string aside,
        string identity,
        int version,
        HashSet<string> named,
        long copied
    )
    {
        var files = Path.Combine(folder, FilesName);
        var info = new BackupInfo
        {
            Version = version,
            Identity = identity,
            Created = Database.Now,
            Files = named.Count,
            Bytes = new FileInfo(aside).Length + named.Sum(hash => new FileInfo(FileStore.PathOf(files, hash)).Length),
            Copied = copied,
        };
        File.Move(aside, Path.Combine(folder, DatabaseName), true);
        Describe(folder, info);

        // What only the backup of before named.
        foreach (
            var file in Directory
                .EnumerateFiles(
                    files,
                    "*",
                    // Nothing behind a link is the backup's.
                    new EnumerationOptions
                    {
                        RecurseSubdirectories = true,
                        AttributesToSkip = FileAttributes.ReparsePoint,
                        IgnoreInaccessible = false,
                    }
                )
                .Where(f => !named.Contains(Path.GetFileName(f)))
                .ToList()
        )
        {
            File.Delete(file);
        }

        return info;
    }

    private static void Describe(string folder, BackupInfo info)
    {
        var description = Path.Combine(folder, Description);
        File.Delete(description + ".new");
        using (var file = new FileStream(description + ".new", FileMode.CreateNew, FileAccess.Write))
        {
            JsonSerializer.Serialize(file, info);
            file.Flush(true);
        }

        File.Move(description + ".new", description, true);
        FileStore.Sync(folder);
    }

    // The copy is looked at, too: a database that is damaged is no backup.
    private static (int Version, HashSet<string> Named) Content(string database)
    {
        using var connection = new SqliteConnection(
            new SqliteConnectionStringBuilder
            {
                DataSource = database,
                Mode = SqliteOpenMode.ReadOnly,
                Pooling = false,
            }.ToString()
        );
        connection.Open();
        if (connection.ExecuteScalar<string>("PRAGMA quick_check(1)") is { } verdict && verdict != "ok")
        {
            throw new SqliteException(verdict, SQLitePCL.raw.SQLITE_CORRUPT);
        }

        return (
            DatabaseSchema.Version(connection),
            connection
                .Query<string>(
                    "SELECT hash FROM files WHERE hash IS NOT NULL UNION SELECT hash FROM blobs WHERE hash IS NOT NULL"
                )
                .Where(h => h.Length == 64 && h.All(char.IsAsciiHexDigitLower))
                .ToHashSet(StringComparer.Ordinal)
        );
    }

    private static string Identity(SqliteConnection connection, string database)
    {
        var version = DatabaseSchema.Version(connection);
        return version == DatabaseSchema.Latest
            ? connection.ExecuteScalar<string>("SELECT name FROM identity")!
            : throw new StartFault(
                StartFault.Database,
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{database} is of version {version}, and not {DatabaseSchema.Latest}: start its server once with this WandbLaunch, or back it up with the one that it is of."
                )
            );
    }
}
