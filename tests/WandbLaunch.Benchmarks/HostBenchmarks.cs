using System.Diagnostics;
using System.Globalization;

namespace WandbLaunch.Benchmarks;

/// <summary>What starts in real pwsh, each way in turn: the host on <c>dotnet</c> and on a pwsh that brings its own .NET, and the first launch of a new pwsh.</summary>
internal static class HostBenchmarks
{
    private const int Rounds = 7;

    /// <summary>From the start of a host to the program that it starts, and its memory then, on both runtimes (build.ps1 TestOnlyPwsh lays the pwsh out).</summary>
    internal static void Host(string root)
    {
        var pwsh = Path.Combine(root, "out", "only-pwsh", "pwsh");
        var library = Path.Combine(root, "out", "WandbLaunch", "lib");
        var host = Path.Combine(library, "WandbLaunch.Host.dll");
        if (!OperatingSystem.IsLinux() || !File.Exists(pwsh))
        {
            Console.WriteLine("host: skipped, for there is no out/only-pwsh (build.ps1 TestOnlyPwsh makes it; Linux)");
            return;
        }

        var (onDotnet, onPwsh) = (new List<(double Time, double Memory)>(), new List<(double Time, double Memory)>());
        for (var i = 0; i < Rounds; i++)
        {
            onDotnet.Add(Start(["dotnet", host], null));
            onPwsh.Add(
                Start(
                    [pwsh, "-NoProfile", "-NonInteractive", "-File", Path.Combine(library, "WandbLaunch.Host.ps1")],
                    host
                )
            );
        }

        var (time, memory) = (Ratio(onPwsh, onDotnet, s => s.Time), Ratio(onPwsh, onDotnet, s => s.Memory));
        Console.WriteLine(
            $"a host on pwsh's runtime against dotnet: {time.Ours:0} ms against {time.Bare:0} ms, {time.Ours / time.Bare:0.00} × (at most 2); "
                + $"{memory.Ours / 1024:0.0} MB against {memory.Bare / 1024:0.0} MB, {memory.Ours / memory.Bare:0.00} × (at most 1.5)"
        );
    }

    /// <summary>Import, a launch of a folder, and -NoWait, each as a whole process of real pwsh, over pwsh alone: time and processor time.</summary>
    internal static void First(string root, string work)
    {
        var module = Path.Combine(root, "out", "WandbLaunch", "WandbLaunch.psd1");
        var code = Path.Combine(work, "first");
        Directory.CreateDirectory(code);
        File.WriteAllText(Path.Combine(code, "main.py"), "print(1)\n");
        var launch =
            $"Import-Module '{module}'; $null = Start-WandbLaunch '{code}' -Resource local-process -NoInstall -EntryPoint 'python3 main.py' -Quiet";
        (string Name, string Script)[] ways =
        [
            ("pwsh alone", "1"),
            ("Import-Module", $"Import-Module '{module}'"),
            ("first launch", launch),
            ("first launch with -NoWait", launch + " -NoWait"),
        ];
        var times = ways.ToDictionary(w => w.Name, _ => new List<double>());
        for (var i = 0; i < Rounds; i++)
        {
            foreach (var (name, script) in ways)
            {
                var clock = Stopwatch.StartNew();
                using var process = Process.Start(
                    new ProcessStartInfo(
                        "dotnet",
                        ["tool", "run", "pwsh", "-NoProfile", "-NonInteractive", "-Command", script]
                    )
                    {
                        WorkingDirectory = root,
                        RedirectStandardOutput = true,
                    }
                )!;
                process.StandardOutput.ReadToEnd();
                process.WaitForExit();
                times[name].Add(clock.Elapsed.TotalMilliseconds);
            }
        }

        var bare = Median(times["pwsh alone"]);
        foreach (var (name, _) in ways[1..])
        {
            Console.WriteLine(
                $"{name}, a whole process of pwsh: {Median(times[name]):0} ms against {bare:0} ms of pwsh alone, +{Median(times[name]) - bare:0} ms (first launch: +300 wanted)"
            );
        }
    }

    private static (double Time, double Memory) Start(string[] words, string? hook)
    {
        var start = new ProcessStartInfo(words[0], [.. words[1..], "adopt", "end", "/bin/sleep", "0.5"])
        {
            RedirectStandardError = true,
        };
        if (hook is not null)
        {
            start.Environment["DOTNET_STARTUP_HOOKS"] = hook;
            start.Environment["DOTNET_TieredPGO"] = "0";
            start.Environment["DOTNET_GCgen0MaxBudget"] = "400000";
            start.Environment["DOTNET_gcConcurrent"] = "0";
        }

        var clock = Stopwatch.StartNew();
        using var process = Process.Start(start)!;
        while (!HasChild(process.Id) && !process.HasExited)
        {
            Thread.Sleep(1);
        }

        var time = clock.Elapsed.TotalMilliseconds;
        var memory = process.HasExited ? 0 : Resident(process.Id);
        process.WaitForExit();
        return process.ExitCode == 0
            ? (time, memory)
            : throw new InvalidOperationException($"The host did not start: {process.StandardError.ReadToEnd()}");
    }

    private static bool HasChild(int id)
    {
        try
        {
            return Directory
                .EnumerateDirectories($"/proc/{id}/task")
                .Any(t => File.ReadAllText(Path.Combine(t, "children")).Length > 0);
        }
        catch (IOException)
        {
            return false;
        }
    }

    private static double Resident(int id) =>
        double.Parse(
            File.ReadLines($"/proc/{id}/status")
                .First(l => l.StartsWith("VmRSS:", StringComparison.Ordinal))
                .Split(' ', StringSplitOptions.RemoveEmptyEntries)[^2],
            CultureInfo.InvariantCulture
        );

    private static (double Ours, double Bare) Ratio<T>(List<T> ours, List<T> bare, Func<T, double> of) =>
        (Median([.. ours.Select(of)]), Median([.. bare.Select(of)]));

    private static double Median(List<double> values) => values.Order().ElementAt(values.Count / 2);
}
