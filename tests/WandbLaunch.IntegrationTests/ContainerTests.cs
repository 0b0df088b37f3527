using System.Diagnostics;
using System.Text.Json;

namespace WandbLaunch.IntegrationTests;

public sealed class ContainerTests
{
    private const string Show = """
        import sys, os, json
        print(json.dumps({"args": sys.argv[1:], "uid": os.getuid(), "cwd": os.getcwd(), "writable": os.access(".", os.W_OK), "files": sorted(os.listdir(".")),
          "env": {k: v for k, v in os.environ.items() if k.startswith(("WANDB", "MY_"))}, "config": open(os.environ["WANDB_LAUNCH_CONFIG_PATH"]).read()}))
        """;

    private static JsonElement LastLine(string output) =>
        JsonDocument
            .Parse(output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Last(l => l.StartsWith('{')))
            .RootElement;

    [Fact]
    public void Code_words_and_variables_arrive_and_nothing_is_left_behind()
    {
        Machine.NeedDocker();
        var repository = Machine.NewRepository("words", Show);
        var output = Machine.Shell(
            $$"""
            $run = Start-WandbLaunch '{{new Uri(
                repository
            ).AbsoluteUri}}' -BaseImage {{Machine.BaseImage}} -Quiet -Argument 'two words', '"q" ''q''', '$HOME $(id)', "line`nbreak", ([char]::ConvertFromUtf32(0x1F642)), ('x' * 100000) -Environment @{ MY_TOKEN = 'secret-of-mine' } -RunConfig @{ lr = 1 }
            $run | Receive-WandbLaunchLog
            """
        );
        var log = JsonDocument
            .Parse(
                output
                    .Replace("***", "masked", StringComparison.Ordinal)
                    .Split('\n')
                    .First(l => l.StartsWith("{\"args\"", StringComparison.Ordinal))
            )
            .RootElement;
        string[] expected = ["two words", "\"q\" 'q'", "$HOME $(id)", "line\nbreak", "🙂", new string('x', 100_000)];
        Assert.Equal(expected, log.GetProperty("args").EnumerateArray().Select(a => a.GetString()));
        Assert.Equal(
            (1000, "/home/launch", true),
            (
                log.GetProperty("uid").GetInt32(),
                log.GetProperty("cwd").GetString(),
                log.GetProperty("writable").GetBoolean()
            )
        );
        Assert.Equal("{\"lr\":1}", log.GetProperty("env").GetProperty("WANDB_CONFIG").GetString());
        Assert.Equal("{\"overrides\":{\"run_config\":{\"lr\":1}}}", log.GetProperty("config").GetString());
        Assert.Contains("main.py", log.GetProperty("files").EnumerateArray().Select(f => f.GetString()));
        Assert.DoesNotContain("secret-of-mine", output, StringComparison.Ordinal);
        Machine.NoContainerIsLeft();
    }

    [Fact]
    public void A_second_launch_builds_nothing_and_needs_no_network()
    {
        Machine.NeedDocker();
        var repository = Machine.NewRepository("second");
        var uri = new Uri(repository).AbsoluteUri;
        var commit = Machine.Git(repository, "rev-parse", "HEAD");
        Machine.Shell($"$null = Start-WandbLaunch '{uri}' -BaseImage {Machine.BaseImage} -Quiet");
        string[] Images() => [.. Machine.Exec("docker", ["images", "-aq"]).Output.Split('\n').Distinct().Order()];
        var before = Images();
        Directory.Move(repository, repository + "-away");
        var output = Machine.Shell(
            $"(Start-WandbLaunch '{uri}' -GitVersion {commit} -BaseImage {Machine.BaseImage} -Quiet -Argument 'n=2').State; (Start-WandbLaunch '{uri}' -GitVersion {commit} -BaseImage {Machine.BaseImage} -WhatIf).Prepared"
        );
        Assert.Equal(
            ["Finished", "True"],
            output.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
        );
        Assert.Equal(before, Images());
    }

