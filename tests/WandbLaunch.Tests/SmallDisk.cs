using System.Diagnostics;
using WandbLaunch.Foundation;

namespace WandbLaunch.Tests;

/// <summary>A real disk of a megabyte that is nearly full, and the module's data on it. Skips the test with the reason where none can be mounted.</summary>
internal sealed class SmallDisk : IDisposable
{
    private readonly string? _home = new LaunchEnvironment()["WANDBLAUNCH_HOME"];
    private readonly string _folder = Fixture.NewFolder("disk");

    internal SmallDisk()
    {
        Assert.SkipUnless(
            OperatingSystem.IsLinux() && Environment.IsPrivilegedProcess,
            "needs root on Linux, to mount a small disk"
        );
        Assert.SkipUnless(
            Tool("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", _folder) == 0,
            "needs leave to mount a tmpfs"
        );
        Environment.SetEnvironmentVariable("WANDBLAUNCH_HOME", Path.Combine(_folder, "home"));
        File.WriteAllBytes(Path.Combine(_folder, "ballast"), new byte[300_000]);
    }

    internal void MakeRoom() => File.Delete(Path.Combine(_folder, "ballast"));

    public void Dispose()
    {
        Environment.SetEnvironmentVariable("WANDBLAUNCH_HOME", _home);
        Assert.Equal(0, Tool("umount", "-l", _folder));
    }

    private static int Tool(string name, params string[] words)
    {
        using var process = Process.Start(new ProcessStartInfo(name, words) { RedirectStandardError = true })!;
        process.WaitForExit();
        return process.ExitCode;
    }
}
