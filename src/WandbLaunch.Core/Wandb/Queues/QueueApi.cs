using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Wandb;

/// <summary>One item to be pushed.</summary>
internal sealed class QueuePush
{
    private string? _text;

    internal QueuePush(JsonObject spec)
    {
        Json = JsonSerializer.SerializeToUtf8Bytes<JsonNode>(spec, GraphQLTransport.PlainJson);
        var config = LaunchConfig.Tolerant(spec);
        (Source, Entity, Project) = (config.Source, config.Entity, config.Project);
    }

    /// <summary>Keeps the spec as it goes over the wire: thousands wait for their request, and as trees they would cost the garbage collector more than the way itself.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal QueuePush(LaunchConfig spec, byte[] json, int? priority, JsonObject? templateVariables)
    {
        Json = json;
        Source = spec.Source;
        Entity = spec.Entity;
        Project = spec.Project;
        Priority = priority;
        TemplateVariables = templateVariables;
    }

    internal byte[] Json { get; }
    internal string Text => _text ??= Encoding.UTF8.GetString(Json);
    internal string? Source { get; }
    internal string? Entity { get; }
    internal string? Project { get; }
    internal int? Priority { get; }
    internal JsonObject? TemplateVariables { get; }
}

/// <summary>What became of a push: the item's id, the spec where the server made another of it, or the fault.</summary>
internal sealed record QueuePushed(string? Id, QueuePush Item, string? Spec, LaunchException? Fault);

/// <summary>Queues and their items, in the protocol that the server speaks (protocol B.2, B.3).</summary>
internal sealed class QueueApi(GraphQLTransport transport, WandbApi api, string appUrl)
{
    /// <summary>Where queues live on servers of today (protocol K 21).</summary>
    internal const string TodaysProject = "model-registry";

    internal const string DefaultQueue = "default";

    // A field for each item: what a request may hold without being refused for its size or complexity.
    private const int FieldsPerRequest = 50;

    private const int ItemsPerBatch = 2500;

    // Bytes of the specs in one request: what servers take at once, with their escaping and wrapping.
    private const int BytesPerRequest = 4 << 20;
    private const int BytesPerBatch = 32 << 20;

    // Asked for where the server has them.
    private static readonly string[] QueueFields =
    [
        "createdAt",
        "resource",
        "itemCount",
        "pendingCount",
        "prioritizationMode",
        "defaultResourceConfigID",
    ];
    private static readonly string[] PlainFields =
    [
        "runSpec",
        "createdAt",
        "priority",
        "position",
        "launchAgentId",
        "launchAgentName",
        "exitCode",
        "claimedAt",
        "finishedAt",
    ];
    private static readonly string[] ReportFields = ["error", "warnings"];

    internal async Task<string> QueueProjectAsync(string? given, string? target, CancellationToken token) =>
        given
        ?? ((await api.DialectAsync(token)).PushByName ? TodaysProject : target)
        ?? throw new LaunchException(
            "QueueProjectMissing",
            LaunchErrorCategory.InvalidArgument,
            "On this server a queue belongs to the project of its runs: name it with -QueueProject.",
            null
        );

    internal async Task<IReadOnlyList<WandbRunQueue>> QueuesAsync(
        string entity,
        string project,
        CancellationToken token
    )
    {
        var dialect = await api.DialectAsync(token);
        var fields = string.Join(' ', QueueFields.Where(dialect.QueueFields.Contains));
        var data = await transport.QueryAsync(
            "ProjectRunQueues",
            $$"""
            query ProjectRunQueues($entity: String!, $projectName: String!) {
              project(entityName: $entity, name: $projectName) {
                runQueues { id name createdBy access {{fields}} }
              }
            }
            """,
            new { entity, projectName = project },
            token
        );
        var found = data.At("project") ?? throw WandbApi.ProjectMissing(entity, project);
        return
        [
            .. found
                .Items("runQueues")
                .Select(q => new WandbRunQueue
                {
                    Id = q.Text("id") ?? "",
                    Name = q.Text("name") ?? "",
                    Entity = entity,
                    QueueProject = project,
                    Access = q.Text("access"),
                    CreatedBy = q.Text("createdBy"),
                    Created = q.Time("createdAt"),
                    PrioritizationMode = q.Text("prioritizationMode"),
                    Resource = q.Text("resource"),
                    Pending = Number(q, "pendingCount"),
                    Items = Number(q, "itemCount"),
                    ConfigId = q.Text("defaultResourceConfigID"),
                }),
        ];
    }

