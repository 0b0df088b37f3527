using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization;
using Dapper;
using Microsoft.Data.Sqlite;
using SQLitePCL;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Pages;

/// <summary>One line of a chart: x and y, thinned. Null where a value is no number.</summary>
internal sealed record ChartLine(
    List<double> X,
    [property: JsonConverter(typeof(ShortNumbers))] List<double?> Y,
    int Of
);

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
        var row = new Row([.. keys.Select(k => Encoding.UTF8.GetBytes(k))], Encoding.UTF8.GetBytes(x));
        var xs = keys.Select(_ => new List<double>()).ToArray();
        var ys = keys.Select(_ => new List<double>()).ToArray();
        using var connection = database.Open();
        using var statement = Prepare(connection, run);
        while (raw.sqlite3_step(statement) == raw.SQLITE_ROW)
        {
            // Where the database has it: a chart of many runs reads millions of these.
            var line = raw.sqlite3_column_int64(statement, 0);
            if (!row.Read(raw.sqlite3_column_blob(statement, 1)))
            {
                continue;
            }

            for (var i = 0; i < keys.Count; i++)
            {
                if (row.Has[i])
                {
                    xs[i].Add(row.At is { } at && double.IsFinite(at) ? at : line);
                    ys[i].Add(row.Found[i]);
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

    private static sqlite3_stmt Prepare(SqliteConnection connection, long run)
    {
        var result = raw.sqlite3_prepare_v2(
            connection.Handle,
            "SELECT line, row FROM history WHERE run = ?1 ORDER BY line",
            out var statement
        );
        SqliteException.ThrowExceptionForRC(result, connection.Handle);
        SqliteException.ThrowExceptionForRC(raw.sqlite3_bind_int64(statement, 1, run), connection.Handle);
        return statement;
    }

    /// <summary>What of a row is asked for, read in one pass with nothing made of it.</summary>
    private sealed class Row(byte[][] names, byte[] xName)
    {
        // A run writes its keys in one order as a rule: what came after a key comes after it again.
        private int _next;

        internal double[] Found { get; } = new double[names.Length];

        internal bool[] Has { get; } = new bool[names.Length];

        internal double? At { get; private set; }

        internal bool Read(ReadOnlySpan<byte> json)
        {
            // Nearly every row is plain names and numbers: those are read without a reader of JSON, in two fifths of the time.
            if (ReadPlain(json))
            {
                return true;
            }

            try
            {
                return ReadStrict(json);
            }
            catch (JsonException)
            {
                // Python's bare NaN: rare, and so read the slow way.
                var text = Encoding.UTF8.GetString(json);
                return RunDocuments.Strict(text) is { } strict
                    && strict != text
                    && ReadStrict(Encoding.UTF8.GetBytes(strict));
            }
        }

        private bool ReadStrict(ReadOnlySpan<byte> json)
        {
            Array.Clear(Has);
            At = null;
            var reader = new Utf8JsonReader(json);
            if (!reader.Read() || reader.TokenType != JsonTokenType.StartObject)
            {
                return false;
            }

            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                var index = Find(ref reader);
                var isX = index < 0 && reader.ValueTextEquals(xName);
                reader.Read();
                if (reader.TokenType == JsonTokenType.Number)
                {
                    if (index >= 0)
                    {
                        (Found[index], Has[index]) = (reader.GetDouble(), true);
                    }

                    if (isX || index >= 0 && names[index].AsSpan().SequenceEqual(xName))
                    {
                        At = reader.GetDouble();
                    }
                }
                else if (reader.TokenType == JsonTokenType.String && index >= 0)
                {
                    // NaN and Infinity are texts in a history.
                    (Found[index], Has[index]) = (
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

        // False for whatever is not plain, or no JSON: the reader decides then.
        private bool ReadPlain(ReadOnlySpan<byte> json)
        {
            Array.Clear(Has);
            At = null;
            var at = 0;
            if (!PlainNumbers.Take(json, ref at, (byte)'{'))
            {
                return false;
            }

            while (true)
            {
                if (
                    !PlainNumbers.TryName(json, ref at, out var name)
                    || !PlainNumbers.TryNumber(json, ref at, out var value)
                )
                {
                    return false;
                }

                var index = Find(name);
                if (index >= 0)
                {
                    (Found[index], Has[index]) = (value, true);
                }

                if (name.SequenceEqual(xName))
                {
                    At = value;
                }

                if (!PlainNumbers.Take(json, ref at, (byte)','))
                {
                    return PlainNumbers.Take(json, ref at, (byte)'}') && PlainNumbers.IsEnd(json, at);
                }
            }
        }

        private int Find(ReadOnlySpan<byte> name)
        {
            for (var i = 0; i < names.Length; i++)
            {
                var index = _next + i < names.Length ? _next + i : _next + i - names.Length;
                if (name.SequenceEqual(names[index]))
                {
                    _next = index + 1 < names.Length ? index + 1 : 0;
                    return index;
                }
            }

            return -1;
        }

        private int Find(ref Utf8JsonReader reader)
        {
            for (var i = 0; i < names.Length; i++)
            {
                var index = _next + i < names.Length ? _next + i : _next + i - names.Length;
                if (reader.ValueTextEquals(names[index]))
                {
                    _next = index + 1 < names.Length ? index + 1 : 0;
                    return index;
                }
            }

            return -1;
        }
    }
}
