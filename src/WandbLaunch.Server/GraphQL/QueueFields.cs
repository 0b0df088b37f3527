using System.Text.Json;
using System.Text.Json.Nodes;
using GraphQL;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Schema;

/// <summary>Queues and their configuration (protocol B.2).</summary>
internal sealed class QueueFields(QueueRepository queues, ItemRepository items) : ISchemaPart
{
    public void AddTo(SchemaFields fields)
    {
        fields.Set("Project", "runQueues", c => queues.List(c.Of<ProjectRecord>()).Select(Rows.Of).ToList());
        fields.Set(
            "Project",
            "runQueue",
            c =>
                c.Of<ProjectRecord>() is var project
                && queues.Find(project.Entity, project.Name, c.GetArgument<string>("name")) is { } queue
                    ? Rows.Of(queue)
                    : null
        );
        fields.Set(
            "Entity",
            "defaultResourceConfig",
            c =>
                queues.ResourceConfig((string)((Row)c.Source!)["name"]!, c.GetArgument<string>("id")) is { } found
                    ? new Row
                    {
                        ["resource"] = found.Resource,
                        ["config"] = JsonSerializer.Deserialize<JsonElement>(found.Config),
                        ["templateVariables"] = JsonNode
                            .Parse(found.Variables)!
                            .AsObject()
                            .Select(v => new Row
                            {
                                ["name"] = v.Key,
                                ["schema"] = (v.Value?["schema"] ?? new JsonObject()).ToJsonString(),
                                ["description"] = v.Value?["description"]?.ToString(),
                            })
                            .ToArray(),
                    }
                    : null
        );
        fields.Set("RunQueue", "itemCount", c => (int)items.Count(c.Of<QueueRecord>().Id));
        fields.Set("RunQueue", "pendingCount", c => (int)items.Count(c.Of<QueueRecord>().Id, "PENDING"));
        fields.Set("RunQueue", "runningCount", c => (int)items.Count(c.Of<QueueRecord>().Id, "LEASED", "CLAIMED"));
        fields.Set("RunQueue", "failedCount", c => (int)items.Count(c.Of<QueueRecord>().Id, "FAILED"));
        fields.Set("RunQueue", "oldestPending", c => items.OldestPending(c.Of<QueueRecord>().Id));
        AddMutations(fields);
    }

    private void AddMutations(SchemaFields fields)
    {
        fields.Mutation(
            "createRunQueue",
            (c, input) =>
            {
                var queue = queues.Create(
                    input.Need("entityName"),
                    input.Need("projectName"),
                    input.Need("queueName"),
                    input.Need("access"),
                    input.Text("prioritizationMode"),
                    input.OptionalId("defaultResourceConfigID"),
                    c.Username()
                );
                return new Row { ["success"] = true, ["queueID"] = Ids.Text(queue.Id) };
            }
        );
        fields.Mutation(
            "createDefaultResourceConfig",
            (_, input) =>
                new Row
                {
                    ["success"] = true,
                    ["defaultResourceConfigID"] = Ids.Text(
                        queues.CreateResourceConfig(
                            input.Need("entityName"),
                            input.Need("resource"),
                            input.Need("config"),
                            input.Text("templateVariables")
                        )
                    ),
                }
        );
        fields.Mutation(
            "upsertRunQueue",
            (c, input) =>
            {
                var (entity, project, name) = (
                    input.Need("entityName"),
                    input.Need("projectName"),
                    input.Need("queueName")
                );
                var mode = input.Text("prioritizationMode");
                var queue =
                    queues.Find(entity, project, name)
                    ?? queues.Create(entity, project, name, "PROJECT", mode, null, c.Username());
                queues.Configure(
                    queue.Id,
                    input.Need("resourceType"),
                    input.Need("resourceConfig"),
                    input.Text("templateVariables"),
                    mode,
                    input.Text("externalLinks")
                );
                return new Row { ["success"] = true, ["configSchemaValidationErrors"] = Array.Empty<string>() };
            }
        );
        fields.Mutation(
            "pauseRunQueue",
            (c, input) =>
            {
                queues.Pause(input.NeedId("queueID"), (bool)input["paused"]!);
                return c.Done(true);
            }
        );
        fields.Mutation(
            "deleteRunQueues",
            (c, input) =>
            {
                foreach (var id in ((IEnumerable<object?>)input["queueIDs"]!).Select(i => Ids.Parse(i?.ToString())))
                {
                    queues.Delete(id);
                }

                return c.Done(true);
            }
        );
    }
}
