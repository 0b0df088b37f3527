using System.Text;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Tests;

/// <summary>Folders of runs: those that an older version left, and those that a supervisor left in the middle.</summary>
public sealed class RunFolderTests
{
    // As version 0.1 wrote them before resources had parts of their own.
    private const string OldContainerSpec = """
        {
          "Id": "oldboxed",
          "Resource": "local-container",
          "Command": ["python", "main.py"],
          "Arguments": ["--lr", "0.1"],
          "WorkingFolder": "/home/launch",
          "Environment": { "WANDB_LAUNCH": "True", "WANDB_RUN_ID": "oldboxed" },
          "Image": "wandb-launch:793e0652834ed473",
          "UserImage": false,
          "Workspace": "/data/cache/workspaces/4f2a",
          "DockerArgs": { "memory": "1g" },
          "ExtraDockerArguments": ["pids-limit", "memory-swap", "ulimit"],
          "Volumes": ["/data:/data:ro"],
          "Gpu": true,
          "Gpus": ["0", "1"],
          "UserId": 1000,
          "DockerEndpoint": "unix:///run/user/1000/docker.sock",
          "LaunchConfigJson": "{}",
          "StopGraceSeconds": 7,
          "KeepChildren": false,
          "MaxLogSize": 8192
        }
        """;

    private const string OldContainerRun = """
        {
          "Id": "oldboxed",
          "Source": "https://github.com/a/b",
          "Patched": false,
          "Resource": "local-container",
          "Image": "wandb-launch:793e0652834ed473",
          "Command": ["python", "main.py", "--lr", "0.1"],
          "Arguments": ["--lr", "0.1"],
          "State": "Running",
          "OutOfMemory": false,
          "Started": "2026-01-01T10:00:00+00:00",
          "LogPath": "/nowhere/output.log",
          "LogTruncated": false,
          "Warnings": [],
          "ContainerId": "9ef4f902ed3a32def533dc9a4591fe586f322d542159e8ff04c2f854666e20cb"
        }
        """;

    private const string OldProcessSpec = """
        {
          "Id": "oldplain",
          "Resource": "local-process",
          "Command": ["/venv/bin/python", "main.py", "-x"],
          "Arguments": ["-x"],
          "WorkingFolder": "/data/runs/oldplain/src",
          "Environment": { "WANDB_LAUNCH": "True" },
          "UserImage": false,
          "ExtraDockerArguments": [],
          "Volumes": [],
          "Gpu": false,
          "StopGraceSeconds": 10,
          "KeepChildren": true
        }
        """;

    private const string OldProcessRun = """
        {
          "Id": "oldplain",
          "Source": "/home/me/train",
          "Patched": false,
          "Resource": "local-process",
          "Command": ["/venv/bin/python", "main.py", "-x"],
          "Arguments": ["-x"],
          "State": "Running",
          "OutOfMemory": false,
          "Started": "2026-01-01T10:00:00+00:00",
          "LogTruncated": false,
          "Warnings": [],
          "ProcessId": 2147483000,
          "Cgroup": "/sys/fs/cgroup/wandb-launch-oldplain-1"
        }
        """;

    private static (LaunchStore Store, string Folder) Left(string id, string spec, string run)
    {
        var store = LaunchStore.Of(new LaunchContext());
        var folder = Directory.CreateDirectory(store.Folder(id)).FullName;
        File.WriteAllText(Path.Combine(folder, "spec.json"), spec);
        File.WriteAllText(Path.Combine(folder, "run.json"), run);
        return (store, folder);
    }

    [Fact]
    public void A_container_of_the_version_before_is_known_with_its_engine()
    {
        var (store, folder) = Left("oldboxed", OldContainerSpec, OldContainerRun);
        try
        {
            var run = LaunchStore.Load(folder)!;
            Assert.Equal(
                new RunHandle(
                    RunHandle.Container,
                    "9ef4f902ed3a32def533dc9a4591fe586f322d542159e8ff04c2f854666e20cb",
                    "unix:///run/user/1000/docker.sock"
                ),
                run.Handle
            );
            Assert.Equal((run.Handle!.Id, null), (run.ContainerId, run.ProcessId));
            var spec = LaunchStore.LoadSpec(folder);
            Assert.Equal((7, 8192L), (spec.StopGraceSeconds, spec.MaxLogSize!.Value));
            Assert.Equal(["python", "main.py"], spec.Command);
            var data = spec.DataAs<ContainerData>();
            Assert.Equal("{\"memory\":\"1g\"}", data.DockerArgs!.ToJsonString());
            Assert.Equal(["/data:/data:ro"], data.Volumes);
            Assert.Equal(["0", "1"], data.Gpus!);
            Assert.Equal((true, 1000, "{}"), (data.Gpu, data.UserId!.Value, data.LaunchConfigJson));

            // Its engine is not there: nothing is known, and nothing is made up.
            Assert.Equal(LaunchState.Running, store.Get("oldboxed").State);

            // What was written anew is read as well.
            LaunchStore.Save(folder, run);
            LaunchStore.SaveSpec(folder, spec);
            Assert.Equal(run.Handle, LaunchStore.Load(folder)!.Handle);
            Assert.Equal(1000, LaunchStore.LoadSpec(folder).DataAs<ContainerData>().UserId);
        }
        finally
        {
            store.Remove("oldboxed");
        }
    }

