#pragma warning disable CA1416 // Modes are looked at where they exist: each test that does skips Windows.
using System.Collections.ObjectModel;
using System.Diagnostics;
using System.Globalization;
using System.Management.Automation;
using System.Runtime.InteropServices;
using System.Text;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Tests;

/// <summary>Programs that do not want to end, disks that are full, folders that are open: what is looked at is /proc, the disk and the modes, not the code's own idea of them.</summary>
[Collection(ProcessCollection.Name)]
public sealed class HostileProcessTests : IDisposable
{
    // Every process of an attack ends up as a sleep with a number that only this attack has, whatever it did to its parent, session, streams, environment and name.
    private const string Attack = """
        import os, shutil, signal, sys, time
        mode, token, folder = sys.argv[1], sys.argv[2], sys.argv[3]
        def become(env={}, ignore=False, program='/bin/sleep'):
            for fd in range(256):
                try: os.close(fd)
                except OSError: pass
            if ignore: signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.execve(program, ['sleep', '3600.' + token], env)
        def daemon(**options):
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0: become(**options)
                os._exit(0)
            os.wait()
        def born(*ignored):
            daemon(ignore=True)
            os._exit(0)
        if mode == 'daemon': daemon()
        if mode == 'stubborn': daemon(ignore=True)
        if mode == 'pipes':
            if os.fork() == 0: os.execve('/bin/sleep', ['sleep', '3600.' + token], {})
        if mode == 'named':
            evil = os.path.join(folder, 'x) Z 1 1 (')
            shutil.copy('/bin/sleep', evil)
            daemon(program=evil)
        if mode == 'storm':
            for i in range(300):
                if os.fork() == 0:
                    os.setsid()
                    become(ignore=True)
        if mode == 'forker':
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0:
                    signal.signal(signal.SIGTERM, signal.SIG_IGN)
                    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
                    while True:
                        if os.fork() == 0:
                            os.setsid()
                            become(ignore=True)
                        time.sleep(0.002)
                os._exit(0)
            os.wait()
            time.sleep(0.3)
        print('up', flush=True)
        if 'wait' in sys.argv:
            if mode == 'late': signal.signal(signal.SIGTERM, born)
            while True: time.sleep(600)
        """;

    private readonly string _folder = Fixture.NewFolder("hostile");
    private readonly string _token = Random
        .Shared.NextInt64(100_000_000, 999_999_999)
        .ToString(CultureInfo.InvariantCulture);
    private readonly string? _cgroup = Environment.GetEnvironmentVariable("WANDBLAUNCH_CGROUP");
    private readonly string? _home = Environment.GetEnvironmentVariable("WANDBLAUNCH_HOME");
    private readonly List<Process> _started = [];

    public HostileProcessTests() => File.WriteAllText(Path.Combine(_folder, "attack.py"), Attack);

    public void Dispose()
    {
        Environment.SetEnvironmentVariable("WANDBLAUNCH_CGROUP", _cgroup);
        Environment.SetEnvironmentVariable("WANDBLAUNCH_HOME", _home);
        foreach (var process in _started)
        {
            process.Kill();
            process.Dispose();
        }

        foreach (var id in Alive())
        {
            Process.GetProcessById(id).Kill();
        }

        // What -KeepChildren left open.
        RunCgroup
            .Find(
                LaunchStore.Load(LaunchStore.Of(new LaunchContext()).Folder("keep" + _token))?.Handle?.Place,
                "keep" + _token
            )
            ?.Kill();
        RunCgroup
            .Find(
                LaunchStore.Load(LaunchStore.Of(new LaunchContext()).Folder("keep" + _token))?.Handle?.Place,
                "keep" + _token
            )
            ?.Remove();
    }

    public static TheoryData<string, string> Attacks()
    {
        var all = new TheoryData<string, string>();
        foreach (var place in new[] { "shell", "shell without a group", "host", "host without a group" })
        {
            foreach (var mode in new[] { "daemon", "stubborn", "pipes", "named", "storm", "forker" })
            {
                all.Add(place, mode);
            }
        }

        return all;
    }

