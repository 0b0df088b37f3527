using System.Text.Json;
using System.Text.Json.Nodes;

namespace WandbLaunch.Foundation;

/// <summary>JSON as plain .NET values, and safe walks through answers.</summary>
internal static class JsonValues
{
    /// <summary>For texts that travel inside JSON once more: a quote is \" and not six characters.</summary>
    internal static readonly JsonWriterOptions PlainWriter = new()
    {
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    internal static JsonElement? At(this JsonElement element, params ReadOnlySpan<string> path)
    {
        foreach (var name in path)
        {
            if (element.ValueKind != JsonValueKind.Object || !element.TryGetProperty(name, out element))
            {
                return null;
            }
        }

        return element.ValueKind is JsonValueKind.Null or JsonValueKind.Undefined ? null : element;
    }

    internal static string? Text(this JsonElement element, params ReadOnlySpan<string> path) =>
        element.At(path) is { } found
            ? found.ValueKind == JsonValueKind.String
                ? JsonText.TextOf(found)
                : found.ToString()
            : null;

    internal static bool? Flag(this JsonElement element, params ReadOnlySpan<string> path) =>
        element.At(path) is { ValueKind: JsonValueKind.True or JsonValueKind.False } found ? found.GetBoolean() : null;

    internal static int? Number(this JsonElement element, params ReadOnlySpan<string> path) =>
        element.At(path) is { ValueKind: JsonValueKind.Number } found && found.TryGetInt32(out var value)
            ? value
            : null;

    internal static DateTimeOffset? Time(this JsonElement element, params ReadOnlySpan<string> path) =>
        element.Text(path) is { } text
        && DateTimeOffset.TryParse(
            text,
            System.Globalization.CultureInfo.InvariantCulture,
            System.Globalization.DateTimeStyles.AssumeUniversal,
            out var time
        )
            ? time
            : null;

    internal static IEnumerable<JsonElement> Items(this JsonElement element, params ReadOnlySpan<string> path) =>
        element.At(path) is { ValueKind: JsonValueKind.Array } found ? found.EnumerateArray().ToArray() : [];

    internal static object? ToPlain(JsonElement element) =>
        element.ValueKind switch
        {
            JsonValueKind.Object => ToMap(element),
            JsonValueKind.Array => element.EnumerateArray().Select(ToPlain).ToArray(),
            JsonValueKind.String => JsonText.TextOf(element),
            JsonValueKind.Number => element.TryGetInt64(out var whole) ? (object)whole : element.GetDouble(),
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => null,
        };

    internal static Dictionary<string, object?> ToMap(JsonObject map)
    {
        using var document = JsonDocument.Parse(map.ToJsonString());
        return ToMap(document.RootElement);
    }

    internal static Dictionary<string, object?> ToMap(JsonElement element)
    {
        var map = new Dictionary<string, object?>(StringComparer.Ordinal);
        foreach (var property in element.EnumerateObject())
        {
            map[JsonText.NameOf(property)] = ToPlain(property.Value);
        }

        return map;
    }

    /// <summary>Reads a JSONString field: a document inside a string (protocol A.5), or the document itself.</summary>
    internal static JsonElement? Document(this JsonElement element, params ReadOnlySpan<string> path)
    {
        if (element.At(path) is not { } found)
        {
            return null;
        }

        if (found.ValueKind != JsonValueKind.String)
        {
            return found;
        }

        try
        {
            using var document = JsonDocument.Parse(JsonText.TextOf(found));
            return document.RootElement.Clone();
        }
        catch (JsonException)
        {
            return null;
        }
    }
}
