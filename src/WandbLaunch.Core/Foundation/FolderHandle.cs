using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace WandbLaunch.Foundation;

/// <summary>What a name in a folder is.</summary>
internal enum EntryKind
{
    Missing,
    File,
    Folder,
    Link,

    /// <summary>A socket, pipe or device.</summary>
    Other,
}

/// <summary>
/// One open folder. Every call takes one name in it and follows no link; as the folder is held open, nobody can put
/// another in its place between a check and the use.
/// </summary>
internal abstract class FolderHandle : IDisposable
{
    /// <summary>Opens a folder that is trusted: links in its own path are followed.</summary>
    internal static FolderHandle Open(string path) =>
        OperatingSystem.IsWindows() ? WindowsFolder.OpenRoot(path) : PosixFolder.OpenRoot(path);

    internal abstract EntryKind Kind(string name);

    /// <summary>The folder of this name. Fails for a link.</summary>
    internal abstract FolderHandle Child(string name);

    internal abstract string ReadLink(string name);

    /// <summary>Opens a regular file. Fails for a link.</summary>
    /// <exception cref="FileNotFoundException">There is none.</exception>
    internal abstract FileStream OpenRead(string name);

    /// <summary>Makes a file. Fails when there is anything of this name.</summary>
    internal abstract FileStream Create(string name, bool executable);

    internal abstract void CreateFolder(string name);

    internal abstract void CreateLink(string name, string target, bool toFolder);

    /// <summary>Removes a file or a link, never what a link leads to.</summary>
    internal abstract void Delete(string name);

    public abstract void Dispose();

    private protected static void NeedFile(EntryKind kind, string path)
    {
        switch (kind)
        {
            case EntryKind.File:
                break;
            case EntryKind.Missing:
                throw new FileNotFoundException($"There is no {path}.", path);
            default:
                throw new IOException($"{path} is not a regular file.");
        }
    }
}

/// <summary>openat and its siblings: a folder is a descriptor, which no rename changes.</summary>
// Strings go as UTF-8, which CA2101 does not know.
#pragma warning disable CA2101
internal sealed unsafe class PosixFolder : FolderHandle
{
    private const int NotFound = 2;
    private const int AlreadyThere = 17;
    private const int NotPermitted = 13;
    private const int NotFolder = 20;

    private static readonly bool Mac = OperatingSystem.IsMacOS();
    private static readonly bool Arm =
        RuntimeInformation.ProcessArchitecture is Architecture.Arm or Architecture.Arm64 or Architecture.Ppc64le;

    // fcntl.h; Linux on ARM and POWER has two of its own.
    private static readonly int CloseOnExec = Mac ? 0x1000000 : 0x80000;
    private static readonly int OnlyFolder =
        Mac ? 0x100000
        : Arm ? 0x4000
        : 0x10000;
    private static readonly int NoFollow =
        Mac ? 0x100
        : Arm ? 0x8000
        : 0x20000;
    private static readonly int NoWait = Mac ? 0x4 : 0x800;
    private static readonly int New = Mac ? 0x200 | 0x800 : 0x40 | 0x80;
    private const int WriteOnly = 1;
    private static readonly int Here = Mac ? -2 : -100;

    private readonly SafeFileHandle _handle;
    private readonly string _path;

    private PosixFolder(SafeFileHandle handle, string path) => (_handle, _path) = (handle, path);

    internal static PosixFolder OpenRoot(string path) =>
        new(OpenAt(Here, Path.GetFullPath(path), OnlyFolder | CloseOnExec, 0, path), path);

    internal override EntryKind Kind(string name) => KindAt(Descriptor, name, Full(name));

    /// <summary>What a path is, without following its last part. Throws where this user may not look.</summary>
    internal static EntryKind KindOf(string path) => KindAt(Here, path, path);

    internal override FolderHandle Child(string name) =>
        new PosixFolder(OpenAt(Descriptor, name, OnlyFolder | NoFollow | CloseOnExec, 0, Full(name)), Full(name));

