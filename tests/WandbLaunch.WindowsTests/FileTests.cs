using System.Diagnostics;
using System.Security.AccessControl;
using System.Security.Principal;
using WandbLaunch.Foundation;
using WandbLaunch.Tests;
using WandbLaunch.Wandb;

namespace WandbLaunch.WindowsTests;

/// <summary>Files of Windows: names, paths, access lists, and what happens to one that is open.</summary>
public sealed class FileTests
{
    [Theory]
    [InlineData("con")]
    [InlineData("NUL")]
    [InlineData("aux.txt")]
    [InlineData("aux .tar.gz")]
    [InlineData("com1.log")]
    [InlineData("COM\u00b9")]
    [InlineData("lpt\u00b3.txt")]
    [InlineData("conin$")]
    [InlineData("CONOUT$")]
    [InlineData("prn")]
    [InlineData("dot.")]
    [InlineData("blank ")]
    [InlineData("dots. .")]
    [InlineData("name:stream")]
    [InlineData("name::$DATA")]
    [InlineData("a<b")]
    [InlineData("a|b")]
    [InlineData("what?")]
    [InlineData("st*r")]
    [InlineData("bell\u0007")]
    public void A_name_that_windows_reads_otherwise_is_refused_everywhere(string name)
    {
        foreach (var path in new[] { name, "dir/" + name, name + "/file" })
        {
            Assert.NotNull(SafePath.Fault(path));
            var root = Fixture.NewFolder("names");
            var error = Assert.Throws<LaunchException>(() => SafePath.Combine(root, path, "file"));
            Assert.Equal("PathOutside", error.ErrorId);
            using var folder = SafeFolder.Open(root);
            Assert.Throws<LaunchException>(() => folder.Create(path, "file").Dispose());
            Assert.Throws<LaunchException>(() => folder.OpenRead(path, "file"));
            Assert.Empty(Directory.EnumerateFileSystemEntries(root));
        }
    }

    [Theory]
    [InlineData("console.txt")]
    [InlineData("auxiliary")]
    [InlineData("com10")]
    [InlineData("nul-1.txt")]
    [InlineData(".gitignore")]
    [InlineData("a b.c")]
    [InlineData("\u00fcml\u00e4ut \u4e2d\u6587.txt")]
    public void An_ordinary_name_is_taken(string name)
    {
        Assert.Null(SafePath.Fault(name));
        using var folder = SafeFolder.Open(Fixture.NewFolder("names"));
        folder.Create(name, "file").Dispose();
        Assert.Equal([name], folder.Entries().Select(e => e.Path));
    }

    [Theory]
    [InlineData(@"C:\Windows")]
    [InlineData("C:file")]
    [InlineData("c:/x")]
    [InlineData(@"\\server\share\x")]
    [InlineData("//server/share/x")]
    [InlineData(@"\\?\C:\x")]
    [InlineData(@"\\.\pipe\x")]
    [InlineData(@"\??\C:\x")]
    [InlineData(@"\x")]
    [InlineData(@"..\x")]
    [InlineData(@"a\..\..\x")]
    public void A_path_that_leaves_the_folder_is_refused_in_every_form(string path)
    {
        var root = Fixture.NewFolder("outside");
        Assert.NotNull(SafePath.Fault(path));
        Assert.Throws<LaunchException>(() => SafePath.Combine(root, path, "file"));
        using var folder = SafeFolder.Open(root);
        Assert.Throws<LaunchException>(() => folder.Create(path, "file").Dispose());
    }

