using System.Globalization;
using GraphQL;
using GraphQL.Resolvers;
using GraphQL.Types;
using GraphQLParser;
using GraphQLParser.AST;
using GraphQLParser.Exceptions;

namespace WandbLaunch.Server;

/// <summary>
/// What one request may ask for. The text is measured before it is parsed, its tree before it is validated, and the
/// answer while it grows: a document of a few hundred bytes can ask for more than a machine holds, and only the last
/// of the three sees what is really there.
/// </summary>
internal static class GraphQLLimits
{
    /// <summary>Bytes of a request's body. Two items of the largest size, in the worst escaping, and room.</summary>
    internal const int Body = 16 << 20;

    /// <summary>Characters of the document, without its variables.</summary>
    internal const int Text = 256 * 1024;

    /// <summary>Words and signs of the document.</summary>
    internal const int Tokens = 10_000;

    /// <summary>Fields inside fields. What clients send to learn a schema has up to 16.</summary>
    internal const int Depth = 20;

    /// <summary>Fields with their aliases, each fragment counted where it is used.</summary>
    internal const int Fields = 1000;

    /// <summary>Fragments.</summary>
    internal const int Fragments = 100;

    /// <summary>Fields of the answer, where one that asks the database counts for ten, and each row that it reads for twenty.</summary>
    internal const int Answered = 200_000;

    /// <summary>Characters of the answer's texts.</summary>
    internal const long AnsweredText = 64L << 20;

    /// <summary>How long an answer may be made.</summary>
    internal static readonly TimeSpan Time = TimeSpan.FromSeconds(30);

    /// <summary>Parses a document that keeps the limits.</summary>
    /// <exception cref="RequestFault">It does not, and which, or it is no GraphQL.</exception>
    internal static GraphQLDocument Parse(string text)
    {
        if (text.Length > Text)
        {
            throw Over("characters", Text, "Send values as variables.");
        }

        try
        {
            var tokens = 0;
            for (var at = 0; ; )
            {
                var token = Lexer.Lex(text, at);
                if (token.Kind == TokenKind.EOF)
                {
                    break;
                }

                at = token.End;
                if (++tokens > Tokens)
                {
                    throw Over("words and signs", Tokens, "Ask in several requests.");
                }
            }

            var document = Parser.Parse(
                text,
                new ParserOptions { Ignore = IgnoreOptions.Comments, MaxDepth = 4 * Depth }
            );
            Measure(document);
            return document;
        }
        catch (GraphQLMaxDepthExceededException)
        {
            throw Over("levels", Depth, "Ask in several requests.");
        }
        catch (GraphQLSyntaxErrorException e)
        {
            throw new RequestFault(400, "The query is no GraphQL: " + JsonLimits.Short(e.Message, 300));
        }
    }

    /// <summary>Has every field of the schema counted when it is answered.</summary>
    internal static void Count(ISchema schema, Func<string, string, bool> asksDatabase)
    {
        foreach (var type in schema.AllTypes.OfType<IObjectGraphType>())
        {
            foreach (var field in type.Fields)
            {
                field.Resolver = new CountedResolver(
                    field.Resolver ?? NameFieldResolver.Instance,
                    asksDatabase(type.Name, field.Name) ? 10 : 1
                );
            }
        }

        var typeName = schema.TypeNameMetaFieldType;
        typeName.Resolver = new CountedResolver(typeName.Resolver ?? NameFieldResolver.Instance, 1);
    }

    private static void Measure(GraphQLDocument document)
    {
        var fragments = new Dictionary<string, GraphQLFragmentDefinition>(StringComparer.Ordinal);
        foreach (var fragment in document.Definitions.OfType<GraphQLFragmentDefinition>())
        {
            // The second of a name is for validation to refuse.
            fragments.TryAdd(fragment.FragmentName.Name.StringValue, fragment);
            if (fragments.Count > Fragments)
            {
                throw Over("fragments", Fragments, "Ask in several requests.");
            }
        }

        var known = new Dictionary<string, (long Fields, int Depth)?>(StringComparer.Ordinal);
        var (fields, depth) = (0L, 0);
        foreach (var definition in document.Definitions)
        {
            var set = definition switch
            {
                GraphQLOperationDefinition operation => operation.SelectionSet,
                GraphQLFragmentDefinition fragment => fragment.SelectionSet,
                _ => null,
            };
            var (inFields, inDepth) = Of(set);
            fields = definition is GraphQLOperationDefinition ? fields + inFields : Math.Max(fields, inFields);
            depth = Math.Max(depth, inDepth);
        }

        if (depth > Depth)
        {
            throw Over("levels", Depth, "Ask in several requests.");
        }

        if (fields > Fields)
        {
            throw Over("fields", Fields, "Ask in several requests.");
        }

        (long Fields, int Depth) Of(GraphQLSelectionSet? set)
        {
            var (count, deepest) = (0L, 0);
            foreach (var selection in set?.Selections ?? [])
            {
                var (inner, levels) = selection switch
                {
                    GraphQLField field => Of(field.SelectionSet) is var (n, d) ? (n + 1, d + 1) : default,
                    GraphQLInlineFragment inline => Of(inline.SelectionSet),
                    GraphQLFragmentSpread spread => OfFragment(spread.FragmentName.Name.StringValue),
                    _ => default,
                };

                // Doubling fragments pass every number: it is enough to know that it is too many.
                count = Math.Min(count + inner, int.MaxValue);
                deepest = Math.Max(deepest, levels);
            }

            return (count, deepest);
        }

        (long Fields, int Depth) OfFragment(string name)
        {
            if (!fragments.TryGetValue(name, out var fragment))
            {
                return default;
            }

            if (known.TryGetValue(name, out var found))
            {
                return found
                    ?? throw new RequestFault(400, $"The fragment \"{JsonLimits.Short(name)}\" contains itself.");
            }

            known[name] = null;
            var result = Of(fragment.SelectionSet);
            known[name] = result;
            return result;
        }
    }

    private static RequestFault Over(string what, int limit, string advice) =>
        new(
            400,
            string.Create(
                CultureInfo.InvariantCulture,
                $"The query has more than {limit:N0} {what}, the most that is taken. {advice}"
            )
        );

    private sealed class CountedResolver(IFieldResolver inner, int cost) : IFieldResolver
    {
        public ValueTask<object?> ResolveAsync(IResolveFieldContext context)
        {
            var budget = AnswerBudget.Of(context);
            budget.Fields(cost);
            var result = inner.ResolveAsync(context);
            if (result.IsCompletedSuccessfully)
            {
                budget.Value(result.Result);
            }

            return result;
        }
    }
}

/// <summary>What is left of one answer.</summary>
internal sealed class AnswerBudget(CancellationToken gone) : IDisposable
{
    private const string Name = "budget";

    private readonly CancellationTokenSource _over = new();
    private readonly long _end = Environment.TickCount64 + (long)GraphQLLimits.Time.TotalMilliseconds;
    private int _fields = GraphQLLimits.Answered;
    private long _text = GraphQLLimits.AnsweredText;

    /// <summary>Cancelled where the answer is not to be finished.</summary>
    internal CancellationToken Token => _over.Token;

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
        else if (gone.IsCancellationRequested)
        {
            _over.Cancel();
            gone.ThrowIfCancellationRequested();
        }
    }

    internal void Text(long length)
    {
        if ((_text -= length) < 0)
        {
            Stop(
                400,
                $"The answer would have more than {GraphQLLimits.AnsweredText / Answers.Megabyte} MB. Ask for smaller pages (first), or less of each."
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
