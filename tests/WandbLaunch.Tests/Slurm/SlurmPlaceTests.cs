using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Python;
using WandbLaunch.Resources;

namespace WandbLaunch.Tests;

/// <summary>What a run finds where it runs: by ssh, in a virtual environment, in an image.</summary>
[Collection(SlurmCollection.Name)]
[System.Runtime.Versioning.SupportedOSPlatform("linux")]
public sealed class SlurmPlaceTests
{
    private static string Log(LaunchedRun run) => File.ReadAllText(run.LogPath!);

    private static (string Folder, string Port) Ssh()
    {
        var folder = Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_GIT_SSH");
        if (folder is null)
        {
            Assert.False(
                Environment.GetEnvironmentVariable("CI") == "true",
                "CI must have an sshd (tests/engines/git-ssh-up.sh)"
            );
            Assert.Skip("needs an sshd: tests/engines/git-ssh-up.sh, and its folder in WANDBLAUNCH_TEST_GIT_SSH");
        }

        return (folder!, Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_GIT_SSH_PORT") ?? "12222");
    }

    private static LaunchOptions ByHost(SlurmMachine slurm, string host) =>
        slurm.Options with
        {
            Settings = new Dictionary<string, string>
            {
                ["slurm_host"] = host,
                ["slurm_folder"] = Path.Combine(slurm.Folder, "shared"),
            },
        };

    [Fact]
    public async Task By_ssh_it_is_the_same_run()
    {
        var (folder, port) = Ssh();
        using var slurm = new SlurmMachine(("WANDBLAUNCH_SSH", Path.Combine(folder, "ssh")), ("XDG_RUNTIME_DIR", null));
        var options = ByHost(slurm, $"{Environment.UserName}@127.0.0.1:{port}") with
        {
            Environment = new Dictionary<string, string> { ["MY_TOKEN"] = "secret by ssh" },
        };
        var run = await slurm.RunAsync(
            "echo \"$MY_TOKEN $1 ü\"; sleep 1; seq 100000 | tail -n 1; head -c 600000 /dev/zero | tr '\\0' x; echo; exit 4",
            options: options,
            words: ["it's \"one\" word"]
        );
        Assert.Equal((LaunchState.Failed, 4, null), (run.State, run.ExitCode, run.ErrorId));
        Assert.Equal($"secret by ssh it's \"one\" word ü\n100000\n{new string('x', 600_000)}\n", Log(run));
        Assert.StartsWith("ssh://", run.Handle!.Place, StringComparison.Ordinal);
        Assert.False(Directory.Exists(Path.Combine(slurm.Folder, "shared", "runs", run.Id)));

        // One connection was kept for all of it.
        Assert.Single(Directory.EnumerateFiles(Path.Combine(slurm.Folder, "home", "ssh")));

        // A shell that knows only what was written down finds another one, stops it, and reads its output.
        var store = slurm.Store();
        var prepared = await slurm.PrepareAsync(store, "echo begin; sleep 60", options: options);
        using (var supervision = new Supervision(store.Resources))
        {
            await supervision.LeaveAsync(prepared.Folder, prepared.Spec, prepared.Secrets, default);
        }

        var other = slurm.Store();
        await SlurmMachine.UntilAsync(() => other.Get(prepared.Run.Id).State == LaunchState.Running, "it runs");
        await other.CopyLogAsync(other.Get(prepared.Run.Id), default);
        var stopped = await other.StopAsync(prepared.Run.Id, default);
        Assert.Equal(LaunchState.Stopped, stopped.State);
        Assert.Contains("begin\n", Log(stopped), StringComparison.Ordinal);
        var socket = Assert.Single(Directory.GetFileSystemEntries(Path.Combine(slurm.Folder, "home", "ssh")));
        SlurmMachine.Command(Path.Combine(folder, "ssh"), "-o", "ControlPath=" + socket, "-O", "exit", "127.0.0.1");
    }

    [Fact]
    public async Task A_host_that_is_not_there_says_what_to_try()
    {
        var (folder, _) = Ssh();
        using var slurm = new SlurmMachine(("WANDBLAUNCH_SSH", Path.Combine(folder, "ssh")));
        var e = await Assert.ThrowsAsync<LaunchException>(() =>
            slurm.PrepareAsync(slurm.Store(), "true", options: ByHost(slurm, "nobody@127.0.0.1:1"))
        );
        Assert.Equal(("SlurmHostUnreachable", LaunchErrorCategory.ConnectionError), (e.ErrorId, e.Category));
        Assert.Contains("ssh -p 1 nobody@127.0.0.1", e.Message, StringComparison.Ordinal);
    }

    private static Task<PreparedLaunch> PreparePythonAsync(SlurmMachine slurm, LaunchStore store, PipSettings pip)
    {
        var code = Directory.CreateDirectory(Path.Combine(slurm.Folder, "python")).FullName;
        File.WriteAllText(Path.Combine(code, "requirements.txt"), "wandblaunch-sample==1.0\n");
        File.WriteAllText(
            Path.Combine(code, "main.py"),
            "import sys, wandblaunch_sample\nprint(sys.prefix, wandblaunch_sample.answer)\n"
        );
        return new Launcher(store, _ => Task.FromResult<Wandb.WandbConnection?>(null)).PrepareAsync(
            new LaunchConfig
            {
                Uri = code,
                EntryPoint = ["python", "main.py"],
                Resource = "slurm",
            },
            slurm.Options with
            {
                NoInstall = false,
                Pip = pip,
            },
            slurm.Folder,
            default
        );
    }

    private static async Task<LaunchedRun> RunAsync(LaunchStore store, PreparedLaunch prepared)
    {
        using var supervision = new Supervision(store.Resources);
        return await supervision.RunAsync(prepared.Folder, prepared.Spec, prepared.Secrets, null, null, false, default);
    }

    [Fact]
    public async Task A_virtual_environment_is_made_once_by_the_login_node_or_by_a_node_with_another_Python()
    {
        using var slurm = new SlurmMachine();
        var store = slurm.Store();
        var wheels = Wheel(slurm);
        var pip = new PipSettings { NoIndex = true, FindLinks = [wheels] };
        var prepared = await PreparePythonAsync(slurm, store, pip);
        var venvs = Path.Combine(slurm.Folder, "home", "slurm", "venvs");
        var made = Assert.Single(Directory.GetDirectories(venvs));

        // As if the login node had made another Python's.
        Directory.Delete(made, true);
        var first = await RunAsync(store, prepared);
        Assert.True(first.State == LaunchState.Finished, first.Reason + Log(first));
        Assert.EndsWith($"\n{made} 42\n", "\n" + Log(first), StringComparison.Ordinal);

        // The next one takes it as it is, though the index has nothing any more.
        Directory.Delete(wheels, true);
        var second = await RunAsync(store, await PreparePythonAsync(slurm, store, pip));
        Assert.Equal($"{made} 42\n", Log(second));
    }

    [Fact]
    public async Task Packages_that_are_not_there_say_so_and_the_login_of_the_index_goes()
    {
        using var slurm = new SlurmMachine();
        var pip = new PipSettings
        {
            NoIndex = true,
            IndexUrl = "https://user:token-of-the-index@index.example.org/simple",
        };
        var failed = await Assert.ThrowsAsync<LaunchException>(() => PreparePythonAsync(slurm, slurm.Store(), pip));
        Assert.Equal("RequirementsFailed", failed.ErrorId);
        Assert.Contains("wandblaunch-sample", failed.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("token-of-the-index", failed.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(
            Directory.EnumerateFiles(Path.Combine(slurm.Folder, "home", "slurm"), "*", SearchOption.AllDirectories),
            f => File.ReadAllText(f).Contains("token-of-the-index", StringComparison.Ordinal)
        );
    }

    private const string Engine = """
        #!/bin/sh
        # Stands in for Apptainer: says how it was called, and runs the command.
        if [ "$1" = pull ]; then [ "$2" = --force ] && shift; echo "pull $3" >> "$ENGINE_LOG"; echo image > "$2"; exit 0; fi
        verb=$1; shift; words=
        while [ $# -gt 0 ]; do
          case $1 in
            --bind | --pwd) words="$words $1 $2"; [ "$1" = --pwd ] && cd "$2"; shift 2;;
            --*) words="$words $1"; shift;;
            *) break;;
          esac
        done
        echo "$verb$words" >> "$ENGINE_LOG"
        [ -s "$1" ] || exit 9
        shift
        MY_TOKEN=$APPTAINERENV_MY_TOKEN exec "$@"
        """;

    [Fact]
    public async Task An_image_runs_by_the_engine_of_its_node()
    {
        var bin = Directory
            .CreateDirectory(Path.Combine(Fixture.Root, "engine-" + Guid.NewGuid().ToString("n")[..8]))
            .FullName;
        using var slurm = new SlurmMachine(("PATH", bin + ":" + Environment.GetEnvironmentVariable("PATH")));
        var log = Path.Combine(slurm.Folder, "engine.log");
        File.WriteAllText(Path.Combine(bin, "apptainer"), Engine.Replace("$ENGINE_LOG", log, StringComparison.Ordinal));
        File.SetUnixFileMode(Path.Combine(bin, "apptainer"), (UnixFileMode)0x1ED);
        var store = slurm.Store();
        var runs = new List<LaunchedRun>();
        for (var i = 0; i < 2; i++)
        {
            var prepared = await new Launcher(store, _ => Task.FromResult<Wandb.WandbConnection?>(null)).PrepareAsync(
                new LaunchConfig
                {
                    DockerImage = "ghcr.io/me/train:1.0",
                    EntryPoint = ["sh", "-c", "echo \"$MY_TOKEN $1\"; exit 6", "sh"],
                    Args = ArgumentSet.FromWords(["a b"]),
                    Resource = "slurm",
                },
                slurm.Options with
                {
                    Environment = new Dictionary<string, string> { ["MY_TOKEN"] = "secret inside" },
                    Volumes = ["/data:/data:ro", "/my files:/x"],
                },
                slurm.Folder,
                default
            );
            using var supervision = new Supervision(store.Resources);
            runs.Add(
                await supervision.RunAsync(prepared.Folder, prepared.Spec, prepared.Secrets, null, null, false, default)
            );
        }

        Assert.All(runs, r => Assert.Equal((6, "secret inside a b\n"), (r.ExitCode, Log(r))));
        string Called(LaunchedRun run) =>
            $"exec --cleanenv --no-home --bind {slurm.Runs}/{run.Id}:{slurm.Runs}/{run.Id} --pwd {slurm.Runs}/{run.Id}/code --bind /my files:/x --bind /data:/data:ro";
        Assert.Equal(["pull docker://ghcr.io/me/train:1.0", Called(runs[0]), Called(runs[1])], File.ReadAllLines(log));
    }

    [Fact]
    public async Task An_image_needs_an_engine_on_its_node()
    {
        using var slurm = new SlurmMachine();
        var run = await slurm.RunAsync("", image: "ghcr.io/me/train:1.0");
        Assert.Equal((LaunchState.Failed, 1), (run.State, run.ExitCode));
        Assert.Contains("needs Apptainer, Pyxis or enroot", run.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_plan_asks_Slurm_and_starts_nothing()
    {
        using var slurm = new SlurmMachine();
        Task<LaunchPlan> PlanAsync(JsonObject arguments) =>
            new Launcher(slurm.Store(), _ => Task.FromResult<Wandb.WandbConnection?>(null)).PlanAsync(
                new LaunchConfig
                {
                    Uri = Fixture.Train,
                    EntryPoint = ["python", "train.py"],
                    Resource = "slurm",
                    ResourceArgs = new JsonObject { ["slurm"] = arguments },
                },
                slurm.Options,
                slurm.Folder,
                default
            );
        var before = SlurmMachine.Command("squeue", "-h", "-t", "all", "-o", "%i");
        var plan = await PlanAsync(new JsonObject { ["time"] = 1 });
        Assert.Matches("^Slurm on this machine says: Job [0-9]+ to start at ", plan.Note);
        Assert.Equal("python train.py", plan.Command);
        var e = await Assert.ThrowsAsync<LaunchException>(() =>
            PlanAsync(new JsonObject { ["partition"] = "nowhere" })
        );
        Assert.Equal("SlurmRefused", e.ErrorId);
        Assert.Contains("invalid partition", e.Message, StringComparison.OrdinalIgnoreCase);
        Assert.Equal(before, SlurmMachine.Command("squeue", "-h", "-t", "all", "-o", "%i"));
    }

    /// <summary>A package that pip installs without an index.</summary>
    private static string Wheel(SlurmMachine slurm)
    {
        var folder = Directory.CreateDirectory(Path.Combine(slurm.Folder, "wheels")).FullName;
        using var zip = System.IO.Compression.ZipFile.Open(
            Path.Combine(folder, "wandblaunch_sample-1.0-py3-none-any.whl"),
            System.IO.Compression.ZipArchiveMode.Create
        );
        Add("wandblaunch_sample.py", "answer = 42\n");
        Add(
            "wandblaunch_sample-1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: wandblaunch-sample\nVersion: 1.0\n"
        );
        Add(
            "wandblaunch_sample-1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        );
        Add("wandblaunch_sample-1.0.dist-info/RECORD", "wandblaunch_sample.py,,\n");
        return folder;

        void Add(string name, string text)
        {
            using var writer = new StreamWriter(zip.CreateEntry(name).Open());
            writer.Write(text);
        }
    }
}
