using System.Buffers;
using System.Collections;
using System.Management.Automation;
using System.Runtime.CompilerServices;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.PowerShell;

/// <summary>
/// Tables, objects and lists of a shell as JSON. One that holds itself, or is too deep or too large, is refused. They are
/// written once, as bytes: as trees ten thousand of them would cost the garbage collector more than their way to a queue.
/// </summary>
internal sealed class ShellJson
{
    private readonly ArrayBufferWriter<byte> _buffer = new(512);

    /// <summary>A table or object as UTF-8; good until the next one.</summary>
    /// <exception cref="LaunchException"><c>ConfigInvalid</c>: it is too much.</exception>
    internal ReadOnlySpan<byte> Write(object map)
    {
        _buffer.ResetWrittenCount();
        var limits = JsonTree.NewLimits();
        using (var writer = new Utf8JsonWriter(_buffer, JsonValues.PlainWriter))
        {
            if (map is IDictionary table)
            {
                WriteTable(writer, table, limits, 0);
            }
            else
            {
                WriteObject(writer, (PSObject)map, limits, 0);
            }
        }

        return _buffer.WrittenSpan;
    }

    /// <summary>A table or object as a tree of its own.</summary>
    internal static JsonObject Tree(object map) => (JsonObject)JsonNode.Parse(new ShellJson().Write(map))!;

    /// <summary>What is inside a shell's wrapping; an object of its own stays one.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static object? Base(object? value) =>
        value is PSObject shell && shell.BaseObject is not PSCustomObject ? shell.BaseObject : value;

    // A plain hashtable has no order of its own: by name, so that the same input gives the same command.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static (string Key, object? Value)[] Entries(IDictionary map)
    {
        var entries = new (string Key, object? Value)[map.Count];
        var (at, names) = (0, true);
        foreach (DictionaryEntry entry in map)
        {
            names &= entry.Key is string;
            entries[at++] = (entry.Key.ToString()!, entry.Value);
        }

        if (map is Hashtable && at > 1)
        {
            Array.Sort(entries, static (a, b) => string.CompareOrdinal(a.Key, b.Key));
        }

        // 1 and '1' are two keys there and one here.
        return names ? entries : [.. entries.GroupBy(e => e.Key).Select(g => g.Last())];
    }

    // Loops and not queries: this is walked for each of ten thousand items.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void WriteTable(Utf8JsonWriter writer, IDictionary map, TreeLimits limits, int depth)
    {
        limits.Add(depth + 1);
        writer.WriteStartObject();
        foreach (var (key, value) in Entries(map))
        {
            writer.WritePropertyName(key);
            WriteValue(writer, value, limits, depth + 1);
        }

        writer.WriteEndObject();
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void WriteObject(Utf8JsonWriter writer, PSObject shell, TreeLimits limits, int depth)
    {
        limits.Add(depth + 1);
        writer.WriteStartObject();
        foreach (var property in shell.Properties)
        {
            if (property.Value is { } value)
            {
                writer.WritePropertyName(property.Name);
                WriteValue(writer, value, limits, depth + 1);
            }
            else if (property.MemberType == PSMemberTypes.NoteProperty)
            {
                writer.WriteNull(property.Name);
            }
        }

        writer.WriteEndObject();
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void WriteValue(Utf8JsonWriter writer, object? value, TreeLimits limits, int depth)
    {
        limits.Add(depth);
        switch (Base(value))
        {
            case null:
                writer.WriteNullValue();
                break;
            case string text:
                writer.WriteStringValue(text);
                break;
            case int number:
                writer.WriteNumberValue(number);
                break;
            case IDictionary map:
                WriteTable(writer, map, limits, depth);
                break;
            case SwitchParameter flag:
                writer.WriteBooleanValue(flag.IsPresent);
                break;
            case PSObject shell:
                WriteObject(writer, shell, limits, depth);
                break;
            case JsonNode node:
                node.WriteTo(writer);
                break;
            case IEnumerable list:
                limits.Add(depth + 1);
                writer.WriteStartArray();
                foreach (var item in list)
                {
                    WriteValue(writer, item, limits, depth + 1);
                }

                writer.WriteEndArray();
                break;
            case var other:
                JsonTree.Of(other, limits, depth)!.WriteTo(writer);
                break;
        }
    }
}
