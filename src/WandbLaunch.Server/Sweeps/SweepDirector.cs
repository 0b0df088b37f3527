using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Sweeps;

/// <summary>
/// What the agents of a sweep are told: the next run, to stop one, to end. One answer at a time, so that no point of a grid is
/// given twice.
/// </summary>
internal sealed class SweepDirector(SweepRepository sweeps)
{
    private static readonly string[] States = ["PENDING", "RUNNING", "PAUSED", "FINISHED", "CANCELED"];

    private readonly object _lock = new();

    /// <summary>Sets a sweep's state, as its user asks for.</summary>
    /// <exception cref="ServerFault">There is no such state.</exception>
    internal void SetState(SweepRecord sweep, string state)
    {
        var wanted = state.ToUpperInvariant();
        if (wanted == "CANCELLED")
        {
            wanted = "CANCELED";
        }

        if (!States.Contains(wanted))
        {
            throw new ServerFault(
                $"\"{JsonLimits.Short(state)}\" is no state of a sweep; it is one of {string.Join(", ", States)}."
            );
        }

        lock (_lock)
        {
            Put(sweep, wanted);
            if (wanted == "CANCELED")
            {
                sweeps.StopRuns(sweep);
            }
        }
    }

    /// <summary>Takes in what a user's controller plans: new runs, and which are to stop (W&amp;B's wandb_controller).</summary>
    internal void Plan(SweepRecord sweep, string controller, string user)
    {
        if (Read("controller", controller) is not { } plan)
        {
            return;
        }

        lock (_lock)
        {
            sweep = sweeps.Find(sweep.Id) ?? sweep;
            var scheduler = (sweep.Scheduler is { } text ? Read("scheduler", text) : null) ?? [];
            var scheduled = (scheduler["scheduled"] as JsonArray)?.DeepClone().AsArray() ?? [];
            var known = scheduled.Select(s => s?["id"]?.ToString()).ToHashSet();
            foreach (var entry in (plan["schedule"] as JsonArray ?? []).OfType<JsonObject>())
            {
                var id = entry["id"]?.ToString();
                if (id is null || !known.Add(id))
                {
                    continue;
                }

                if (entry["data"]?["args"] is JsonObject arguments)
                {
                    var run = sweeps.AddRun(sweep, arguments.ToJsonString(), null, user);
                    scheduled.Add((JsonNode)new JsonObject { ["id"] = id, ["runid"] = run });
                }
                else
                {
                    // Nothing more to try: the sweep ends when its runs have.
                    scheduled.Add((JsonNode)new JsonObject { ["id"] = id });
                    scheduler["done"] = true;
                }
            }

            scheduler["scheduled"] = scheduled;
            sweeps.Stop(sweep, [.. (plan["earlystop"] as JsonArray ?? []).Select(r => r?.ToString()).OfType<string>()]);
            sweeps.Change(
                sweep.Id,
                new Dictionary<string, string?>
                {
                    ["controller"] = controller,
                    ["scheduler"] = scheduler.ToJsonString(),
                }
            );
        }
    }

    /// <summary>An agent is there, with these of its runs running: what it is to do.</summary>
    internal JsonArray Direct(SweepAgentRecord agent, string? runStates, string user)
    {
        var running = Running(runStates);
        lock (_lock)
        {
            if (sweeps.Find(agent.Sweep) is not { } sweep)
            {
                return [Command("exit")];
            }

            sweeps.Beat(agent);
            sweeps.CrashUnstarted(sweep, agent.Id, running);
            var commands = new JsonArray();
            foreach (var run in sweeps.ToStop(sweep, running))
            {
                commands.Add((JsonNode)Command("stop", run));
            }

            if (sweep.State is "FINISHED" or "CANCELED")
            {
                // An agent that ends takes its runs with it.
                if (running.Count == 0)
                {
                    commands.Add((JsonNode)Command("exit"));
                }
            }
            else if (sweep.State != "PAUSED" && running.Count == 0)
            {
                commands.Add((JsonNode)Next(sweep, agent, user));
            }

            return [.. commands.Where(c => c is JsonObject { Count: > 0 }).Select(c => c!.DeepClone())];
        }
    }

    private JsonObject Next(SweepRecord sweep, SweepAgentRecord agent, string user)
    {
        var config = SweepConfig.Read(sweep.Config);
        var isDone = config.IsLocal
            ? sweep.Scheduler is { } text && Read("scheduler", text)?["done"]?.GetValueKind() == JsonValueKind.True
            : config.Expected is { } expected && sweep.Made >= expected;
        if (config.IsLocal && sweeps.TakeRun(sweep, agent.Id) is var (planned, given))
        {
            Put(sweep, "RUNNING");
            return Run(config, planned, JsonNode.Parse(given)!.AsObject());
        }

        if (!isDone && !config.IsLocal)
        {
            var arguments =
                config.Method == "grid"
                    ? SweepSearch.Grid(config, sweep.Made)
                    : SweepSearch.Random(config, Random.Shared);
            if (arguments is not null)
            {
                Put(sweep, "RUNNING");
                return Run(config, sweeps.AddRun(sweep, arguments.ToJsonString(), agent.Id, user), arguments);
            }

            isDone = true;
        }

        if (!isDone)
        {
            return [];
        }

        if (sweeps.Runs(sweep).Open == 0)
        {
            Put(sweep, "FINISHED");
        }

        return Command("exit");
    }

    private void Put(SweepRecord sweep, string state)
    {
        if (sweep.State != state)
        {
            sweeps.Change(sweep.Id, new Dictionary<string, string?> { ["state"] = state });
        }
    }

    private static JsonObject Run(SweepConfig config, string run, JsonObject arguments)
    {
        var command = Command("run", run);
        command["args"] = arguments.DeepClone();
        command["program"] = config.Program;
        command["logs"] = new JsonArray();
        return command;
    }

    private static JsonObject Command(string type, string? run = null) =>
        run is null ? new JsonObject { ["type"] = type } : new JsonObject { ["type"] = type, ["run_id"] = run };

    private static List<string> Running(string? states) =>
        states is { Length: > 0 } && Read("runState", states) is { } map
            ? [.. map.Where(r => r.Value?.GetValueKind() == JsonValueKind.True).Select(r => r.Key)]
            : [];

    private static JsonObject? Read(string what, string text)
    {
        JsonLimits.CheckObject(what, text);
        return JsonNode.Parse(text) as JsonObject;
    }
}
