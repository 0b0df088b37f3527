using System.Diagnostics;
using System.Globalization;
using System.Management.Automation;
using System.Management.Automation.Runspaces;
using System.Text;

namespace WandbLaunch.Benchmarks;

/// <summary>
/// Compares the module with the bare thing, both in one run, and writes the ratios: <c>import</c>, <c>host</c>, <c>first</c>, <c>process</c>,
/// <c>nowait</c>, <c>container</c>, <c>stream</c>, <c>log</c>, <c>push</c>, <c>items</c>, <c>start</c>, <c>idle</c>, <c>server</c>, <c>containers</c>, or all; <c>memory</c>
/// takes half an hour, <c>cli</c> wants a checkout of the Python CLI, <c>kubernetes</c> wants its engine: these must be asked for. A Release build of everything comes first.
/// </summary>
internal static class Program
{
    private const int Rounds = 7;

    private static readonly string Root = FindRoot();
    private static readonly string Module = Path.Combine(Root, "out", "WandbLaunch", "WandbLaunch.psd1");

    // Of the process that measures; its children have none.
    private static string Work { get; set; } = "";

    private static int Main(string[] args)
    {
        CultureInfo.CurrentCulture = CultureInfo.InvariantCulture;
        if (args is ["child", .. var words])
        {
            return Child(words);
        }

        Work = Directory.CreateTempSubdirectory("wandblaunch-bench-").FullName;
        Environment.SetEnvironmentVariable("WANDBLAUNCH_HOME", Path.Combine(Work, "home"));
        Environment.SetEnvironmentVariable("WANDB_API_KEY", null);
        var wanted =
            args.Length > 0
                ? args
                :
                [
                    "import",
                    "process",
                    "nowait",
                    "container",
                    "stream",
                    "log",
                    "push",
                    "items",
                    "start",
                    "idle",
                    "server",
                    "containers",
                ];
        try
        {
            foreach (var name in wanted)
            {
                switch (name)
                {
                    case "import":
                        Import();
                        break;
                    case "host":
                        HostBenchmarks.Host(Root);
                        break;
                    case "first":
                        HostBenchmarks.First(Root, Work);
                        break;
                    case "process":
                        LocalProcess();
                        break;
                    case "nowait":
                        NoWait();
                        break;
                    case "container":
                        Container();
                        break;
                    case "stream":
                        Stream();
                        break;
                    case "log":
                        Log();
                        break;
                    case "push":
                        AgentBenchmarks.Push();
                        break;
                    case "items":
                        ItemBenchmarks.Run();
                        break;
                    case "cli":
                        CliBenchmarks.Run(Root);
                        break;
                    case "start":
                        AgentBenchmarks.Start();
                        break;
                    case "idle":
                        AgentBenchmarks.Idle();
                        break;
                    case "server":
                        AgentBenchmarks.Server();
                        break;
                    case "containers":
                        AgentBenchmarks.ContainersAsync().GetAwaiter().GetResult();
                        break;
                    case "kubernetes":
                        ClusterBenchmarks.KubernetesAsync().GetAwaiter().GetResult();
                        break;
                    case "memory":
                        AgentBenchmarks.Memory();
                        break;
                }
            }
        }
        finally
        {
            Script("Get-WandbLaunchServer | Where-Object Running | Stop-WandbLaunchServer");
            Directory.Delete(Work, true);
        }

        return 0;
    }

    // Each import in a process of its own: an assembly is loaded only once.
    private static void Import()
    {
        var empty = Path.Combine(Work, "Empty");
        Directory.CreateDirectory(empty);
        File.Copy(
            Directory
                .EnumerateFiles(
                    Path.Combine(Root, "tests", "WandbLaunch.Benchmarks.Empty", "bin"),
                    "WandbLaunch.Benchmarks.Empty.dll",
                    SearchOption.AllDirectories
                )
                .OrderByDescending(File.GetLastWriteTimeUtc)
                .First(),
            Path.Combine(empty, "Empty.dll")
        );
        File.WriteAllText(
            Path.Combine(empty, "Empty.psd1"),
            "@{ RootModule = 'Empty.dll'; ModuleVersion = '1.0'; CmdletsToExport = @('Get-Nothing'); FunctionsToExport = @(); AliasesToExport = @(); VariablesToExport = @() }"
        );
        var (ours, bare) = (new List<double>(), new List<double>());
        for (var i = 0; i < 3 * Rounds; i++)
        {
            bare.Add(Number(Self("import", Path.Combine(empty, "Empty.psd1"))));
            ours.Add(Number(Self("import", Module)));
        }

        Report("Import-Module against an empty binary module", ours, bare, "ms", "at most 1.25");
        Console.WriteLine(
            $"  the fastest of each: {ours.Min():0.0} ms against {bare.Min():0.0} ms; ratio {ours.Min() / bare.Min():0.00}"
        );
    }

