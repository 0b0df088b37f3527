using System.Diagnostics;
using System.Globalization;
using System.Text.Json;

namespace WandbLaunch.IntegrationTests;

/// <summary>Agents in shells of their own, killed in the middle; processes, and containers of the real engine.</summary>
public sealed class AgentTests
{
    private static Process StartAgent(string more)
    {
        var script = Machine.Script(
            $"$null = Connect-Wandb -Local; Start-WandbLaunchAgent -NoInstall -AllowResource local-process, local-container -AllowGitHost file -StopWhenEmpty -BaseImage '{Machine.BaseImage}' {more}; exit $LASTEXITCODE"
        );
        var process = Machine.Start("dotnet", Machine.Pwsh("-File", script))!;
        process.OutputDataReceived += (_, _) => { };
        process.ErrorDataReceived += (_, _) => { };
        process.BeginOutputReadLine();
        process.BeginErrorReadLine();
        return process;
    }

    private static void Until(Func<bool> there, string what)
    {
        var clock = Stopwatch.StartNew();
        while (!there())
        {
            Assert.True(clock.Elapsed < TimeSpan.FromSeconds(60), what);
            Thread.Sleep(100);
        }
    }

    private static string[] Lines(string path) => File.Exists(path) ? File.ReadAllLines(path) : [];

    [Fact]
    public void Two_agents_drain_two_queues_and_one_is_killed_in_the_middle()
    {
        var ran = Path.Combine(Machine.Root, "ran.txt");
        var repository = Machine.NewRepository(
            "agents",
            $"import os, sys, time\nf = os.open({JsonSerializer.Serialize(ran)}, os.O_APPEND | os.O_CREAT | os.O_WRONLY)\nos.write(f, (sys.argv[2] + '\\n').encode())\ntime.sleep(0.5)\nsys.exit(3 if sys.argv[2] == '7' else 0)\n"
        );
        var uri = new Uri(repository).AbsoluteUri;
        Machine.Shell(
            $"$null = Connect-Wandb -Local; $null = 'one', 'two' | New-WandbRunQueue; 1..20 | ForEach-Object {{ New-WandbLaunchConfig {uri} -Resource local-process -Argument \"n=$_\" }} | ForEach-Object {{ $i = 0 }} {{ $_ | Add-WandbLaunchQueueItem -Queue $(if ($i++ % 2) {{ 'one' }} else {{ 'two' }}) | Out-Null }}"
        );
        using var first = StartAgent("-Queue one,two -Name first -MaxJobs 2");
        using var second = StartAgent("-Queue two,one -Name second -MaxJobs 2");
        Until(() => Lines(ran).Length >= 6, "six runs");
        first.Kill();
        first.WaitForExit();
        Assert.True(second.WaitForExit(120_000), "the other agent ends");

        // What the killed one had popped and not acknowledged comes back after its lease, to the next agent.
        var output = "";
        for (var i = 0; i < 15; i++)
        {
            output = Machine.Shell(
                "$null = Connect-Wandb -Local; 'one', 'two' | Get-WandbLaunchQueueItem | ForEach-Object { \"$($_.Arguments -join '') $($_.State) $($_.ExitCode)\" }"
            );
            if (
                !output.Contains("Pending", StringComparison.Ordinal)
                && !output.Contains("Leased", StringComparison.Ordinal)
                && !output.Contains("Claimed", StringComparison.Ordinal)
            )
            {
                break;
            }

            Thread.Sleep(5000);
            using var next = StartAgent("-Queue one,two -Name first -MaxJobs 2");
            Assert.True(next.WaitForExit(120_000));
        }

        Assert.Equal(
            Enumerable
                .Range(1, 20)
                .Select(n => n == 7 ? $"n={n} Failed 3" : $"n={n} Finished 0")
                .Order(StringComparer.Ordinal),
            output.Trim().ReplaceLineEndings("\n").Split('\n').Select(l => l.Trim()).Order(StringComparer.Ordinal)
        );
        Assert.Equal(
            Enumerable.Range(1, 20).Select(n => n.ToString(CultureInfo.InvariantCulture)).Order(StringComparer.Ordinal),
            Lines(ran).Order(StringComparer.Ordinal)
        );
        var agents = Machine.Shell(
            "$null = Connect-Wandb -Local; Get-WandbLaunchAgent first, second | ForEach-Object { \"$($_.Name) $($_.State)\" }"
        );
        Assert.Contains("second Stopped", agents, StringComparison.Ordinal);
    }

