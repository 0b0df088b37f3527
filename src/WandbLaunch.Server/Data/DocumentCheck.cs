using System.Runtime.CompilerServices;
using System.Text.Json;
using WandbLaunch.Foundation;

namespace WandbLaunch.Server.Data;

/// <summary>Looks at the tokens of documents as a reader passes them: levels, keys, no key twice, no half of a surrogate pair. Nothing is made of what it sees.</summary>
/// <param name="what">Name for the messages.</param>
/// <param name="outer">Levels around a document that do not count.</param>
internal sealed class DocumentCheck(string what, int outer)
{
    // More keys than this in one object are looked up and not compared one by one.
    private const int Few = 24;

    private const int Levels = DocumentLimits.QueuedItem.Levels;

    // Where the keys of the objects that are open stand in the text: of each level, from its start on.
    private (int At, int Length)[] _names = new (int, int)[32];
    private readonly int[] _starts = new int[Levels + outer + 2];
    private readonly HashSet<string>?[] _many = new HashSet<string>?[Levels + outer + 2];
    private int _count;
    private int _keys;

    /// <summary>Begins a document.</summary>
    internal void Begin() => _keys = _count = 0;

    /// <summary>What is wrong with this token, or null.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal string? Look(ref Utf8JsonReader reader, ReadOnlySpan<byte> json)
    {
        switch (reader.TokenType)
        {
            case JsonTokenType.StartObject or JsonTokenType.StartArray when reader.CurrentDepth >= Levels + outer:
                return JsonLimits.TooDeep(what);
            case JsonTokenType.StartObject:
                _starts[reader.CurrentDepth] = _count;
                _many[reader.CurrentDepth] = null;
                return null;
            case JsonTokenType.EndObject:
                _count = _starts[reader.CurrentDepth];
                return null;
            case JsonTokenType.PropertyName:
                return ++_keys > DocumentLimits.QueuedItem.Keys
                    ? JsonLimits.TooManyKeys(what)
                    : Key(ref reader, json, reader.CurrentDepth - 1);
            case JsonTokenType.String when reader.ValueIsEscaped:
                return Text(ref reader) is null ? JsonLimits.HalfPair(what) : null;
            default:
                return null;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private string? Key(ref Utf8JsonReader reader, ReadOnlySpan<byte> json, int level)
    {
        var start = _starts[level];
        if (_many[level] is null && !reader.ValueIsEscaped && _count - start < Few)
        {
            var name = reader.ValueSpan;
            for (var i = start; i < _count; i++)
            {
                var (at, length) = _names[i];
                if (length == name.Length && json.Slice(at, length).SequenceEqual(name))
                {
                    return JsonLimits.Twice(what, Text(ref reader) ?? "");
                }
            }

            if (_count == _names.Length)
            {
                Array.Resize(ref _names, 2 * _count);
            }

            _names[_count++] = ((int)reader.TokenStartIndex + 1, name.Length);
            return null;
        }

        // Written with escapes, one key has many spellings; and many keys are not compared each with each.
        if (_many[level] is not { } many)
        {
            _many[level] = many = new HashSet<string>(StringComparer.Ordinal);
            for (var i = start; i < _count; i++)
            {
                many.Add(System.Text.Encoding.UTF8.GetString(json.Slice(_names[i].At, _names[i].Length)));
            }
        }

        return Text(ref reader) is not { } text ? JsonLimits.HalfPair(what)
            : many.Add(text) ? null
            : JsonLimits.Twice(what, text);
    }

    private static string? Text(ref Utf8JsonReader reader)
    {
        try
        {
            return reader.GetString()!;
        }
        catch (InvalidOperationException)
        {
            return null;
        }
    }
}