    internal override string ReadLink(string name)
    {
        var buffer = stackalloc byte[SafePath.LongestPath + 1];
        var length = readlinkat(Descriptor, name, buffer, SafePath.LongestPath + 1);
        return length < 0 ? throw Fault(Marshal.GetLastPInvokeError(), Full(name))
            : length > SafePath.LongestPath ? throw new IOException($"The link {Full(name)} is too long.")
            : Encoding.UTF8.GetString(buffer, (int)length);
    }

    internal override FileStream OpenRead(string name)
    {
        NeedFile(Kind(name), Full(name));

        // A pipe that took the file's place meanwhile must not be waited for.
        var handle = OpenAt(Descriptor, name, NoFollow | NoWait | CloseOnExec, 0, Full(name));
        return new FileStream(handle, FileAccess.Read, 1 << 14);
    }

    internal override FileStream Create(string name, bool executable) =>
        new(
            OpenAt(Descriptor, name, WriteOnly | New | NoFollow | CloseOnExec, executable ? 0x1FF : 0x1B6, Full(name)),
            FileAccess.Write,
            1 << 14
        );

    internal override void CreateFolder(string name) => Check(mkdirat(Descriptor, name, 0x1FF), name);

    internal override void CreateLink(string name, string target, bool toFolder) =>
        Check(symlinkat(target, Descriptor, name), name);

    internal override void Delete(string name) => Check(unlinkat(Descriptor, name, 0), name);

    public override void Dispose() => _handle.Dispose();

    // The handle lives as long as this object, which its user holds.
    private int Descriptor => (int)_handle.DangerousGetHandle();

    private string Full(string name) => _path + "/" + name;

    private void Check(int result, string name)
    {
        if (result < 0)
        {
            throw Fault(Marshal.GetLastPInvokeError(), Full(name));
        }
    }

    private static SafeFileHandle OpenAt(int folder, string name, int flags, int mode, string path)
    {
        // Apple's ARM64 takes variable arguments from the stack only: the dummies fill the registers.
        var descriptor =
            Mac && Arm ? openat(folder, name, flags, 0, 0, 0, 0, 0, mode) : openat(folder, name, flags, mode);
        return descriptor < 0
            ? throw Fault(Marshal.GetLastPInvokeError(), path)
            : new SafeFileHandle(descriptor, ownsHandle: true);
    }

    private static EntryKind KindAt(int folder, string name, string path)
    {
        // struct stat of macOS holds st_mode at 4; struct statx of Linux, the same on every processor, stx_mode at 28.
        var buffer = stackalloc byte[256];
        nint result;
        if (Mac)
        {
            result = Arm ? fstatat(folder, name, buffer, 0x20) : fstatat_inode64(folder, name, buffer, 0x20);
        }
        else
        {
            fixed (byte* text = Encoding.UTF8.GetBytes(name + '\0'))
            {
                result = syscall(StatxNumber, folder, (nint)text, 0x100, 0x1, (nint)buffer);
            }
        }

        if (result < 0)
        {
            var error = Marshal.GetLastPInvokeError();
            return error is NotFound or NotFolder ? EntryKind.Missing : throw Fault(error, path);
        }

        return (*(ushort*)(buffer + (Mac ? 4 : 28)) & 0xF000) switch
        {
            0x8000 => EntryKind.File,
            0x4000 => EntryKind.Folder,
            0xA000 => EntryKind.Link,
            _ => EntryKind.Other,
        };
    }

    // By number, for older C libraries have no such function.
    private static readonly nint StatxNumber = RuntimeInformation.ProcessArchitecture switch
    {
        Architecture.X64 => 332,
        Architecture.X86 or Architecture.Ppc64le => 383,
        Architecture.Arm => 397,
        Architecture.S390x => 379,
        _ => 291,
    };

    private static IOException Fault(int error, string path) =>
        error switch
        {
            NotFound => new FileNotFoundException($"There is no {path}.", path),
            AlreadyThere => new IOException($"There is something at {path} already.", error),
            _ => new IOException($"{Marshal.GetPInvokeErrorMessage(error)}: {path}", error),
        };

    /// <summary>True when this user may not look at the place.</summary>
    internal static bool IsDenied(IOException e) => e.HResult is NotPermitted or 1;

    [DllImport("libc", SetLastError = true)]
    private static extern int openat(int folder, [MarshalAs(UnmanagedType.LPUTF8Str)] string name, int flags, int mode);

