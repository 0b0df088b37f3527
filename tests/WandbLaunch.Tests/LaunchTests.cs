using System.Diagnostics;
using System.Management.Automation;
using System.Text.Json;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;

namespace WandbLaunch.Tests;

[Collection(SessionCollection.Name)]
public sealed class LaunchTests
{
    private static LaunchedRun Run(PSObject o) => (LaunchedRun)o.BaseObject;

    private static JsonElement Log(LaunchedRun run) =>
        JsonDocument.Parse(File.ReadLines(run.LogPath!).First()).RootElement;

    [Fact]
    public void The_real_sdks_run_happens_again_with_one_argument_changed()
    {
        using var shell = new Shell();
        var runs = shell
            .Ok(
                """
                $run = Get-WandbRun -Project demo
                $how = @{ GitRepo = './repo'; Resource = 'local-process'; NoInstall = $true; Quiet = $true; Environment = @{ PYTHONPATH = "$PWD/stub" } }
                $run | Start-WandbLaunch @how
                $run | Start-WandbLaunch @how -Argument @{ lr = 0.5 }
                $run | Start-WandbLaunch @how -RunConfig @{ lr = 0.2; epochs = 1 }
                """
            )
            .Select(Run)
            .ToList();
        Assert.Equal(
            ["final loss 1.458", "final loss 0.25", "final loss 1.6"],
            runs.Select(r => File.ReadLines(r.LogPath!).Last())
        );
        Assert.All(
            runs,
            r =>
                Assert.Equal(
                    (LaunchState.Finished, 0, Fixture.Commit, true, "demo", "local"),
                    (r.State, r.ExitCode, r.Commit, r.Patched, r.Project, r.Entity)
                )
        );
        Assert.Equal($"{Fixture.Server.Url}/local/demo/runs/{runs[0].Id}", runs[0].Uri);
    }

    [Fact]
    public void Words_and_variables_arrive_as_they_were_given()
    {
        using var shell = new Shell();
        string[] words =
        [
            "two words",
            "\"q\" 'q'",
            "$HOME `id` $(id)",
            "line\nbreak",
            "🙂",
            "",
            "*",
            new string('x', 100_000),
        ];
        var run = Run(
            Assert.Single(
                shell.Ok(
                    "Start-WandbLaunch ./train -Resource local-process -Quiet -Argument $words -Environment @{ MY_PLAIN = 'a;b'; MY_API_KEY = 'secret-of-mine' } -Name 'my run' -RunConfig @{ a = 1 } -Project P",
                    ("words", words)
                )
            )
        );
        var log = Log(run);
        Assert.Equal(words, log.GetProperty("args").EnumerateArray().Select(a => a.GetString()));
        string? Variable(string name) => log.GetProperty("env").TryGetProperty(name, out var v) ? v.GetString() : null;
        Assert.Equal(
            (
                "a;b",
                "secret-of-mine",
                "True",
                run.Id,
                "my run",
                "{\"a\":1}",
                "{}",
                Fixture.Key,
                Fixture.Server.Url,
                "p",
                "local"
            ),
            (
                Variable("MY_PLAIN"),
                Variable("MY_API_KEY"),
                Variable("WANDB_LAUNCH"),
                Variable("WANDB_RUN_ID"),
                Variable("WANDB_NAME"),
                Variable("WANDB_CONFIG"),
                Variable("WANDB_ARTIFACTS"),
                Variable("WANDB_API_KEY"),
                Variable("WANDB_BASE_URL"),
                Variable("WANDB_PROJECT"),
                Variable("WANDB_ENTITY")
            )
        );
        Assert.Equal(
            "{\"overrides\":{\"run_config\":{\"a\":1}}}",
            File.ReadAllText(Variable("WANDB_LAUNCH_CONFIG_PATH")!)
        );

        // Nothing of the secrets is on disk beside the program's own output, and reading that masks them.
        var folder = Path.GetDirectoryName(run.LogPath!)!;
        Assert.All(
            Directory.EnumerateFiles(folder, "*.json"),
            f =>
                Assert.False(
                    File.ReadAllText(f).Contains("secret-of-mine", StringComparison.Ordinal)
                        || File.ReadAllText(f).Contains(Fixture.Key, StringComparison.Ordinal),
                    f
                )
        );
        Assert.DoesNotContain(
            "secret-of-mine",
            shell.Ok("$run | Receive-WandbLaunchLog", ("run", run))[0].ToString(),
            StringComparison.Ordinal
        );
        Assert.True(OperatingSystem.IsWindows() || (File.GetUnixFileMode(folder) & (UnixFileMode)0x3F) == 0);
    }

    [Fact]
    public void A_long_config_goes_in_pieces()
    {
        using var shell = new Shell();
        var run = Run(
            Assert.Single(
                shell.Ok(
                    "Start-WandbLaunch ./train -Resource local-process -Quiet -RunConfig @{ text = $text }",
                    ("text", new string('y', 70_000))
                )
            )
        );
        var environment = Log(run).GetProperty("env");
        Assert.False(environment.TryGetProperty("WANDB_CONFIG", out _));
        Assert.Equal(
            70_011,
            Enumerable.Range(0, 3).Sum(i => environment.GetProperty($"WANDB_CONFIG_{i}").GetString()!.Length)
        );
    }

