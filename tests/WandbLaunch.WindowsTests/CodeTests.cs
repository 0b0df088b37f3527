using System.Diagnostics;
using System.Text;
using System.Text.Json.Nodes;
using LibGit2Sharp;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Sources;
using WandbLaunch.Tests;
using WandbLaunch.Wandb;

namespace WandbLaunch.WindowsTests;

/// <summary>Code from git by the native library of Windows, and agents that are killed.</summary>
public sealed class CodeTests
{
    // A repository by the library itself: there is no git in Wine.
    private static string NewRepository(string name, params (string File, string Text)[] files)
    {
        var folder = Fixture.NewFolder(name);
        Fixture.CopyFolder(Path.GetDirectoryName(Windows.Probe)!, folder);
        foreach (var (file, text) in files)
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.Combine(folder, file))!);
            File.WriteAllText(Path.Combine(folder, file), text);
        }

        Repository.Init(folder);
        using var repository = new Repository(folder);
        Commands.Stage(repository, "*");
        var author = new Signature("Test", "test@example.org", DateTimeOffset.UtcNow);
        repository.Commit("one", author, author);
        return folder;
    }

    private static string UriOf(string folder) => new Uri(folder).AbsoluteUri;

    [Fact]
    public void A_repository_is_cloned_over_a_path_with_a_drive_letter_and_its_bytes_stay()
    {
        var folder = NewRepository(
            "clone repo",
            ("a/crlf.txt", "one\r\ntwo\n"),
            (".gitattributes", "*.txt text=auto\n")
        );
        Assert.StartsWith("file:///C:/", UriOf(folder), StringComparison.Ordinal);
        var run = Git(UriOf(folder), "./probe.exe");
        Assert.Equal((LaunchState.Finished, 0), (run.State, run.ExitCode));
        Assert.Equal(["cloned"], Windows.LinesOf(run));
        using var repository = new Repository(folder);
        var blob = (Blob)repository.Head.Tip["a/crlf.txt"].Target;
        var source = Path.Combine(Path.GetDirectoryName(run.LogPath!)!, "src");
        Assert.Equal(blob.GetContentText(), File.ReadAllText(Path.Combine(source, "a", "crlf.txt")));
    }

    private static LaunchedRun Git(string uri, string entry)
    {
        var result = Windows.Shell.Run(
            "Start-WandbLaunch $uri -EntryPoint $entry -Argument args, cloned -Resource local-process -NoInstall",
            ("uri", uri),
            ("entry", entry)
        );
        return result.Select(o => o.BaseObject).OfType<LaunchedRun>().SingleOrDefault()
            ?? throw new InvalidOperationException(string.Join("\n", Windows.Shell.Errors));
    }

    [Theory]
    [InlineData("aux.txt")]
    [InlineData("dir/con")]
    [InlineData("name:stream")]
    [InlineData("dot.")]
    public void A_commit_with_a_name_that_windows_reads_otherwise_is_refused(string path)
    {
        var folder = NewRepository("names");
        using (var repository = new Repository(folder))
        {
            // As it comes from Linux: in the tree, and in no folder of Windows.
            var blob = repository.ObjectDatabase.CreateBlob(new MemoryStream("x"u8.ToArray()));
            var tree = TreeDefinition.From(repository.Head.Tip).Add(path, blob, Mode.NonExecutableFile);
            var author = new Signature("Test", "test@example.org", DateTimeOffset.UtcNow);
            var commit = repository.ObjectDatabase.CreateCommit(
                author,
                author,
                "names",
                repository.ObjectDatabase.CreateTree(tree),
                [repository.Head.Tip],
                false
            );
            repository.Refs.UpdateTarget(repository.Refs.Head.ResolveToDirectReference(), commit.Id);
        }

        var error = Assert.Throws<InvalidOperationException>(() => Git(UriOf(folder), "./probe.exe"));
        Assert.Contains("Windows has no such file name", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("\n")]
    [InlineData("\r\n")]
    public void A_patch_is_applied_whatever_ends_its_lines(string end)
    {
        var folder = NewRepository("patch", ("a.txt", $"one{end}two{end}three{end}"));
        using var repository = new Repository(folder);
        var patch =
            $"diff --git a/a.txt b/a.txt\n--- a/a.txt\n+++ b/a.txt\n@@ -1,3 +1,3 @@\n one{end.TrimEnd('\n')}\n-two{end.TrimEnd('\n')}\n+2{end.TrimEnd('\n')}\n three{end.TrimEnd('\n')}\n";
        var tree = GitPatch.Apply(repository, repository.Head.Tip.Tree, Encoding.UTF8.GetBytes(patch));
        using var content = ((Blob)repository.Lookup<Tree>(tree)["a.txt"].Target).GetContentStream();
        Assert.Equal($"one{end}2{end}three{end}", new StreamReader(content).ReadToEnd());
    }

    [Fact]
    public async Task A_run_goes_on_when_its_agent_is_killed_and_the_next_one_reports_it()
    {
        var repository = NewRepository("agent");
        var queue = "crash-" + Guid.NewGuid().ToString("n")[..6];
        using var connection = await Fixture.ConnectAsync();
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
                        ["uri"] = UriOf(repository),
                        ["resource"] = "local-process",
                        ["entity"] = "local",
                        ["project"] = "crash",
                        ["overrides"] = new JsonObject
                        {
                            ["entry_point"] = new JsonArray("./probe.exe"),
                            ["args"] = new JsonArray("sleep", "4"),
                        },
                    }
                ),
            ],
            default
        );
        LaunchedRun? Run() =>
            LaunchStore
                .Of(new LaunchContext())
                .Known()
                .SingleOrDefault(r => r.Agent?.EndsWith(queue, StringComparison.Ordinal) is true);
        using (var first = StartAgent("first-" + queue, queue, out var said))
        {
            await Task.WhenAny(Windows.WaitAsync(() => Run() is { State: LaunchState.Running }, "the run", 60), said);
            Assert.True(Run() is { State: LaunchState.Running }, said.IsCompleted ? await said : Run()?.Reason);
            first.Process.Kill();
            await first.WaitForExitAsync(default);
        }

        await Windows.WaitAsync(() => Run() is { IsDone: true }, "its end", 30);
        Assert.Equal((LaunchState.Finished, 0), (Run()!.State, Run()!.ExitCode));
        using (var second = StartAgent("second-" + queue, queue, out _))
        {
            await second.WaitForExitAsync(default).WaitAsync(TimeSpan.FromSeconds(60));
            Assert.Equal(0, second.ExitCode);
        }

        var listed = await connection.Queues.GetAsync("local", "model-registry", queue, null, default);
        await foreach (var item in connection.Queues.ItemsAsync(listed, [], default))
        {
            Assert.Equal((QueueItemState.Finished, (int?)0), (item.State, item.ExitCode));
        }
    }

    private static ChildProcess StartAgent(string name, string queue, out Task<string> said)
    {
        var config =
            $$"""{ "name": "{{name}}", "queues": ["{{queue}}"], "entity": "local", "project": "crash", "max_jobs": 1, "no_install": true, "stop_when_empty": true, "policy": { "resources": ["local-process"], "git_hosts": ["file"] } }""";
        var start = new ProcessStartInfo(
            OwnRuntime.Find(new LaunchEnvironment()).Path,
            [Path.Combine(AppContext.BaseDirectory, "WandbLaunch.CrashAgent.dll"), Fixture.Server.Url, config]
        );
        start.Environment["WANDB_API_KEY"] = Fixture.Key;
        var agent = ChildProcess.Start(start);
        said = Both(agent.StandardOutput.ReadToEndAsync(), agent.StandardError.ReadToEndAsync());
        return agent;

        static async Task<string> Both(Task<string> output, Task<string> error) => await output + await error;
    }
}
