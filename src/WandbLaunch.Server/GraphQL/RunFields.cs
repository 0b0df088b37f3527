using System.Text.Json;
using GraphQL;
using WandbLaunch.Model;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Schema;

/// <summary>Runs: what they are, and what is done with them (protocol B.6).</summary>
internal sealed class RunFields(
    ProjectRepository projects,
    RunRepository runs,
    FileRepository files,
    ItemEnds items,
    RunEnds ends
) : ISchemaPart
{
    public void AddTo(SchemaFields fields)
    {
        fields.Set("Run", "runInfo", c => RunInfo(c.Of<RunRecord>()));
        fields.Set("Run", "wandbConfig", c => WandbConfig(c.Of<RunRecord>()));
        AddMutations(fields);
    }

    private void AddMutations(SchemaFields fields)
    {
        fields.Mutation(
            "upsertBucket",
            (c, input) =>
            {
                var known = input.Text("id") is { } id ? runs.FindByStorageId(id) : null;
                var project =
                    known?.Project
                    ?? projects
                        .Upsert(
                            input.Text("entityName") ?? c.Username(),
                            input.Text("modelName") ?? "uncategorized",
                            null
                        )
                        .Project;
                CheckDocument(input, "config");
                CheckDocument(input, "summaryMetrics");
                var (run, inserted) = runs.Upsert(
                    project,
                    known?.Name ?? input.Text("name") ?? input.Text("id") ?? RunId.New(),
                    input,
                    c.Username()
                );
                if (input.Text("state") is { } state)
                {
                    ends.Told(run, state);
                }
                else if (!inserted && run.State == "running")
                {
                    // One that was taken for dead and goes on.
                    items.Reopen(run);
                }

                return new Row
                {
                    ["bucket"] = Rows.Of(run),
                    ["inserted"] = inserted,
                    ["serverSettings"] = new Row { ["serverMessages"] = Array.Empty<Row>() },
                };
            }
        );
        fields.Mutation("stopRun", (c, input) => WithRun(c, input, run => runs.SetStopped(run.Id)));
        fields.Mutation(
            "updateRunState",
            (c, input) =>
                WithRun(
                    c,
                    input,
                    run =>
                    {
                        var (from, to) = (run.State, input.Text("state")!);
                        if (
                            !(
                                to == "pending"
                                    ? from is "running" or "failed" or "crashed" or "preempted"
                                    : to == "failed" && from is "pending" or "running"
                            )
                        )
                        {
                            throw new ServerFault($"A run cannot go from {from} to {to}.");
                        }

                        runs.SetState(run.Id, to);
                        ends.Told(run, to);
                    }
                )
        );
        fields.Mutation("deleteRun", (c, input) => WithRun(c, input, run => files.DeleteRun(run.Id)));
    }

    private Row WithRun(IResolveFieldContext c, Dictionary<string, object?> input, Action<RunRecord> act)
    {
        act(runs.FindByStorageId(input.Text("id")!) ?? throw new ServerFault("There is no such run."));
        return c.Done(true);
    }

    private static void CheckDocument(Dictionary<string, object?> input, string name)
    {
        if (input.GetValueOrDefault(name) is string text)
        {
            input[name] = RunDocuments.Strict(text) ?? throw new ServerFault($"{name} must be a JSON object.");
        }
    }

    private static string WandbConfig(RunRecord run)
    {
        try
        {
            using var document = JsonDocument.Parse(run.Config);
            return
                document.RootElement is { ValueKind: JsonValueKind.Object } root
                && root.TryGetProperty("_wandb", out var own)
                && own.ValueKind == JsonValueKind.Object
                && own.TryGetProperty("value", out var value)
                ? value.GetRawText()
                : "{}";
        }
        catch (JsonException)
        {
            return "{}";
        }
    }

    // What the SDK uploads as wandb-metadata.json is what W&B makes runInfo of.
    private Row? RunInfo(RunRecord run)
    {
        if (files.Read(run.Id, "wandb-metadata.json") is not { } bytes)
        {
            return null;
        }

        try
        {
            using var document = JsonDocument.Parse(bytes);
            var root = document.RootElement;
            if (root.ValueKind != JsonValueKind.Object)
            {
                return null;
            }

            string? Text(string name) =>
                root.TryGetProperty(name, out var v) && v.ValueKind == JsonValueKind.String ? v.GetString() : null;
            int? Number(string name) =>
                root.TryGetProperty(name, out var v)
                && v.ValueKind == JsonValueKind.Number
                && v.TryGetInt32(out var number)
                    ? number
                    : null;
            Row? git = null;
            if (root.TryGetProperty("git", out var g) && g.ValueKind == JsonValueKind.Object)
            {
                git = new Row
                {
                    ["remote"] = g.TryGetProperty("remote", out var remote) ? remote.ToString() : null,
                    ["commit"] = g.TryGetProperty("commit", out var commit) ? commit.ToString() : null,
                };
            }

            return new Row
            {
                ["program"] = Text("program"),
                ["os"] = Text("os"),
                ["python"] = Text("python"),
                ["executable"] = Text("executable"),
                ["gpu"] = Text("gpu"),
                ["codeSaved"] = Text("codePath") is not null,
                ["cpuCount"] = Number("cpu_count"),
                ["gpuCount"] = Number("gpu_count") ?? 0,
                ["git"] = git,
                ["args"] =
                    root.TryGetProperty("args", out var args) && args.ValueKind == JsonValueKind.Array
                        ? args.EnumerateArray().Select(a => a.ToString()).ToArray()
                        : [],
            };
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            // What was uploaded is anyone's.
            return null;
        }
    }
}