    /// <summary>The queue of a name that this user may use: public ones, and private ones of the user (protocol B.2).</summary>
    internal async Task<WandbRunQueue?> FindAsync(
        string entity,
        string project,
        string name,
        string? user,
        CancellationToken token
    )
    {
        IReadOnlyList<WandbRunQueue> all;
        try
        {
            all = await QueuesAsync(entity, project, token);
        }
        catch (LaunchException e) when (e.ErrorId == "ProjectNotFound")
        {
            return null;
        }

        var matches = all.Where(q => q.Name == name && (q.Access is null or "PROJECT" or "USER" || q.CreatedBy == user))
            .ToList();
        return matches.Count > 1
            ? throw new LaunchException(
                "QueueAmbiguous",
                LaunchErrorCategory.InvalidOperation,
                $"There are {matches.Count} queues named {name} in {entity}/{project}. Rename one of them.",
                name
            )
            : matches.FirstOrDefault();
    }

    internal async Task<WandbRunQueue> GetAsync(
        string entity,
        string project,
        string name,
        string? user,
        CancellationToken token
    ) =>
        await FindAsync(entity, project, name, user, token)
        ?? throw await QueueMissingAsync(entity, project, name, token);

    internal async Task<LaunchException> QueueMissingAsync(
        string entity,
        string project,
        string name,
        CancellationToken token
    )
    {
        IEnumerable<string> there;
        try
        {
            there = (await QueuesAsync(entity, project, token)).Select(q => q.Name);
        }
        catch (LaunchException e) when (e.ErrorId == "ProjectNotFound")
        {
            there = [];
        }

        return new LaunchException(
            "QueueNotFound",
            LaunchErrorCategory.ObjectNotFound,
            $"There is no queue {name} in {entity}/{project}. {(there.Any() ? "There are: " + string.Join(", ", there) + "." : "There is none at all.")} Make it with New-WandbRunQueue {name}{(project == TodaysProject ? "" : $" -QueueProject {project}")}.",
            name
        );
    }

    internal async Task<string> CreateAsync(
        string entity,
        string project,
        string name,
        string access,
        string? mode,
        string? configId,
        CancellationToken token
    )
    {
        // The two generations differ in the name of the operation and in two inputs (protocol B.2).
        var today = (await api.DialectAsync(token)).PushByName;
        await api.UpsertProjectAsync(entity, project, token);
        var data = today
            ? await transport.QueryAsync(
                "CreateRunQueue",
                """
                mutation CreateRunQueue(
                  $entity: String!
                  $project: String!
                  $queueName: String!
                  $access: RunQueueAccessType!
                  $prioritizationMode: RunQueuePrioritizationMode
                  $defaultResourceConfigID: ID
                ) {
                  createRunQueue(input: {
                    entityName: $entity
                    projectName: $project
                    queueName: $queueName
                    access: $access
                    prioritizationMode: $prioritizationMode
                    defaultResourceConfigID: $defaultResourceConfigID
                  }) {
                    success
                    queueID
                  }
                }
                """,
                new
                {
                    entity,
                    project,
                    queueName = name,
                    access,
                    prioritizationMode = mode,
                    defaultResourceConfigID = configId,
                },
                token
            )
            : await transport.QueryAsync(
                "createRunQueue",
                """
                mutation createRunQueue(
                  $entity: String!
                  $project: String!
                  $queueName: String!
                  $access: RunQueueAccessType!
                ) {
                  createRunQueue(input: {
                    entityName: $entity
                    projectName: $project
                    queueName: $queueName
                    access: $access
                  }) {
                    success
                    queueID
                  }
                }
                """,
                new
                {
                    entity,
                    project,
                    queueName = name,
                    access,
                },
                token
            );
        return data.Text("createRunQueue", "queueID")
            ?? throw new LaunchException(
                "QueueNotCreated",
                LaunchErrorCategory.InvalidOperation,
                $"The server did not make the queue {name} in {entity}/{project}. Is the name taken, or may this key not write there?",
                name
            );
    }

