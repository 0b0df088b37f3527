using System.Buffers.Binary;
using System.Globalization;
using System.Text.Json;
using Microsoft.Data.Sqlite;

namespace WandbLaunch.Server.Data;

/// <summary>The database's file: held by one server at a time, and taken only where it is what it should be. Nothing here changes a file that is there.</summary>
internal sealed class DatabaseFile : IDisposable
{
    // Read in whole at the start; a larger one would keep its server waiting.
    private const long CheckedInWhole = 64L << 20;

    private readonly FileStream _lock;

    private DatabaseFile(string path, FileStream held)
    {
        Path = path;
        _lock = held;
    }

    /// <summary>The file itself, whatever links led to it.</summary>
    internal string Path { get; }

    private string OwnerPath => Path + ".server.owner";

    /// <summary>Takes the file for this process, and makes it where there is none.</summary>
    /// <exception cref="StartFault">It is another server's, or no database of this server.</exception>
    internal static DatabaseFile Open(string path)
    {
        string real;
        FileStream held;
        try
        {
            real = RealPath(path);
            if (Directory.Exists(real))
            {
                throw new StartFault(StartFault.Database, $"{real} is a folder. Name a file.");
            }

            Directory.CreateDirectory(System.IO.Path.GetDirectoryName(real)!);
            held = Hold(real);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new StartFault(StartFault.Database, $"{path} cannot be used as a database: {e.Message}");
        }

        var file = new DatabaseFile(real, held);
        try
        {
            if (File.Exists(real))
            {
                file.Check();
            }
            else
            {
                file.Make();
            }

            return file;
        }
        catch (SqliteException e)
        {
            file.Dispose();
            throw Unusable(real, e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            file.Dispose();
            throw new StartFault(StartFault.Database, $"{real} cannot be read: {e.Message}");
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Keeps servers from a file until this is disposed.</summary>
    /// <exception cref="StartFault">One has it.</exception>
    internal static IDisposable Take(string real) => Hold(real);

    internal static StartFault Unusable(string path, SqliteException e) =>
        new(
            StartFault.Database,
            e.SqliteErrorCode switch
            {
                // The index of the log is a file too.
                _ when e.SqliteExtendedErrorCode == SQLitePCL.raw.SQLITE_IOERR_SHMSIZE =>
                    $"There is no room on the disk of {path}.",
                SQLitePCL.raw.SQLITE_CORRUPT or SQLitePCL.raw.SQLITE_NOTADB =>
                    $"{path} is damaged ({e.Message.Trim()}). It was left as it is: restore it from a copy, recover it with sqlite3's .recover, or name another file.",
                SQLitePCL.raw.SQLITE_READONLY or SQLitePCL.raw.SQLITE_CANTOPEN or SQLitePCL.raw.SQLITE_PERM =>
                    $"{path} cannot be written ({e.Message.Trim()}). The server needs to write the file and its folder.",
                SQLitePCL.raw.SQLITE_FULL => $"There is no room on the disk of {path}.",
                SQLitePCL.raw.SQLITE_BUSY or SQLitePCL.raw.SQLITE_LOCKED =>
                    $"{path} is locked by another program ({e.Message.Trim()}). Close it there.",
                _ => $"{path} cannot be used as a database ({e.Message.Trim()}).",
            }
        );

    /// <summary>Says who has the file, for a second server that asks.</summary>
    internal void Announce(string url)
    {
        try
        {
            File.Delete(OwnerPath);
            using var stream = new FileStream(
                OwnerPath,
                OperatingSystem.IsWindows()
                    ? new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write }
                    : new FileStreamOptions
                    {
                        Mode = FileMode.CreateNew,
                        Access = FileAccess.Write,
                        UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
                    }
            );
            JsonSerializer.Serialize(stream, new Owner(Environment.ProcessId, url));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Only the message of a second server is poorer by it.
        }
    }

    public void Dispose()
    {
        try
        {
            File.Delete(OwnerPath);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // It is void without the lock.
        }

        // The lock's file stays: who deletes one that another has just opened lets two in.
        _lock.Dispose();
    }

    /// <summary>Follows every link on the way, one after the other, as the system does.</summary>
    internal static string RealPath(string path)
    {
        var full = System.IO.Path.GetFullPath(path);
        var root = System.IO.Path.GetPathRoot(full)!;
        var rest = new Stack<string>(Parts(full[root.Length..]).Reverse());
        var at = root;
        for (var links = 0; rest.TryPop(out var part); )
        {
            if (part == "..")
            {
                at = System.IO.Path.GetDirectoryName(at) ?? at;
                continue;
            }

            var next = System.IO.Path.Combine(at, part);
            if (new FileInfo(next).LinkTarget is not { } target)
            {
                at = next;
                continue;
            }

            if (++links > 40)
            {
                throw new IOException("Its links lead in a circle.");
            }

            if (System.IO.Path.IsPathRooted(target))
            {
                at = System.IO.Path.GetPathRoot(System.IO.Path.GetFullPath(target))!;
                target = System.IO.Path.GetFullPath(target)[at.Length..];
            }

            foreach (var inner in Parts(target).Reverse())
            {
                rest.Push(inner);
            }
        }

        return at;

        static IEnumerable<string> Parts(string text) =>
            text.Split(
                    [System.IO.Path.DirectorySeparatorChar, System.IO.Path.AltDirectorySeparatorChar],
                    StringSplitOptions.RemoveEmptyEntries
                )
                .Where(p => p != ".");
    }

    // The system lets go of the lock when the process ends, however it ends.
    private static FileStream Hold(string path)
    {
        // .NET's own lock keeps readers out too, and a folder with a database in it may be copied while it is served: where
        // the system has locks that only those meet who ask for them, the lock is one of these.
        var quiet = OperatingSystem.IsLinux() && Environment.Is64BitProcess;
        FileStream? stream = null;
        try
        {
            stream = new FileStream(
                path + ".server.lock",
                FileMode.OpenOrCreate,
                FileAccess.ReadWrite,
                quiet ? FileShare.ReadWrite : FileShare.None,
                1,
                FileOptions.None
            );
            var range = new LockRange { Type = WriteLock };
            if (!quiet || fcntl(stream.SafeFileHandle, SetOwnLock, ref range) == 0)
            {
                return stream;
            }

            var error = System.Runtime.InteropServices.Marshal.GetLastPInvokeError();
            stream.Dispose();
            throw error is Again or NoAccess
                ? InUse(path)
                : new IOException(System.Runtime.InteropServices.Marshal.GetPInvokeErrorMessage(error));
        }
        catch (IOException e)
            when (!quiet
                && e is not (FileNotFoundException or DirectoryNotFoundException or PathTooLongException)
                && File.Exists(path + ".server.lock")
            )
        {
            throw InUse(path);
        }
    }

    private static StartFault InUse(string path)
    {
        var owner = "";
        try
        {
            if (JsonSerializer.Deserialize<Owner>(File.ReadAllText(path + ".server.owner")) is { Url: { } url } known)
            {
                owner = string.Create(
                    CultureInfo.InvariantCulture,
                    $": process {known.ProcessId}, which listens at {url}"
                );
            }
        }
        catch (Exception inner) when (inner is IOException or UnauthorizedAccessException or JsonException)
        {
            // It has just started.
        }

        return new StartFault(StartFault.InUse, $"Another server has {path}{owner}. Use that one, or stop it first.");
    }

    // Locks of an open file and not of a process (Linux, F_OFD_SETLK); 0 to 0 is the whole file.
    private const int SetOwnLock = 37;
    private const short WriteLock = 1;
    private const int Again = 11;
    private const int NoAccess = 13;

    [System.Runtime.InteropServices.StructLayout(System.Runtime.InteropServices.LayoutKind.Sequential)]
    private struct LockRange
    {
        public short Type;
        public short Whence;
        public long Start;
        public long Length;
        public int ProcessId;
    }

    [System.Runtime.InteropServices.DllImport("libc", SetLastError = true)]
    private static extern int fcntl(Microsoft.Win32.SafeHandles.SafeFileHandle file, int command, ref LockRange range);

    // Made aside and put in its place when it is whole: a server that ends in between leaves no empty file behind.
    private void Make()
    {
        if (new FileInfo(Path + "-wal") is { Exists: true, Length: > 0 })
        {
            throw new StartFault(
                StartFault.Database,
                $"{Path} is not there, but its log {Path}-wal is. Put the database back, or move the log away to begin anew."
            );
        }

        var aside = Path + ".new";
        foreach (var old in new[] { aside, aside + "-wal", aside + "-shm" })
        {
            File.Delete(old);
        }

        using (
            var connection = new SqliteConnection(
                new SqliteConnectionStringBuilder { DataSource = aside, Pooling = false }.ToString()
            )
        )
        {
            connection.Open();
            using var command = connection.CreateCommand();
            command.CommandText = "PRAGMA journal_mode = WAL";
            command.ExecuteNonQuery();
            DatabaseSchema.Upgrade(connection);
        }

        File.Move(aside, Path);
    }

    private void Check()
    {
        var file = new FileInfo(Path);
        if (file.Length == 0)
        {
            throw new StartFault(
                StartFault.Database,
                $"{Path} is empty, and no database. It was left as it is: delete it to begin anew, or restore it from a copy."
            );
        }

        if (file.IsReadOnly)
        {
            throw new StartFault(
                StartFault.Database,
                $"{Path} is read-only. The server needs to write it: change its permissions, or copy it and name the copy."
            );
        }

        var header = new byte[100];
        using (
            var stream = new FileStream(Path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete)
        )
        {
            if (
                stream.ReadAtLeast(header, header.Length, false) < header.Length
                || !header.AsSpan().StartsWith("SQLite format 3\0"u8)
            )
            {
                throw Foreign("is no SQLite database");
            }
        }

        // What the header says, unless a log still has pages for it.
        var pageSize = BinaryPrimitives.ReadUInt16BigEndian(header.AsSpan(16)) is 1 and var one
            ? 65536L * one
            : BinaryPrimitives.ReadUInt16BigEndian(header.AsSpan(16));
        var pages = BinaryPrimitives.ReadUInt32BigEndian(header.AsSpan(28));
        if (
            header.AsSpan(24, 4).SequenceEqual(header.AsSpan(92, 4))
            && file.Length < pages * pageSize
            && new FileInfo(Path + "-wal") is not { Exists: true, Length: > 0 }
        )
        {
            throw new StartFault(
                StartFault.Database,
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{Path} is cut off: {file.Length} of {pages * pageSize} bytes are there. It was left as it is: restore it from a copy, recover it with sqlite3's .recover, or name another file."
                )
            );
        }

        using var connection = new SqliteConnection(
            new SqliteConnectionStringBuilder
            {
                DataSource = Path,
                Mode = SqliteOpenMode.ReadOnly,
                Pooling = false,
            }.ToString()
        );
        connection.Open();
        using var command = connection.CreateCommand();

        // One that is ours has these tables; one of before the versions, whose server ended while it made them, has its name, and the first of them or none.
        command.CommandText = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'";
        var tables = new HashSet<string>(StringComparer.Ordinal);
        using (var reader = command.ExecuteReader())
        {
            while (reader.Read())
            {
                tables.Add(reader.GetString(0));
            }
        }

        if (
            !tables.IsSupersetOf(["projects", "runs", "files", "history", "console"])
            && !(tables.Contains("identity") && (tables.Count == 1 || tables.Contains("projects")))
        )
        {
            throw Foreign("is the SQLite database of another program");
        }

        if (DatabaseSchema.Version(connection) is var version && (version > DatabaseSchema.Latest || version < 0))
        {
            throw new StartFault(
                StartFault.Database,
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{Path} is a database of version {version}, and this server knows versions up to {DatabaseSchema.Latest}. It was left as it is: serve it with the newer WandbLaunch that made it, or name another file."
                )
            );
        }

        if (file.Length <= CheckedInWhole)
        {
            command.CommandText = "PRAGMA quick_check(1)";
            if (command.ExecuteScalar() as string is { } verdict && verdict != "ok")
            {
                throw new StartFault(
                    StartFault.Database,
                    $"{Path} is damaged ({verdict.ReplaceLineEndings(" ")}). It was left as it is: restore it from a copy, recover it with sqlite3's .recover, or name another file."
                );
            }
        }

        StartFault Foreign(string what) =>
            new(StartFault.Database, $"{Path} {what}. It was left as it is: name another file.");
    }

    private sealed record Owner(int ProcessId, string Url);
}
