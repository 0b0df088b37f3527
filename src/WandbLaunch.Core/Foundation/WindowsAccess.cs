using System.Runtime.Versioning;
using System.Security.AccessControl;
using System.Security.Principal;

namespace WandbLaunch.Foundation;

/// <summary>Access lists of Windows for what is its owner's alone: one rule, and none from the folders above. They are there from the start, not put on later.</summary>
[SupportedOSPlatform("windows")]
internal static class WindowsAccess
{
    /// <summary>Makes a folder that only its owner may enter; what is made in it later has the same rule.</summary>
    internal static void CreateFolder(string path)
    {
        FileSystemAclExtensions.CreateDirectory(Folder(), path);

        // A file system may make the folder and leave the list out.
        Close(path);
    }

    /// <summary>Opens a file that only its owner may read when it is made here.</summary>
    internal static FileStream OpenFile(string path, FileMode mode, FileAccess access, FileShare share) =>
        FileSystemAclExtensions.Create(
            new FileInfo(path),
            mode,
            access switch
            {
                FileAccess.Read => FileSystemRights.Read,
                FileAccess.Write => FileSystemRights.Write,
                _ => FileSystemRights.Read | FileSystemRights.Write,
            },
            share,
            1,
            FileOptions.None,
            File()
        );

    /// <summary>Closes a folder of the module's own, of an older version, to others. One of somebody else stays as it is, and so does a disk without access lists.</summary>
    internal static void Close(string path)
    {
        try
        {
            var folder = new DirectoryInfo(path);
            if (!folder.GetAccessControl(AccessControlSections.Access).AreAccessRulesProtected)
            {
                folder.SetAccessControl(Folder());
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or PrivilegeNotHeldException)
        {
            // Not this user's, or not that kind of disk.
        }
    }

    private static DirectorySecurity Folder()
    {
        var security = new DirectorySecurity();
        security.SetAccessRuleProtection(true, false);
        security.AddAccessRule(Owner(InheritanceFlags.ContainerInherit | InheritanceFlags.ObjectInherit));
        return security;
    }

    private static FileSecurity File()
    {
        var security = new FileSecurity();
        security.SetAccessRuleProtection(true, false);
        security.AddAccessRule(Owner(InheritanceFlags.None));
        return security;
    }

    private static FileSystemAccessRule Owner(InheritanceFlags inherited)
    {
        using var user = WindowsIdentity.GetCurrent();
        return new FileSystemAccessRule(
            user.User!,
            FileSystemRights.FullControl,
            inherited,
            PropagationFlags.None,
            AccessControlType.Allow
        );
    }
}
