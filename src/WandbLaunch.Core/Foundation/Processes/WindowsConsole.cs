using System.ComponentModel;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;

namespace WandbLaunch.Foundation;

/// <summary>Asks the programs of another console to end. A process has one console, so whoever asks gives its own up.</summary>
[SupportedOSPlatform("windows")]
internal static class WindowsConsole
{
    private const uint ControlBreak = 1;

    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(15);
    private static readonly object OneAtATime = new();

    /// <summary>Asks by this process where its console is nobody's, else by one that is started for it. False when that did not work.</summary>
    /// <param name="process">A process on the console.</param>
    /// <param name="unseen">True when nobody looks at this process's console.</param>
    internal static bool Ask(int process, bool unseen)
    {
        if (unseen || GetConsoleWindow() == 0)
        {
            lock (OneAtATime)
            {
                return Break(process);
            }
        }

        try
        {
            using var sender = OwnProgram
                .Host(LaunchEnvironment.Current)
                .Start(["break", process.ToString(CultureInfo.InvariantCulture)]);
            return sender.Process.WaitForExit(Patience) && sender.ExitCode == 0;
        }
        catch (Exception e) when (e is Win32Exception or LaunchException)
        {
            return false;
        }
    }

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
