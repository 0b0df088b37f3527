using System.Collections.Concurrent;
using System.Text.Json;
using GraphQL;
using GraphQL.Execution;
using GraphQL.SystemTextJson;
using GraphQL.Types;
using GraphQL.Validation;
using GraphQLParser.AST;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;
using WandbLaunch.Server.Endpoints;

namespace WandbLaunch.Server.Schema;

/// <summary>POST /graphql: <c>{"query": …, "variables"?: {…}, "operationName"?: …}</c>.</summary>
internal sealed partial class GraphQLEndpoint(
    Lazy<ISchema> schema,
    UrlSigner signer,
    FaultAnswers answers,
    ILogger<GraphQLEndpoint> log
)
{
    // What clients asked for that is not there: told once for each client, so that whoever runs the server learns of it.
    private const int MostUnknown = 1000;
    private readonly ConcurrentDictionary<(string What, string Client), bool> _unknown = new();

    private readonly DocumentExecuter _executer = new();
    private readonly GraphQLSerializer _serializer = new();

    // Clients send the same few texts again and again: parsed and validated once.
    private readonly ConcurrentDictionary<string, GraphQLDocument> _documents = new(StringComparer.Ordinal);

    internal async Task InvokeAsync(HttpContext context)
    {
        using var body = await Bodies.ReadJsonAsync(context, GraphQLLimits.Body);
        var (text, operation, variables) = Read(body.RootElement);
        var isKnown = _documents.TryGetValue(text, out var document);
        document ??= GraphQLLimits.Parse(text);
        using var budget = new AnswerBudget(context);
        var userContext = ResolveContext.NewUserContext(context.Request, signer, budget);
        ExecutionResult result;
        try
        {
            result = await _executer.ExecuteAsync(o =>
            {
                o.Schema = schema.Value;
                o.Query = text;
                o.Document = document;
                o.OperationName = operation;
                o.Variables = variables;
                o.UserContext = userContext;
                o.CancellationToken = budget.Token;
                o.UnhandledExceptionDelegate = e =>
                {
                    e.ErrorMessage = answers.Explain(e.OriginalException).Message;
                    return Task.CompletedTask;
                };
            });
        }
        catch (OperationCanceledException) when (budget.Fault is { } fault)
        {
            throw fault;
        }

        if (!isKnown && result.Executed && text.Length < 20_000 && _documents.Count < 1000)
        {
            _documents[text] = document;
        }

        if (result.Errors is { } faults)
        {
            if (
                faults.Any(f => FaultAnswers.IsFull(f.InnerException))
                && (result.Data as RootExecutionNode)?.SubFields?.Any(f => f.Result is not null) != true
            )
            {
                context.Response.StatusCode = 507;
            }

            result.Errors = [];
            result.Errors.AddRange(faults.Select(Shown));
            foreach (var fault in result.Errors.Zip(faults).Where(f => f.Second is ValidationError))
            {
                Tell(fault.First.Message, context.Request.Headers.UserAgent.ToString());
            }
        }

        context.Response.ContentType = "application/json";
        await _serializer.WriteAsync(context.Response.Body, result, context.RequestAborted);
    }

    private void Tell(string what, string client)
    {
        client = OneLine(client, 100);
        if (_unknown.Count < MostUnknown && _unknown.TryAdd((OneLine(what, 300), client), true))
        {
            Unknown(log, client.Length == 0 ? "A client" : client, OneLine(what, 300));
        }
    }

    private static string OneLine(string text, int most) =>
        JsonLimits.Short(string.Concat(text.Select(c => char.IsControl(c) ? ' ' : c)), most);

    [LoggerMessage(30, LogLevel.Warning, "{Client} asked for what this server does not have: {What}")]
    private static partial void Unknown(ILogger log, string client, string what);

    private (string Query, string? Operation, Inputs Variables) Read(JsonElement body)
    {
        if (body.ValueKind != JsonValueKind.Object)
        {
            throw new RequestFault(400, "The body must be a JSON object with a query; one operation a request.");
        }

        try
        {
            var query =
                Given(body, "query") is { ValueKind: JsonValueKind.String } text
                && text.GetString() is { Length: > 0 } t
                    ? t
                    : throw new RequestFault(400, "query must be the text of a GraphQL document.");
            var operation = Given(body, "operationName") is { } name
                ? name.ValueKind == JsonValueKind.String
                    ? name.GetString()
                    : throw new RequestFault(400, "operationName must be a text.")
                : null;
            var variables = Given(body, "variables") is { } map
                ? map.ValueKind == JsonValueKind.Object
                    ? _serializer.ReadNode<Inputs>(map) ?? Inputs.Empty
                    : throw new RequestFault(400, "variables must be an object.")
                : Inputs.Empty;
            return (query, string.IsNullOrEmpty(operation) ? null : operation, variables);
        }
        catch (InvalidOperationException)
        {
            throw new RequestFault(400, "The body has half of a surrogate pair, which is no text.");
        }
        catch (Exception e) when (e is JsonException or FormatException or OverflowException or ArgumentException)
        {
            throw new RequestFault(400, "variables cannot be read: " + JsonLimits.Short(e.Message, 200));
        }
    }

    // W&B's clients look for "Cannot query field" with double quotes (protocol B.1, B.3). No error sends a request's own text back at length.
    private static ExecutionError Shown(ExecutionError error)
    {
        var message = JsonLimits.Short(
            error.Message.StartsWith("Cannot query field", StringComparison.Ordinal)
                ? error.Message.Replace('\'', '"')
                : error.Message,
            1000
        );
        if (message == error.Message)
        {
            return error;
        }

        var shown = new ExecutionError(message) { Code = error.Code, Path = error.Path };
        foreach (var location in error.Locations ?? [])
        {
            shown.AddLocation(location);
        }

        return shown;
    }

    private static JsonElement? Given(JsonElement map, string name) =>
        map.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;
}
