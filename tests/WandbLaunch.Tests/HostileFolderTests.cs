using WandbLaunch.Foundation;

namespace WandbLaunch.Tests;

/// <summary>The one helper that reads and writes what others chose, against a program that changes links meanwhile.</summary>
public sealed class HostileFolderTests
{
    [Fact]
    public async Task A_link_that_is_swapped_in_the_middle_wins_nothing()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "needs symbolic links");
        var root = Fixture.NewFolder("swap");
        var outside = Directory.CreateDirectory(Path.Combine(root, "outside")).FullName;
        File.WriteAllText(Path.Combine(outside, "f"), "secret");
        var inside = Directory.CreateDirectory(Path.Combine(root, "inside")).FullName;
        Directory.CreateDirectory(Path.Combine(inside, "kept"));
        File.WriteAllText(Path.Combine(inside, "kept", "f"), "own");
        Directory.CreateSymbolicLink(Path.Combine(inside, "evil"), outside);
        var stop = false;
        var swapping = Task.Run(() =>
        {
            // "d" is a folder at one moment, and a link out at the next.
            var (d, kept) = (Path.Combine(inside, "d"), Path.Combine(inside, "kept"));
            while (!Volatile.Read(ref stop))
            {
                foreach (
                    var step in new Action[]
                    {
                        () => Directory.Move(kept, d),
                        () => Directory.Move(d, kept),
                        () => Directory.Delete(d, true),
                        () => File.CreateSymbolicLink(d, outside),
                        () => File.Delete(d),
                    }
                )
                {
                    try
                    {
                        step();
                    }
                    catch (Exception e) when (e is IOException or UnauthorizedAccessException)
                    {
                        // The other side made something of this name.
                    }
                }
            }
        });
        using var folder = SafeFolder.Open(inside);
        var (read, written, refused) = (0, 0, 0);
        for (var i = 0; i < 20_000; i++)
        {
            try
            {
                if (folder.ReadText("d/f", "file", 100) is { } text)
                {
                    read++;
                    Assert.Equal("own", text);
                }

                using (folder.Replace("d/w", "file"))
                {
                    written++;
                }

                foreach (var entry in folder.Entries().Where(e => e.Kind == EntryKind.File))
                {
                    Assert.NotEqual("d/secret", entry.Path);
                }
            }
            catch (Exception e) when (e is IOException or LaunchException)
            {
                refused++;
            }
        }

        Volatile.Write(ref stop, true);
        await swapping;
        Assert.Equal(["f"], Directory.EnumerateFiles(outside).Select(Path.GetFileName));
        Assert.Equal("secret", File.ReadAllText(Path.Combine(outside, "f")));
        TestContext.Current.TestOutputHelper?.WriteLine($"read {read}, written {written}, refused {refused}");
        Assert.True(refused > 0, "the links were met");
    }

    [Fact]
    public void Pipes_links_and_huge_files_are_not_read()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "needs pipes");
        var root = Fixture.NewFolder("kinds");
        using var made = System.Diagnostics.Process.Start("mkfifo", [Path.Combine(root, "pipe")]);
        made.WaitForExit();
        Directory.CreateDirectory(Path.Combine(root, "d"));
        File.WriteAllText(Path.Combine(root, "d", "f"), "text");
        File.CreateSymbolicLink(Path.Combine(root, "l"), "d/f");
        File.CreateSymbolicLink(Path.Combine(root, "out"), "/etc/hostname");
        File.CreateSymbolicLink(Path.Combine(root, "round"), "round");
        using var folder = SafeFolder.Open(root);
        Assert.Equal(EntryKind.Other, folder.Kind("pipe", "file"));
        Assert.Null(folder.ReadAllBytes("pipe", "file", 10));
        Assert.Null(folder.ReadAllBytes("missing/f", "file", 10));
        Assert.Null(folder.ReadAllBytes("d/f/x", "file", 10));
        Assert.Equal("text", folder.ReadText("l", "file", 10));
        Assert.Equal("d/f", folder.RealPath("l", "file"));
        Assert.Throws<IOException>(() => folder.OpenExactly("l"));
        foreach (var path in new[] { "out", "round", "../x", "/etc/hostname" })
        {
            Assert.Equal(
                "PathOutside",
                Assert.Throws<LaunchException>(() => folder.ReadAllBytes(path, "file", 10)).ErrorId
            );
        }

        Assert.Equal(
            "FileTooLarge",
            Assert.Throws<LaunchException>(() => folder.ReadAllBytes("d/f", "file", 3)).ErrorId
        );
        Assert.Equal(
            ["d", "d/f", "l", "out", "pipe", "round"],
            folder.Entries().Select(e => e.Path).Order(StringComparer.Ordinal)
        );
        Assert.Equal("PathOutside", Assert.Throws<LaunchException>(() => folder.Create("out/x", "file")).ErrorId);
        Assert.Throws<IOException>(() => folder.Create("l", "file").Dispose());
        using (var file = folder.Replace("l", "file"))
        {
            file.Write("new"u8);
        }

        Assert.Equal("text", File.ReadAllText(Path.Combine(root, "d", "f")));
        using (folder.Create("bin/run", "file", executable: true)) { }

        if (OperatingSystem.IsWindows())
        {
            return;
        }

        Assert.True(File.GetUnixFileMode(Path.Combine(root, "bin", "run")).HasFlag(UnixFileMode.UserExecute));
        Assert.Equal(File.GetUnixFileMode(Path.Combine(root, "d")), File.GetUnixFileMode(Path.Combine(root, "bin")));
    }
}
