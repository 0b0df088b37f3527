using System.Text.Json;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Pages;

/// <summary>In what runs differ: a line for each key of which not all have the same.</summary>
internal static class RunCompare
{
    private const int MostKeys = 20_000;
    private const int MostLines = 2_000;

    /// <summary>The lines, and how many keys all of them have in common.</summary>
    internal static (List<object> Lines, int Same) Differences(IReadOnlyList<RunRecord> runs)
    {
        var values = new SortedDictionary<string, object?[]>(StringComparer.Ordinal);
        for (var i = 0; i < runs.Count; i++)
        {
            Add(values, "config.", runs[i].Config, runs.Count, i);
            Add(values, "summary.", runs[i].Summary, runs.Count, i);
        }

        var lines = new List<object>();
        var same = 0;
        foreach (var (key, row) in values)
        {
            if (row.All(v => Equals(v, row[0])))
            {
                same++;
            }
            else if (lines.Count < MostLines)
            {
                lines.Add(new { key, values = row });
            }
        }

        return (lines, same);
    }

    private static void Add(
        SortedDictionary<string, object?[]> values,
        string prefix,
        string json,
        int count,
        int index
    )
    {
        if (PageRequests.Json(json) is not { ValueKind: JsonValueKind.Object } map)
        {
            return;
        }

        foreach (var entry in map.EnumerateObject())
        {
            if (entry.Name is "_wandb" or "wandb_version")
            {
                continue;
            }

            var value = prefix == "config." ? RunColumns.Inner(entry.Value) : entry.Value;
            Flatten(values, prefix + entry.Name, value, count, index, 0);
        }
    }

    private static void Flatten(
        SortedDictionary<string, object?[]> values,
        string key,
        JsonElement value,
        int count,
        int index,
        int depth
    )
    {
        if (value.ValueKind == JsonValueKind.Object && depth < 8 && value.EnumerateObject().Any())
        {
            foreach (var entry in value.EnumerateObject())
            {
                Flatten(values, key + "." + entry.Name, entry.Value, count, index, depth + 1);
            }

            return;
        }

        if (!values.TryGetValue(key, out var row))
        {
            if (values.Count >= MostKeys)
            {
                return;
            }

            values[key] = row = new object?[count];
        }

        row[index] = RunColumns.Shown(value);
    }
}
