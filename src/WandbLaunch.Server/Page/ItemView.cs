using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Pages;

/// <summary>What an item asks for, as far as a line of a table says it.</summary>
internal sealed record ItemSummary(string? Source, string? Entity, string? Project, string? Name, string? Author);

/// <summary>Items in the words of the page: what they ask for, and why they are as they are.</summary>
internal static class ItemView
{
    private const int LongestText = 500;

    internal static ItemSummary Summary(ItemRow item)
    {
        var spec = PageRequests.Json(item.Spec);
        string? Text(string name) =>
            spec is { ValueKind: JsonValueKind.Object } map
            && map.TryGetProperty(name, out var value)
            && value.ValueKind == JsonValueKind.String
                ? Shown(value)
                : null;
        return new ItemSummary(
            Text("job") ?? Text("uri"),
            Text("entity"),
            Text("project"),
            Text("name"),
            Text("author")
        );
    }

    /// <summary>A line of the list.</summary>
    internal static object Line(ItemRow item, QueueView? queue, IReadOnlyList<AgentView> agents)
    {
        var summary = Summary(item);
        return new
        {
            id = item.Id,
            queue = item.Queue,
            state = item.State,
            why = Why(item, queue, agents),
            source = summary.Source,
            entity = summary.Entity,
            project = summary.Project,
            name = summary.Name,
            author = summary.Author,
            run = item.Run,
            priority = item.Priority,
            agent = item.State == "PENDING" ? null : item.AgentName,
            engineId = item.EngineId,
            exitCode = item.ExitCode,
            createdAt = item.CreatedAt,
            claimedAt = item.ClaimedAt,
            finishedAt = item.FinishedAt,
            warnings = item.Warnings is null ? 0 : (ItemRepository.Json(item.Warnings) as JsonArray)?.Count ?? 0,
        };
    }

    /// <summary>Why it waits, or how it ended.</summary>
    internal static string Why(ItemRow item, QueueView? queue, IReadOnlyList<AgentView> agents)
    {
        var agent = agents.FirstOrDefault(a => a.Id == item.Agent);
        return item.State switch
        {
            "PENDING" when queue is { Paused: true } => "The queue is paused.",
            "PENDING" when queue is { Agents: 0 } => "No agent listens to this queue.",
            "PENDING" => "It waits until an agent is free.",
            "LEASED" => $"Given to {item.AgentName ?? "an agent"}, which has not said yet that it began.",
            "CLAIMED" when agent is null or { State: "Lost" } =>
                $"{item.AgentName ?? "Its agent"} began it, and has not been heard of lately.",
            "CLAIMED" when item.Reason is { Length: > 0 } reason => JsonLimits.Short(reason, LongestText),
            "CLAIMED" => $"Runs at {agent.Name} on {agent.Hostname}.",
            "FAILED" => Report(item.Error)
                ?? item.Reason
                ?? (item.ExitCode is { } code ? $"Exit code {Ids.Text(code)}." : "It failed before it began."),
            "STOPPED" => Report(item.Error) ?? item.Reason ?? "It was stopped.",
            "FINISHED" => item.ExitCode is { } code and not 0 ? $"Exit code {Ids.Text(code)}." : "",
            _ => Report(item.Error) ?? "",
        };
    }

    internal static string? Report(string? error) =>
        error is null ? null
        : ItemRepository.Json(error) is JsonObject map && map["message"]?.ToString() is { Length: > 0 } message
            ? JsonLimits.Short(message, LongestText)
        : JsonLimits.Short(error, LongestText);

    private static string? Shown(JsonElement value)
    {
        try
        {
            return JsonLimits.Short(value.GetString()!, LongestText);
        }
        catch (InvalidOperationException)
        {
            // Half of a surrogate pair.
            return null;
        }
    }
}
