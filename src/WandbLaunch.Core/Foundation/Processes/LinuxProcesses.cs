using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;

namespace WandbLaunch.Foundation;

/// <summary>A process that cannot be mistaken for another one that has its number later: the number and the moment of its start, in clock ticks since boot.</summary>
internal readonly record struct ProcessKey(int Id, ulong Start);

/// <summary>One line of the process table. A class: collections of a structure of our own would be compiled in each host of a run.</summary>
internal sealed record ProcessRow(ProcessKey Key, int Parent, char State)
{
    /// <summary>Ended, and waiting for its parent to take note.</summary>
    internal bool IsZombie => State is 'Z' or 'X';
}

/// <summary>The process table of Linux, and signals that reach only the process that was meant.</summary>
internal static class LinuxProcesses
{
    internal const int SigKill = 9;
    internal const int SigTerm = 15;
    internal const int SigStop = 19;

    private const int PidfdSendSignal = 424;
    private const int PidfdOpen = 434;
    private const int NoSuchProcess = 3;
    private const int SetChildSubreaper = 36;

    /// <summary>Orphans among the descendants of this process become its children, instead of the init process's.</summary>
    internal static bool AdoptOrphans() => OperatingSystem.IsLinux() && prctl(SetChildSubreaper, 1, 0, 0, 0) == 0;

    /// <summary>All processes that can be seen, by number.</summary>
    internal static Dictionary<int, ProcessRow> All()
    {
        var rows = new Dictionary<int, ProcessRow>();
        var buffer = new byte[1024];
        foreach (var folder in Directory.EnumerateDirectories("/proc"))
        {
            if (
                int.TryParse(Path.GetFileName(folder.AsSpan()), NumberStyles.None, null, out var id)
                && Read(id, buffer) is { } row
            )
            {
                rows[id] = row;
            }
        }

        return rows;
    }

    /// <summary>One process; null when it is gone.</summary>
    internal static ProcessRow? Find(int id) => Read(id, new byte[1024]);

    /// <summary>The roots' descendants, without the roots.</summary>
    internal static IEnumerable<ProcessRow> Descendants(Dictionary<int, ProcessRow> rows, IEnumerable<int> roots)
    {
        var children = rows.Values.ToLookup(r => r.Parent);
        var seen = new HashSet<int>(roots);
        var open = new Stack<int>(seen);
        while (open.TryPop(out var parent))
        {
            foreach (var child in children[parent])
            {
                if (seen.Add(child.Key.Id))
                {
                    open.Push(child.Key.Id);
                    yield return child;
                }
            }
        }
    }

    /// <summary>Whether a process was started with this variable, exactly.</summary>
    internal static bool Carries(int id, string assignment)
    {
        try
        {
            var environment = File.ReadAllBytes($"/proc/{id}/environ");
            var wanted = Encoding.UTF8.GetBytes(assignment + "\0");
            for (var from = 0; environment.AsSpan(from).IndexOf(wanted) is var at and >= 0; from += at + 1)
            {
                if (from + at == 0 || environment[from + at - 1] == 0)
                {
                    return true;
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Ended meanwhile, or another user's.
        }

        return false;
    }

    /// <summary>Signals this process and no other: a handle is taken first, and then it is looked at once more.</summary>
    internal static bool Signal(ProcessKey process, int signal)
    {
        var handle = syscall(PidfdOpen, process.Id, 0, 0, 0);
        if (handle < 0)
        {
            // Kernels before 5.3, and sandboxes, have no handles: between the look and the signal are microseconds then.
            return Marshal.GetLastPInvokeError() != NoSuchProcess
                && Find(process.Id)?.Key == process
                && kill(process.Id, signal) == 0;
        }

        try
        {
            return Find(process.Id)?.Key == process && syscall(PidfdSendSignal, handle, signal, 0, 0) == 0;
        }
        finally
        {
            _ = close((int)handle);
        }
    }

    /// <summary>Takes note of the end of adopted processes, so that they do not fill the process table. The runtime does so for those that it started itself.</summary>
    internal static void Reap(int notThisOne)
    {
        if (!OperatingSystem.IsLinux())
        {
            // Nothing is adopted elsewhere.
            return;
        }

        var info = new byte[128];
        for (var i = 0; i < 10_000; i++)
        {
            // P_ALL, WEXITED | WNOHANG | WNOWAIT: look, and leave it as it is.
            if (waitid(0, 0, info, 4 | 1 | 0x01000000) != 0)
            {
                return;
            }

            var id = BitConverter.ToInt32(info, 16);
            if (id == 0 || id == notThisOne || waitpid(id, out _, 1) != id)
            {
                return;
            }

            Array.Clear(info);
        }
    }

    // The name, in brackets, is the program's own choice and may hold blanks, brackets and digits: what counts is after the last bracket.
    private static ProcessRow? Read(int id, byte[] buffer)
    {
        try
        {
            using var file = File.OpenHandle($"/proc/{id}/stat");
            var read = RandomAccess.Read(file, buffer, 0);
            var text = Encoding.ASCII.GetString(buffer, 0, read);
            var fields = text[(text.LastIndexOf(')') + 2)..].Split(' ');
            return new ProcessRow(
                new ProcessKey(id, ulong.Parse(fields[19], CultureInfo.InvariantCulture)),
                int.Parse(fields[1], CultureInfo.InvariantCulture),
                fields[0][0]
            );
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    [DllImport("libc", SetLastError = true)]
    private static extern int kill(int process, int signal);

    [DllImport("libc", SetLastError = true)]
    private static extern int close(int handle);

    [DllImport("libc", SetLastError = true)]
    private static extern int prctl(int option, nuint two, nuint three, nuint four, nuint five);

    [DllImport("libc", SetLastError = true)]
    private static extern nint syscall(nint number, nint one, nint two, nint three, nint four);

    [DllImport("libc", SetLastError = true)]
    private static extern int waitid(int kind, int id, byte[] info, int options);

    [DllImport("libc", SetLastError = true)]
    private static extern int waitpid(int id, out int status, int options);
}
