using System.Text.Json.Nodes;
using WandbLaunch.Api;
using WandbLaunch.Launching;
using WandbLaunch.Queues;

namespace WandbLaunch.PowerShell;

/// <summary>Gathers items and pushes them together, in their order.</summary>
internal sealed class QueuePusher(WandbConnection server, string queue, string? queueEntity, string? queueProject, string? priority, JsonObject? variables, string workingFolder)
{
    private const int Full = 2500;

    private static readonly string[] Priorities = ["critical", "high", "medium", "low"];

    private readonly List<QueuePush> _items = [];
    private readonly int? _priority = priority is null ? null : Array.IndexOf(Priorities, priority.ToLowerInvariant());

    internal bool IsFull => _items.Count >= Full;

    internal JsonObject Spec(LaunchConfig config)
    {
        var spec = QueueSpec.From(config, QueueCommand.NeedEntity(server, null), server.Username, server.AppUrl, workingFolder);
        if (queueEntity is not null && queueEntity != spec["entity"]?.ToString())
        {
            spec["queue_entity"] = queueEntity;
        }

        return spec;
    }

    internal void Add(JsonObject spec) => _items.Add(new QueuePush(spec, _priority, variables));

    internal async Task FlushAsync(Action<object?> output, Action<Exception, object?> error, CancellationToken token)
    {
        var items = _items.ToList();
        _items.Clear();
        if (items.Count == 0)
        {
            return;
        }

        // On a server of 2022 each project has queues of its own; elsewhere this is one group.
        var today = queueProject ?? ((await server.Api.DialectAsync(token).ConfigureAwait(false)).PushByName ? QueueApi.TodaysProject : null);
        var groups = new List<(string Entity, string Project, List<QueuePush> Items)>();
        foreach (var item in items)
        {
            var (entity, project) = (queueEntity ?? item.Spec["entity"]!.ToString(), today ?? item.Spec["project"]!.ToString());
            if (groups.Count == 0 || groups[^1].Entity != entity || groups[^1].Project != project)
            {
                groups.Add((entity, project, []));
            }

            groups[^1].Items.Add(item);
        }

        foreach (var (entity, project, part) in groups)
        {
            IReadOnlyList<QueuePushed> results;
            try
            {
                results = await server.Queues.PushAsync(entity, project, queue, server.Username, part, token).ConfigureAwait(false);
            }
            catch (LaunchException e)
            {
                error(part.Count == 1 ? e : new LaunchException(e.ErrorId, e.Category, $"{part.Count} items were not queued: {e.Message}", part.Select(p => p.Spec.ToJsonString()).ToArray(), e), null);
                continue;
            }

            foreach (var result in results)
            {
                if (result.Fault is { } fault)
                {
                    error(fault, null);
                }
                else
                {
                    output(new WandbLaunchQueueItem
                    {
                        Id = result.Id!, Queue = queue, Entity = entity, QueueProject = project, State = "pending", Priority = _priority, Created = DateTimeOffset.UtcNow,
                        Uri = (result.Spec["uri"] ?? result.Spec["job"] ?? result.Spec["docker"]?["docker_image"])?.ToString(), Project = result.Spec["project"]?.ToString(), Spec = result.Spec,
                    });
                }
            }
        }
    }
}

/// <summary>The combinations of arguments with several values each.</summary>
internal static class ArgumentGrid
{
    internal static IEnumerable<ArgumentSet?> Combinations(JsonObject? grid)
    {
        if (grid is null || grid.Count == 0)
        {
            yield return null;
            yield break;
        }

        var names = grid.Select(g => g.Key).ToArray();
        var values = grid.Select(g => g.Value is JsonArray list ? list.Select(ArgumentSet.Plain).ToArray() : [ArgumentSet.Plain(g.Value)]).ToArray();
        if (values.Any(v => v.Length == 0))
        {
            throw new LaunchException("GridEmpty", LaunchErrorCategory.InvalidArgument, $"The grid has no value for {names[Array.FindIndex(values, v => v.Length == 0)]}, so there is no combination.", null);
        }

        // Counts like a clock: the last name turns fastest.
        var at = new int[names.Length];
        while (true)
        {
            yield return ArgumentSet.FromPairs(names.Select((n, i) => new KeyValuePair<string, object?>(n, values[i][at[i]])));
            var place = names.Length - 1;
            while (place >= 0 && ++at[place] == values[place].Length)
            {
                at[place--] = 0;
            }

            if (place < 0)
            {
                yield break;
            }
        }
    }
}
