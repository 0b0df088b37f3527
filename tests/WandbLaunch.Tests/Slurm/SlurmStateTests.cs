using System.Diagnostics;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;

namespace WandbLaunch.Tests;

/// <summary>What happens to jobs of a real Slurm from outside: each state that it has, and faults in the middle.</summary>
[Collection(SlurmCollection.Name)]
public sealed class SlurmStateTests
{
    private const string Long = "echo begin; trap 'echo ended; exit 9' TERM; for i in $(seq 600); do sleep 0.1; done";

    private static string Log(LaunchedRun run) => File.ReadAllText(run.LogPath!);

    /// <summary>Runs a script, does something to its job once it runs, and waits for its end.</summary>
    private static async Task<(LaunchedRun Run, IReadOnlyList<LaunchedRun> Seen)> MeetAsync(
        SlurmMachine slurm,
        string script,
        JsonObject? arguments,
        Func<LaunchedRun, bool> when,
        Func<LaunchedRun, Task> act
    )
    {
        var seen = new List<LaunchedRun>();
        var run = slurm.RunAsync(
            script,
            arguments,
            changed: r =>
            {
                lock (seen)
                {
                    seen.Add(r);
                }
            }
        );
        LaunchedRun? met = null;
        await SlurmMachine.UntilAsync(
            () =>
            {
                lock (seen)
                {
                    met = seen.FirstOrDefault(when);
                }

                return met is not null || run.IsCompleted;
            },
            "the run comes so far"
        );
        Assert.NotNull(met);
        await act(met);
        var end = await run.WaitAsync(TimeSpan.FromSeconds(60));
        return (end, seen);
    }

    private static bool Prints(LaunchedRun run) =>
        run.State == LaunchState.Running && File.Exists(run.LogPath) && new FileInfo(run.LogPath!).Length > 0;

    private static Task<(LaunchedRun Run, IReadOnlyList<LaunchedRun> Seen)> MeetRunningAsync(
        SlurmMachine slurm,
        string script,
        JsonObject? arguments,
        Func<LaunchedRun, Task> act
    ) =>
        MeetAsync(
            slurm,
            script,
            arguments,
            r => r.State == LaunchState.Running,
            async r =>
            {
                await SlurmMachine.UntilAsync(() => Prints(r), "it prints");
                await act(r);
            }
        );

    private static Func<LaunchedRun, Task> Call(Func<LaunchedRun, string[]> words) =>
        r =>
        {
            Assert.Equal("", SlurmMachine.Command(words(r)));
            return Task.CompletedTask;
        };