    [Theory]
    [MemberData(nameof(Attacks))]
    public void Nothing_outlives_a_program_that_ended_well(string place, string mode)
    {
        NeedLinux();
        var id = "end" + _token;
        var innocents = Innocents(id);
        using var shell = new Shell(false);
        var run = Start(shell, place, id, mode);
        Assert.Equal((LaunchState.Finished, 0), (run.State, run.ExitCode));
        Assert.Empty(Alive());
        Assert.All(innocents, i => Assert.False(i.HasExited));
    }

    [Theory]
    [InlineData("shell")]
    [InlineData("shell without a group")]
    [InlineData("host")]
    [InlineData("host without a group")]
    public async Task Nothing_outlives_a_stop(string place)
    {
        NeedLinux();
        foreach (var mode in new[] { "daemon", "stubborn", "late", "forker" })
        {
            var id = mode + _token;
            var innocents = Innocents(id);
            using var shell = new Shell(false);
            using var other = new Shell(false);
            var started = Task.Run(() => Start(shell, place, id, mode, "wait"));
            await UntilAsync(() => Log(id).Contains("up", StringComparison.Ordinal));
            await UntilAsync(() => mode == "late" || Alive().Count > 0);

            other.Ok($"Stop-WandbLaunch {id}");
            Assert.Equal(LaunchState.Stopped, (await started).State);
            Assert.Empty(Alive());
            Assert.All(innocents, i => Assert.False(i.HasExited));
        }
    }

    [Fact]
    public async Task What_a_killed_supervisor_left_is_ended_by_whoever_stops_the_run()
    {
        NeedLinux();
        NeedGroups();
        var id = "orph" + _token;
        var innocents = Innocents(id);
        using var shell = new Shell(false);
        var started = Task.Run(() => Start(shell, "host", id, "stubborn", "wait"));
        await UntilAsync(() => Log(id).Contains("up", StringComparison.Ordinal));
        var run = LaunchStore.Of(new LaunchContext()).Get(id);
        var host = LinuxProcesses.Find(run.ProcessId!.Value)!.Parent;
        Process.GetProcessById(host).Kill();
        await UntilAsync(() => LinuxProcesses.Find(host) is null or { IsZombie: true });
        await UntilAsync(() => Alive().Count > 0);
        using var other = new Shell(false);
        other.Ok($"Stop-WandbLaunch {id}");
        Assert.Empty(Alive());
        Assert.Null(LinuxProcesses.Find(run.ProcessId.Value) is { IsZombie: false } left ? left : null);
        Assert.All(innocents, i => Assert.False(i.HasExited));
        Assert.False(Directory.Exists(run.Handle?.Place));
        await started;
    }

    [Theory]
    [InlineData("shell")]
    [InlineData("shell without a group")]
    [InlineData("host without a group")]
    public void Children_are_kept_when_that_is_asked_for(string place)
    {
        NeedLinux();
        using var shell = new Shell(false);
        var run = Start(shell, place, "keep" + _token, "daemon", options: "-KeepChildren");
        Assert.Equal(LaunchState.Finished, run.State);
        Thread.Sleep(500);
        Assert.Single(Alive());
    }

