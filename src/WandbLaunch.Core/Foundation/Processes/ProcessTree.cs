using System.Diagnostics;
using System.Runtime.InteropServices;

namespace WandbLaunch.Foundation;

/// <summary>
/// Ends a program with all that it started. On Windows a Job Object holds them. On Linux they are the processes of the
/// run's control group, the descendants of the program and of the process that adopts its orphans, and those that carry a
/// variable that every child inherits; each is signalled by a handle of its own, so that no other process can be hit. On
/// other systems they are found by their parent.
/// </summary>
internal sealed class ProcessTree : IDisposable
{
    internal const string Cookie = "WANDB_LAUNCH_RUN";

    private static readonly TimeSpan LongestKill = TimeSpan.FromSeconds(10);

    private readonly Process _process;
    private readonly string _cookie;
    private readonly ProcessKey? _program;
    private readonly bool _adopts;
    private readonly RunCgroup? _cgroup;
    private readonly Task _gathered = Task.CompletedTask;
    private readonly WindowsJob? _job;

    /// <param name="process">The program, just started.</param>
    /// <param name="id">Id of the run.</param>
    /// <param name="adopts">True when this process gets the orphans of the run, and starts nothing else.</param>
    /// <param name="cgroup">The run's control group, not entered yet.</param>
    /// <param name="job">On Windows the job that the program was started in; it ends with this.</param>
    internal ProcessTree(
        Process process,
        string id,
        bool adopts = false,
        RunCgroup? cgroup = null,
        WindowsJob? job = null
    )
    {
        _process = process;
        _cookie = $"{Cookie}={id}";
        _adopts = adopts;
        _cgroup = cgroup;
        _job = job;
        if (OperatingSystem.IsLinux())
        {
            _program = adopts ? null : LinuxProcesses.Find(process.Id)?.Key;
            if (cgroup is not null && adopts)
            {
                // Kernels take some 15 ms to move a process; nothing that it starts meanwhile gets past the one that adopts.
                _gathered = Task.Run(() =>
                {
                    cgroup.Add(process.Id);
                    Gather();
                });
            }
            else if (cgroup is not null)
            {
                cgroup.Add(process.Id);
                _gathered = Task.Run(Gather);
            }
        }
    }

    /// <summary>Asks all to end: SIGTERM; on Windows CTRL_BREAK, and what has no console ends at once.</summary>
    internal void Terminate()
    {
        if (OperatingSystem.IsWindows())
        {
            if (!WindowsConsole.Break(_process.Id))
            {
                Kill();
            }
        }
        else if (OperatingSystem.IsLinux())
        {
            foreach (var member in Members(LinuxProcesses.All()))
            {
                LinuxProcesses.Signal(member.Key, LinuxProcesses.SigTerm);
            }
        }
        else if (!HasExited)
        {
            _ = kill(_process.Id, LinuxProcesses.SigTerm);
        }
    }

