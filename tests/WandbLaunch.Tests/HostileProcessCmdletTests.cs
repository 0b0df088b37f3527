using System.Diagnostics;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;

namespace WandbLaunch.Tests;

/// <summary>What a user types, against programs that misbehave.</summary>
[Collection(ProcessCollection.Name)]
public sealed class HostileProcessCmdletTests
{
    private static string Program(string text)
    {
        var folder = Fixture.NewFolder("program");
        File.WriteAllText(Path.Combine(folder, "main.py"), text);
        return folder;
    }

    [Theory]
    [InlineData("")]
    [InlineData("-NoWait")]
    public void MaxLogSize_keeps_the_beginning_and_the_end_and_says_so(string wait)
    {
        var folder = Program("for i in range(100000): print('line', i)\n");
        using var shell = new Shell(false);
        var run = (LaunchedRun)
            shell
                .Ok(
                    $"Start-WandbLaunch $folder -EntryPoint 'python main.py' -Resource local-process -NoInstall -Quiet -MaxLogSize 64KB {wait} | Wait-WandbLaunch",
                    ("folder", folder)
                )[0]
                .BaseObject;
        Assert.Contains("-MaxLogSize", Assert.Single(run.Warnings), StringComparison.Ordinal);
        Assert.NotEmpty(shell.Warnings);
        var lines = shell.Ok($"Receive-WandbLaunchLog {run.Id}").Select(l => l.ToString()).ToList();
        Assert.Equal(("line 0", "line 99999"), (lines[0], lines[^1]));
        Assert.InRange(new FileInfo(run.LogPath!).Length, 32 << 10, (64 << 10) + 200);
        shell.Run("Start-WandbLaunch $folder -MaxLogSize 1KB", ("folder", folder));
        Assert.StartsWith(
            "ParameterArgumentValidationError",
            Assert.Single(shell.Errors).FullyQualifiedErrorId,
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task Ctrl_C_ends_a_program_that_will_not_with_what_it_hid()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "looks at /proc");
        var folder = Program(
            """
            import os, signal, time
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            if os.fork() == 0:
                os.setsid()
                if os.fork() == 0: os.execve('/bin/sleep', ['sleep', '3600.75319'], {})
                os._exit(0)
            os.wait()
            print('up', flush=True)
            time.sleep(600)
            """
        );
        using var shell = new Shell(false);
        shell.Run("$folder = $f", ("f", folder));
        using var pipeline = shell.New(
            "Start-WandbLaunch $folder -EntryPoint 'python main.py' -Resource local-process -NoInstall -RunId ctrlc002 -StopGracePeriod 1"
        );
        var call = pipeline.BeginInvoke();
        var store = LaunchStore.Of(new LaunchContext());
        for (
            var i = 0;
            i < 300
                && !(
                    File.Exists(Path.Combine(store.Folder("ctrlc002"), "output.log"))
                    && Launcher.LastLines(Path.Combine(store.Folder("ctrlc002"), "output.log"), 1) == "up"
                );
            i++
        )
        {
            await Task.Delay(50);
        }

        Assert.Single(Sleepers());
        var clock = Stopwatch.StartNew();
        pipeline.Stop();
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(30), $"took {clock.Elapsed}");
        Assert.Equal(LaunchState.Stopped, store.Get("ctrlc002").State);
        Assert.Empty(Sleepers());
        _ = call;

        static List<int> Sleepers() =>
            [
                .. LinuxProcesses
                    .All()
                    .Values.Where(r =>
                        !r.IsZombie && CommandOf(r.Key.Id).Contains("3600.75319", StringComparison.Ordinal)
                    )
                    .Select(r => r.Key.Id),
            ];

