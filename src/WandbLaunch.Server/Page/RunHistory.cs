using System.Text;
using System.Text.Json;
using Dapper;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Pages;

/// <summary>One line of a chart: x and y, thinned. Null where a value is no number.</summary>
internal sealed record ChartLine(List<double> X, List<double?> Y, int Of);

/// <summary>
/// Histories of runs as lines of charts. A long one is thinned: of each stretch its smallest and its largest value stay, so
/// that no spike is lost.
/// </summary>
internal sealed class RunHistory(Database database)
{
    private const int Looked = 200;
    private const int MostKeys = 2_000;

    /// <summary>The names of a run's numbers: of rows evenly over its length.</summary>
    internal List<string> Keys(long run) =>
        database.Read(c =>
        {
            var (first, last) = c.QuerySingle<(long?, long?)>(
                "SELECT MIN(line), MAX(line) FROM history WHERE run = @run",
                new { run }
            );
            if (first is not { } from || last is not { } to)
            {
                return [];
            }

            var step = Math.Max(1, (to - from) / Looked);
            var lines = new List<long>();
            for (var line = from; line <= to; line += step)
            {
                lines.Add(line);
            }

            var keys = new SortedSet<string>(StringComparer.Ordinal);
            foreach (
                var row in c.Query<string>(
                    "SELECT row FROM history WHERE run = @run AND line IN @lines",
                    new { run, lines = lines.Append(to) }
                )
            )
            {
                if (PageRequests.Json(RunDocuments.Strict(row)) is { ValueKind: JsonValueKind.Object } map)
                {
                    foreach (var entry in map.EnumerateObject())
                    {
                        if (entry.Value.ValueKind == JsonValueKind.Number && keys.Count < MostKeys)
                        {
                            keys.Add(entry.Name);
                        }
                    }
                }
            }

            return keys.Where(k => k is not ("_step" or "_runtime" or "_timestamp")).ToList();
        });

    /// <summary>Lines for keys, over x (_step, _runtime or _timestamp; a row without it counts by its number).</summary>
    internal Dictionary<string, ChartLine> Read(long run, IReadOnlyList<string> keys, string x, int points)
    {
        var names = keys.Select(k => Encoding.UTF8.GetBytes(k)).ToArray();
        var xName = Encoding.UTF8.GetBytes(x);
        var xs = keys.Select(_ => new List<double>()).ToArray();
        var ys = keys.Select(_ => new List<double>()).ToArray();
        var found = new double[keys.Count];
        var has = new bool[keys.Count];
        foreach (var (line, row) in Rows(run))
        {
            Array.Clear(has);
            if (!ReadRow(row, names, xName, found, has, out var at))
            {
                continue;
            }

            for (var i = 0; i < keys.Count; i++)
            {
                if (has[i])
                {
                    xs[i].Add(at ?? line);
                    ys[i].Add(found[i]);
                }
            }
        }

        return Enumerable.Range(0, keys.Count).ToDictionary(i => keys[i], i => Thin(xs[i], ys[i], points));
    }

    /// <summary>Of each stretch the smallest and the largest, in the order that they came in.</summary>
    internal static ChartLine Thin(List<double> x, List<double> y, int points)
    {
        static double? Finite(double value) => double.IsFinite(value) ? value : null;
        if (y.Count <= points)
        {
            return new ChartLine(x, y.ConvertAll(Finite), y.Count);
        }

        var stretches = Math.Max(1, points / 2);
        var (thinX, thinY) = (new List<double>(points), new List<double?>(points));
        for (var s = 0; s < stretches; s++)
        {
            var from = (int)((long)y.Count * s / stretches);
            var to = (int)((long)y.Count * (s + 1) / stretches);
            var (low, high) = (-1, -1);
            for (var i = from; i < to; i++)
            {
                if (!double.IsFinite(y[i]))
                {
                    continue;
                }

                low = low < 0 || y[i] < y[low] ? i : low;
                high = high < 0 || y[i] > y[high] ? i : high;
            }

            if (low < 0)
            {
                if (from < to)
                {
                    thinX.Add(x[from]);
                    thinY.Add(null);
                }

                continue;
            }

            var (first, second) = (Math.Min(low, high), Math.Max(low, high));
            thinX.Add(x[first]);
            thinY.Add(y[first]);
            if (second != first)
            {
                thinX.Add(x[second]);
                thinY.Add(y[second]);
            }
        }

        return new ChartLine(thinX, thinY, y.Count);
    }

    private IEnumerable<(long Line, byte[] Row)> Rows(long run)
    {
        using var connection = database.Open();
        using var command = Database.Command(
            connection,
            "SELECT line, CAST(row AS BLOB) FROM history WHERE run = $run ORDER BY line",
            ("$run", run)
        );
        using var reader = command.ExecuteReader();
        while (reader.Read())
        {
            yield return (reader.GetInt64(0), (byte[])reader.GetValue(1));
        }
    }

    // In one pass and with nothing made of it: a chart of a long run reads hundreds of thousands of these.
    private static bool ReadRow(byte[] row, byte[][] names, byte[] xName, double[] found, bool[] has, out double? at)
    {
        at = null;
        try
        {
            var reader = new Utf8JsonReader(row);
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject)
            {
                return false;
            }

            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                var isX = reader.ValueTextEquals(xName);
                var index = -1;
                for (var i = 0; i < names.Length; i++)
                {
                    if (reader.ValueTextEquals(names[i]))
                    {
                        index = i;
                        break;
                    }
                }

                reader.Read();
                if (reader.TokenType == JsonTokenType.Number)
                {
                    var value = reader.GetDouble();
                    at = isX ? value : at;
                    if (index >= 0)
                    {
                        (found[index], has[index]) = (value, true);
                    }
                }
                else if (reader.TokenType == JsonTokenType.String && index >= 0)
                {
                    // NaN and Infinity are texts in a history.
                    (found[index], has[index]) = (
                        double.NaN,
                        reader.ValueTextEquals("NaN"u8)
                            || reader.ValueTextEquals("Infinity"u8)
                            || reader.ValueTextEquals("-Infinity"u8)
                    );
                }
                else
                {
                    reader.Skip();
                }
            }

            return true;
        }
        catch (JsonException)
        {
            // Python's bare NaN: rare, and so read the slow way.
            return RunDocuments.Strict(Encoding.UTF8.GetString(row)) is { } strict
                && !strict.AsSpan().SequenceEqual(Encoding.UTF8.GetString(row))
                && ReadRow(Encoding.UTF8.GetBytes(strict), names, xName, found, has, out at);
        }
    }
}
