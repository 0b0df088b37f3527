using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace WandbLaunch.Server.Data;

/// <summary>What a queue's configuration makes of an item at its push: resource, resource_args, template variables (protocol B.2).</summary>
internal static partial class QueueTemplates
{
    /// <summary>The item's text as it is queued. What is given was looked at before; null where the queue adds nothing.</summary>
    /// <exception cref="ServerFault">It does not fit the queue.</exception>
    internal static string? Fill(QueueRecord queue, ReadOnlySpan<byte> spec, ReadOnlySpan<byte> variables)
    {
        // Looked at already, so that it is an object when it begins as one.
        if (spec is not [(byte)'{', ..])
        {
            throw new ServerFault("runSpec must be a JSON object.");
        }

        if (queue.Resource is not { } resource)
        {
            return variables.Length > 2
                ? throw new ServerFault($"The queue \"{queue.Name}\" has no template variables.")
                : null;
        }

        var map = JsonNode.Parse(spec)!.AsObject();
        var schemas = JsonNode.Parse(queue.TemplateVariables ?? "{}")!.AsObject();
        var given =
            variables.Length == 0 ? []
            : variables is [(byte)'{', ..] ? JsonNode.Parse(variables)!.AsObject()
            : throw new ServerFault("templateVariableValues must be a JSON object.");
        if (given.FirstOrDefault(g => !schemas.ContainsKey(g.Key)) is { Key: not null } unknown)
        {
            throw new ServerFault(
                $"The queue \"{queue.Name}\" has no template variable \"{JsonLimits.Short(unknown.Key)}\"; it has: {string.Join(", ", schemas.Select(s => s.Key))}."
            );
        }

        var config = JsonNode.Parse(queue.ResourceConfig ?? "{}")!.AsObject();
        map["resource"] = resource;
        if (map["resource_args"] is not JsonObject { Count: > 0 } && config["resource_args"] is JsonObject arguments)
        {
            var values = schemas.ToDictionary(
                s => s.Key,
                s => Value(s.Key, s.Value, given[s.Key]),
                StringComparer.Ordinal
            );
            map["resource_args"] = Replace(arguments, values);
        }

        // With what the queue adds it must still be what every reader takes.
        var filled = map.ToJsonString();
        return JsonLimits.Fault("The item with the queue's configuration", filled) is { } fault
            ? throw new ServerFault(fault)
            : filled;
    }

    private static JsonNode? Value(string name, JsonNode? variable, JsonNode? given)
    {
        var schema = variable?["schema"] as JsonObject ?? [];
        var value =
            given
            ?? schema["default"]
            ?? throw new ServerFault($"The template variable \"{name}\" has no value and no default.");
        var type = schema["type"]?.ToString() ?? "string";
        var number = double.NaN;
        var fits = type switch
        {
            "integer" => value.GetValueKind() == JsonValueKind.Number
                && double.TryParse(value.ToString(), NumberStyles.Float, CultureInfo.InvariantCulture, out number)
                && Math.Floor(number) == number,
            "number" => value.GetValueKind() == JsonValueKind.Number
                && double.TryParse(value.ToString(), NumberStyles.Float, CultureInfo.InvariantCulture, out number),
            _ => value.GetValueKind() == JsonValueKind.String,
        };
        if (!fits)
        {
            throw new ServerFault(
                $"The template variable \"{name}\" must be of type {type}, not {JsonLimits.Short(value.ToJsonString())}."
            );
        }

        double? Limit(string key) =>
            schema[key] is { } limit ? double.Parse(limit.ToString(), CultureInfo.InvariantCulture) : null;
        if (
            Limit("minimum") is { } low && number < low
            || Limit("maximum") is { } high && number > high
            || schema["enum"] is JsonArray allowed && !allowed.Any(a => a?.ToJsonString() == value.ToJsonString())
        )
        {
            throw new ServerFault(
                $"The template variable \"{name}\" may not be {JsonLimits.Short(value.ToJsonString())}: its schema is {JsonLimits.Short(schema.ToJsonString(), 300)}."
            );
        }

        return value;
    }

    private static JsonNode? Replace(JsonNode? node, Dictionary<string, JsonNode?> values)
    {
        switch (node)
        {
            case JsonObject map:
                return new JsonObject(map.Select(p => KeyValuePair.Create(p.Key, Replace(p.Value, values))));
            case JsonArray list:
                return new JsonArray([.. list.Select(v => Replace(v, values))]);
            case JsonValue value when value.GetValueKind() == JsonValueKind.String:
                var text = value.ToString();

                // A text that is nothing but a variable takes the value with its type.
                if (
                    Variable().Match(text) is { Success: true } whole
                    && whole.Length == text.Length
                    && values.TryGetValue(whole.Groups[1].Value, out var found)
                )
                {
                    return found?.DeepClone();
                }

                return JsonValue.Create(
                    Variable()
                        .Replace(
                            text,
                            m => values.TryGetValue(m.Groups[1].Value, out var v) ? v?.ToString() ?? "" : m.Value
                        )
                );
            default:
                return node?.DeepClone();
        }
    }

    [GeneratedRegex(@"\{\{\s*([A-Za-z0-9_-]+)\s*\}\}")]
    private static partial Regex Variable();
}