    /// <summary>Sets what a queue makes of its items (protocol B.2, upsertRunQueue). Warnings of the server come back.</summary>
    internal async Task<IReadOnlyList<string>> ConfigureAsync(
        string entity,
        string project,
        string name,
        string resource,
        JsonObject resourceArgs,
        JsonObject? variables,
        string? mode,
        CancellationToken token
    )
    {
        if (!(await api.DialectAsync(token)).Mutations.Contains("upsertRunQueue"))
        {
            throw TooOld("The configuration of a queue");
        }

        var config = new JsonObject { ["resource_args"] = new JsonObject { [resource] = resourceArgs.DeepClone() } };
        var data = await transport.QueryAsync(
            "UpsertRunQueue",
            """
            mutation UpsertRunQueue(
              $entityName: String!
              $projectName: String!
              $queueName: String!
              $resourceType: String!
              $resourceConfig: JSONString!
              $templateVariables: JSONString
              $prioritizationMode: RunQueuePrioritizationMode
            ) {
              upsertRunQueue(input: {
                entityName: $entityName
                projectName: $projectName
                queueName: $queueName
                resourceType: $resourceType
                resourceConfig: $resourceConfig
                templateVariables: $templateVariables
                prioritizationMode: $prioritizationMode
              }) {
                success
                configSchemaValidationErrors
              }
            }
            """,
            new
            {
                entityName = entity,
                projectName = project,
                queueName = name,
                resourceType = resource,
                resourceConfig = config.ToJsonString(),
                templateVariables = (variables ?? []).ToJsonString(),
                prioritizationMode = mode,
            },
            token
        );
        return data.Flag("upsertRunQueue", "success") == false
            ? throw new LaunchException(
                "QueueNotConfigured",
                LaunchErrorCategory.InvalidOperation,
                $"The server did not take the configuration of the queue {name}.",
                name
            )
            : [.. data.Items("upsertRunQueue", "configSchemaValidationErrors").Select(e => e.ToString())];
    }

    /// <summary>Reads what <see cref="ConfigureAsync"/> set: resource, resource_args of that resource, template variables.</summary>
    internal async Task<(string Resource, JsonObject Arguments, JsonObject Variables)?> ConfigurationAsync(
        WandbRunQueue queue,
        CancellationToken token
    )
    {
        if (queue.ConfigId is null)
        {
            return null;
        }

        var data = await transport.QueryAsync(
            "GetDefaultResourceConfig",
            """
            query GetDefaultResourceConfig($entityName: String!, $id: ID!) {
              entity(name: $entityName) {
                defaultResourceConfig(id: $id) { config resource templateVariables { name schema } }
              }
            }
            """,
            new { entityName = queue.Entity, id = queue.ConfigId },
            token
        );
        if (data.At("entity", "defaultResourceConfig") is not { } found || found.Text("resource") is not { } resource)
        {
            return null;
        }

        var arguments = found.Document("config")?.At("resource_args", resource)
            is { ValueKind: JsonValueKind.Object } map
            ? JsonObject.Create(map)!
            : [];
        var variables = new JsonObject(
            found
                .Items("templateVariables")
                .Select(v =>
                    KeyValuePair.Create(
                        v.Text("name") ?? "",
                        (JsonNode?)
                            new JsonObject { ["schema"] = JsonNode.Parse(v.Document("schema")?.GetRawText() ?? "{}") }
                    )
                )
        );
        return (resource, arguments, variables);
    }