    [DllImport("libc", SetLastError = true)]
    private static extern int openat(
        int folder,
        [MarshalAs(UnmanagedType.LPUTF8Str)] string name,
        int flags,
        nint fill1,
        nint fill2,
        nint fill3,
        nint fill4,
        nint fill5,
        nint mode
    );

    [DllImport("libc", SetLastError = true)]
    private static extern int mkdirat(int folder, [MarshalAs(UnmanagedType.LPUTF8Str)] string name, uint mode);

    [DllImport("libc", SetLastError = true)]
    private static extern int symlinkat(
        [MarshalAs(UnmanagedType.LPUTF8Str)] string target,
        int folder,
        [MarshalAs(UnmanagedType.LPUTF8Str)] string name
    );

    [DllImport("libc", SetLastError = true)]
    private static extern int unlinkat(int folder, [MarshalAs(UnmanagedType.LPUTF8Str)] string name, int flags);

    [DllImport("libc", SetLastError = true)]
    private static extern nint readlinkat(
        int folder,
        [MarshalAs(UnmanagedType.LPUTF8Str)] string name,
        byte* buffer,
        nint size
    );

    [DllImport("libc", SetLastError = true)]
    private static extern nint syscall(nint number, nint folder, nint name, nint flags, nint mask, nint buffer);

    [DllImport("libc", SetLastError = true)]
    private static extern int fstatat(
        int folder,
        [MarshalAs(UnmanagedType.LPUTF8Str)] string name,
        byte* buffer,
        int flags
    );

    [DllImport("libc", SetLastError = true, EntryPoint = "fstatat$INODE64")]
    private static extern int fstatat_inode64(
        int folder,
        [MarshalAs(UnmanagedType.LPUTF8Str)] string name,
        byte* buffer,
        int flags
    );
}

/// <summary>
/// Windows has no openat below its native layer. Each folder on the way is held open without the right to delete, so
/// that none of them can be renamed or replaced by a link while a path through it is used; what was opened is checked
/// by its handle once more.
/// </summary>
internal sealed class WindowsFolder : FolderHandle
{
    private const uint ListFolder = 0x1;
    private const uint ReadAttributes = 0x80;
    private const uint Read = 0x80000000;
    private const uint Write = 0x40000000;
    private const uint BackupSemantics = 0x02000000;
    private const uint OpenReparsePoint = 0x00200000;

    private readonly SafeFileHandle _handle;
    private readonly string _path;

    private WindowsFolder(SafeFileHandle handle, string path) => (_handle, _path) = (handle, path);

    internal static WindowsFolder OpenRoot(string path)
    {
        var full = Exact(Path.GetFullPath(path));
        return new WindowsFolder(OpenFile(full, ListFolder | ReadAttributes, FileMode.Open, BackupSemantics), full);
    }

    internal override EntryKind Kind(string name)
    {
        FileAttributes attributes;
        try
        {
            attributes = File.GetAttributes(Full(name));
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return EntryKind.Missing;
        }

        // Files of a cloud drive are reparse points too, but lead nowhere.
        return attributes.HasFlag(FileAttributes.ReparsePoint) && new FileInfo(Full(name)).LinkTarget is not null
                ? EntryKind.Link
            : attributes.HasFlag(FileAttributes.Directory) ? EntryKind.Folder
            : attributes.HasFlag(FileAttributes.Device) ? EntryKind.Other
            : EntryKind.File;
    }

    internal override FolderHandle Child(string name)
    {
        var handle = OpenFile(
            Full(name),
            ListFolder | ReadAttributes,
            FileMode.Open,
            BackupSemantics | OpenReparsePoint
        );
        var attributes = File.GetAttributes(handle);
        if (!attributes.HasFlag(FileAttributes.Directory) || Kind(name) != EntryKind.Folder)
        {
            handle.Dispose();
            throw new IOException($"{Full(name)} is not a folder.");
        }

        return new WindowsFolder(handle, Full(name));
    }

    internal override string ReadLink(string name) =>
        new FileInfo(Full(name)).LinkTarget ?? throw new IOException($"{Full(name)} is not a link.");

    internal override FileStream OpenRead(string name)
    {
        NeedFile(Kind(name), Full(name));

        return Checked(OpenFile(Full(name), Read, FileMode.Open, 0), FileAccess.Read, name);
    }

