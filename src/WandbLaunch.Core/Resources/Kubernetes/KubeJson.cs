using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace WandbLaunch.Resources;

/// <summary>Safe walks through objects of a cluster: whatever is not there, or is something else, is null.</summary>
internal static class KubeJson
{
    internal static JsonNode? At(this JsonNode? node, params ReadOnlySpan<string> path)
    {
        foreach (var name in path)
        {
            node = node is JsonObject map && map.TryGetPropertyValue(name, out var value) ? value : null;
        }

        return node;
    }

    internal static string? Str(this JsonNode? node, params ReadOnlySpan<string> path) =>
        node.At(path) is JsonValue value && value.GetValueKind() == JsonValueKind.String ? value.GetValue<string>()
        : node.At(path) is JsonValue other ? other.ToString()
        : null;

    internal static bool Is(this JsonNode? node, params ReadOnlySpan<string> path) =>
        node.At(path) is JsonValue value && value.GetValueKind() == JsonValueKind.True;

    internal static int? Int(this JsonNode? node, params ReadOnlySpan<string> path) =>
        node.At(path) is JsonValue value && int.TryParse(value.ToString(), CultureInfo.InvariantCulture, out var number)
            ? number
            : null;

    internal static DateTimeOffset? Time(this JsonNode? node, params ReadOnlySpan<string> path) =>
        DateTimeOffset.TryParse(
            node.Str(path),
            CultureInfo.InvariantCulture,
            DateTimeStyles.AssumeUniversal,
            out var time
        )
            ? time
            : null;

    internal static IEnumerable<JsonObject> Maps(this JsonNode? node, params ReadOnlySpan<string> path) =>
        node.At(path) is JsonArray list ? list.OfType<JsonObject>() : [];

    /// <summary>The map at a place, made where there is none.</summary>
    internal static JsonObject Map(this JsonObject map, params ReadOnlySpan<string> path)
    {
        foreach (var name in path)
        {
            if (map[name] is not JsonObject inner)
            {
                map[name] = inner = [];
            }

            map = inner;
        }

        return map;
    }

    /// <summary>Sets what is not set.</summary>
    internal static void Default(this JsonObject map, string name, JsonNode? value)
    {
        if (map[name] is null)
        {
            map[name] = value;
        }
    }

    /// <summary>Puts one map over another: maps are joined, all else is replaced.</summary>
    internal static void Lay(this JsonObject under, JsonObject over)
    {
        foreach (var (key, value) in over)
        {
            if (value is JsonObject map && under[key] is JsonObject below)
            {
                below.Lay(map);
            }
            else
            {
                under[key] = value?.DeepClone();
            }
        }
    }

    /// <summary>Every map in a tree, with the words that lead there.</summary>
    internal static IEnumerable<(string Path, JsonObject Map)> AllMaps(this JsonNode? node, string path = "")
    {
        switch (node)
        {
            case JsonObject map:
                yield return (path, map);
                foreach (var (key, value) in map)
                {
                    foreach (var inner in value.AllMaps(path.Length == 0 ? key : path + "." + key))
                    {
                        yield return inner;
                    }
                }

                break;
            case JsonArray list:
                for (var i = 0; i < list.Count; i++)
                {
                    foreach (var inner in list[i].AllMaps($"{path}[{i}]"))
                    {
                        yield return inner;
                    }
                }

                break;
            default:
                break;
        }
    }

    internal static JsonObject MapOf(IEnumerable<KeyValuePair<string, string>> values) =>
        new(values.Select(v => KeyValuePair.Create(v.Key, (JsonNode?)JsonValue.Create(v.Value))));
}
