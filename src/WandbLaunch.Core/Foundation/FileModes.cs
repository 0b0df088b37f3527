using System.Security.AccessControl;
using System.Security.Principal;
using System.Text;

namespace WandbLaunch.Foundation;

/// <summary>Files and folders that only their owner may read, and writes that are whole or not at all.</summary>
internal static class FileModes
{
    private const UnixFileMode PrivateFolder =
        UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute;

    private const UnixFileMode PrivateFile = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    /// <summary>Makes a folder, and those above it that are missing, for its owner alone, whatever the umask says. One of the module's own that is there already is closed to others; a folder of the user's choice stays as it is.</summary>
    internal static string CreatePrivateFolder(string path)
    {
        if (OperatingSystem.IsWindows())
        {
            Directory.CreateDirectory(path);
            return path;
        }

        var own = Path.GetFullPath(new LaunchEnvironment().DataFolder);
        var full = Path.GetFullPath(path);
        if (full == own || full.StartsWith(own + "/", StringComparison.Ordinal))
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
        if (OperatingSystem.IsWindows() || !Directory.Exists(path))
        {
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
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write };
        if (!OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = PrivateFile;
        }

        try
        {
            using (var stream = new FileStream(temporary, options))
            {
                if (OperatingSystem.IsWindows())
                {
                    RestrictOnWindows(temporary);
                }

                stream.Write(Encoding.UTF8.GetBytes(text));
                stream.Flush(true);
            }

            File.Move(temporary, path, true);
        }
        catch
        {
            File.Delete(temporary);
            throw;
        }
    }

    [System.Runtime.Versioning.SupportedOSPlatform("windows")]
    private static void RestrictOnWindows(string path)
    {
        var file = new FileInfo(path);
        var security = file.GetAccessControl();
        security.SetAccessRuleProtection(true, false);
        using var user = WindowsIdentity.GetCurrent();
        security.AddAccessRule(
            new FileSystemAccessRule(user.User!, FileSystemRights.FullControl, AccessControlType.Allow)
        );
        file.SetAccessControl(security);
    }
}
