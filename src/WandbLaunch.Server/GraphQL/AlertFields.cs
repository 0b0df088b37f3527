using GraphQL;
using WandbLaunch.Server.Alerts;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Schema;

/// <summary>Alerts of runs: kept, shown, and sent on.</summary>
internal sealed class AlertFields(RunRepository runs, AlertRepository alerts, AlertWebhook webhook) : ISchemaPart
{
    private const int LongestTitle = 200;
    private const int LongestText = 20_000;

    // What the SDK waits where a program says nothing.
    private static readonly TimeSpan UsualWait = TimeSpan.FromMinutes(1);

    public void AddTo(SchemaFields fields)
    {
        fields.Set(
            "Run",
            "alerts",
            c => alerts.OfRun(c.Of<RunRecord>().Id, After(c), c.First(100)).Select(Rows.Of).ToList()
        );
        fields.Set(
            "Project",
            "alerts",
            c => alerts.OfProject(c.Of<ProjectRecord>().Id, After(c), c.First(100)).Select(Rows.Of).ToList()
        );
        fields.Set("RunAlert", "run", c => runs.Find(c.Of<AlertRecord>().Run) is { } run ? Rows.Of(run) : null);
        fields.Mutation(
            "notifyScriptableRunAlert",
            (c, input) =>
            {
                var run =
                    runs.Find(input.Need("entityName"), input.Need("projectName"), input.Need("runName"))
                    ?? throw new ServerFault("There is no such run.");
                var wait = input.GetValueOrDefault("waitDuration") is long nanoseconds
                    ? TimeSpan.FromTicks(Math.Clamp(nanoseconds / 100, 0, TimeSpan.TicksPerDay * 30))
                    : UsualWait;
                var alert = alerts.Add(
                    run.Id,
                    JsonLimits.Short(input.Need("title"), LongestTitle),
                    JsonLimits.Short(input.Need("text"), LongestText),
                    input.Text("severity") ?? "INFO",
                    wait
                );
                if (alert is not null)
                {
                    webhook.Send(alert, run, (string)c.UserContext["base"]!);
                }

                return c.Done(true);
            }
        );
    }

    private static long After(IResolveFieldContext c) => Math.Max(0, Ids.Parse(c.GetArgument<string?>("after")));
}
