using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Sweeps;

/// <summary>What a sweep's configuration says, as far as the server acts on it.</summary>
internal sealed class SweepConfig
{
    private readonly JsonObject _root;

    private SweepConfig(JsonObject root) => _root = root;

    /// <summary>Reads and checks a configuration.</summary>
    /// <exception cref="ServerFault">The server cannot do what it asks for.</exception>
    internal static SweepConfig Read(string yaml)
    {
        var config = new SweepConfig(SweepYaml.Read(yaml));
        if (!config.IsLocal && config.Method is not ("grid" or "random"))
        {
            throw new ServerFault(
                $"This server makes the runs of grid and random sweeps; \"{JsonLimits.Short(config.Method)}\" needs W&B's own controller. Write \"controller: {{type: local}}\" into the sweep's configuration, and keep \"wandb controller SWEEP_ID\" running beside its agents."
            );
        }

        if (!config.IsLocal)
        {
            // Every fault of a parameter is told now, not to the first agent.
            _ = config.Expected;
            _ = SweepSearch.Random(config, new Random(0));
        }

        return config;
    }

    internal string Method => Text("method") ?? "custom";

    internal string? Name => Text("name");

    internal string? Description => Text("description");

    internal string? Program => Text("program");

    /// <summary>The runs are made by W&amp;B's controller, which a user runs.</summary>
    internal bool IsLocal => (_root["controller"] as JsonObject)?["type"]?.ToString() == "local";

    internal long? RunCap => Whole(_root["run_cap"]);

    internal JsonObject Parameters => _root["parameters"] as JsonObject ?? [];

    /// <summary>The metric that tells which run is best, and whether less is better.</summary>
    internal (string Name, bool Less)? Metric =>
        _root["metric"] is JsonObject metric && metric["name"]?.ToString() is { Length: > 0 } name
            ? (name, metric["goal"]?.ToString() != "maximize")
            : null;

    /// <summary>How many runs there are to be; null where there is no end.</summary>
    internal long? Expected => Method == "grid" && !IsLocal ? Math.Min(GridSize, RunCap ?? long.MaxValue) : RunCap;

    /// <summary>What the server does not do of it.</summary>
    internal IReadOnlyList<string> Warnings =>
        !IsLocal && _root["early_terminate"] is not null
            ?
            [
                "early_terminate is not done by this server: no run is ended early. With \"controller: {type: local}\" W&B's own controller does it.",
            ]
            : [];

    /// <summary>Points of the grid.</summary>
    internal long GridSize
    {
        get
        {
            var size = 1L;
            foreach (var (name, parameter) in Leaves(Parameters, ""))
            {
                size = checked(Math.Min(size * SweepSearch.GridValues(name, parameter).Count, 1L << 40));
            }

            return size;
        }
    }

    /// <summary>The parameters that have values, those inside others with their path.</summary>
    internal static IEnumerable<(string Path, JsonObject Parameter)> Leaves(JsonObject parameters, string above)
    {
        foreach (var (name, node) in parameters)
        {
            var path = above + name;
            if (node is not JsonObject parameter)
            {
                throw new ServerFault(
                    $"The sweep's parameter \"{JsonLimits.Short(path)}\" must be a map with value, values, or min and max."
                );
            }

            if (parameter["parameters"] is JsonObject inner)
            {
                foreach (var leaf in Leaves(inner, path + "\n"))
                {
                    yield return leaf;
                }
            }
            else
            {
                yield return (path, parameter);
            }
        }
    }

    internal static long? Whole(JsonNode? node) =>
        node is JsonValue value && value.GetValueKind() == JsonValueKind.Number
            ? value.TryGetValue(out long whole)
                ? whole
                : double.TryParse(value.ToString(), NumberStyles.Float, CultureInfo.InvariantCulture, out var number)
                    ? (long)number
                    : null
            : null;

    private string? Text(string name) =>
        _root[name] is JsonValue value && value.GetValueKind() == JsonValueKind.String ? value.ToString() : null;
}