    internal override FileStream Create(string name, bool executable) =>
        Checked(OpenFile(Full(name), Write, FileMode.CreateNew, OpenReparsePoint), FileAccess.Write, name);

    internal override void CreateFolder(string name) => Directory.CreateDirectory(Full(name));

    internal override void CreateLink(string name, string target, bool toFolder)
    {
        if (toFolder)
        {
            Directory.CreateSymbolicLink(Full(name), target);
        }
        else
        {
            File.CreateSymbolicLink(Full(name), target);
        }
    }

    internal override void Delete(string name)
    {
        // A link to a folder is a folder to Windows; only what is empty is removed so, and a link is.
        if (File.GetAttributes(Full(name)).HasFlag(FileAttributes.Directory))
        {
            Directory.Delete(Full(name), false);
        }
        else
        {
            File.Delete(Full(name));
        }
    }

    public override void Dispose() => _handle.Dispose();

    private string Full(string name) => _path.EndsWith('\\') ? _path + name : _path + '\\' + name;

    // In this form a path is taken letter by letter: "aux" is no device, a blank at the end stays, and it may be long.
    private static string Exact(string path) =>
        path.StartsWith(@"\\?\", StringComparison.Ordinal) || path.StartsWith(@"\\.\", StringComparison.Ordinal) ? path
        : path.StartsWith(@"\\", StringComparison.Ordinal) ? @"\\?\UNC\" + path[2..]
        : @"\\?\" + path;

    // Where the file really is must be in the folder that is held.
    private FileStream Checked(SafeFileHandle handle, FileAccess access, string name)
    {
        var folder = FinalPath(_handle);
        if (!string.Equals(Path.GetDirectoryName(FinalPath(handle)), folder, StringComparison.OrdinalIgnoreCase))
        {
            handle.Dispose();
            throw new IOException($"{Full(name)} leads to another place.");
        }

        return new FileStream(handle, access, 1 << 14);
    }

    /// <summary>Where an open file or folder really is, as Windows writes it.</summary>
    internal static string FinalPath(SafeFileHandle handle)
    {
        var buffer = new char[SafePath.LongestPath];
        var length = GetFinalPathNameByHandleW(handle, buffer, (uint)buffer.Length, 0);
        if (length == 0 || length >= buffer.Length)
        {
            throw new IOException("Windows does not say where a file is.", Marshal.GetHRForLastWin32Error());
        }

        var path = new string(buffer, 0, (int)length);
        return path.StartsWith(@"\\?\UNC\", StringComparison.Ordinal) ? @"\\" + path[8..]
            : path.StartsWith(@"\\?\", StringComparison.Ordinal) ? path[4..]
            : path;
    }

    /// <summary>Where a path really leads; links are followed.</summary>
    internal static string FinalPath(string path)
    {
        using var handle = OpenFile(Exact(path), ReadAttributes, FileMode.Open, BackupSemantics);
        return FinalPath(handle);
    }

    private static SafeFileHandle OpenFile(string path, uint access, FileMode mode, uint flags)
    {
        var handle = CreateFileW(
            path,
            access,
            (uint)(FileShare.Read | (access == Write ? FileShare.None : FileShare.Write)),
            0,
            mode == FileMode.CreateNew ? 1u : 3u,
            flags,
            0
        );
        if (!handle.IsInvalid)
        {
            return handle;
        }

        var error = Marshal.GetLastPInvokeError();
        handle.Dispose();
        throw error is 2 or 3
            ? new FileNotFoundException($"There is no {path}.", path)
            : new IOException($"{Marshal.GetPInvokeErrorMessage(error)}: {path}", unchecked((int)0x80070000) | error);
    }

    [DllImport("kernel32", SetLastError = true, CharSet = CharSet.Unicode)]
    private static extern SafeFileHandle CreateFileW(
        string name,
        uint access,
        uint share,
        nint security,
        uint disposition,
        uint flags,
        nint template
    );

    [DllImport("kernel32", SetLastError = true, CharSet = CharSet.Unicode)]
    private static extern uint GetFinalPathNameByHandleW(
        SafeFileHandle handle,
        [Out] char[] path,
        uint length,
        uint flags
    );
}
