using System.Diagnostics;
using WandbLaunch.Model;
using WandbLaunch.Tests;

// One shell for all of them.
[assembly: CollectionBehavior(DisableTestParallelization = true)]

namespace WandbLaunch.WindowsTests;

/// <summary>What the tests have of Windows: programs to launch, and a look at its processes.</summary>
internal static class Windows
{
    /// <summary>The module's own shell, of which all tests of one process are.</summary>
    internal static Shell Shell { get; } = new();

    internal static string Programs => Path.Combine(Fixture.SourceRoot(), "out", "windows");

    internal static string Probe => Path.Combine(Programs, "probe", "probe.exe");

    /// <summary>A folder of code with the probe in it, and a program that needs nothing of this machine.</summary>
    internal static string NewCode(string name)
    {
        var folder = Fixture.NewFolder(name);
        Fixture.CopyFolder(Path.GetDirectoryName(Probe)!, folder);
        return folder;
    }

    /// <summary>Launches the probe by the cmdlet, as a user would, and waits for its end.</summary>
    internal static LaunchedRun Launch(string[] words, string more = "") => Launch(NewCode("code"), words, more);

    internal static LaunchedRun Launch(string folder, string[] words, string more = "")
    {
        var result = Shell.Run(
            $"Start-WandbLaunch $folder -EntryPoint ./probe.exe -Argument $words -Resource local-process -NoInstall {more}",
            ("folder", folder),
            ("words", words)
        );
        return result.Select(o => o.BaseObject).OfType<LaunchedRun>().SingleOrDefault()
            ?? throw new InvalidOperationException(string.Join("\n", Shell.Errors));
    }

    internal static string LogOf(LaunchedRun run)
    {
        using var reader = new StreamReader(
            new FileStream(run.LogPath!, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete)
        );
        return reader.ReadToEnd();
    }

    internal static string[] LinesOf(LaunchedRun run) => LogOf(run).TrimEnd('\n').Split('\n');

    internal static bool IsAlive(int id)
    {
        try
        {
            using var process = Process.GetProcessById(id);
            return !process.HasExited;
        }
        catch (Exception e) when (e is ArgumentException or InvalidOperationException)
        {
            return false;
        }
    }

    internal static async Task WaitAsync(Func<bool> until, string what, int seconds = 20)
    {
        for (var clock = Stopwatch.StartNew(); !until(); await Task.Delay(50))
        {
            Assert.True(clock.Elapsed.TotalSeconds < seconds, "Waited in vain: " + what);
        }
    }
}
