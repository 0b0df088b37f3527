using System.Text.Json;
using System.Text.Json.Nodes;
using GraphQL;
using WandbLaunch.Model;
using WandbLaunch.Server.Data;
using WandbLaunch.Server.Sweeps;

namespace WandbLaunch.Server.Schema;

/// <summary>Sweeps and their agents (protocol B.7).</summary>
internal sealed class SweepFields(
    SweepRepository sweeps,
    SweepDirector director,
    ProjectRepository projects,
    RunRepository runs,
    QueueRepository queues,
    ItemRepository items
) : ISchemaPart
{
    // What a spec says in the place of the sweep that it is for, before there is one.
    private const string Placeholder = "WANDB_SWEEP_ID";

    public void AddTo(SchemaFields fields)
    {
        fields.Set(
            "Project",
            "sweep",
            c =>
                sweeps.Find(c.Of<ProjectRecord>(), c.GetArgument<string>("sweepName")) is { } found
                    ? Rows.Of(found)
                    : null
        );
        fields.Set("Project", "totalSweeps", c => sweeps.Count(c.Of<ProjectRecord>()));
        fields.Set("Project", "sweeps", List);
        fields.Set("Sweep", "runCount", c => sweeps.Runs(c.Of<SweepRecord>()).All);
        fields.Set(
            "Sweep",
            "runCountExpected",
            c =>
                SweepConfig.Read(c.Of<SweepRecord>().Config).Expected is { } expected and <= int.MaxValue
                    ? (int)expected
                    : null
        );
        fields.Set(
            "Sweep",
            "bestLoss",
            c =>
                c.Of<SweepRecord>() is var sweep && SweepConfig.Read(sweep.Config).Metric is var (name, less)
                    ? sweeps.Best(sweep, name, less)
                    : null
        );
        fields.Set("Sweep", "runs", c => Runs(c, c.Of<SweepRecord>().Project, "sweep", c.Of<SweepRecord>().Name));
        fields.Set(
            "Sweep",
            "agents",
            c =>
                Row.Page(
                    [.. sweeps.Agents(c.Of<SweepRecord>().Id).Select(Rows.Of)],
                    r => (string)r["id"]!,
                    c.GetArgument<string?>("after"),
                    c.First(100)
                )
        );
        fields.Set(
            "Sweep",
            "agent",
            c =>
                c.GetArgument<string>("agentName") is var name
                && sweeps
                    .Agents(c.Of<SweepRecord>().Id)
                    .FirstOrDefault(a => a.Name == name || Ids.Of("Agent", a.Id) == name)
                    is { } found
                    ? Rows.Of(found)
                    : null
        );
        fields.Set(
            "Agent",
            "runs",
            c =>
                c.Of<SweepAgentRecord>() is var agent && sweeps.Find(agent.Sweep) is { } sweep
                    ? Runs(c, sweep.Project, "sweep_agent", agent.Id)
                    : null
        );
        fields.Mutation("upsertSweep", (c, input) => Upsert(c, input));
        fields.Mutation(
            "createAgent",
            (c, input) =>
            {
                var project = Project(c, input);
                var sweep =
                    (project is null ? null : sweeps.Find(project, input.Need("sweep")))
                    ?? sweeps.Find(Ids.Parse("Sweep", input.Need("sweep")))
                    ?? throw Missing(input.Need("sweep"));
                if (sweep.State is "FINISHED" or "CANCELED")
                {
                    throw new ServerFault(
                        $"The sweep {sweep.Name} is {sweep.State.ToLowerInvariant()}: it needs no agent. \"wandb sweep --resume\" lets it go on."
                    );
                }

                return new Row { ["agent"] = Rows.Of(sweeps.AddAgent(sweep.Id, input.Need("host"))) };
            }
        );
        fields.Mutation(
            "agentHeartbeat",
            (c, input) =>
            {
                var agent =
                    sweeps.FindAgent(Ids.Parse("Agent", input.Need("id")))
                    ?? throw new ServerFault("There is no such agent of a sweep. Start it again.");
                return new Row
                {
                    ["agent"] = Rows.Of(agent),
                    ["commands"] = director.Direct(agent, input.Text("runState"), c.Username()).ToJsonString(),
                };
            }
        );
    }

    private Row List(IResolveFieldContext c)
    {
        if (c.GetArgument<string?>("filters") is { Length: > 0 } filters && filters.Trim() is not ("{}" or "null"))
        {
            throw new ServerFault("Sweeps have no filters here: ask for all of them.");
        }

        var first = c.First(50);
        var project = c.Of<ProjectRecord>();
        var found = sweeps.List(project, Math.Max(0, Ids.Parse("Sweep", c.GetArgument<string?>("after"))), first + 1);
        return Row.Connection(
            found.Take(first).Select(Rows.Of),
            r => (string)r["id"]!,
            found.Count > first,
            sweeps.Count(project)
        );
    }

    private Row Runs(IResolveFieldContext c, ProjectRecord project, string column, object value)
    {
        var (found, cursor, more) = runs.Page(
            project,
            c.HasArgument("filters") ? c.GetArgument<string?>("filters") : null,
            c.GetArgument<string?>("after"),
            c.First(1000),
            c.GetArgument<string?>("order") ?? "+created_at",
            column,
            value
        );
        return Row.Connection(found.Select(r => Rows.Of(r)), r => cursor((RunRecord)r.Record!), more);
    }

    private Row Upsert(IResolveFieldContext c, Dictionary<string, object?> input)
    {
        var yaml = input.Text("config");
        var config = yaml is null ? null : SweepConfig.Read(yaml);
        SweepRecord sweep;
        if (input.Text("id") is { Length: > 0 } id)
        {
            sweep =
                sweeps.Find(Ids.Parse("Sweep", id))
                ?? (Project(c, input) is { } project ? sweeps.Find(project, id) : null)
                ?? throw Missing(id);
        }
        else
        {
            if (yaml is null || config is null)
            {
                throw new ServerFault("config is missing: a new sweep needs one.");
            }

            var (project, _) = projects.Upsert(
                input.Text("entityName") ?? c.Username(),
                input.Text("projectName") ?? "uncategorized",
                null
            );
            sweep = sweeps.Find(sweeps.Create(project, RunId.New(), config.Method, yaml, c.Username()))!;
        }

        sweeps.Change(
            sweep.Id,
            new Dictionary<string, string?>
            {
                ["display_name"] = input.Text("displayName") ?? config?.Name,
                ["description"] = input.Text("description") ?? config?.Description,
                ["method"] = config?.Method,
                ["config"] = yaml,
                ["scheduler"] = input.Text("scheduler") is { } scheduler && config?.IsLocal != true ? scheduler : null,
            }
        );
        sweep = sweeps.Find(sweep.Id)!;
        if (input.Text("state") is { Length: > 0 } state)
        {
            director.SetState(sweep, state);
        }

        if (input.Text("controller") is { Length: > 0 } controller)
        {
            director.Plan(sweep, controller, c.Username());
        }

        if (input.Text("priorRunsFilters") is { Length: > 0 } filters)
        {
            sweeps.Adopt(sweep, filters);
        }

        if (input.Text("launchScheduler") is { Length: > 0 } launch)
        {
            Schedule(sweep, launch, input.Text("templateVariableValues"));
        }

        return new Row
        {
            ["sweep"] = Rows.Of(sweeps.Find(sweep.Id)!),
            ["configValidationWarnings"] = config?.Warnings.ToArray() ?? [],
        };
    }

    // {"queue": …, "run_queue_project"?: …, "run_spec": "…"}: what runs the sweep is itself an item of a queue.
    private void Schedule(SweepRecord sweep, string launch, string? variables)
    {
        JsonLimits.CheckObject("launchScheduler", launch);
        var map = JsonNode.Parse(launch)!.AsObject();
        if (
            map["queue"]?.ToString() is not { Length: > 0 } name
            || map["run_spec"] is not JsonValue text
            || text.GetValueKind() != JsonValueKind.String
        )
        {
            throw new ServerFault(
                "launchScheduler must have a queue, and a run_spec that is the text of a launch spec."
            );
        }

        var project = map["run_queue_project"]?.ToString() ?? sweep.Project.Name;
        var queue =
            queues.Find(sweep.Project.Entity, project, name)
            ?? throw new ServerFault(
                $"There is no queue \"{JsonLimits.Short(name)}\" in {sweep.Project.Entity}/{JsonLimits.Short(project)}."
            );
        // Until its scheduler is there.
        director.SetState(sweep, "PENDING");
        items.Push(
            queue,
            text.ToString().Replace(Placeholder, sweep.Name, StringComparison.Ordinal),
            null,
            variables is null or "null" or "{}" ? null : variables
        );
    }

    private ProjectRecord? Project(IResolveFieldContext c, Dictionary<string, object?> input) =>
        projects.Find(input.Text("entityName") ?? c.Username(), input.Text("projectName") ?? "uncategorized");

    private static ServerFault Missing(string id) => new($"There is no sweep \"{JsonLimits.Short(id)}\".");
}
