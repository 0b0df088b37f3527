using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using WandbLaunch.Foundation;

namespace WandbLaunch.Model;

/// <summary>The kinds of values that a launch config has, each read as W&amp;B's clients write it.</summary>
internal static class LaunchConfigValues
{
    /// <summary>Says of what kind a value has to be; whoever catches it knows the key.</summary>
    internal sealed class WrongKind(string wanted, string? found) : JsonException(wanted)
    {
        internal string? Found => found;
    }

    // W&B's own readers are Python: a number is taken where a text is asked for, and a text that is a number for a number.
    internal abstract class Value<T>(bool lenient, string wanted) : JsonConverter<T>
    {
        private protected virtual bool IsSecret => false;

        public sealed override T? Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
        {
            if (reader.TokenType is JsonTokenType.StartObject or JsonTokenType.StartArray)
            {
                var start = reader;
                if (TryReadMany(ref reader, out var many))
                {
                    return many;
                }

                reader = start;
                return Wrong(JsonNode.Parse(ref reader)?.ToJsonString());
            }

            return TryReadOne(ref reader, Scalar(ref reader), out var one) ? one : Wrong(Scalar(ref reader));
        }

        private T? Wrong(string? found) => lenient ? default : throw new WrongKind(wanted, IsSecret ? null : found);

        private protected virtual bool TryReadMany(ref Utf8JsonReader reader, out T? value)
        {
            value = default;
            return false;
        }

        private protected abstract bool TryReadOne(ref Utf8JsonReader reader, string text, out T? value);

        private static string Scalar(ref Utf8JsonReader reader) =>
            reader.TokenType switch
            {
                JsonTokenType.String => reader.GetString()!,
                JsonTokenType.True => "true",
                JsonTokenType.False => "false",
                _ => Encoding.UTF8.GetString(reader.ValueSpan),
            };
    }

    internal sealed class Text(bool lenient) : Value<string>(lenient, "a string")
    {
        private protected override bool TryReadOne(ref Utf8JsonReader reader, string text, out string? value)
        {
            value = text.Length > 0 ? text : null;
            return true;
        }

        public override void Write(Utf8JsonWriter writer, string value, JsonSerializerOptions options) =>
            writer.WriteStringValue(value);
    }

    internal sealed class Secret(bool lenient) : Value<SecretText>(lenient, "a string")
    {
        private protected override bool IsSecret => true;

        private protected override bool TryReadOne(ref Utf8JsonReader reader, string text, out SecretText? value)
        {
            value = text.Length > 0 ? new SecretText(text) : null;
            return true;
        }

        public override void Write(Utf8JsonWriter writer, SecretText value, JsonSerializerOptions options) =>
            writer.WriteStringValue(value.Value);
    }

    internal sealed class Number(bool lenient) : Value<int?>(lenient, "a whole number of 0 or more")
    {
        private protected override bool TryReadOne(ref Utf8JsonReader reader, string text, out int? value)
        {
            value = int.TryParse(text, NumberStyles.Integer, CultureInfo.InvariantCulture, out var number)
                ? number
                : null;
            return value >= 0;
        }

        public override void Write(Utf8JsonWriter writer, int? value, JsonSerializerOptions options) =>
            writer.WriteNumberValue(value!.Value);
    }

    internal sealed class Flag(bool lenient) : Value<bool?>(lenient, "true or false")
    {
        private protected override bool TryReadOne(ref Utf8JsonReader reader, string text, out bool? value)
        {
            value = bool.TryParse(text, out var flag) ? flag : null;
            return value is not null;
        }

        public override void Write(Utf8JsonWriter writer, bool? value, JsonSerializerOptions options) =>
            writer.WriteBooleanValue(value!.Value);
    }

    internal sealed class Span(bool lenient) : Value<TimeSpan?>(lenient, SpanText.Forms)
    {
        private protected override bool TryReadOne(ref Utf8JsonReader reader, string text, out TimeSpan? value)
        {
            value = SpanText.TryParse(text, out var span) ? span : null;
            return value is not null;
        }

        public override void Write(Utf8JsonWriter writer, TimeSpan? value, JsonSerializerOptions options) =>
            writer.WriteStringValue(SpanText.Show(value!.Value));
    }

    internal sealed class Words(bool lenient) : Value<IReadOnlyList<string>>(lenient, "a list of strings")
    {
        private protected override bool TryReadMany(ref Utf8JsonReader reader, out IReadOnlyList<string>? value)
        {
            value = null;
            if (reader.TokenType != JsonTokenType.StartArray)
            {
                return false;
            }

            var words = new List<string>();
            while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
            {
                words.Add(
                    reader.TokenType == JsonTokenType.String
                        ? reader.GetString()!
                        : JsonNode.Parse(ref reader)?.ToString() ?? ""
                );
            }

            value = words;
            return true;
        }

        private protected override bool TryReadOne(
            ref Utf8JsonReader reader,
            string text,
            out IReadOnlyList<string>? value
        )
        {
            value = CommandLine.Split(text);
            return true;
        }

        public override void Write(Utf8JsonWriter writer, IReadOnlyList<string> value, JsonSerializerOptions options)
        {
            writer.WriteStartArray();
            for (var i = 0; i < value.Count; i++)
            {
                writer.WriteStringValue(value[i]);
            }

            writer.WriteEndArray();
        }
    }

    internal sealed class Map(bool lenient) : Value<JsonObject>(lenient, "an object")
    {
        private protected override bool TryReadMany(ref Utf8JsonReader reader, out JsonObject? value)
        {
            value =
                reader.TokenType == JsonTokenType.StartObject
                && JsonNode.Parse(ref reader) is JsonObject { Count: > 0 } map
                    ? map
                    : null;
            return reader.TokenType != JsonTokenType.StartArray;
        }

        private protected override bool TryReadOne(ref Utf8JsonReader reader, string text, out JsonObject? value)
        {
            value = null;
            return false;
        }

        public override void Write(Utf8JsonWriter writer, JsonObject value, JsonSerializerOptions options) =>
            value.WriteTo(writer);
    }

    internal sealed class List(bool lenient) : Value<JsonArray>(lenient, "a list")
    {
        private protected override bool TryReadMany(ref Utf8JsonReader reader, out JsonArray? value)
        {
            value =
                reader.TokenType == JsonTokenType.StartArray
                && JsonNode.Parse(ref reader) is JsonArray { Count: > 0 } list
                    ? list
                    : null;
            return reader.TokenType != JsonTokenType.StartObject;
        }

        private protected override bool TryReadOne(ref Utf8JsonReader reader, string text, out JsonArray? value)
        {
            value = null;
            return false;
        }

        public override void Write(Utf8JsonWriter writer, JsonArray value, JsonSerializerOptions options) =>
            value.WriteTo(writer);
    }

    internal sealed class Arguments(bool lenient) : JsonConverter<ArgumentSet>
    {
        public override ArgumentSet? Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
        {
            try
            {
                return ArgumentSet.Read(ref reader);
            }
            catch (LaunchException) when (lenient)
            {
                return null;
            }
        }

        public override void Write(Utf8JsonWriter writer, ArgumentSet value, JsonSerializerOptions options) =>
            value.Write(writer);
    }
}
