using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Wandb;

/// <summary>An alert that a run sent with wandb.alert.</summary>
/// <param name="Title">What it is about.</param>
/// <param name="Text">What it says.</param>
/// <param name="Severity">INFO, WARN or ERROR.</param>
/// <param name="Created">When it came.</param>
/// <param name="Entity">Entity of the run.</param>
/// <param name="Project">Project of the run.</param>
/// <param name="RunId">Id of the run.</param>
public sealed record WandbRunAlert(
    string Title,
    string Text,
    string Severity,
    DateTimeOffset? Created,
    string Entity,
    string Project,
    string RunId
)
{
    /// <inheritdoc/>
    public override string ToString() => $"{Severity}: {Title}";
}

/// <summary>Alerts of runs, which our own server gives back.</summary>
internal sealed class RunAlerts(GraphQLTransport transport)
{
    private const int Page = 500;

    /// <summary>The alerts of a run, the oldest first.</summary>
    /// <exception cref="LaunchException"><c>RunNotFound</c>, <c>ProjectNotFound</c>, <c>AlertsNotSupported</c>.</exception>
    internal async Task<IReadOnlyList<WandbRunAlert>> ListAsync(RunPath run, CancellationToken token)
    {
        var alerts = new List<WandbRunAlert>();
        string? after = null;
        while (true)
        {
            var found = await PageAsync(run, after, token);
            foreach (var alert in found)
            {
                alerts.Add(
                    new WandbRunAlert(
                        alert.Text("title") ?? "",
                        alert.Text("text") ?? "",
                        alert.Text("severity") ?? "INFO",
                        alert.Time("createdAt"),
                        run.Entity,
                        run.Project,
                        run.Id
                    )
                );
                after = alert.Text("id");
            }

            if (found.Count < Page)
            {
                return alerts;
            }
        }
    }

    private async Task<IReadOnlyList<System.Text.Json.JsonElement>> PageAsync(
        RunPath run,
        string? after,
        CancellationToken token
    )
    {
        try
        {
            var data = await transport.QueryAsync(
                "RunAlerts",
                """
                query RunAlerts($project: String!, $entity: String!, $name: String!, $after: String, $first: Int) {
                  project(name: $project, entityName: $entity) {
                    run(name: $name) { alerts(after: $after, first: $first) { id title text severity createdAt } }
                  }
                }
                """,
                new
                {
                    project = run.Project,
                    entity = run.Entity,
                    name = run.Id,
                    after,
                    first = Page,
                },
                token
            );
            var project = data.At("project") ?? throw WandbApi.ProjectMissing(run.Entity, run.Project);
            return [.. (project.At("run") ?? throw WandbApi.RunMissing(run)).Items("alerts")];
        }
        catch (LaunchException e) when (e.Message.Contains("Cannot query field", StringComparison.Ordinal))
        {
            throw new LaunchException(
                "AlertsNotSupported",
                LaunchErrorCategory.NotImplemented,
                "This server does not give the alerts of runs back: W&B sends them by e-mail or to a chat, and shows them on its page. A launch server of this module keeps them.",
                run.ToString(),
                e
            );
        }
    }
}
