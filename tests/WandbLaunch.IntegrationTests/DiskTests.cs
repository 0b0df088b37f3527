namespace WandbLaunch.IntegrationTests;

public sealed class DiskTests
{
    [Fact]
    public void A_full_disk_is_said_so_and_nothing_half_is_left()
    {
        var small = Directory.CreateDirectory(Path.Combine(Machine.Root, "small")).FullName;
        Machine.Need(
            Machine.Exec("mount", ["-t", "tmpfs", "-o", "size=2m", "tmpfs", small]).Code == 0,
            "the right to mount a small disk (Linux, root)"
        );
        try
        {
            var folder = Directory.CreateDirectory(Path.Combine(Machine.Root, "large")).FullName;
            File.WriteAllText(Path.Combine(folder, "requirements.txt"), "");
            File.WriteAllText(Path.Combine(folder, "main.py"), "print(1)\n");
            File.WriteAllBytes(Path.Combine(folder, "data.bin"), new byte[4 << 20]);
            Machine.Exec("git", ["init", "-q"], folder);
            Machine.NewRepository("identity");
            Machine.Git(folder, "add", ".");
            Machine.Git(folder, "commit", "-qm", "large");
            var output = Machine
                .TryShell(
                    $$"""
                    foreach ($source in '{{folder}}', '{{new Uri(folder).AbsoluteUri}}') {
                        Start-WandbLaunch $source -Resource local-process -NoInstall -Quiet -ErrorAction SilentlyContinue -ErrorVariable e
                        "$($e[0].FullyQualifiedErrorId)"
                    }
                    @(Get-WandbLaunch).Count
                    """,
                    ("WANDBLAUNCH_HOME", Path.Combine(small, "home"))
                )
                .Output;
            Assert.Equal(
                [
                    "DiskFull,WandbLaunch.PowerShell.StartWandbLaunchCommand",
                    "DiskFull,WandbLaunch.PowerShell.StartWandbLaunchCommand",
                    "0",
                ],
                output.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
            );
            Assert.Empty(Directory.EnumerateFiles(small, "data.bin", SearchOption.AllDirectories));
        }
        finally
        {
            Machine.Exec("umount", [small]);
        }
    }
}
