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
    private readonly Utf8JsonWriter _writer;

    internal ShellJson()
    {
        _writer = new Utf8JsonWriter(_buffer, JsonValues.PlainWriter);
    }

    /// <summary>A table or object as UTF-8; good until the next one.</summary>
    /// <exception cref="LaunchException"><c>ConfigInvalid</c>: it is too much.</exception>
    internal ReadOnlySpan<byte> Write(object map)
    {
        _buffer.ResetWrittenCount();
        _writer.Reset(_buffer);
        var limits = JsonTree.NewLimits();
        if (map is IDictionary table)
        {
            WriteTable(table, limits, 0);
        }
        else
        {
            WriteObject((PSObject)map, limits, 0);
        }

        _writer.Flush();
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
    private void WriteTable(IDictionary map, TreeLimits limits, int depth)
    {
        limits.Add(depth + 1);
        _writer.WriteStartObject();
        foreach (var (key, value) in Entries(map))
        {
            _writer.WritePropertyName(key);
            WriteValue(value, limits, depth + 1);
        }

        _writer.WriteEndObject();
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void WriteObject(PSObject shell, TreeLimits limits, int depth)
    {
        limits.Add(depth + 1);
        _writer.WriteStartObject();
        foreach (var property in shell.Properties)
        {
            if (property.Value is { } value)
            {
                _writer.WritePropertyName(property.Name);
                WriteValue(value, limits, depth + 1);
            }
            else if (property.MemberType == PSMemberTypes.NoteProperty)
            {
                _writer.WriteNull(property.Name);
            }
        }

        _writer.WriteEndObject();
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void WriteValue(object? value, TreeLimits limits, int depth)
    {
        limits.Add(depth);
        switch (Base(value))
        {
            case null:
                _writer.WriteNullValue();
                break;
            case string text:
                _writer.WriteStringValue(text);
                break;
            case int number:
                _writer.WriteNumberValue(number);
                break;
            case IDictionary map:
                WriteTable(map, limits, depth);
                break;
            case SwitchParameter flag:
                _writer.WriteBooleanValue(flag.IsPresent);
                break;
            case PSObject shell:
                WriteObject(shell, limits, depth);
                break;
            case JsonNode node:
                node.WriteTo(_writer);
                break;
            case IEnumerable list:
                limits.Add(depth + 1);
                _writer.WriteStartArray();
                foreach (var item in list)
                {
                    WriteValue(item, limits, depth + 1);
                }

                _writer.WriteEndArray();
                break;
            case var other:
                JsonTree.Of(other, limits, depth)!.WriteTo(_writer);
                break;
        }
    }
}
