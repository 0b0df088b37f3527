using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;

namespace WandbLaunch.Server.Data;

/// <summary>Content that is in the store. It stays at least until this is disposed; then it stays if a row names it.</summary>
internal sealed class FileContent(FileStore store, string hash, byte[] md5, long size) : IDisposable
{
    private int _disposed;

    internal string Hash { get; } = hash;
    internal byte[] Md5 { get; } = md5;
    internal long Size { get; } = size;

    public void Dispose()
    {
        if (Interlocked.Exchange(ref _disposed, 1) == 0)
        {
            store.Unpin(Hash);
        }
    }
}

/// <summary>
/// Content of files, on disk beside the database, each once under its SHA-256. Names that people give never become paths
/// here. Content appears whole or not at all: written to a temporary file, flushed, renamed.
/// </summary>
internal sealed class FileStore
{
    private const string Kept = "kept-";
    private static readonly TimeSpan Day = TimeSpan.FromDays(1);
    private readonly string _temporary;
    private readonly Dictionary<string, int> _pins = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, PartialUpload> _uploads = new(StringComparer.Ordinal);

    internal FileStore(string folder)
    {
        Folder = folder;
        _temporary = Path.Combine(folder, "tmp");
        CreateFolder(folder);
        CreateFolder(_temporary);

        // Uploads in progress were those of the server before. What can be gone on with is kept for a day.
        foreach (var file in new DirectoryInfo(_temporary).EnumerateFiles())
        {
            if (!file.Name.StartsWith(Kept, StringComparison.Ordinal) || IsOld(file))
            {
                file.Delete();
            }
        }
    }

    internal string Folder { get; }

    /// <summary>A temporary file to write to. The caller places it or discards it.</summary>
    internal FileWriter Create() => new(Path.Combine(_temporary, Guid.NewGuid().ToString("n")));

    /// <summary>Refuses early what cannot end well.</summary>
    internal void EnsureRoom(long bytes)
    {
        long free;
        try
        {
            free = new DriveInfo(OperatingSystem.IsWindows() ? Path.GetPathRoot(Folder)! : Folder).AvailableFreeSpace;
        }
        catch (Exception e) when (e is ArgumentException or IOException or UnauthorizedAccessException)
        {
            // A share without a drive letter: the disk itself will tell.
            return;
        }

        if (bytes > free)
        {
            throw FileFault.NoRoom();
        }
    }

    /// <summary>Puts a whole file in its place.</summary>
    internal FileContent Place(FileWriter writer)
    {
        var (hash, md5) = writer.Finish();
        return Place(writer, hash, md5);
    }

    internal FileContent Place(FileWriter writer, string hash, byte[] md5)
    {
        var target = PathOf(hash);
        lock (_pins)
        {
            _pins[hash] = _pins.GetValueOrDefault(hash) + 1;
        }

        try
        {
            if (new FileInfo(target) is { Exists: true } there && there.Length == writer.Length)
            {
                File.Delete(writer.Path);
            }
            else
            {
                var folder = Path.GetDirectoryName(target)!;
                CreateFolder(Path.GetDirectoryName(folder)!);
                CreateFolder(folder);
                File.Move(writer.Path, target, true);
                Sync(folder);
            }

            return new FileContent(this, hash, md5, writer.Length);
        }
        catch (Exception e)
        {
            Unpin(hash);
            throw e is IOException fault and not FileFault ? FileFault.OfDisk(fault) : e;
        }
    }

    internal static void Discard(FileWriter writer)
    {
        writer.Dispose();
        File.Delete(writer.Path);
    }

