using System.ComponentModel;
using System.Diagnostics;
using System.IO.Pipes;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace WandbLaunch.Foundation;

/// <summary>
/// CreateProcess with what .NET's own start leaves out: a list of the handles that are handed down, a job that holds the
/// process before its first instruction, and leaving the job that this process is in.
/// </summary>
internal static unsafe class WindowsProcess
{
    /// <summary>What CreateProcess takes as one line, with its end.</summary>
    internal const int LongestCommandLine = 32_767;

    private const int TooLong = 206; // ERROR_FILENAME_EXCED_RANGE
    private const int AccessDenied = 5;
    private const uint Suspended = 0x4;
    private const uint NewGroup = 0x200;
    private const uint UnicodeEnvironment = 0x400;
    private const uint ExtendedStartup = 0x80000;
    private const uint LeaveJob = 0x0100_0000;
    private const uint NoWindow = 0x0800_0000;
    private const uint UseHandles = 0x100;
    private const nuint HandleList = 0x20002;
    private const uint Inherit = 1;

    [SupportedOSPlatform("windows")]
    internal static (Process Process, Stream Input, Stream Output, Stream Error) Start(
        ProcessStartInfo start,
        WindowsJob? job,
        bool outlives
    )
    {
        var line = string.Join(' ', start.ArgumentList.Prepend(start.FileName).Select(Quote));
        if (line.Length >= LongestCommandLine)
        {
            throw new Win32Exception(TooLong);
        }

        var environment = Block(start.Environment);
        var input = new AnonymousPipeServerStream(PipeDirection.Out, HandleInheritability.None);
        var output = new AnonymousPipeServerStream(PipeDirection.In, HandleInheritability.None);
        var error = new AnonymousPipeServerStream(PipeDirection.In, HandleInheritability.None);
        try
        {
            AnonymousPipeServerStream[] pipes = [input, output, error];
            var handles = stackalloc nint[3];
            for (var i = 0; i < 3; i++)
            {
                handles[i] = pipes[i].ClientSafePipeHandle.DangerousGetHandle();
                if (!SetHandleInformation(handles[i], Inherit, Inherit))
                {
                    throw new Win32Exception();
                }
            }

            var flags =
                UnicodeEnvironment
                | ExtendedStartup
                | (job is null ? NoWindow : Suspended | NewGroup | (WindowsConsole.IsHere ? 0 : NoWindow));
            var folder = start.WorkingDirectory is { Length: > 0 } given ? given : null;
            ProcessHandles made;
            try
            {
                made = Create(line, environment, folder, handles, flags | (outlives ? LeaveJob : 0));
            }
            catch (Win32Exception e) when (outlives && e.NativeErrorCode == AccessDenied)
            {
                // The job of this process lets nobody go: it ends with that.
                made = Create(line, environment, folder, handles, flags);
            }

            foreach (var pipe in pipes)
            {
                pipe.DisposeLocalCopyOfClientHandle();
            }

            using var process = new SafeProcessHandle(made.Process, true);
            try
            {
                // Opened while the handle is held, so that the id is this process and no later one.
                var found = Process.GetProcessById(made.ProcessId);
                _ = found.SafeHandle;
                job?.Add(process);
                return (found, input, output, error);
            }
            catch
            {
                _ = TerminateProcess(made.Process, 1);
                throw;
            }
            finally
            {
                if (job is not null)
                {
                    _ = ResumeThread(made.Thread);
                }

                _ = CloseHandle(made.Thread);
            }
        }
        catch
        {
            input.Dispose();
            output.Dispose();
            error.Dispose();
            throw;
        }
    }

    /// <summary>A word as the C runtime of Windows reads it back.</summary>
    internal static string Quote(string word)
    {
        if (word.Length > 0 && !word.Any(c => char.IsWhiteSpace(c) || c == '"'))
        {
            return word;
        }

        var text = new StringBuilder("\"");
        var slashes = 0;
        foreach (var c in word)
        {
            if (c == '\\')
            {
                slashes++;
                continue;
            }

            // Backslashes count double only before a quote.
            text.Append('\\', c == '"' ? (slashes * 2) + 1 : slashes).Append(c);
            slashes = 0;
        }

        return text.Append('\\', slashes * 2).Append('"').ToString();
    }