    [Fact]
    public void A_failing_run_is_an_error_with_its_last_words_and_the_others_go_on()
    {
        using var shell = new Shell();
        var output = shell.Run(
            "'./train' , './nope', './train' | ForEach-Object { New-WandbLaunchConfig $_ -EntryPoint 'python fail.py' } | Start-WandbLaunch -Resource local-process -Quiet"
        );
        Assert.Equal(2, output.Count);
        Assert.Equal(
            ["RunFailed", "SourceNotFound", "RunFailed"],
            shell.Errors.Select(e => e.FullyQualifiedErrorId.Split(',')[0])
        );
        Assert.Contains("the last words", shell.Errors[0].ToString(), StringComparison.Ordinal);
        Assert.Equal((3, LaunchState.Failed), (Run(output[0]).ExitCode, Run(output[0]).State));
        Assert.Same(output[0].BaseObject, shell.Errors[0].TargetObject);
    }

    [Fact]
    public void WhatIf_shows_the_plan_with_secrets_masked_and_does_nothing()
    {
        using var shell = new Shell();
        var before = shell.Ok("Get-WandbLaunch").Count;
        var plan = (LaunchPlan)
            Assert
                .Single(
                    shell.Ok(
                        "Get-WandbRun -Project demo | Start-WandbLaunch -GitRepo ./repo -Resource local-process -Argument 'lr=9' -Environment @{ X_TOKEN = 'abcdefgh' } -WhatIf"
                    )
                )
                .BaseObject;
        Assert.Equal(
            (Fixture.Commit, true, "train.py", "local-process", "demo"),
            (plan.Commit, plan.Patched, plan.Program, plan.Resource, plan.Project)
        );
        Assert.EndsWith("train.py --lr 9 --epochs 3 --name 'two words'", plan.Command, StringComparison.Ordinal);
        Assert.Equal(("***", "***"), (plan.Environment["WANDB_API_KEY"], plan.Environment["X_TOKEN"]));
        Assert.Equal(before, shell.Ok("Get-WandbLaunch").Count);
    }

    [Fact]
    public void A_run_without_waiting_is_seen_followed_and_stopped_from_another_shell()
    {
        using var one = new Shell();
        using var two = new Shell(false);
        var run = Run(
            Assert.Single(
                one.Ok("Start-WandbLaunch ./train -EntryPoint 'python sleep.py' -Resource local-process -NoWait")
            )
        );
        Assert.Equal(LaunchState.Running, run.State);
        Assert.Single(two.Ok($"Get-WandbLaunch -State Running | Where-Object Id -eq {run.Id}"));
        two.Fails($"Wait-WandbLaunch {run.Id} -Timeout 1", "WaitTimeout");
        two.Fails($"Remove-WandbLaunch {run.Id} -Confirm:$false", "RunNotDone");
        var stopped = Run(Assert.Single(two.Ok($"Stop-WandbLaunch {run.Id} -PassThru")));
        Assert.Equal(LaunchState.Stopped, stopped.State);
        Assert.Throws<ArgumentException>(() => Process.GetProcessById(run.ProcessId!.Value));
        Assert.Equal("sleeping", Assert.Single(one.Ok($"Receive-WandbLaunchLog {run.Id} -Follow")).ToString());
        two.Ok($"Remove-WandbLaunch {run.Id} -Confirm:$false");
        two.Fails($"Get-WandbLaunch {run.Id}", "LaunchNotFound");
    }

    [Fact]
    public void A_finished_and_a_failed_run_without_waiting_keep_their_exit_codes()
    {
        using var shell = new Shell();
        var ids = shell
            .Ok(
                "'train.py', 'fail.py' | ForEach-Object { (Start-WandbLaunch ./train -EntryPoint python, $_ -Resource local-process -NoWait).Id }"
            )
            .Select(o => o.ToString())
            .ToList();
        var runs = shell.Run($"Wait-WandbLaunch {string.Join(',', ids)} -Timeout 60").Select(Run).ToList();
        Assert.Equal(
            [(LaunchState.Finished, 0), (LaunchState.Failed, 3)],
            runs.Select(r => (r.State, r.ExitCode!.Value))
        );
        Assert.Equal("RunFailed", Assert.Single(shell.Errors).FullyQualifiedErrorId.Split(',')[0]);
    }

