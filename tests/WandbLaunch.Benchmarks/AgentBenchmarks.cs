using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace WandbLaunch.Benchmarks;

/// <summary>Queues, the server and the agent: as processes of their own, over real HTTP.</summary>
internal static class AgentBenchmarks
{
    private const int Pushes = 10_000;

    /// <summary>10,000 items through the cmdlet against a request for each from a bare client.</summary>
    internal static void Push()
    {
        var database = NewDatabase("push");
        using var client = Client(database);
        Program.Script(
            $"$null = Connect-Wandb -Local -Path '{database.Path}'; $null = 'ours', 'bare' | New-WandbRunQueue"
        );

        // A server that has served before, both ways: what is compared is not its compiler. Each of ours is a shell of its own.
        Program.Self("push", database.Path);
        for (var i = 0; i < 1000; i++)
        {
            Call(client, PushBody("bare", i)).GetAwaiter().GetResult();
        }

        // In turn, so that a machine that is slower for some seconds is so for both.
        var (ours, bare) = (new List<double>(), new List<double>());
        for (var round = 0; round < 5; round++)
        {
            ours.Add(Program.Number(Program.Self("push", database.Path)));
            var clock = Stopwatch.StartNew();
            for (var i = 0; i < Pushes; i++)
            {
                Call(client, PushBody("bare", i)).GetAwaiter().GetResult();
            }

            bare.Add(clock.Elapsed.TotalMilliseconds);
        }

        Stop(database.Path);
        var ratios = ours.Zip(bare, (o, b) => b / o).ToList();
        Console.WriteLine(
            $"{Pushes:N0} items through Add-WandbLaunchQueueItem: {Program.Median(ours):0} ms; a request each from a bare HttpClient: {Program.Median(bare):0} ms; ratio {Program.Median(ratios):0.0}, least {ratios.Min():0.0} (at least 20)"
        );
    }

    internal static int PushChild(string database)
    {
        using var runspace = Program.Open(true);
        Program.Invoke(
            runspace,
            $"$null = Connect-Wandb -Local -Path '{database}'; $null = Add-WandbLaunchQueueItem https://github.com/me/train -Queue ours"
        );
        var items =
            "$items = foreach ($i in 1..10000) { @{ uri = 'https://github.com/me/train'; overrides = @{ args = @('--n', $i) } } }";
        Program.Invoke(runspace, items);
        Console.WriteLine(Program.Invoke(runspace, "$items | Add-WandbLaunchQueueItem -Queue ours | Out-Null"));
        return 0;
    }

    /// <summary>From the push of an item to the start of its program, with an agent that waits.</summary>
    internal static void Start()
    {
        var database = NewDatabase("start");
        using var client = Client(database);
        var uri = Repository();
        using var agent = Agent(database, "start", "\"max_jobs\": 1");
        WaitForAgent(client);
        var times = new List<double>();
        for (var i = 0; i < 9; i++)
        {
            Thread.Sleep(1500);
            var id = Call(client, PushBody("start", i, uri)).GetAwaiter().GetResult()["data"]!["pushToRunQueueByName"]![
                "runQueueItemId"
            ]!.ToString();
            var pushed = DateTimeOffset.UtcNow;
            var item = WaitForEnd(client, "start", id);
            var run = Path.Combine(database.Home, "runs", item["associatedRunId"]!.ToString(), "run.json");
            if (i > 1)
            {
                times.Add(
                    (
                        JsonNode.Parse(File.ReadAllText(run))!["Started"]!.GetValue<DateTimeOffset>() - pushed
                    ).TotalMilliseconds
                );
            }
        }

        End(agent);
        Stop(database.Path);
        Console.WriteLine(
            $"from an item's arrival to its program's start, agent idle: median {Program.Median(times):0} ms, most {times.Max():0} ms (at most 100)"
        );
    }

