using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Text.Json;
using System.Text.Json.Nodes;
using Microsoft.Data.Sqlite;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;
using WandbLaunch.Wandb;

namespace WandbLaunch.Tests;

/// <summary>
/// Two agents work while they and their server are killed at random moments: no item is lost, none is run twice, and each
/// ends as its program ended. With WANDBLAUNCH_TEST_LONG=1 with 30 kills of agents, 4 of the server, and 200 items.
/// </summary>
public sealed class AgentKillTests
{
    private const string Project = "model-registry";

    // What agents and servers say when they end of themselves.
    private static readonly System.Collections.Concurrent.ConcurrentQueue<string> Said = new();

    [Fact]
    public async Task Nothing_is_lost_or_run_twice_when_agents_and_server_are_killed()
    {
        var isLong = Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_LONG") == "1";
        var (kills, serverKills, count) = isLong ? (30, 4, 200) : (5, 1, 30);
        var seed = Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_SEED") is { } given
            ? int.Parse(given, CultureInfo.InvariantCulture)
            : Random.Shared.Next();
        TestContext.Current.TestOutputHelper?.WriteLine($"WANDBLAUNCH_TEST_SEED={seed}");
        var random = new Random(seed);
        var queue = "kill-" + Guid.NewGuid().ToString("n")[..6];
        var database = Path.Combine(Fixture.NewFolder("kill-server"), "wandb.db");
        var port = FreePort();
        var url = $"http://127.0.0.1:{port}";
        var ran = Path.Combine(Fixture.NewFolder("kill-ran"), "ran.txt");
        var repository = Fixture.NewFolder("kill-repo");
        await File.WriteAllTextAsync(
            Path.Combine(repository, "main.py"),
            $"import os, sys, time\nf = os.open({JsonSerializer.Serialize(ran)}, os.O_APPEND | os.O_CREAT | os.O_WRONLY)\nos.write(f, (os.environ['WANDB_LAUNCH_TRACE_ID'] + ' ' + str(os.getpid()) + '\\n').encode())\ntime.sleep(float(sys.argv[2]))\nsys.exit(int(sys.argv[1]))\n"
        );
        await File.WriteAllTextAsync(Path.Combine(repository, "requirements.txt"), "");
        Fixture.Git(repository, "init", "-q");
        Fixture.Git(repository, "add", ".");
        Fixture.Git(repository, "commit", "-q", "-m", "one");

        var server = await StartServerAsync(database, port);
        var names = new[] { "one-" + queue, "two-" + queue };
        var agents = new Process[2];
        try
        {
            using (
                var connection = await WandbConnection.OpenAsync(
                    WandbSettings.Resolve(new LaunchEnvironment(), Fixture.Root, url, Fixture.Key),
                    null,
                    default
                )
            )
            {
                await connection.Queues.CreateAsync(new NewQueue("local", Project, queue, "PROJECT"), default);
                await connection.Queues.PushAsync(
                    "local",
                    Project,
                    queue,
                    null,
                    [
                        .. Enumerable
                            .Range(1, count)
                            .Select(n => new QueuePush(
                                new JsonObject
                                {
                                    ["uri"] = new Uri(repository).AbsoluteUri,
                                    ["resource"] = "local-process",
                                    ["entity"] = "local",
                                    ["project"] = "kills",
                                    ["overrides"] = new JsonObject
                                    {
                                        ["args"] = new JsonArray(
                                            n % 7 == 0 ? "3" : "0",
                                            (random.Next(50, 700) / 1000.0).ToString(CultureInfo.InvariantCulture)
                                        ),
                                    },
                                }
                            )),
                    ],
                    default
                );
            }

            for (var i = 0; i < 2; i++)
            {
                agents[i] = StartAgent(url, names[i], queue);
            }

            // Each time somebody else, at any moment of its life: also while it starts.
            var order = Enumerable.Repeat(false, kills).Concat(Enumerable.Repeat(true, serverKills)).ToArray();
            random.Shuffle(order);
            foreach (var isServer in order)
            {
                await Task.Delay(random.Next(200, 2500));
                if (isServer)
                {
                    await KillAsync(server);
                    await Task.Delay(random.Next(0, 1500));
                    server = await StartServerAsync(database, port);
                }
                else
                {
                    var victim = random.Next(2);
                    await KillAsync(agents[victim]);
                    agents[victim] = StartAgent(url, names[victim], queue);
                }
            }

            var clock = Stopwatch.StartNew();
            while (States(database).Any(s => s.State is not ("FINISHED" or "FAILED")))
            {
                Assert.True(
                    clock.Elapsed < TimeSpan.FromMinutes(isLong ? 10 : 3),
                    $"seed {seed}: {string.Join(", ", States(database))}"
                );
                await Task.Delay(250);
            }

            foreach (var name in names)
            {
                AgentStore.AskStop(AgentStore.Of(new LaunchContext()).FolderOf(name), true);
            }

            foreach (var agent in agents)
            {
                using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
                await agent.WaitForExitAsync(limit.Token);
                Assert.True(
                    agent.ExitCode == LaunchAgent.ExitStopped,
                    $"exit {agent.ExitCode}: {string.Join('\n', Said.TakeLast(40))}"
                );
            }

            Assert.True(File.Exists(ran), $"None ran: {Said.LastOrDefault()}\n{Reasons(database)}");
            var ids = (await File.ReadAllLinesAsync(ran)).Select(l => l.Split(' ')[0]).ToList();
            Assert.Equal(
                Enumerable
                    .Range(1, count)
                    .Select(n => n.ToString(CultureInfo.InvariantCulture))
                    .Order(StringComparer.Ordinal),
                ids.Order(StringComparer.Ordinal)
            );
            Assert.All(
                States(database),
                s => Assert.Equal(s.Id % 7 == 0 ? ("FAILED", 3) : ("FINISHED", 0), (s.State, s.Code))
            );
            Assert.All(
                names,
                n => Assert.Empty(new AgentJournal(AgentStore.Of(new LaunchContext()).FolderOf(n)).Entries())
            );
        }
        finally
        {
            foreach (var process in agents.Append(server).OfType<Process>())
            {
                await KillAsync(process);
            }
        }
    }