    /// <summary>Ends all that is left.</summary>
    internal void Kill()
    {
        if (OperatingSystem.IsLinux())
        {
            // Gathering is some milliseconds on the pool, and waits for nobody.
#pragma warning disable VSTHRD002
            _gathered.Wait();
#pragma warning restore VSTHRD002
            _cgroup?.Kill();
            KillAll(Members);
            _cgroup?.Remove();
            return;
        }

        if (OperatingSystem.IsWindows())
        {
            _job?.End(137);
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

    /// <summary>Ends what the program left behind; costs next to nothing when that is nothing.</summary>
    internal void EndRest()
    {
        if (OperatingSystem.IsLinux() && _cgroup is not null)
        {
            // Gathering is some milliseconds on the pool, and waits for nobody.
#pragma warning disable VSTHRD002
            _gathered.Wait();
#pragma warning restore VSTHRD002
            if (_cgroup.IsEmpty)
            {
                _cgroup.Remove();
                return;
            }
        }

        Kill();
    }

    /// <summary>True while something of it lives.</summary>
    internal bool HasMembers =>
        OperatingSystem.IsLinux() ? Members(LinuxProcesses.All()).Count > 0
        : OperatingSystem.IsWindows() && _job is not null ? _job.Count > 0
        : !HasExited;

    /// <summary>Takes note of the end of orphans that this process adopted.</summary>
    internal void Reap()
    {
        if (_adopts)
        {
            LinuxProcesses.Reap(_process.Id);
        }
    }

    public void Dispose()
    {
        // Gathering is some milliseconds on the pool, and waits for nobody.
#pragma warning disable VSTHRD002
        _gathered.Wait();
#pragma warning restore VSTHRD002
        if (OperatingSystem.IsWindows())
        {
            _job?.Dispose();
        }
    }

    /// <summary>Ends what a run left behind whose supervisor is gone.</summary>
    internal static void KillOrphans(string id, string? cgroup)
    {
        if (OperatingSystem.IsLinux())
        {
            var group = RunCgroup.Find(cgroup, id);
            group?.Kill();
            KillAll(rows => Closure(rows, Carriers(rows, $"{Cookie}={id}", 0)));
            group?.Remove();
        }
    }

    /// <summary>True when a process of the run still lives (Linux; elsewhere by its id and start time).</summary>
    internal static bool IsAlive(int processId, DateTimeOffset? started, string id, string? cgroup = null)
    {
        if (OperatingSystem.IsLinux())
        {
            return RunCgroup.Find(cgroup, id) is { IsEmpty: false }
                || Carriers(LinuxProcesses.All(), $"{Cookie}={id}", 0).Any();
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

    private bool HasExited
    {
        get
        {
            try
            {
                return _process.HasExited;
            }
            catch (InvalidOperationException)
            {
                return true;
            }
        }
    }

    // Children of the program's first moments, before it was in its group, are brought in after it.
    private void Gather()
    {
        for (var i = 0; i < 20; i++)
        {
            var inside = _cgroup!.Members();
            var added = 0;
            foreach (var member in Members(LinuxProcesses.All()).Where(m => !inside.Contains(m.Key.Id)))
            {
                added += _cgroup.Add(member.Key.Id) ? 1 : 0;
            }

            if (added == 0)
            {
                return;
            }
        }
    }

    private List<ProcessRow> Members(Dictionary<int, ProcessRow> rows)
    {
        var roots = new List<ProcessRow>();
        if (_program is { } program && rows.TryGetValue(program.Id, out var own) && own.Key == program)
        {
            roots.Add(own);
        }

        if (_adopts)
        {
            // Every process that descends from this one is the run's: none gets past it.
            roots.AddRange(rows.Values.Where(r => r.Parent == Environment.ProcessId));
        }
        else
        {
            roots.AddRange(Carriers(rows, _cookie, _program?.Start ?? 0));
        }

        foreach (var id in _cgroup?.Members() ?? [])
        {
            if (rows.TryGetValue(id, out var row))
            {
                roots.Add(row);
            }
        }

        return Closure(rows, roots);
    }

    private static IEnumerable<ProcessRow> Carriers(Dictionary<int, ProcessRow> rows, string cookie, ulong since) =>
        rows.Values.Where(r =>
            r.Key.Start >= since
            && r.Key.Id != Environment.ProcessId
            && !r.IsZombie
            && LinuxProcesses.Carries(r.Key.Id, cookie)
        );

    // What the roots started belongs to them.
    private static List<ProcessRow> Closure(Dictionary<int, ProcessRow> rows, IEnumerable<ProcessRow> roots)
    {
        var first = roots.Where(r => r.Key.Id != Environment.ProcessId).DistinctBy(r => r.Key.Id).ToList();
        return
        [
            .. first
                .Concat(LinuxProcesses.Descendants(rows, first.Select(r => r.Key.Id)))
                .Where(r => !r.IsZombie && r.Key.Id != Environment.ProcessId),
        ];
    }

    // Parents stand still while their children are ended, and go last: a child of a dead parent is harder to find.
    private static void KillAll(Func<Dictionary<int, ProcessRow>, List<ProcessRow>> membersOf)
    {
        var clock = Stopwatch.StartNew();
        while (clock.Elapsed < LongestKill)
        {
            var members = membersOf(LinuxProcesses.All());
            if (members.Count == 0)
            {
                return;
            }

            var ids = members.Select(m => m.Key.Id).ToHashSet();
            var parents = members.Select(m => m.Parent).Where(ids.Contains).ToHashSet();
            foreach (var member in members.Where(m => parents.Contains(m.Key.Id)))
            {
                LinuxProcesses.Signal(member.Key, LinuxProcesses.SigStop);
            }

            foreach (var member in members.Where(m => !parents.Contains(m.Key.Id)))
            {
                LinuxProcesses.Signal(member.Key, LinuxProcesses.SigKill);
            }

            Thread.Sleep(1);
        }
    }

    [DllImport("libc", SetLastError = true)]
    private static extern int kill(int process, int signal);
}
