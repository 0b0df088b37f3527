using System.Globalization;
using System.Text.Json;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Wandb;

/// <summary>One value of a metric, and the step at which it was logged.</summary>
internal readonly record struct HistoryPoint(double Step, double Value);

/// <summary>The history of runs, as W&amp;B samples it (protocol B.5).</summary>
internal sealed class RunHistory(GraphQLTransport transport)
{
    private const string Step = "_step";

    /// <summary>A metric of a run in the order of its steps: so many points at most, evenly over the whole run. What is no number is left out.</summary>
    /// <exception cref="LaunchException"><c>RunNotFound</c>, <c>ProjectNotFound</c>.</exception>
    internal async Task<IReadOnlyList<HistoryPoint>> SampleAsync(
        RunPath run,
        string metric,
        int samples,
        CancellationToken token
    )
    {
        var data = await transport.QueryAsync(
            "RunSampledHistory",
            """
            query RunSampledHistory($project: String!, $entity: String!, $name: String!, $specs: [JSONString!]!) {
              project(name: $project, entityName: $entity) { run(name: $name) { sampledHistory(specs: $specs) } }
            }
            """,
            new
            {
                project = run.Project,
                entity = run.Entity,
                name = run.Id,
                specs = new[] { JsonSerializer.Serialize(new { keys = new[] { Step, metric }, samples }) },
            },
            token
        );
        var project = data.At("project") ?? throw WandbApi.ProjectMissing(run.Entity, run.Project);
        var found = project.At("run") ?? throw WandbApi.RunMissing(run);
        var points = new List<HistoryPoint>();
        foreach (var row in Rows(found))
        {
            if (Number(row.At(Step)) is { } step && Number(row.At(metric)) is { } value)
            {
                points.Add(new HistoryPoint(step, value));
            }
        }

        points.Sort((a, b) => a.Step.CompareTo(b.Step));
        return points;
    }

    // A list of rows for each specification; a server may give them as text.
    private static JsonElement[] Rows(JsonElement run)
    {
        if (run.Items("sampledHistory").FirstOrDefault() is not { ValueKind: not JsonValueKind.Undefined } first)
        {
            return [];
        }

        if (first.ValueKind == JsonValueKind.String)
        {
            using var document = JsonDocument.Parse(first.GetString()!);
            first = document.RootElement.Clone();
        }

        return first.ValueKind == JsonValueKind.Array
            ? [.. first.EnumerateArray().Where(r => r.ValueKind == JsonValueKind.Object)]
            : [];
    }

    private static double? Number(JsonElement? value)
    {
        var found =
            value is { ValueKind: JsonValueKind.Number } number ? number.GetDouble()
            : value is { ValueKind: JsonValueKind.String } text
            && double.TryParse(text.GetString(), CultureInfo.InvariantCulture, out var parsed)
                ? parsed
            : double.NaN;
        return double.IsFinite(found) ? found : null;
    }
}