    private static void LocalProcess()
    {
        var project = NewProject("import sys\nprint(sys.argv[1:])\n");
        var times = Self("launch", project, "-Resource local-process")
            .Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(Number)
            .ToList();
        var python = Directory
            .EnumerateFiles(Path.Combine(Work, "home", "cache", "venvs"), "python", SearchOption.AllDirectories)
            .First();
        var bare = Enumerable
            .Range(0, Rounds)
            .Select(_ => Time(python, Path.Combine(project, "main.py"), "--n", "1"))
            .ToList();
        Console.WriteLine(
            $"local-process, second launch: {Median(times):0} ms; the bare program {Median(bare):0} ms; overhead {Median(times) - Median(bare):0} ms (at most 250)"
        );
    }

    // Until the prompt is back, in a shell that has launched before.
    private static void NoWait()
    {
        var times = Self(
                "launch",
                NewProject("print('ran')\n"),
                "-Resource local-process -NoInstall -EntryPoint /bin/true -NoWait"
            )
            .Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(Number)
            .ToList();
        Console.WriteLine(
            $"-NoWait until the prompt is back, second launch: median {Median(times):0} ms, least {times.Min():0} ms (at most 100)"
        );
    }

    private static void Container()
    {
        var image = Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_BASE_IMAGE") ?? "mini-python:3.11";

        // A second of work: what is compared is the way there and back.
        var project = NewProject("import sys, time\ntime.sleep(1)\nprint(sys.argv[1:])\n");
        var times = Self("launch", project, $"-BaseImage {image}")
            .Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(Number)
            .ToList();
        var built = Run("docker", "images", "-q", "wandb-launch").Trim().Split('\n')[0];
        var bare = Enumerable
            .Range(0, Rounds)
            .Select(_ =>
                Time(
                    "docker",
                    "run",
                    "--rm",
                    "--init",
                    "-v",
                    project + ":/home/launch/src:ro",
                    built,
                    "python",
                    "/home/launch/src/main.py",
                    "--n",
                    "1"
                )
            )
            .ToList();
        Report("second Start-WandbLaunch in a container against docker run", times, bare, "ms", "at most 1.25");
    }

    private static void Stream()
    {
        var small = Number(Self("stream", "1000"));
        var large = Number(Self("stream", "100000"));
        Console.WriteLine(
            $"Get-WandbRun | Where-Object over 100,000 runs: peak {large:0} MB; over 1,000: {small:0} MB; difference {large - small:0} MB (at most 40)"
        );
    }

    private static void Log()
    {
        var image = Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_BASE_IMAGE") ?? "mini-python:3.11";
        const string Program = "line = 'x' * 99 + '\\n'\nfor i in range(1024):\n    print(line * 1024, end='')\n";
        var project = NewProject(Program);
        var ours = Self("log", project, $"-BaseImage {image}")
            .Split('\n', StringSplitOptions.RemoveEmptyEntries)
            .Select(Number)
            .ToList();
        var name = "wandblaunch-bench-log";
        Run("docker", "run", "--name", name, image, "python", "-c", Program);
        var bare = Enumerable.Range(0, 3).Select(_ => Time("docker", "logs", name)).ToList();
        Run("docker", "rm", "-f", name);
        Console.WriteLine(
            $"100 MB of container log: Receive-WandbLaunchLog {Median(ours):0} ms, docker logs {Median(bare):0} ms; speed ratio {Median(bare) / Median(ours):0.00} (at least 0.5)"
        );
    }

    private static int Child(string[] words)
    {
        switch (words)
        {
            case ["push", var database]:
                return AgentBenchmarks.PushChild(database);
            case ["items"]:
                return ItemBenchmarks.Child();
            case ["import", var module]:
                using (var runspace = Open(false))
                {
                    using var warm = PowerShell.Create(runspace);
                    warm.AddScript("Get-Module -ListAvailable nothing-at-all; $null = Get-Command Import-Module")
                        .Invoke();
                    using var shell = PowerShell.Create(runspace);
                    shell.AddCommand("Import-Module").AddArgument(module);
                    var clock = Stopwatch.StartNew();
                    shell.Invoke();
                    Console.WriteLine(clock.Elapsed.TotalMilliseconds);
                    return shell.HadErrors ? 1 : 0;
                }

            case ["launch", var project, var more]:
                using (var runspace = Open(true))
                {
                    for (var i = 0; i <= Rounds; i++)
                    {
                        var time = Invoke(runspace, $"Start-WandbLaunch '{project}' -Quiet -Argument 'n={i}' {more}");
                        if (i > 0)
                        {
                            Console.WriteLine(time);
                        }
                    }
                }

                return 0;
            case ["log", var project, var more]:
                using (var runspace = Open(true))
                {
                    Invoke(runspace, $"$run = Start-WandbLaunch '{project}' -Quiet {more}");
                    for (var i = 0; i < 3; i++)
                    {
                        Console.WriteLine(Invoke(runspace, "$run | Receive-WandbLaunchLog | Out-Null"));
                    }
                }

                return 0;
            case ["stream", var count]:
                using (var runspace = Open(true))
                {
                    Invoke(
                        runspace,
                        $"$null = Connect-Wandb -Local -Path '{Seed(int.Parse(count, CultureInfo.InvariantCulture))}'"
                    );
                    Invoke(
                        runspace,
                        "Get-WandbRun -Project bench -PageSize 1000 | Where-Object { $_.Config['lr'] -lt 0 }"
                    );
                    Invoke(
                        runspace,
                        $"Stop-WandbLaunchServer -Path '{Seed(int.Parse(count, CultureInfo.InvariantCulture))}'"
                    );
                    Console.WriteLine(Process.GetCurrentProcess().PeakWorkingSet64 / 1048576.0);
                }

                return 0;
            default:
                return 2;
        }
    }

