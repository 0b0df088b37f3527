using System.Globalization;
using System.Text.Json;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;
using WandbLaunch.Server.Sweeps;

namespace WandbLaunch.Server.Pages;

/// <summary>What the Sweeps views ask for: <c>/page/sweeps</c>, <c>/page/sweep</c>.</summary>
internal sealed class SweepPages(ProjectRepository projects, SweepRepository sweeps, RunTable table)
{
    private const int MostSweeps = 200;
    private const int MostRuns = 1_000;
    private const int MostParameters = 50;

    internal void Map(IEndpointRouteBuilder app)
    {
        app.MapGet("/page/sweeps", ListAsync).For(Right.Read);
        app.MapGet("/page/sweep", ShowAsync).For(Right.Read);
    }

    private Task ListAsync(HttpContext context)
    {
        var project = context.Request.Project(projects);
        return context.AnswerAsync(
            new
            {
                total = sweeps.Count(project),
                sweeps = sweeps.Newest(project, MostSweeps).Select(s => Line(s, Config(s))),
            }
        );
    }

    private object Line(SweepRecord sweep, SweepConfig? config)
    {
        var (all, open) = sweeps.Runs(sweep);
        return new
        {
            name = sweep.Name,
            displayName = sweep.DisplayName is { Length: > 0 } shown ? JsonLimits.Short(shown, 300) : sweep.Name,
            method = sweep.Method,
            state = sweep.State,
            user = sweep.User,
            createdAt = sweep.CreatedAt,
            runs = all,
            open,
            expected = config?.Expected,
            metric = config?.Metric?.Name,
            best = config?.Metric is var (name, less) ? sweeps.Best(sweep, name, less) : null,
        };
    }

    private Task ShowAsync(HttpContext context)
    {
        var request = context.Request;
        var project = request.Project(projects);
        var sweep =
            sweeps.Find(project, request.Need("sweep")) ?? throw new RequestFault(404, "There is no such sweep.");
        var config = Config(sweep);
        var metric = config?.Metric;
        var parameters = config is null ? [] : Parameters(config);

        // Best first; what has no value of the metric yet is last.
        var (_, found) = table.Find(
            new RunQuery(
                project.Id,
                JsonSerializer.Serialize(new { sweep = sweep.Name }),
                null,
                metric is var (name, less) && !name.Contains('"', StringComparison.Ordinal)
                    ? (less ? "" : "-") + "summary." + name
                    : "-created"
            ),
            null
        );
        var rows = table.Rows(found.Take(MostRuns).ToArray());
        return context.AnswerAsync(
            new
            {
                sweep = Line(sweep, config),
                description = sweep.Description,
                goal = metric is null ? null
                : metric.Value.Less ? "minimize"
                : "maximize",
                config = JsonLimits.Short(sweep.Config, 100_000),
                parameters,
                agents = sweeps
                    .Agents(sweep.Id)
                    .Select(a => new
                    {
                        name = a.Name,
                        host = a.Host,
                        made = a.Made,
                        heartbeatAt = a.HeartbeatAt,
                    }),
                total = found.Length,
                runs = rows.Select(r => new
                {
                    name = r.Name,
                    displayName = JsonLimits.Short(r.DisplayName is { Length: > 0 } shown ? shown : r.Name, 300),
                    state = r.State,
                    createdAt = r.CreatedAt,
                    heartbeatAt = r.HeartbeatAt,
                    value = metric is { } m ? Number(r.Summary, m.Name) : null,
                    values = Values(r.Config, parameters),
                }),
            }
        );
    }

    // One that was stored before this server could check it still has runs to show.
    private static SweepConfig? Config(SweepRecord sweep)
    {
        try
        {
            return SweepConfig.Read(sweep.Config);
        }
        catch (ServerFault)
        {
            return null;
        }
    }

    // Those within others with a dot, as configs show them.
    private static List<string> Parameters(SweepConfig config)
    {
        try
        {
            return SweepConfig
                .Leaves(config.Parameters, "")
                .Select(l => l.Path.Replace('\n', '.'))
                .Take(MostParameters)
                .ToList();
        }
        catch (ServerFault)
        {
            return [];
        }
    }

    private static double? Number(string summary, string metric) =>
        PageRequests.Json(summary) is { ValueKind: JsonValueKind.Object } map
        && map.TryGetProperty(metric, out var value)
            ? RunColumns.Shown(value) switch
            {
                double number => number,
                string text
                    when double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var odd)
                        && double.IsFinite(odd) => odd,
                _ => null,
            }
            : null;

    private static List<object?> Values(string config, List<string> parameters)
    {
        var map = PageRequests.Json(config);
        return parameters.ConvertAll(p => map is { ValueKind: JsonValueKind.Object } root ? Value(root, p) : null);
    }

    // The first part of the path is an entry {value: …}; a name with a dot may also be one name.
    private static object? Value(JsonElement config, string path)
    {
        if (config.TryGetProperty(path, out var whole))
        {
            return RunColumns.Shown(RunColumns.Inner(whole));
        }

        var parts = path.Split('.');
        if (!config.TryGetProperty(parts[0], out var found))
        {
            return null;
        }

        found = RunColumns.Inner(found);
        foreach (var part in parts.Skip(1))
        {
            if (found.ValueKind != JsonValueKind.Object || !found.TryGetProperty(part, out found))
            {
                return null;
            }
        }

        return RunColumns.Shown(found);
    }
}
