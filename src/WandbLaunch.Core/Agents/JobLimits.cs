using System.Globalization;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Resources;

namespace WandbLaunch.Agents;

/// <summary>How many runs an agent has at a time: of all together, or of each resource.</summary>
internal sealed class JobLimits
{
    internal const int Unlimited = -1;

    private readonly IReadOnlyDictionary<string, int>? _each;

    private JobLimits(int total, IReadOnlyDictionary<string, int>? each)
    {
        Total = total;
        _each = each;
    }

    /// <summary>One run at a time.</summary>
    internal static JobLimits One { get; } = new(1, null);

    /// <summary>Of all together, or what the limits of the resources that are named come to; <see cref="Unlimited"/> for no limit.</summary>
    internal int Total { get; }

    /// <summary>Each resource has a limit of its own.</summary>
    internal bool IsByResource => _each is not null;

    /// <summary>The resources that are named; empty where all have one limit.</summary>
    internal IReadOnlyDictionary<string, int> ByResource => _each ?? new Dictionary<string, int>();

    /// <summary>True when one more would be too many.</summary>
    /// <param name="resource">The resource of that one.</param>
    /// <param name="running">How many of a resource run; of all for null.</param>
    internal bool IsFull(string resource, Func<string?, int> running)
    {
        // One that is not named is as an agent that was told nothing.
        var most = _each is null ? Total : _each.GetValueOrDefault(resource, 1);
        return most != Unlimited && running(_each is null ? null : resource) >= most;
    }

    /// <summary>In words: 4 runs; 200 of slurm and 2 of local-container.</summary>
    internal string Describe() =>
        _each is null
            ? Total switch
            {
                Unlimited => "any number of runs",
                1 => "one run",
                var most => $"{most} runs",
            }
            : string.Join(
                ", ",
                _each.Select(e =>
                    $"{(e.Value == Unlimited ? "any number" : e.Value.ToString(CultureInfo.InvariantCulture))} of {e.Key}"
                )
            ) + " and one of each other resource";

    /// <summary>Reads a number, or a table of resource and number.</summary>
    /// <exception cref="LaunchException"><c>ResourceUnknown</c>, <c>ResourceNotSupported</c>, or what <paramref name="invalid"/> makes.</exception>
    internal static JobLimits Read(JsonNode? node, ResourceCatalog resources, Func<string, LaunchException> invalid)
    {
        if (node is null)
        {
            return One;
        }

        if (node is not JsonObject map)
        {
            // 0 was read as 1 by W&B's agent of 2022, and made today's never take anything.
            return Number(node) is { } most and >= Unlimited
                ? new JobLimits(most == 0 ? 1 : most, null)
                : throw invalid($"must be a whole number of {Unlimited} or more, or such a number for each resource.");
        }

        var each = new Dictionary<string, int>(StringComparer.Ordinal);
        foreach (var (given, value) in map)
        {
            var name = resources.Get(given).Info.Name;
            if (Number(value) is not { } most || most is < Unlimited or 0)
            {
                throw invalid(
                    $"has {value?.ToJsonString() ?? "nothing"} for {given}: give a whole number of 1 or more, or {Unlimited} for no limit. Which resources an agent takes is its policy's to say (-AllowResource)."
                );
            }

            if (!each.TryAdd(name, most))
            {
                throw invalid($"has {name} twice: '{given}' is another name of it.");
            }
        }

        return each.Count == 0
            ? throw invalid("names no resource: leave it out, or give a number for each.")
            : new JobLimits(
                each.ContainsValue(Unlimited) ? Unlimited : (int)Math.Min(int.MaxValue, each.Values.Sum(v => (long)v)),
                each
            );
    }

    private static int? Number(JsonNode? node) =>
        node is JsonValue
        && int.TryParse(node.ToString(), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number)
            ? number
            : null;
}