    [Fact]
    public void A_process_of_the_version_before_is_known_and_its_end_is_not()
    {
        var (store, folder) = Left("oldplain", OldProcessSpec, OldProcessRun);
        try
        {
            var run = LaunchStore.Load(folder)!;
            Assert.Equal((2147483000, null), (run.ProcessId, run.ContainerId));
            Assert.Equal("/sys/fs/cgroup/wandb-launch-oldplain-1", run.Handle!.Place);
            Assert.Equal(LaunchState.Unknown, store.Get("oldplain").State);
            Assert.NotNull(LaunchStore.Load(folder)!.Finished);
        }
        finally
        {
            store.Remove("oldplain");
        }
    }

    [Fact]
    public async Task A_run_of_a_resource_that_is_not_here_is_listed_as_it_was_left()
    {
        var (store, _) = Left(
            "oldother",
            OldProcessSpec.Replace("local-process", "moon", StringComparison.Ordinal),
            OldProcessRun
                .Replace("local-process", "moon", StringComparison.Ordinal)
                .Replace("oldplain", "oldother", StringComparison.Ordinal)
        );
        try
        {
            var run = Assert.Single(await store.AllAsync(n => n == "oldother", default));
            Assert.Equal(("moon", LaunchState.Running), (run.Resource, run.State));
        }
        finally
        {
            store.Remove("oldother");
        }
    }

    /// <summary>A log of an engine that was copied in part by somebody who was killed at any byte: it is whole all the same, and each byte stands in it once.</summary>
    [Theory]
    [InlineData(null)]
    [InlineData(4096L)]
    public async Task A_copy_of_a_log_is_gone_on_with(long? limit)
    {
        var text = Encoding.UTF8.GetBytes(string.Concat(Enumerable.Range(0, 400).Select(i => $"line {i} ä€🙂\n")));
        var folder = Fixture.NewFolder("copied");
        var path = Path.Combine(folder, "output.log");
        await File.WriteAllTextAsync(path, "");
        var run = new LaunchedRun
        {
            Id = "copied",
            Source = "x",
            Resource = "remembering",
            State = LaunchState.Running,
            Handle = new RunHandle("remembered", "1"),
            Started = DateTimeOffset.UtcNow,
            LogPath = path,
        };
        LaunchStore.Save(folder, run);
        var resource = new Remembering(text);
        var random = new Random(7);
        for (var there = 0; there < text.Length; )
        {
            there = Math.Min(text.Length, there + random.Next(1, 700));
            resource.There = there;
            using (var supervisor = new Supervisor(folder, run, resource, limit))
            {
                await supervisor.CopyLogAsync(default);
            }

            var log = await File.ReadAllBytesAsync(path);
            if (limit is null)
            {
                Assert.Equal(text[..log.Length], log);
                Assert.InRange(log.Length, there - 3, there);

                // Killed after some bytes more were written, and before it was noted.
                if (there < text.Length && random.Next(2) == 0)
                {
                    var more = Math.Min(300, text.Length - log.Length);
                    using var file = new FileStream(path, FileMode.Append);
                    file.Write(text.AsSpan(log.Length, more));
                    there = Math.Max(there, log.Length + more);
                }
            }
        }

        using (var last = new Supervisor(folder, run, resource, limit))
        {
            await last.CollectAsync(new RunOutcome(3), false, default);
            await last.SaveEndAsync();
        }

        Assert.True(resource.Forgotten);
        var end = LaunchStore.Load(folder)!;
        Assert.Equal((LaunchState.Failed, 3, limit is not null), (end.State, end.ExitCode, end.LogTruncated));
        var whole = await File.ReadAllTextAsync(path);
        if (limit is null)
        {
            Assert.Equal(Encoding.UTF8.GetString(text), whole);
            Assert.False(File.Exists(LogMark.PathOf(folder)));
        }
        else
        {
            Assert.StartsWith("line 0 ä€🙂\n", whole, StringComparison.Ordinal);
            Assert.EndsWith("line 399 ä€🙂\n", whole, StringComparison.Ordinal);
            Assert.Single(whole.Split('\n'), l => l.StartsWith("[wandb-launch: ", StringComparison.Ordinal));
            Assert.InRange(whole.Length, 2048, 4400);
        }
    }

