using System.Diagnostics;
using System.Text;

namespace WandbLaunch.Foundation;

/// <summary>Files and folders that only their owner may read, and writes that are whole or not at all.</summary>
internal static class FileModes
{
    private const UnixFileMode PrivateFolder =
        UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    private static readonly TimeSpan LongestUse = TimeSpan.FromSeconds(2);

    private const UnixFileMode PrivateFile = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>Makes a folder, and those above it that are missing, for its owner alone, whatever the umask says. One of the module's own that is there already is closed to others; a folder of the user's choice stays as it is.</summary>
    internal static string CreatePrivateFolder(string path)
    {
        var own = Path.GetFullPath(new LaunchEnvironment().DataFolder);
        var full = Path.GetFullPath(path);
        if (SafePath.IsInside(own, full))
        {
            Close(own);
            Close(full);
        }

        if (Directory.Exists(full))
        {
            return path;
        }

        // One by one: the runtime gives the mode to the last folder only, and makes those above it open to all that the umask lets in.
        var missing = new Stack<string>();
        for (var at = full; !Directory.Exists(at); at = Path.GetDirectoryName(at)!)
        {
            missing.Push(at);
        }

        while (missing.TryPop(out var folder))
        {
            if (OperatingSystem.IsWindows())
            {
                WindowsAccess.CreateFolder(folder);
                continue;
            }

            Directory.CreateDirectory(folder, PrivateFolder);
            if ((File.GetUnixFileMode(folder) & PrivateFolder) != PrivateFolder)
            {
                // A umask that takes even the owner's bits.
                File.SetUnixFileMode(folder, PrivateFolder);
            }
        }

        return path;
    }

    /// <summary>Opens a file that is private when it is made here.</summary>
    internal static FileStream OpenPrivate(string path, FileMode mode, FileAccess access, FileShare share)
    {
        if (OperatingSystem.IsWindows() && mode != FileMode.Open && !File.Exists(path))
        {
            return WindowsAccess.OpenFile(path, mode, access, share);
        }

        var options = new FileStreamOptions
        {
            Mode = mode,
            Access = access,
            Share = share,
            BufferSize = 0,
        };
        if (!OperatingSystem.IsWindows() && mode != FileMode.Open)
        {
            options.UnixCreateMode = PrivateFile;
        }

        return new FileStream(path, options);
    }

    /// <summary>Moves a stream that stands anywhere in a text to the beginning of the next character.</summary>
    internal static void SkipRestOfCharacter(Stream stream)
    {
        for (var i = 0; i < 3 && stream.Position > 0; i++)
        {
            var next = stream.ReadByte();
            if (next < 0)
            {
                return;
            }

            if ((next & 0xC0) != 0x80)
            {
                stream.Position--;
                return;
            }
        }
    }

    // Of an older version, or of a umask that was not meant for it. A folder of somebody else cannot be changed, and need not be.
    private static void Close(string path)
    {
        if (!Directory.Exists(path))
        {
            return;
        }

        if (OperatingSystem.IsWindows())
        {
            WindowsAccess.Close(path);
            return;
        }

        try
        {
            var mode = File.GetUnixFileMode(path);
            if ((mode & ~(PrivateFolder | UnixFileMode.SetGroup | UnixFileMode.StickyBit)) != 0)
            {
                File.SetUnixFileMode(path, mode & ~(UnixFileMode)0x3F);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Another user's, or a disk without modes.
        }
    }

    /// <summary>Writes text as a private file by a rename, so that a reader never sees half of it.</summary>
    internal static void WritePrivate(string path, string text)
    {
        var folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
        if (!Directory.Exists(folder))
        {
            CreatePrivateFolder(folder);
        }

        var temporary = Path.Combine(folder, "." + Path.GetFileName(path) + "." + Guid.NewGuid().ToString("n")[..8]);
        try
        {
            using (var stream = OpenPrivate(temporary, FileMode.CreateNew, FileAccess.Write, FileShare.None))
            {
                stream.Write(Encoding.UTF8.GetBytes(text));
                stream.Flush(true);
            }

            WhileInUse(() =>
            {
                File.Move(temporary, path, true);
                return true;
            });
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
    }

    /// <summary>The text of a file that others write by <see cref="WritePrivate"/>. Whoever reads it does not keep them from that.</summary>
    internal static string ReadShared(string path) =>
        WhileInUse(() =>
        {
            using var stream = new FileStream(
                path,
                FileMode.Open,
                FileAccess.Read,
                FileShare.ReadWrite | FileShare.Delete
            );
            using var reader = new StreamReader(stream, Encoding.UTF8);
            return reader.ReadToEnd();
        });

    // On Windows a file that somebody has open cannot be replaced, nor opened while it is: readers of state files, virus scanners and indexers have it for some milliseconds.
    private static T WhileInUse<T>(Func<T> act)
    {
        for (var clock = Stopwatch.StartNew(); ; )
        {
            try
            {
                return act();
            }
            catch (Exception e) when (clock.Elapsed < LongestUse && IsInUse(e))
            {
                Thread.Sleep(2);
            }
        }
    }

    // ERROR_ACCESS_DENIED (being deleted or replaced), ERROR_SHARING_VIOLATION, ERROR_LOCK_VIOLATION.
    private static bool IsInUse(Exception e) =>
        OperatingSystem.IsWindows()
        && e is (IOException or UnauthorizedAccessException)
        && (e.HResult & 0xffff) is 5 or 32 or 33;
}
