namespace WandbLaunch.Server.Data;

/// <summary>A file that cannot be taken or given: the HTTP status, a stable id and a reason.</summary>
internal sealed class FileFault(int status, string id, string message, Exception? inner = null)
    : BadHttpRequestException(message, status, inner!)
{
    internal string Id { get; } = id;

    /// <summary>The disk has no room (507), or does not do its work (500). Never with a path in the message.</summary>
    internal static FileFault OfDisk(IOException e) =>
        IsFull(e)
            ? NoRoom(e)
            : new FileFault(500, "StorageFailed", "The server's disk did not take or give the file.", e);

    internal static FileFault NoRoom(Exception? inner = null) =>
        new(507, "StorageFull", "The server's disk has no room for the file. Make room there and try again.", inner);

    internal static FileFault NotFound() => new(404, "FileNotFound", "not found");

    // ENOSPC and EDQUOT of Linux and macOS as .NET gives them, ERROR_HANDLE_DISK_FULL and ERROR_DISK_FULL of Windows.
    private static bool IsFull(IOException e) =>
        OperatingSystem.IsWindows()
            ? (e.HResult & 0xFFFF) is 39 or 112
            : e.HResult is 28 || e.HResult == (OperatingSystem.IsLinux() ? 122 : 69);
}
