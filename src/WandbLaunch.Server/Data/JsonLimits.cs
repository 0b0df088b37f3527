using System.Globalization;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;
using System.Text.Unicode;

namespace WandbLaunch.Server;

/// <summary>What a JSON document may be that others are to read: an answer wraps it, and every reader has limits of its own.</summary>
internal static class JsonLimits
{
    /// <summary>Levels of an item. Answers add up to nine, and readers of JSON stop at 64 as a rule.</summary>
    internal const int Depth = 32;

    /// <summary>Bytes of an item.</summary>
    internal const int Size = 1 << 20;

    /// <summary>Keys of an item, in all its objects together.</summary>
    internal const int Keys = 10_000;

    /// <summary>Deeper than this is not even looked at.</summary>
    internal static readonly JsonDocumentOptions AnyDepth = new() { MaxDepth = 100_000 };

    [ThreadStatic]
    private static List<HashSet<string>>? t_names;

    internal static string? Fault(string what, string json)
    {
        // Three bytes a character at most: only what comes near the limit is measured.
        if (json.Length > Size)
        {
            return TooLarge(what, Encoding.UTF8.GetByteCount(json));
        }

        try
        {
            return Fault(what, StrictUtf8.GetBytes(json));
        }
        catch (EncoderFallbackException)
        {
            return $"{what} has half of a surrogate pair, which is no text.";
        }
    }

    /// <summary>Why this cannot be taken, or null. Reads it once, makes nothing of it, and goes no deeper than the limit.</summary>
    /// <param name="what">Name for the message.</param>
    /// <param name="json">UTF-8 of the document.</param>
    /// <param name="wrapped">Levels around the document that do not count.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static string? Fault(string what, ReadOnlySpan<byte> json, int wrapped = 0)
    {
        if (json.Length > Size)
        {
            return TooLarge(what, json.Length);
        }

        if (!Utf8.IsValid(json))
        {
            return $"{what} is not UTF-8.";
        }

        var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = Depth + wrapped + 1 });
        var names = t_names ??= [];
        var keys = 0;
        try
        {
            while (reader.Read())
            {
                switch (reader.TokenType)
                {
                    case JsonTokenType.StartObject
                    or JsonTokenType.StartArray when reader.CurrentDepth >= Depth + wrapped:
                        return TooDeep(what);
                    case JsonTokenType.StartObject:
                        while (names.Count <= reader.CurrentDepth)
                        {
                            names.Add(new HashSet<string>(StringComparer.Ordinal));
                        }

                        names[reader.CurrentDepth].Clear();
                        break;
                    case JsonTokenType.PropertyName when ++keys > Keys:
                        return $"{what} has more than {Number(Keys)} keys. Keep large tables in a file or an artifact, and name that.";
                    case JsonTokenType.PropertyName:
                        var name = reader.GetString()!;
                        if (!names[reader.CurrentDepth - 1].Add(name))
                        {
                            return $"{what} has the key \"{Short(name)}\" twice in one object. Which of them counts is for each reader to guess: send it once.";
                        }

                        break;
                    case JsonTokenType.String when reader.ValueIsEscaped:
                        _ = reader.GetString();
                        break;
                }
            }

            return null;
        }
        catch (JsonException e)
        {
            return reader.CurrentDepth >= Depth + wrapped
                ? TooDeep(what)
                : $"{what} is not JSON: {Short(e.Message, 200)}";
        }
        catch (InvalidOperationException)
        {
            return $"{what} has half of a surrogate pair, which is no text.";
        }
        finally
        {
            // One large object is not to be held by a thread for ever.
            if (keys > 1000)
            {
                t_names = null;
            }
        }
    }

    /// <summary>As <see cref="Fault(string, string)"/>, for what must be an object.</summary>
    internal static string? ObjectFault(string what, string json) =>
        Fault(what, json)
        ?? (json.AsSpan().TrimStart(" \t\r\n") is ['{', ..] ? null : $"{what} must be a JSON object.");

    internal static string Short(string text, int length = 100) =>
        text.Length <= length ? text : string.Concat(text.AsSpan(0, length), "…");

    private static UTF8Encoding StrictUtf8 { get; } = new(false, true);

    private static string TooLarge(string what, int size) =>
        $"{what} has {Number(size)} bytes, and {Number(Size)} is the most. Keep what is large in a file or an artifact, and name that.";

    private static string TooDeep(string what) =>
        $"{what} is nested more than {Depth} levels deep. Flatten it, or pass the inner part as a text.";

    private static string Number(int number) => number.ToString("N0", CultureInfo.InvariantCulture);
}
