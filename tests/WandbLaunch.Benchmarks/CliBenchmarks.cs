using System.Diagnostics;
using System.Globalization;

namespace WandbLaunch.Benchmarks;

/// <summary>
/// Against W&amp;B's own Python CLI, both on the local server: what it takes to queue runs, and what an agent that waits
/// holds. <c>WANDBLAUNCH_TEST_CLI</c> names a checkout of it (v0.12.21, the last whose launch needs no server of W&amp;B's
/// own), <c>WANDBLAUNCH_TEST_CLI_PYTHON</c> a Python that has what it imports.
/// </summary>
internal static class CliBenchmarks
{
    private const string Uri = "https://github.com/me/train";
    private const int Rounds = 5;
    private const int Many = 100;
    private static readonly TimeSpan Settle = TimeSpan.FromSeconds(30);

    internal static void Run(string root)
    {
        if (Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_CLI") is not { Length: > 0 } checkout)
        {
            Console.WriteLine("cli: skipped, for WANDBLAUNCH_TEST_CLI names no checkout of the Python CLI");
            return;
        }

        var database = AgentBenchmarks.NewDatabase("cli");
        using var runspace = Program.Open(true);
        Program.Invoke(
            runspace,
            $"$null = Connect-Wandb -Local -Path '{database.Path}'; $null = New-WandbRunQueue cli -QueueProject cli; $null = New-WandbRunQueue cli"
        );
        ProcessStartInfo Cli(params string[] words)
        {
            var start = Quiet(
                Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_CLI_PYTHON") ?? "python3",
                ["-m", "wandb", .. words]
            );
            start.Environment["PYTHONPATH"] = checkout;
            start.Environment["WANDB_BASE_URL"] = database.Url;
            start.Environment["WANDB_API_KEY"] = database.Key;
            start.Environment["WANDB_ERROR_REPORTING"] = "false";

            // As it is for a user: compiled once.
            start.Environment.Remove("PYTHONDONTWRITEBYTECODE");
            start.Environment["PYTHONPYCACHEPREFIX"] = Path.Combine(Program.WorkFolder, "pyc");
            return start;
        }

        ProcessStartInfo Shell() =>
            Quiet(
                "dotnet",
                [
                    "tool",
                    "run",
                    "pwsh",
                    "-NoProfile",
                    "-NonInteractive",
                    "-Command",
                    $"Import-Module '{Program.ModuleFolder}'; $null = Connect-Wandb -Local -Path '{database.Path}'; $null = Add-WandbLaunchQueueItem {Uri} -Queue cli",
                ],
                root
            );

        string[] push = ["launch", Uri, "-q", "cli", "-p", "cli", "-e", "local"];
        var (cli, shell, prompt, many) = (
            new List<double>(),
            new List<double>(),
            new List<double>(),
            new List<double>()
        );
        for (var i = 0; i <= Rounds; i++)
        {
            double[] times =
            [
                Time(Cli(push)),
                Time(Shell()),
                Program.Invoke(runspace, $"$null = Add-WandbLaunchQueueItem {Uri} -Queue cli"),
                Program.Invoke(
                    runspace,
                    $"$null = 1..{Many} | ForEach-Object {{ @{{ uri = '{Uri}'; overrides = @{{ args = @('--n', $_) }} }} }} | Add-WandbLaunchQueueItem -Queue cli"
                ),
            ];
            if (i > 0)
            {
                cli.Add(times[0]);
                shell.Add(times[1]);
                prompt.Add(times[2]);
                many.Add(times[3]);
            }
        }

        var one = Program.Median(cli);
        Say($"a run into a queue: the CLI {one:0} ms");
        Say($"  from a new pwsh {Program.Median(shell):0} ms: 1/{one / Program.Median(shell):0.0}");
        Say($"  at a prompt {Program.Median(prompt):0} ms: 1/{one / Program.Median(prompt):0}");
        Say(
            $"  {Many} of them from a pipeline {Program.Median(many):0} ms: each 1/{one / (Program.Median(many) / Many):0}"
        );
        Program.Invoke(
            runspace,
            "Get-WandbLaunchQueueItem cli -QueueProject cli | Remove-WandbLaunchQueueItem -Confirm:$false; Get-WandbLaunchQueueItem cli | Remove-WandbLaunchQueueItem -Confirm:$false"
        );

        // Both with nothing to do.
        using var theirs = Process.Start(Cli("launch-agent", "-p", "cli", "-q", "cli", "-e", "local"))!;
        _ = theirs.StandardOutput.ReadToEndAsync();
        _ = theirs.StandardError.ReadToEndAsync();
        using var ours = AgentBenchmarks.Agent(database, "waits", "\"max_jobs\": 1");
        Thread.Sleep(Settle);
        var before = (Used(theirs), Used(ours));
        Thread.Sleep(Settle);
        var (theirTime, ourTime) = (Used(theirs) - before.Item1, Used(ours) - before.Item2);
        Say(
            $"an agent that waits: the CLI's {Memory(theirs):0} MB and {theirTime / Settle * 100:0.00} % of a core, ours {Memory(ours):0} MB and {ourTime / Settle * 100:0.00} %: {Memory(ours) / Memory(theirs):0.00} × and {ourTime / theirTime:0.00} ×"
        );
        theirs.Kill(true);
        AgentBenchmarks.End(ours);
        AgentBenchmarks.Stop(database.Path);
    }

    private static void Say(FormattableString text) => Console.WriteLine(text.ToString(CultureInfo.InvariantCulture));

    private static ProcessStartInfo Quiet(string program, string[] words, string? folder = null) =>
        new(program, words)
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = folder ?? Program.WorkFolder,
        };

    private static double Time(ProcessStartInfo start)
    {
        var clock = Stopwatch.StartNew();
        using var process = Process.Start(start)!;
        var error = process.StandardError.ReadToEndAsync();
        process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0
            ? clock.Elapsed.TotalMilliseconds
            : throw new InvalidOperationException($"{start.FileName}: {error.Result}");
    }

    private static TimeSpan Used(Process process)
    {
        process.Refresh();
        return process.HasExited
            ? throw new InvalidOperationException("An agent that should wait has ended.")
            : process.TotalProcessorTime;
    }

    private static double Memory(Process process)
    {
        process.Refresh();
        return process.WorkingSet64 / 1048576.0;
    }
}