    [Fact]
    public void A_signal_goes_to_the_process_that_was_meant_or_to_none()
    {
        NeedLinux();
        using var victim = Process.Start("/bin/sleep", "3600." + _token);
        var key = LinuxProcesses.Find(victim.Id)!.Key;
        Assert.False(LinuxProcesses.Signal(key with { Start = key.Start - 1 }, LinuxProcesses.SigKill));
        Assert.False(victim.WaitForExit(200));
        Assert.True(LinuxProcesses.Signal(key, LinuxProcesses.SigKill));
        Assert.True(victim.WaitForExit(5000));
        Assert.False(LinuxProcesses.Signal(key, LinuxProcesses.SigKill));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_full_disk_holds_no_program_and_the_log_goes_on_when_there_is_room(bool host)
    {
        using var disk = new SmallDisk();
        var id = "full" + _token;
        var signs = Fixture.NewFolder("signs");
        File.WriteAllText(
            Path.Combine(_folder, "flood.py"),
            """
            import os, sys, time
            signs = sys.argv[1]
            print('the beginning', flush=True)
            for i in range(50): sys.stdout.write(('x' * 1023 + '\n') * 1024)
            sys.stdout.flush()
            open(os.path.join(signs, 'flooded'), 'w').close()
            while not os.path.exists(os.path.join(signs, 'go')): time.sleep(0.05)
            for i in range(20):
                print('after', i, flush=True)
                time.sleep(0.05)
            sys.exit(7)
            """
        );
        using var shell = new Shell(false);
        var running = Task.Run(() => Launch(shell, id, $"python flood.py {signs}", host ? "-NoWait" : ""));
        await UntilAsync(() => File.Exists(Path.Combine(signs, "flooded")));
        Assert.Equal(LaunchState.Running, LaunchStore.Load(LaunchStore.Of(new LaunchContext()).Folder(id))!.State);
        disk.MakeRoom();
        await Task.Delay(600);
        await File.WriteAllTextAsync(Path.Combine(signs, "go"), "");
        await running;
        await UntilAsync(() => LaunchStore.Of(new LaunchContext()).Get(id).IsDone);
        var run = LaunchStore.Of(new LaunchContext()).Get(id);
        Assert.Equal((LaunchState.Failed, 7, true), (run.State, run.ExitCode, run.LogTruncated));
        Assert.Contains("the disk is full", Assert.Single(run.Warnings), StringComparison.Ordinal);
        var log = Log(id);
        Assert.StartsWith("the beginning\n", log, StringComparison.Ordinal);
        Assert.EndsWith("after 19\n", log, StringComparison.Ordinal);
        var mark = Assert.Single(log.Split('\n'), l => l.StartsWith("[wandb-launch: ", StringComparison.Ordinal));
        Assert.Contains("the disk is full", mark, StringComparison.Ordinal);

        // What the mark says is what is missing.
        var lost = long.Parse(mark.Split(' ')[1], NumberStyles.AllowThousands, CultureInfo.InvariantCulture);
        var printed = (50L << 20) + "the beginning\n".Length + Enumerable.Range(0, 20).Sum(i => $"after {i}\n".Length);
        Assert.Equal(printed, new FileInfo(run.LogPath!).Length - mark.Length - 2 + lost);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task An_exit_code_waits_for_room_on_the_disk(bool host)
    {
        using var disk = new SmallDisk();
        var id = "code" + _token;
        var signs = Fixture.NewFolder("signs");
        File.WriteAllText(
            Path.Combine(_folder, "flood.py"),
            """
            import os, sys
            for i in range(4): sys.stdout.write('x' * (1 << 20))
            sys.stdout.flush()
            open(os.path.join(sys.argv[1], 'flooded'), 'w').close()
            sys.exit(5)
            """
        );
        using var shell = new Shell(false);
        var running = Task.Run(() => Launch(shell, id, $"python flood.py {signs}", host ? "-NoWait" : ""));
        await UntilAsync(() => File.Exists(Path.Combine(signs, "flooded")));
        await Task.Delay(2000);
        Assert.Equal(LaunchState.Running, LaunchStore.Of(new LaunchContext()).Get(id).State);
        disk.MakeRoom();
        await running;
        await UntilAsync(() => LaunchStore.Of(new LaunchContext()).Get(id).IsDone);
        var run = LaunchStore.Of(new LaunchContext()).Get(id);
        Assert.Equal((LaunchState.Failed, 5, true), (run.State, run.ExitCode, run.LogTruncated));
        Assert.EndsWith("the disk is full]\n", Log(id), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_full_disk_holds_no_container()
    {
        var image = Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_BASE_IMAGE") ?? "mini-python:3.11";
        Assert.SkipUnless(await IsThereAsync(image), $"needs a Docker Engine with the image {image}");
        using var disk = new SmallDisk();
        var id = "cont" + _token;
        using var shell = new Shell(false);
        var running = Task.Run(() =>
            shell.Run(
                $"Start-WandbLaunch -DockerImage {image} -EntryPoint $words -Quiet -RunId {id}",
                (
                    "words",
                    new[]
                    {
                        "python",
                        "-uc",
                        "import sys, time\nfor i in range(20): sys.stdout.write('x' * (1 << 20) + chr(10))\ntime.sleep(6)\nprint('after', flush=True)\nsys.exit(6)",
                    }
                )
            )
        );
        await UntilAsync(() => Log(id).Length > 300_000);
        await Task.Delay(2000);
        Assert.Equal(LaunchState.Running, LaunchStore.Of(new LaunchContext()).Get(id).State);
        disk.MakeRoom();
        await running;
        var run = LaunchStore.Of(new LaunchContext()).Get(id);
        Assert.Equal((LaunchState.Failed, 6, true), (run.State, run.ExitCode, run.LogTruncated));
        Assert.EndsWith("\nafter\n", Log(id), StringComparison.Ordinal);
        Assert.Single(Log(id).Split('\n'), l => l.StartsWith("[wandb-launch: ", StringComparison.Ordinal));

        static async Task<bool> IsThereAsync(string image)
        {
            try
            {
                var (client, _) = await DockerEngine.ConnectAsync(null, default);
                using (client)
                {
                    return await new ImageBuilder(
                        new LaunchEnvironment(),
                        client,
                        Foundation.CallbackProgress.None
                    ).ExistsAsync(image, default);
                }
            }
            catch (LaunchException)
            {
                return false;
            }
        }
    }

    [Fact]
    public async Task A_log_that_is_removed_or_emptied_goes_on()
    {
        var id = "gone" + _token;
        var signs = Fixture.NewFolder("signs");
        File.WriteAllText(
            Path.Combine(_folder, "talk.py"),
            """
            import os, sys, time
            i = 0
            while not os.path.exists(os.path.join(sys.argv[1], 'go')):
                print('line', i, flush=True)
                i += 1
                time.sleep(0.02)
            print('the last', flush=True)
            """
        );
        using var shell = new Shell(false);
        var running = Task.Run(() => Launch(shell, id, $"python talk.py {signs}"));
        await UntilAsync(() => Log(id).Contains("line 5\n", StringComparison.Ordinal));
        var path = LaunchStore.Of(new LaunchContext()).Get(id).LogPath!;
        File.Delete(path);
        await UntilAsync(() => File.Exists(path) && new FileInfo(path).Length > 200);
        Assert.Contains("the file was removed", Log(id), StringComparison.Ordinal);
        File.WriteAllText(path, "");
        await UntilAsync(() => new FileInfo(path).Length > 50);
        File.WriteAllText(Path.Combine(signs, "go"), "");
        await running;
        Assert.DoesNotContain('\0', Log(id));
        Assert.EndsWith("the last\n", Log(id), StringComparison.Ordinal);
        Assert.True(LaunchStore.Of(new LaunchContext()).Get(id).LogTruncated);
        Assert.True(OperatingSystem.IsWindows() || File.GetUnixFileMode(path) == (UnixFileMode)0x180);
    }

    [Fact]
    public void Folders_and_files_are_the_owners_alone_under_any_umask()
    {
        NeedLinux();
        var home = Path.Combine(Fixture.NewFolder("umask"), "deep", "home");
        Environment.SetEnvironmentVariable("WANDBLAUNCH_HOME", home);
        var before = umask(0);
        try
        {
            using var shell = new Shell(false);
            Launch(shell, "umask1" + _token, "python attack.py none 0 .");
            Launch(shell, "umask2" + _token, "python attack.py none 0 .", "-NoWait");
            shell.Ok($"Wait-WandbLaunch umask2{_token}; Stop-WandbLaunch umask2{_token}");
            shell.Ok(
                $"Start-WandbLaunch '{new Uri(Fixture.Repository).AbsoluteUri}' -EntryPoint /bin/true -Resource local-process -NoInstall -Quiet"
            );
            shell.Ok(
                "Start-WandbLaunchServer | Out-Null; Connect-Wandb -Local; $null = New-WandbRunQueue q; Stop-WandbLaunchServer"
            );
        }
        finally
        {
            _ = umask(before);
        }

        Assert.Equal((UnixFileMode)0x1C0, File.GetUnixFileMode(Path.GetDirectoryName(home)!));
        var all = new EnumerationOptions
        {
            RecurseSubdirectories = true,
            AttributesToSkip = FileAttributes.ReparsePoint,
        };
        var open = new List<string>();
        foreach (var path in Directory.EnumerateFileSystemEntries(home, "*", all).Append(home))
        {
            // The code of a run and the contents of a mirror have modes of their own, below a folder that nobody else can enter.
            var parts = Path.GetRelativePath(home, path).Split('/');
            var isCode = parts is ["runs", _, "src", _, ..] or ["cache", "workspaces" or "git", _, _, ..];
            if (!isCode && (File.GetUnixFileMode(path) & (UnixFileMode)0x3F) != 0)
            {
                open.Add($"{path} {File.GetUnixFileMode(path)}");
            }
        }

        Assert.True(open.Count == 0, string.Join("\n", open));
        Assert.True(Directory.EnumerateFiles(home, "*", all).Count() > 15);
    }

    [Fact]
    public void Folders_that_an_older_version_left_open_are_closed()
    {
        NeedLinux();
        var home = Fixture.NewFolder("open");
        Environment.SetEnvironmentVariable("WANDBLAUNCH_HOME", home);
        var runs = Directory.CreateDirectory(Path.Combine(home, "runs", "x")).FullName;
        var outside = Fixture.NewFolder("outside");
        foreach (var folder in new[] { home, runs, outside })
        {
            File.SetUnixFileMode(folder, (UnixFileMode)0x1FF);
        }

        FileModes.CreatePrivateFolder(runs);
        FileModes.CreatePrivateFolder(outside);
        Assert.Equal(
            [(UnixFileMode)0x1C0, (UnixFileMode)0x1C0, (UnixFileMode)0x1FF],
            new[] { home, runs, outside }.Select(File.GetUnixFileMode)
        );
    }

    /// <summary>200 launches; 2,000 with WANDBLAUNCH_TEST_LONG=1.</summary>
    [Fact]
    public void Many_launches_of_one_shell_leave_nothing_behind_in_it()
    {
        NeedLinux();
        var count = Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_LONG") == "1" ? 2000 : 200;
        using var shell = new Shell(false);
        Round(shell, 50, "warm");
        var grew = "";
        for (var round = 0; round < 3; round++)
        {
            var before = Figures();
            Round(shell, count, $"many{round}");
            var after = Figures();
            TestContext.Current.SendDiagnosticMessage($"{count} launches: {before} -> {after}");
            grew =
                after.Handles > before.Handles + 10
                || after.Threads > before.Threads + 10
                || after.Managed > before.Managed + (8 << 20)
                || after.Resident > before.Resident + (64L << 20)
                    ? $"{grew}{before} -> {after}\n"
                    : "";

            // The process is that of all tests, and what an earlier one still does counts too; what launches leave behind grows every time.
            if (grew.Length == 0)
            {
                break;
            }
        }

        Assert.Equal("", grew);
        Assert.DoesNotContain(LinuxProcesses.All().Values, r => r.Parent == Environment.ProcessId && r.IsZombie);

        void Round(Shell shell, int times, string name) =>
            shell.Ok(
                $"1..{times} | ForEach-Object {{ $null = Start-WandbLaunch $folder -EntryPoint /bin/true -Resource local-process -NoInstall -Quiet -RunId \"{name}{_token}-$_\" }}; Get-WandbLaunch {name}* | Remove-WandbLaunch -Confirm:$false",
                ("folder", _folder)
            );

        static (int Handles, int Threads, long Managed, long Resident) Figures()
        {
            for (var i = 0; i < 3; i++)
            {
                GC.Collect();
                GC.WaitForPendingFinalizers();
            }

            using var self = Process.GetCurrentProcess();
            return (
                Directory.GetFiles("/proc/self/fd").Length,
                self.Threads.Count,
                GC.GetTotalMemory(true),
                self.WorkingSet64
            );
        }
    }

    private LaunchedRun Start(Shell shell, string place, string id, string mode, string wait = "", string options = "")
    {
        Environment.SetEnvironmentVariable(
            "WANDBLAUNCH_CGROUP",
            place.EndsWith("without a group", StringComparison.Ordinal) ? "0" : null
        );
        if (!place.EndsWith("without a group", StringComparison.Ordinal))
        {
            NeedGroups();
        }

        Launch(
            shell,
            id,
            $"python attack.py {mode} {_token} {_folder} {wait}",
            options + (place.StartsWith("host", StringComparison.Ordinal) ? " -NoWait" : "")
        );
        for (var i = 0; i < 1200 && !LaunchStore.Of(new LaunchContext()).Get(id).IsDone; i++)
        {
            Thread.Sleep(50);
        }

        return LaunchStore.Of(new LaunchContext()).Get(id);
    }

    private Collection<PSObject> Launch(Shell shell, string id, string entry, string options = "") =>
        shell.Run(
            $"Start-WandbLaunch $folder -EntryPoint '{entry}' -Resource local-process -NoInstall -Quiet -RunId {id} -StopGracePeriod 2 {options}",
            ("folder", _folder)
        );

    // Processes of the same user that look like the run's, and are not.
    private List<Process> Innocents(string id)
    {
        var made = new List<Process>();
        foreach (
            var (name, value) in new[]
            {
                (ProcessTree.Cookie, id + "x"),
                ("X_" + ProcessTree.Cookie, id),
                ("X", $"{ProcessTree.Cookie}={id}"),
                (ProcessTree.Cookie, "x\n" + id),
            }
        )
        {
            var start = new ProcessStartInfo("/bin/sleep", "3600.1");
            start.Environment[name] = value;
            made.Add(Process.Start(start)!);
        }

        _started.AddRange(made);
        return made;
    }

    private List<int> Alive()
    {
        var wanted = Encoding.ASCII.GetBytes("3600." + _token);
        return
        [
            .. LinuxProcesses
                .All()
                .Values.Where(r =>
                {
                    try
                    {
                        return !r.IsZombie
                            && File.ReadAllBytes($"/proc/{r.Key.Id}/cmdline").AsSpan().IndexOf(wanted) >= 0;
                    }
                    catch (IOException)
                    {
                        return false;
                    }
                })
                .Select(r => r.Key.Id),
        ];
    }

    private static void NeedLinux() => Assert.SkipUnless(OperatingSystem.IsLinux(), "looks at /proc");

    private static void NeedGroups()
    {
        var group = RunCgroup.TryCreate(new LaunchEnvironment(), "probe");
        Assert.SkipUnless(group is not null, "needs a control group that this user may divide (cgroup v2)");
        group.Remove();
    }

    private static string Log(string id)
    {
        var path = Path.Combine(LaunchStore.Of(new LaunchContext()).Folder(id), "output.log");
        if (!File.Exists(path))
        {
            return "";
        }

        using var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        using var reader = new StreamReader(stream);
        return reader.ReadToEnd();
    }

    private static async Task UntilAsync(Func<bool> condition)
    {
        var clock = Stopwatch.StartNew();
        while (!condition())
        {
            Assert.True(clock.Elapsed < TimeSpan.FromSeconds(60), "did not happen within a minute");
            await Task.Delay(25);
        }
    }

    [DllImport("libc")]
    private static extern int umask(int mask);
}