    internal async Task DeleteAsync(WandbRunQueue queue, CancellationToken token)
    {
        if (!(await api.DialectAsync(token)).Mutations.Contains("deleteRunQueues"))
        {
            throw TooOld("Deleting a queue");
        }

        var data = await transport.QueryAsync(
            "DeleteRunQueue",
            """
            mutation DeleteRunQueue($id: ID!) {
              deleteRunQueues(input: {queueIDs: [$id]}) { success clientMutationId }
            }
            """,
            new { id = queue.Id },
            token
        );
        if (data.Flag("deleteRunQueues", "success") != true)
        {
            throw new LaunchException(
                "QueueNotDeleted",
                LaunchErrorCategory.InvalidOperation,
                $"The server did not delete the queue {queue.Name}.",
                queue
            );
        }
    }

    /// <summary>Pushes items in as few requests as the server allows, in their order. One that is refused fails alone.</summary>
    internal async Task<IReadOnlyList<QueuePushed>> PushAsync(
        string entity,
        string project,
        string queue,
        string? user,
        IReadOnlyList<QueuePush> items,
        CancellationToken token
    )
    {
        var dialect = await api.DialectAsync(token);
        var results = new List<QueuePushed>(items.Count);
        var size = dialect.PushBatch ? ItemsPerBatch : FieldsPerRequest;
        for (var at = 0; at < items.Count; )
        {
            var part = Part(items, at, size, dialect.PushBatch ? BytesPerBatch : BytesPerRequest);
            at += part.Count;
            var pushed =
                dialect.PushBatch ? await PushBatchAsync(entity, project, queue, part, token)
                : dialect.PushByName ? await PushByNameAsync(entity, project, queue, part, token)
                : null;

            // Null: no queue of that name there. The older way finds out, and makes the default queue (protocol B.3).
            results.AddRange(pushed ?? await PushByIdAsync(entity, project, queue, user, part, dialect, token));
        }

        return results;
    }

    // The next items that go together: one at least, however large.
    private static List<QueuePush> Part(IReadOnlyList<QueuePush> items, int from, int most, int bytes)
    {
        var part = new List<QueuePush>(Math.Min(most, items.Count - from));
        for (var sum = 0L; part.Count < most && from + part.Count < items.Count; part.Add(items[from + part.Count]))
        {
            sum += items[from + part.Count].Json.Length;
            if (part.Count > 0 && sum > bytes)
            {
                break;
            }
        }

        return part;
    }

    private async Task<IReadOnlyList<QueuePushed>?> PushBatchAsync(
        string entity,
        string project,
        string queue,
        List<QueuePush> items,
        CancellationToken token
    )
    {
        // The name of the request: a try whose answer was lost may have been taken, and the next must not queue everything again.
        var path =
            $"/queues/push?entity={Uri.EscapeDataString(entity)}&project={Uri.EscapeDataString(project)}&queue={Uri.EscapeDataString(queue)}&request={Guid.NewGuid():n}";
        var answer = await transport.PostContentAsync(path, () => new QueueBatchContent(items), token);
        return answer.At("results") is { } results ? BatchResults(results, items) : null;
    }

    // Compiled in full at once, as everything on the way of thousands of items: in a new shell the runtime's slow first version would cost more than the work.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static List<QueuePushed> BatchResults(JsonElement results, List<QueuePush> items)
    {
        var pushed = new List<QueuePushed>(items.Count);
        foreach (var result in results.EnumerateArray())
        {
            var item = items[pushed.Count];
            pushed.Add(
                result.ValueKind == JsonValueKind.Number
                    ? new QueuePushed(result.GetRawText(), item, null, null)
                    : new QueuePushed(null, item, null, Refused(result.ToString(), item))
            );
        }

        return pushed;
    }