        static string CommandOf(int id)
        {
            try
            {
                return File.ReadAllText($"/proc/{id}/cmdline");
            }
            catch (IOException)
            {
                return "";
            }
        }
    }

    [Fact]
    public void Characters_that_come_in_pieces_on_both_streams_are_whole_in_shell_and_log()
    {
        var folder = Program(
            """
            import sys, time
            word = 'ä€🙂'.encode()
            for out, err in zip(word, word):
                sys.stdout.buffer.write(bytes([out])); sys.stdout.buffer.flush(); time.sleep(0.03)
                sys.stderr.buffer.write(bytes([err])); sys.stderr.buffer.flush(); time.sleep(0.03)
            """
        );
        using var shell = new Shell(false);
        var run = (LaunchedRun)
            shell
                .Ok(
                    "Start-WandbLaunch $folder -EntryPoint 'python main.py' -Resource local-process -NoInstall",
                    ("folder", folder)
                )[0]
                .BaseObject;
        Assert.Equal("ää€€🙂🙂", string.Concat(File.ReadAllText(run.LogPath!).EnumerateRunes().Order()));
        var shown = string.Concat(shell.Information.Select(i => i.MessageData?.ToString()));
        Assert.DoesNotContain('\uFFFD', shown);
        Assert.Equal(2, shown.EnumerateRunes().Count(r => r.ToString() == "🙂"));
    }

    [Fact]
    public async Task Follow_reads_a_character_whose_rest_comes_later()
    {
        var folder = Program(
            """
            import sys, time
            for b in 'ä€🙂\n'.encode() * 3:
                sys.stdout.buffer.write(bytes([b])); sys.stdout.buffer.flush(); time.sleep(0.03)
            """
        );
        using var shell = new Shell(false);
        var run = (LaunchedRun)
            shell
                .Ok(
                    "Start-WandbLaunch $folder -EntryPoint 'python main.py' -Resource local-process -NoInstall -NoWait",
                    ("folder", folder)
                )[0]
                .BaseObject;
        Assert.Equal(
            Enumerable.Repeat("ä€🙂", 3),
            shell.Ok($"Receive-WandbLaunchLog {run.Id} -Follow").Select(l => l.ToString())
        );

        // And where the log itself is cut within one: of a supervisor that was killed, or a foreign one.
        LaunchStore.Save(
            LaunchStore.Of(new LaunchContext()).Folder(run.Id),
            LaunchStore.Of(new LaunchContext()).Get(run.Id) with
            {
                State = LaunchState.Running,
                Handle = new RunHandle(RunHandle.Process, $"{Environment.ProcessId}"),
            }
        );
        using var held = Foundation.FileLock.TryEnter(
            LaunchStore.LockPath(LaunchStore.Of(new LaunchContext()).Folder(run.Id))
        );
        var writing = Task.Run(async () =>
        {
            foreach (var b in "€🙂\n"u8.ToArray())
            {
                using (var log = new FileStream(run.LogPath!, FileMode.Append, FileAccess.Write, FileShare.ReadWrite))
                {
                    log.WriteByte(b);
                }

                await Task.Delay(150);
            }

            LaunchStore.Save(
                LaunchStore.Of(new LaunchContext()).Folder(run.Id),
                LaunchStore.Load(LaunchStore.Of(new LaunchContext()).Folder(run.Id))! with
                {
                    State = LaunchState.Finished,
                }
            );
        });
        Assert.Equal("€🙂", shell.Ok($"Receive-WandbLaunchLog {run.Id} -Follow").Last().ToString());
        await writing;
    }

    [Fact]
    public void What_is_no_Python_runs_on_a_machine_without_Python()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "a shell script");
        var folder = Fixture.NewFolder("noPython");
        File.WriteAllText(Path.Combine(folder, "requirements.txt"), "");
        File.WriteAllText(Path.Combine(folder, "run.sh"), "echo script \"$1\"\n");
        File.Copy("/bin/echo", Path.Combine(folder, "binary"));
        File.WriteAllText(Path.Combine(folder, "main.py"), "");
        var bin = Fixture.NewFolder("bin");
        foreach (var name in new[] { "bash", "echo", "sh" })
        {
            File.CreateSymbolicLink(Path.Combine(bin, name), "/bin/" + name);
        }

        using var shell = new Shell(false);
        var path = Environment.GetEnvironmentVariable("PATH");
        Environment.SetEnvironmentVariable("PATH", bin);
        try
        {
            foreach (
                var (entry, install, said) in new[]
                {
                    ("run.sh", "", "script x"),
                    ("run.sh", "-NoInstall", "script x"),
                    ("./binary", "", "x"),
                    ("echo said", "-NoInstall", "said x"),
                    ("/bin/echo full", "", "full x"),
                }
            )
            {
                var run = (LaunchedRun)
                    shell
                        .Ok(
                            $"Start-WandbLaunch $folder -EntryPoint '{entry}' -Resource local-process -Quiet -Argument x {install}",
                            ("folder", folder)
                        )[0]
                        .BaseObject;
                Assert.Equal(said + "\n", File.ReadAllText(run.LogPath!));
                shell.Ok(
                    $"Start-WandbLaunch $folder -EntryPoint '{entry}' -Resource local-process {install} -WhatIf",
                    ("folder", folder)
                );
            }

            shell.Fails(
                "Start-WandbLaunch $folder -EntryPoint 'python main.py' -Resource local-process -Quiet -NoInstall",
                "PythonNotFound",
                ("folder", folder)
            );
        }
        finally
        {
            Environment.SetEnvironmentVariable("PATH", path);
        }
    }
}
