using System.Diagnostics;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Server;
using WandbLaunch.Wandb;

namespace WandbLaunch.Tests;

/// <summary>An agent's process is killed at every step of the road; each item runs exactly once all the same, and its end is reported.</summary>
public sealed class AgentCrashTests
{
    private const string Project = "model-registry";

    public static TheoryData<string> Steps() =>
        ["popped", "journaled", "acknowledged", "claimed", "prepared", "handed over", "started", "ended", "reported"];

    [Theory]
    [MemberData(nameof(Steps))]
    public async Task Killed_at(string step)
    {
        await using var place = await Place.CreateAsync(3);
        Assert.NotEqual(0, place.Agent(step, 1));
        if (step is "acknowledged" or "claimed" or "prepared")
        {
            // The host that waited for the run is gone with its agent.
            await Place.UntilAsync(() => place.Hosts().Count == 0);
        }

        // The lease of an item that was popped and not acknowledged must be over, or the queue seems empty.
        place.EndLeases();
        place.Work(1);
        await place.CheckAsync();
        await place.CheckNobodyWorksAsync();
    }

    [Fact]
    public async Task Killed_again_and_again_at_any_moment_with_another_agent_beside_it()
    {
        await using var place = await Place.CreateAsync(24);
        using var other = place.Start(null, 2, "other", "");
        var random = new Random(1);
        for (var i = 0; i < 6; i++)
        {
            using var agent = place.Start(null, 2, "victim", "");
            await Task.Delay(random.Next(300, 1500));
            agent.Kill();
            await agent.WaitForExitAsync();
        }

        await other.WaitForExitAsync();
        for (var i = 0; i < 3; i++)
        {
            place.EndLeases();
            place.Work(4);
        }

        await place.CheckAsync();
    }

    [Fact]
    public async Task What_runs_goes_on_without_the_agent_and_is_reported_by_the_next()
    {
        await using var place = await Place.CreateAsync(1, seconds: 2);
        using (var agent = place.Start(null, 1, "first", ""))
        {
            await Place.UntilAsync(() => place.Lines().Count == 1);
            agent.Kill();
            await agent.WaitForExitAsync();
        }

        // It ends while nobody looks.
        await Place.UntilAsync(() =>
            LaunchStore.Of(new LaunchContext()).All().Any(r => r.Agent == "first-" + place.Queue && r.IsDone)
        );
        Assert.Equal(QueueItemState.Claimed, (await place.ItemsAsync())[0].State);
        Assert.Equal(
            AgentState.Lost,
            AgentStore.Of(new LaunchContext()).All().Single(a => a.Name == "first-" + place.Queue).State
        );

        // An agent of another name, for another queue, reports it.
        place.Work(1, "second");
        await place.CheckAsync();
    }

    /// <summary>A server with short leases, a queue, and a program that writes a line for each time that it runs.</summary>
    private sealed class Place : IAsyncDisposable
    {
        // What an agent and all that it starts carries.
        private const string Sign = "WANDBLAUNCH_TEST_QUEUE";

        private static readonly TimeSpan Lease = TimeSpan.FromSeconds(15);

        private readonly MovedTime _time;
        private readonly List<string> _said = [];
        private readonly LaunchServer _server;
        private readonly WandbConnection _connection;
        private readonly string _log;
        private int _items;

        private Place(MovedTime time, LaunchServer server, WandbConnection connection, string log)
        {
            _time = time;
            _server = server;
            _connection = connection;
            _log = log;
        }

        internal string Queue { get; } = "crash-" + Guid.NewGuid().ToString("n")[..6];

        internal static async Task<Place> CreateAsync(int items, double seconds = 0.2)
        {
            var time = new MovedTime();
            var server = await LaunchServer.StartAsync(
                Path.Combine(Fixture.NewFolder("crash"), "wandb.db"),
                "127.0.0.1",
                0,
                Fixture.Key,
                lease: Lease,
                time: time
            );
            var connection = await WandbConnection.OpenAsync(
                WandbSettings.Resolve(new LaunchEnvironment(), Fixture.Root, server.Url, Fixture.Key),
                null,
                default
            );
            var folder = Fixture.NewFolder("crash-repo");
            var log = Path.Combine(folder, "ran.txt");
            await File.WriteAllTextAsync(
                Path.Combine(folder, "main.py"),
                $"import sys, time, os\nf = os.open({JsonSerializer.Serialize(log)}, os.O_APPEND | os.O_CREAT | os.O_WRONLY)\nos.write(f, (sys.argv[1] + '\\n').encode())\nprint('ran', flush=True)\ntime.sleep({seconds.ToString(System.Globalization.CultureInfo.InvariantCulture)})\n"
            );
            await File.WriteAllTextAsync(Path.Combine(folder, "requirements.txt"), "");
            Fixture.Git(folder, "init", "-q");
            Fixture.Git(folder, "add", "main.py", "requirements.txt");
            Fixture.Git(folder, "commit", "-q", "-m", "one");
            var place = new Place(time, server, connection, log) { _items = items };
            await connection.Queues.CreateAsync(new NewQueue("local", Project, place.Queue, "PROJECT"), default);
            var uri = new Uri(folder).AbsoluteUri;
            await connection.Queues.PushAsync(
                "local",
                Project,
                place.Queue,
                null,
                [
                    .. Enumerable
                        .Range(0, items)
                        .Select(n => new QueuePush(
                            new JsonObject
                            {
                                ["uri"] = uri,
                                ["resource"] = "local-process",
                                ["entity"] = "local",
                                ["project"] = "crash",
                                ["overrides"] = new JsonObject
                                {
                                    ["args"] = new JsonArray(
                                        n.ToString(System.Globalization.CultureInfo.InvariantCulture)
                                    ),
                                },
                            }
                        )),
                ],
                default
            );
            return place;
        }

