using System.Diagnostics;
using System.Globalization;
using System.Text.Json.Nodes;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;
using WandbLaunch.Server;
using WandbLaunch.Wandb;

namespace WandbLaunch.Tests;

/// <summary>
/// An agent with many jobs in Slurm's queue is killed and started again, three times: every item ends once, as its program
/// ended. With WANDBLAUNCH_TEST_LONG=1 with 500 items.
/// </summary>
[Collection(SlurmCollection.Name)]
public sealed class SlurmAgentTests
{
    private const string Project = "model-registry";

    [Fact]
    public async Task Nothing_is_lost_or_run_twice_when_the_agent_is_killed()
    {
        using var slurm = new SlurmMachine();
        var count = Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_LONG") == "1" ? 500 : 40;
        var queue = "slurm-" + Guid.NewGuid().ToString("n")[..6];
        var ran = Path.Combine(slurm.Folder, "ran");
        var repository = Directory.CreateDirectory(Path.Combine(slurm.Folder, "repository")).FullName;
        await File.WriteAllTextAsync(
            Path.Combine(repository, "main.sh"),
            $"echo \"$1 $WANDB_LAUNCH_TRACE_ID\" >> '{ran}'\nsleep 1\nexit $(($1 % 7 == 0 ? 3 : 0))\n"
        );
        Fixture.Git(repository, "init", "-q");
        Fixture.Git(repository, "add", ".");
        Fixture.Git(repository, "commit", "-q", "-m", "one");
        await using var server = await LaunchServer.StartAsync(
            Path.Combine(slurm.Folder, "server", "wandb.db"),
            "127.0.0.1",
            0,
            Fixture.Key,
            lease: TimeSpan.FromSeconds(5)
        );
        using var connection = await WandbConnection.OpenAsync(
            WandbSettings.Resolve(new LaunchEnvironment(), Fixture.Root, server.Url, Fixture.Key),
            null,
            default
        );
        await connection.Queues.CreateAsync(new NewQueue("local", Project, queue, "PROJECT"), default);
        var pushed = await connection.Queues.PushAsync(
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
                            ["resource"] = "slurm",
                            ["entity"] = "local",
                            ["project"] = "slurm",
                            ["resource_args"] = new JsonObject { ["slurm"] = new JsonObject { ["time"] = 5 } },
                            ["overrides"] = new JsonObject
                            {
                                ["entry_point"] = new JsonArray("bash", "main.sh"),
                                ["args"] = new JsonArray(n.ToString(CultureInfo.InvariantCulture)),
                            },
                        }
                    )),
            ],
            default
        );
        Assert.All(pushed, p => Assert.Null(p.Fault));
        var agent = StartAgent(slurm, server.Url, queue, count);
        try
        {
            // At once, while they are handed over, and while some run.
            foreach (var part in new[] { 0.0, 0.2, 0.5 })
            {
                await SlurmMachine.UntilAsync(() => Ran(ran).Count >= part * count, "runs begin", 180);
                await Task.Delay(part == 0 ? 2500 : 300);
                agent.Kill();
                await agent.WaitForExitAsync();
                agent = StartAgent(slurm, server.Url, queue, count);
            }

            var clock = Stopwatch.StartNew();
            while ((await ItemsAsync()).Any(i => !i.IsDone))
            {
                Assert.True(clock.Elapsed < TimeSpan.FromMinutes(count > 100 ? 15 : 3), "all end");
                await Task.Delay(500);
            }

            AgentStore.AskStop(AgentStore.Of(slurm.Context).FolderOf(queue), true);
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(30));
            await agent.WaitForExitAsync(limit.Token);
        }
        finally
        {
            if (!agent.HasExited)
            {
                agent.Kill();
            }
        }

        var items = await ItemsAsync();
        Assert.Equal(count, items.Count);
        foreach (var item in items)
        {
            var n = int.Parse(item.Arguments[0], CultureInfo.InvariantCulture);
            Assert.Equal(
                (n, n % 7 == 0 ? QueueItemState.Failed : QueueItemState.Finished, n % 7 == 0 ? 3 : 0),
                (n, item.State, item.ExitCode)
            );
        }

        // Each ran once. What the agents said of one that did not, for whoever has to find out why.
        var twice = Ran(ran).GroupBy(l => l).Where(g => g.Count() > 1).Select(g => g.Key.Split(' ')[1]).ToList();
        Assert.True(
            twice.Count == 0,
            string.Join(
                '\n',
                Ran(Path.Combine(slurm.Folder, "agent.log"))
                    .Where(l =>
                        l.StartsWith("---", StringComparison.Ordinal)
                        || items.Any(i =>
                            twice.Take(3).Contains(i.Id) && l.Contains(i.RunId!, StringComparison.Ordinal)
                        )
                    )
            )
        );
        Assert.Equal(
            Enumerable.Range(1, count),
            Ran(ran).Select(l => int.Parse(l.Split(' ')[0], CultureInfo.InvariantCulture)).Order()
        );

        // A kill between an end that was written down and the tidying up leaves a folder, and nothing secret in it.
        Assert.True(Directory.GetDirectories(slurm.Runs).Length <= 3);
        Assert.Empty(Directory.GetFiles(slurm.Runs, "env", SearchOption.AllDirectories));
        Assert.Empty(new AgentJournal(AgentStore.Of(slurm.Context).FolderOf(queue)).Entries());

        async Task<List<WandbLaunchQueueItem>> ItemsAsync()
        {
            var all = new List<WandbLaunchQueueItem>();
            var named = await connection.Queues.GetAsync("local", Project, queue, null, default);
            await foreach (var item in connection.Queues.ItemsAsync(named, [], default))
            {
                all.Add(item);
            }

            return all;
        }
    }

    private static List<string> Ran(string path) => File.Exists(path) ? [.. File.ReadAllLines(path)] : [];

    private static Process StartAgent(SlurmMachine slurm, string url, string queue, int count)
    {
        var start = new ProcessStartInfo("dotnet") { RedirectStandardOutput = true, RedirectStandardError = true };
        start.ArgumentList.Add(Path.Combine(AppContext.BaseDirectory, "WandbLaunch.CrashAgent.dll"));
        start.ArgumentList.Add(url);
        start.ArgumentList.Add(
            $$"""{ "name": "{{queue}}", "queues": ["{{queue}}"], "max_jobs": {{count}}, "no_install": true, "policy": { "resources": ["slurm"], "git_hosts": ["file"] } }"""
        );
        start.Environment["WANDB_API_KEY"] = Fixture.Key;
        start.Environment["WANDBLAUNCH_HOME"] = Path.Combine(slurm.Folder, "home");
        start.Environment["SLURM_CONF"] = SlurmMachine.Settings;
        start.Environment["WANDBLAUNCH_SLURM_POLL"] = "1";
        var process = Process.Start(start)!;
        var log = Path.Combine(slurm.Folder, "agent.log");
        process.OutputDataReceived += (_, e) => Append(e.Data);
        process.ErrorDataReceived += (_, e) => Append(e.Data);
        Append("--- an agent");
        process.BeginErrorReadLine();
        process.BeginOutputReadLine();
        return process;

        void Append(string? line)
        {
            lock (start)
            {
                File.AppendAllText(
                    log,
                    $"{(line?.StartsWith("---", StringComparison.Ordinal) == true ? "" : $"{DateTime.Now:HH:mm:ss} ")}{line}\n"
                );
            }
        }
    }
}
