using System.Collections;
using System.Text.Json.Nodes;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Completes a queue's template variables, and after the equals sign the values that the queue allows.</summary>
public sealed class TemplateVariableCompleter : NameValueCompleter
{
    private protected override IReadOnlyList<string> DependsOn =>
        ["Queue", "QueueEntity", "Entity", "QueueProject", "Project"];

    private protected override async Task<
        IReadOnlyList<(string Name, string Tip, IReadOnlyList<string> Values)>
    > KnownAsync(IDictionary bound, CancellationToken token)
    {
        var name = One(bound, "Queue") ?? QueueApi.DefaultQueue;
        return
            WandbSession.Current is { } server
            && (await QueueCompleter.QueuesAsync(bound, token)).FirstOrDefault(q => q.Name == name) is { } queue
            && await server.Queues.ConfigurationAsync(queue, token) is { } set
            ? [.. set.Variables.Select(v => Variable(v.Key, v.Value?["schema"] as JsonObject ?? []))]
            : [];
    }

    private static (string Name, string Tip, IReadOnlyList<string> Values) Variable(string name, JsonObject schema)
    {
        var first = ArgumentSet.Plain(schema["default"]) is { } plain ? ArgumentSet.Word(plain) : null;
        IEnumerable<string> allowed = schema["enum"] is JsonArray list
            ? list.Select(v => ArgumentSet.Word(ArgumentSet.Plain(v)))
            : new[] { first, schema["minimum"]?.ToString(), schema["maximum"]?.ToString() }.OfType<string>();
        string[] values = [.. allowed.Distinct(StringComparer.Ordinal)];
        var range =
            schema["minimum"] is { } low || schema["maximum"] is not null
                ? $" from {schema["minimum"]} to {schema["maximum"]}"
            : values.Length > 0 ? $": {string.Join(", ", values)}"
            : "";
        return (name, $"{schema["type"] ?? "value"}{range}{(first is null ? "" : $"; {first} by default")}", values);
    }
}
