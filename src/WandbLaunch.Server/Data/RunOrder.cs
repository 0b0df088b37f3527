using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dapper;

namespace WandbLaunch.Server.Data;

/// <summary>What runs are ordered by: "+created_at", "-summary_metrics.loss", "config.lr.value". Where nothing is said, newest first; runs that lack the value come last.</summary>
internal sealed class RunOrder
{
    private readonly string _name;
    private readonly string _expression;
    private readonly bool _isAscending;

    private RunOrder(string name, string expression, bool isAscending)
    {
        _name = name;
        _expression = expression;
        _isAscending = isAscending;
    }

    /// <summary>The column of a page's rows that <see cref="Cursor"/> reads.</summary>
    internal string Column => _expression + " AS OrderValue";

    internal string By =>
        IsNeverNull
            ? $"{_expression} {Direction}, id {Direction}"
            : $"{_expression} IS NULL, {_expression} {Direction}, id {Direction}";

    // The one that every page asks for, and which has an index.
    private bool IsNeverNull => _expression is "created_at" or "name" or "state";

    private string Direction => _isAscending ? "ASC" : "DESC";

    /// <summary>Reads an order; a key without a sign is ascending, as in W&amp;B's clients.</summary>
    /// <exception cref="ServerFault">There is no such order.</exception>
    internal static RunOrder Parse(string? text, RunFilters filters)
    {
        if (text is not { Length: > 0 })
        {
            return new RunOrder("-created_at", "created_at", false);
        }

        var isAscending = text[0] != '-';
        var key = text[0] is '-' or '+' ? text[1..] : text;
        return new RunOrder(text, filters.Order(key), isAscending);
    }

    /// <summary>The condition for what comes after a page, or null for the first.</summary>
    internal string? After(string? cursor, DynamicParameters parameters)
    {
        if (cursor is not { Length: > 0 })
        {
            return null;
        }

        var (value, id) = Read(cursor);
        parameters.Add("afterId", id);
        var than = _isAscending ? ">" : "<";
        if (value is null)
        {
            return $"({_expression} IS NULL AND id {than} @afterId)";
        }

        parameters.Add("afterValue", value);
        return IsNeverNull
            ? $"({_expression}, id) {than} (@afterValue, @afterId)"
            : $"({_expression} {than} @afterValue OR ({_expression} = @afterValue AND id {than} @afterId) OR {_expression} IS NULL)";
    }

    internal string Cursor(RunRecord run) =>
        Ids.Encode(
            new JsonArray(
                _name,
                run.OrderValue switch
                {
                    null => null,
                    long whole => JsonValue.Create(whole),
                    double number => JsonValue.Create(number),
                    var other => JsonValue.Create(Convert.ToString(other, CultureInfo.InvariantCulture)),
                },
                run.Id
            ).ToJsonString()
        );

    private (object? Value, long Id) Read(string text)
    {
        try
        {
            if (
                JsonNode.Parse(Ids.Decode(text) ?? "null") is JsonArray { Count: 3 } parts
                && parts[0]?.GetValue<string>() == _name
            )
            {
                return (
                    parts[1] is not { } value ? null
                    : value.GetValueKind() == JsonValueKind.String ? value.GetValue<string>()
                    : value.AsValue().TryGetValue(out long whole) ? whole
                    : value.GetValue<double>(),
                    parts[2]!.GetValue<long>()
                );
            }
        }
        catch (Exception e)
            when (e is JsonException or InvalidOperationException or FormatException or NullReferenceException)
        {
            // Told below.
        }

        throw new ServerFault("after is no cursor of an earlier page in the same order.");
    }
}
