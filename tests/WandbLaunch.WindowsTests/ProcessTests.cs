using System.Diagnostics;
using System.Globalization;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Tests;

namespace WandbLaunch.WindowsTests;

/// <summary>Processes of runs: what a run started ends with it, and how it is asked to end.</summary>
public sealed class ProcessTests
{
    private static int[] ProcessesOf(LaunchedRun run) =>
        [
            .. Windows
                .LinesOf(run)
                .Where(l => l.StartsWith("process ", StringComparison.Ordinal))
                .Select(l => int.Parse(l["process ".Length..], CultureInfo.InvariantCulture)),
        ];

    private static LaunchedRun Start(params string[] words) => Windows.Launch(words, "-NoWait");

    private static LaunchedRun Stop(LaunchedRun run, string more = "") =>
        (LaunchedRun)
            Windows.Shell.Ok($"Stop-WandbLaunch {run.Id} -Confirm:$false -PassThru {more}").Single().BaseObject;

    [Fact]
    public async Task A_tree_of_processes_ends_with_its_run()
    {
        var run = Start("tree", "3");
        await Windows.WaitAsync(() => ProcessesOf(run).Length == 4, "four processes");
        var processes = ProcessesOf(run);
        Assert.All(processes, p => Assert.True(Windows.IsAlive(p)));
        Assert.Equal(LaunchState.Stopped, Stop(run).State);
        await Windows.WaitAsync(() => !processes.Any(Windows.IsAlive), "the end of all");
    }

    [Fact]
    public async Task A_program_that_is_stopped_has_time_to_save()
    {
        Assert.SkipWhen(Fixture.InWine, "Wine 8 answers NOT_IMPLEMENTED to CTRL_BREAK for a console without a window.");
        var file = Path.Combine(Fixture.NewFolder("grace"), "saved");
        var run = Start("grace", file);
        await Windows.WaitAsync(() => Windows.LogOf(run).Contains("listening", StringComparison.Ordinal), "listening");
        var stopped = Stop(run);
        Assert.Equal((LaunchState.Stopped, 7), (stopped.State, stopped.ExitCode));
        Assert.Equal("saved", await File.ReadAllTextAsync(file));
        Assert.Contains("saved\n", Windows.LogOf(run), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_program_that_does_not_listen_is_ended_after_the_grace_with_its_children()
    {
        var run = Windows.Launch(["deaf"], "-NoWait -StopGracePeriod 1");
        await Windows.WaitAsync(
            () =>
                Windows.LogOf(run).Contains("listening", StringComparison.Ordinal)
                && Windows.LogOf(run).Contains("sleeping ", StringComparison.Ordinal),
            "both"
        );
        var child = int.Parse(
            Windows.LinesOf(run).Single(l => l.StartsWith("sleeping ", StringComparison.Ordinal))[9..],
            CultureInfo.InvariantCulture
        );
        var clock = Stopwatch.StartNew();
        Assert.Equal(LaunchState.Stopped, Stop(run).State);

        // What cannot be asked is ended at once, and Wine 8 has no way to ask.
        Assert.True(Fixture.InWine || clock.Elapsed > TimeSpan.FromSeconds(0.9), "The grace was given.");
        await Windows.WaitAsync(() => !Windows.IsAlive(child), "the end of the child");
    }

    [Theory]
    [InlineData("", false)]
    [InlineData("-KeepChildren", true)]
    public async Task What_a_program_leaves_behind_ends_with_it_unless_it_may_stay(string more, bool stays)
    {
        var file = Path.Combine(Fixture.NewFolder("leave"), "id");
        var run = Windows.Launch(["leave", file], more);
        Assert.Equal((LaunchState.Finished, 0), (run.State, run.ExitCode));
        var child = int.Parse(await File.ReadAllTextAsync(file), CultureInfo.InvariantCulture);
        if (stays)
        {
            Assert.True(Windows.IsAlive(child));
            using var process = Process.GetProcessById(child);
            process.Kill();
        }

        await Windows.WaitAsync(() => !Windows.IsAlive(child), "the end of the child");
    }

    [Fact]
    public async Task A_child_of_the_first_moment_is_in_the_job()
    {
        using var job = WindowsJob.TryCreate(keep: false)!;
        using var process = ChildProcess.Start(new ProcessStartInfo(Windows.Probe, ["tree", "1"]), job);
        await Windows.WaitAsync(() => job.Count == 2, "both in the job");
        job.End(137);
        await process.WaitForExitAsync(default);
        Assert.Equal(137, process.ExitCode);
        await Windows.WaitAsync(() => job.Count == 0, "none in it");
    }

    [Fact]
    public async Task A_process_that_outlives_its_shell_does_not_hold_the_pipe_of_the_shells_output()
    {
        // As the pipe of "$x = pwsh -Command ..." in another shell: here, one end that can be inherited and is not closed.
        using var pipe = new System.IO.Pipes.AnonymousPipeServerStream(
            System.IO.Pipes.PipeDirection.In,
            HandleInheritability.Inheritable
        );
        using var process = ChildProcess.Start(new ProcessStartInfo(Windows.Probe, ["sleep", "30"]));
        pipe.DisposeLocalCopyOfClientHandle();
        var read = pipe.ReadAsync(new byte[1]).AsTask();
        Assert.Equal(0, await read.WaitAsync(TimeSpan.FromSeconds(10)));
        Assert.False(process.Process.HasExited);
        process.Process.Kill();
    }

    [Fact]
    public async Task Input_output_and_errors_have_pipes_of_their_own()
    {
        using var process = ChildProcess.Start(new ProcessStartInfo(Windows.Probe, ["nonsense"]));
        process.StandardInput.Close();
        Assert.Equal("", await process.StandardOutput.ReadToEndAsync());
        Assert.Equal("probe: unknown words", (await process.StandardError.ReadToEndAsync()).Trim());
        await process.WaitForExitAsync(default);
        Assert.Equal(2, process.ExitCode);
    }
}