    [Fact]
    public void Packages_come_from_a_wheel_folder_and_no_setting_stays_in_the_image()
    {
        Machine.NeedDocker();
        var wheels = Directory.CreateDirectory(Path.Combine(Machine.Root, "wheels")).FullName;
        MakeWheel(wheels, "demopkg", "1.0");
        var repository = Machine.NewRepository("wheels", "import demopkg\nprint('demopkg', demopkg.version)\n");
        File.WriteAllText(Path.Combine(repository, "requirements.txt"), "demopkg==1.0\n");
        Machine.Git(repository, "commit", "-qam", "needs demopkg");
        var uri = new Uri(repository).AbsoluteUri;
        var output = Machine.Shell(
            $$"""
            [System.IO.File]::WriteAllText('{{Machine.Root}}/pip.conf', "[global]`ntimeout = 7`n# conf-secret`n")
            $run = Start-WandbLaunch '{{uri}}' -BaseImage {{Machine.BaseImage}} -Quiet -PipFindLinks '{{wheels}}' -PipNoIndex -PipConfigFile '{{Machine.Root}}/pip.conf' -PipIndexUrl 'https://me:index-secret@127.0.0.1:9/simple'
            $run | Receive-WandbLaunchLog
            $run.Image
            $process = Start-WandbLaunch '{{uri}}' -Resource local-process -Quiet -PipFindLinks '{{wheels}}' -PipNoIndex
            $process | Receive-WandbLaunchLog
            """
        );
        Assert.Equal(2, output.Split('\n').Count(l => l.Trim() == "demopkg 1.0"));
        var image = output.Split('\n').First(l => l.StartsWith("wandb-launch:", StringComparison.Ordinal)).Trim();
        var everything =
            Machine.Exec("docker", ["image", "inspect", image]).Output
            + Machine.Exec("docker", ["history", "--no-trunc", image]).Output
            + Machine
                .Exec(
                    "docker",
                    [
                        "run",
                        "--rm",
                        "--user",
                        "0",
                        image,
                        "sh",
                        "-c",
                        "env; ls -R /tmp /root /home; grep -rl -e index-secret -e conf-secret /tmp /root /home /etc /usr/local 2>/dev/null",
                    ]
                )
                .Output;
        Assert.DoesNotContain("index-secret", everything, StringComparison.Ordinal);
        Assert.DoesNotContain("pip.conf", everything, StringComparison.Ordinal);
        Assert.DoesNotContain("PIP_", everything, StringComparison.Ordinal);
    }

    [Fact]
    public void Out_of_memory_is_told_apart_from_a_failure()
    {
        Machine.NeedDocker();
        var repository = Machine.NewRepository(
            "memory",
            "import sys\nif '--eat' in sys.argv:\n    x = bytearray(300 * 1024 * 1024)\nprint('words before')\nsys.exit(4)\n"
        );
        var uri = new Uri(repository).AbsoluteUri;
        var (code, output, error) = Machine.TryShell(
            $$"""
            $eaten = Start-WandbLaunch '{{uri}}' -BaseImage {{Machine.BaseImage}} -Quiet -Argument '--eat' -DockerArgs @{ memory = '64m'; 'memory-swap' = '64m' } -ErrorVariable first -ErrorAction SilentlyContinue
            $failed = Start-WandbLaunch '{{uri}}' -BaseImage {{Machine.BaseImage}} -Quiet -ErrorVariable second -ErrorAction SilentlyContinue
            "$($eaten.OutOfMemory) $($eaten.State) $($first[0].FullyQualifiedErrorId)"
            "$($failed.OutOfMemory) $($failed.ExitCode) $($second[0].FullyQualifiedErrorId) $($second[0])"
            """
        );
        Assert.Contains("True Failed RunOutOfMemory,", output, StringComparison.Ordinal);
        Assert.Contains("False 4 RunFailed,", output, StringComparison.Ordinal);
        Assert.Contains("words before", output, StringComparison.Ordinal);
        Assert.Equal("", error);
        _ = code;
    }

