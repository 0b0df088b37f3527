using System.Globalization;
using System.Security.Cryptography;
using System.Text.Json;
using Dapper;
using Microsoft.Data.Sqlite;
using WandbLaunch.Server.Data;

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
            return MakeIn(database, Path.GetFullPath(folder));
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

    private static BackupInfo MakeIn(string database, string folder)
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
        if (Directory.Exists(folder) && Directory.EnumerateFileSystemEntries(folder).Any())
        {
            // Somebody else's folder is not written to.
            if (Read(folder) is not { } there || there.Identity != identity)
            {
                throw new StartFault(
                    StartFault.Occupied,
                    $"{folder} is not empty, and holds no backup of this server. Name a folder that is empty or not there."
                );
            }
        }

        FileStore.CreateFolder(folder);
        var files = Path.Combine(folder, FilesName);
        FileStore.CreateFolder(files);
        var aside = Path.Combine(folder, DatabaseName + ".new");
        long copied = 0;
        for (var round = 1; ; round++)
        {
            File.Delete(aside);
            File.Delete(aside + "-journal");
            DatabaseCopy.Write(connection, aside);
            var (version, named) = Content(aside);
            var missing = 0;
            foreach (var hash in named)
            {
                var target = FileStore.PathOf(files, hash);
                if (File.Exists(target))
                {
                    continue;
                }

                if (Copy(FileStore.PathOf(database + ".files", hash), target, hash))
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
                    $"{missing} files that the database names are not in {database}.files. What was copied stays in {folder}."
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
            throw new StartFault(StartFault.Invalid, $"{folder} is no backup of a launch server.");
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
            return RestoreTo(folder, database, force, info);
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

    private static BackupInfo RestoreTo(string folder, string database, bool force, BackupInfo info)
    {
        var old = new[] { database, database + "-wal", database + "-shm", database + ".files" }
            .Where(Path.Exists)
            .ToList();
        if (old.Count > 0 && !force)
        {
            throw new StartFault(
                StartFault.Occupied,
                $"There is a database {database} already. Restore to another path, or with -Force: what is there is kept beside it then."
            );
        }

        // All of it beside the place first: what is there is touched when the new one is whole.
        var (aside, files) = (database + ".restoring", database + ".restoring.files");
        File.Delete(aside);
        if (Directory.Exists(files))
        {
            Directory.Delete(files, true);
        }

        File.Copy(Path.Combine(folder, DatabaseName), aside);
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(aside, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        }

        var (_, named) = Content(aside);
        FileStore.CreateFolder(files);
        foreach (var hash in named)
        {
            if (!Copy(FileStore.PathOf(Path.Combine(folder, FilesName), hash), FileStore.PathOf(files, hash), hash))
            {
                throw new StartFault(
                    StartFault.Invalid,
                    $"The backup in {folder} lacks the file {hash}. What was at {database} was left as it is."
                );
            }
        }

        var kept = Free(database + ".before-restore");
        foreach (var there in old)
        {
            Move(there, kept + there[database.Length..]);
        }

        Move(files, database + ".files");
        Move(aside, database);
        FileStore.Sync(Path.GetDirectoryName(database)!);
        return info with { Files = named.Count, Copied = named.Count };
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
        var description = Path.Combine(folder, Description);
        File.WriteAllText(description + ".new", JsonSerializer.Serialize(info));
        File.Move(description + ".new", description, true);
        FileStore.Sync(folder);

        // What only the backup of before named.
        foreach (
            var file in Directory
                .EnumerateFiles(files, "*", SearchOption.AllDirectories)
                .Where(f => !named.Contains(Path.GetFileName(f)))
                .ToList()
        )
        {
            File.Delete(file);
        }

        return info;
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

    // Whole or not at all, and what its name says. False where it is not there.
    private static bool Copy(string from, string to, string hash)
    {
        FileStream source;
        try
        {
            source = new FileStream(from, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return false;
        }

        using (source)
        {
            var folder = Path.GetDirectoryName(to)!;
            FileStore.CreateFolder(Path.GetDirectoryName(folder)!);
            FileStore.CreateFolder(folder);
            var aside = to + ".new";
            using var digest = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            var options = new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.Write };
            if (!OperatingSystem.IsWindows())
            {
                options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
            }

            using (var target = new FileStream(aside, options))
            {
                var block = new byte[1 << 17];
                int read;
                while ((read = source.Read(block)) > 0)
                {
                    digest.AppendData(block, 0, read);
                    target.Write(block, 0, read);
                }

                target.Flush(true);
            }

            if (!Convert.ToHexString(digest.GetHashAndReset()).Equals(hash, StringComparison.OrdinalIgnoreCase))
            {
                File.Delete(aside);
                throw new StartFault(
                    StartFault.Invalid,
                    $"{from} is damaged: it is not the content that its name says."
                );
            }

            File.Move(aside, to, true);
            return true;
        }
    }

    private static void Move(string from, string to)
    {
        if (Directory.Exists(from))
        {
            Directory.Move(from, to);
        }
        else
        {
            File.Move(from, to);
        }
    }

    private static string Free(string path)
    {
        var free = path;
        for (var i = 1; Path.Exists(free) || Path.Exists(free + ".files"); i++)
        {
            free = string.Create(CultureInfo.InvariantCulture, $"{path}.{i}");
        }

        return free;
    }
}
