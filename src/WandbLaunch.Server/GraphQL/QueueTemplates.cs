using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace WandbLaunch.Server;

/// <summary>What a queue's configuration makes of an item at its push: resource, resource_args, template variables (protocol B.2).</summary>
internal static partial class QueueTemplates
{
    internal static string Fill(Row queue, string spec, string? variables)
    {
        var map = Map("runSpec", spec);

        if (queue["resource"] is not string resource)
        {
            return variables is { Length: > 2 }
                ? throw new ServerFault($"The queue \"{queue["name"]}\" has no template variables.")
                : spec;
        }

        var schemas = JsonNode.Parse(queue["templateVariables"] as string ?? "{}")!.AsObject();
        var given = Map("templateVariableValues", variables ?? "{}");
        if (given.FirstOrDefault(g => !schemas.ContainsKey(g.Key)) is { Key: not null } unknown)
        {
            throw new ServerFault(
                $"The queue \"{queue["name"]}\" has no template variable \"{JsonLimits.Short(unknown.Key)}\"; it has: {string.Join(", ", schemas.Select(s => s.Key))}."
            );
        }

        var config = JsonNode.Parse(queue["resourceConfig"] as string ?? "{}")!.AsObject();
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

    private static JsonObject Map(string what, string text)
    {
        if (JsonLimits.ObjectFault(what, text) is { } fault)
        {
            throw new ServerFault(fault);
        }

        return JsonNode.Parse(text)!.AsObject();
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
