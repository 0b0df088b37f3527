using System.Globalization;
using Dapper;
using WandbLaunch.Server.Audit;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;
using WandbLaunch.Server.Endpoints;

namespace WandbLaunch.Server.Pages;

/// <summary>What the Agents and the Monitor views ask for: <c>/page/agents</c>, <c>/page/monitor</c>.</summary>
internal sealed class AgentPages(Database database, PageQueues views, AgentRepository agents)
{
    // What one look at the last days goes through.
    private const int MostItems = 50_000;
    private const int MostBars = 400;
    private const int MostReasons = 20;

    internal void Map(IEndpointRouteBuilder app)
    {
        app.MapGet(
                "/page/agents",
                c =>
                    c.AnswerAsync(
                        new
                        {
                            agents = views.Agents(all: true, c.Caller()),
                            queues = views.Queues(c.Caller()).Select(q => new { q.Id, q.Name }),
                        }
                    )
            )
            .For(Right.Read);
        app.MapPost("/page/agents/{id}/drain", Parts.Of("id", (c, id) => EndAsync(c, id, false)))
            .For(Right.Write)
            .Audited(AuditAction.Changed);
        app.MapPost("/page/agents/{id}/stop", Parts.Of("id", (c, id) => EndAsync(c, id, true)))
            .For(Right.Write)
            .Audited(AuditAction.Changed);
        app.MapGet("/page/monitor", MonitorAsync).For(Right.Read);
    }

    private Task EndAsync(HttpContext context, string id, bool runs)
    {
        if (
            agents.Find(Ids.Parse(id)) is not { } agent
            || !context.Caller().MayWrite(agent.Entity)
            || !agents.Stop(agent.Id, runs)
        )
        {
            throw new RequestFault(404, "There is no such agent.");
        }

        var detail = context.Audit();
        (detail.Entity, detail.Subject) = (agent.Entity, $"agent {agent.Name} {(runs ? "stopped" : "drained")}");
        return context.AnswerAsync(new { draining = true });
    }

    private Task MonitorAsync(HttpContext context)
    {
        var days = Math.Clamp(context.Request.Number("days", 7, 90), 1, 90);
        var bucket =
            days <= 2 ? TimeSpan.FromHours(1)
            : days <= 10 ? TimeSpan.FromHours(6)
            : TimeSpan.FromDays(1);
        var now = DateTime.UtcNow;
        var since = Floor(now.AddDays(-days), bucket);
        var buckets = new SortedDictionary<DateTime, Bucket>();
        for (var at = since; at <= now; at += bucket)
        {
            buckets[at] = new Bucket();
        }

        var reasons = new Dictionary<string, int>(StringComparer.Ordinal);
        var by = new Dictionary<(string Kind, string Name), int[]>();
        var bars = new List<object>();
        var looked = 0;
        var queues = views.Queues(context.Caller()).ToDictionary(q => q.Id);
        foreach (var item in Items(since))
        {
            looked++;
            if (!context.Caller().IsAdmin && !queues.ContainsKey(item.Queue))
            {
                continue;
            }

            var created = Parse(item.CreatedAt);
            var claimed = Parse(item.ClaimedAt);
            var finished = Parse(item.FinishedAt);
            if (
                claimed is { } began
                && created is { } queued
                && buckets.TryGetValue(Floor(began, bucket), out var waited)
            )
            {
                waited.Waits.Add(Math.Max(0, (began - queued).TotalSeconds));
            }

            if (finished is { } ended && buckets.TryGetValue(Floor(ended, bucket), out var found))
            {
                found.States[item.State] = found.States.GetValueOrDefault(item.State) + 1;
            }

            var column = Column(item.State);
            foreach (
                var (kind, name) in new[]
                {
                    ("queue", queues.GetValueOrDefault(item.Queue)?.Name ?? "(deleted)"),
                    ("user", item.Author ?? "?"),
                    ("project", item.Project ?? "?"),
                }
            )
            {
                var key = (kind, JsonLimits.Short(name));
                var counts = by.TryGetValue(key, out var there) ? there : by[key] = new int[4];
                counts[column]++;
            }

            if (item.State == "FAILED")
            {
                var reason = JsonLimits.Short(
                    ItemView.Report(item.Error)
                        ?? (item.ExitCode is { } code ? $"Exit code {Ids.Text(code)}." : "No reason was told."),
                    160
                );
                reasons[reason] = reasons.GetValueOrDefault(reason) + 1;
            }

            if (claimed is not null && bars.Count < MostBars)
            {
                bars.Add(
                    new
                    {
                        id = item.Id,
                        queue = queues.GetValueOrDefault(item.Queue)?.Name,
                        state = item.State,
                        run = item.Run,
                        author = item.Author,
                        createdAt = item.CreatedAt,
                        claimedAt = item.ClaimedAt,
                        finishedAt = item.FinishedAt,
                    }
                );
            }
        }

        return context.AnswerAsync(
            new
            {
                since,
                now,
                seconds = (int)bucket.TotalSeconds,
                complete = looked < MostItems,
                buckets = buckets.Select(b => new
                {
                    at = b.Key,
                    states = b.Value.States,
                    wait = b.Value.Median,
                    longest = b.Value.Waits.Count == 0 ? (double?)null : b.Value.Waits.Max(),
                }),
                reasons = reasons
                    .OrderByDescending(r => r.Value)
                    .Take(MostReasons)
                    .Select(r => new { reason = r.Key, count = r.Value }),
                by = by.OrderByDescending(b => b.Value.Sum())
                    .Take(200)
                    .Select(b => new
                    {
                        kind = b.Key.Kind,
                        name = b.Key.Name,
                        waiting = b.Value[0],
                        running = b.Value[1],
                        finished = b.Value[2],
                        failed = b.Value[3],
                    }),
                bars,
            }
        );
    }

