using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Wandb;

/// <summary>Queues and their items as commands and agents see them: found by name, with errors that say what to do.</summary>
internal sealed class QueueApi(GraphQLTransport transport, WandbApi api)
{
    internal const string DefaultQueue = "default";

    internal async Task<string> QueueProjectAsync(string? given, string? target, CancellationToken token) =>
        given
        ?? (await api.ProtocolAsync(token)).QueueProject(target)
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
    ) => await (await api.ProtocolAsync(token)).QueuesAsync(entity, project, token);

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
        var usual = (await api.ProtocolAsync(token)).QueueProject(null);
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
            $"There is no queue {name} in {entity}/{project}. {(there.Any() ? "There are: " + string.Join(", ", there) + "." : "There is none at all.")} Make it with New-WandbRunQueue {name}{(project == usual ? "" : $" -QueueProject {project}")}.",
            name
        );
    }

    internal async Task<string> CreateAsync(NewQueue queue, CancellationToken token)
    {
        var protocol = await api.ProtocolAsync(token);
        await api.UpsertProjectAsync(queue.Entity, queue.Project, token);
        return await protocol.CreateQueueAsync(queue, token)
            ?? throw new LaunchException(
                "QueueNotCreated",
                LaunchErrorCategory.InvalidOperation,
                $"The server did not make the queue {queue.Name} in {queue.Entity}/{queue.Project}. Is the name taken, or may this key not write there?",
                queue.Name
            );
    }

    /// <summary>Sets what a queue makes of its items. Warnings of the server come back.</summary>
    internal async Task<IReadOnlyList<string>> ConfigureAsync(
        QueueConfiguration configuration,
        CancellationToken token
    ) => await (await api.ProtocolAsync(token)).ConfigureQueueAsync(configuration, token);

    /// <summary>Reads what <see cref="ConfigureAsync"/> set: resource, resource_args of that resource, template variables.</summary>
    internal async Task<QueueSettings?> ConfigurationAsync(WandbRunQueue queue, CancellationToken token) =>
        (await ConfigurationsAsync([queue], token)).GetValueOrDefault(queue.Id);

    /// <summary>How queues are set now, by their ids; null for one that has no configuration.</summary>
    internal async Task<IReadOnlyDictionary<string, QueueSettings?>> SettingsAsync(
        string entity,
        string project,
        IReadOnlyList<WandbRunQueue> queues,
        CancellationToken token
    )
    {
        // Asked for anew: a queue has another configuration than before, or its first one.
        var ids = queues.Select(q => q.Id).ToHashSet(StringComparer.Ordinal);
        var now = (await QueuesAsync(entity, project, token)).Where(q => ids.Contains(q.Id)).ToList();
        var known = await ConfigurationsAsync(now, token);
        return now.ToDictionary(q => q.Id, q => known.GetValueOrDefault(q.Id), StringComparer.Ordinal);
    }

    /// <summary>The same queues with what they make of their items, where the server tells.</summary>
    internal async Task<IReadOnlyList<WandbRunQueue>> WithConfigurationsAsync(
        IReadOnlyList<WandbRunQueue> queues,
        CancellationToken token
    )
    {
        var known = await ConfigurationsAsync(queues, token);
        return
        [
            .. queues.Select(q =>
                known.TryGetValue(q.Id, out var configuration)
                    ? q with
                    {
                        Resource = configuration.Resource,
                        ResourceArgs = JsonValues.ToMap(configuration.Arguments),
                        TemplateVariables = JsonValues.ToMap(configuration.Variables),
                        TimeLimit = configuration.Limits.Time,
                        StartLimit = configuration.Limits.Start,
                    }
                    : q
            ),
        ];
    }

    // A field for each queue that has one, by the queue's id.
    private async Task<Dictionary<string, QueueSettings>> ConfigurationsAsync(
        IReadOnlyList<WandbRunQueue> queues,
        CancellationToken token
    )
    {
        var found = new Dictionary<string, QueueSettings>(StringComparer.Ordinal);
        foreach (
            var part in queues.Where(q => q.ConfigId is not null).GroupBy(q => q.Entity).SelectMany(g => g.Chunk(50))
        )
        {
            var variables = new Dictionary<string, object?> { ["entityName"] = part[0].Entity };
            var head = new StringBuilder("query GetDefaultResourceConfig($entityName: String!");
            var body = new StringBuilder();
            for (var i = 0; i < part.Length; i++)
            {
                head.Append(CultureInfo.InvariantCulture, $", $id{i}: ID!");
                variables[$"id{i}"] = part[i].ConfigId;
                body.Append(
                    CultureInfo.InvariantCulture,
                    $" c{i}: defaultResourceConfig(id: $id{i}) {{ config resource templateVariables {{ name schema }} }}"
                );
            }

            var (data, _) = await transport.QueryPartsAsync(
                "GetDefaultResourceConfig",
                $"{head}) {{ entity(name: $entityName) {{{body} }} }}",
                variables,
                token
            );
            for (var i = 0; i < part.Length; i++)
            {
                if (data.At("entity", "c" + i) is { } node && Configuration(node) is { } configuration)
                {
                    found[part[i].Id] = configuration;
                }
            }
        }

        return found;
    }

    private static QueueSettings? Configuration(JsonElement node)
    {
        if (node.Text("resource") is not { } resource)
        {
            return null;
        }

        var config = node.Document("config");
        var arguments = config?.At("resource_args", resource) is { ValueKind: JsonValueKind.Object } map
            ? JsonObject.Create(map)!
            : [];
        var variables = new JsonObject(
            node.Items("templateVariables")
                .Select(v =>
                    KeyValuePair.Create(
                        v.Text("name") ?? "",
                        (JsonNode?)
                            new JsonObject { ["schema"] = JsonNode.Parse(v.Document("schema")?.GetRawText() ?? "{}") }
                    )
                )
        );
        return new QueueSettings(
            resource,
            arguments,
            variables,
            new RunLimits { Time = Span("time_limit"), Start = Span("start_limit") }
        );

        TimeSpan? Span(string name) =>
            config?.Text(name) is { } text && SpanText.TryParse(text, out var span) ? span : null;
    }

    /// <summary>Says what a server that cannot pause queues does not do; else nothing.</summary>
    internal async Task<LaunchException?> PauseFaultAsync(WandbRunQueue queue, CancellationToken token) =>
        (await api.ProtocolAsync(token)).QueuesCanBePaused
            ? null
            : new LaunchException(
                "QueuePauseNotSupported",
                LaunchErrorCategory.NotImplemented,
                $"This server cannot pause the queue {queue.Name}: only the server of this module can (Start-WandbLaunchServer). To have nothing started, let the agents of the queue end: Get-WandbLaunchAgent | Where-Object Queues -contains {queue.Name} | Stop-WandbLaunchAgent -Drain",
                queue
            );

    /// <summary>Gives agents nothing of a queue, or again what waits in it. What was started goes on.</summary>
    internal async Task PauseAsync(WandbRunQueue queue, bool paused, CancellationToken token)
    {
        if (await PauseFaultAsync(queue, token) is { } fault)
        {
            throw fault;
        }

        if (!await (await api.ProtocolAsync(token)).PauseQueueAsync(queue, paused, token))
        {
            throw new LaunchException(
                "QueueNotPaused",
                LaunchErrorCategory.InvalidOperation,
                $"The server did not {(paused ? "pause" : "resume")} the queue {queue.Name}. May this key change it? See Get-WandbConnection.",
                queue
            );
        }
    }

    internal async Task DeleteAsync(WandbRunQueue queue, CancellationToken token) =>
        await (await api.ProtocolAsync(token)).DeleteQueueAsync(queue, token);

    /// <summary>Pushes items in as few requests as the server allows, in their order. One that is refused fails alone.</summary>
    internal async Task<IReadOnlyList<QueuePushed>> PushAsync(
        string entity,
        string project,
        string queue,
        string? user,
        IReadOnlyList<QueuePush> items,
        CancellationToken token
    ) =>
        await (await api.ProtocolAsync(token)).PushAsync(
            new PushTarget(entity, project, queue, t => FindOrMakeAsync(entity, project, queue, user, t)),
            items,
            token
        );

    // Protocol B.3: the default queue is made by its first item.
    private async Task<string> FindOrMakeAsync(
        string entity,
        string project,
        string queue,
        string? user,
        CancellationToken token
    ) =>
        await FindAsync(entity, project, queue, user, token) is { } found ? found.Id
        : queue == DefaultQueue ? await CreateAsync(new NewQueue(entity, project, queue, "PROJECT"), token)
        : throw await QueueMissingAsync(entity, project, queue, token);

    /// <summary>The items of a queue, oldest first, page after page where the server has pages.</summary>
    internal async IAsyncEnumerable<WandbLaunchQueueItem> ItemsAsync(
        WandbRunQueue queue,
        IReadOnlyList<QueueItemState> states,
        [EnumeratorCancellation] CancellationToken token
    )
    {
        var protocol = await api.ProtocolAsync(token);
        await foreach (var item in protocol.ItemsAsync(queue, states, token))
        {
            yield return item;
        }
    }

    internal async Task<WandbLaunchQueueItem?> ItemAsync(WandbRunQueue queue, string id, CancellationToken token) =>
        await (await api.ProtocolAsync(token)).ItemAsync(queue, id, token);

    /// <summary>Removes items that wait: for each whether it was removed, or was started or is gone.</summary>
    internal async Task<IReadOnlyList<bool>> DeleteItemsAsync(
        WandbRunQueue queue,
        IReadOnlyList<string> ids,
        CancellationToken token
    ) => await (await api.ProtocolAsync(token)).DeleteItemsAsync(queue, ids, token);
}
