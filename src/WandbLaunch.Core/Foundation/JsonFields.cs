using System.Globalization;
using System.Text;
using System.Text.Json;

namespace WandbLaunch.Foundation;

/// <summary>
/// Reads and writes the few records that every launch touches, property by property. The serializer makes the same text,
/// but what it is made of is compiled anew in each process: half of all that a launch compiles.
/// </summary>
internal static class JsonFields
{
    private static readonly JsonWriterOptions Indented = new() { Indented = true };

    /// <summary>An object as an indented text.</summary>
    internal static string Write(Action<Utf8JsonWriter> properties)
    {
        using var bytes = new MemoryStream();
        using (var writer = new Utf8JsonWriter(bytes, Indented))
        {
            writer.WriteStartObject();
            properties(writer);
            writer.WriteEndObject();
        }

        return Encoding.UTF8.GetString(bytes.GetBuffer(), 0, (int)bytes.Length);
    }

    /// <summary>Writes a text that is there.</summary>
    internal static void Text(this Utf8JsonWriter writer, string name, string? value)
    {
        if (value is not null)
        {
            writer.WriteString(name, value);
        }
    }

    /// <summary>Writes a number that is there.</summary>
    internal static void Number(this Utf8JsonWriter writer, string name, long? value)
    {
        if (value is { } number)
        {
            writer.WriteNumber(name, number);
        }
    }

    /// <summary>Writes a time that is there.</summary>
    internal static void Time(this Utf8JsonWriter writer, string name, DateTimeOffset? value)
    {
        if (value is { } time)
        {
            writer.WriteString(name, time);
        }
    }

    /// <summary>Writes a span of time that is there.</summary>
    internal static void Span(this Utf8JsonWriter writer, string name, TimeSpan? value)
    {
        if (value is { } span)
        {
            writer.WriteString(name, span.ToString("c", CultureInfo.InvariantCulture));
        }
    }

    /// <summary>Writes a list of texts.</summary>
    internal static void Texts(this Utf8JsonWriter writer, string name, IReadOnlyList<string> values)
    {
        writer.WriteStartArray(name);
        for (var i = 0; i < values.Count; i++)
        {
            writer.WriteStringValue(values[i]);
        }

        writer.WriteEndArray();
    }

    /// <summary>Reads an object; what has another form than it should is a <see cref="JsonException"/>.</summary>
    internal static T Read<T>(string text, Func<Fields, T> properties)
        where T : class
    {
        using var document = JsonDocument.Parse(text);
        try
        {
            return properties(new Fields(document.RootElement));
        }
        catch (Exception e) when (e is InvalidOperationException or FormatException)
        {
            throw new JsonException(e.Message, e);
        }
    }

    /// <summary>The properties of an object of ours: each is there in its own form, or not at all.</summary>
    /// <param name="Element">The object.</param>
    internal readonly record struct Fields(JsonElement Element)
    {
        /// <summary>A text that must be there.</summary>
        internal string NeededText(string name) => Text(name) ?? throw new JsonException($"There is no '{name}'.");

        /// <summary>A text, or null.</summary>
        internal string? Text(string name) => Element.TryGetProperty(name, out var value) ? value.GetString() : null;

        /// <summary>True where it says so.</summary>
        internal bool Flag(string name) =>
            Element.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null && value.GetBoolean();

        /// <summary>A number, or null.</summary>
        internal int? Number(string name) =>
            Element.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null
                ? value.GetInt32()
                : null;

        /// <summary>A large number, or null.</summary>
        internal long? LargeNumber(string name) =>
            Element.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null
                ? value.GetInt64()
                : null;

        /// <summary>A time, or null.</summary>
        internal DateTimeOffset? Time(string name) =>
            Element.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null
                ? value.GetDateTimeOffset()
                : null;

        /// <summary>A span of time, or null.</summary>
        internal TimeSpan? Span(string name) =>
            Text(name) is { } text ? TimeSpan.ParseExact(text, "c", CultureInfo.InvariantCulture) : null;

        /// <summary>The properties of an object in it, or null.</summary>
        internal Fields? Object(string name) =>
            Element.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null
                ? new Fields(value)
                : null;

        /// <summary>A list of texts, empty where there is none.</summary>
        internal IReadOnlyList<string> Texts(string name)
        {
            if (!Element.TryGetProperty(name, out var value) || value.ValueKind == JsonValueKind.Null)
            {
                return [];
            }

            var texts = new string[value.GetArrayLength()];
            for (var i = 0; i < texts.Length; i++)
            {
                texts[i] = value[i].GetString()!;
            }

            return texts;
        }
    }
}
