using System.Collections;
using System.Globalization;
using System.Text.Json.Nodes;
using WandbLaunch.Server.Data;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;
using YamlDotNet.Serialization;

namespace WandbLaunch.Server.Sweeps;

/// <summary>The YAML of a sweep's configuration as JSON. It is counted before anything is made of it: it comes from outside.</summary>
internal static class SweepYaml
{
    private const int MostCharacters = 256 << 10;
    private const int MostNodes = 20_000;
    private const int MostLevels = 30;

    private static readonly IDeserializer Reader = new DeserializerBuilder()
        .WithAttemptingUnquotedStringTypeDeserialization()
        .WithDuplicateKeyChecking()
        .Build();

    /// <summary>Reads the one map that it must be.</summary>
    /// <exception cref="ServerFault">It is something else, or too much.</exception>
    internal static JsonObject Read(string text)
    {
        if (text.Length > MostCharacters)
        {
            throw Fault($"it has more than {MostCharacters >> 10} thousand characters");
        }

        try
        {
            Count(text);
            var left = MostNodes;
            return Convert(Reader.Deserialize<object?>(text), ref left, 0) as JsonObject
                ?? throw Fault("it is no map of names and values");
        }
        catch (Exception e)
            when (e
                    is YamlException
                        or ArgumentException
                        or InvalidOperationException
                        or FormatException
                        or OverflowException
                        or IndexOutOfRangeException
            )
        {
            throw Fault(JsonLimits.Short(e.Message, 200));
        }
    }

    // What is made calls itself for each level.
    private static void Count(string text)
    {
        var parser = new Parser(new StringReader(text));
        var (nodes, depth) = (0, 0);
        while (parser.MoveNext())
        {
            depth += parser.Current!.NestingIncrease;
            if (parser.Current is NodeEvent && ++nodes > MostNodes || depth > MostLevels)
            {
                throw TooMuch();
            }
        }
    }

    private static JsonNode? Convert(object? value, ref int left, int depth)
    {
        if (--left < 0 || depth > MostLevels)
        {
            throw TooMuch();
        }

        switch (value)
        {
            case null:
                return null;
            case IDictionary map:
                var result = new JsonObject();
                foreach (DictionaryEntry entry in map)
                {
                    result[System.Convert.ToString(entry.Key, CultureInfo.InvariantCulture) ?? ""] = Convert(
                        entry.Value,
                        ref left,
                        depth + 1
                    );
                }

                return result;
            case IList list:
                var items = new JsonArray();
                foreach (var item in list)
                {
                    items.Add(Convert(item, ref left, depth + 1));
                }

                return items;
            case bool flag:
                return JsonValue.Create(flag);
            case float single:
                // Written with few digits, it came as a number of few.
                return Number(
                    double.Parse(single.ToString("R", CultureInfo.InvariantCulture), CultureInfo.InvariantCulture)
                );
            case double number:
                return Number(number);
            case decimal number:
                return JsonValue.Create(number);
            case ulong large:
                return JsonValue.Create(large);
            case sbyte or byte or short or ushort or int or uint or long:
                return JsonValue.Create(System.Convert.ToInt64(value, CultureInfo.InvariantCulture));
            default:
                return JsonValue.Create(System.Convert.ToString(value, CultureInfo.InvariantCulture));
        }
    }

    private static JsonValue Number(double number) =>
        double.IsFinite(number) ? JsonValue.Create(number) : throw Fault("it has a number that is none (.nan or .inf)");

    private static ServerFault TooMuch() => Fault($"it has more than {MostNodes} values or {MostLevels} levels");

    private static ServerFault Fault(string why) => new($"The sweep's config cannot be read: {why}.");
}
