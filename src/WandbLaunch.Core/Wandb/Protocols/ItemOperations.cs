using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Wandb;

/// <summary>The items of queues as they are read and removed, and what the server's record of one holds (protocol B.3).</summary>
internal sealed class ItemOperations(GraphQLTransport transport, ServerDialect dialect)
{
    private const int DeletesPerRequest = 200;

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
        "engineId",
        "reason",
    ];
    private static readonly string[] ReportFields = ["error", "warnings"];

    private readonly string _appUrl = WandbSettings.AppUrl(transport.BaseUrl);

    internal async IAsyncEnumerable<WandbLaunchQueueItem> ListAsync(
        WandbRunQueue queue,
        IReadOnlyList<QueueItemState> states,
        [EnumeratorCancellation] CancellationToken token
    )
    {
        var pages = dialect.ItemsArguments.Contains("after");
        var filtered = states.Count > 0 && dialect.ItemsArguments.Contains("states");
        var query = pages
            ? $$"""
                query GetRunQueueItems(
                  $projectName: String!
                  $entityName: String!
                  $runQueue: String!
                  $first: Int!
                  $after: String{{(filtered ? ", $states: [String!]" : "")}}
                ) {
                  project(name: $projectName, entityName: $entityName) {
                    runQueue(name: $runQueue) {
                      runQueueItems(first: $first, after: $after{{(filtered ? ", states: $states" : "")}}) {
                        edges { node { {{ItemFields()}} } }
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
                        edges { node { {{ItemFields()}} } }
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
                // Whoever wants the first alone does not wait for hundreds.
                variables["first"] = after is null ? 50 : 500;
                variables["after"] = after;
            }

            if (filtered)
            {
                variables["states"] = states.Select(s => s.ToString().ToUpperInvariant());
            }

            var data = await transport.QueryAsync("GetRunQueueItems", query, variables, token);
            var items = data.At("project", "runQueue", "runQueueItems");
            foreach (var edge in items?.Items("edges") ?? [])
            {
                if (
                    edge.At("node") is { } node
                    && ToItem(node, queue) is var item
                    && (states.Count == 0 || states.Contains(item.State))
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

    internal async Task<WandbLaunchQueueItem?> GetAsync(WandbRunQueue queue, string id, CancellationToken token)
    {
        if (dialect.QueueFields.Contains("runQueueItem"))
        {
            var data = await transport.QueryAsync(
                "GetRunQueueItem",
                $$"""
                query GetRunQueueItem($projectName: String!, $entityName: String!, $runQueue: String!, $itemId: ID!) {
                  project(name: $projectName, entityName: $entityName) {
                    runQueue(name: $runQueue) { runQueueItem(id: $itemId) { {{ItemFields()}} } }
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

        await foreach (var item in ListAsync(queue, [], token))
        {
            if (item.Id == id)
            {
                return item;
            }
        }

        return null;
    }

    /// <summary>A field for each item. One that the server refuses counts as not removed; what it is then says why.</summary>
    internal async Task<IReadOnlyList<bool>> DeleteAsync(
        WandbRunQueue queue,
        IReadOnlyList<string> ids,
        CancellationToken token
    )
    {
        if (!dialect.Mutations.Contains("deleteFromRunQueue"))
        {
            throw LaunchProtocol.TooOld("Removing one item");
        }

        var removed = new List<bool>(ids.Count);
        foreach (var part in ids.Chunk(DeletesPerRequest))
        {
            var variables = new Dictionary<string, object?> { ["queueID"] = queue.Id };
            var head = new StringBuilder("mutation DeleteFromRunQueue($queueID: ID!");
            var body = new StringBuilder();
            for (var i = 0; i < part.Length; i++)
            {
                head.Append(CultureInfo.InvariantCulture, $", $id{i}: ID!");
                variables[$"id{i}"] = part[i];
                body.Append(
                    CultureInfo.InvariantCulture,
                    $" d{i}: deleteFromRunQueue(input: {{queueID: $queueID, runQueueItemId: $id{i}}}) {{ success }}"
                );
            }

            var (data, _) = await transport.QueryPartsAsync(
                "DeleteFromRunQueue",
                $"{head}) {{{body} }}",
                variables,
                token
            );
            removed.AddRange(part.Select((_, i) => data.Flag("d" + i, "success") == true));
        }

        return removed;
    }

    private string ItemFields()
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
            State = Enum.TryParse<QueueItemState>(node.Text("state"), true, out var state)
                ? state
                : QueueItemState.Unknown,
            Position = node.Number("position"),
            Priority = node.Number("priority") is { } priority ? (QueueItemPriority)priority : null,
            Created = node.Time("createdAt"),
            Agent = node.Text("launchAgentName") ?? node.Text("launchAgentId"),
            RunId = run,
            RunUri =
                run is not null && project is not null
                    ? $"{_appUrl}/{config.Entity ?? queue.Entity}/{project.ToLowerInvariant()}/runs/{run}"
                    : null,
            Uri = config.Source,
            Project = project,
            ExitCode = node.Number("exitCode"),
            Error = node.Text("error", "message") ?? fault,
            ErrorFile = [.. node.Items("error", "filePaths").Select(f => f.ToString())],
            Warning = [.. node.Items("warnings").Select(w => w.Text("message")).OfType<string>()],
            Claimed = node.Time("claimedAt"),
            Finished = node.Time("finishedAt"),
            EngineId = node.Text("engineId"),
            Reason = node.Text("reason"),
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
}
