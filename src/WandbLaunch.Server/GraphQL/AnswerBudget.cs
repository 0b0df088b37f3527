using System.Globalization;
using GraphQL;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Endpoints;

namespace WandbLaunch.Server.Schema;

/// <summary>What is left of one answer, and whose it is.</summary>
internal sealed class AnswerBudget(HttpContext context) : IDisposable
{
    private const string Name = "budget";

    private readonly CancellationTokenSource _over = new();
    private readonly long _end = Environment.TickCount64 + (long)GraphQLLimits.Time.TotalMilliseconds;
    private int _fields = GraphQLLimits.Answered;
    private long _text = GraphQLLimits.AnsweredText;

    /// <summary>Cancelled where the answer is not to be finished.</summary>
    internal CancellationToken Token => _over.Token;

    /// <summary>Whose answer it is.</summary>
    internal Caller Caller { get; } = context.Caller();

    /// <summary>The request.</summary>
    internal HttpContext Http => context;

    /// <summary>Which limit ended it.</summary>
    internal RequestFault? Fault { get; private set; }

    internal static AnswerBudget Of(IResolveFieldContext context) => (AnswerBudget)context.UserContext[Name]!;

    internal void AddTo(Dictionary<string, object?> userContext) => userContext[Name] = this;

    internal void Fields(int count)
    {
        if ((_fields -= count) < 0)
        {
            Stop(
                400,
                $"The answer would have more than {GraphQLLimits.Answered:N0} fields. Ask for smaller pages (first), or less of each."
            );
        }
        else if (Environment.TickCount64 > _end)
        {
            Stop(
                503,
                $"The answer takes longer than {GraphQLLimits.Time.TotalSeconds:0} seconds. Ask for smaller pages (first), or less of each."
            );
        }
        else if (context.RequestAborted.IsCancellationRequested)
        {
            _over.Cancel();
            context.RequestAborted.ThrowIfCancellationRequested();
        }
    }

    internal void Text(long length)
    {
        if ((_text -= length) < 0)
        {
            Stop(
                400,
                $"The answer would have more than {GraphQLLimits.AnsweredText / Bodies.Megabyte} MB. Ask for smaller pages (first), or less of each."
            );
        }
    }

    /// <summary>Counts what a field came to.</summary>
    internal void Value(object? value)
    {
        switch (value)
        {
            case string text:
                Text(text.Length);
                break;
            case IReadOnlyCollection<string> texts:
                Fields(texts.Count);
                Text(texts.Sum(t => (long)t.Length));
                break;
            case Row row when row.GetValueOrDefault("edges") is Row[] edges:
                Fields(20 * edges.Length);
                break;
            case System.Collections.ICollection list and not Row:
                Fields(list.Count);
                break;
        }
    }

    public void Dispose() => _over.Dispose();

    private void Stop(int status, FormattableString why)
    {
        Fault ??= new RequestFault(status, why.ToString(CultureInfo.InvariantCulture));
        _over.Cancel();
        _over.Token.ThrowIfCancellationRequested();
    }
}