    private List<MonitorRow> Items(DateTime since) =>
        database.Read(c =>
            c.Query<MonitorRow>(
                    """
                    SELECT id AS Id, queue AS Queue, state AS State, created_at AS CreatedAt, claimed_at AS ClaimedAt, finished_at AS FinishedAt, run_name AS Run, error AS Error, exit_code AS ExitCode,
                      CASE WHEN json_valid(spec) THEN CAST(json_extract(spec, '$.author') AS TEXT) END AS Author,
                      CASE WHEN json_valid(spec) THEN CAST(json_extract(spec, '$.project') AS TEXT) END AS Project
                    FROM (SELECT * FROM items ORDER BY id DESC LIMIT @most)
                    WHERE created_at >= @since OR finished_at >= @since OR state IN ('LEASED', 'CLAIMED')
                    """,
                    new { most = MostItems, since = PageQueues.Time(since) }
                )
                .AsList()
        );

    private static int Column(string state) =>
        state switch
        {
            "PENDING" => 0,
            "LEASED" or "CLAIMED" => 1,
            "FINISHED" => 2,
            _ => 3,
        };

    private static DateTime Floor(DateTime time, TimeSpan step) =>
        new(time.Ticks - time.Ticks % step.Ticks, DateTimeKind.Utc);

    private static DateTime? Parse(string? time) =>
        DateTime.TryParse(
            time,
            CultureInfo.InvariantCulture,
            DateTimeStyles.AssumeUniversal | DateTimeStyles.AdjustToUniversal,
            out var at
        )
            ? at
            : null;

    private sealed class Bucket
    {
        internal Dictionary<string, int> States { get; } = new(StringComparer.Ordinal);
        internal List<double> Waits { get; } = [];

        internal double? Median => Waits.Count == 0 ? null : Waits.Order().ElementAt(Waits.Count / 2);
    }

    private sealed record MonitorRow
    {
        public long Id { get; init; }
        public long Queue { get; init; }
        public string State { get; init; } = "";
        public string CreatedAt { get; init; } = "";
        public string? ClaimedAt { get; init; }
        public string? FinishedAt { get; init; }
        public string? Run { get; init; }
        public string? Error { get; init; }
        public int? ExitCode { get; init; }
        public string? Author { get; init; }
        public string? Project { get; init; }
    }
}
