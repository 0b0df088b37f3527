using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Unicode;
using WandbLaunch.Foundation;

namespace WandbLaunch.Server.Data;

/// <summary>An item that is to be queued: its spec and variables as UTF-8, or why it cannot be.</summary>
internal readonly record struct NewItem(
    ReadOnlyMemory<byte> Spec,
    int? Priority,
    ReadOnlyMemory<byte> Variables,
    string? Fault
);

/// <summary>
/// A list of items, <c>[{runSpec, priority?, templateVariableValues?}]</c>, read in one pass: what is sound and where its
/// parts are is known at its end, and the parts are pieces of the text that came.
/// </summary>
internal static class ItemBatch
{
    private const string What = "The item";

    // An item is in the list, and its spec in an object: neither counts.
    private const int Outer = 2;

    /// <summary>Reads a list. An item that no reader could take is refused alone.</summary>
    /// <exception cref="JsonException">The text is no JSON, or no list.</exception>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static List<NewItem> Read(ReadOnlyMemory<byte> body)
    {
        var json = body.Span;
        var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = DocumentLimits.AnyLevels });
        reader.Read();
        if (reader.TokenType != JsonTokenType.StartArray)
        {
            // What is no JSON at all is said first.
            while (reader.Read()) { }

            throw new JsonException("it is no list");
        }

        var valid = Utf8.IsValid(json);
        var items = new List<NewItem>();
        var check = new DocumentCheck(What, Outer);
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            items.Add(ReadItem(ref reader, body, check, valid));
        }

        // Nothing may follow.
        while (reader.Read()) { }

        return items;
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static NewItem ReadItem(
        ref Utf8JsonReader reader,
        ReadOnlyMemory<byte> body,
        DocumentCheck check,
        bool validText
    )
    {
        var json = body.Span;
        var start = (int)reader.TokenStartIndex;
        ReadOnlyMemory<byte> spec = default,
            variables = default;
        int? priority = null;
        var part = Part.None;
        var partStart = 0;
        string? fault = null;
        check.Begin();
        var top = reader.CurrentDepth;
        var isObject = reader.TokenType == JsonTokenType.StartObject;
        do
        {
            if ((fault ??= check.Look(ref reader, json)) is not null)
            {
                // Its end is looked for, and nothing else.
                while (!IsEnd(ref reader, top) && reader.Read()) { }

                break;
            }

            if (reader.CurrentDepth != top + 1 || !isObject)
            {
                continue;
            }

            if (reader.TokenType == JsonTokenType.PropertyName)
            {
                part =
                    reader.ValueTextEquals("runSpec"u8) ? Part.Spec
                    : reader.ValueTextEquals("priority"u8) ? Part.Priority
                    : reader.ValueTextEquals("templateVariableValues"u8) ? Part.Variables
                    : Part.None;
                partStart = -1;
                continue;
            }

            if (partStart < 0)
            {
                partStart = (int)reader.TokenStartIndex;
            }

            if (reader.TokenType is JsonTokenType.StartObject or JsonTokenType.StartArray)
            {
                continue;
            }

            // The value of a part has ended.
            switch (part)
            {
                case Part.Spec when reader.TokenType != JsonTokenType.Null:
                    spec = body[partStart..(int)reader.BytesConsumed];
                    break;
                case Part.Variables when reader.TokenType != JsonTokenType.Null:
                    variables = body[partStart..(int)reader.BytesConsumed];
                    break;
                case Part.Priority when reader.TokenType != JsonTokenType.Null:
                    priority =
                        reader.TokenType == JsonTokenType.Number && reader.TryGetInt32(out var number) ? number : -1;
                    break;
            }
        } while (!IsEnd(ref reader, top) && reader.Read());

        var text = json[start..(int)reader.BytesConsumed];
        fault =
            text.Length > DocumentLimits.QueuedItem.Bytes ? JsonLimits.TooLarge(What, text.Length)
            : !validText && !Utf8.IsValid(text) ? JsonLimits.NotUtf8(What)
            : fault;
        return new NewItem(spec, priority, variables, fault);
    }

    private static bool IsEnd(ref Utf8JsonReader reader, int top) =>
        reader.CurrentDepth == top
        && reader.TokenType
            is not (JsonTokenType.StartObject or JsonTokenType.StartArray or JsonTokenType.PropertyName);

    private enum Part
    {
        None,
        Spec,
        Priority,
        Variables,
    }
}
