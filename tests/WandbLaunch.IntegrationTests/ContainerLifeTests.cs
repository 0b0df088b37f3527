using System.Diagnostics;
using System.Globalization;

namespace WandbLaunch.IntegrationTests;

/// <summary>Containers that nobody stands beside: their engine remembers them, and whoever looks next finds what happened.</summary>
public sealed class ContainerLifeTests
{
    private const string Counter = """
        import sys, time
        for i in range(30):
            print('line', i, 'ä€🙂', flush=True)
            if i % 3 == 0: print('error', i, file=sys.stderr, flush=True)
            time.sleep(0.2)
        sys.exit(5)
        """;

    private static string Start(string program, string more = "")
    {
        var uri = new Uri(Machine.NewRepository("life", program)).AbsoluteUri;
        return Machine.Shell($"(Start-WandbLaunch '{uri}' -BaseImage {Machine.BaseImage} -NoWait {more}).Id").Trim();
    }

    private static string Container(string id) =>
        Machine
            .Exec(
                "docker",
                ["ps", "-a", "--filter", $"label=ai.wandb.launch.run={id}", "--format", "{{.ID}} {{.State}}"]
            )
            .Output.Trim();

    private static void UntilExited(string id)
    {
        var clock = Stopwatch.StartNew();
        while (!Container(id).EndsWith("exited", StringComparison.Ordinal))
        {
            Assert.True(clock.Elapsed < TimeSpan.FromSeconds(60), Container(id));
            Thread.Sleep(100);
        }
    }

