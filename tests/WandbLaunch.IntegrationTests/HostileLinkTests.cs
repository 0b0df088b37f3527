namespace WandbLaunch.IntegrationTests;

/// <summary>What a container of the real engine gets of a source with links in it.</summary>
public sealed class HostileLinkTests
{
    [Fact]
    public void Links_that_stay_inside_arrive_as_links_and_those_that_leave_do_not()
    {
        Machine.NeedDocker();
        var repository = Machine.NewRepository(
            "container-links",
            "import os, subprocess\nfor at, folders, files in os.walk('.'):\n    for n in sorted(folders + files):\n        p = os.path.join(at, n)\n        print('SEEN', p, os.readlink(p) if os.path.islink(p) else oct(os.stat(p).st_mode & 0o111), flush=True)\n"
        );
        var app = Directory.CreateDirectory(Path.Combine(repository, "app", "deep", "er")).FullName;
        File.WriteAllText(Path.Combine(app, "data"), "x");
        File.Copy(Path.Combine(repository, "main.py"), Path.Combine(repository, "app", "main.py"));
        File.WriteAllText(Path.Combine(repository, "app", "requirements.txt"), "");
        File.WriteAllText(Path.Combine(repository, "app", "run.sh"), "");
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(Path.Combine(repository, "app", "run.sh"), (UnixFileMode)0x1ED);
        }

        File.CreateSymbolicLink(Path.Combine(repository, "app", "inside"), "deep/er/data");
        File.CreateSymbolicLink(Path.Combine(repository, "app", "sibling"), "../main.py");
        Machine.Exec("git", ["-C", repository, "add", "-A"]);
        Machine.Exec("git", ["-C", repository, "commit", "-q", "-m", "links"]);
        var output = Machine.Shell(
            $"$run = Start-WandbLaunch '{new Uri(repository).AbsoluteUri}#app' -BaseImage {Machine.BaseImage} -Quiet 3>&1; $run | Where-Object Id | Receive-WandbLaunchLog; \"$run\""
        );
        Assert.Contains("SEEN ./deep/er/data 0o0", output, StringComparison.Ordinal);
        Assert.Contains("SEEN ./run.sh 0o111", output, StringComparison.Ordinal);
        Assert.Contains("SEEN ./inside deep/er/data", output, StringComparison.Ordinal);
        Assert.DoesNotContain("SEEN ./sibling", output, StringComparison.Ordinal);
        Assert.Contains(
            "'sibling' is a link that leads out of the folder and is left out",
            output,
            StringComparison.Ordinal
        );
    }
}