    /// <summary>What an agent costs that has nothing to do.</summary>
    internal static void Idle()
    {
        var database = NewDatabase("idle");
        using var client = Client(database);
        using var agent = Agent(database, "idle", "\"max_jobs\": 1");
        WaitForAgent(client);

        // Its own code is compiled in full in the first minute, once; an agent waits for months.
        Thread.Sleep(60_000);
        agent.Refresh();
        var before = agent.TotalProcessorTime;
        var clock = Stopwatch.StartNew();
        Thread.Sleep(60_000);
        agent.Refresh();
        var share = (agent.TotalProcessorTime - before) / clock.Elapsed * 100;
        Console.WriteLine(
            $"an idle agent over a minute: {share:0.00} % of a core (at most 0.1), {agent.WorkingSet64 / 1048576.0:0} MB (at most 50)"
        );
        End(agent);
        Stop(database.Path);
    }

    /// <summary>The agent's memory after 10,000 short runs against that after 100.</summary>
    internal static void Memory()
    {
        var database = NewDatabase("memory");
        using var client = Client(database);
        using var agent = Agent(database, "memory", "\"max_jobs\": 2, \"keep_log_days\": 1");
        WaitForAgent(client);
        var uri = Repository("/bin/true");
        var (early, late) = (0.0, 0.0);
        foreach (var (count, until) in new[] { (100, 100), (9_900, 10_000) })
        {
            for (var at = 0; at < count; at += 100)
            {
                Parallel.For(
                    0,
                    100,
                    new ParallelOptions { MaxDegreeOfParallelism = 4 },
                    i => Call(client, PushBody("memory", at + i, uri, "/bin/true")).GetAwaiter().GetResult()
                );
            }

            while (Pending(client, "memory") > 0)
            {
                Thread.Sleep(1000);
            }

            // The same rest before each look.
            var samples = new List<double>();
            for (var i = 0; i < 15; i++)
            {
                Thread.Sleep(2000);
                agent.Refresh();
                samples.Add(agent.WorkingSet64 / 1048576.0);
            }

            (early, late) = until == 100 ? (Program.Median(samples), 0) : (early, Program.Median(samples));
        }

        End(agent);
        Stop(database.Path);
        Console.WriteLine(
            $"the agent's memory after 10,000 short runs: {late:0.0} MB; after 100: {early:0.0} MB; ratio {late / early:0.00} (at most 1.05)"
        );
    }

    /// <summary>The agent's memory while it looks after 1,010 containers against that with 10, and against a host process for each.</summary>
    internal static async Task ContainersAsync()
    {
        const int Few = 10;
        const int Many = 1000;
        var socket = Path.Combine(Program.WorkFolder, "engine.sock");
        var engine = new FakeEngine(socket);
        await using (engine)
        {
            await engine.StartAsync();
            var database = NewDatabase("containers");
            using var client = Client(database);
            using var agent = Agent(
                database,
                "containers",
                $"\"max_jobs\": -1, \"docker_host\": \"{engine.Address}\"",
                "local-container"
            );
            WaitForAgent(client);
            var memory = new List<double>();
            foreach (var (count, until) in new[] { (Few, Few), (Many, Few + Many) })
            {
                for (var i = 0; i < count; i++)
                {
                    await Call(client, ImageBody("containers"));
                }

                for (var wait = Stopwatch.StartNew(); engine.Running < until || engine.Readers < until; )
                {
                    if (agent.HasExited || wait.Elapsed > TimeSpan.FromMinutes(15))
                    {
                        throw new InvalidOperationException(
                            $"{engine.Running} of {until} run, {engine.Readers} are read."
                        );
                    }

                    await Task.Delay(500);
                }

                // Past the minute in which it looks at new runs often, and compiles.
                await Task.Delay(TimeSpan.FromSeconds(75));
                var samples = new List<double>();
                for (var i = 0; i < 15; i++)
                {
                    await Task.Delay(2000);
                    agent.Refresh();
                    samples.Add(agent.WorkingSet64 / 1048576.0);
                }

                memory.Add(Program.Median(samples));
                Console.WriteLine($"{until:N0} containers: {memory[^1]:0.0} MB");
            }

            agent.Refresh();
            var before = agent.TotalProcessorTime;
            await Task.Delay(20_000);
            agent.Refresh();
            var share = (agent.TotalProcessorTime - before) / TimeSpan.FromSeconds(20) * 100;
            End(agent);
            Stop(database.Path);
            var host = HostMemory();
            var each = (memory[1] - memory[0]) / Many;
            Console.WriteLine(
                $"an agent with {Few + Many:N0} containers: {memory[1]:0.0} MB, with {Few}: {memory[0]:0.0} MB; {memory[1] - memory[0]:+0.0} MB for {Many:N0} (at most +50), {each * 1024:0} KB each against {host:0} MB of a host process each: 1 : {host / each:0}; {share:0.0} % of a core"
            );
        }
    }

