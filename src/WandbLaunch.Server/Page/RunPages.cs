using System.Globalization;
using WandbLaunch.Server.Audit;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Pages;

/// <summary>What the Runs views ask for: <c>/page/runs</c>, <c>/page/run</c>, and what belongs to them.</summary>
internal sealed class RunPages(
    ProjectRepository projects,
    RunRepository runs,
    RunTable table,
    RunKeys keys,
    RunHistory history,
    RunLog log,
    FileRepository files,
    ArtifactRepository artifacts,
    PageItems items,
    UrlSigner signer
)
{
    private const int MostRows = 200;
    private const int MostCompared = 20;
    private const int MostLines = 2_000;
    private const int MostPoints = 4_000;
    private const int MostCharts = 50;

    internal void Map(IEndpointRouteBuilder app)
    {
        app.MapGet("/page/runs", ListAsync).For(Right.Read);
        app.MapGet("/page/runs/keys", KeysAsync).For(Right.Read);
        app.MapGet("/page/runs/groups", GroupsAsync).For(Right.Read);
        app.MapGet("/page/runs/compare", CompareAsync).For(Right.Read);
        app.MapGet("/page/run", ShowAsync).For(Right.Read);
        app.MapGet("/page/run/files", FilesAsync).For(Right.Read);
        app.MapGet("/page/run/history", HistoryAsync).For(Right.Read);
        app.MapGet("/page/run/log", LogAsync).For(Right.Read);
        app.MapPost("/page/run/stop", StopAsync).For(Right.Write).Audited(AuditAction.Changed);
    }

    private RunRecord Run(HttpRequest request) =>
        runs.Find(request.Project(projects), request.Need("run"))
        ?? throw new RequestFault(404, "There is no such run.");

    private static RunQuery Query(HttpRequest request, ProjectRecord project) =>
        new(project.Id, request.Text("filter"), request.Text("q"), request.Text("sort") ?? "-created");

    private Task ListAsync(HttpContext context)
    {
        var request = context.Request;
        var project = request.Project(projects);
        var columns = (request.Text("columns") ?? "").Split('\n', StringSplitOptions.RemoveEmptyEntries).Take(100);
        var (config, summary) = (Keys(columns, "config."), Keys(columns, "summary."));
        var (snapshot, found) = table.Find(Query(request, project), request.Text("snapshot"));
        var offset = request.Number("offset", 0, int.MaxValue);
        var rows = table.Rows(found.Skip(offset).Take(Math.Max(1, request.Number("first", 50, MostRows))).ToArray());
        return context.AnswerAsync(
            new
            {
                snapshot,
                total = found.Length,
                offset,
                runs = rows.Select(r =>
                {
                    var values = new Dictionary<string, object?>(StringComparer.Ordinal);
                    RunColumns.Read(r.Config, "config.", config, values);
                    RunColumns.Read(r.Summary, "summary.", summary, values);
                    return Line(r, values);
                }),
            }
        );
    }

    private static HashSet<string> Keys(IEnumerable<string> columns, string prefix) =>
        columns
            .Where(c => c.StartsWith(prefix, StringComparison.Ordinal))
            .Select(c => c[prefix.Length..])
            .ToHashSet(StringComparer.Ordinal);

    private static object Line(RunRecord run, Dictionary<string, object?>? values) =>
        new
        {
            name = run.Name,
            displayName = JsonLimits.Short(run.DisplayName is { Length: > 0 } shown ? shown : run.Name, 300),
            state = run.State,
            stopped = run.Stopped,
            createdAt = run.CreatedAt,
            heartbeatAt = run.HeartbeatAt,
            updatedAt = run.UpdatedAt,
            group = run.Group,
            jobType = run.JobType,
            sweep = run.Sweep,
            user = run.User,
            host = run.Host,
            commit = run.Commit,
            tags = PageRequests.Json(run.Tags),
            notes = run.Notes is null ? null : JsonLimits.Short(run.Notes, 300),
            values,
        };

    private Task KeysAsync(HttpContext context)
    {
        var (config, summary, looked) = keys.Find(context.Request.Project(projects).Id);
        return context.AnswerAsync(
            new
            {
                config,
                summary,
                looked,
            }
        );
    }

    private Task GroupsAsync(HttpContext context)
    {
        var request = context.Request;
        var project = request.Project(projects);
        return context.AnswerAsync(
            new
            {
                groups = table
                    .Groups(Query(request, project), request.Need("by"))
                    .Select(g => new
                    {
                        value = g.Value,
                        count = g.Count,
                        newest = g.Newest,
                    }),
            }
        );
    }

    private Task CompareAsync(HttpContext context)
    {
        var project = context.Request.Project(projects);
        var found = Names(context.Request).Select(n => runs.Find(project, n)).OfType<RunRecord>().ToList();
        var (lines, same) = RunCompare.Differences(found);
        return context.AnswerAsync(
            new
            {
                runs = found.Select(r => Line(r, null)),
                lines,
                same,
                keys = found
                    .SelectMany(r => history.Keys(r.Id))
                    .Distinct(StringComparer.Ordinal)
                    .Order(StringComparer.Ordinal),
            }
        );
    }

    private static List<string> Names(HttpRequest request)
    {
        var names = request.Need("runs").Split(',', StringSplitOptions.RemoveEmptyEntries).Distinct().ToList();
        return names.Count <= MostCompared
            ? names
            : throw new RequestFault(400, $"At most {MostCompared} runs can be compared.");
    }

    private Task ShowAsync(HttpContext context)
    {
        var run = Run(context.Request);
        var path = $"/{run.Project.Entity}/{run.Project.Name}/runs/{run.Name}";
        return context.AnswerAsync(
            new
            {
                entity = run.Project.Entity,
                project = run.Project.Name,
                run = Line(run, null),
                notes = run.Notes,
                description = run.Description,
                config = LaunchSource.Values(run.Config),
                summary = PageRequests.Json(run.Summary),
                source = LaunchSource.Of(run, files),
                files = files.Count(run.Id),
                keys = history.Keys(run.Id),
                made = artifacts.OfRun(run).Select(a => ArtifactPages.Name(a, null)),
                took = artifacts
                    .Inputs(run.Id)
                    .Where(i => context.Caller().MayRead(i.Artifact.Entity))
                    .Select(i => ArtifactPages.Name(i.Artifact, i.UsedAs)),
                launchedBy = Launches(context, items.OfRun(run.Name)),
                launches = Launches(context, items.Repeating(path)),
            }
        );
    }

    private IEnumerable<object> Launches(HttpContext context, List<ItemRow> found) =>
        found.Where(i => items.MayRead(i, context.Caller())).Select(Launch);

    private static object Launch(ItemRow item) =>
        new
        {
            id = item.Id,
            queue = item.Queue,
            state = item.State,
            run = item.Run,
            createdAt = item.CreatedAt,
        };

    private Task FilesAsync(HttpContext context)
    {
        var run = Run(context.Request);
        var (found, more) = files.Page(run.Id, null, null, context.Request.Text("after"), 200);
        return context.AnswerAsync(
            new
            {
                files = found.Select(f => new
                {
                    name = f.Name,
                    size = f.Size,
                    updatedAt = f.UpdatedAt,
                    url = Url(run, f.Name, context.Caller()),
                }),
                more,
            }
        );
    }

    // Good for an hour: an address with a key in it is not for keeping.
    private string Url(RunRecord run, string name, Caller caller)
    {
        var path =
            "/files/"
            + string.Join(
                '/',
                new[] { run.Project.Entity, run.Project.Name, run.Name }
                    .Concat(name.Split('/'))
                    .Select(Uri.EscapeDataString)
            );
        return path + "?" + signer.Sign("GET", path, DateTimeOffset.UtcNow.AddHours(1), caller.Pass);
    }

    private Task HistoryAsync(HttpContext context)
    {
        var request = context.Request;
        var project = request.Project(projects);
        var wanted = request.Need("keys").Split('\n', StringSplitOptions.RemoveEmptyEntries).Distinct().ToList();
        if (wanted.Count > MostCharts)
        {
            throw new RequestFault(400, $"At most {MostCharts} charts are drawn at once.");
        }

        var x = request.Text("x") is "_runtime" or "_timestamp" ? request.Text("x")! : "_step";
        var points = Math.Max(2, request.Number("points", 1_000, MostPoints));
        var found = Names(request).Select(n => runs.Find(project, n)).OfType<RunRecord>().ToList();
        var lines = new Dictionary<string, ChartLine>[found.Count];
        Parallel.For(
            0,
            found.Count,
            new ParallelOptions { CancellationToken = context.RequestAborted, MaxDegreeOfParallelism = 4 },
            i => lines[i] = history.Read(found[i].Id, wanted, x, points)
        );
        return context.AnswerAsync(new { runs = found.Select((r, i) => new { name = r.Name, lines = lines[i] }) });
    }

    private Task LogAsync(HttpContext context)
    {
        var request = context.Request;
        var from = long.TryParse(
            request.Text("from"),
            NumberStyles.AllowLeadingSign,
            CultureInfo.InvariantCulture,
            out var given
        )
            ? given
            : -MostLines;
        return context.AnswerAsync(
            log.Read(Run(request), from, Math.Max(1, request.Number("first", MostLines, MostLines)))
        );
    }

    private async Task StopAsync(HttpContext context)
    {
        var body = await context.BodyAsync();
        var run =
            runs.Find(body.Need("entity"), body.Need("project"), body.Need("run")) is { } found
            && context.Caller().MayWrite(found.Project.Entity)
                ? found
                : throw new RequestFault(404, "There is no such run.");
        runs.SetStopped(run.Id);
        var detail = context.Audit();
        (detail.Entity, detail.Project) = (run.Project.Entity, run.Project.Name);
        detail.Subject = $"run {run.Name} stopped";
        await context.AnswerAsync(new { stopped = true });
    }
}
