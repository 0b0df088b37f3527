using System.Runtime.InteropServices;

namespace WandbLaunch.Foundation;

/// <summary>A program of ours that outlives the shell which started it.</summary>
internal static class OwnSession
{
    /// <summary>Leaves the shell's session, where the system has them: its terminal and its end are no longer this program's.</summary>
    internal static void Begin()
    {
        if (!OperatingSystem.IsWindows())
        {
            _ = setsid();
        }
    }

    [DllImport("libc", SetLastError = true)]
    private static extern int setsid();
}