    // What stood beside each container before: a host process, as each local process still has it.
    private static double HostMemory()
    {
        Program.Script(
            $"$null = Start-WandbLaunch '{new Uri(Repository("import time\ntime.sleep(60)\n"))}' -Resource local-process -NoInstall -NoWait -RunId host"
        );
        Thread.Sleep(5000);
        var sizes = Process
            .GetProcessesByName("dotnet")
            .Where(p => IsHost(p.Id))
            .Select(p => p.WorkingSet64 / 1048576.0)
            .ToList();
        Program.Script("$null = Stop-WandbLaunch host");
        return Program.Median(sizes);

        static bool IsHost(int id)
        {
            try
            {
                return File.ReadAllText($"/proc/{id}/cmdline").Split('\0') is [_, var assembly, "run", var folder, ..]
                    && assembly.EndsWith("WandbLaunch.Host.dll", StringComparison.Ordinal)
                    && folder.StartsWith(Program.WorkFolder, StringComparison.Ordinal);
            }
            catch (IOException)
            {
                return false;
            }
        }
    }

    private static string ImageBody(string queue)
    {
        var spec = new JsonObject
        {
            ["docker"] = new JsonObject { ["docker_image"] = "fake/train:1" },
            ["entity"] = "local",
            ["project"] = "bench",
            ["resource"] = "local-container",
        }.ToJsonString();
        return Body(
            "mutation pushToRunQueueByName($q: String!, $s: JSONString!) { pushToRunQueueByName(input: {entityName: \"local\", projectName: \"model-registry\", queueName: $q, runSpec: $s}) { runQueueItemId } }",
            new { q = queue, s = spec }
        );
    }

