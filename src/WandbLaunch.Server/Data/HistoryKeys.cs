using System.Text.Json;
using System.Text.Json.Nodes;
using Dapper;
using Microsoft.Data.Sqlite;

namespace WandbLaunch.Server.Data;

/// <summary>
/// Which keys the history of a run has, of which types, and its last step, as clients ask for them: kept up with each row, so
/// that nobody reads a million rows to learn the name of one.
/// </summary>
internal sealed class HistoryKeys
{
    // More than that are names that a program made up as it went: they are in the rows all the same.
    private const int Most = 10_000;

    private readonly long _run;
    private readonly JsonObject _document;
    private readonly JsonObject _keys;

    // What is known already is of the rows before this one.
    private readonly long _known;
    private readonly bool _isWhole;

    private HistoryKeys(long run, JsonObject document, long known, bool isWhole)
    {
        _run = run;
        _document = document;
        _keys = (document["keys"] ??= new JsonObject()).AsObject();
        _document["lastStep"] ??= -1L;
        _known = known;
        _isWhole = isWhole;
    }

    /// <summary>For a run of which nothing is known.</summary>
    internal static HistoryKeys Empty(long run) => new(run, [], -1, true);

    /// <summary>Of a run whose rows are about to be written.</summary>
    internal static HistoryKeys Begin(SqliteConnection connection, long run)
    {
        var last = connection.ExecuteScalar<long?>("SELECT MAX(line) FROM history WHERE run = @run", new { run });
        var text = connection.ExecuteScalar<string?>("SELECT history_keys FROM runs WHERE id = @run", new { run });

        // Rows of before keys were kept are read when somebody asks, not while a run waits for its answer.
        return new HistoryKeys(
            run,
            text is null ? [] : JsonNode.Parse(text)!.AsObject(),
            last ?? -1,
            text is not null || last is null
        );
    }

    /// <summary>Takes a row in, and gives its step: its own, or its line where it has none.</summary>
    internal long Add(long line, string row)
    {
        try
        {
            using var document = JsonDocument.Parse(row);
            var root = document.RootElement;
            var step =
                root.TryGetProperty("_step", out var given) && given.ValueKind == JsonValueKind.Number
                    ? given.TryGetInt64(out var whole)
                        ? whole
                        : given.TryGetDouble(out var number) && Math.Abs(number) < 1e18
                            ? (long)number
                            : line
                    : line;
            if (_isWhole)
            {
                if (step > _document["lastStep"]!.GetValue<long>())
                {
                    _document["lastStep"] = step;
                }

                // A row that is sent again is counted once.
                if (line > _known)
                {
                    foreach (var property in root.EnumerateObject())
                    {
                        Count(property.Name, Type(property.Value));
                    }
                }
            }

            return step;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            return line;
        }
    }

    internal void Save(SqliteConnection connection)
    {
        if (_isWhole)
        {
            connection.Execute(
                "UPDATE runs SET history_keys = @keys WHERE id = @run",
                new { run = _run, keys = ToString() }
            );
        }
    }

    public override string ToString() => _document.ToJsonString();

    private void Count(string key, string type)
    {
        if (_keys[key] is not JsonObject known)
        {
            if (_keys.Count >= Most)
            {
                return;
            }

            _keys[key] = known = new JsonObject { ["typeCounts"] = new JsonArray() };
        }

        var counts = known["typeCounts"]!.AsArray();
        foreach (var count in counts)
        {
            if (count!["type"]!.GetValue<string>() == type)
            {
                count["count"] = count["count"]!.GetValue<long>() + 1;
                return;
            }
        }

        counts.Add((JsonNode)new JsonObject { ["type"] = type, ["count"] = 1L });
    }

    private static string Type(JsonElement value) =>
        value.ValueKind switch
        {
            JsonValueKind.Number => "number",
            JsonValueKind.String => value.ValueEquals("NaN")
            || value.ValueEquals("Infinity")
            || value.ValueEquals("-Infinity")
                ? "number"
                : "string",
            JsonValueKind.True or JsonValueKind.False => "boolean",
            JsonValueKind.Array => "list",
            JsonValueKind.Object => value.TryGetProperty("_type", out var own) && own.ValueKind == JsonValueKind.String
                ? own.GetString()!
                : "map",
            _ => "nil",
        };
}
