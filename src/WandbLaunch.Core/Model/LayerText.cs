using System.Reflection;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace WandbLaunch.Model;

/// <summary>
/// Reads and writes a <see cref="LaunchConfig"/> or a section of it as the serializer does, with its names and converters, in
/// half the time: a stack of frames for each small document is most of what the serializer costs a list of ten thousand. It
/// takes what is as it should be. Anything else is a <see cref="JsonException"/> that says nothing, and is for the serializer
/// to name.
/// </summary>
internal static class LayerText<T>
    where T : class, new()
{
    private static readonly PropertyInfo[] Properties =
    [
        .. typeof(T).GetProperties(BindingFlags.Public | BindingFlags.Instance).Where(p => p.CanWrite),
    ];

    private static readonly Key[] Keys =
    [
        .. Properties
            .Where(p => !p.IsDefined(typeof(JsonExtensionDataAttribute)))
            .Select(p => (Key)Activator.CreateInstance(typeof(Key<>).MakeGenericType(typeof(T), p.PropertyType), p)!),
    ];

    private static readonly PropertyInfo Extra = Properties.Single(p =>
        p.IsDefined(typeof(JsonExtensionDataAttribute))
    );

    private static readonly Func<T, Dictionary<string, JsonElement>?> GetExtra = Extra.GetMethod!.CreateDelegate<
        Func<T, Dictionary<string, JsonElement>?>
    >();

    private static readonly Action<T, Dictionary<string, JsonElement>?> SetExtra = Extra.SetMethod!.CreateDelegate<
        Action<T, Dictionary<string, JsonElement>?>
    >();

    /// <summary>Reads an object at whose beginning the reader is, to its end.</summary>
    /// <exception cref="JsonException">It is none, or a value is not of the kind of its key.</exception>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static T Read(ref Utf8JsonReader reader)
    {
        if (reader.TokenType != JsonTokenType.StartObject)
        {
            throw new JsonException();
        }

        var made = new T();
        Dictionary<string, JsonElement>? extra = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            if (Find(ref reader) is { } key)
            {
                reader.Read();
                key.Read(ref reader, made);
            }
            else
            {
                var name = reader.GetString()!;
                reader.Read();
                (extra ??= [])[name] = JsonElement.ParseValue(ref reader);
            }
        }

        if (extra is not null)
        {
            SetExtra(made, extra);
        }

        return made;
    }

    /// <summary>Writes what is set, in the order of the properties, and then what nobody knows.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Write(Utf8JsonWriter writer, T value)
    {
        writer.WriteStartObject();
        foreach (var key in Keys)
        {
            key.Write(writer, value);
        }

        foreach (var (name, element) in GetExtra(value) ?? [])
        {
            writer.WritePropertyName(name);
            element.WriteTo(writer);
        }

        writer.WriteEndObject();
    }

    private static Key? Find(ref Utf8JsonReader reader)
    {
        foreach (var key in Keys)
        {
            if (reader.ValueTextEquals(key.Name.EncodedUtf8Bytes))
            {
                return key;
            }
        }

        return null;
    }

    private abstract class Key(PropertyInfo property)
    {
        internal JsonEncodedText Name { get; } =
            JsonEncodedText.Encode(
                property.GetCustomAttribute<JsonPropertyNameAttribute>()?.Name
                    ?? JsonNamingPolicy.SnakeCaseLower.ConvertName(property.Name)
            );

        internal abstract void Read(ref Utf8JsonReader reader, T into);
        internal abstract void Write(Utf8JsonWriter writer, T from);
    }

    private sealed class Key<TValue>(PropertyInfo property) : Key(property)
    {
        private static readonly JsonSerializerOptions Options = LaunchConfigJson.Strict.Options;

        private readonly Func<T, TValue?> _get = property.GetMethod!.CreateDelegate<Func<T, TValue?>>();
        private readonly Action<T, TValue?> _set = property.SetMethod!.CreateDelegate<Action<T, TValue?>>();

        private readonly JsonConverter<TValue> _converter =
            Options.GetTypeInfo(typeof(TValue)).Kind == JsonTypeInfoKind.Object
                ? (JsonConverter<TValue>)Activator.CreateInstance(typeof(Section<>).MakeGenericType(typeof(TValue)))!
                : (JsonConverter<TValue>)Options.GetConverter(typeof(TValue));

        internal override void Read(ref Utf8JsonReader reader, T into) =>
            _set(
                into,
                reader.TokenType == JsonTokenType.Null ? default : _converter.Read(ref reader, typeof(TValue), Options)
            );

        internal override void Write(Utf8JsonWriter writer, T from)
        {
            if (_get(from) is { } value)
            {
                writer.WritePropertyName(Name);
                _converter.Write(writer, value, Options);
            }
        }
    }
}

/// <summary>A section, as a value of the config that it is in.</summary>
internal sealed class Section<T> : JsonConverter<T>
    where T : class, new()
{
    public override T Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        LayerText<T>.Read(ref reader);

    public override void Write(Utf8JsonWriter writer, T value, JsonSerializerOptions options) =>
        LayerText<T>.Write(writer, value);
}
