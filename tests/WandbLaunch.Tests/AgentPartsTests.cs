using System.Collections.Concurrent;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;

namespace WandbLaunch.Tests;

/// <summary>Parts of an agent by themselves: the line to its server, and how long it goes on.</summary>
public sealed class AgentPartsTests : IDisposable
{
    private readonly string _folder = Fixture.NewFolder("agent-parts");
    private readonly ConcurrentQueue<AgentEvent> _events = new();
    private readonly AgentLog _log;
    private readonly ServerLink _link;
    private readonly ConcurrentQueue<int> _pauses = new();

    public AgentPartsTests()
    {
        _log = new AgentLog(_folder);
        var callbacks = new AgentCallbacks
        {
            Happened = _events.Enqueue,
            AwayPause = attempt =>
            {
                _pauses.Enqueue(attempt);
                return TimeSpan.FromMilliseconds(1);
            },
        };
        _link = new ServerLink(
            "http://server",
            new AgentTeller("a", _log, callbacks, TimeProvider.System),
            callbacks,
            TimeProvider.System
        );
    }

    public void Dispose() => _log.Dispose();

    private static LaunchException Fault(string id, TimeSpan? after = null) =>
        new(id, LaunchErrorCategory.InvalidOperation, "no", null) { RetryAfter = after };

    [Fact]
    public async Task A_server_that_is_away_is_asked_until_it_answers_and_said_once()
    {
        var left = 5;
        var answer = await _link.AskAsync(
            _ =>
            {
                Assert.Equal(left < 5, _link.IsAway);
                return left-- > 0
                    ? throw (left % 2 == 0 ? Fault("ServerError") : new FormatException("garbage"))
                    : Task.FromResult(7);
            },
            CancellationToken.None
        );
        Assert.Equal(7, answer);
        Assert.False(_link.IsAway);
        Assert.Equal([AgentEventKind.ServerAway, AgentEventKind.ServerBack], _events.Select(e => e.Kind));
        Assert.Equal("ServerError", _events.First().ErrorId);
        Assert.Equal([0, 1, 2, 3, 4], _pauses);
    }

    [Fact]
    public async Task A_server_that_says_when_is_asked_then()
    {
        var asked = 0;
        await _link.AskAsync(
            _ => ++asked == 1 ? throw Fault("RateLimited", TimeSpan.FromMilliseconds(20)) : Task.FromResult(true),
            CancellationToken.None
        );
        Assert.Equal(2, asked);
        Assert.Empty(_pauses);
    }

    // What is no answer at all does not count: only a server that is there can refuse.
    [Fact]
    public async Task A_server_that_says_no_so_often_is_taken_at_its_word()
    {
        string[] faults = ["GraphQLError", "ServerError", "AccessDenied", "GraphQLError"];
        var asked = 0;
        var no = await Assert.ThrowsAsync<LaunchException>(() =>
            _link.AskAsync<bool>(_ => throw Fault(faults[asked++]), CancellationToken.None, 3)
        );
        Assert.Equal(("GraphQLError", 4), (no.ErrorId, asked));
        Assert.False(_link.IsAway);

        // Where nothing is said of refusals, one is a fault as others.
        asked = 0;
        Assert.True(
            await _link.AskAsync(
                _ => ++asked < 6 ? throw Fault("GraphQLError") : Task.FromResult(true),
                CancellationToken.None
            )
        );
    }

    [Fact]
    public async Task Whoever_no_longer_waits_gets_no_fault_of_the_server()
    {
        using var over = new CancellationTokenSource();
        var asking = _link.AskAsync<bool>(
            async t =>
            {
                await over.CancelAsync();
                throw Fault("ServerError");
            },
            over.Token
        );
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => asking);
    }

    [Fact]
    public async Task What_is_asked_once_stands_in_the_log_once()
    {
        for (var i = 0; i < 3; i++)
        {
            Assert.False(await _link.OnceAsync(_ => throw Fault("ServerError")));
        }

        Assert.True(await _link.OnceAsync(_ => Task.CompletedTask));
        _log.Dispose();
        var line = Assert.Single(await File.ReadAllLinesAsync(Path.Combine(_folder, "agent.log")));
        Assert.Contains(nameof(What_is_asked_once_stands_in_the_log_once), line, StringComparison.Ordinal);
        Assert.Empty(_events);
    }

    [Fact]
    public void The_stronger_wish_counts_and_a_late_one_changes_nothing()
    {
        var lifetime = new AgentLifetime();
        Assert.True(lifetime.TryDrain("first", true));
        Assert.False(lifetime.TryDrain("second", false));
        Assert.Equal(
            (AgentMode.Asked, "first", true, false),
            (
                lifetime.Mode,
                lifetime.Why,
                lifetime.NoMore.IsCancellationRequested,
                lifetime.Stopping.IsCancellationRequested
            )
        );
        Assert.True(lifetime.TryStop("now"));
        Assert.False(lifetime.TryStop("again"));
        Assert.False(lifetime.TryDrain("slowly", true));
        Assert.Equal((AgentMode.Stopping, "now"), (lifetime.Mode, lifetime.Why));
        Assert.True(lifetime.Stopping.IsCancellationRequested);
        lifetime.Dispose();
        Assert.False(lifetime.TryStop("late"));
        lifetime.Detach("late");
        Assert.Equal("now", lifetime.Why);
        Assert.True(lifetime.Closed.IsCancellationRequested);
    }

    [Fact]
    public async Task A_wake_that_comes_before_the_wait_is_not_lost()
    {
        using var lifetime = new AgentLifetime();
        lifetime.Wake();
        await lifetime.Woken.WaitAsync(TimeSpan.FromSeconds(60));
        lifetime.Rearm();
        var next = lifetime.Woken;
        Assert.False(next.IsCompleted);
        lifetime.Rearm();
        Assert.Same(next, lifetime.Woken);
        lifetime.Wake();
        await next.WaitAsync(TimeSpan.FromSeconds(60));
    }
}