    private async Task<IReadOnlyList<QueuePushed>?> PushByNameAsync(
        string entity,
        string project,
        string queue,
        List<QueuePush> items,
        CancellationToken token
    )
    {
        var variables = new Dictionary<string, object?>
        {
            ["entityName"] = entity,
            ["projectName"] = project,
            ["queueName"] = queue,
        };
        var head = new StringBuilder(
            "mutation pushToRunQueueByName($entityName: String!, $projectName: String!, $queueName: String!"
        );
        var body = new StringBuilder();
        for (var i = 0; i < items.Count; i++)
        {
            var item = items[i];
            head.Append(CultureInfo.InvariantCulture, $", $runSpec{i}: JSONString!");
            variables[$"runSpec{i}"] = item.Text;
            body.Append(
                CultureInfo.InvariantCulture,
                $" p{i}: pushToRunQueueByName(input: {{entityName: $entityName, projectName: $projectName, queueName: $queueName, runSpec: $runSpec{i}"
            );
            if (item.Priority is { } priority)
            {
                head.Append(CultureInfo.InvariantCulture, $", $priority{i}: Int");
                variables[$"priority{i}"] = priority;
                body.Append(CultureInfo.InvariantCulture, $", priority: $priority{i}");
            }

            if (item.TemplateVariables is { Count: > 0 } values)
            {
                head.Append(CultureInfo.InvariantCulture, $", $template{i}: JSONString");
                variables[$"template{i}"] = values.ToJsonString();
                body.Append(CultureInfo.InvariantCulture, $", templateVariableValues: $template{i}");
            }

            body.Append("}) { runQueueItemId runSpec }");
        }

        var (data, faults) = await transport.QueryPartsAsync(
            "pushToRunQueueByName",
            $"{head}) {{{body} }}",
            variables,
            token
        );
        return faults.Count == 0 && items.Select((_, i) => data.At("p" + i)).All(p => p is null)
            ? null
            : [.. items.Select((item, i) => Pushed(data, faults, "p" + i, item))];
    }

    private async Task<IReadOnlyList<QueuePushed>> PushByIdAsync(
        string entity,
        string project,
        string queue,
        string? user,
        List<QueuePush> items,
        ServerDialect dialect,
        CancellationToken token
    )
    {
        var found = await FindAsync(entity, project, queue, user, token);
        string id;
        if (found is not null)
        {
            id = found.Id;
        }
        else if (queue == DefaultQueue)
        {
            id = await CreateAsync(entity, project, queue, "PROJECT", null, null, token);
        }
        else
        {
            throw await QueueMissingAsync(entity, project, queue, token);
        }

        if (dialect.PushBatch && await PushBatchAsync(entity, project, queue, items, token) is { } batch)
        {
            return batch;
        }

        var variables = new Dictionary<string, object?> { ["queueID"] = id };
        var head = new StringBuilder("mutation pushToRunQueue($queueID: ID!");
        var body = new StringBuilder();
        var refused = new Dictionary<int, QueuePushed>();
        for (var i = 0; i < items.Count; i++)
        {
            if (items[i] is { Priority: not null } or { TemplateVariables.Count: > 0 } && !dialect.PushByName)
            {
                refused[i] = new QueuePushed(null, items[i], null, TooOld("A priority or a template variable"));
                continue;
            }

            head.Append(CultureInfo.InvariantCulture, $", $runSpec{i}: JSONString!");
            variables[$"runSpec{i}"] = items[i].Text;
            body.Append(
                CultureInfo.InvariantCulture,
                $" p{i}: pushToRunQueue(input: {{queueID: $queueID, runSpec: $runSpec{i}}}) {{ runQueueItemId }}"
            );
        }

        if (refused.Count == items.Count)
        {
            return [.. refused.Values];
        }

        var (data, faults) = await transport.QueryPartsAsync(
            "pushToRunQueue",
            $"{head}) {{{body} }}",
            variables,
            token
        );
        return [.. items.Select((item, i) => refused.GetValueOrDefault(i) ?? Pushed(data, faults, "p" + i, item))];
    }

    private static QueuePushed Pushed(
        JsonElement data,
        IReadOnlyDictionary<string, string> faults,
        string field,
        QueuePush item
    )
    {
        if (data.Text(field, "runQueueItemId") is { } id)
        {
            return new QueuePushed(
                id,
                item,
                data.Document(field, "runSpec") is { ValueKind: JsonValueKind.Object } full ? full.GetRawText() : null,
                null
            );
        }

        return new QueuePushed(
            null,
            item,
            null,
            Refused(faults.GetValueOrDefault(field) ?? "no reason was given", item)
        );
    }