    /// <summary>50 agents that poll, and 1,000 pushes a second: each request from when it was due.</summary>
    internal static void Server()
    {
        const int Rate = 1000;
        const int Seconds = 20;
        var database = NewDatabase("server");
        using var client = Client(database);
        Program.Script($"$null = Connect-Wandb -Local -Path '{database.Path}'; $null = New-WandbRunQueue server");
        var (push, poll) = (new ConcurrentBag<double>(), new ConcurrentBag<double>());
        var errors = 0;
        using var over = new CancellationTokenSource();
        var agents = Enumerable
            .Range(0, 50)
            .Select(a =>
                Task.Run(async () =>
                {
                    var random = new Random(a);
                    var id = (
                        await Call(
                            client,
                            Body(
                                "mutation($q: [ID!]!) { createLaunchAgent(input: {entityName: \"local\", projectName: \"model-registry\", runQueues: $q, hostname: \"h\"}) { launchAgentId } }",
                                new { q = new[] { "1" } }
                            )
                        )
                    )["data"]!["createLaunchAgent"]!["launchAgentId"]!.ToString();
                    while (!over.IsCancellationRequested)
                    {
                        await Task.Delay(random.Next(500, 1500));
                        await Timed(
                            poll,
                            Stopwatch.GetTimestamp(),
                            Body("query($a: ID!) { launchAgent(id: $a) { id name stopPolling } }", new { a = id })
                        );
                        var item = await Timed(
                            poll,
                            Stopwatch.GetTimestamp(),
                            Body(
                                "mutation($a: ID) { popFromRunQueue(input: {entityName: \"local\", projectName: \"model-registry\", queueName: \"server\", launchAgentId: $a}) { runQueueItemId runSpec } }",
                                new { a = id }
                            )
                        );
                        if (item?["data"]?["popFromRunQueue"]?["runQueueItemId"] is { } taken)
                        {
                            await Timed(
                                poll,
                                Stopwatch.GetTimestamp(),
                                Body(
                                    "mutation($i: ID!) { ackRunQueueItem(input: {runQueueItemId: $i, runName: \"r\"}) { success } }",
                                    new { i = taken.ToString() }
                                )
                            );
                        }
                    }
                })
            )
            .ToList();

        // Warm: the first seconds of a process are its compiler's.
        Load(3, null);
        push.Clear();
        poll.Clear();
        errors = 0;
        Load(Seconds, push);
        over.Cancel();
        Task.WaitAll([.. agents]);
        Stop(database.Path);
        Console.WriteLine(
            $"server, {push.Count / (double)Seconds:0} pushes a second and 50 agents that poll: {errors} errors; pushes p50 {At(push, 0.5):0.0} ms, p99 {At(push, 0.99):0.0} ms; polls p99 {At(poll, 0.99):0.0} ms (no error, p99 under 50 ms)"
        );

        void Load(int seconds, ConcurrentBag<double>? times)
        {
            var from = Stopwatch.GetTimestamp();
            var open = new List<Task>();
            for (var i = 0; i < seconds * Rate; i++)
            {
                var due = from + (i * Stopwatch.Frequency / Rate);
                while (Stopwatch.GetTimestamp() < due)
                {
                    Thread.Sleep(1);
                }

                open.Add(Timed(times ?? [], due, PushBody("server", i)));
                if (open.Count > 5000)
                {
                    open.RemoveAll(t => t.IsCompleted);
                }
            }

            Task.WaitAll([.. open]);
        }

        async Task<JsonNode?> Timed(ConcurrentBag<double> times, long due, string body)
        {
            try
            {
                var answer = await Call(client, body);
                times.Add(Stopwatch.GetElapsedTime(due).TotalMilliseconds);
                if (answer["errors"] is not null)
                {
                    Interlocked.Increment(ref errors);
                }

                return answer;
            }
            catch (HttpRequestException)
            {
                Interlocked.Increment(ref errors);
                return null;
            }
        }

        static double At(ConcurrentBag<double> times, double part) =>
            times.Order().ElementAt((int)((times.Count - 1) * part));
    }

    internal sealed record Database(string Path, string Home, string Url, string Key);

    internal static Database NewDatabase(string name)
    {
        var home = Environment.GetEnvironmentVariable("WANDBLAUNCH_HOME")!;
        var path = Path.Combine(home, name, "wandb.db");
        Program.Script($"$null = Start-WandbLaunchServer -Path '{path}'");
        var state = JsonNode.Parse(File.ReadAllText(path + ".server.json"))!;
        return new Database(path, home, state["Url"]!.ToString(), File.ReadAllText(path + ".key").Trim());
    }

    internal static void Stop(string path) => Program.Script($"Stop-WandbLaunchServer -Path '{path}'");

    internal static HttpClient Client(Database database)
    {
        var client = new HttpClient(new SocketsHttpHandler { MaxConnectionsPerServer = 64 })
        {
            BaseAddress = new Uri(database.Url),
        };
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue(
            "Basic",
            Convert.ToBase64String(Encoding.UTF8.GetBytes("api:" + database.Key))
        );
        return client;
    }

    internal static string Body(string query, object variables) => JsonSerializer.Serialize(new { query, variables });

    private static string PushBody(
        string queue,
        int number,
        string uri = "https://github.com/me/train",
        string? program = null
    )
    {
        var overrides = new JsonObject
        {
            ["args"] = new JsonArray("--n", number.ToString(CultureInfo.InvariantCulture)),
        };
        if (program is not null)
        {
            overrides["entry_point"] = new JsonArray(program);
        }

        var spec = new JsonObject
        {
            ["uri"] = uri,
            ["entity"] = "local",
            ["project"] = "bench",
            ["resource"] = "local-process",
            ["overrides"] = overrides,
        }.ToJsonString();
        return Body(
            "mutation pushToRunQueueByName($q: String!, $s: JSONString!) { pushToRunQueueByName(input: {entityName: \"local\", projectName: \"model-registry\", queueName: $q, runSpec: $s}) { runQueueItemId } }",
            new { q = queue, s = spec }
        );
    }

