using System.Collections.Frozen;
using System.Globalization;
using System.Text;
using System.Text.Json;
using Dapper;

namespace WandbLaunch.Server.Data;

/// <summary>W&amp;B's run filters (a MongoDB query as JSON) as SQL with parameters.</summary>
internal sealed class RunFilters(DynamicParameters parameters)
{
    private static readonly FrozenDictionary<string, string> Columns = new Dictionary<string, string>
    {
        ["state"] = "state",
        ["name"] = "name",
        ["display_name"] = "display_name",
        ["displayName"] = "display_name",
        ["group"] = "grp",
        ["jobType"] = "job_type",
        ["job_type"] = "job_type",
        ["sweep"] = "sweep",
        ["commit"] = "commit_hash",
        ["created_at"] = "created_at",
        ["createdAt"] = "created_at",
        ["heartbeatAt"] = "heartbeat_at",
        ["host"] = "host",
        ["notes"] = "notes",
        ["user"] = "user",
        ["username"] = "user",
    }.ToFrozenDictionary(StringComparer.OrdinalIgnoreCase);

    private int _next;

    /// <summary>The condition of a filter's text.</summary>
    internal static string Where(DynamicParameters parameters, string filters)
    {
        try
        {
            using var document = JsonDocument.Parse(filters);
            return new RunFilters(parameters).Where(document.RootElement);
        }
        catch (JsonException e)
        {
            throw new ServerFault($"filters is not JSON: {JsonLimits.Short(e.Message, 200)}");
        }
        catch (InvalidOperationException)
        {
            // A list where a value should be, a number where a text.
            throw new ServerFault("filters is not a run filter: an operator has a value of the wrong kind.");
        }
    }

    private string Where(JsonElement filter)
    {
        var parts = new List<string>();
        foreach (var entry in filter.EnumerateObject())
        {
            parts.Add(
                entry.Name switch
                {
                    "$and" => Join(entry.Value, " AND ", "1"),
                    "$or" => Join(entry.Value, " OR ", "0"),
                    "$nor" => "NOT " + Join(entry.Value, " OR ", "0"),
                    "$not" => "NOT (" + Where(entry.Value) + ")",
                    "tags" => Tags(entry.Value),
                    _ => Field(Expression(entry.Name), entry.Value),
                }
            );
        }

        return parts.Count == 0 ? "1" : string.Join(" AND ", parts);
    }

    private string Join(JsonElement list, string with, string none) =>
        list.GetArrayLength() == 0
            ? none
            : "(" + string.Join(with, list.EnumerateArray().Select(f => "(" + Where(f) + ")")) + ")";

    private string Expression(string name)
    {
        if (Columns.TryGetValue(name, out var column))
        {
            return column;
        }

        var dot = name.IndexOf('.', StringComparison.Ordinal);
        return (dot < 0 ? "" : name[..dot]) switch
        {
            "config" => $"json_extract(config, {Bind(JsonPath(name[(dot + 1)..], true))})",
            "summary_metrics" or "summaryMetrics" =>
                $"json_extract(summary, {Bind(JsonPath(name[(dot + 1)..], false))})",
            _ => throw new ServerFault($"Unknown run filter field \"{JsonLimits.Short(name)}\"."),
        };
    }

    // config.lr and config.lr.value name the same thing: stored is {"lr": {"value": …}}.
    private static string JsonPath(string path, bool isConfig)
    {
        var parts = path.Split('.').ToList();
        if (isConfig && (parts.Count < 2 || parts[1] != "value"))
        {
            parts.Insert(1, "value");
        }

        return "$" + string.Concat(parts.Select(p => $".\"{p.Replace("\"", "", StringComparison.Ordinal)}\""));
    }

    private string Field(string expression, JsonElement test)
    {
        if (test.ValueKind != JsonValueKind.Object)
        {
            return test.ValueKind == JsonValueKind.Null
                ? expression + " IS NULL"
                : $"{expression} = {Bind(Value(test))}";
        }

        var parts = new List<string>();
        foreach (var op in test.EnumerateObject())
        {
            parts.Add(
                op.Name switch
                {
                    "$eq" => op.Value.ValueKind == JsonValueKind.Null
                        ? expression + " IS NULL"
                        : $"{expression} = {Bind(Value(op.Value))}",
                    "$ne" => op.Value.ValueKind == JsonValueKind.Null
                        ? expression + " IS NOT NULL"
                        : $"{expression} IS NOT {Bind(Value(op.Value))}",
                    "$gt" => $"{expression} > {Bind(Value(op.Value))}",
                    "$gte" => $"{expression} >= {Bind(Value(op.Value))}",
                    "$lt" => $"{expression} < {Bind(Value(op.Value))}",
                    "$lte" => $"{expression} <= {Bind(Value(op.Value))}",
                    "$in" => $"{expression} IN ({List(op.Value)})",
                    "$nin" => $"({expression} IS NULL OR {expression} NOT IN ({List(op.Value)}))",
                    "$regex" => $"{expression} REGEXP {Bind(op.Value.GetString()!)}",
                    "$exists" => expression + (op.Value.GetBoolean() ? " IS NOT NULL" : " IS NULL"),
                    "$not" => "NOT (" + Field(expression, op.Value) + ")",
                    _ => throw new ServerFault($"Unknown run filter operator \"{op.Name}\"."),
                }
            );
        }

        return "(" + string.Join(" AND ", parts) + ")";
    }

    private string Tags(JsonElement test)
    {
        string Any(string list) => $"EXISTS (SELECT 1 FROM json_each(tags) t WHERE t.value IN ({list}))";
        if (test.ValueKind == JsonValueKind.String)
        {
            return Any(Bind(test.GetString()!));
        }

        return string.Join(
            " AND ",
            test.EnumerateObject()
                .Select(op =>
                    op.Name switch
                    {
                        "$in" => Any(List(op.Value)),
                        "$nin" => "NOT " + Any(List(op.Value)),
                        "$all" => string.Join(
                            " AND ",
                            op.Value.EnumerateArray().Select(t => Any(Bind(t.GetString()!)))
                        ),
                        "$eq" => Any(Bind(op.Value.GetString()!)),
                        _ => throw new ServerFault($"Unknown run filter operator \"{op.Name}\" for tags."),
                    }
                )
        );
    }

    private string List(JsonElement values)
    {
        var text = new StringBuilder();
        foreach (var value in values.EnumerateArray())
        {
            text.Append(text.Length > 0 ? ", " : "").Append(Bind(Value(value)));
        }

        return text.Length == 0 ? "NULL" : text.ToString();
    }

    private static object Value(JsonElement value) =>
        value.ValueKind switch
        {
            JsonValueKind.Number => value.TryGetInt64(out var whole) ? (object)whole : value.GetDouble(),
            JsonValueKind.True => 1L,
            JsonValueKind.False => 0L,
            JsonValueKind.String => value.GetString()!,
            _ => throw new ServerFault("A run filter compares with a string, number or boolean."),
        };

    private string Bind(object value)
    {
        var name = "@f" + (_next++).ToString(CultureInfo.InvariantCulture);
        parameters.Add(name, value);
        return name;
    }
}
