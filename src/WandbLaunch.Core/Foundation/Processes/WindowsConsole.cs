using System.Runtime.InteropServices;
using System.Runtime.Versioning;

namespace WandbLaunch.Foundation;

/// <summary>
/// Asks programs of a console to end. A run's program is on the console of whoever started it, in a process group of its
/// own: so it can be asked, and Ctrl+C at the shell is the shell's. Where the starter has no console the program gets an
/// unseen one.
/// </summary>
[SupportedOSPlatform("windows")]
internal static class WindowsConsole
{
    private const uint ControlBreak = 1;

    private static readonly object OneAtATime = new();

    /// <summary>True when this process has a console, seen or unseen.</summary>
    internal static bool IsHere => GetConsoleProcessList(new uint[1], 1) > 0;

    /// <summary>Sends CTRL_BREAK to a program that was started as the first of its group, and to what it started. False when there is no console to send it by, as of a program with windows.</summary>
    internal static bool Break(int process)
    {
        if (IsHere)
        {
            return GenerateConsoleCtrlEvent(ControlBreak, (uint)process);
        }

        // A process has one console at a time.
        lock (OneAtATime)
        {
            if (!AttachConsole((uint)process))
            {
                return false;
            }

            try
            {
                return GenerateConsoleCtrlEvent(ControlBreak, (uint)process);
            }
            finally
            {
                FreeConsole();
            }
        }
    }

    [DllImport("kernel32", SetLastError = true)]
    private static extern uint GetConsoleProcessList([Out] uint[] processes, uint count);

    [DllImport("kernel32", SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static extern bool FreeConsole();

    [DllImport("kernel32", SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static extern bool AttachConsole(uint process);

    [DllImport("kernel32", SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static extern bool GenerateConsoleCtrlEvent(uint kind, uint group);
}
