using System.Text;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Tests;

/// <summary>What stands between a launcher and its cluster forgets connections without closing them, or is slow: no run and no line is lost by it.</summary>
public sealed class KubeSilenceTests
{
    private static LaunchContext Context(KubeCluster cluster, string? silence)
    {
        var home = Fixture.NewFolder("kube-home");
        return new LaunchContext
        {
            Environment = new LaunchEnvironment
            {
                Variable = name =>
                    name switch
                    {
                        "KUBECONFIG" => cluster.KubeConfig,
                        "WANDBLAUNCH_HOME" => home,
                        "WANDBLAUNCH_KUBE_SILENCE" => silence,
                        _ => Environment.GetEnvironmentVariable(name),
                    },
            },
        };
    }

    /// <summary>A launch that is looked after, and what is known of it.</summary>
    private sealed class Watched : IDisposable
    {
        private readonly Supervision _supervision;
        private readonly StringBuilder _output = new();

        private Watched(LaunchStore store, PreparedLaunch prepared)
        {
            _supervision = new Supervision(store.Resources);
            Id = prepared.Run.Id;
            End = _supervision.RunAsync(
                prepared.Folder,
                prepared.Spec,
                new Dictionary<string, string> { ["WANDB_API_KEY"] = Fixture.Key },
                b =>
                {
                    lock (_output)
                    {
                        _output.Append(Encoding.UTF8.GetString(b.Span));
                    }
                },
                r => State = r.State,
                true,
                default
            );
        }

        internal string Id { get; }
        internal Task<LaunchedRun> End { get; }
        internal LaunchState State { get; private set; }

        internal string Output
        {
            get
            {
                lock (_output)
                {
                    return _output.ToString();
                }
            }
        }

        internal static async Task<Watched> StartAsync(KubeCluster cluster, string? silence)
        {
            var store = LaunchStore.Of(Context(cluster, silence));
            return new Watched(store, await KubeCluster.PrepareAsync(store, "{}"));
        }

        public void Dispose() => _supervision.Dispose();
    }

    private static async Task<string> RunsAsync(KubeCluster cluster, Watched launch)
    {
        var name = (await cluster.Node.PodOfAsync(launch.Id)).Str("metadata", "name")!;
        await cluster.Node.BindAsync(name);
        await cluster.Node.RunsAsync(name);
        cluster.Node.LogOf(name).Write("one");
        await KubeCluster.UntilAsync(() => launch.Output == "one\n", () => "its first line: " + launch.Output, 60);
        await KubeCluster.UntilAsync(
            () => cluster.Proxy is { OpenWatches: 2, OpenLogs: 1 },
            "its streams are open",
            60
        );
        return name;
    }

    [Fact]
    public async Task Watches_and_logs_that_fell_silent_are_taken_up_anew()
    {
        await using var cluster = await KubeCluster.StartAsync();
        using var launch = await Watched.StartAsync(cluster, "2");
        var name = await RunsAsync(cluster, launch);

        // All that is open is forgotten; what is said now is lost on its way.
        cluster.Proxy.Silence();
        cluster.Node.LogOf(name).Write("two");
        await KubeCluster.UntilAsync(() => launch.Output == "one\ntwo\n", () => "the log: " + launch.Output, 60);
        await KubeCluster.UntilAsync(() => cluster.Proxy.Silent == 0, "the dead ones are let go", 60);
        Assert.Equal(LaunchState.Running, launch.State);

        cluster.Proxy.Silence();
        cluster.Node.LogOf(name).Write("three");
        cluster.Node.LogOf(name).Complete();
        await cluster.Node.EndsAsync(name, 4);
        var run = await launch.End.WaitAsync(TimeSpan.FromSeconds(120));
        Assert.Equal((LaunchState.Failed, 4), (run.State, run.ExitCode));
        Assert.Equal("one\ntwo\nthree\n", await File.ReadAllTextAsync(run.LogPath!));
    }

    [Fact]
    public async Task The_end_of_a_program_does_not_wait_for_a_log_that_fell_silent()
    {
        await using var cluster = await KubeCluster.StartAsync();

        // Of two minutes of silence nothing is seen in this test: the watch tells the end, and the log is read to its end by another stream.
        using var launch = await Watched.StartAsync(cluster, null);
        var name = await RunsAsync(cluster, launch);
        cluster.Proxy.Silence();
        cluster.Proxy.CutWatches();
        await KubeCluster.UntilAsync(() => cluster.Proxy.OpenWatches == 2, "the watches are open again", 60);
        cluster.Node.LogOf(name).Write("the last words");
        cluster.Node.LogOf(name).Complete();
        await cluster.Node.EndsAsync(name, 0);
        var run = await launch.End.WaitAsync(TimeSpan.FromSeconds(100));
        Assert.Equal(LaunchState.Finished, run.State);
        Assert.Equal("one\nthe last words\n", await File.ReadAllTextAsync(run.LogPath!));
    }

    [Fact]
    public async Task Streams_that_come_byte_by_byte_say_the_same()
    {
        await using var cluster = await KubeCluster.StartAsync();
        cluster.Proxy.Drip = 7;
        using var launch = await Watched.StartAsync(cluster, null);
        var name = await RunsAsync(cluster, launch);
        string[] lines = [.. Enumerable.Range(0, 20).Select(i => $"Zeile {i}: grün 🙂 {new string('x', i)}")];
        cluster.Node.LogOf(name).Write(lines);
        cluster.Node.LogOf(name).Complete();
        await cluster.Node.EndsAsync(name, 3);
        var run = await launch.End.WaitAsync(TimeSpan.FromSeconds(120));
        Assert.Equal((LaunchState.Failed, 3), (run.State, run.ExitCode));
        Assert.Equal("one\n" + string.Join('\n', lines) + "\n", await File.ReadAllTextAsync(run.LogPath!));
    }
}
