using System.Globalization;
using GraphQL;
using GraphQL.Resolvers;
using GraphQL.Types;
using GraphQLParser;
using GraphQLParser.AST;
using GraphQLParser.Exceptions;
using WandbLaunch.Foundation;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Schema;

/// <summary>
/// What one request may ask for. The text is measured before it is parsed, its tree before it is validated, and the
/// answer while it grows: a document of a few hundred bytes can ask for more than a machine holds, and only the last
/// of the three sees what is really there.
/// </summary>
internal static class GraphQLLimits
{
    /// <summary>Bytes of a request's body. Two items of the largest size, in the worst escaping, and room.</summary>
    internal const int Body = 16 * DocumentLimits.QueuedItem.Bytes;

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

    /// <summary>Has every field of the schema counted when it is answered, and what the caller may not see left out (<see cref="Visibility"/>).</summary>
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
            return budget.Caller.IsAdmin
                ? CountedAsync(budget, result)
                : CountedAsync(budget, SeenAsync(result, budget.Caller));
        }

        private static ValueTask<object?> CountedAsync(AnswerBudget budget, ValueTask<object?> result)
        {
            if (result.IsCompletedSuccessfully)
            {
                budget.Value(result.Result);
            }

            return result;
        }

        private static ValueTask<object?> SeenAsync(ValueTask<object?> result, Caller caller)
        {
            return result.IsCompletedSuccessfully
                ? new ValueTask<object?>(Visibility.Of(result.Result, caller))
                : LaterAsync(result, caller);

            static async ValueTask<object?> LaterAsync(ValueTask<object?> result, Caller caller) =>
                Visibility.Of(await result, caller);
        }
    }
}
