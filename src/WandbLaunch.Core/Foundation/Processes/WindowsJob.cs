using System.Runtime.InteropServices;
using System.Runtime.Versioning;
using Microsoft.Win32.SafeHandles;

namespace WandbLaunch.Foundation;

/// <summary>A Job Object: holds a process and all that it starts, and ends them at once.</summary>
[SupportedOSPlatform("windows")]
internal sealed class WindowsJob : IDisposable
{
    private const uint EndsWithHandle = 0x2000; // JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE
    private const int ExtendedLimits = 9;
    private const int Accounting = 1;

    private readonly JobHandle _handle;

    private WindowsJob(JobHandle handle) => _handle = handle;

    /// <summary>Makes one; null where the system gives none.</summary>
    /// <param name="keep">True when what is in it may outlive this process.</param>
    internal static WindowsJob? TryCreate(bool keep)
    {
        var handle = CreateJobObjectW(0, null);
        var limits = new JobLimits { Flags = keep ? 0 : EndsWithHandle };
        if (
            !handle.IsInvalid
            && SetInformationJobObject(handle, ExtendedLimits, ref limits, (uint)Marshal.SizeOf<JobLimits>())
        )
        {
            return new WindowsJob(handle);
        }

        handle.Dispose();
        return null;
    }

    /// <summary>How many processes are in it.</summary>
    internal int Count
    {
        get
        {
            var counts = default(JobCounts);
            return QueryInformationJobObject(_handle, Accounting, ref counts, (uint)Marshal.SizeOf<JobCounts>(), 0)
                ? (int)counts.Active
                : 0;
        }
    }

    internal bool Add(SafeProcessHandle process) => AssignProcessToJobObject(_handle, process);

    internal void End(int code) => TerminateJobObject(_handle, unchecked((uint)code));

    public void Dispose() => _handle.Dispose();

    private sealed class JobHandle() : SafeHandleZeroOrMinusOneIsInvalid(true)
    {
        protected override bool ReleaseHandle() => CloseHandle(handle);
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

    [StructLayout(LayoutKind.Sequential)]
    private struct JobCounts
    {
        internal long UserTime;
        internal long KernelTime;
        internal long PeriodUserTime;
        internal long PeriodKernelTime;
        internal uint PageFaults;
        internal uint Total;
        internal uint Active;
        internal uint Terminated;
    }

    [DllImport("kernel32", CharSet = CharSet.Unicode, SetLastError = true)]
    private static extern JobHandle CreateJobObjectW(nint attributes, string? name);

    [DllImport("kernel32", SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static extern bool SetInformationJobObject(JobHandle job, int kind, ref JobLimits limits, uint size);

    [DllImport("kernel32", SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static extern bool QueryInformationJobObject(
        JobHandle job,
        int kind,
        ref JobCounts counts,
        uint size,
        nint length
    );

    [DllImport("kernel32", SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static extern bool AssignProcessToJobObject(JobHandle job, SafeProcessHandle process);

    [DllImport("kernel32", SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static extern bool TerminateJobObject(JobHandle job, uint code);

    [DllImport("kernel32", SetLastError = true)]
    [return: MarshalAs(UnmanagedType.Bool)]
    private static extern bool CloseHandle(nint handle);
}
