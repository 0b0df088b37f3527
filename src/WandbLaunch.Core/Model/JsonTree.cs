using System.Collections;
using System.Globalization;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;

namespace WandbLaunch.Model;

/// <summary>Values of .NET and of a shell as JSON.</summary>
internal static class JsonTree
{
    internal static JsonNode? Of(object? value) => Of(value, null, 0);

    /// <summary>A value of .NET as JSON; a table that holds itself, or too many others, ends at the limits.</summary>
    /// <exception cref="LaunchException">It is too much, or has a key twice.</exception>
    internal static JsonNode? Of(object? value, TreeLimits? limits, int depth)
    {
        switch (value)
        {
            case null:
                return null;
            case JsonNode node:
                return node.DeepClone();
            case string text:
                return JsonValue.Create(text);
            case bool flag:
                return JsonValue.Create(flag);
            case int number:
                return JsonValue.Create(number);
            case long number:
                return JsonValue.Create(number);
            // JSON has no word for them; the SDK's are these, and Python's float() reads them.
            case double number when !double.IsFinite(number):
                return JsonValue.Create(number.ToString(CultureInfo.InvariantCulture));
            case float number when !float.IsFinite(number):
                return JsonValue.Create(number.ToString(CultureInfo.InvariantCulture));
            case double number:
                return JsonValue.Create(number);
            case float number:
                return JsonValue.Create(number);
            case decimal number:
                return JsonValue.Create(number);
            case DateTime or DateTimeOffset or DateOnly or TimeOnly or TimeSpan or Enum:
                return JsonValue.Create(TextOf(value));
            case IDictionary or IEnumerable<KeyValuePair<string, object?>>:
                limits ??= NewLimits();
                limits.Add(depth + 1);
                var map = new JsonObject();
                foreach (var (key, item) in Pairs(value))
                {
                    limits.Add(depth + 1);
                    if (!map.TryAdd(key, Of(item, limits, depth + 1)))
                    {
                        throw limits.Fault(
                            $"the key '{Short(key)}' stands there twice, and it is not clear which is meant"
                        );
                    }
                }

                return map;
            case IEnumerable items:
                limits ??= NewLimits();
                limits.Add(depth + 1);
                var list = new JsonArray();
                foreach (var item in items)
                {
                    limits.Add(depth + 1);
                    list.Add(Of(item, limits, depth + 1));
                }

                return list;
            case IConvertible number when number.GetTypeCode() is >= TypeCode.SByte and <= TypeCode.UInt64:
                return number.GetTypeCode() == TypeCode.UInt64
                    ? JsonValue.Create(number.ToUInt64(CultureInfo.InvariantCulture))
                    : JsonValue.Create(number.ToInt64(CultureInfo.InvariantCulture));
            default:
                return JsonValue.Create(value.ToString());
        }

        static IEnumerable<KeyValuePair<string, object?>> Pairs(object value) =>
            value as IEnumerable<KeyValuePair<string, object?>>
            ?? ((IDictionary)value)
                .Keys.Cast<object>()
                .Select(k => KeyValuePair.Create(k.ToString() ?? "", ((IDictionary)value)[k]));
    }

    /// <summary>Times and names as one text on every road: ISO 8601, spans as 1.02:03:04.5, enums by name; null for other values.</summary>
    internal static string? TextOf(object? value) =>
        value switch
        {
            DateTime time => time.ToString("yyyy-MM-dd'T'HH:mm:ss.FFFFFFFK", CultureInfo.InvariantCulture),
            DateTimeOffset time => time.ToString("yyyy-MM-dd'T'HH:mm:ss.FFFFFFFK", CultureInfo.InvariantCulture),
            DateOnly day => day.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture),
            TimeOnly time => time.ToString("HH:mm:ss.FFFFFFF", CultureInfo.InvariantCulture),
            TimeSpan span => span.ToString("c", CultureInfo.InvariantCulture),
            Enum name => name.ToString(),
            _ => null,
        };

    /// <summary>The limits of a config that is given as objects.</summary>
    internal static TreeLimits NewLimits() => new("The launch config", "ConfigInvalid");

    private static string Short(string text) => text.Length > 60 ? text[..60] + "…" : text;
}
