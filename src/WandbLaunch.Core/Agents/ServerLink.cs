using System.Collections.Concurrent;
using System.Runtime.CompilerServices;
using System.Text.Json;
using Polly;
using Polly.Retry;
using WandbLaunch.Foundation;

namespace WandbLaunch.Agents;

/// <summary>The agent's line to its server: asked until it answers, or once; and whether it is away.</summary>
internal sealed class ServerLink
{
    private static readonly TimeSpan AnswerLimit = TimeSpan.FromSeconds(90);
    private static readonly TimeSpan OnceLimit = TimeSpan.FromSeconds(20);
    private static readonly TimeSpan MostPause = TimeSpan.FromMinutes(5);
    private static readonly ResiliencePropertyKey<Asking> AskingKey = new("asking");

    private readonly AgentTeller _teller;
    private readonly AgentCallbacks _callbacks;
    private readonly string _server;
    private readonly TimeProvider _time;
    private readonly ResiliencePipeline _pipeline;
    private readonly object _lock = new();

    // What went unanswered last, by the place that asks: each fault is written down once.
    private readonly ConcurrentDictionary<(string Asker, int Line), string> _unanswered = new();
    private volatile bool _away;

    internal ServerLink(string server, AgentTeller teller, AgentCallbacks callbacks, TimeProvider time)
    {
        _server = server;
        _teller = teller;
        _callbacks = callbacks;
        _time = time;
        _pipeline = new ResiliencePipelineBuilder { TimeProvider = time }
            .AddRetry(
                new RetryStrategyOptions
                {
                    MaxRetryAttempts = int.MaxValue,
                    ShouldHandle = args =>
                        ValueTask.FromResult(
                            args.Outcome.Exception is { } fault && IsWorthAnother(fault, args.Context)
                        ),
                    DelayGenerator = args =>
                    {
                        var pause =
                            (args.Outcome.Exception as LaunchException)?.RetryAfter
                            ?? _callbacks.AwayPause(args.AttemptNumber);
                        return ValueTask.FromResult<TimeSpan?>(pause > MostPause ? MostPause : pause);
                    },
                }
            )
            .AddTimeout(AnswerLimit)
            .Build();
    }

    /// <summary>The server does not answer at the moment.</summary>
    internal bool IsAway => _away;

    /// <summary>
    /// Asks the server until it answers: it says once that it is away, waits longer each time, and goes on. Where an item
    /// is asked for, a server that answers and says no so many times is taken at its word.
    /// </summary>
    internal async Task<T> AskAsync<T>(
        Func<CancellationToken, Task<T>> ask,
        CancellationToken token,
        int mostRefusals = int.MaxValue
    )
    {
        var context = ResilienceContextPool.Shared.Get(token);
        context.Properties.Set(AskingKey, new Asking(mostRefusals));
        try
        {
            return await _pipeline.ExecuteAsync(
                async tries =>
                {
                    var answer = await ask(tries.CancellationToken);
                    SetAway(false, null);
                    return answer;
                },
                context
            );
        }
        catch (Exception e) when (e is not OperationCanceledException && token.IsCancellationRequested)
        {
            // Nobody waits for it any more.
            throw new OperationCanceledException(e.Message, e, token);
        }
        finally
        {
            ResilienceContextPool.Shared.Return(context);
        }
    }

    // Garbage of any kind: what a server says must never end an agent.
    private bool IsWorthAnother(Exception fault, ResilienceContext context)
    {
        if (fault is OperationCanceledException && context.CancellationToken.IsCancellationRequested)
        {
            return false;
        }

        var asking = context.Properties.GetValue(AskingKey, null!);
        if (
            asking.MostRefusals < int.MaxValue
            && fault is LaunchException { ErrorId: "GraphQLError" or "AccessDenied" }
        )
        {
            SetAway(false, null);
            return ++asking.Refusals < asking.MostRefusals;
        }

        SetAway(true, fault);
        return true;
    }

    /// <summary>Asks once; what fails is tried at the next occasion, and stands in the agent's log until then.</summary>
    internal async Task<bool> OnceAsync(
        Func<CancellationToken, Task> ask,
        [CallerMemberName] string asker = "",
        [CallerLineNumber] int line = 0
    )
    {
        using var limit = new CancellationTokenSource(OnceLimit, _time);
        try
        {
            await ask(limit.Token);
            _unanswered.TryRemove((asker, line), out _);
            return true;
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            // A fault of the server or the network in a line; one of this program with its story.
            var expected =
                e
                is LaunchException
                    or HttpRequestException
                    or IOException
                    or OperationCanceledException
                    or JsonException;
            var why = expected ? e.Message : e.ToString();
            if (!_unanswered.TryGetValue((asker, line), out var known) || known != why)
            {
                _unanswered[(asker, line)] = why;
                _teller.Note(
                    $"{asker}: {why}",
                    (e as LaunchException)?.ErrorId ?? (expected ? "ConnectionFailed" : "Unexpected")
                );
            }

            return false;
        }
    }

    private void SetAway(bool away, Exception? fault)
    {
        lock (_lock)
        {
            if (_away == away)
            {
                return;
            }

            _away = away;
        }

        if (away)
        {
            _teller.Tell(
                AgentEventKind.ServerAway,
                null,
                $"{fault!.Message} Runs go on; it is tried again until the server answers.",
                fault: (fault as LaunchException)?.ErrorId ?? "ServerAnswerInvalid"
            );
        }
        else
        {
            _teller.Tell(AgentEventKind.ServerBack, null, $"{_server} answers again.");
        }
    }

    // How often the server said no to what is asked.
    private sealed class Asking(int mostRefusals)
    {
        internal int MostRefusals { get; } = mostRefusals;
        internal int Refusals { get; set; }
    }
}
