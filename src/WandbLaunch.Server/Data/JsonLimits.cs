using System.Globalization;
using System.Text;
using System.Text.Json;
using System.Text.Unicode;
using WandbLaunch.Foundation;

namespace WandbLaunch.Server.Data;

/// <summary>What a JSON document may be that others are to read: an answer wraps it, and every reader has limits of its own.</summary>
internal static class JsonLimits
{
    private static readonly UTF8Encoding StrictUtf8 = new(false, true);

    /// <summary>Why this cannot be taken, or null.</summary>
    internal static string? Fault(string what, string json)
    {
        // Three bytes a character at most: only what comes near the limit is measured.
        if (json.Length > DocumentLimits.QueuedItem.Bytes)
        {
            return TooLarge(what, Encoding.UTF8.GetByteCount(json));
        }

        try
        {
            return Fault(what, StrictUtf8.GetBytes(json));
        }
        catch (EncoderFallbackException)
        {
            return HalfPair(what);
        }
    }

    /// <summary>Why this cannot be taken, or null. Reads it once, makes nothing of it, and goes no deeper than the limit.</summary>
    internal static string? Fault(string what, ReadOnlySpan<byte> json)
    {
        if (json.Length > DocumentLimits.QueuedItem.Bytes)
        {
            return TooLarge(what, json.Length);
        }

        if (!Utf8.IsValid(json))
        {
            return NotUtf8(what);
        }

        var reader = new Utf8JsonReader(
            json,
            new JsonReaderOptions { MaxDepth = DocumentLimits.QueuedItem.Levels + 1 }
        );
        var check = new DocumentCheck(what, 0);
        try
        {
            while (reader.Read())
            {
                if (check.Look(ref reader, json) is { } fault)
                {
                    return fault;
                }
            }

            return null;
        }
        catch (JsonException e)
        {
            return reader.CurrentDepth >= DocumentLimits.QueuedItem.Levels
                ? TooDeep(what)
                : $"{what} is not JSON: {Short(e.Message, 200)}";
        }
    }

    /// <summary>As <see cref="Fault(string, string)"/>, for what must be an object.</summary>
    internal static string? ObjectFault(string what, string json) =>
        Fault(what, json)
        ?? (json.AsSpan().TrimStart(" \t\r\n") is ['{', ..] ? null : $"{what} must be a JSON object.");

    /// <exception cref="ServerFault">It cannot be taken.</exception>
    internal static void CheckObject(string what, string json)
    {
        if (ObjectFault(what, json) is { } fault)
        {
            throw new ServerFault(fault);
        }
    }

    internal static string Short(string text, int length = 100) =>
        text.Length <= length ? text : string.Concat(text.AsSpan(0, length), "…");

    internal static string TooLarge(string what, int size) =>
        $"{what} has {Number(size)} bytes, and {Number(DocumentLimits.QueuedItem.Bytes)} is the most. Keep what is large in a file or an artifact, and name that.";

    internal static string TooDeep(string what) =>
        $"{what} is nested more than {DocumentLimits.QueuedItem.Levels} levels deep. Flatten it, or pass the inner part as a text.";

    internal static string TooManyKeys(string what) =>
        $"{what} has more than {Number(DocumentLimits.QueuedItem.Keys)} keys. Keep large tables in a file or an artifact, and name that.";

    internal static string Twice(string what, string name) =>
        $"{what} has the key \"{Short(name)}\" twice in one object. Which of them counts is for each reader to guess: send it once.";

    internal static string HalfPair(string what) => $"{what} has half of a surrogate pair, which is no text.";

    internal static string NotUtf8(string what) => $"{what} is not UTF-8.";

    private static string Number(int number) => number.ToString("N0", CultureInfo.InvariantCulture);
}
