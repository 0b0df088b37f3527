using System.Buffers;
using System.Collections;
using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;

namespace WandbLaunch.Model;

/// <summary>
/// Overrides of a program's arguments, in the forms of protocol C: a list of words, <c>name=value</c> pairs, or a map.
/// </summary>
internal sealed class ArgumentSet : ILayer<ArgumentSet>
{
    private ArgumentSet(IReadOnlyList<string>? words, IReadOnlyList<KeyValuePair<string, object?>>? pairs)
    {
        Words = words;
        Pairs = pairs;
    }

    /// <summary>The list form, or null.</summary>
    internal IReadOnlyList<string>? Words { get; }

    /// <summary>The map form, or null. A null value is a bare flag.</summary>
    internal IReadOnlyList<KeyValuePair<string, object?>>? Pairs { get; }

    internal bool IsEmpty => (Words?.Count ?? 0) == 0 && (Pairs?.Count ?? 0) == 0;

    internal static ArgumentSet FromWords(IEnumerable<string> words) => new([.. words], null);

    internal static ArgumentSet FromPairs(IEnumerable<KeyValuePair<string, object?>> pairs) => new(null, [.. pairs]);

    /// <summary>Reads one of the forms.</summary>
    /// <exception cref="LaunchException"><c>ArgumentsInvalid</c>.</exception>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static ArgumentSet? Read(ref Utf8JsonReader reader)
    {
        switch (reader.TokenType)
        {
            case JsonTokenType.Null:
                return null;
            case JsonTokenType.String:
                return FromWords([reader.GetString()!]);
            case JsonTokenType.StartArray:
                var words = new List<string>();
                while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
                {
                    words.Add(
                        reader.TokenType == JsonTokenType.String
                            ? reader.GetString()!
                            : Word(Plain(JsonNode.Parse(ref reader)))
                    );
                }

                return new ArgumentSet(words, null);
            case JsonTokenType.StartObject:
                var map = (JsonObject)JsonNode.Parse(ref reader)!;
                return FromPairs(map.Select(p => new KeyValuePair<string, object?>(p.Key, Plain(p.Value))));
            default:
                throw new LaunchException(
                    "ArgumentsInvalid",
                    LaunchErrorCategory.InvalidData,
                    "overrides.args must be a list of strings or a map of names to values.",
                    JsonNode.Parse(ref reader)?.ToJsonString()
                );
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal void Write(Utf8JsonWriter writer)
    {
        if (Words is not null)
        {
            writer.WriteStartArray();
            for (var i = 0; i < Words.Count; i++)
            {
                writer.WriteStringValue(Words[i]);
            }

            writer.WriteEndArray();
            return;
        }

        writer.WriteStartObject();
        foreach (var (name, value) in Pairs!)
        {
            writer.WritePropertyName(name);
            if (JsonTree.Of(value) is { } node)
            {
                node.WriteTo(writer);
            }
            else
            {
                writer.WriteNullValue();
            }
        }

        writer.WriteEndObject();
    }

    /// <summary>The overrides as JSON.</summary>
    public override string ToString()
    {
        var buffer = new ArrayBufferWriter<byte>();
        using (var writer = new Utf8JsonWriter(buffer, JsonValues.PlainWriter))
        {
            Write(writer);
        }

        return Encoding.UTF8.GetString(buffer.WrittenSpan);
    }

    /// <summary>
    /// Puts the overrides over the run's own words. A named override takes the place of the word that it replaces, in
    /// the form that the run used; everything else stays as it was, so positions, repeats and bare flags survive. A
    /// list with words that have no name replaces all (protocol C.3 could not say which word it means).
    /// </summary>
    internal static IReadOnlyList<string> Apply(IReadOnlyList<string> own, ArgumentSet? over)
    {
        if (over is null || over.IsEmpty)
        {
            return own;
        }

        // Without words of the run's own there is nothing to take the place of: "--lr=0.1" stays one word.
        var pairs = over.Pairs ?? (own.Count > 0 || HasBarePair(over.Words!) ? Named(over.Words!) : null);
        if (pairs is null)
        {
            return over.Words!;
        }

        var result = own.ToList();
        foreach (var (name, value) in pairs)
        {
            Replace(result, name, value);
        }

        return result;
    }

    /// <summary>Names that these overrides set to something that counts as true (protocol C.2, last rows).</summary>
    internal IEnumerable<string> TruthyNames() =>
        (Pairs ?? Named(Words!) ?? [])
            .Where(p => p.Value is not (null or false or "" or 0L or 0 or 0.0))
            .Select(p => p.Key);

    /// <inheritdoc/>
    public ArgumentSet Over(ArgumentSet under) => Merge(under, this)!;

    /// <summary>Joins two sets; the second one wins name by name.</summary>
    internal static ArgumentSet? Merge(ArgumentSet? under, ArgumentSet? over)
    {
        if (under is null || over is null)
        {
            return over ?? under;
        }

        var low = under.Pairs ?? Named(under.Words!);
        var high = over.Pairs ?? Named(over.Words!);
        if (low is null || high is null)
        {
            return high is null ? over : FromWords(Apply(under.Words!, over));
        }

        var merged = low.Where(l => high.All(h => h.Key != l.Key)).Concat(high);
        return FromPairs(merged);
    }

    /// <summary>Reads words as pairs by protocol C.3; null when a word has no name.</summary>
    internal static List<KeyValuePair<string, object?>>? Named(IReadOnlyList<string> words)
    {
        var pairs = new List<KeyValuePair<string, object?>>();
        for (var i = 0; i < words.Count; i++)
        {
            var word = words[i];
            var equals = word.IndexOf('=', StringComparison.Ordinal);
            var dashed = word.StartsWith('-') && word.Length > 1;
            string name;
            object? value;
            if (equals > 0 && (dashed || IsName(word.AsSpan(0, equals))))
            {
                (name, value) = (word[..equals].TrimStart('-'), word[(equals + 1)..]);
            }
            else if (dashed && i + 1 < words.Count && !LooksLikeOption(words[i + 1]))
            {
                (name, value) = (word.TrimStart('-'), words[++i]);
            }
            else if (dashed)
            {
                (name, value) = (word.TrimStart('-'), null);
            }
            else
            {
                return null;
            }

            if (pairs.Any(p => p.Key == name))
            {
                throw new LaunchException(
                    "ArgumentTwice",
                    LaunchErrorCategory.InvalidArgument,
                    $"The argument '{name}' is given twice. Give it once; a list of words may repeat a name.",
                    name
                );
            }

            pairs.Add(new(name, value));
        }

        return pairs;
    }

    // name=value where an option could stand: W&B's own form of an argument, which becomes --name value.
    private static bool HasBarePair(IReadOnlyList<string> words)
    {
        for (var i = 0; i < words.Count; i++)
        {
            var equals = words[i].IndexOf('=', StringComparison.Ordinal);
            if (LooksLikeOption(words[i]))
            {
                i += equals < 0 && i + 1 < words.Count && !LooksLikeOption(words[i + 1]) ? 1 : 0;
            }
            else if (equals > 0 && IsName(words[i].AsSpan(0, equals)))
            {
                return true;
            }
        }

        return false;
    }

    internal static string Word(object? value) =>
        value switch
        {
            null => "",
            // Python's words for them: protocol C.4 and K 4.
            true => "True",
            false => "False",
            string text => text,
            IDictionary or JsonObject => JsonTree.Of(value)!.ToJsonString(),
            _ when JsonTree.TextOf(value) is { } text => text,
            IFormattable number => number.ToString(null, CultureInfo.InvariantCulture),
            _ => value.ToString() ?? "",
        };

    internal static object? Plain(JsonNode? node) =>
        node switch
        {
            null => null,
            JsonObject map => map.ToDictionary(p => p.Key, p => Plain(p.Value)),
            JsonArray list => list.Select(Plain).ToArray(),
            JsonValue v => v.GetValueKind() switch
            {
                System.Text.Json.JsonValueKind.True => true,
                System.Text.Json.JsonValueKind.False => false,
                System.Text.Json.JsonValueKind.Number => long.TryParse(
                    v.ToJsonString(),
                    NumberStyles.AllowLeadingSign,
                    CultureInfo.InvariantCulture,
                    out var whole
                )
                    ? (object)whole
                    : double.Parse(v.ToJsonString(), CultureInfo.InvariantCulture),
                _ => v.ToString(),
            },
            _ => null,
        };

    private static void Replace(List<string> words, string name, object? value)
    {
        var at = words.FindIndex(w => IsFor(w, name));
        if (at < 0)
        {
            words.AddRange(Write("--" + name, value));
            return;
        }

        var old = words[at];
        var equals = old.IndexOf('=', StringComparison.Ordinal);
        var taken = equals < 0 && at + 1 < words.Count && !LooksLikeOption(words[at + 1]) ? 2 : 1;
        words.RemoveRange(at, taken);
        words.InsertRange(
            at,
            equals > 0 && value is not null and not object?[]
                ? [old[..(equals + 1)] + Word(value)]
                : Write(equals > 0 ? old[..equals] : old, value)
        );

        // The same name once more: the SDK calls that an error (protocol C.3); here the override speaks for all of them.
        for (var i = words.Count - 1; i > at; i--)
        {
            if (IsFor(words[i], name) && words[i].StartsWith('-'))
            {
                words.RemoveRange(
                    i,
                    !words[i].Contains('=', StringComparison.Ordinal)
                    && i + 1 < words.Count
                    && !LooksLikeOption(words[i + 1])
                        ? 2
                        : 1
                );
            }
        }
    }

    private static List<string> Write(string option, object? value) =>
        value switch
        {
            null => [option],
            object?[] many => [option, .. many.Select(Word)],
            _ => [option, Word(value)],
        };

    private static bool IsFor(string word, string name)
    {
        var equals = word.IndexOf('=', StringComparison.Ordinal);
        var head = equals >= 0 ? word[..equals] : word;
        return (head.StartsWith('-') || equals > 0) && head.TrimStart('-') == name;
    }

    // A negative number behind an option is its value.
    private static bool LooksLikeOption(string word) =>
        word.Length > 1
        && word[0] == '-'
        && !double.TryParse(word, NumberStyles.Float, CultureInfo.InvariantCulture, out _);

    private static bool IsName(ReadOnlySpan<char> text)
    {
        foreach (var c in text)
        {
            if (!char.IsLetterOrDigit(c) && c is not ('_' or '-' or '.' or '/'))
            {
                return false;
            }
        }

        return true;
    }
}