    // Name=value, each with an end and one more at the end of all; Windows wants them in order, whatever their case.
    private static string Block(IDictionary<string, string?> variables)
    {
        var text = new StringBuilder();
        foreach (
            var (name, value) in variables
                .Where(v => v.Value is not null)
                .OrderBy(v => v.Key, StringComparer.OrdinalIgnoreCase)
        )
        {
            text.Append(name).Append('=').Append(value).Append('\0');
        }

        return text.Append('\0').ToString();
    }

    [SupportedOSPlatform("windows")]
    private static ProcessHandles Create(string line, string environment, string? folder, nint* handles, uint flags)
    {
        nuint size = 0;
        InitializeProcThreadAttributeList(null, 1, 0, &size);
        var list = NativeMemory.Alloc(size);
        try
        {
            if (
                !InitializeProcThreadAttributeList(list, 1, 0, &size)
                || !UpdateProcThreadAttribute(list, 0, HandleList, handles, (nuint)(3 * sizeof(nint)), null, null)
            )
            {
                throw new Win32Exception();
            }

            var startup = new StartupInfo
            {
                Size = (uint)sizeof(StartupInfo),
                Flags = UseHandles,
                Input = handles[0],
                Output = handles[1],
                Error = handles[2],
                Attributes = list,
            };

            // CreateProcessW writes into the line.
            var buffer = (line + '\0').ToCharArray();
            ProcessHandles made;
            bool succeeded;
            fixed (char* text = buffer)
            fixed (char* variables = environment)
            {
                succeeded = CreateProcessW(null, text, 0, 0, true, flags, variables, folder, &startup, &made);
            }

            var fault = Marshal.GetLastPInvokeError();
            DeleteProcThreadAttributeList(list);
            return succeeded ? made : throw new Win32Exception(fault);
        }
        finally
        {
            NativeMemory.Free(list);
        }
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct StartupInfo
    {
        internal uint Size;
        internal nint Reserved;
        internal nint Desktop;
        internal nint Title;
        internal uint X;
        internal uint Y;
        internal uint Width;
        internal uint Height;
        internal uint Columns;
        internal uint Rows;
        internal uint Fill;
        internal uint Flags;
        internal ushort Show;
        internal ushort Reserved2Size;
        internal nint Reserved2;
        internal nint Input;
        internal nint Output;
        internal nint Error;
        internal void* Attributes;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct ProcessHandles
    {
        internal nint Process;
        internal nint Thread;
        internal int ProcessId;
        internal int ThreadId;
    }

    [DllImport("kernel32", SetLastError = true, CharSet = CharSet.Unicode)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static extern bool CreateProcessW(
        string? application,
        char* line,
        nint processSecurity,
        nint threadSecurity,
        [MarshalAs(UnmanagedType.Bool)] bool inherit,
        uint flags,
        char* environment,
        string? folder,
        StartupInfo* startup,
        ProcessHandles* made
    );

    [DllImport("kernel32", SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static extern bool InitializeProcThreadAttributeList(void* list, uint count, uint flags, nuint* size);

    [DllImport("kernel32", SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static extern bool UpdateProcThreadAttribute(
        void* list,
        uint flags,
        nuint attribute,
        void* value,
        nuint size,
        void* previous,
        nuint* returned
    );

    [DllImport("kernel32")]
    private static extern void DeleteProcThreadAttributeList(void* list);

    [DllImport("kernel32", SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static extern bool SetHandleInformation(nint handle, uint mask, uint flags);

    [DllImport("kernel32", SetLastError = true)]
    private static extern uint ResumeThread(nint thread);

    [DllImport("kernel32", SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static extern bool TerminateProcess(nint process, uint code);

    [DllImport("kernel32", SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static extern bool CloseHandle(nint handle);
}
