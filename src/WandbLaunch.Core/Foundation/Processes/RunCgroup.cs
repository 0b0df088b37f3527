using System.Globalization;

namespace WandbLaunch.Foundation;

/// <summary>
/// A control group for one run (Linux, cgroup v2), below the one that this process is in. Nothing that is born in it can
/// leave it by forking, by a session or an environment of its own; and the kernel ends all of it at once.
/// </summary>
internal sealed class RunCgroup
{
    private const string Prefix = "wandb-launch-";

    private RunCgroup(string path) => Path = path;

    internal string Path { get; }

    /// <summary>Makes one; null where this user may not, or the system has none. <c>WANDBLAUNCH_CGROUP=0</c> does without.</summary>
    internal static RunCgroup? TryCreate(LaunchEnvironment environment, string id)
    {
        if (!OperatingSystem.IsLinux() || environment["WANDBLAUNCH_CGROUP"] == "0" || Own() is not { } own)
        {
            return null;
        }

        var path = System.IO.Path.Combine(own, Prefix + id + "-" + Guid.NewGuid().ToString("n")[..8]);
        try
        {
            Sweep(own);
            Directory.CreateDirectory(path);
            if (File.Exists(System.IO.Path.Combine(path, "cgroup.procs")))
            {
                return new RunCgroup(path);
            }

            Directory.Delete(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Not ours to divide.
        }

        return null;
    }

    /// <summary>That of a run whose supervisor is gone, as it was written down; null when it is no such group.</summary>
    internal static RunCgroup? Find(string? path, string id) =>
        path is not null
        && System.IO.Path.GetFileName(path).StartsWith(Prefix + id + "-", StringComparison.Ordinal)
        && File.Exists(System.IO.Path.Combine(path, "cgroup.procs"))
            ? new RunCgroup(path)
            : null;

    /// <summary>Brings a process in; its later children follow.</summary>
    internal bool Add(int id)
    {
        try
        {
            File.WriteAllText(In("cgroup.procs"), id.ToString(CultureInfo.InvariantCulture));
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    /// <summary>The processes in it and in groups that they made below it.</summary>
    internal HashSet<int> Members()
    {
        var found = new HashSet<int>();
        try
        {
            foreach (var file in Directory.EnumerateFiles(Path, "cgroup.procs", SearchOption.AllDirectories))
            {
                foreach (var line in File.ReadLines(file))
                {
                    if (int.TryParse(line, NumberStyles.None, null, out var id) && id != 0)
                    {
                        found.Add(id);
                    }
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Removed meanwhile.
        }

        return found;
    }

    internal bool IsEmpty
    {
        get
        {
            try
            {
                return File.ReadAllText(In("cgroup.events")).Contains("populated 0", StringComparison.Ordinal);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                return true;
            }
        }
    }

    /// <summary>Ends all in it, and waits until they are gone.</summary>
    internal void Kill()
    {
        var atOnce = File.Exists(In("cgroup.kill"));
        for (var i = 0; i < 500 && !IsEmpty; i++)
        {
            if (atOnce)
            {
                Write("cgroup.kill", "1");
            }
            else
            {
                // Kernels before 5.14: nobody forks while all stand still, and SIGKILL ends those too.
                Write("cgroup.freeze", "1");
                foreach (var id in Members())
                {
                    if (LinuxProcesses.Find(id) is { } row)
                    {
                        LinuxProcesses.Signal(row.Key, LinuxProcesses.SigKill);
                    }
                }
            }

            Thread.Sleep(i < 20 ? 1 : 20);
        }
    }

    /// <summary>Removes it, when it is empty.</summary>
    internal void Remove()
    {
        for (var i = 0; i < 20; i++)
        {
            try
            {
                foreach (
                    var below in Directory
                        .EnumerateDirectories(Path, "*", SearchOption.AllDirectories)
                        .OrderByDescending(d => d.Length)
                        .ToList()
                )
                {
                    Directory.Delete(below);
                }

                Directory.Delete(Path);
                return;
            }
            catch (DirectoryNotFoundException)
            {
                return;
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                if (!IsEmpty)
                {
                    return;
                }

                // The last one has just ended.
                Thread.Sleep(2);
            }
        }
    }

    // Groups whose last process, kept or orphaned, has ended since. A young one may be another launch's that is just about to start.
    private static void Sweep(string own)
    {
        foreach (var folder in new DirectoryInfo(own).EnumerateDirectories(Prefix + "*"))
        {
            if (
                folder.CreationTimeUtc < DateTime.UtcNow.AddMinutes(-10)
                && new RunCgroup(folder.FullName) is { IsEmpty: true } left
            )
            {
                left.Remove();
            }
        }
    }

    /// <summary>The folder of the group that this process is in.</summary>
    private static string? Own()
    {
        try
        {
            var place = File.ReadLines("/proc/self/cgroup")
                .FirstOrDefault(l => l.StartsWith("0::/", StringComparison.Ordinal));
            if (place is null)
            {
                return null;
            }

            foreach (var line in File.ReadLines("/proc/self/mountinfo"))
            {
                // 30 24 0:26 /root /mount/point options … - cgroup2 cgroup2 rw
                var halves = line.Split(" - ", 2);
                if (halves.Length < 2 || !halves[1].StartsWith("cgroup2 ", StringComparison.Ordinal))
                {
                    continue;
                }

                var fields = halves[0].Split(' ');
                var root = fields[3] == "/" ? "" : fields[3];
                var own = place[3..];
                if (own == root || own.StartsWith(root + "/", StringComparison.Ordinal))
                {
                    return System.IO.Path.Join(fields[4], own[root.Length..]);
                }
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // No /proc, no groups.
        }

        return null;
    }

    private void Write(string name, string text)
    {
        try
        {
            File.WriteAllText(In(name), text);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Removed meanwhile.
        }
    }

    private string In(string name) => System.IO.Path.Combine(Path, name);
}
