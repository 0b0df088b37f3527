using System.Buffers;
using System.Text.Json;
using System.Text.Json.Nodes;
using GraphQL;

namespace WandbLaunch.Server;

/// <summary>The resolvers of queues, items and agents (protocol B.2 to B.4).</summary>
internal static class QueueSchema
{
    // What one request may bring; clients send 32 MB at most.
    private const int MostBytes = 64 * Answers.Megabyte;

    internal static void Add(Store store, Action<string, string, Func<IResolveFieldContext, object?>> set)
    {
        set("Project", "runQueues", c => store.Queues((Row)c.Source!));
        set(
            "Project",
            "runQueue",
            c =>
                ((Row)c.Source!) is var project
                    ? store.Queue(
                        (string)project["entityName"]!,
                        (string)project["name"]!,
                        c.GetArgument<string>("name")
                    )
                    : null
        );
        set("Project", "launchAgents", c => store.Agents((Row)c.Source!));
        set(
            "Entity",
            "defaultResourceConfig",
            c =>
                store.ResourceConfig((string)((Row)c.Source!)["name"]!, c.GetArgument<string>("id")) is { } found
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
        set("Query", "launchAgent", c => store.Agent(Store.Id(c.GetArgument<string>("id"))));

        set("RunQueue", "itemCount", c => (int)store.CountItems(((Row)c.Source!).Key));
        set("RunQueue", "pendingCount", c => (int)store.CountItems(((Row)c.Source!).Key, "PENDING"));
        set("RunQueue", "runningCount", c => (int)store.CountItems(((Row)c.Source!).Key, "LEASED", "CLAIMED"));
        set("RunQueue", "failedCount", c => (int)store.CountItems(((Row)c.Source!).Key, "FAILED"));
        set("RunQueue", "oldestPending", c => store.OldestPending(((Row)c.Source!).Key));
        set("RunQueue", "runQueueItem", c => store.Item(((Row)c.Source!).Key, Store.Id(c.GetArgument<string>("id"))));
        set(
            "RunQueue",
            "runQueueItems",
            c =>
            {
                var (rows, more) = store.Items(
                    ((Row)c.Source!).Key,
                    Math.Max(0, Store.Id(c.GetArgument<string?>("after"))),
                    Math.Clamp(c.GetArgument("first", 100), 1, 1000),
                    c.GetArgument<string[]?>("states")?.Select(s => s.ToUpperInvariant()).ToArray()
                );
                return WandbSchema.Connection(rows, r => (string)r["id"]!, more);
            }
        );
        set("RunQueueItem", "position", c => store.Position((Row)c.Source!));
        set(
            "RunQueueItem",
            "runSpec",
            c =>
            {
                // It goes out as JSON and is no text that is counted by itself.
                var item = (Row)c.Source!;
                AnswerBudget.Of(c).Text((int)item["weight"]!);
                return item["runSpec"];
            }
        );

        set(
            "Mutation",
            "createRunQueue",
            c =>
            {
                var input = WandbSchema.Input(c);
                var queue = store.CreateQueue(
                    Need(input, "entityName"),
                    Need(input, "projectName"),
                    Need(input, "queueName"),
                    Need(input, "access"),
                    WandbSchema.Text(input, "prioritizationMode"),
                    Optional(input, "defaultResourceConfigID"),
                    WandbSchema.Username
                );
                return new Row { ["success"] = true, ["queueID"] = queue["id"] };
            }
        );
        set(
            "Mutation",
            "createDefaultResourceConfig",
            c =>
            {
                var input = WandbSchema.Input(c);
                return new Row
                {
                    ["success"] = true,
                    ["defaultResourceConfigID"] = store
                        .CreateResourceConfig(
                            Need(input, "entityName"),
                            Need(input, "resource"),
                            Need(input, "config"),
                            WandbSchema.Text(input, "templateVariables")
                        )
                        .ToString(System.Globalization.CultureInfo.InvariantCulture),
                };
            }
        );
        set(
            "Mutation",
            "upsertRunQueue",
            c =>
            {
                var input = WandbSchema.Input(c);
                var (entity, project, name) = (
                    Need(input, "entityName"),
                    Need(input, "projectName"),
                    Need(input, "queueName")
                );
                var queue =
                    store.Queue(entity, project, name)
                    ?? store.CreateQueue(
                        entity,
                        project,
                        name,
                        "PROJECT",
                        WandbSchema.Text(input, "prioritizationMode"),
                        null,
                        WandbSchema.Username
                    );
                store.ConfigureQueue(
                    queue.Key,
                    Need(input, "resourceType"),
                    Need(input, "resourceConfig"),
                    WandbSchema.Text(input, "templateVariables"),
                    WandbSchema.Text(input, "prioritizationMode"),
                    WandbSchema.Text(input, "externalLinks")
                );
                return new Row { ["success"] = true, ["configSchemaValidationErrors"] = Array.Empty<string>() };
            }
        );
        set(
            "Mutation",
            "deleteRunQueues",
            c =>
            {
                foreach (
                    var id in ((IEnumerable<object?>)WandbSchema.Input(c)["queueIDs"]!).Select(i =>
                        Store.Id(i?.ToString())
                    )
                )
                {
                    store.DeleteQueue(id);
                }

                return Done(c, true);
            }
        );

        set(
            "Mutation",
            "pushToRunQueue",
            c =>
            {
                var input = WandbSchema.Input(c);
                return store.Queue(Store.Id(Need(input, "queueID"))) is { } queue
                    ? new Row { ["runQueueItemId"] = PushOne(queue, input).Id }
                    : null;
            }
        );
        set(
            "Mutation",
            "pushToRunQueueByName",
            c =>
            {
                var input = WandbSchema.Input(c);
                if (
                    store.Queue(Need(input, "entityName"), Need(input, "projectName"), Need(input, "queueName"))
                    is not { } queue
                )
                {
                    return null;
                }

                var (id, spec) = PushOne(queue, input);
                return new Row { ["runQueueItemId"] = id, ["runSpec"] = spec };
            }
        );
        set(
            "Mutation",
            "popFromRunQueue",
            c =>
            {
                var input = WandbSchema.Input(c);
                var agent = Optional(input, "launchAgentId");
                if (agent is { } known)
                {
                    store.UpdateAgent(known, null);
                }

                return
                    store.Queue(Need(input, "entityName"), Need(input, "projectName"), Need(input, "queueName"))
                        is { } queue
                    && store.Pop(queue, agent) is { } item
                    ? new Row
                    {
                        ["runQueueItemId"] = item.Id.ToString(System.Globalization.CultureInfo.InvariantCulture),
                        ["runSpec"] = JsonSerializer.Deserialize<JsonElement>(item.Spec),
                    }
                    : null;
            }
        );
        set(
            "Mutation",
            "ackRunQueueItem",
            c =>
                Done(
                    c,
                    store.Ack(
                        Store.Id(Need(WandbSchema.Input(c), "runQueueItemId")),
                        Need(WandbSchema.Input(c), "runName")
                    )
                )
        );
        set(
            "Mutation",
            "failRunQueueItem",
            c =>
                Done(
                    c,
                    store.Finish(
                        Store.Id(Need(WandbSchema.Input(c), "runQueueItemId")),
                        "FAILED",
                        null,
                        Report(WandbSchema.Input(c))!.ToJsonString()
                    )
                )
        );
        set(
            "Mutation",
            "updateRunQueueItemWarning",
            c =>
                Done(
                    c,
                    store.AddWarning(
                        Store.Id(Need(WandbSchema.Input(c), "runQueueItemId")),
                        Report(WandbSchema.Input(c))!
                    )
                )
        );
        set(
            "Mutation",
            "finishRunQueueItem",
            c =>
            {
                var input = WandbSchema.Input(c);
                var state = Need(input, "state").ToUpperInvariant();
                return state is "FINISHED" or "FAILED" or "STOPPED"
                    ? Done(
                        c,
                        store.Finish(
                            Store.Id(Need(input, "runQueueItemId")),
                            state,
                            input.GetValueOrDefault("exitCode") as int?,
                            Report(input)?.ToJsonString()
                        )
                    )
                    : throw new ServerFault("state must be FINISHED, FAILED or STOPPED.");
            }
        );
        set(
            "Mutation",
            "deleteFromRunQueue",
            c =>
                Done(
                    c,
                    store.DeleteItem(
                        Store.Id(Need(WandbSchema.Input(c), "queueID")),
                        Store.Id(Need(WandbSchema.Input(c), "runQueueItemId"))
                    )
                )
        );

        set(
            "Mutation",
            "createLaunchAgent",
            c =>
            {
                var input = WandbSchema.Input(c);
                var queues = ((IEnumerable<object?>)input["runQueues"]!).Select(q => q!.ToString()).ToArray();
                var id = store.CreateAgent(
                    Need(input, "entityName"),
                    Need(input, "projectName"),
                    JsonSerializer.Serialize(queues),
                    Need(input, "hostname"),
                    WandbSchema.Text(input, "agentConfig"),
                    WandbSchema.Text(input, "version")
                );
                return new Row
                {
                    ["success"] = true,
                    ["launchAgentId"] = id.ToString(System.Globalization.CultureInfo.InvariantCulture),
                };
            }
        );
        set(
            "Mutation",
            "updateLaunchAgent",
            c =>
                Done(
                    c,
                    store.UpdateAgent(
                        Store.Id(Need(WandbSchema.Input(c), "launchAgentId")),
                        WandbSchema.Text(WandbSchema.Input(c), "agentStatus")
                    )
                )
        );
        set(
            "Mutation",
            "stopLaunchAgent",
            c => Done(c, store.StopAgent(Store.Id(Need(WandbSchema.Input(c), "launchAgentId"))))
        );

        (string Id, string Spec) PushOne(Row queue, Dictionary<string, object?> input)
        {
            var (id, spec, fault) = store.Push(
                queue,
                [
                    (
                        Need(input, "runSpec"),
                        input.GetValueOrDefault("priority") as int?,
                        WandbSchema.Text(input, "templateVariableValues"),
                        null
                    ),
                ]
            )[0];
            return fault is null
                ? (id.ToString(System.Globalization.CultureInfo.InvariantCulture), spec)
                : throw new ServerFault(fault);
        }
    }

    /// <summary>Many items in one request, as JSON and not as JSON inside JSON: [{runSpec, priority?, templateVariableValues?}]. The answer has the id of each, or why it was refused; null where there is no such queue. A request of a name (?request=) that was answered before is answered the same and pushes nothing.</summary>
    /// <remarks>An item that no reader could take is refused alone, as one that the queue does not allow.</remarks>
    internal static async Task PushBatchAsync(Store store, HttpContext context)
    {
        var query = context.Request.Query;
        var body = await Answers.ReadAsync(context, MostBytes);
        var queue = store.Queue(query["entity"].ToString(), query["project"].ToString(), query["queue"].ToString());
        JsonDocument? items = null;
        string? fault = null;
        if (queue is not null)
        {
            try
            {
                items = JsonDocument.Parse(body, JsonLimits.AnyDepth);
                fault = items.RootElement.ValueKind != JsonValueKind.Array ? "it is no list" : null;
            }
            catch (JsonException e)
            {
                fault = JsonLimits.Short(e.Message, 200);
            }
        }

        using (items)
        {
            // Before a word of the answer is out, so that what fails can still be said with its status.
            byte[] Push() => Pushed(store, queue!, items!.RootElement, body);
            var results =
                queue is null || fault is not null ? null
                : query["request"].ToString() is { Length: > 0 and <= 100 } request ? store.PushOnce(request, Push)
                : Push();
            context.Response.ContentType = "application/json";
            context.Response.StatusCode = fault is null ? 200 : 400;
            await using var writer = new Utf8JsonWriter(context.Response.BodyWriter);
            writer.WriteStartObject();
            writer.WritePropertyName("results");
            if (results is null)
            {
                writer.WriteNullValue();
            }
            else
            {
                writer.WriteRawValue(results, true);
            }

            if (fault is not null)
            {
                writer.WriteString(
                    "error",
                    $"The body must be a JSON list of items: [{{\"runSpec\": {{…}}}}]. ({fault})"
                );
            }

            writer.WriteEndObject();
        }
    }

    private static byte[] Pushed(Store store, Row queue, JsonElement items, ReadOnlyMemory<byte> body)
    {
        var buffer = new ArrayBufferWriter<byte>(4096);
        var faults = Faults(body.Span);
        using (var writer = new Utf8JsonWriter(buffer))
        {
            writer.WriteStartArray();
            if (
                queue["resource"] is null
                && Array.TrueForAll(faults, f => f is null)
                && items.EnumerateArray().All(IsPlain)
            )
            {
                var count = items.GetArrayLength();
                var first =
                    count == 0 ? 0 : store.PushPlain(queue, System.Text.Encoding.UTF8.GetString(body.Span), count);
                for (var i = 0; i < count; i++)
                {
                    writer.WriteNumberValue(first + i);
                }
            }
            else
            {
                foreach (
                    var (id, _, fault) in store.Push(
                        queue,
                        items.EnumerateArray().Select((item, i) => Parts(item, faults[i]))
                    )
                )
                {
                    if (fault is null)
                    {
                        writer.WriteNumberValue(id);
                    }
                    else
                    {
                        writer.WriteStringValue(fault);
                    }
                }
            }

            writer.WriteEndArray();
        }

        return buffer.WrittenSpan.ToArray();
    }

    // What no reader could take of each item, read from the bytes as they came: a parsed value no longer knows that a key was there twice.
    private static string?[] Faults(ReadOnlySpan<byte> body)
    {
        var faults = new List<string?>();
        var reader = new Utf8JsonReader(body, new JsonReaderOptions { MaxDepth = JsonLimits.AnyDepth.MaxDepth });
        reader.Read();
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            var start = (int)reader.TokenStartIndex;
            reader.Skip();
            faults.Add(JsonLimits.Fault("The item", body[start..(int)reader.BytesConsumed], 1));
        }

        return [.. faults];
    }

