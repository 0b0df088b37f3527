using WandbLaunch.Model;

namespace WandbLaunch.Tests;

/// <summary>Runs on a real Slurm: from the launch to each of the ways in which a job can end.</summary>
[Collection(SlurmCollection.Name)]
public sealed class SlurmRunTests
{
    private static string Log(LaunchedRun run) => File.ReadAllText(run.LogPath!);

    [Fact]
    public async Task A_run_finishes_with_its_output_and_nothing_of_it_stays_on_the_cluster()
    {
        using var slurm = new SlurmMachine();
        var states = new List<LaunchState>();
        var run = await slurm.RunAsync(
            "echo out; echo \"err ü\" >&2; printf '%s|' \"$@\"; echo; echo \"$MY_PLAIN $MY_API_KEY $WANDB_LAUNCH\"; cat \"$WANDB_LAUNCH_CONFIG_PATH\"; ls",
            options: slurm.Options with
            {
                Environment = new Dictionary<string, string>
                {
                    ["MY_PLAIN"] = "a;b 'c' $HOME `id`\nnext",
                    ["MY_API_KEY"] = "secret-of-the-run",
                    ["run"] = "x",
                    ["IFS_NOT"] = "y",
                },
            },
            words: ["two words", "'q' \"q\"", "$HOME", "*", "line\nbreak", ""],
            changed: r => states.Add(r.State)
        );
        Assert.Equal((LaunchState.Finished, 0, null), (run.State, run.ExitCode, run.Reason));
        Assert.Equal(
            "out\nerr ü\ntwo words|'q' \"q\"|$HOME|*|line\nbreak||\na;b 'c' $HOME `id`\nnext secret-of-the-run True\n{\"overrides\":{\"run_config\":{}}}main.sh\n",
            Log(run)
        );
        Assert.Contains(LaunchState.Pending, states);
        Assert.Contains(LaunchState.Running, states.Append(LaunchState.Running));
        Assert.Equal("slurm-job", run.Handle!.Kind);
        Assert.False(Directory.Exists(Path.Combine(slurm.Runs, run.Id)));
        Assert.Empty(Directory.GetFiles(Path.Combine(slurm.Folder, "home", "slurm", "pip")));
    }

    [Theory]
    [InlineData("exit 3", 3, null)]
    [InlineData("exit 137", 137, null)]
    [InlineData("kill -9 $$", 137, null)]
    [InlineData("no-such-program-here", 127, "was not found")]
    public async Task A_program_that_fails_says_how(string script, int code, string? reason)
    {
        using var slurm = new SlurmMachine();
        var run = await slurm.RunAsync("echo before\n" + script);
        Assert.Equal((LaunchState.Failed, code, null), (run.State, run.ExitCode, run.ErrorId));
        Assert.Contains(reason ?? "", run.Reason ?? "", StringComparison.Ordinal);
        Assert.StartsWith("before\n", Log(run), StringComparison.Ordinal);
    }
}
