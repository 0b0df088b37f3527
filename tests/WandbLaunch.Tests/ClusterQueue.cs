using System.Collections.Concurrent;
using System.Diagnostics;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Server;
using WandbLaunch.Wandb;

namespace WandbLaunch.Tests;

/// <summary>A server with one queue, and an agent of it in a process of its own that can be killed.</summary>
internal sealed class ClusterQueue : IAsyncDisposable
{
    private const string Project = "model-registry";

    private readonly string _name = "cluster-" + Guid.NewGuid().ToString("n")[..6];
    private readonly ConcurrentQueue<string> _said = new();
    private LaunchServer _server = null!;
    private WandbConnection _connection = null!;
    private Process? _agent;

    /// <summary>All that its agents said, one line each.</summary>
    internal IReadOnlyList<string> Said => [.. _said];

    internal string Home { get; } = Fixture.NewFolder("cluster-agent");

    internal static async Task<ClusterQueue> CreateAsync(params JsonObject[] items)
    {
        var queue = new ClusterQueue();
        queue._server = await LaunchServer.StartAsync(
            Path.Combine(Fixture.NewFolder("cluster-server"), "wandb.db"),
            "127.0.0.1",
            0,
            Fixture.Key,
            lease: TimeSpan.FromSeconds(2)
        );
        queue._connection = await WandbConnection.OpenAsync(
            WandbSettings.Resolve(new LaunchEnvironment(), Fixture.Root, queue._server.Url, Fixture.Key),
            null,
            default
        );
        await queue._connection.Queues.CreateAsync(new NewQueue("local", Project, queue._name, "PROJECT"), default);
        await queue.PushAsync(items);
        return queue;
    }

    internal async Task PushAsync(params JsonObject[] items)
    {
        var pushed = await _connection.Queues.PushAsync(
            "local",
            Project,
            _name,
            null,
            [.. items.Select(i => new QueuePush(i))],
            default
        );
        Assert.All(pushed, p => Assert.Null(p.Fault));
    }

    /// <summary>Starts an agent.</summary>
    /// <param name="settings">Keys of its file beside name and queues, as JSON.</param>
    /// <param name="variables">Of its process.</param>
    internal void StartAgent(string settings, params (string Name, string Value)[] variables)
    {
        var start = new ProcessStartInfo("dotnet") { RedirectStandardOutput = true, RedirectStandardError = true };
        start.ArgumentList.Add(Path.Combine(AppContext.BaseDirectory, "WandbLaunch.CrashAgent.dll"));
        start.ArgumentList.Add(_server.Url);
        start.ArgumentList.Add($$"""{ "name": "{{_name}}", "queues": ["{{_name}}"], {{settings}} }""");
        start.Environment["WANDB_API_KEY"] = Fixture.Key;
        start.Environment["WANDBLAUNCH_HOME"] = Home;
        foreach (var (name, value) in variables)
        {
            start.Environment[name] = value;
        }

        _agent = Process.Start(start)!;
        _agent.OutputDataReceived += (_, e) => _said.Enqueue(e.Data ?? "");
        _agent.ErrorDataReceived += (_, e) => _said.Enqueue(e.Data ?? "");
        _agent.BeginOutputReadLine();
        _agent.BeginErrorReadLine();
    }

    internal async Task KillAgentAsync()
    {
        _agent!.Kill();
        await _agent.WaitForExitAsync();
    }

    internal async Task<IReadOnlyList<WandbLaunchQueueItem>> ItemsAsync()
    {
        var all = new List<WandbLaunchQueueItem>();
        var queue = await _connection.Queues.GetAsync("local", Project, _name, null, default);
        await foreach (var item in _connection.Queues.ItemsAsync(queue, [], default))
        {
            all.Add(item);
        }

        return all;
    }

    /// <summary>Waits, and says at the end of its patience what the agent said.</summary>
    internal async Task UntilAsync(Func<Task<bool>> there, string what, int seconds = 120)
    {
        var clock = Stopwatch.StartNew();
        while (!await there())
        {
            Assert.True(
                clock.Elapsed.TotalSeconds < seconds,
                clock.Elapsed.TotalSeconds < seconds ? null : $"{what}\n{string.Join('\n', Said)}"
            );
            await Task.Delay(100);
        }
    }

    internal Task UntilAsync(Func<bool> there, string what, int seconds = 120) =>
        UntilAsync(() => Task.FromResult(there()), what, seconds);

    public async ValueTask DisposeAsync()
    {
        if (_agent is { HasExited: false })
        {
            await KillAgentAsync();
        }

        _agent?.Dispose();
        _connection.Dispose();
        await _server.DisposeAsync();
    }
}