    private static LaunchException Refused(string why, QueuePush item) =>
        new(
            "ItemRefused",
            LaunchErrorCategory.InvalidOperation,
            $"The server did not take {item.Source ?? "the item"} into the queue: {why}",
            item.Text
        );

    /// <summary>The items of a queue, oldest first, page after page where the server has pages.</summary>
    internal async IAsyncEnumerable<WandbLaunchQueueItem> ItemsAsync(
        WandbRunQueue queue,
        IReadOnlyList<string> states,
        [EnumeratorCancellation] CancellationToken token
    )
    {
        var dialect = await api.DialectAsync(token);
        var pages = dialect.ItemsArguments.Contains("after");
        var filtered = states.Count > 0 && dialect.ItemsArguments.Contains("states");
        var query = pages
            ? $$"""
                query GetRunQueueItems(
                  $projectName: String!
                  $entityName: String!
                  $runQueue: String!
                  $after: String{{(filtered ? ", $states: [String!]" : "")}}
                ) {
                  project(name: $projectName, entityName: $entityName) {
                    runQueue(name: $runQueue) {
                      runQueueItems(first: 500, after: $after{{(filtered ? ", states: $states" : "")}}) {
                        edges { node { {{ItemFields(dialect)}} } }
                        pageInfo { endCursor hasNextPage }
                      }
                    }
                  }
                }
                """
            : $$"""
                query GetRunQueueItems($projectName: String!, $entityName: String!, $runQueue: String!) {
                  project(name: $projectName, entityName: $entityName) {
                    runQueue(name: $runQueue) {
                      runQueueItems{{(dialect.ItemsArguments.Contains("first") ? "(first: 100)" : "")}} {
                        edges { node { {{ItemFields(dialect)}} } }
                      }
                    }
                  }
                }
                """;
        string? after = null;
        while (true)
        {
            var variables = new Dictionary<string, object?>
            {
                ["projectName"] = queue.QueueProject,
                ["entityName"] = queue.Entity,
                ["runQueue"] = queue.Name,
            };
            if (pages)
            {
                variables["after"] = after;
            }

            if (filtered)
            {
                variables["states"] = states;
            }

            var data = await transport.QueryAsync("GetRunQueueItems", query, variables, token);
            var items = data.At("project", "runQueue", "runQueueItems");
            foreach (var edge in items?.Items("edges") ?? [])
            {
                if (
                    edge.At("node") is { } node
                    && ToItem(node, queue) is var item
                    && (states.Count == 0 || states.Contains(item.State, StringComparer.OrdinalIgnoreCase))
                )
                {
                    yield return item;
                }
            }

            if (
                !pages
                || items?.Flag("pageInfo", "hasNextPage") != true
                || items?.Text("pageInfo", "endCursor") is not { } end
                || end == after
            )
            {
                yield break;
            }

            after = end;
        }
    }

    internal async Task<WandbLaunchQueueItem?> ItemAsync(WandbRunQueue queue, string id, CancellationToken token)
    {
        var dialect = await api.DialectAsync(token);
        if (dialect.QueueFields.Contains("runQueueItem"))
        {
            var data = await transport.QueryAsync(
                "GetRunQueueItem",
                $$"""
                query GetRunQueueItem($projectName: String!, $entityName: String!, $runQueue: String!, $itemId: ID!) {
                  project(name: $projectName, entityName: $entityName) {
                    runQueue(name: $runQueue) { runQueueItem(id: $itemId) { {{ItemFields(dialect)}} } }
                  }
                }
                """,
                new
                {
                    projectName = queue.QueueProject,
                    entityName = queue.Entity,
                    runQueue = queue.Name,
                    itemId = id,
                },
                token
            );
            return data.At("project", "runQueue", "runQueueItem") is { } node ? ToItem(node, queue) : null;
        }

        await foreach (var item in ItemsAsync(queue, [], token))
        {
            if (item.Id == id)
            {
                return item;
            }
        }

        return null;
    }

