using System.Text.Json.Nodes;
using System.Text.RegularExpressions;

namespace WandbLaunch.Resources;

/// <summary>Names in braces in a manifest, and what stands for them. One that is not known stays as it is written.</summary>
/// <param name="Values">By name.</param>
internal sealed partial record KubeMacros(IReadOnlyDictionary<string, string> Values)
{
    internal const string Image = "image_uri";

    /// <summary>A copy, filled in.</summary>
    internal JsonObject Fill(JsonObject manifest) => (JsonObject)Fill((JsonNode)manifest)!;

    /// <summary>True where a text names the image: then the manifest itself says which containers have it.</summary>
    internal static bool NamesImage(JsonNode? node) =>
        node switch
        {
            JsonObject map => map.Any(p => NamesImage(p.Value)),
            JsonArray list => list.Any(NamesImage),
            JsonValue value when value.TryGetValue<string>(out var text) => text.Contains(
                $"${{{Image}}}",
                StringComparison.Ordinal
            ),
            _ => false,
        };

    private JsonNode? Fill(JsonNode? node) =>
        node switch
        {
            JsonObject map => new JsonObject(map.Select(p => KeyValuePair.Create(p.Key, Fill(p.Value)))),
            JsonArray list => new JsonArray([.. list.Select(Fill)]),
            JsonValue value when value.TryGetValue<string>(out var text) => JsonValue.Create(Fill(text)),
            _ => node?.DeepClone(),
        };

    internal string Fill(string text) =>
        text.Contains("${", StringComparison.Ordinal)
            ? Name().Replace(text, m => Values.TryGetValue(m.Groups[1].Value, out var value) ? value : m.Value)
            : text;

    [GeneratedRegex(@"\$\{(\w+)\}")]
    private static partial Regex Name();
}
