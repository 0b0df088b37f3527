using System.Text;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Sources;

namespace WandbLaunch.Tests;

public sealed class SourceTests
{
    private static string NewRepository(string name, params (string Path, string Content)[] files)
    {
        var folder = Fixture.NewFolder(name);
        Fixture.Git(folder, "init", "-q", "-b", "main");
        foreach (var (path, content) in files)
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.Combine(folder, path))!);
            File.WriteAllText(Path.Combine(folder, path), content);
        }

        Fixture.Git(folder, "add", "-A");
        Fixture.Git(folder, "commit", "-q", "-m", "one");
        return folder;
    }

    private static ResolveContext Context(string? cache = null) =>
        new(Fixture.Root, new LaunchCache(cache ?? Fixture.NewFolder("cache")), async _ => await Fixture.ConnectAsync())
        {
            DataFolder = new LaunchEnvironment().DataFolder,
            ScratchFolder = () => Fixture.NewFolder("scratch"),
        };

    // A run folder of this repository: its commit and the patch that git itself makes.
    private static string RunOf(
        string repository,
        string program = "main.py",
        string? patch = null,
        string requirements = "",
        string? commit = null
    )
    {
        var folder = Fixture.NewFolder("offline-run-20260101_000000-abcdefgh");
        Directory.CreateDirectory(Path.Combine(folder, "files"));
        File.WriteAllBytes(
            Path.Combine(folder, "files", "diff.patch"),
            Encoding.Latin1.GetBytes(patch ?? Diff(repository))
        );
        File.WriteAllText(Path.Combine(folder, "files", "requirements.txt"), requirements);
        var metadata = new System.Text.Json.Nodes.JsonObject
        {
            ["python"] = "3",
            ["program"] = program,
            ["codePath"] = program,
            ["args"] = new System.Text.Json.Nodes.JsonArray("--a", "1"),
            ["git"] = new System.Text.Json.Nodes.JsonObject
            {
                ["remote"] = new Uri(repository).AbsoluteUri,
                ["commit"] = commit ?? Fixture.Git(repository, "rev-parse", "HEAD").Trim(),
            },
        };
        File.WriteAllText(Path.Combine(folder, "files", "wandb-metadata.json"), metadata.ToJsonString());
        return folder;
    }

    private static string Diff(string repository, params string[] more)
    {
        var start = new System.Diagnostics.ProcessStartInfo("git")
        {
            WorkingDirectory = repository,
            RedirectStandardOutput = true,
            StandardOutputEncoding = Encoding.Latin1,
        };
        foreach (var word in new[] { "diff", "--binary", "-M", "HEAD" }.Concat(more))
        {
            start.ArgumentList.Add(word);
        }

        using var process = System.Diagnostics.Process.Start(start)!;
        return process.StandardOutput.ReadToEnd();
    }

    private static Task<ResolvedRun> Resolve(string uri, LaunchConfig? config = null, string? cache = null) =>
        SourceCatalog.ResolveAsync((config ?? new LaunchConfig()) with { Uri = uri }, Context(cache), default);

    private static async Task<LaunchException> Fails(
        string id,
        string uri,
        LaunchConfig? config = null,
        string? cache = null
    )
    {
        var error = await Assert.ThrowsAsync<LaunchException>(() => Resolve(uri, config, cache));
        Assert.Equal(id, error.ErrorId);
        return error;
    }

    [Fact]
    public async Task The_real_sdks_run_is_resolved_from_its_folder_and_from_the_server()
    {
        foreach (
            var uri in new[]
            {
                Fixture.OfflineRun,
                Fixture.Server.Url + "/local/demo/runs/22stxuh9",
                "local/demo/runs/22stxuh9",
            }
        )
        {
            var run = await Resolve(
                uri,
                new LaunchConfig { GitRepo = Fixture.Repository, Args = ArgumentSet.FromWords(["lr=0.5"]) }
            );
            Assert.Equal(Fixture.Commit, run.Commit);
            Assert.True(run.Patched);
            Assert.Equal(["python", "train.py"], run.EntryPoint);
            Assert.Equal(["--lr", "0.5", "--epochs", "3", "--name", "two words"], run.Arguments);
            Assert.Equal("3.11.2", run.PythonVersion);
            Assert.Contains(
                "loss = 2.0  # changed, not committed",
                File.ReadAllText(Path.Combine(run.Workspace!, "train.py")),
                StringComparison.Ordinal
            );
            Assert.True(run.Requirements.Frozen || File.Exists(Path.Combine(run.Workspace!, "requirements.txt")));
        }
    }

    [Fact]
    public async Task A_git_version_leaves_the_patch_out()
    {
        var run = await Resolve(
            Fixture.OfflineRun,
            new LaunchConfig { GitRepo = Fixture.Repository, GitVersion = Fixture.Commit }
        );
        Assert.False(run.Patched);
        Assert.Contains(
            "loss = 1.0",
            File.ReadAllText(Path.Combine(run.Workspace!, "train.py")),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task Patches_of_every_kind_give_the_same_files()
    {
        var repository = NewRepository(
            "patch",
            ("main.py", "print(1)\n"),
            ("requirements.txt", ""),
            ("crlf.txt", "a\r\nb\r\nc\r\n"),
            ("old name.txt", string.Join('\n', Enumerable.Range(0, 40))),
            ("gone.txt", "x\n"),
            ("run.sh", "echo\n"),
            ("noeol.txt", "no end"),
            ("ünï.txt", "ä\n")
        );
        File.WriteAllBytes(
            Path.Combine(repository, "image.bin"),
            [.. Enumerable.Range(0, 4000).Select(i => (byte)(i * 7))]
        );
        Fixture.Git(repository, "add", "-A");
        Fixture.Git(repository, "commit", "-q", "-m", "two");

        File.WriteAllText(Path.Combine(repository, "main.py"), "print(2)\n--- a/not a header\n+++ b/nor this\n");
        File.WriteAllText(Path.Combine(repository, "crlf.txt"), "a\r\nB\r\nc\r\n");
        File.Move(Path.Combine(repository, "old name.txt"), Path.Combine(repository, "new name.txt"));
        File.AppendAllText(Path.Combine(repository, "new name.txt"), "\nmore");
        File.Delete(Path.Combine(repository, "gone.txt"));
        File.WriteAllText(Path.Combine(repository, "noeol.txt"), "no end still");
        File.WriteAllText(Path.Combine(repository, "ünï.txt"), "ö 🙂\n");
        File.WriteAllBytes(
            Path.Combine(repository, "image.bin"),
            [.. Enumerable.Range(0, 5000).Select(i => (byte)(i * 11))]
        );
        Directory.CreateDirectory(Path.Combine(repository, "sub"));
        File.WriteAllText(Path.Combine(repository, "sub", "added.txt"), "new\n");
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(Path.Combine(repository, "run.sh"), (UnixFileMode)0x1ED);
        }

        Fixture.Git(repository, "add", "-A");
        var run = await Resolve(RunOf(repository));
        var expected = Directory
            .EnumerateFiles(repository, "*", SearchOption.AllDirectories)
            .Select(f => Path.GetRelativePath(repository, f))
            .Where(f => !f.StartsWith(".git", StringComparison.Ordinal))
            .Order()
            .ToList();
        Assert.Equal(
            expected,
            Directory
                .EnumerateFiles(run.Workspace!, "*", SearchOption.AllDirectories)
                .Select(f => Path.GetRelativePath(run.Workspace!, f))
                .Order()
        );
        Assert.All(
            expected,
            f =>
                Assert.Equal(
                    File.ReadAllBytes(Path.Combine(repository, f)),
                    File.ReadAllBytes(Path.Combine(run.Workspace!, f))
                )
        );
        Assert.True(
            OperatingSystem.IsWindows()
                || File.GetUnixFileMode(Path.Combine(run.Workspace!, "run.sh")).HasFlag(UnixFileMode.UserExecute)
        );
    }

    [Fact]
    public async Task A_patch_taken_in_a_subfolder_finds_its_place()
    {
        var repository = NewRepository(
            "sub",
            ("requirements.txt", ""),
            ("src/app/main.py", "print(1)\n"),
            ("src/app/other.txt", "o\n"),
            ("main.py", "")
        );
        File.WriteAllText(Path.Combine(repository, "src", "app", "other.txt"), "changed\n");
        Fixture.Git(repository, "add", "-A");
        var run = await Resolve(
            RunOf(repository, "src/app/main.py", Diff(Path.Combine(repository, "src", "app"), "--relative"))
        );
        Assert.Equal("changed\n", File.ReadAllText(Path.Combine(run.Workspace!, "src", "app", "other.txt")));
    }

    [Fact]
    public async Task A_patch_that_does_not_fit_names_file_and_hunk_and_leaves_nothing()
    {
        var lines = string.Join('\n', Enumerable.Range(0, 60)) + "\n";
        var repository = NewRepository("misfit", ("requirements.txt", ""), ("main.py", lines), ("good.txt", "a\n"));
        File.WriteAllText(Path.Combine(repository, "good.txt"), "b\n");
        File.WriteAllText(
            Path.Combine(repository, "main.py"),
            lines
                .Replace("\n3\n", "\nthree\n", StringComparison.Ordinal)
                .Replace("\n50\n", "\nfifty\n", StringComparison.Ordinal)
        );
        var patch = Diff(repository).Replace("-50\n", "-fivezero\n", StringComparison.Ordinal);
        var cache = Fixture.NewFolder("cache");
        var error = await Fails("PatchDoesNotApply", RunOf(repository, patch: patch), cache: cache);
        Assert.Contains("hunk 2 of main.py", error.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(new LaunchCache(cache).Entries(), e => e.Kind == "workspaces");
    }

    [Theory]
    [InlineData("diff --git a/../x b/../x\nnew file mode 100644\n--- /dev/null\n+++ b/../x\n@@ -0,0 +1 @@\n+x\n")]
    [InlineData("--- a/x\n+++ b//etc/passwd\n@@ -0,0 +1 @@\n+x\n")]
    [InlineData(
        "diff --git a/.git/hooks/x b/.git/hooks/x\nnew file mode 100755\n--- /dev/null\n+++ b/.git/hooks/x\n@@ -0,0 +1 @@\n+x\n"
    )]
    [InlineData(
        "diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+/etc/passwd\n\\ No newline at end of file\n"
    )]
    [InlineData(
        "diff --git a/d/l b/d/l\nnew file mode 120000\n--- /dev/null\n+++ b/d/l\n@@ -0,0 +1 @@\n+../../x\n\\ No newline at end of file\n"
    )]
    [InlineData(
        "diff --git \"a/\\056\\056/x\" \"b/\\056\\056/x\"\nnew file mode 100644\n--- /dev/null\n+++ \"b/\\056\\056/x\"\n@@ -0,0 +1 @@\n+x\n"
    )]
    [InlineData("diff --git a/main.py b/main.py\nsimilarity index 100%\nrename from main.py\nrename to ../main.py\n")]
    public async Task A_patch_that_reaches_out_is_refused(string patch)
    {
        var repository = NewRepository("unsafe", ("requirements.txt", ""), ("main.py", ""));
        await Fails("PatchUnsafe", RunOf(repository, patch: patch));
    }

    [Fact]
    public async Task A_huge_patch_is_refused_without_reading_it()
    {
        var repository = NewRepository("huge", ("requirements.txt", ""), ("main.py", ""));
        var run = RunOf(repository);
        using (var file = new FileStream(Path.Combine(run, "files", "diff.patch"), FileMode.Create))
        {
            file.SetLength(200L << 20);
        }

        await Fails("FileTooLarge", run);
    }

    [Fact]
    public async Task Links_out_of_a_repository_are_refused_and_links_inside_kept()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "needs symbolic links");
        var repository = NewRepository("links", ("requirements.txt", ""), ("main.py", "print(1)\n"));
        File.CreateSymbolicLink(Path.Combine(repository, "inside.py"), "main.py");
        Fixture.Git(repository, "add", "-A");
        Fixture.Git(repository, "commit", "-q", "-m", "link");
        var run = await Resolve(new Uri(repository).AbsoluteUri);
        Assert.Equal("main.py", new FileInfo(Path.Combine(run.Workspace!, "inside.py")).LinkTarget);
        File.CreateSymbolicLink(Path.Combine(repository, "outside"), "../../etc");
        Fixture.Git(repository, "add", "-A");
        Fixture.Git(repository, "commit", "-q", "-m", "bad link");
        await Fails("LinkOutside", new Uri(repository).AbsoluteUri);
    }

    [Fact]
    public async Task Branches_tags_commits_and_subfolders_of_git()
    {
        var repository = NewRepository(
            "refs",
            ("main.py", "print('main')\n"),
            ("requirements.txt", ""),
            ("sub/main.py", "print('sub')\n"),
            ("sub/requirements.txt", "")
        );
        var first = Fixture.Git(repository, "rev-parse", "HEAD").Trim();
        Fixture.Git(repository, "tag", "-a", "v1", "-m", "v1");
        Fixture.Git(repository, "checkout", "-q", "-b", "feature/x");
        File.WriteAllText(Path.Combine(repository, "main.py"), "print('feature')\n");
        Fixture.Git(repository, "commit", "-q", "-am", "two");
        Fixture.Git(repository, "checkout", "-q", "main");
        var uri = new Uri(repository).AbsoluteUri;
        var cache = Fixture.NewFolder("cache");
        async Task<string> Main(string text, string? version = null) =>
            File.ReadAllText(
                Path.Combine(
                    (await Resolve(text, new LaunchConfig { GitVersion = version }, cache)).Workspace!,
                    "main.py"
                )
            );
        Assert.Equal("print('main')\n", await Main(uri));
        Assert.Equal("print('feature')\n", await Main(uri + "@feature/x"));
        Assert.Equal("print('main')\n", await Main(uri, "v1"));
        Assert.Equal("print('main')\n", await Main(uri, first[..10]));
        Assert.Equal("print('sub')\n", await Main(uri + "#sub"));
        await Fails("GitVersionNotFound", uri + "@nope");
        await Fails("CommitNotFound", uri, new LaunchConfig { GitVersion = new string('a', 40) });
        await Fails("GitVersionRefused", uri, new LaunchConfig { GitVersion = "--upload-pack=x" });
        await Fails("SubfolderNotFound", uri + "#nope");
        await Fails("GitRepositoryNotFound", "file:///no/such/repository");

        // The commit is in the mirror now: the repository is not needed any more.
        Directory.Move(repository, repository + "-away");
        Assert.Equal("print('main')\n", await Main(uri, first));
    }

    [Fact]
    public async Task A_commit_that_was_lost_in_a_force_push_is_said_so()
    {
        var repository = NewRepository("lost", ("main.py", ""), ("requirements.txt", ""));
        await Fails("CommitNotFound", RunOf(repository, commit: new string('b', 40)));
    }

    [Fact]
    public async Task Submodules_are_fetched_too()
    {
        var inner = NewRepository("inner", ("lib.py", "x = 1\n"));
        var outer = NewRepository("outer", ("main.py", ""), ("requirements.txt", ""));
        Fixture.Git(
            outer,
            "-c",
            "protocol.file.allow=always",
            "submodule",
            "--quiet",
            "add",
            new Uri(inner).AbsoluteUri,
            "deps/inner"
        );
        Fixture.Git(outer, "commit", "-q", "-m", "sub");
        var run = await Resolve(new Uri(outer).AbsoluteUri);
        Assert.Equal("x = 1\n", File.ReadAllText(Path.Combine(run.Workspace!, "deps", "inner", "lib.py")));
    }

    [Fact]
    public async Task A_folder_goes_as_it_is_without_what_is_ignored()
    {
        var repository = NewRepository(
            "folder",
            ("main.py", "print(1)\n"),
            ("requirements.txt", ""),
            (".gitignore", "*.log\nbuild/\n"),
            (".dockerignore", "secret*\n!secret-not\ndata/**\n"),
            ("kept.log", "tracked")
        );
        Fixture.Git(repository, "add", "-f", "kept.log");
        Fixture.Git(repository, "commit", "-q", "-m", "log");
        File.WriteAllText(Path.Combine(repository, "main.py"), "print('uncommitted')\n");
        foreach (
            var (path, _) in new[]
            {
                ("x.log", 0),
                ("build/x", 0),
                ("secret.txt", 0),
                ("secret-not", 0),
                ("data/deep/x", 0),
                ("new.txt", 0),
                ("wandb/run/x", 0),
            }
        )
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.Combine(repository, path))!);
            File.WriteAllText(Path.Combine(repository, path), "x");
        }

        var run = await Resolve(repository);
        Assert.Equal(
            [".dockerignore", ".gitignore", "kept.log", "main.py", "new.txt", "requirements.txt", "secret-not"],
            Directory
                .EnumerateFiles(run.Workspace!, "*", SearchOption.AllDirectories)
                .Select(f => Path.GetRelativePath(run.Workspace!, f))
                .Order(StringComparer.Ordinal)
        );
        Assert.Equal("print('uncommitted')\n", File.ReadAllText(Path.Combine(run.Workspace!, "main.py")));

        // A folder that is no repository, and whose name looks like git's.
        var plain = Fixture.NewFolder("my-git-project");
        File.WriteAllText(Path.Combine(plain, "main.py"), "");
        File.WriteAllText(Path.Combine(plain, "requirements.txt"), "");
        File.WriteAllText(Path.Combine(plain, ".gitignore"), "*.tmp\n");
        File.WriteAllText(Path.Combine(plain, "x.tmp"), "");
        run = await Resolve(Path.GetFileName(plain));
        Assert.False(File.Exists(Path.Combine(run.Workspace!, "x.tmp")));
        Assert.False(Directory.Exists(Path.Combine(plain, ".git")) || File.Exists(Path.Combine(plain, ".git")));
    }

    [Fact]
    public async Task A_lock_that_a_killed_launcher_left_in_a_mirror_keeps_nobody_out()
    {
        var folder = Fixture.NewFolder("left-lock");
        Fixture.Git(folder, "init", "-q", "-b", "main");
        var cache = new LaunchCache(Fixture.NewFolder("left-lock-cache"));
        var url = new Uri(folder).AbsoluteUri;

        // Killed while the mirror was made, while its configuration was written, and while it took over what was fetched.
        string[] left = ["config.lock", "HEAD.lock", "packed-refs.lock", "FETCH_HEAD.lock", "refs/heads/main.lock"];
        for (var i = 0; i < 3; i++)
        {
            await File.WriteAllTextAsync(Path.Combine(folder, "main.py"), $"print({i})");
            Fixture.Git(folder, "add", ".");
            Fixture.Git(folder, "commit", "-q", "-m", "one");
            var mirror = new GitMirror(cache, url, null, null);
            foreach (var name in left)
            {
                var path = Path.Combine(mirror.Folder, name);
                Directory.CreateDirectory(Path.GetDirectoryName(path)!);
                await File.WriteAllTextAsync(path, "");
            }

            Assert.Equal(
                Fixture.Git(folder, "rev-parse", "HEAD").Trim(),
                await mirror.ResolveAsync("main", TestContext.Current.CancellationToken)
            );
            Assert.Empty(Directory.GetFiles(mirror.Folder, "*.lock", SearchOption.AllDirectories));
        }
    }

    [Fact]
    public void A_folder_that_holds_the_data_folder_is_copied_without_it()
    {
        var folder = Fixture.NewFolder("holds-home");
        var home = Path.Combine(folder, "home");
        var copies = Path.Combine(home, "runs", "own-copy");
        var (target, inside) = (Path.Combine(copies, "src"), Path.Combine(copies, "src-inside"));
        Directory.CreateDirectory(Path.Combine(folder, "train"));
        File.WriteAllText(Path.Combine(folder, "train", "train.py"), "");
        Workspace.CopyFolder(folder, target, home, [], default);
        Assert.True(File.Exists(Path.Combine(target, "train", "train.py")));
        Assert.False(Directory.Exists(Path.Combine(target, "home")));

        Workspace.CopyFolder(copies, inside, home, [], default);
        Assert.True(File.Exists(Path.Combine(inside, "src", "train", "train.py")));
        Assert.False(Directory.Exists(Path.Combine(inside, "src-inside")));
    }

    [Fact]
    public async Task What_goes_away_while_a_folder_is_copied_is_left_out()
    {
        var folder = Fixture.NewFolder("changes");
        for (var i = 0; i < 300; i++)
        {
            File.WriteAllText(Path.Combine(folder, $"file{i:000}"), "x");
        }

        File.WriteAllText(Path.Combine(folder, "main.py"), "");
        using var over = new CancellationTokenSource();
        var changing = Task.Run(() =>
        {
            // As an editor does it with its swap files, and a database with its log.
            for (var i = 0; !over.IsCancellationRequested; i = (i + 1) % 300)
            {
                var file = Path.Combine(folder, $"file{i:000}");
                File.Delete(file);
                File.WriteAllText(file, "x");
            }
        });
        try
        {
            for (var i = 0; i < 30; i++)
            {
                var target = Path.Combine(Fixture.NewFolder("changes-copy"), "src");
                Workspace.CopyFolder(folder, target, Path.Combine(folder, "no-home"), [], default);
                Assert.True(File.Exists(Path.Combine(target, "main.py")));
            }
        }
        finally
        {
            await over.CancelAsync();
            await changing;
        }
    }

    [Fact]
    public async Task What_is_missing_is_said()
    {
        var folder = Fixture.NewFolder("empty");
        Assert.Contains("-NoInstall", (await Fails("RequirementsMissing", folder)).Message, StringComparison.Ordinal);
        File.WriteAllText(Path.Combine(folder, "requirements.txt"), "");
        Assert.Contains("-EntryPoint", (await Fails("EntryPointNotFound", folder)).Message, StringComparison.Ordinal);
        await Fails("PathOutside", folder, new LaunchConfig { EntryPoint = ["python", "../x.py"] });
        await Fails("PathOutside", folder, new LaunchConfig { EntryPoint = ["python", "/etc/x.py"] });
        await Fails("GitVersionForFolder", folder, new LaunchConfig { GitVersion = "main" });
        var repository = NewRepository("program", ("requirements.txt", ""), ("main.jl", ""));
        await Fails("EntryPointUnsupported", RunOf(repository, "main.jl"));
        await Fails("PathOutside", RunOf(repository, "../../main.py"));
        await Fails("RunNotFound", "local/demo/runs/nothere0");
        await Fails("ProjectNotFound", "local/nothere/runs/12345678");
        await Fails("OtherServer", "https://wandb.ai/local/demo/runs/22stxuh9");
        if (!OperatingSystem.IsWindows())
        {
            File.WriteAllText(Path.Combine(Fixture.Root, "outside.py"), "");
            File.CreateSymbolicLink(Path.Combine(folder, "main.py"), Path.Combine(Fixture.Root, "outside.py"));
            await Fails("EntryPointNotFound", folder);
        }
    }

    [Fact]
    public async Task A_notebook_becomes_a_script()
    {
        var repository = NewRepository(
            "notebook",
            ("requirements.txt", ""),
            (
                "nb/train.ipynb",
                """{"cells": [{"cell_type": "markdown", "source": ["# no"]}, {"cell_type": "code", "source": ["%matplotlib inline\n", "!pip install x\n", "print('cell')\n"]}, {"cell_type": "code", "source": "x = 1"}]}"""
            )
        );
        var run = await Resolve(RunOf(repository, "nb/train.ipynb"));
        Assert.Equal(["python", "nb/train.py"], run.EntryPoint);
        Assert.Equal(
            "pass  # %matplotlib inline\npass  # !pip install x\nprint('cell')\n\n\nx = 1\n\n",
            File.ReadAllText(Path.Combine(run.Workspace!, "nb", "train.py"))
        );
    }

    [Fact]
    public async Task Two_launches_of_one_commit_at_the_same_moment_share_one_workspace()
    {
        var repository = NewRepository("race", ("main.py", ""), ("requirements.txt", ""));
        var cache = Fixture.NewFolder("cache");
        var runs = await Task.WhenAll(
            Enumerable.Range(0, 8).Select(_ => Task.Run(() => Resolve(new Uri(repository).AbsoluteUri, null, cache)))
        );
        Assert.Single(runs.Select(r => r.Workspace).Distinct());
        Assert.Single(new LaunchCache(cache).Entries(), e => e.Kind == "workspaces");
    }

    [Fact]
    public async Task A_host_that_never_answers_is_given_up()
    {
        using var listener = new System.Net.Sockets.TcpListener(System.Net.IPAddress.Loopback, 0);
        listener.Start();
        var patient = SourceCatalog.ResolveAsync(
            new LaunchConfig { Uri = $"http://{listener.LocalEndpoint}/me/train.git" },
            Context() with
            {
                GitSilence = TimeSpan.FromSeconds(3),
            },
            default
        );
        var fault = await Assert.ThrowsAsync<LaunchException>(() => patient.WaitAsync(TimeSpan.FromSeconds(30)));
        Assert.Equal("GitFetchFailed", fault.ErrorId);
        Assert.Contains("time", fault.Message, StringComparison.OrdinalIgnoreCase);
    }
}