    [Fact]
    public void A_container_goes_on_when_its_agent_and_its_watcher_are_killed_and_the_next_agent_finds_it()
    {
        Machine.NeedDocker();
        var repository = Machine.NewRepository(
            "container-agent",
            "import time, os\nprint('begin', os.environ['WANDB_LAUNCH_TRACE_ID'], flush=True)\ntime.sleep(20)\nprint('end', flush=True)\n"
        );
        Machine.Shell(
            $"$null = Connect-Wandb -Local; $null = New-WandbRunQueue boxes; $null = Add-WandbLaunchQueueItem {new Uri(repository).AbsoluteUri} -Queue boxes"
        );
        using (var agent = StartAgent("-Queue boxes -Name boxer"))
        {
            Until(() => Machine.Containers(true).Count > 0, "a container");
            agent.Kill();
            agent.WaitForExit();
        }

        foreach (
            var folder in Directory.EnumerateDirectories("/proc").Where(f => int.TryParse(Path.GetFileName(f), out _))
        )
        {
            try
            {
                var words = File.ReadAllText(folder + "/cmdline");
                if (
                    words.Contains("WandbLaunch.Host.dll", StringComparison.Ordinal)
                    && words.Contains(Machine.Root, StringComparison.Ordinal)
                )
                {
                    Process.GetProcessById(int.Parse(Path.GetFileName(folder), CultureInfo.InvariantCulture)).Kill();
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
            {
                // Ended meanwhile.
            }
        }

        Assert.NotEmpty(Machine.Containers(true));
        using (var next = StartAgent("-Queue boxes -Name boxer"))
        {
            Assert.True(next.WaitForExit(120_000), "the next agent ends");
            Assert.Equal(0, next.ExitCode);
        }

        // The log is whole, and said once.
        var output = Machine.Shell(
            "$null = Connect-Wandb -Local; $i = Get-WandbLaunchQueueItem boxes; \"$($i.State) $($i.ExitCode)\"; Get-WandbLaunch $i.RunId | Receive-WandbLaunchLog"
        );
        Assert.Matches(@"^Finished 0\r?\nbegin \d+\r?\nend\r?\n$", output);
        Machine.NoContainerIsLeft();
    }

    [Fact]
    public void What_an_item_mounts_and_asks_for_is_what_its_agent_allows()
    {
        Machine.NeedDocker();
        var data = Directory.CreateDirectory(Path.Combine(Machine.Root, "data")).FullName;
        File.WriteAllText(Path.Combine(data, "file.txt"), "from the host");
        var repository = Machine.NewRepository(
            "mount-agent",
            "import os\nprint(open('/data/file.txt').read(), os.uname().nodename)\n"
        );
        Machine.Shell(
            $"$null = Connect-Wandb -Local; $null = New-WandbRunQueue mounts; $null = Add-WandbLaunchQueueItem {new Uri(repository).AbsoluteUri} -Queue mounts -ResourceArgs @{{ 'local-container' = @{{ volume = '{data}:/data:ro'; hostname = 'box' }} }}; $null = Add-WandbLaunchQueueItem {new Uri(repository).AbsoluteUri} -Queue mounts -ResourceArgs @{{ 'local-container' = @{{ volume = '/etc:/data:ro' }} }}; $null = Add-WandbLaunchQueueItem {new Uri(repository).AbsoluteUri} -Queue mounts -ResourceArgs @{{ 'local-container' = @{{ privileged = $true }} }}"
        );
        using var agent = StartAgent(
            $"-Queue mounts -Name mounter -AllowMount '{data}:ro' -AllowDockerArgument hostname"
        );
        Assert.True(agent.WaitForExit(120_000), "the agent ends");
        Assert.Equal(2, agent.ExitCode);
        var output = Machine.Shell(
            "$null = Connect-Wandb -Local; Get-WandbLaunchQueueItem mounts | ForEach-Object { \"$($_.State) $($_.Error)\" }; Get-WandbLaunch -State Finished | Where-Object Agent -eq mounter | Receive-WandbLaunchLog"
        );
        var lines = output.Trim().ReplaceLineEndings("\n").Split('\n');
        Assert.Equal("Finished", lines[0].Trim());
        Assert.Contains("mount of '/etc' is not allowed", lines[1], StringComparison.Ordinal);
        Assert.Contains("'privileged' is not allowed", lines[2], StringComparison.Ordinal);
        Assert.Matches("^from the host ", lines[3]);
    }

    [Fact]
    public void A_service_leaves_its_runs_running_when_it_is_restarted()
    {
        var ran = Path.Combine(Machine.Root, "service-ran.txt");
        var repository = Machine.NewRepository(
            "service-agent",
            $"import os, time\nf = os.open({JsonSerializer.Serialize(ran)}, os.O_APPEND | os.O_CREAT | os.O_WRONLY)\nos.write(f, b'begin\\n')\ntime.sleep(5)\nos.write(f, b'end\\n')\n"
        );
        Machine.Shell(
            $"$null = Connect-Wandb -Local; $null = New-WandbRunQueue served; $null = Add-WandbLaunchQueueItem {new Uri(repository).AbsoluteUri} -Queue served -Resource local-process"
        );
        var config = Path.Combine(Machine.Root, "service.yaml");
        Machine.Shell(
            $"$null = Connect-Wandb -Local; [System.IO.File]::WriteAllText('{config}', (Register-WandbLaunchAgent -Name served -Queue served -NoInstall -AllowResource local-process -AllowGitHost file -StopWhenEmpty -WhatIf).ConfigContent)"
        );
        Process Service()
        {
            var process = Machine.Start(
                "dotnet",
                [Path.Combine(Machine.Module, "lib", "WandbLaunch.Host.dll"), "agent", config]
            )!;
            process.OutputDataReceived += (_, _) => { };
            process.ErrorDataReceived += (_, _) => { };
            process.BeginOutputReadLine();
            process.BeginErrorReadLine();
            return process;
        }

        using (var service = Service())
        {
            Until(() => Lines(ran).Length == 1, "the run begins");
            Assert.Equal(0, Machine.Exec("kill", ["-TERM", service.Id.ToString(CultureInfo.InvariantCulture)]).Code);
            Assert.True(service.WaitForExit(10_000), "the service ends at once");
            Assert.Equal(3, service.ExitCode);
        }

        using (var service = Service())
        {
            Assert.True(service.WaitForExit(60_000), "the service ends when its queue is empty");
            Assert.Equal(0, service.ExitCode);
        }

        Assert.Equal(["begin", "end"], Lines(ran));
        Assert.Equal(
            "Finished 0",
            Machine
                .Shell(
                    "$null = Connect-Wandb -Local; Get-WandbLaunchQueueItem served | ForEach-Object { \"$($_.State) $($_.ExitCode)\" }"
                )
                .Trim()
        );
    }
}