    [Fact]
    public void Long_paths_are_written_listed_and_read()
    {
        var root = Fixture.NewFolder("long");

        // Wine's own GetFinalPathNameByHandle ends at 265 characters; the limit of old programs is 259.
        var length = (Fixture.InWine ? 262 : 600) - root.Length - "/in/".Length;
        var path = new string([.. Enumerable.Range(0, length - 8).Select(i => i % 30 == 29 ? '/' : 'a')]) + "file.txt";
        using (var folder = SafeFolder.Make(Path.Combine(root, "in")))
        {
            using (var file = folder.Create(path, "file"))
            {
                file.Write("text"u8);
            }

            Assert.Equal("text", folder.ReadText(path, "file", 100));
            Assert.Equal(path, folder.Entries().Last().Path);
            using var replaced = folder.Replace(path, "file");
            replaced.Write("other"u8);
        }

        Assert.Equal("other", File.ReadAllText(Path.Combine(root, "in", path)));
        LaunchCache.DeleteFolder(Path.Combine(root, "in"));
        Assert.False(Directory.Exists(Path.Combine(root, "in")));
    }

    [Fact]
    public void Drives_and_case_are_one_place()
    {
        var root = Fixture.NewFolder("Case");
        File.WriteAllText(Path.Combine(root, "File.txt"), "");
        Assert.True(SafePath.IsInside(root, root.ToUpperInvariant() + @"\X"));
        Assert.True(SafePath.IsInside(@"C:\Data", @"c:\data"));
        Assert.False(SafePath.IsInside(@"C:\Data", @"C:\Database"));
        Assert.True(SafePath.IsInside(@"C:\", @"c:\data"));
        Assert.Equal(
            SafePath.RealPath(Path.Combine(root, "missing", "x")),
            SafePath.RealPath(Path.Combine(root, "y", "..", "missing", "x"))
        );
    }

    [Fact]
    public void A_read_only_tree_is_deleted()
    {
        var root = Path.Combine(Fixture.NewFolder("read-only"), "in");
        Directory.CreateDirectory(Path.Combine(root, "pack"));
        File.WriteAllText(Path.Combine(root, "pack", "a.idx"), "");
        File.SetAttributes(Path.Combine(root, "pack", "a.idx"), FileAttributes.ReadOnly);
        LaunchCache.DeleteFolder(root);
        Assert.False(Directory.Exists(root));
    }

    [Fact]
    public void Private_files_and_folders_are_their_owners_alone()
    {
        var root = Path.Combine(Fixture.NewFolder("private"), "own", "deep");
        FileModes.CreatePrivateFolder(root);
        var written = Path.Combine(root, "written");
        FileModes.WritePrivate(written, "x");
        var opened = Path.Combine(root, "opened");
        FileModes.OpenPrivate(opened, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None).Dispose();
        FileModes.WritePrivate(written, "again");
        Assert.Equal("again", FileModes.ReadShared(written));
        foreach (
            FileSystemInfo entry in new FileSystemInfo[]
            {
                new DirectoryInfo(root),
                new DirectoryInfo(Path.GetDirectoryName(root)!),
                new FileInfo(written),
                new FileInfo(opened),
            }
        )
        {
            AssertOwnersAlone(entry);
        }

        // A folder of the user's choice stays as it was; the data folder of the module is closed.
        var home = new LaunchEnvironment().DataFolder;
        FileModes.CreatePrivateFolder(Path.Combine(home, "runs"));
        AssertOwnersAlone(new DirectoryInfo(home));
    }

    private static void AssertOwnersAlone(FileSystemInfo entry)
    {
        var security = entry is DirectoryInfo folder
            ? (FileSystemSecurity)folder.GetAccessControl()
            : ((FileInfo)entry).GetAccessControl();
        using var user = WindowsIdentity.GetCurrent();
        var rules = security
            .GetAccessRules(true, true, typeof(SecurityIdentifier))
            .Cast<FileSystemAccessRule>()
            .Where(r => r.AccessControlType == AccessControlType.Allow)
            .ToList();
        if (!Fixture.InWine)
        {
            Assert.True(security.AreAccessRulesProtected, entry.FullName);
            var rule = Assert.Single(rules);
            Assert.Equal(
                (user.User!, FileSystemRights.FullControl),
                ((SecurityIdentifier)rule.IdentityReference, rule.FileSystemRights)
            );
            return;
        }

        if (entry is DirectoryInfo)
        {
            // Wine takes no list for a folder.
            return;
        }

        // Wine keeps the mode of Unix only, and makes a list of it.
        Assert.NotEmpty(rules);
        Assert.DoesNotContain(
            rules,
            r =>
                r.IdentityReference.Equals(new SecurityIdentifier(WellKnownSidType.WorldSid, null))
                || r.IdentityReference.Equals(new SecurityIdentifier(WellKnownSidType.BuiltinUsersSid, null))
                || r.IdentityReference.Equals(new SecurityIdentifier(WellKnownSidType.AuthenticatedUserSid, null))
        );
    }

    [Fact]
    public async Task A_state_file_is_replaced_while_others_read_it()
    {
        var path = Path.Combine(Fixture.NewFolder("in-use"), "state.json");
        FileModes.WritePrivate(path, new string('0', 5000));
        using var end = new CancellationTokenSource();
        var readers = Enumerable
            .Range(0, 2)
            .Select(_ =>
                Task.Run(() =>
                {
                    var count = 0;
                    while (!end.IsCancellationRequested)
                    {
                        var text = FileModes.ReadShared(path);
                        Assert.True(text.Length == 5000 && text.All(c => c == text[0]), "whole");
                        count++;
                        Thread.Sleep(10);
                    }

                    return count;
                })
            )
            .ToList();
        for (var i = 0; i < 50; i++)
        {
            await Task.Delay(5);
            FileModes.WritePrivate(path, new string((char)('0' + (i % 10)), 5000));
        }

        await end.CancelAsync();
        Assert.All(await Task.WhenAll(readers), n => Assert.True(n > 0));
        Assert.Equal([path], Directory.GetFiles(Path.GetDirectoryName(path)!));
    }

    [Fact]
    public async Task A_file_that_another_program_holds_for_a_moment_is_written_after_it()
    {
        var path = Path.Combine(Fixture.NewFolder("held"), "state.json");
        File.WriteAllText(path, "old");
        using var holder = ChildProcess.Start(new ProcessStartInfo(Windows.Probe, ["hold", path, "0.5"]));
        Assert.Equal("holding", await holder.StandardOutput.ReadLineAsync());
        FileModes.WritePrivate(path, "new");
        Assert.Equal("new", FileModes.ReadShared(path));
        await holder.WaitForExitAsync(default);
    }

    [Fact]
    public async Task A_lock_is_between_processes_and_ends_with_its_process()
    {
        var path = Path.Combine(Fixture.NewFolder("lock"), "x.lock");
        using (var first = FileLock.TryEnter(path))
        {
            Assert.NotNull(first);
            Assert.Null(FileLock.TryEnter(path));
        }

        using var holder = ChildProcess.Start(new ProcessStartInfo(Windows.Probe, ["hold", path, "60"]));
        Assert.Equal("holding", await holder.StandardOutput.ReadLineAsync());
        Assert.Null(FileLock.TryEnter(path));
        holder.Process.Kill();
        await holder.WaitForExitAsync(default);
        using var next = await FileLock.EnterAsync(path, default).WaitAsync(TimeSpan.FromSeconds(5));
        Assert.NotNull(next);
    }

    [Fact]
    public void The_key_is_in_underscore_netrc_with_ends_of_lines_of_windows()
    {
        var home = Fixture.NewFolder("netrc-home");
        var environment = new LaunchEnvironment { Home = home, Variable = _ => null };
        var path = Netrc.FilePath(environment);
        Assert.Equal(Path.Combine(home, "_netrc"), path);
        File.WriteAllText(path, "# mine\r\nmachine other.example.org\r\n  login me\r\n  password abc\r\n");
        Netrc.Save(path, "api.wandb.ai", "user", "0123456789");
        Assert.Equal("0123456789", Netrc.FindPassword(path, "api.wandb.ai"));
        Assert.Equal("abc", Netrc.FindPassword(path, "other.example.org"));
        Assert.True(Netrc.Remove(path, "api.wandb.ai"));
        Assert.Equal("# mine\r\nmachine other.example.org\r\n  login me\r\n  password abc\r\n", File.ReadAllText(path));
        AssertOwnersAlone(new FileInfo(path));
    }
}