    [Fact]
    public async Task Cancelled_while_it_runs()
    {
        using var slurm = new SlurmMachine();
        var (run, _) = await MeetRunningAsync(
            slurm,
            "echo begin; sleep 60",
            null,
            Call(r => ["scancel", r.Handle!.Id])
        );
        Assert.Equal((LaunchState.Stopped, 143), (run.State, run.ExitCode));
        Assert.Contains("cancelled", run.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Held_is_stuck_in_words_and_cancelled_while_it_waits()
    {
        using var slurm = new SlurmMachine();
        var (run, seen) = await MeetAsync(
            slurm,
            Long,
            new JsonObject { ["begin"] = "now+1hour" },
            r => r.State == LaunchState.Pending && r.Reason!.Contains("BeginTime", StringComparison.Ordinal),
            async r =>
            {
                SlurmMachine.Command("scontrol", "uhold", r.Handle!.Id);
                await Task.Delay(1500);
                SlurmMachine.Command("scancel", r.Handle.Id);
            }
        );
        var held = Assert.Single(seen, r => r.State == LaunchState.Pending && r.IsStuck);
        Assert.Equal("is held by a user: release it with 'scontrol release' (JobHeldUser)", held.Reason);
        Assert.Equal(LaunchState.Stopped, run.State);
        Assert.Null(run.Started);
    }

    [Theory]
    [InlineData("partition", "small", "nodes", "3", "(PartitionNodeLimit)")]
    [InlineData("partition", "small", "time", "60", "(PartitionTimeLimit)")]
    [InlineData("partition", "closed", "time", "1", "its partition is down (PartitionDown)")]
    public async Task What_cannot_start_says_so(string name, string value, string other, string more, string words)
    {
        using var slurm = new SlurmMachine();
        var (run, seen) = await MeetAsync(
            slurm,
            Long,
            new JsonObject { [name] = value, [other] = more },
            r => r.State == LaunchState.Pending && r.Reason!.Contains(words, StringComparison.Ordinal),
            Call(r => ["scancel", r.Handle!.Id])
        );
        Assert.Equal(LaunchState.Stopped, run.State);
        Assert.Equal(
            !words.Contains("Down", StringComparison.Ordinal),
            seen.Last(r => r.State == LaunchState.Pending).IsStuck
        );
    }

    [Fact]
    public async Task The_time_limit_ends_it()
    {
        using var slurm = new SlurmMachine();
        var (run, _) = await MeetRunningAsync(
            slurm,
            "echo begin; sleep 60",
            new JsonObject { ["time"] = 5 },
            Call(r => ["scontrol", "update", "JobId=" + r.Handle!.Id, "EndTime=now+1"])
        );
        Assert.Equal((LaunchState.Failed, 143, "SlurmTimeLimit"), (run.State, run.ExitCode, run.ErrorId));
        Assert.Contains("time limit", run.Reason, StringComparison.Ordinal);
        Assert.Contains("DUE TO TIME LIMIT", Log(run), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_job_of_higher_priority_takes_its_place()
    {
        using var slurm = new SlurmMachine();
        var other = "";
        var (run, _) = await MeetRunningAsync(
            slurm,
            "echo begin; sleep 60",
            new JsonObject { ["partition"] = "low", ["exclusive"] = true },
            _ =>
            {
                other = SlurmMachine
                    .Command(
                        "sbatch",
                        "--parsable",
                        "-p",
                        "high",
                        "--exclusive",
                        "-o",
                        "/dev/null",
                        "--wrap",
                        "sleep 60"
                    )
                    .Trim();
                return Task.CompletedTask;
            }
        );
        SlurmMachine.Command("scancel", other);
        Assert.Equal((LaunchState.Failed, "SlurmPreempted"), (run.State, run.ErrorId));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Its_node_fails(bool requeue)
    {
        using var slurm = new SlurmMachine();
        try
        {
            // Begun again it is another run of the same id: its log goes on, and its variables are still there.
            var (run, seen) = await MeetRunningAsync(
                slurm,
                "echo begin $SLURM_RESTART_COUNT $MY; [ -z \"$SLURM_RESTART_COUNT\" ] || exit 0; sleep 60",
                new JsonObject { ["requeue"] = requeue },
                async r =>
                {
                    var node = SlurmMachine.Command("squeue", "-h", "-o", "%N", "-j", r.Handle!.Id).Trim();
                    SlurmMachine.Command("scontrol", "update", "NodeName=" + node, "State=DOWN", "Reason=test");
                    if (requeue)
                    {
                        // Else it would wait two minutes.
                        await SlurmMachine.UntilAsync(
                            () =>
                                SlurmMachine.Command("squeue", "-h", "-o", "%T", "-j", r.Handle.Id).Trim() == "PENDING",
                            "it waits again"
                        );
                        await Task.Delay(1000);
                        SlurmMachine.Command("scontrol", "update", "JobId=" + r.Handle.Id, "StartTime=now");
                    }
                }
            );
            if (requeue)
            {
                Assert.Equal((LaunchState.Finished, 0, 1), (run.State, run.ExitCode, run.Restarts));
                Assert.Contains(
                    seen,
                    r =>
                        r is { State: LaunchState.Pending, Restarts: 1 }
                        && r.Reason!.Contains("requeued 1×", StringComparison.Ordinal)
                );
                Assert.StartsWith("begin\n", Log(run), StringComparison.Ordinal);
                Assert.EndsWith("begin 1\n", Log(run), StringComparison.Ordinal);
            }
            else
            {
                Assert.Equal((LaunchState.Failed, "SlurmNodeFailed"), (run.State, run.ErrorId));
                Assert.Matches(@"its node failed \(n\d\)", run.Reason);
            }
        }
        finally
        {
            foreach (var node in new[] { "n1", "n2", "n3" })
            {
                SlurmMachine.Command("scontrol", "update", "NodeName=" + node, "State=RESUME");
            }

            await SlurmMachine.UntilAsync(
                () => SlurmMachine.Command("sinfo", "-h", "-p", "debug", "-t", "idle", "-o", "%D").Trim() == "3",
                "the nodes are back"
            );
        }
    }

    [Fact]
    public async Task It_ends_by_itself_when_it_is_stopped()
    {
        using var slurm = new SlurmMachine();
        var store = slurm.Store();
        var prepared = await slurm.PrepareAsync(store, Long);
        using var supervision = new Supervision(store.Resources);
        using var stop = new CancellationTokenSource();
        var running = supervision.RunAsync(
            prepared.Folder,
            prepared.Spec,
            prepared.Secrets,
            null,
            null,
            false,
            stop.Token
        );
        var log = prepared.Run.LogPath!;
        await SlurmMachine.UntilAsync(() => File.ReadAllText(log).Length > 0, "it prints");
        await stop.CancelAsync();
        var run = await running.WaitAsync(TimeSpan.FromSeconds(30));
        Assert.Equal((LaunchState.Stopped, 9), (run.State, run.ExitCode));
        Assert.Contains("begin\n", Log(run), StringComparison.Ordinal);
        Assert.EndsWith("ended\n", Log(run), StringComparison.Ordinal);
    }

    [Fact]
    public async Task It_is_killed_when_it_does_not_end_by_itself_and_from_another_shell()
    {
        using var slurm = new SlurmMachine();
        var store = slurm.Store();
        var prepared = await slurm.PrepareAsync(
            store,
            "trap '' TERM; echo begin; while :; do sleep 0.2; done",
            options: slurm.Options with
            {
                StopGraceSeconds = 1,
            }
        );
        using (var supervision = new Supervision(store.Resources))
        {
            await supervision.LeaveAsync(prepared.Folder, prepared.Spec, prepared.Secrets, default);
        }

        // A new process knows it by its folder alone.
        var other = slurm.Store();
        await SlurmMachine.UntilAsync(() => other.Get(prepared.Run.Id).State == LaunchState.Running, "it runs");
        await Task.Delay(500);
        var run = await other.StopAsync(prepared.Run.Id, default);
        Assert.Equal(LaunchState.Stopped, run.State);
        Assert.Equal("", SlurmMachine.Command("squeue", "-h", "-j", run.Handle!.Id));
        Assert.Contains("begin\n", Log(run), StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_controller_is_away_for_a_while()
    {
        using var slurm = new SlurmMachine();
        var clock = Stopwatch.StartNew();
        var (run, seen) = await MeetRunningAsync(
            slurm,
            "echo begin; sleep 4; echo end; exit 5",
            null,
            async _ =>
            {
                await SlurmMachine.StopControllerAsync();

                // What it would say of the end it cannot say; and nobody may take that for a state.
                await Task.Delay(6000);
                SlurmMachine.StartController();
            }
        );
        Assert.Equal((LaunchState.Failed, 5, null), (run.State, run.ExitCode, run.ErrorId));
        Assert.True(clock.Elapsed > TimeSpan.FromSeconds(6));
        Assert.Equal("begin\nend\n", Log(run));
        Assert.DoesNotContain(seen, r => r.State == LaunchState.Unknown);
    }

    [Fact]
    public async Task A_start_meets_a_controller_that_is_away_and_the_next_try_makes_one_job()
    {
        using var slurm = new SlurmMachine();
        var store = slurm.Store();
        var prepared = await slurm.PrepareAsync(store, "echo once >> \"$WANDB_DIR_OF_TEST\"/ran; echo done");
        var spec = prepared.Spec with
        {
            Environment = new Dictionary<string, string>(prepared.Spec.Environment)
            {
                ["WANDB_DIR_OF_TEST"] = slurm.Folder,
            },
        };
        var resource = store.Resources.Get("slurm");
        await SlurmMachine.StopControllerAsync();
        try
        {
            var e = await Assert.ThrowsAsync<LaunchException>(() =>
                resource.StartAsync(spec, prepared.Secrets, default)
            );
            Assert.Equal("SlurmUnavailable", e.ErrorId);
        }
        finally
        {
            SlurmMachine.StartController();
        }

        var handle = await resource.StartAsync(spec, prepared.Secrets, default);

        // Whoever starts it again, in this process or after it was killed, finds that job.
        Assert.Equal(handle, await resource.StartAsync(spec, prepared.Secrets, default));
        var other = slurm.Store().Resources.Get("slurm");
        Assert.Equal(handle, await other.StartAsync(spec, prepared.Secrets, default));
        Assert.Equal(handle, await other.FindAsync(spec, default));

        // Also when what was written down after sbatch is missing: by the job's name.
        File.Delete(Path.Combine(slurm.Runs, spec.Id, "job"));
        File.Delete(Path.Combine(slurm.Runs, spec.Id, "started"));
        Assert.Equal(handle, await other.FindAsync(spec, default));
        Assert.Equal(handle, await other.StartAsync(spec, prepared.Secrets, default));
        await SlurmMachine.UntilAsync(() => File.Exists(Path.Combine(slurm.Runs, spec.Id, "exit")), "it ends");
        Assert.Equal("once\n", File.ReadAllText(Path.Combine(slurm.Folder, "ran")));
    }

    [Fact]
    public async Task Slurm_forgot_it_and_its_own_word_counts()
    {
        using var slurm = new SlurmMachine();
        var resource = slurm.Store().Resources.Get("slurm");
        LaunchedRun Run(string id) =>
            new()
            {
                Id = id,
                Source = "",
                Resource = "slurm",
                Handle = new RunHandle("slurm-job", "4000000", Path.Combine(slurm.Folder, "home", "slurm")),
            };
        Directory.CreateDirectory(Path.Combine(slurm.Runs, "told"));
        Directory.CreateDirectory(Path.Combine(slurm.Runs, "silent"));
        File.WriteAllText(Path.Combine(slurm.Runs, "told", "exit"), "code=7\nend=1\nreason=said so\n");
        LaunchedRun[] runs = [Run("told"), Run("silent"), Run("removed")];
        var look = await resource.LookAsync(runs, default);
        Assert.Equal((7, "said so"), (look["told"].End!.ExitCode, look["told"].End!.Reason));
        Assert.Equal("SlurmJobLost", look["removed"].End!.Fault);
        Assert.DoesNotContain("silent", look.Keys);

        // A file system may show what it wrote late: only after a while it is lost.
        await Task.Delay(4000);
        look = await slurm.Store().Resources.Get("slurm").LookAsync(runs, default);
        Assert.Equal("SlurmJobLost", look["silent"].End!.Fault);
    }

    [Theory]
    [InlineData("partition", "nowhere", "invalid partition")]
    [InlineData("gres", "gpu:1", "generic resource (gres)")]
    [InlineData("time", "soon", "time")]
    [InlineData("no-such-option", "1", "no-such-option")]
    public async Task What_Slurm_refuses_says_why(string name, string value, string words)
    {
        using var slurm = new SlurmMachine();
        var run = await slurm.RunAsync("true", new JsonObject { [name] = value });
        Assert.Equal((LaunchState.Failed, "SlurmRefused"), (run.State, run.ErrorId));
        Assert.Contains(words, run.Reason, StringComparison.OrdinalIgnoreCase);
        Assert.Null(run.Started);
        Assert.False(Directory.Exists(Path.Combine(slurm.Runs, run.Id)));
    }
}
