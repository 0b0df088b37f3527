using System.Runtime.InteropServices;
using System.Runtime.Versioning;

namespace WandbLaunch.Foundation;

/// <summary>Asks the programs of another console to end. A process has one console, so whoever asks gives its own up.</summary>
[SupportedOSPlatform("windows")]
internal static class WindowsConsole
{
    private const uint ControlBreak = 1;

    /// <summary>True when this process has no console that anybody looks at.</summary>
    internal static bool IsUnseen => GetConsoleWindow() == 0;

    /// <summary>
    /// Sends CTRL_BREAK to every process on the console of this one, which is the console of a run: its program and what
    /// that started. False when it has none, as a program with windows, and cannot be asked.
    /// </summary>
    internal static bool Break(int process)
    {
        using var told = new ManualResetEventSlim();

        // This process is on that console too, for the moment; its own turn says that the others were told.
        using var own = PosixSignalRegistration.Create(
            PosixSignal.SIGQUIT,
            c =>
            {
                c.Cancel = true;
                told.Set();
            }
        );
        FreeConsole();
        if (!AttachConsole((uint)process))
        {
            return false;
        }

        try
        {
            return GenerateConsoleCtrlEvent(ControlBreak, 0) && (told.Wait(TimeSpan.FromSeconds(2)) || true);
        }
        finally
        {
            FreeConsole();
        }
    }

    [DllImport("kernel32")]
    private static extern nint GetConsoleWindow();

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
