using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using System.Text;

namespace WandbLaunch.Resources;

/// <summary>
/// Ends a program with all that it started. On Windows a Job Object holds them; on Unix the children are found by
/// their parent, and those that left their parent by a variable that every child inherits.
/// </summary>
internal sealed class ProcessTree : IDisposable
{
    internal const string Cookie = "WANDB_LAUNCH_RUN";

    private readonly Process _process;
    private readonly string _cookie;
    private IntPtr _job;

    internal ProcessTree(Process process, string cookie)
    {
        _process = process;
        _cookie = $"{Cookie}={cookie}";
        if (OperatingSystem.IsWindows())
        {
            _job = CreateJob(process.Handle);
        }
    }

    /// <summary>Asks all to end: SIGTERM; on Windows there is no such question for a console program, so the job ends at once.</summary>
    internal void Terminate()
    {
        if (OperatingSystem.IsWindows())
        {
            Kill();
        }
        else
        {
            Signal(15);
        }
    }

    /// <summary>Ends all that is left.</summary>
    internal void Kill()
    {
        if (OperatingSystem.IsWindows())
        {
            if (_job != 0)
            {
                TerminateJobObject(_job, 137);
            }
        }
        else
        {
            // Twice: a child that was just being made is found the second time.
            Signal(9);
            Signal(9);
        }

        try
        {
            _process.Kill(true);
        }
        catch (Exception e)
            when (e
                    is InvalidOperationException
                        or System.ComponentModel.Win32Exception
                        or AggregateException
                        or NotSupportedException
            )
        {
            // Gone already.
        }
    }

    public void Dispose()
    {
        if (_job != 0)
        {
            CloseHandle(_job);
            _job = 0;
        }
    }

    /// <summary>Ends what a run left behind whose watcher is gone.</summary>
    internal static void KillOrphans(string cookie)
    {
        if (OperatingSystem.IsLinux())
        {
            foreach (var id in Carriers($"{Cookie}={cookie}"))
            {
                _ = kill(id, 9);
            }
        }
    }

    /// <summary>True when a process of the run still lives (Linux; elsewhere by its id and start time).</summary>
    internal static bool IsAlive(int processId, DateTimeOffset? started, string cookie)
    {
        if (OperatingSystem.IsLinux())
        {
            return Carriers($"{Cookie}={cookie}").Count > 0;
        }

        try
        {
            using var process = Process.GetProcessById(processId);
            return started is null
                || Math.Abs((process.StartTime.ToUniversalTime() - started.Value.UtcDateTime).TotalSeconds) < 5;
        }
        catch (Exception e)
            when (e is ArgumentException or InvalidOperationException or System.ComponentModel.Win32Exception)
        {
            return false;
        }
    }

    private void Signal(int signal)
    {
        var ids = new HashSet<int>();
        try
        {
            if (!_process.HasExited)
            {
                ids.Add(_process.Id);
            }
        }
        catch (InvalidOperationException)
        {
            // Gone already.
        }

        if (OperatingSystem.IsLinux())
        {
            ids.UnionWith(Carriers(_cookie));
        }

        foreach (var id in ids)
        {
            _ = kill(id, signal);
        }
    }

    private static List<int> Carriers(string cookie)
    {
        var wanted = Encoding.UTF8.GetBytes(cookie + "\0");
        var found = new List<int>();
        foreach (var folder in Directory.EnumerateDirectories("/proc"))
        {
            if (!int.TryParse(Path.GetFileName(folder), out var id) || id == Environment.ProcessId)
            {
                continue;
            }

            try
            {
                var environment = File.ReadAllBytes(folder + "/environ");
                var at = environment.AsSpan().IndexOf(wanted);
                if (at == 0 || (at > 0 && environment[at - 1] == 0))
                {
                    found.Add(id);
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Ended meanwhile, or another user's.
            }
        }

        return found;
    }

    [SupportedOSPlatform("windows")]
    private static IntPtr CreateJob(IntPtr process)
    {
        var job = CreateJobObjectW(0, null);
        var limits = new JobLimits
        {
            Flags = 0x2000, /* JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE */
        };
        if (
            job == 0
            || !SetInformationJobObject(
                job,
                9 /* JobObjectExtendedLimitInformation */
                ,
                ref limits,
                (uint)Marshal.SizeOf<JobLimits>()
            )
            || !AssignProcessToJobObject(job, process)
        )
        {
            if (job != 0)
            {
                CloseHandle(job);
            }

            return 0;
        }

        return job;
    }

    [StructLayout(LayoutKind.Sequential)]
    private struct JobLimits
    {
        internal long ProcessTime;
        internal long JobTime;
        internal uint Flags;
        internal nuint MinimumWorkingSet;
        internal nuint MaximumWorkingSet;
        internal uint ActiveProcesses;
        internal nuint Affinity;
        internal uint Priority;
        internal uint Scheduling;
        internal ulong ReadOperations;
        internal ulong WriteOperations;
        internal ulong OtherOperations;
        internal ulong ReadBytes;
        internal ulong WriteBytes;
        internal ulong OtherBytes;
        internal nuint ProcessMemory;
        internal nuint JobMemory;
        internal nuint PeakProcessMemory;
        internal nuint PeakJobMemory;
    }

    [DllImport("libc", SetLastError = true)]
    private static extern int kill(int process, int signal);

    [DllImport("kernel32", CharSet = CharSet.Unicode, SetLastError = true)]
    private static extern IntPtr CreateJobObjectW(IntPtr attributes, string? name);

    [DllImport("kernel32", SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static extern bool SetInformationJobObject(IntPtr job, int kind, ref JobLimits limits, uint size);

    [DllImport("kernel32", SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static extern bool AssignProcessToJobObject(IntPtr job, IntPtr process);

    [DllImport("kernel32", SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static extern bool TerminateJobObject(IntPtr job, uint code);

    [DllImport("kernel32", SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static extern bool CloseHandle(IntPtr handle);
}
