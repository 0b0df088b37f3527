using System.Security.AccessControl;
using System.Security.Principal;
using System.Text;

namespace WandbLaunch.Foundation;

/// <summary>Files and folders that only their owner may read, and writes that are whole or not at all.</summary>
internal static class FileModes
{
    internal static string CreatePrivateFolder(string path)
    {
        if (OperatingSystem.IsWindows())
        {
            Directory.CreateDirectory(path);
        }
        else
        {
            Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }

        return path;
    }

    /// <summary>Writes text as a private file by a rename, so that a reader never sees half of it.</summary>
    internal static void WritePrivate(string path, string text)
    {
        var folder = Path.GetDirectoryName(Path.GetFullPath(path))!;
        Directory.CreateDirectory(folder);
        var temporary = Path.Combine(folder, "." + Path.GetFileName(path) + "." + Guid.NewGuid().ToString("n")[..8]);
        var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write };
        if (!OperatingSystem.IsWindows())
        {
            options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
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