    /// <summary>Removes an item that waits; false when it was started or is gone.</summary>
    internal async Task<bool> DeleteItemAsync(WandbRunQueue queue, string id, CancellationToken token)
    {
        if (!(await api.DialectAsync(token)).Mutations.Contains("deleteFromRunQueue"))
        {
            throw TooOld("Removing one item");
        }

        var data = await transport.QueryAsync(
            "DeleteFromRunQueue",
            """
            mutation DeleteFromRunQueue($queueID: ID!, $runQueueItemId: ID!) {
              deleteFromRunQueue(input: {queueID: $queueID, runQueueItemId: $runQueueItemId}) {
                success
                clientMutationId
              }
            }
            """,
            new { queueID = queue.Id, runQueueItemId = id },
            token
        );
        return data.Flag("deleteFromRunQueue", "success") ?? false;
    }

    private static string ItemFields(ServerDialect dialect)
    {
        return "id state associatedRunId "
            + string.Join(
                ' ',
                PlainFields
                    .Where(dialect.ItemFields.Contains)
                    .Concat(
                        dialect.Finish
                            ? ReportFields
                                .Where(dialect.ItemFields.Contains)
                                .Select(r => r + " { message stage filePaths }")
                            : []
                    )
            );
    }

    private WandbLaunchQueueItem ToItem(JsonElement node, WandbRunQueue queue)
    {
        var (spec, fault) = ReadSpec(node);
        spec?.Remove("_wandb_api_key");
        var run = node.Text("associatedRunId");
        var config = LaunchConfig.Tolerant(spec);
        var project = config.Project;
        return new WandbLaunchQueueItem
        {
            Id = node.Text("id") ?? "",
            Queue = queue.Name,
            Entity = queue.Entity,
            QueueProject = queue.QueueProject,
            State = (node.Text("state") ?? "unknown").ToLowerInvariant(),
            Position = Number(node, "position"),
            Priority = Number(node, "priority"),
            Created = node.Time("createdAt"),
            Agent = node.Text("launchAgentName") ?? node.Text("launchAgentId"),
            RunId = run,
            RunUri =
                run is not null && project is not null
                    ? $"{appUrl}/{config.Entity ?? queue.Entity}/{project.ToLowerInvariant()}/runs/{run}"
                    : null,
            Uri = config.Source,
            Project = project,
            ExitCode = Number(node, "exitCode"),
            Error = node.Text("error", "message") ?? fault,
            ErrorFile = [.. node.Items("error", "filePaths").Select(f => f.ToString())],
            Warning = [.. node.Items("warnings").Select(w => w.Text("message")).OfType<string>()],
            Claimed = node.Time("claimedAt"),
            Finished = node.Time("finishedAt"),
            SpecText = spec?.ToJsonString(GraphQLTransport.PlainJson),
        };
    }

    // Anyone can queue anything. What cannot be read is shown without its config, and with the reason; the others as ever.
    private static (JsonObject? Spec, string? Fault) ReadSpec(JsonElement node)
    {
        if (node.At("runSpec") is not { ValueKind: not JsonValueKind.Null } given)
        {
            return (null, null);
        }

        var (spec, fault) = ItemSpec.Read(given);
        return fault is null
            ? (spec, null)
            : (null, $"The item's config cannot be read: {fault}. Remove it with Remove-WandbLaunchQueueItem.");
    }

    private static int? Number(JsonElement node, string name) =>
        node.At(name) is { ValueKind: JsonValueKind.Number } number && number.TryGetInt32(out var value) ? value : null;

    private static LaunchException TooOld(string what) =>
        new(
            "ServerTooOld",
            LaunchErrorCategory.NotImplemented,
            $"{what} is not known to this server: it speaks W&B's protocol of 2022. Update the server, or do it in its web page.",
            null
        );
}