    // Runs straight into the server's file, for what is measured is the way out of it.
    private static string Seed(int count)
    {
        var path = Path.Combine(
            Environment.GetEnvironmentVariable("WANDBLAUNCH_HOME")!,
            "seed",
            count.ToString(CultureInfo.InvariantCulture) + ".db"
        );
        if (!File.Exists(path))
        {
            Script(
                $"$null = Start-WandbLaunchServer -Path '{path}'; $null = Connect-Wandb -Local -Path '{path}'; Stop-WandbLaunchServer -Path '{path}'"
            );
            Run(
                "python3",
                "-c",
                $$"""
                import sqlite3
                c = sqlite3.connect("{{path}}")
                c.execute("INSERT INTO projects (entity, name, created_at) VALUES ('local', 'bench', '2026-01-01')")
                c.executemany("INSERT INTO runs (project, name, display_name, state, config, summary, created_at) VALUES (1, ?, ?, 'finished', ?, ?, ?)",
                  (("r%07d" % i, "run %d" % i, '{"lr": {"value": %d} }' % i, '{"loss": %d, "text": "%s"}' % (i, "x" * 300), "2026-01-01T00:00:%09.6f" % (i / 10000)) for i in range({{count}})))
                c.commit()
                """
            );
        }

        return path;
    }

    internal static string WorkFolder => Work;

    internal static Runspace Open(bool module)
    {
        var state = InitialSessionState.CreateDefault2();
        if (module)
        {
            state.ImportPSModule([Module]);
        }

        var runspace = RunspaceFactory.CreateRunspace(state);
        runspace.Open();
        return runspace;
    }

    internal static double Invoke(Runspace runspace, string script)
    {
        using var shell = PowerShell.Create(runspace);
        shell.AddScript(script);
        var clock = Stopwatch.StartNew();
        shell.Invoke();
        var time = clock.Elapsed.TotalMilliseconds;
        return shell.HadErrors ? throw new InvalidOperationException(shell.Streams.Error[0].ToString()) : time;
    }

    internal static void Script(string text)
    {
        using var runspace = Open(true);
        Invoke(runspace, text);
    }

    private static string NewProject(string program)
    {
        var folder = Directory
            .CreateDirectory(Path.Combine(Work, "project-" + Guid.NewGuid().ToString("n")[..6]))
            .FullName;
        File.WriteAllText(Path.Combine(folder, "main.py"), program);
        File.WriteAllText(Path.Combine(folder, "requirements.txt"), "");
        return folder;
    }

    internal static string Self(params string[] words) =>
        Run(
            Environment.ProcessPath!,
            [
                .. Environment.ProcessPath!.EndsWith("dotnet", StringComparison.Ordinal)
                    ? [typeof(Program).Assembly.Location]
                    : Array.Empty<string>(),
                "child",
                .. words,
            ]
        );

    private static double Time(string program, params string[] arguments)
    {
        var clock = Stopwatch.StartNew();
        Run(program, arguments);
        return clock.Elapsed.TotalMilliseconds;
    }

    private static string Run(string program, params string[] arguments)
    {
        var start = new ProcessStartInfo(program) { RedirectStandardOutput = true, RedirectStandardError = true };
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        using var process = Process.Start(start)!;
        var error = process.StandardError.ReadToEndAsync();
        var text = new StringBuilder();
        var buffer = new char[1 << 16];
        int read;
        while ((read = process.StandardOutput.Read(buffer)) > 0)
        {
            if (text.Length < 1 << 20)
            {
                text.Append(buffer, 0, read);
            }
        }

        process.WaitForExit();
        return process.ExitCode == 0
            ? text.ToString()
            : throw new InvalidOperationException($"{program}: {error.Result}");
    }

    private static void Report(string what, List<double> ours, List<double> bare, string unit, string bound) =>
        Console.WriteLine(
            $"{what}: {Median(ours):0.0} {unit} against {Median(bare):0.0} {unit}; ratio {Median(ours) / Median(bare):0.00} ({bound})"
        );

    internal static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);

    internal static double Number(string text) => double.Parse(text.Trim(), CultureInfo.InvariantCulture);

    internal static string ModuleFolder => Path.GetDirectoryName(Module)!;

    private static string FindRoot()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder!.FullName, "WandbLaunch.sln")))
        {
            folder = folder.Parent;
        }

        return folder.FullName;
    }
}
