using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace WandbLaunch.Foundation;

/// <summary>
/// JSON from outside, read whole at once. <see cref="JsonNode.Parse(string, JsonNodeOptions?, JsonDocumentOptions)"/>
/// reads objects when they are first touched and throws ArgumentException there for a key that stands twice, and
/// InvalidOperationException for half a surrogate: far from where anybody expects it.
/// </summary>
internal static class JsonText
{
    private static readonly JsonDocumentOptions Relaxed = new()
    {
        CommentHandling = JsonCommentHandling.Skip,
        AllowTrailingCommas = true,
    };

    /// <summary>Reads what somebody hands in: comments are allowed, a key that stands twice is not.</summary>
    /// <param name="text">The document.</param>
    /// <param name="where">Names the document in the error.</param>
    /// <param name="errorId">Id of the error.</param>
    /// <param name="maxDepth">Levels of maps and lists.</param>
    /// <exception cref="LaunchException">It is no JSON, has a key twice, or is too much.</exception>
    internal static JsonNode? Read(
        string text,
        string where,
        string errorId = "JsonInvalid",
        int maxDepth = DocumentLimits.Document.Levels
    )
    {
        var limits = new TreeLimits(where, errorId, maxDepth);
        limits.CheckLength(text.Length);
        try
        {
            // Not disposed: the numbers of the tree are pieces of it.
            var document = JsonDocument.Parse(Bytes(text), Relaxed);
            return Build(document.RootElement, limits, 0, null);
        }
        catch (JsonException e)
        {
            throw limits.Fault(e.Message, e);
        }
    }

    /// <summary>Why <see cref="Read"/> would refuse this text; null where it would not.</summary>
    internal static string? Fault(string text, int maxDepth = DocumentLimits.Document.Levels)
    {
        try
        {
            Read(text, "The document", maxDepth: maxDepth);
            return null;
        }
        catch (LaunchException e)
        {
            return e.Message;
        }
    }

    /// <summary>Reads what was stored before, or what a server answers: of a key that stands twice the last one counts, as in Python.</summary>
    /// <exception cref="JsonException">It is no JSON.</exception>
    internal static JsonNode? Tolerant(string text) => Tolerant(JsonDocument.Parse(Bytes(text)).RootElement);

    // Half of a surrogate pair becomes U+FFFD, as in a file; JsonDocument throws ArgumentException for it.
    private static byte[] Bytes(string text) => Encoding.UTF8.GetBytes(text);

    /// <summary>A tree of its own from a piece of an answer; of a key that stands twice the last one counts.</summary>
    internal static JsonNode? Tolerant(JsonElement element) => Build(element, null, 0, null);

    /// <summary>As <see cref="Tolerant(string)"/>; null for what is no object or no JSON.</summary>
    internal static JsonObject? TolerantObject(string? text)
    {
        try
        {
            return text is null ? null : Tolerant(text) as JsonObject;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    /// <summary>A text; one with half of a surrogate pair as it is written.</summary>
    internal static string TextOf(JsonElement element) => Text(element, null);

    /// <summary>The name of a property, in the same way.</summary>
    internal static string NameOf(JsonProperty property) => Name(property, null);

    // Not deeper than the document's reader allows.
    private static JsonNode? Build(JsonElement element, TreeLimits? limits, int depth, string? key)
    {
        switch (element.ValueKind)
        {
            case JsonValueKind.Object:
                limits?.Add(depth + 1);
                var map = new JsonObject();
                foreach (var property in element.EnumerateObject())
                {
                    var name = Name(property, limits);
                    if (limits is not null && map.ContainsKey(name))
                    {
                        throw limits.Fault(
                            $"the key '{Short(name)}'{(key is null ? "" : $" in '{Short(key)}'")} stands there twice, and it is not clear which is meant"
                        );
                    }

                    map[name] = Build(property.Value, limits, depth + 1, name);
                }

                return map;
            case JsonValueKind.Array:
                limits?.Add(depth + 1);
                var list = new JsonArray();
                foreach (var item in element.EnumerateArray())
                {
                    list.Add(Build(item, limits, depth + 1, key));
                }

                return list;
            case JsonValueKind.String:
                limits?.Add(depth);
                return JsonValue.Create(Text(element, limits));
            case JsonValueKind.True:
                limits?.Add(depth);
                return JsonValue.Create(true);
            case JsonValueKind.False:
                limits?.Add(depth);
                return JsonValue.Create(false);
            case JsonValueKind.Number:
                limits?.Add(depth);
                // The digits stay as they are written.
                return JsonValue.Create(element.Clone());
            default:
                limits?.Add(depth);
                return null;
        }
    }

    private static string Name(JsonProperty property, TreeLimits? limits)
    {
        try
        {
            return property.Name;
        }
        catch (InvalidOperationException e)
        {
            var written = property.ToString();
            return limits is null
                ? written[1..Math.Max(1, written.IndexOf("\":", StringComparison.Ordinal))]
                : throw limits.Fault("a key holds half of a surrogate pair (\\ud800 to \\udfff)", e);
        }
    }

    private static string Text(JsonElement element, TreeLimits? limits)
    {
        try
        {
            return element.GetString()!;
        }
        catch (InvalidOperationException e)
        {
            return limits is null
                ? element.GetRawText().Trim('"')
                : throw limits.Fault("a text holds half of a surrogate pair (\\ud800 to \\udfff)", e);
        }
    }

    private static string Short(string text) => text.Length > 60 ? text[..60] + "…" : text;
}
