using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;
using WandbLaunch.Foundation;

namespace WandbLaunch.Wandb;

/// <summary>The ways to push items, each for the items of one request (protocol B.3).</summary>
internal sealed class PushOperations(GraphQLTransport transport)
{
    /// <summary>All items in one body of their own kind: our own server's way. Null when there is no queue of that name.</summary>
    internal async Task<IReadOnlyList<QueuePushed>?> PushBatchAsync(
        PushTarget target,
        IReadOnlyList<QueuePush> items,
        CancellationToken token
    )
    {
        // The name of the request: a try whose answer was lost may have been taken, and the next must not queue everything again.
        var path =
            $"/queues/push?entity={Uri.EscapeDataString(target.Entity)}&project={Uri.EscapeDataString(target.Project)}&queue={Uri.EscapeDataString(target.Queue)}&request={Guid.NewGuid():n}";
        var answer = await transport.PostContentAsync(path, () => new QueueBatchContent(items), token);
        return answer.At("results") is { } results ? BatchResults(results, items) : null;
    }

    // Compiled in full at once, as everything on the way of thousands of items: in a new shell the runtime's slow first version would cost more than the work.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static List<QueuePushed> BatchResults(JsonElement results, IReadOnlyList<QueuePush> items)
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

    /// <summary>A field for each item, with the queue's name: today's way. Null when there is no queue of that name.</summary>
    internal async Task<IReadOnlyList<QueuePushed>?> PushByNameAsync(
        PushTarget target,
        IReadOnlyList<QueuePush> items,
        CancellationToken token
    )
    {
        var variables = new Dictionary<string, object?>
        {
            ["entityName"] = target.Entity,
            ["projectName"] = target.Project,
            ["queueName"] = target.Queue,
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

    /// <summary>A field for each item, with the queue's id: the way of 2022, whose items hold a spec and nothing else.</summary>
    internal async Task<IReadOnlyList<QueuePushed>> PushByIdAsync(
        string id,
        IReadOnlyList<QueuePush> items,
        CancellationToken token
    )
    {
        var variables = new Dictionary<string, object?> { ["queueID"] = id };
        var head = new StringBuilder("mutation pushToRunQueue($queueID: ID!");
        var body = new StringBuilder();
        for (var i = 0; i < items.Count; i++)
        {
            head.Append(CultureInfo.InvariantCulture, $", $runSpec{i}: JSONString!");
            variables[$"runSpec{i}"] = items[i].Text;
            body.Append(
                CultureInfo.InvariantCulture,
                $" p{i}: pushToRunQueue(input: {{queueID: $queueID, runSpec: $runSpec{i}}}) {{ runQueueItemId }}"
            );
        }

        var (data, faults) = await transport.QueryPartsAsync(
            "pushToRunQueue",
            $"{head}) {{{body} }}",
            variables,
            token
        );
        return [.. items.Select((item, i) => Pushed(data, faults, "p" + i, item))];
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
}