    // What does not fit is left to the store to refuse: alone, and with the reason that GraphQL would give.
    private static (string Spec, int? Priority, string? Variables, string? Fault) Parts(JsonElement item, string? fault)
    {
        if (fault is not null)
        {
            return ("", null, null, fault);
        }

        JsonElement? Given(string name) =>
            item.ValueKind == JsonValueKind.Object
            && item.TryGetProperty(name, out var value)
            && value.ValueKind != JsonValueKind.Null
                ? value
                : null;
        var priority = Given("priority");
        return (
            Given("runSpec")?.GetRawText() ?? "null",
            priority is null ? null
            : priority.Value.ValueKind == JsonValueKind.Number && priority.Value.TryGetInt32(out var number) ? number
            : -1,
            Given("templateVariableValues")?.GetRawText(),
            null
        );
    }

    // Nothing but a spec that is an object.
    private static bool IsPlain(JsonElement item)
    {
        if (item.ValueKind != JsonValueKind.Object)
        {
            return false;
        }

        var properties = 0;
        foreach (var property in item.EnumerateObject())
        {
            if (++properties > 1 || !property.NameEquals("runSpec") || property.Value.ValueKind != JsonValueKind.Object)
            {
                return false;
            }
        }

        return properties == 1;
    }

    private static string Need(Dictionary<string, object?> input, string name) =>
        WandbSchema.Text(input, name) ?? throw new ServerFault($"{name} is missing.");

    private static long? Optional(Dictionary<string, object?> input, string name) =>
        WandbSchema.Text(input, name) is { Length: > 0 } text ? Store.Id(text) : null;

    private static Row Done(IResolveFieldContext c, bool success) =>
        new()
        {
            ["success"] = success,
            ["clientMutationId"] = WandbSchema.Text(WandbSchema.Input(c), "clientMutationId"),
        };

    private static JsonObject? Report(Dictionary<string, object?> input) =>
        WandbSchema.Text(input, "message") is { } message
            ? new JsonObject
            {
                ["message"] = message,
                ["stage"] = WandbSchema.Text(input, "stage"),
                ["filePaths"] = new JsonArray([
                    .. (input.GetValueOrDefault("filePaths") as IEnumerable<object?> ?? []).Select(p =>
                        (JsonNode?)JsonValue.Create(p?.ToString())
                    ),
                ]),
            }
            : null;
}
