using System.Collections.Frozen;
using System.Text.Json;
using Dapper;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Pages;

/// <summary>Columns of the table of runs: those of every run, and config.KEY and summary.KEY. As SQL to sort and group by, and as values to show.</summary>
internal static class RunColumns
{
    private const int LongestText = 300;

    private static readonly FrozenDictionary<string, string> Own = new Dictionary<string, string>
    {
        ["name"] = "COALESCE(NULLIF(display_name, ''), name) COLLATE NOCASE",
        ["id"] = "name",
        ["state"] = "state",
        ["created"] = "created_at",
        ["updated"] = "updated_at",
        ["duration"] = "(julianday(COALESCE(heartbeat_at, updated_at)) - julianday(created_at))",
        ["group"] = "grp",
        ["jobType"] = "job_type",
        ["sweep"] = "sweep",
        ["user"] = "user",
        ["host"] = "host",
        ["commit"] = "commit_hash",
        ["tags"] = "tags",
        ["notes"] = "notes",
    }.ToFrozenDictionary(StringComparer.Ordinal);

    /// <summary>The expression of a column.</summary>
    /// <exception cref="RequestFault">There is no such column.</exception>
    internal static string Expression(string column, string parameter, DynamicParameters parameters)
    {
        if (Own.TryGetValue(column, out var own))
        {
            return own;
        }

        var dot = column.IndexOf('.', StringComparison.Ordinal);
        var key = column[(dot + 1)..];
        switch (dot < 0 ? "" : column[..dot])
        {
            case "config":
                parameters.Add(parameter, Path(key) + ".\"value\"");
                return $"json_extract(config, @{parameter})";
            case "summary":
                parameters.Add(parameter, Path(key));
                return $"json_extract(summary, @{parameter})";
            default:
                throw new RequestFault(
                    400,
                    $"There is no column \"{JsonLimits.Short(column)}\". Columns are {string.Join(", ", Own.Keys.Order(StringComparer.Ordinal))}, config.KEY and summary.KEY."
                );
        }
    }

    /// <summary>Values of keys of a config or summary, as they are shown: short.</summary>
    internal static void Read(string json, string prefix, HashSet<string> wanted, Dictionary<string, object?> values)
    {
        if (wanted.Count == 0 || PageRequests.Json(json) is not { ValueKind: JsonValueKind.Object } map)
        {
            return;
        }

        foreach (var entry in map.EnumerateObject())
        {
            if (wanted.Contains(entry.Name))
            {
                values[prefix + entry.Name] = Shown(prefix == "config." ? Inner(entry.Value) : entry.Value);
            }
        }
    }

    /// <summary>The value of a config's entry, which is stored as {value: …}.</summary>
    internal static JsonElement Inner(JsonElement entry) =>
        entry.ValueKind == JsonValueKind.Object && entry.TryGetProperty("value", out var value) ? value : entry;

    /// <summary>A value as a cell shows it.</summary>
    internal static object? Shown(JsonElement value) =>
        value.ValueKind switch
        {
            // What is greater than a number of JSON's readers can be has no other form.
            JsonValueKind.Number => value.GetDouble() is var number && double.IsFinite(number)
                ? number
                : JsonLimits.Short(value.GetRawText(), LongestText),
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            JsonValueKind.Null => null,
            JsonValueKind.String => JsonLimits.Short(Text(value), LongestText),
            _ => JsonLimits.Short(value.GetRawText(), LongestText),
        };

    // A name with a dot is one name here: so the clients store what is nested in a summary.
    private static string Path(string key) =>
        key.Contains('"', StringComparison.Ordinal) || key.Length is 0 or > 1000
            ? throw new RequestFault(400, "A column's key has 1 to 1,000 characters and no quote.")
            : $"$.\"{key}\"";

    private static string Text(JsonElement value)
    {
        try
        {
            return value.GetString()!;
        }
        catch (InvalidOperationException)
        {
            return value.GetRawText();
        }
    }
}
