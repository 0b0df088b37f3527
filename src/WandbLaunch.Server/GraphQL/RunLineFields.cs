using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using GraphQL;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Schema;

/// <summary>What runs sent line by line: history, system metrics, console.</summary>
internal sealed partial class RunLineFields(RunLineRepository lines, RunRepository runs) : ISchemaPart
{
    // Without a number of samples, and with more rows than anybody reads at once.
    private const int MostRows = 10_000;

    public void AddTo(SchemaFields fields)
    {
        foreach (
            var (kind, count, tail) in new[]
            {
                (RunLines.History, "historyLineCount", "historyTail"),
                (RunLines.Events, "eventsLineCount", "eventsTail"),
            }
        )
        {
            fields.Set("Run", count, c => (int)lines.Count(c.Of<RunRecord>().Id, kind));
            fields.Set(
                "Run",
                tail,
                c =>
                    lines.Last(c.Of<RunRecord>().Id, kind) is { } last ? JsonSerializer.Serialize(new[] { last }) : "[]"
            );
        }

        fields.Set("Run", "logLineCount", c => (int)lines.Count(c.Of<RunRecord>().Id, RunLines.Console));
        fields.Set("Run", "historyKeys", c => Json(c, lines.Keys(c.Of<RunRecord>().Id)));
        fields.Set("Run", "history", History);
        fields.Set(
            "Run",
            "events",
            c => Weighed(c, lines.Sample(c.Of<RunRecord>().Id, RunLines.Events, Samples(c) ?? MostRows))
        );
        fields.Set(
            "Run",
            "sampledHistory",
            c =>
                c.GetArgument<string[]>("specs")
                    .Select(s =>
                        Json(
                            c,
                            SampledHistory
                                .Read((from, to) => lines.BySteps(c.Of<RunRecord>().Id, from, to, null), s)
                                .ToJsonString()
                        )
                    )
                    .ToArray()
        );

        // There are no Parquet files here: all of it is what W&B calls live.
        fields.Set(
            "Run",
            "parquetHistory",
            c =>
            {
                var keys = c.GetArgument<string[]>("liveKeys");
                return new Row
                {
                    ["parquetUrls"] = Array.Empty<string>(),
                    ["liveData"] = Live(c, c.Of<RunRecord>().Id, keys).ToArray(),
                };
            }
        );
        fields.Set("Run", "logLines", LogLines);
        fields.Mutation("rewindRun", Rewind);
    }

    private List<string> History(IResolveFieldContext c)
    {
        var run = c.Of<RunRecord>().Id;
        var samples = Samples(c);
        var from = c.GetArgument<long?>("minStep");
        var to = c.GetArgument<long?>("maxStep");
        return Weighed(
            c,
            from is null && to is null
                ? lines.Sample(run, RunLines.History, samples ?? MostRows)
                : lines.BySteps(run, from ?? long.MinValue, to ?? long.MaxValue, samples ?? MostRows)
        );
    }

    private IEnumerable<object?> Live(IResolveFieldContext c, long run, string[] keys)
    {
        foreach (var line in lines.BySteps(run, long.MinValue, long.MaxValue, null))
        {
            using var document = JsonDocument.Parse(line);
            var row = new Dictionary<string, object?>(StringComparer.Ordinal);
            foreach (var key in keys)
            {
                if (document.RootElement.TryGetProperty(key, out var value))
                {
                    AnswerBudget.Of(c).Text(value.GetRawText().Length);
                    row[key] = value.Clone();
                }
            }

            if (row.Count == keys.Length)
            {
                yield return row;
            }
        }
    }

    // As W&B's newer servers page it; older ones took "last" alone, which is the same here.
    private Row LogLines(IResolveFieldContext c)
    {
        var run = c.Of<RunRecord>().Id;
        var count = lines.Count(run, RunLines.Console);
        var last = c.GetArgument<int?>("last");
        var first = Math.Clamp(last ?? c.GetArgument<int?>("first") ?? 1000, 0, MostRows);
        var from = last is null
            ? 1 + Math.Max(-1, Ids.Parse(c.GetArgument<string?>("after")))
            : Math.Max(0, count - first);
        var found = lines.Numbered(run, RunLines.Console, from, first + 1);
        return Row.Connection(
            found.Take(first).Select(l => Line(c, l.Number, l.Text)),
            r => Ids.Text((int)r["number"]!),
            found.Count > first
        );
    }

    private Row Rewind(IResolveFieldContext c, Dictionary<string, object?> input)
    {
        var run =
            runs.Find(
                input.Text("entityName") ?? c.Username(),
                input.Text("projectName") ?? "uncategorized",
                input.Need("runName")
            ) ?? throw new ServerFault("There is no such run.");
        if (input.Need("metricName") != "_step")
        {
            throw new ServerFault("A run is rewound to a step: metricName must be _step.");
        }

        lines.Rewind(run.Id, (long)Convert.ToDouble(input["metricValue"], CultureInfo.InvariantCulture));
        runs.SetSummary(run.Id, lines.Last(run.Id, RunLines.History) ?? "{}");
        runs.SetState(run.Id, "running");
        return new Row { ["rewoundRun"] = Rows.Of(runs.Find(run.Id)!) };
    }

    private static Row Line(IResolveFieldContext c, long number, string text)
    {
        AnswerBudget.Of(c).Text(text.Length);
        var line = text.TrimEnd('\n', '\r');
        var match = Stamped().Match(line);
        return new Row
        {
            ["number"] = (int)number,
            ["level"] = match.Groups["error"].Success ? "error" : "info",
            ["timestamp"] = match.Groups["time"] is { Success: true } time ? time.Value : null,
            ["line"] = match.Success ? line[match.Length..] : line,
        };
    }

    private static int? Samples(IResolveFieldContext c) =>
        c.GetArgument<int?>("samples") is { } given ? Math.Clamp(given, 1, 100_000) : null;

    private static List<string> Weighed(IResolveFieldContext c, IEnumerable<string> rows)
    {
        // Each is counted again by whoever sends it: here it ends what would fill the memory first.
        var found = new List<string>();
        var weight = 0L;
        foreach (var row in rows)
        {
            if ((weight += row.Length) > GraphQLLimits.AnsweredText)
            {
                AnswerBudget.Of(c).Text(weight);
            }

            found.Add(row);
        }

        return found;
    }

    private static JsonElement Json(IResolveFieldContext c, string text)
    {
        AnswerBudget.Of(c).Text(text.Length);
        return JsonSerializer.Deserialize<JsonElement>(text);
    }

    // "ERROR 2026-11-25T08:00:00.123456 text": as the SDK stamps what a program prints.
    [GeneratedRegex(@"\A(?<error>ERROR )?(?<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?) ")]
    private static partial Regex Stamped();
}