    [Fact]
    public void A_run_without_waiting_outlives_its_shell_and_is_stopped_from_another()
    {
        Machine.NeedDocker();
        var repository = Machine.NewRepository("nowait", "import time\nprint('up', flush=True)\ntime.sleep(600)\n");
        var id = Machine
            .Shell($"(Start-WandbLaunch '{new Uri(repository).AbsoluteUri}' -BaseImage {Machine.BaseImage} -NoWait).Id")
            .Trim();
        Assert.Equal(
            id,
            Machine
                .Exec(
                    "docker",
                    [
                        "ps",
                        "--filter",
                        $"label=ai.wandb.launch.run={id}",
                        "--format",
                        "{{.Label \"ai.wandb.launch.run\"}}",
                    ]
                )
                .Output.Trim()
        );
        var output = Machine.Shell(
            $"(Get-WandbLaunch {id}).State; (Stop-WandbLaunch {id} -PassThru).State; Receive-WandbLaunchLog {id}"
        );
        Assert.Equal(
            ["Running", "Stopped", "up"],
            output.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
        );
        Machine.NoContainerIsLeft();
    }

    [Fact]
    public void A_given_image_runs_its_own_command_with_the_arguments()
    {
        Machine.NeedDocker();
        var output = Machine.Shell(
            $$"""
            Start-WandbLaunch -DockerImage {{Machine.BaseImage}} -EntryPoint python, -c, 'import os, sys; print(sys.argv[1:], "WANDB_RUN_ID" in os.environ, os.environ["WANDB_DOCKER"])' -Argument x=1 -Quiet | Receive-WandbLaunchLog
            """
        );
        Assert.Contains($"['--x', '1'] False {Machine.BaseImage}", output, StringComparison.Ordinal);
    }

    [Fact]
    public void What_the_engine_refuses_is_a_clear_error()
    {
        Machine.NeedDocker();
        var repository = new Uri(Machine.NewRepository("errors")).AbsoluteUri;
        string Error(string arguments) =>
            Machine
                .TryShell(
                    $"$null = Start-WandbLaunch {arguments} -Quiet -ErrorVariable e -ErrorAction SilentlyContinue; $e[0].FullyQualifiedErrorId"
                )
                .Output.Split(',')[0]
                .Trim();
        Assert.Equal("ImagePullFailed", Error("-DockerImage 127.0.0.1:9/no/such:image"));
        Assert.Contains(
            "has no program 'no-such-program'",
            Machine
                .TryShell(
                    $"$null = Start-WandbLaunch -DockerImage {Machine.BaseImage} -EntryPoint no-such-program -Quiet -ErrorVariable e -ErrorAction SilentlyContinue; \"$($e[0])\""
                )
                .Output,
            StringComparison.Ordinal
        );
        Assert.Equal(
            "ImageBuildFailed",
            Error($"'{repository}' -BaseImage {Machine.BaseImage} -SystemPackage no-such-package")
        );
        Machine.NoContainerIsLeft();
    }

    [Fact]
    public void Ctrl_C_stops_the_container()
    {
        Machine.NeedDocker();
        Machine.Need(!OperatingSystem.IsWindows(), "a Unix signal");
        var repository = Machine.NewRepository("interrupt", "import time\nprint('up', flush=True)\ntime.sleep(600)\n");
        using var process = Machine.Start(
            "dotnet",
            Machine.Pwsh(
                "-File",
                Machine.Script(
                    $"Start-WandbLaunch '{new Uri(repository).AbsoluteUri}' -BaseImage {Machine.BaseImage} -RunId interrupted"
                )
            )
        )!;
        Assert.Contains("up", process.StandardOutput.ReadLine()!, StringComparison.Ordinal);
        var clock = Stopwatch.StartNew();
        Machine.Exec("kill", ["-INT", process.Id.ToString(System.Globalization.CultureInfo.InvariantCulture)]);
        Assert.True(process.WaitForExit(120_000));
        Machine.NoContainerIsLeft();
        Assert.Contains("Stopped", Machine.Shell("(Get-WandbLaunch interrupted).State"), StringComparison.Ordinal);
        Assert.True(clock.Elapsed < TimeSpan.FromMinutes(2));
    }

