using System.Collections;
using System.Management.Automation;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Model;

namespace WandbLaunch.PowerShell;

/// <summary>A table may be written as name=value too, which completes where a hashtable cannot.</summary>
[AttributeUsage(AttributeTargets.Property)]
public sealed class NameValueAttribute : ArgumentTransformationAttribute
{
    /// <inheritdoc/>
    public override object? Transform(EngineIntrinsics engineIntrinsics, object? inputData)
    {
        var plain = Base(inputData);
        object?[] words = plain switch
        {
            string text => [text],
            object?[] many => [.. many.Select(Base)],
            _ => [],
        };
        if (words.Length == 0 || !words.All(w => w is string))
        {
            return inputData;
        }

        var table = new Hashtable(StringComparer.Ordinal);
        foreach (string word in words!)
        {
            var cut = word.IndexOf('=', StringComparison.Ordinal);
            var name = cut > 0 ? word[..cut].Trim() : "";
            if (name.Length == 0 || table.ContainsKey(name))
            {
                throw new ArgumentTransformationMetadataException(
                    name.Length == 0
                        ? $"'{word}' is not name=value. Write name=value, or a table: @{{ name = value }}."
                        : $"'{name}' is given twice."
                );
            }

            table[name] = Value(word[(cut + 1)..]);
        }

        return table;
    }

    // Numbers, true, false, null, lists and tables as JSON has them; anything else is a text.
    private static object? Value(string text)
    {
        try
        {
            return JsonNode.Parse(text) is { } node && node.GetValueKind() != JsonValueKind.String
                    ? ArgumentSet.Plain(node)
                : text == "null" ? null
                : text;
        }
        catch (JsonException)
        {
            return text;
        }
    }

    private static object? Base(object? value) =>
        value is PSObject { BaseObject: not PSCustomObject and var inner } ? inner : value;
}