    [Fact]
    public async Task Ctrl_C_ends_a_foreground_run_with_all_that_it_started()
    {
        await File.WriteAllTextAsync(
            Path.Combine(Fixture.Train, "tree.py"),
            "import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True)\nprint('up', flush=True)\ntime.sleep(600)\n"
        );
        using var shell = new Shell();
        using var pipeline = shell.New(
            "Start-WandbLaunch ./train -EntryPoint 'python tree.py' -Resource local-process -RunId ctrlc001"
        );
        var call = pipeline.BeginInvoke();
        var store = LaunchStore.Of(new LaunchContext());
        for (
            var i = 0;
            i < 1200 && LaunchStore.Load(store.Folder("ctrlc001")) is not { State: LaunchState.Running };
            i++
        )
        {
            await Task.Delay(50);
        }

        for (
            var i = 0;
            i < 200 && !File.ReadAllText(store.Get("ctrlc001").LogPath!).Contains("up", StringComparison.Ordinal);
            i++
        )
        {
            await Task.Delay(50);
        }

        var clock = Stopwatch.StartNew();
        pipeline.Stop();
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(30), $"took {clock.Elapsed}");
        Assert.Equal(LaunchState.Stopped, store.Get("ctrlc001").State);
        Assert.False(ProcessTree.IsAlive(store.Get("ctrlc001").ProcessId!.Value, null, "ctrlc001"));
        _ = call;
    }

    [Fact]
    public void Several_run_at_a_time_and_each_in_a_folder_of_its_own()
    {
        using var shell = new Shell();
        var runs = shell
            .Ok(
                "1..6 | ForEach-Object { New-WandbLaunchConfig ./train -Argument \"n=$_\" } | Start-WandbLaunch -Resource local-process -ThrottleLimit 3"
            )
            .Select(Run)
            .ToList();
        Assert.Equal(6, runs.Select(r => Log(r).GetProperty("cwd").GetString()).Distinct().Count());
        Assert.Equal(["1", "2", "3", "4", "5", "6"], runs.Select(r => r.Arguments[1]).Order());
    }

    [Fact]
    public void Bad_input_fails_alone_with_its_id()
    {
        using var shell = new Shell();
        shell.Fails(
            "Start-WandbLaunch ./train -Resource local-process -Environment @{ 'A=B' = 1 }",
            "EnvironmentNameInvalid"
        );
        shell.Fails("Start-WandbLaunch ./train -Resource nowhere", "ResourceUnknown");
        shell.Fails("Start-WandbLaunch ./train -Resource sagemaker", "ResourceNotSupported");
        shell.Fails("Start-WandbLaunch -DockerImage x -Resource local-process", "ImageWithProcess");
        shell.Fails("Start-WandbLaunch ./train -DockerArgs @{ privileged = 'true' }", "DockerArgumentRefused");
        shell.Fails("Start-WandbLaunch ./train -Volume nonsense", "VolumeInvalid");
        shell.Fails("Start-WandbLaunch", "SourceMissing");
        shell.Fails("Start-WandbLaunch ./train -Resource local-process -RunId '../x'", "RunIdInvalid");
        shell.Fails("Start-WandbLaunch ./train -DockerHost unix:///no/such.sock -BaseImage x", "DockerUnavailable");
        shell.Ok("Start-WandbLaunch ./train -Resource local-process -Quiet -RunId once0001");
        shell.Fails("Start-WandbLaunch ./train -Resource local-process -Quiet -RunId once0001", "RunExists");
        shell.Fails(
            "Start-WandbLaunch ./train -EntryPoint 'no-such-program x' -Resource local-process -Quiet -NoInstall",
            "RunNotStarted"
        );
    }

    [Fact]
    public void Requirements_that_cannot_be_installed_say_what_failed()
    {
        var folder = Fixture.NewFolder("uninstallable");
        File.WriteAllText(Path.Combine(folder, "main.py"), "");
        File.WriteAllText(Path.Combine(folder, "requirements.txt"), "no-such-package-at-all==1\n");
        using var shell = new Shell();
        Assert.Contains(
            "no-such-package-at-all",
            shell
                .Fails(
                    "Start-WandbLaunch $folder -Resource local-process -PipNoIndex -Quiet",
                    "RequirementsFailed",
                    ("folder", folder)
                )
                .ToString(),
            StringComparison.Ordinal
        );
        shell.Ok("Start-WandbLaunch $folder -Resource local-process -NoInstall -Quiet");
    }

    [Fact]
    public void A_log_is_read_from_its_end_in_lines()
    {
        using var shell = new Shell();
        File.WriteAllText(
            Path.Combine(Fixture.Train, "lines.py"),
            "import sys\nsys.stdout.reconfigure(newline='')\nfor i in range(20000): print('line', i, 'ä🙂', end='\\r\\n' if i % 2 else '\\n')\nprint('last', end='')\n"
        );
        var run = Run(
            Assert.Single(
                shell.Ok("Start-WandbLaunch ./train -EntryPoint 'python lines.py' -Resource local-process -Quiet")
            )
        );
        var lines = shell.Ok($"Receive-WandbLaunchLog {run.Id}").Select(l => l.ToString()).ToList();
        Assert.Equal(20001, lines.Count);
        Assert.Equal(("line 0 ä🙂", "line 19999 ä🙂", "last"), (lines[0], lines[19999], lines[20000]));
        Assert.Equal(lines[^3..], shell.Ok($"Receive-WandbLaunchLog {run.Id} -Tail 3").Select(l => l.ToString()));
    }
}