    [Fact]
    public async Task An_engine_that_goes_away_and_comes_back_costs_no_line_and_no_exit_code()
    {
        Machine.NeedDocker();
        using var relay = new SocketRelay(EngineSocket());
        var repository = Machine.NewRepository(
            "away",
            "import sys, time\nfor i in range(40):\n    print('out', i, flush=True); print('err', i, file=sys.stderr, flush=True); time.sleep(0.1)\nsys.exit(5)\n"
        );
        var script =
            $"$run = Start-WandbLaunch '{new Uri(repository).AbsoluteUri}' -BaseImage {Machine.BaseImage} -DockerHost '{relay.Address}' -Quiet -ErrorAction SilentlyContinue; \"exit $($run.ExitCode)\"; Receive-WandbLaunchLog $run.Id";
        var shell = Task.Run(() => Machine.Shell(script));
        WaitForContainer();
        await Task.Delay(1000);
        relay.Cut();
        await Task.Delay(1500);
        relay.Mend();
        var lines = (await shell).Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        Assert.Equal("exit 5", lines[0]);
        Assert.Equal(
            Enumerable.Range(0, 40).Select(i => $"out {i}"),
            lines.Where(l => l.StartsWith("out", StringComparison.Ordinal))
        );
        Assert.Equal(
            Enumerable.Range(0, 40).Select(i => $"err {i}"),
            lines.Where(l => l.StartsWith("err", StringComparison.Ordinal))
        );
    }

    [Fact]
    public async Task An_engine_that_stays_away_is_said_so()
    {
        Machine.NeedDocker();
        using var relay = new SocketRelay(EngineSocket());
        var repository = Machine.NewRepository("gone", "import time\nprint('up', flush=True)\ntime.sleep(600)\n");
        var script =
            $"$run = Start-WandbLaunch '{new Uri(repository).AbsoluteUri}' -BaseImage {Machine.BaseImage} -DockerHost '{relay.Address}' -Quiet -ErrorAction SilentlyContinue -ErrorVariable e; \"$($run.State) $($e[0].FullyQualifiedErrorId) $($e[0])\"";
        var shell = Task.Run(() => Machine.Shell(script, ("WANDBLAUNCH_DOCKER_TIMEOUT", "2")));
        try
        {
            WaitForContainer();
            relay.Cut();
            var output = await shell;
            Assert.StartsWith("Failed RunLost,", output, StringComparison.Ordinal);
            Assert.Contains("the Docker Engine stopped answering", output, StringComparison.Ordinal);
        }
        finally
        {
            Machine.Exec("docker", ["rm", "-f", .. Machine.Containers()]);
        }
    }

    private static string EngineSocket()
    {
        var host = Environment.GetEnvironmentVariable("DOCKER_HOST") ?? "unix:///var/run/docker.sock";
        Machine.Need(host.StartsWith("unix://", StringComparison.Ordinal), "an engine on a unix socket");
        return host["unix://".Length..];
    }

    private static void WaitForContainer()
    {
        var clock = Stopwatch.StartNew();
        while (Machine.Containers(true).Count == 0)
        {
            Assert.True(clock.Elapsed < TimeSpan.FromMinutes(2), "no container was started");
            Thread.Sleep(100);
        }
    }

    // A wheel is a zip with metadata; pip needs no index for it.
    private static void MakeWheel(string folder, string name, string version)
    {
        using var zip = new System.IO.Compression.ZipArchive(
            File.Create(Path.Combine(folder, $"{name}-{version}-py3-none-any.whl")),
            System.IO.Compression.ZipArchiveMode.Create
        );
        void Add(string path, string text)
        {
            using var writer = new StreamWriter(zip.CreateEntry(path).Open());
            writer.Write(text);
        }

        Add($"{name}.py", $"version = '{version}'\n");
        Add($"{name}-{version}.dist-info/METADATA", $"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
        Add(
            $"{name}-{version}.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        );
        Add(
            $"{name}-{version}.dist-info/RECORD",
            $"{name}.py,,\n{name}-{version}.dist-info/METADATA,,\n{name}-{version}.dist-info/WHEEL,,\n{name}-{version}.dist-info/RECORD,,\n"
        );
    }
}
