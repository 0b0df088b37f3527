using System.Text.Json;
using System.Text.Json.Nodes;

namespace WandbLaunch.Server.Data;

/// <summary>Some rows of a run's history, evenly over its length: what a chart needs of a long run (protocol B.5).</summary>
internal static class SampledHistory
{
    private const int Usual = 500;
    private const int Most = 10_000;
    private const int MostKeys = 500;

    /// <summary>The rows that have all keys of a specification, which is the text of {"keys": […], "samples": n, "minStep": from, "maxStep": to}.</summary>
    internal static JsonArray Read(Func<long, long, IEnumerable<string>> rows, string specification)
    {
        var (keys, samples, from, to) = Parse(specification);
        var kept = new JsonArray();
        if (keys.Length == 0)
        {
            // Clients that only want to see the runs of a sweep ask for nothing: "{}".
            return kept;
        }

        // Every n-th of the rows that fit; when there are too many, every second of the kept goes, and n doubles.
        long step = 1;
        long seen = 0;
        JsonObject? last = null;
        foreach (var line in rows(from, to))
        {
            if (Row(line, keys) is not { } row)
            {
                continue;
            }

            last = row;
            if (seen++ % step != 0)
            {
                continue;
            }

            kept.Add(row);
            if (kept.Count >= samples * 2)
            {
                Thin(kept);
                step *= 2;
            }
        }

        if (kept.Count > samples)
        {
            Thin(kept);
        }

        // Where a run ended is what people look for first.
        if (last is { Parent: null })
        {
            kept[^1] = last;
        }

        return kept;
    }

    private static (string[] Keys, int Samples, long From, long To) Parse(string specification)
    {
        try
        {
            var spec = JsonNode.Parse(specification) as JsonObject;
            string[] keys = [.. (spec?["keys"] as JsonArray ?? []).Select(k => k!.GetValue<string>())];
            return spec is null || keys.Length > MostKeys || (keys.Length == 0 && spec.Count > 0)
                ? throw new ServerFault($"specs: give 1 to {MostKeys} keys.")
                : (
                    keys,
                    (int)Math.Clamp(Number(spec["samples"]) ?? Usual, 1, Most),
                    Number(spec["minStep"]) ?? long.MinValue,
                    Number(spec["maxStep"]) ?? long.MaxValue
                );
        }
        catch (Exception e)
            when (e
                    is JsonException
                        or InvalidOperationException
                        or NullReferenceException
                        or ArgumentException
                        or FormatException
            )
        {
            throw new ServerFault("specs: each is the text of a JSON object with keys and samples.");
        }
    }

    private static long? Number(JsonNode? value) =>
        value is null ? null
        : value.AsValue().TryGetValue(out long whole) ? whole
        : (long)value.GetValue<double>();

    private static JsonObject? Row(string line, string[] keys)
    {
        try
        {
            using var document = JsonDocument.Parse(RunDocuments.Strict(line) ?? "null");
            if (document.RootElement.ValueKind != JsonValueKind.Object)
            {
                return null;
            }

            var row = new JsonObject();
            foreach (var key in keys)
            {
                if (!document.RootElement.TryGetProperty(key, out var value))
                {
                    return null;
                }

                row[key] = JsonNode.Parse(value.GetRawText());
            }

            return row;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private static void Thin(JsonArray rows)
    {
        for (var i = rows.Count - 1; i >= 0; i--)
        {
            if (i % 2 == 1)
            {
                rows.RemoveAt(i);
            }
        }
    }
}
