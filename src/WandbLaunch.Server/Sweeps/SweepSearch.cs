using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Sweeps;

/// <summary>The parameters of a sweep's next run: the next point of a grid, or one by chance, from the distributions that W&amp;B's sweeps know.</summary>
internal static class SweepSearch
{
    private const int MostValues = 1_000_000;

    /// <summary>The point of a grid with this number, the last parameter changing fastest; null after the last.</summary>
    internal static JsonObject? Grid(SweepConfig config, long number)
    {
        if (number >= config.GridSize)
        {
            return null;
        }

        var leaves = SweepConfig.Leaves(config.Parameters, "").ToList();
        var values = new (string Path, JsonNode? Value)[leaves.Count];
        for (var i = leaves.Count - 1; i >= 0; i--)
        {
            var known = GridValues(leaves[i].Path, leaves[i].Parameter);
            values[i] = (leaves[i].Path, known[(int)(number % known.Count)]?.DeepClone());
            number /= known.Count;
        }

        return Arguments(values);
    }

    /// <summary>A point by chance.</summary>
    internal static JsonObject Random(SweepConfig config, Random random) =>
        Arguments(SweepConfig.Leaves(config.Parameters, "").Select(l => (l.Path, Draw(l.Path, l.Parameter, random))));

    /// <summary>The values that a grid has of a parameter.</summary>
    internal static IReadOnlyList<JsonNode?> GridValues(string path, JsonObject parameter)
    {
        if (parameter.ContainsKey("value"))
        {
            return [parameter["value"]];
        }

        if (parameter["values"] is JsonArray { Count: > 0 } values)
        {
            return [.. values];
        }

        var distribution = Distribution(path, parameter);
        if (distribution is not ("int_uniform" or "q_uniform"))
        {
            throw Fault(path, $"has no end of values ({distribution}), which a grid needs; give it values");
        }

        var (low, high) = (Need(path, parameter, "min"), Need(path, parameter, "max"));
        var step = distribution == "int_uniform" ? 1 : Number(parameter, "q") ?? 1;
        var count = step > 0 ? Math.Floor((high - low) / step + 1e-9) + 1 : 0;
        return count is >= 1 and <= MostValues
            ? [.. Enumerable.Range(0, (int)count).Select(i => Value(low + i * step))]
            : throw Fault(path, $"has no values between its min and max, or more than {MostValues}");
    }

    private static JsonNode? Draw(string path, JsonObject parameter, Random random)
    {
        if (parameter.ContainsKey("value"))
        {
            return parameter["value"]?.DeepClone();
        }

        if (parameter["values"] is JsonArray values)
        {
            return values.Count == 0
                ? throw Fault(path, "has no values")
                : values[Pick(path, values.Count, parameter["probabilities"], random)]?.DeepClone();
        }

        double Min() => Need(path, parameter, "min");
        double Max() => Need(path, parameter, "max");
        double Uniform(double low, double high) =>
            low <= high ? low + (high - low) * random.NextDouble() : throw Fault(path, "has a min above its max");
        double Logged(double value) => value > 0 ? Math.Log(value) : throw Fault(path, "needs a min and max above 0");
        double Normal() =>
            (Number(parameter, "mu") ?? 0)
            + (Number(parameter, "sigma") ?? 1)
                * Math.Sqrt(-2 * Math.Log(1 - random.NextDouble()))
                * Math.Cos(2 * Math.PI * random.NextDouble());
        double Beta()
        {
            var (a, b) = (Gamma(Number(parameter, "a") ?? 1, random), Gamma(Number(parameter, "b") ?? 1, random));
            return a / (a + b);
        }

        var distribution = Distribution(path, parameter);
        var isQuantized = distribution.StartsWith("q_", StringComparison.Ordinal);
        var drawn = (isQuantized ? distribution[2..] : distribution) switch
        {
            "int_uniform" => Min() is var low && Max() is var high && low <= high
                ? random.NextInt64((long)low, (long)high + 1)
                : throw Fault(path, "has a min above its max"),
            "uniform" => Uniform(Min(), Max()),
            "log_uniform" => Math.Exp(Uniform(Min(), Max())),
            "log_uniform_values" => Math.Exp(Uniform(Logged(Min()), Logged(Max()))),
            "inv_log_uniform" => Math.Exp(Max() + Min() - Uniform(Min(), Max())),
            "inv_log_uniform_values" => Max() + Min() - Math.Exp(Uniform(Logged(Min()), Logged(Max()))),
            "normal" => Normal(),
            "log_normal" => Math.Exp(Normal()),
            "beta" => Beta(),
            _ => throw Fault(
                path,
                $"has the distribution \"{JsonLimits.Short(distribution)}\", which is not known here"
            ),
        };
        if (isQuantized && (Number(parameter, "q") ?? 1) is var step and > 0)
        {
            // 3 × 0.1 is 0.3, not 0.30000000000000004.
            drawn = (double)((decimal)Math.Round(drawn / step) * (decimal)step);
        }

        return distribution == "int_uniform" ? JsonValue.Create((long)drawn) : Value(drawn);
    }

