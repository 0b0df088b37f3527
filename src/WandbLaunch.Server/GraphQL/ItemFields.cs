using System.Text.Json;
using GraphQL;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Schema;

/// <summary>Items of queues: pushed, popped, acknowledged, and how they ended (protocol B.3).</summary>
internal sealed class ItemFields(QueueRepository queues, ItemRepository items, AgentRepository agents) : ISchemaPart
{
    public void AddTo(SchemaFields fields)
    {
        fields.Set(
            "RunQueue",
            "runQueueItem",
            c =>
                items.Find(c.Of<QueueRecord>().Id, Ids.Parse(c.GetArgument<string>("id"))) is { } item
                    ? Rows.Of(item)
                    : null
        );
        fields.Set(
            "RunQueue",
            "runQueueItems",
            c =>
            {
                var (found, more) = items.Page(
                    c.Of<QueueRecord>().Id,
                    Math.Max(0, Ids.Parse(c.GetArgument<string?>("after"))),
                    c.First(100),
                    c.GetArgument<string[]?>("states")?.Select(s => s.ToUpperInvariant()).ToArray()
                );
                return Row.Connection(found.Select(Rows.Of), r => (string)r["id"]!, more);
            }
        );
        fields.Set("RunQueueItem", "position", c => items.Position(c.Of<ItemRecord>()));
        fields.Set(
            "RunQueueItem",
            "runSpec",
            c =>
            {
                // It goes out as JSON and is no text that is counted by itself.
                var item = c.Of<ItemRecord>();
                AnswerBudget.Of(c).Text(item.Weight);
                return item.Fault is null ? JsonSerializer.Deserialize<JsonElement>(item.Spec) : null;
            }
        );
        AddPushAndPop(fields);
        AddEnds(fields);
    }

    private void AddPushAndPop(SchemaFields fields)
    {
        fields.Mutation(
            "pushToRunQueue",
            (_, input) =>
                queues.Find(input.NeedId("queueID")) is { } queue
                    ? new Row { ["runQueueItemId"] = Push(queue, input).Id }
                    : null
        );
        fields.Mutation(
            "pushToRunQueueByName",
            (_, input) =>
            {
                if (Queue(input) is not { } queue)
                {
                    return null;
                }

                var (id, spec) = Push(queue, input);
                return new Row { ["runQueueItemId"] = id, ["runSpec"] = spec };
            }
        );
        fields.Mutation(
            "popFromRunQueue",
            (_, input) =>
            {
                var agent = input.OptionalId("launchAgentId");
                if (agent is { } known)
                {
                    agents.Update(known, null);
                }

                return Queue(input) is { } queue && items.Pop(queue, agent, Words(input, "exceptResources")) is { } item
                    ? new Row
                    {
                        ["runQueueItemId"] = Ids.Text(item.Id),
                        ["runSpec"] = JsonSerializer.Deserialize<JsonElement>(item.Spec),
                    }
                    : null;
            }
        );
        fields.Mutation(
            "deleteFromRunQueue",
            (c, input) => c.Done(items.Delete(input.NeedId("queueID"), input.NeedId("runQueueItemId")))
        );
    }

    private void AddEnds(SchemaFields fields)
    {
        fields.Mutation(
            "ackRunQueueItem",
            (c, input) => c.Done(items.Ack(input.NeedId("runQueueItemId"), input.Need("runName")))
        );
        fields.Mutation(
            "failRunQueueItem",
            (c, input) =>
                c.Done(
                    items.Finish(
                        input.NeedId("runQueueItemId"),
                        "FAILED",
                        null,
                        (input.Report() ?? ItemRepository.Unexplained()).ToJsonString()
                    )
                )
        );
        fields.Mutation(
            "updateRunQueueItemWarning",
            (c, input) => c.Done(items.AddWarning(input.NeedId("runQueueItemId"), input.Report()!))
        );
        fields.Mutation(
            "updateRunQueueItemEngine",
            (c, input) =>
                c.Done(
                    items.SetEngine(
                        input.NeedId("runQueueItemId"),
                        Short(input.Text("engineId"), 200),
                        Short(input.Text("reason"), 2000)
                    )
                )
        );
        fields.Mutation(
            "finishRunQueueItem",
            (c, input) =>
            {
                if (input.Text("engineId") is not null || input.Text("reason") is not null)
                {
                    items.SetEngine(
                        input.NeedId("runQueueItemId"),
                        Short(input.Text("engineId"), 200),
                        Short(input.Text("reason"), 2000)
                    );
                }

                var state = input.Need("state").ToUpperInvariant();
                return state is "FINISHED" or "FAILED" or "STOPPED"
                    ? c.Done(
                        items.Finish(
                            input.NeedId("runQueueItemId"),
                            state,
                            input.GetValueOrDefault("exitCode") as int?,
                            input.Report()?.ToJsonString()
                        )
                    )
                    : throw new ServerFault("state must be FINISHED, FAILED or STOPPED.");
            }
        );
    }

    private static string? Short(string? text, int most) => text is null ? null : JsonLimits.Short(text, most);

    private static string[] Words(Dictionary<string, object?> input, string name) =>
        input.GetValueOrDefault(name) is IEnumerable<object?> list ? [.. list.OfType<string>().Take(100)] : [];

    private QueueRecord? Queue(Dictionary<string, object?> input) =>
        queues.Find(input.Need("entityName"), input.Need("projectName"), input.Need("queueName"));

    private (string Id, string Spec) Push(QueueRecord queue, Dictionary<string, object?> input)
    {
        var (id, spec) = items.Push(
            queue,
            input.Need("runSpec"),
            input.GetValueOrDefault("priority") as int?,
            input.Text("templateVariableValues")
        );
        return (Ids.Text(id), spec);
    }
}