    /// <summary>The content, or null when it is not there.</summary>
    internal FileStream? Open(string hash)
    {
        try
        {
            return new FileStream(
                PathOf(hash),
                FileMode.Open,
                FileAccess.Read,
                FileShare.Read | FileShare.Delete,
                0,
                FileOptions.Asynchronous | FileOptions.SequentialScan
            );
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
    }

    internal bool Contains(string hash) => File.Exists(PathOf(hash));

    /// <summary>Removes content, unless an upload has just brought it again. Called when no row names it.</summary>
    internal void Drop(string hash)
    {
        lock (_pins)
        {
            if (!_pins.ContainsKey(hash) && File.Exists(PathOf(hash)))
            {
                File.Delete(PathOf(hash));
            }
        }
    }

    internal void Unpin(string hash)
    {
        lock (_pins)
        {
            if (--_pins[hash] == 0)
            {
                _pins.Remove(hash);
            }
        }
    }

    /// <summary>The hashes of everything that is in place.</summary>
    internal IEnumerable<string> Hashes() =>
        Directory
            .EnumerateDirectories(Folder)
            .Where(d => Path.GetFileName(d).Length == 2)
            .SelectMany(Directory.EnumerateDirectories)
            .SelectMany(Directory.EnumerateFiles)
            .Select(f => Path.GetFileName(f))
            .Where(n => n.Length == 64 && n.All(char.IsAsciiHexDigitLower));

    /// <summary>
    /// The upload that goes on under this name, alone: another request for it waits until this one lets go, or is refused.
    /// One whose content is named by a digest outlives the server, for its end is checked against the digest.
    /// </summary>
    internal async Task<PartialUpload> ResumeAsync(string name, bool digest, CancellationToken token)
    {
        Prune();
        var file =
            (digest ? Kept : "once-")
            + Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(name))).ToLowerInvariant();
        while (true)
        {
            var upload = _uploads.GetOrAdd(file, f => new PartialUpload(Path.Combine(_temporary, f)));
            if (!await upload.Lock.WaitAsync(TimeSpan.FromSeconds(15), token))
            {
                throw new FileFault(503, "UploadBusy", "Another request uploads this very file now.");
            }

            if (!upload.Ended)
            {
                return upload;
            }

            upload.Lock.Release();
        }
    }

    /// <summary>Lets go; an upload that has ended, or never began, is forgotten with its file.</summary>
    internal void Release(PartialUpload upload, bool ended)
    {
        try
        {
            if (!ended)
            {
                upload.Writer.Pause();
            }
        }
        catch (FileFault)
        {
            ended = true;
            throw;
        }
        finally
        {
            if (ended || upload.Writer.Length == 0)
            {
                End(upload);
            }

            upload.Used = DateTime.UtcNow;
            upload.Lock.Release();
        }
    }

    private void End(PartialUpload upload)
    {
        upload.Ended = true;
        _uploads.TryRemove(Path.GetFileName(upload.Writer.Path), out _);
        Discard(upload.Writer);
    }

    private void Prune()
    {
        foreach (var (_, upload) in _uploads.Where(u => DateTime.UtcNow - u.Value.Used > Day))
        {
            if (upload.Lock.Wait(0))
            {
                if (!upload.Ended)
                {
                    End(upload);
                }

                upload.Lock.Release();
            }
        }

        // Those of the server before, which nobody went on with.
        foreach (
            var file in new DirectoryInfo(_temporary)
                .EnumerateFiles(Kept + "*")
                .Where(f => IsOld(f) && !_uploads.ContainsKey(f.Name))
        )
        {
            file.Delete();
        }
    }

    private static bool IsOld(FileInfo file) => DateTime.UtcNow - file.LastWriteTimeUtc > Day;

    private string PathOf(string hash) => PathOf(Folder, hash);

    /// <summary>Where content is below a folder of content.</summary>
    internal static string PathOf(string folder, string hash) => Path.Combine(folder, hash[..2], hash[2..4], hash);

    // Other users of the machine see neither names nor content.
    /// <summary>A folder that is its owner's alone, where there is none.</summary>
    internal static void CreateFolder(string path)
    {
        try
        {
            if (OperatingSystem.IsWindows())
            {
                Directory.CreateDirectory(path);
            }
            else if (!Directory.Exists(path))
            {
                Directory.CreateDirectory(
                    path,
                    UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute
                );
                Sync(Path.GetDirectoryName(path)!);
            }
        }
        catch (IOException e)
        {
            throw FileFault.OfDisk(e);
        }
    }

    // A rename is on the disk only when its folder is. Windows' file systems keep that in their journal.
    internal static void Sync(string folder)
    {
        if (OperatingSystem.IsWindows())
        {
            return;
        }

        var descriptor = open(folder, 0);
        if (descriptor >= 0)
        {
            _ = fsync(descriptor);
            _ = close(descriptor);
        }
    }

#pragma warning disable CA2101 // UTF-8 is what file names are on Unix.
    [DllImport("libc", SetLastError = true)]
    private static extern int open([MarshalAs(UnmanagedType.LPUTF8Str)] string path, int flags);
#pragma warning restore CA2101

    [DllImport("libc", SetLastError = true)]
    private static extern int fsync(int descriptor);

    [DllImport("libc", SetLastError = true)]
    private static extern int close(int descriptor);
}

/// <summary>An upload in parts, of which some have come.</summary>
internal sealed class PartialUpload(string path)
{
    internal FileWriter Writer { get; } = new(path);
    internal SemaphoreSlim Lock { get; } = new(1, 1);
    internal bool Ended { get; set; }
    internal DateTime Used { get; set; } = DateTime.UtcNow;
}