    private static string[] Lines(string text) =>
        text.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);

    private static IEnumerable<string> Printed(int from = 0) =>
        Enumerable.Range(from, 30 - from).Select(i => $"line {i} ä€🙂");

    private static List<string> Hosts()
    {
        var hosts = new List<string>();
        foreach (var folder in Directory.EnumerateDirectories("/proc").Where(f => int.TryParse(f[6..], out _)))
        {
            try
            {
                var words = File.ReadAllText(folder + "/cmdline");
                if (
                    words.Contains("WandbLaunch.Host.dll\0run", StringComparison.Ordinal)
                    && words.Contains(Machine.Root, StringComparison.Ordinal)
                )
                {
                    hosts.Add(words);
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Ended meanwhile.
            }
        }

        return hosts;
    }

    [Fact]
    public void Its_end_is_found_by_the_next_who_looks()
    {
        Machine.NeedDocker();
        var id = Start(Counter, "-Environment @{ MY_TOKEN = 'secret-of-its-life' }");
        if (OperatingSystem.IsLinux())
        {
            Assert.Empty(Hosts());
        }

        UntilExited(id);
        var output = Machine.Shell(
            $"$run = Get-WandbLaunch {id}; \"$($run.State) $($run.ExitCode) $($run.ContainerId.Length)\"; $run | Receive-WandbLaunchLog"
        );
        var lines = Lines(output);
        Assert.Equal("Failed 5 64", lines[0]);
        Assert.Equal(Printed(), lines.Where(l => l.StartsWith("line", StringComparison.Ordinal)));
        Assert.Equal(10, lines.Count(l => l.StartsWith("error", StringComparison.Ordinal)));
        Assert.Equal("", Container(id));
        Assert.DoesNotContain(
            Directory.EnumerateFiles(Path.Combine(Machine.Root, "home"), "*", SearchOption.AllDirectories),
            f => File.ReadAllText(f).Contains("secret-of-its-life", StringComparison.Ordinal)
        );
    }

    [Fact]
    public void Its_log_is_copied_in_pieces_by_whoever_reads_and_each_line_once()
    {
        Machine.NeedDocker();
        var id = Start(Counter);
        for (var i = 0; i < 3; i++)
        {
            var lines = Lines(Machine.Shell($"Receive-WandbLaunchLog {id}"))
                .Where(l => l.StartsWith("line", StringComparison.Ordinal))
                .ToList();
            Assert.Equal(Printed().Take(lines.Count), lines);
        }

        // Somebody who follows, and is killed.
        using (
            var follower = Machine.Start(
                "dotnet",
                Machine.Pwsh("-NonInteractive", "-File", Machine.Script($"Receive-WandbLaunchLog {id} -Follow"))
            )!
        )
        {
            Assert.StartsWith("line 0", FirstLine(follower), StringComparison.Ordinal);
            Thread.Sleep(500);
            follower.Kill();
            follower.WaitForExit();
        }

        var all = Lines(
            Machine.Shell(
                $"$run = Wait-WandbLaunch {id} -ErrorAction SilentlyContinue; $run.ExitCode; Receive-WandbLaunchLog {id}"
            )
        );
        Assert.Equal("5", all[0]);
        Assert.Equal(Printed(), all.Where(l => l.StartsWith("line", StringComparison.Ordinal)));
        Assert.Equal(10, all.Count(l => l.StartsWith("error", StringComparison.Ordinal)));
        Assert.Equal("", Container(id));
    }

    [Fact]
    public void It_is_followed_to_its_end_and_its_size_is_kept()
    {
        Machine.NeedDocker();
        var id = Start(
            "import sys, time\ntime.sleep(3)\nfor i in range(20000): print('line', i)\nsys.exit(3)\n",
            "-MaxLogSize 64KB"
        );
        var output = Lines(
            Machine.Shell(
                $"Receive-WandbLaunchLog {id} -Follow; $run = Get-WandbLaunch {id}; \"$($run.State) $($run.ExitCode) $($run.LogTruncated) $($run.Warnings)\""
            )
        );
        Assert.Equal("line 0", output[0]);
        Assert.Contains("line 19999", output);
        Assert.StartsWith("Failed 3 True The output is longer than -MaxLogSize", output[^1], StringComparison.Ordinal);
        Assert.Equal("", Container(id));
    }

    [Fact]
    public void One_that_somebody_took_away_or_stopped_is_said_so()
    {
        Machine.NeedDocker();
        const string Sleeper = "import time\nprint('up', flush=True)\ntime.sleep(600)\n";
        var (removed, stopped) = (Start(Sleeper), Start(Sleeper, "-StopGracePeriod 1"));
        Machine.Exec("docker", ["rm", "-f", Container(removed).Split(' ')[0]]);
        var clock = Stopwatch.StartNew();
        var output = Lines(
            Machine.Shell(
                $"$run = Get-WandbLaunch {removed}; \"$($run.State) $($run.Reason)\"; $run = Stop-WandbLaunch {stopped} -PassThru; \"$($run.State) $($run.ExitCode)\"; Receive-WandbLaunchLog {stopped}"
            )
        );
        Assert.Equal("Failed the container was removed by someone else, so its exit code is not known", output[0]);
        Assert.Matches(@"^Stopped (143|137)$", output[1]);
        Assert.Equal("up", output[2]);
        Assert.True(clock.Elapsed < TimeSpan.FromSeconds(30), $"took {clock.Elapsed}");
        Assert.Equal(("", ""), (Container(removed), Container(stopped)));
    }

    // Output and errors are two streams; an engine gives the one or the other first.
    private static string? FirstLine(System.Diagnostics.Process process)
    {
        string? line;
        do
        {
            line = process.StandardOutput.ReadLine();
        } while (line?.StartsWith("error", StringComparison.Ordinal) == true);
        return line;
    }

    [Fact]
    public void A_shell_that_is_killed_leaves_its_container_and_the_next_finds_it()
    {
        Machine.NeedDocker();
        var uri = new Uri(Machine.NewRepository("killed", Counter)).AbsoluteUri;
        using (
            var shell = Machine.Start(
                "dotnet",
                Machine.Pwsh(
                    "-File",
                    Machine.Script($"Start-WandbLaunch '{uri}' -BaseImage {Machine.BaseImage} -RunId shellkilled")
                )
            )!
        )
        {
            Assert.StartsWith("line 0", FirstLine(shell), StringComparison.Ordinal);
            shell.Kill();
            shell.WaitForExit();
        }

        var output = Lines(
            Machine.Shell(
                "(Get-WandbLaunch shellkilled).State; $run = Wait-WandbLaunch shellkilled -ErrorAction SilentlyContinue; $run.ExitCode; Receive-WandbLaunchLog shellkilled"
            )
        );
        Assert.Equal(["Running", "5"], output[..2]);
        Assert.Equal(Printed(), output.Where(l => l.StartsWith("line", StringComparison.Ordinal)));
        Assert.Equal("", Container("shellkilled"));
    }

    [Fact]
    public void Many_are_asked_for_in_one_call()
    {
        Machine.NeedDocker();
        var uri = new Uri(
            Machine.NewRepository("many", "import sys, time\ntime.sleep(2)\nsys.exit(int(sys.argv[1]))\n")
        ).AbsoluteUri;
        var ids = Lines(
            Machine.Shell(
                $"1..4 | ForEach-Object {{ (Start-WandbLaunch '{uri}' -BaseImage {Machine.BaseImage} -NoWait -Argument $_ -RunId many$_).Id }}"
            )
        );
        foreach (var id in ids)
        {
            UntilExited(id);
        }

        Assert.Equal(
            ids.Select((id, i) => $"{id} Failed {(i + 1).ToString(CultureInfo.InvariantCulture)}"),
            Lines(
                Machine.Shell(
                    "Get-WandbLaunch many* | Sort-Object Id | ForEach-Object { \"$($_.Id) $($_.State) $($_.ExitCode)\" }"
                )
            )
        );
        Assert.All(ids, id => Assert.Equal("", Container(id)));
    }
}