    private static string Distribution(string path, JsonObject parameter) =>
        parameter["distribution"]?.ToString()
        ?? (
            parameter.ContainsKey("mu") || parameter.ContainsKey("sigma") ? "normal"
            : !parameter.ContainsKey("min") || !parameter.ContainsKey("max")
                ? throw Fault(path, "must have value, values, or min and max")
            : IsWhole(parameter["min"]) && IsWhole(parameter["max"]) ? "int_uniform"
            : "uniform"
        );

    private static int Pick(string path, int count, JsonNode? probabilities, Random random)
    {
        if (probabilities is not JsonArray weights)
        {
            return random.Next(count);
        }

        var numbers = weights.Select(w => w is null ? double.NaN : Read(w) ?? double.NaN).ToList();
        if (numbers.Count != count || numbers.Any(n => !(n >= 0)) || numbers.Sum() <= 0)
        {
            throw Fault(path, "must have one probability, 0 or more, for each of its values");
        }

        var at = random.NextDouble() * numbers.Sum();
        for (var i = 0; i < count; i++)
        {
            if ((at -= numbers[i]) < 0)
            {
                return i;
            }
        }

        return count - 1;
    }

    // Marsaglia and Tsang's method.
    private static double Gamma(double shape, Random random)
    {
        if (shape < 1)
        {
            return Gamma(shape + 1, random) * Math.Pow(1 - random.NextDouble(), 1 / Math.Max(shape, 1e-9));
        }

        var d = shape - 1.0 / 3;
        while (true)
        {
            var x = Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
            var v = Math.Pow(1 + x / Math.Sqrt(9 * d), 3);
            if (v > 0 && Math.Log(1 - random.NextDouble()) < x * x / 2 + d - d * v + d * Math.Log(v))
            {
                return d * v;
            }
        }
    }

    // {"lr": {"value": 0.1}, "opt": {"value": {"name": "adam"}}}
    private static JsonObject Arguments(IEnumerable<(string Path, JsonNode? Value)> values)
    {
        var result = new JsonObject();
        foreach (var (path, value) in values)
        {
            var parts = path.Split('\n');
            if (parts.Length == 1)
            {
                result[path] = new JsonObject { ["value"] = value };
                continue;
            }

            var top = (result[parts[0]] ??= new JsonObject { ["value"] = new JsonObject() }).AsObject();
            var inside = top["value"]!.AsObject();
            foreach (var part in parts[1..^1])
            {
                inside = (inside[part] ??= new JsonObject()).AsObject();
            }

            inside[parts[^1]] = value;
        }

        return result;
    }

    private static JsonValue Value(double number) =>
        double.IsInteger(number) && Math.Abs(number) < 1e15 ? JsonValue.Create((long)number) : JsonValue.Create(number);

    private static double Need(string path, JsonObject parameter, string name) =>
        Number(parameter, name) ?? throw Fault(path, $"must have a number as its {name}");

    private static double? Number(JsonObject parameter, string name) => parameter[name] is { } node ? Read(node) : null;

    // 1e-4 is a text in YAML 1.1, and a number for whoever writes it.
    private static double? Read(JsonNode node) =>
        node is JsonValue value
        && value.GetValueKind() is JsonValueKind.Number or JsonValueKind.String
        && double.TryParse(value.ToString(), NumberStyles.Float, CultureInfo.InvariantCulture, out var number)
        && double.IsFinite(number)
            ? number
            : null;

    private static bool IsWhole(JsonNode? node) => node is JsonValue value && value.TryGetValue<long>(out _);

    private static ServerFault Fault(string path, string why) =>
        new($"The sweep's parameter \"{JsonLimits.Short(path.Replace('\n', '.'))}\" {why}.");
}
