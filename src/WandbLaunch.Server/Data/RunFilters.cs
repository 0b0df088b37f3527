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
        ["heartbeat_at"] = "heartbeat_at",
        ["updatedAt"] = "updated_at",
        ["updated_at"] = "updated_at",
        ["sweepName"] = "sweep",
        ["sweep_name"] = "sweep",
        ["description"] = "description",
        ["repo"] = "repo",
        ["program"] = "program",
        ["exitcode"] = "exit_code",
        ["stopped"] = "stopped",
        ["host"] = "host",
        ["notes"] = "notes",
        ["user"] = "user",
        ["username"] = "user",
        ["user.username"] = "user",
        ["user.name"] = "user",
        // Seconds from the first to the last that was heard.
        ["duration"] = "(julianday(heartbeat_at) - julianday(created_at)) * 86400.0",
    }.ToFrozenDictionary(StringComparer.OrdinalIgnoreCase);

    private const string TimeFormat = "yyyy-MM-dd'T'HH:mm:ss.fff";

    private int _next;

    private static readonly FrozenSet<string> Times = new[]
    {
        "created_at",
        "heartbeat_at",
        "updated_at",
    }.ToFrozenSet();

    /// <summary>The expression that runs are ordered by.</summary>
    internal string Order(string key) =>
        key.StartsWith("tags.", StringComparison.Ordinal)
            ? $"EXISTS (SELECT 1 FROM json_each(tags) t WHERE t.value = {Bind(key[5..])})"
            : Expression(key, "order");

    /// <summary>The condition of a filter's text.</summary>
    internal string Where(string filters)
    {
        try
        {
            using var document = JsonDocument.Parse(filters);
            return Where(document.RootElement);
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
                    _ when entry.Name.StartsWith("tags.", StringComparison.Ordinal) => Tag(
                        entry.Name[5..],
                        entry.Value
                    ),
                    _ => Field(Expression(entry.Name, "filter field"), entry.Value),
                }
            );
        }

        return parts.Count == 0 ? "1" : string.Join(" AND ", parts);
    }

    private string Join(JsonElement list, string with, string none) =>
        list.GetArrayLength() == 0
            ? none
            : "(" + string.Join(with, list.EnumerateArray().Select(f => "(" + Where(f) + ")")) + ")";

    private string Expression(string name, string what)
    {
        if (Columns.TryGetValue(name, out var column))
        {
            return column;
        }

        var dot = name.IndexOf('.', StringComparison.Ordinal);
        return (dot < 0 ? "" : name[..dot]) switch
        {
            "config" => $"json_extract(config, {Bind(JsonPath(name[(dot + 1)..], true))})",
            "summary_metrics" or "summaryMetrics" => Summary(name[(dot + 1)..]),
            "keys_info" when name.StartsWith("keys_info.keys.", StringComparison.Ordinal) =>
                $"json_extract(history_keys, {Bind(JsonPath("keys." + name["keys_info.keys.".Length..], false))})",
            _ => throw new ServerFault(
                $"Unknown run {what} \"{JsonLimits.Short(name)}\". Known are {string.Join(", ", Columns.Keys.Order(StringComparer.Ordinal))}, tags, config.NAME, summary_metrics.NAME and keys_info.keys.NAME."
            ),
        };
    }

    // A dot is a step into a map, or stands in the name itself.
    private string Summary(string path)
    {
        var inside = $"json_extract(summary, {Bind(JsonPath(path, false))})";
        return path.Contains('.', StringComparison.Ordinal)
            ? $"COALESCE({inside}, json_extract(summary, {Bind($"$.\"{path.Replace("\"", "", StringComparison.Ordinal)}\"")}))"
            : inside;
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
        var isTime = Times.Contains(expression);
        object Value(JsonElement value) => isTime ? Time(value) : RunFilters.Value(value);
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
                    "$in" => $"{expression} IN ({List(op.Value, Value)})",
                    "$nin" => $"({expression} IS NULL OR {expression} NOT IN ({List(op.Value, Value)}))",
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

        if (test.ValueKind == JsonValueKind.Null)
        {
            return "json_array_length(tags) = 0";
        }

        return string.Join(
            " AND ",
            test.EnumerateObject()
                .Select(op =>
                    op.Name switch
                    {
                        "$in" => Any(List(op.Value, Value)),
                        "$nin" => "NOT " + Any(List(op.Value, Value)),
                        "$all" => string.Join(
                            " AND ",
                            op.Value.EnumerateArray().Select(t => Any(Bind(t.GetString()!)))
                        ),
                        "$eq" => Any(Bind(op.Value.GetString()!)),
                        "$ne" => op.Value.ValueKind == JsonValueKind.Null
                            ? "json_array_length(tags) > 0"
                            : "NOT " + Any(Bind(op.Value.GetString()!)),
                        "$exists" => "json_array_length(tags) " + (op.Value.GetBoolean() ? "> 0" : "= 0"),
                        "$size" => "json_array_length(tags) = " + Bind(op.Value.GetInt64()),
                        "$regex" =>
                            $"EXISTS (SELECT 1 FROM json_each(tags) t WHERE t.value REGEXP {Bind(op.Value.GetString()!)})",
                        "$not" => "NOT (" + Tags(op.Value) + ")",
                        _ => throw new ServerFault($"Unknown run filter operator \"{op.Name}\" for tags."),
                    }
                )
        );
    }

    // {"tags.good": true}
    private string Tag(string tag, JsonElement test)
    {
        var any = $"EXISTS (SELECT 1 FROM json_each(tags) t WHERE t.value = {Bind(tag)})";
        return test.ValueKind switch
        {
            JsonValueKind.True => any,
            JsonValueKind.False or JsonValueKind.Null => "NOT " + any,
            _ => Field("(" + any + ")", test),
        };
    }

    // Times stand in rows as texts in one form, so that they compare; clients write them as they like, or as seconds since 1970.
    private static string Time(JsonElement value)
    {
        var text = value.ValueKind switch
        {
            JsonValueKind.Number when value.TryGetDouble(out var seconds) && Math.Abs(seconds) < 1e11 => DateTime
                .UnixEpoch.AddSeconds(seconds)
                .ToString(TimeFormat, CultureInfo.InvariantCulture),
            JsonValueKind.String
                when DateTime.TryParse(
                    value.GetString(),
                    CultureInfo.InvariantCulture,
                    DateTimeStyles.AdjustToUniversal | DateTimeStyles.AssumeUniversal,
                    out var time
                ) => time.ToString(TimeFormat, CultureInfo.InvariantCulture),
            _ => null,
        };
        return text
            ?? throw new ServerFault(
                $"A run filter compares a time with {JsonLimits.Short(value.GetRawText())}, which is none; write 2026-11-25T08:00:00Z."
            );
    }

    private string List(JsonElement values, Func<JsonElement, object> read)
    {
        var text = new StringBuilder();
        foreach (var value in values.EnumerateArray())
        {
            text.Append(text.Length > 0 ? ", " : "").Append(Bind(read(value)));
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
