using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;

namespace WandbLaunch.Model;

/// <summary>
/// The text of an item as a tree that is whole: every key and value was looked at once, here, so that no later look can
/// throw. System.Text.Json's own trees are made at their first use, and throw then: in a log line, or in the loop.
/// </summary>
internal static class ItemSpec
{
    /// <summary>Characters of an item's text.</summary>
    internal const int MostCharacters = DocumentLimits.TakenItem.Characters;

    private const int MostLevels = DocumentLimits.TakenItem.Levels;

    private const int MostNodes = DocumentLimits.TakenItem.Values;

    private static readonly JsonDocumentOptions Deep = new() { MaxDepth = DocumentLimits.AnyLevels };

    /// <summary>Reads a document, or a document inside a string. What cannot be read is an empty spec with the reason.</summary>
    internal static (JsonObject Spec, string? Fault) Read(JsonElement? given)
    {
        try
        {
            if (given is not { } element)
            {
                return ([], "it has no launch config");
            }

            if (element.ValueKind != JsonValueKind.String)
            {
                return Read(element);
            }

            // Its length in the answer is never less than that of the text.
            var text = element.GetRawText().Length > 6 * MostCharacters ? null : element.GetString()!;
            return text is null || text.Length > MostCharacters ? ([], TooLong) : Read(text);
        }
        catch (Exception e) when (e is InvalidOperationException or JsonException)
        {
            return ([], "its text is not valid Unicode");
        }
    }

    internal static (JsonObject Spec, string? Fault) Read(string text)
    {
        try
        {
            using var document = JsonDocument.Parse(text, Deep);
            return Read(document.RootElement);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or ArgumentException)
        {
            // Without the text of the reader's message: it may quote the item.
            return ([], "it is not JSON");
        }
    }

    private static (JsonObject Spec, string? Fault) Read(JsonElement element)
    {
        if (element.ValueKind != JsonValueKind.Object)
        {
            return ([], $"it must be an object, not {Name(element.ValueKind)}");
        }

        if (element.GetRawText().Length > MostCharacters)
        {
            return ([], TooLong);
        }

        try
        {
            var left = MostNodes;
            return ((JsonObject)Whole(element, "", 1, ref left)!, null);
        }
        catch (ItemFault e)
        {
            return ([], e.Message);
        }
    }

    private const string TooLong = "it is longer than 4 MiB";

    private static JsonNode? Whole(JsonElement element, string path, int level, ref int left)
    {
        if (level > MostLevels)
        {
            throw new ItemFault($"it is nested deeper than {MostLevels} levels");
        }

        if (--left < 0)
        {
            throw new ItemFault($"it has more than {MostNodes} values");
        }

        switch (element.ValueKind)
        {
            case JsonValueKind.Object:
                var map = new JsonObject();
                foreach (var property in element.EnumerateObject())
                {
                    var name = TextOf(property, path);
                    if (map.ContainsKey(name))
                    {
                        throw new ItemFault($"it has the key '{Short(path + name)}' twice");
                    }

                    map.Add(name, Whole(property.Value, path + name + ".", level + 1, ref left));
                }

                return map;
            case JsonValueKind.Array:
                var list = new JsonArray();
                foreach (var value in element.EnumerateArray())
                {
                    list.Add(Whole(value, path, level + 1, ref left));
                }

                return list;
            case JsonValueKind.String:
                return JsonValue.Create(TextOf(element, path));
            case JsonValueKind.True or JsonValueKind.False:
                return JsonValue.Create(element.GetBoolean());
            case JsonValueKind.Number:
                // Kept as it is written: 1e999 and 20 digits are the program's to judge.
                return JsonValue.Create(element.Clone());
            default:
                return null;
        }
    }

    private static string TextOf(JsonProperty property, string path)
    {
        try
        {
            return property.Name;
        }
        catch (InvalidOperationException)
        {
            throw new ItemFault($"a key under '{Short(path)}' is not valid Unicode");
        }
    }

    private static string TextOf(JsonElement element, string path)
    {
        try
        {
            return element.GetString()!;
        }
        catch (InvalidOperationException)
        {
            throw new ItemFault($"the value of '{Short(path.TrimEnd('.'))}' is not valid Unicode");
        }
    }

    /// <summary>A text of an item for one line of a log or a terminal: no control characters, and an end.</summary>
    internal static string Shown(string text, int most)
    {
        if (text.Length > most)
        {
            // Who quotes a long text says what is wrong with it at the end.
            text = string.Concat(text.AsSpan(0, most * 3 / 4), "…", text.AsSpan(text.Length - (most / 4)));
        }

        return text.Any(IsUnseen) ? string.Concat(text.Select(c => IsUnseen(c) ? '\ufffd' : c)) : text;
    }

    // Escape sequences are orders to a terminal; a direction mark makes a text read as another one.
    private static bool IsUnseen(char c) =>
        (char.IsControl(c) && c is not ('\n' or '\t'))
        || c is '\u2028' or '\u2029' or (>= '\u202a' and <= '\u202e') or (>= '\u2066' and <= '\u2069');

    private static string Short(string path) => Shown(path, 80);

    private static string Name(JsonValueKind kind) =>
        kind switch
        {
            JsonValueKind.Array => "a list",
            JsonValueKind.String => "a string",
            JsonValueKind.Number => "a number",
            JsonValueKind.Null or JsonValueKind.Undefined => "null",
            _ => "true or false",
        };

    private sealed class ItemFault(string message) : Exception(message);
}