    internal static async Task<JsonNode> Call(HttpClient client, string body)
    {
        using var content = new StringContent(body, Encoding.UTF8, "application/json");
        using var response = await client.PostAsync(new Uri("/graphql", UriKind.Relative), content);
        response.EnsureSuccessStatusCode();
        return JsonNode.Parse(await response.Content.ReadAsStreamAsync())!;
    }

    private static JsonNode WaitForEnd(HttpClient client, string queue, string id)
    {
        while (true)
        {
            var item = Call(
                    client,
                    Body(
                        "query($q: String!, $i: ID!) { project(name: \"model-registry\", entityName: \"local\") { runQueue(name: $q) { runQueueItem(id: $i) { state associatedRunId error { message } } } } }",
                        new { q = queue, i = id }
                    )
                )
                .GetAwaiter()
                .GetResult()["data"]!["project"]!["runQueue"]!["runQueueItem"]!;
            switch (item["state"]!.ToString())
            {
                case "FINISHED":
                    return item;
                case "FAILED":
                    throw new InvalidOperationException(item["error"]!.ToJsonString());
                default:
                    Thread.Sleep(20);
                    break;
            }
        }
    }

    private static int Pending(HttpClient client, string queue) =>
        Call(
                client,
                Body(
                    "query($q: String!) { project(name: \"model-registry\", entityName: \"local\") { runQueue(name: $q) { pendingCount } } }",
                    new { q = queue }
                )
            )
            .GetAwaiter()
            .GetResult()["data"]!["project"]!["runQueue"]!["pendingCount"]!.GetValue<int>();

    private static string Repository(string? program = null)
    {
        var folder = Directory
            .CreateDirectory(Path.Combine(Program.WorkFolder, "repo-" + Guid.NewGuid().ToString("n")[..6]))
            .FullName;
        File.WriteAllText(Path.Combine(folder, "main.py"), program ?? "print('ran')\n");
        File.WriteAllText(Path.Combine(folder, "requirements.txt"), "");
        foreach (
            var words in new[]
            {
                new[] { "init", "-q" },
                ["add", "."],
                ["-c", "user.name=b", "-c", "user.email=b@example.org", "commit", "-q", "-m", "one"],
            }
        )
        {
            using var git = Process.Start(new ProcessStartInfo("git", words) { WorkingDirectory = folder })!;
            git.WaitForExit();
        }

        return new Uri(folder).AbsoluteUri;
    }

    // The agent as a service runs it.
    internal static Process Agent(Database database, string queue, string more, string resource = "local-process")
    {
        Program.Script($"$null = Connect-Wandb -Local -Path '{database.Path}'; $null = New-WandbRunQueue {queue}");
        var config = Path.Combine(Program.WorkFolder, queue + ".yaml");
        File.WriteAllText(
            config,
            $$"""{ "name": "{{queue}}", "queues": ["{{queue}}"], "local_server": "{{database.Path}}", "no_install": true, "policy": { "resources": ["{{resource}}"], "git_hosts": ["file"] }, {{more}} }"""
        );
        var start = new ProcessStartInfo(
            "dotnet",
            [Path.Combine(Program.ModuleFolder, "lib", "WandbLaunch.Host.dll"), "agent", config]
        )
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        var agent = Process.Start(start)!;
        agent.OutputDataReceived += (_, _) => { };
        agent.ErrorDataReceived += (_, e) => Console.Error.Write(e.Data is null ? "" : e.Data + "\n");
        agent.BeginOutputReadLine();
        agent.BeginErrorReadLine();
        return agent;
    }

    internal static void WaitForAgent(HttpClient client)
    {
        while (
            Call(
                    client,
                    Body(
                        "{ project(name: \"model-registry\", entityName: \"local\") { launchAgents { id } } }",
                        new { }
                    )
                )
                .GetAwaiter()
                .GetResult()["data"]!["project"]!["launchAgents"]!
                .AsArray()
                .Count == 0
        )
        {
            Thread.Sleep(100);
        }
    }

    internal static void End(Process agent)
    {
        agent.Kill();
        agent.WaitForExit();
    }
}