    private static List<(long Id, string State, long? Code)> States(string database)
    {
        using var connection = new SqliteConnection($"Data Source={database};Default Timeout=30");
        connection.Open();
        using var command = connection.CreateCommand();
        command.CommandText = "SELECT id, state, exit_code FROM items ORDER BY id";
        using var reader = command.ExecuteReader();
        var states = new List<(long, string, long?)>();
        while (reader.Read())
        {
            states.Add((reader.GetInt64(0), reader.GetString(1), reader.IsDBNull(2) ? null : reader.GetInt64(2)));
        }

        return states;
    }

    private static string Reasons(string database)
    {
        using var connection = new SqliteConnection($"Data Source={database};Default Timeout=30");
        connection.Open();
        using var command = connection.CreateCommand();
        command.CommandText = "SELECT group_concat(DISTINCT error) FROM items";
        return command.ExecuteScalar() as string ?? "";
    }

    private static int FreePort()
    {
        using var probe = new System.Net.Sockets.TcpListener(IPAddress.Loopback, 0);
        probe.Start();
        return ((IPEndPoint)probe.LocalEndpoint).Port;
    }

    private static async Task<Process> StartServerAsync(string database, int port)
    {
        var process = Start(true, "server", database, port.ToString(CultureInfo.InvariantCulture));
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(60));
        Assert.Equal("listening", await process.StandardOutput.ReadLineAsync(limit.Token));
        _ = process.StandardOutput.ReadToEndAsync(CancellationToken.None);
        return process;
    }

    private static Process StartAgent(string url, string name, string queue) =>
        Start(
            false,
            url,
            $$"""{ "name": "{{name}}", "queues": ["{{queue}}"], "max_jobs": 3, "no_install": true, "policy": { "resources": ["local-process"], "git_hosts": ["file"] } }"""
        );

    private static Process Start(bool ask, params string[] words)
    {
        var start = new ProcessStartInfo("dotnet") { RedirectStandardOutput = true, RedirectStandardError = true };
        start.ArgumentList.Add(Path.Combine(AppContext.BaseDirectory, "WandbLaunch.CrashAgent.dll"));
        foreach (var word in words)
        {
            start.ArgumentList.Add(word);
        }

        start.Environment["WANDB_API_KEY"] = Fixture.Key;
        var process = Process.Start(start)!;
        process.OutputDataReceived += (_, _) => { };
        process.ErrorDataReceived += (_, e) => Said.Enqueue($"{words[^1]}: {e.Data}");
        process.BeginErrorReadLine();
        if (!ask)
        {
            process.BeginOutputReadLine();
        }

        return process;
    }

    // Itself alone: what it started goes on, as after any SIGKILL.
    private static async Task KillAsync(Process process)
    {
        process.Kill();
        await process.WaitForExitAsync();
    }
}