        internal Process Start(string? step, int jobs, string name, string more)
        {
            var config =
                $$"""{ "name": "{{name}}-{{Queue}}", "queues": ["{{Queue}}"], "max_jobs": {{jobs}}, "no_install": true, "stop_when_empty": true, "policy": { "resources": ["local-process"], "git_hosts": ["file"] } {{(more.Length > 0 ? ", " + more : "")}} }""";
            var start = new ProcessStartInfo("dotnet") { RedirectStandardOutput = true, RedirectStandardError = true };
            foreach (
                var word in new[]
                {
                    Path.Combine(AppContext.BaseDirectory, "WandbLaunch.CrashAgent.dll"),
                    _server.Url,
                    config,
                    step ?? "",
                }
            )
            {
                start.ArgumentList.Add(word);
            }

            start.Environment["WANDB_API_KEY"] = Fixture.Key;
            start.Environment[Sign] = Queue;
            var process = Process.Start(start)!;
            process.OutputDataReceived += (_, e) => Keep(e.Data);
            process.ErrorDataReceived += (_, e) => Keep(e.Data);
            process.BeginOutputReadLine();
            process.BeginErrorReadLine();
            return process;
        }

        internal int Agent(string? step, int jobs, string name = "agent")
        {
            using var process = Start(step, jobs, name, "");
            Assert.True(process.WaitForExit(120_000), $"the agent hangs ({step})\n{Said()}");
            process.WaitForExit();
            return process.ExitCode;
        }

        /// <summary>The hosts of runs that this place's agents have started (Linux).</summary>
        internal List<int> Hosts() =>
            OperatingSystem.IsLinux()
                ?
                [
                    .. LinuxProcesses
                        .All()
                        .Keys.Where(id => LinuxProcesses.Carries(id, $"{Sign}={Queue}") && IsHost(id)),
                ]
                : [];

        private static bool IsHost(int id)
        {
            try
            {
                return File.ReadAllText($"/proc/{id}/cmdline")
                    .Contains("WandbLaunch.Host.dll\0run", StringComparison.Ordinal);
            }
            catch (IOException)
            {
                return false;
            }
        }

        /// <summary>An agent that nobody kills works the queue off.</summary>
        internal void Work(int jobs, string name = "agent")
        {
            var code = Agent(null, jobs, name);
            Assert.True(code == 0, $"The agent ended with {code}.\n{Said()}");
        }

        internal void EndLeases() => _time.Move(Lease + TimeSpan.FromSeconds(1));

        private void Keep(string? line)
        {
            lock (_said)
            {
                _said.Add(line ?? "");
            }
        }

        private string Said()
        {
            lock (_said)
            {
                return string.Join('\n', _said);
            }
        }

        internal List<string> Lines() => File.Exists(_log) ? [.. File.ReadAllLines(_log)] : [];

        internal static async Task UntilAsync(Func<bool> there)
        {
            var clock = Stopwatch.StartNew();
            while (!there())
            {
                Assert.True(clock.Elapsed < TimeSpan.FromSeconds(90));
                await Task.Delay(50);
            }
        }

        internal async Task<List<WandbLaunchQueueItem>> ItemsAsync()
        {
            var queue = await _connection.Queues.GetAsync("local", Project, Queue, null, default);
            var items = new List<WandbLaunchQueueItem>();
            await foreach (var item in _connection.Queues.ItemsAsync(queue, [], default))
            {
                items.Add(item);
            }

            return items;
        }

        internal async Task CheckAsync()
        {
            Assert.Equal(
                Enumerable
                    .Range(0, _items)
                    .Select(n => n.ToString(System.Globalization.CultureInfo.InvariantCulture))
                    .Order(StringComparer.Ordinal),
                Lines().Order(StringComparer.Ordinal)
            );
            Assert.All(
                await ItemsAsync(),
                i => Assert.Equal((QueueItemState.Finished, (int?)0), (i.State, i.ExitCode))
            );
            foreach (
                var agent in AgentStore
                    .Of(new LaunchContext())
                    .Folders()
                    .Where(f => f.EndsWith(Queue, StringComparison.Ordinal))
            )
            {
                Assert.Empty(new AgentJournal(agent).Entries());
            }
        }

        // The agent that was killed had no last word: its successor has it.
        internal async Task CheckNobodyWorksAsync()
        {
            var agents = await (await _connection.Api.ProtocolAsync(default)).AgentsAsync("local", Project, default);
            Assert.Equal([AgentState.Stopped, AgentState.Stopped], agents.Select(a => a.State));
            var states = new List<WandbRunState>();
            await foreach (
                var run in _connection.Api.RunsAsync("local", Project, null, "+created_at", 50, _server.Url, default)
            )
            {
                states.Add(run.State);
            }

            Assert.Equal([WandbRunState.Failed, WandbRunState.Finished], states);
        }

        public async ValueTask DisposeAsync()
        {
            _connection.Dispose();
            await _server.DisposeAsync();
        }
    }
}