    [Fact]
    public async Task A_run_that_is_left_goes_on_and_is_followed_by_the_next()
    {
        var folder = Fixture.NewFolder("left");
        var run = new LaunchedRun
        {
            Id = "left",
            Source = "x",
            Resource = "remembering",
            State = LaunchState.Starting,
            LogPath = Path.Combine(folder, "output.log"),
        };
        LaunchStore.Save(folder, run);
        var resource = new Remembering("one\ntwo\n"u8.ToArray()) { There = 4 };
        var spec = new RunSpec
        {
            Id = "left",
            Resource = "remembering",
            Command = [],
            WorkingFolder = "/",
        };
        var watch = new RunWatch(_ => resource);
        using (var first = new Supervisor(folder, run, resource, null))
        {
            Assert.True(await first.StartAsync(spec, new Dictionary<string, string>(), default));
            using var leave = new CancellationTokenSource();
            var following = first.FollowAsync(watch, TimeSpan.Zero, default, leave.Token);
            await leave.CancelAsync();
            Assert.False(await following);
        }

        Assert.Equal(LaunchState.Running, LaunchStore.Load(folder)!.State);
        Assert.False(resource.Forgotten);
        resource.There = 8;
        using var next = new Supervisor(folder, LaunchStore.Load(folder)!, resource, null);
        Assert.True(await next.StartAsync(spec, new Dictionary<string, string>(), default));
        var followed = next.FollowAsync(watch, TimeSpan.Zero, default, default);
        resource.End.SetResult(new RunOutcome(0));
        Assert.True(await followed);
        await next.SaveEndAsync();
        Assert.Equal(1, resource.Starts);
        Assert.Equal("one\ntwo\n", await File.ReadAllTextAsync(run.LogPath!));
        Assert.Equal(LaunchState.Finished, LaunchStore.Load(folder)!.State);
        Assert.True(resource.Forgotten);
    }

    /// <summary>An engine that remembers, in memory.</summary>
    private sealed class Remembering(byte[] text) : ILaunchResource
    {
        internal int There { get; set; }
        internal int Starts { get; private set; }
        internal bool Forgotten { get; private set; }
        internal TaskCompletionSource<RunOutcome> End { get; } = new();

        public ResourceInfo Info { get; } =
            new()
            {
                Name = "remembering",
                Tip = "",
                EngineRemembers = true,
            };

        public void Validate(LaunchConfig config, LaunchOptions options) { }

        public (LaunchConfig Config, LaunchOptions Options) ApplyPolicy(
            LaunchConfig config,
            LaunchOptions options,
            AgentPolicy policy,
            ItemContext item
        ) => (config, options);

        public Task<ResourcePlan> PlanAsync(ResourceRequest request, CancellationToken token) =>
            throw new NotSupportedException();

        public Task<RunSpec> PrepareAsync(PrepareContext context, CancellationToken token) =>
            throw new NotSupportedException();

        public Task<RunHandle> StartAsync(
            RunSpec spec,
            IReadOnlyDictionary<string, string> secrets,
            CancellationToken token
        )
        {
            Starts++;
            return Task.FromResult(new RunHandle("remembered", spec.Id));
        }

        public Task<RunHandle?> FindAsync(RunSpec spec, CancellationToken token) =>
            Task.FromResult<RunHandle?>(new RunHandle("remembered", spec.Id));

        public Task<IReadOnlyDictionary<string, RunStanding>> LookAsync(
            IReadOnlyCollection<LaunchedRun> runs,
            CancellationToken token
        ) => throw new NotSupportedException();

        public async IAsyncEnumerable<RunChange> WatchAsync(
            WatchedRuns runs,
            [System.Runtime.CompilerServices.EnumeratorCancellation] CancellationToken token
        )
        {
            var outcome = await End.Task.WaitAsync(token);
            yield return new RunChange(runs.All.Single().Id, RunStanding.Ended(outcome));
        }

        public async Task ReadLogAsync(
            LaunchedRun run,
            string? from,
            bool follow,
            IRunLogSink to,
            CancellationToken token
        )
        {
            for (
                var at = from is null ? 0 : int.Parse(from, System.Globalization.CultureInfo.InvariantCulture);
                at < There;

            )
            {
                var piece = Math.Min(97, There - at);
                to.Output(RunStream.Output, text.AsSpan(at, piece));
                at += piece;
                to.Reached(at);
            }

            if (follow)
            {
                await End.Task.WaitAsync(token);
            }
        }

        public Task StopAsync(LaunchedRun run, TimeSpan grace, CancellationToken token) => Task.CompletedTask;

        public Task ForgetAsync(LaunchedRun run, CancellationToken token)
        {
            Forgotten = true;
            return Task.CompletedTask;
        }
    }
}
