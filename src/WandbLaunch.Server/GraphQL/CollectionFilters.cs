using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Schema;

/// <summary>Filters and orders of collections and of their versions: few enough that they are looked at one by one. What is not known is told, never passed over.</summary>
internal static class CollectionFilters
{
    /// <summary>The test that a filter of collections is.</summary>
    internal static Func<CollectionRecord, bool> Collections(string filters) =>
        c =>
            Matches(
                Read(filters),
                name =>
                    name switch
                    {
                        "name" => [c.Name],
                        "type" or "artifactType" or "defaultArtifactType.name" => [c.Type],
                        "description" => [c.Description],
                        "createdAt" or "created_at" => [c.CreatedAt],
                        "updatedAt" or "updated_at" => [c.UpdatedAt],
                        "tag" or "tags" => [.. JsonSerializer.Deserialize<string[]>(c.Tags)!],
                        _ => throw Unknown("filter field", name),
                    }
            );

    /// <summary>The test that a filter of versions is.</summary>
    internal static Func<Membership, CollectionRepository, bool> Versions(string filters) =>
        (m, collections) =>
            Matches(
                Read(filters),
                name =>
                    name switch
                    {
                        "state" => [m.Artifact.State],
                        "digest" => [m.Artifact.Digest],
                        "versionIndex" or "version" =>
                        [
                            m.Version?.ToString(System.Globalization.CultureInfo.InvariantCulture),
                        ],
                        "createdAt" or "created_at" => [m.Artifact.CreatedAt],
                        "updatedAt" or "updated_at" => [m.Artifact.UpdatedAt],
                        "alias" or "aliases" => [.. collections.Aliases(m.Collection, m.Artifact.Id)],
                        "tag" or "tags" => [.. JsonSerializer.Deserialize<string[]>(m.Artifact.Tags)!],
                        _ when name.StartsWith("metadata.", StringComparison.Ordinal) =>
                        [
                            Inside(m.Artifact.Metadata, name["metadata.".Length..]),
                        ],
                        _ => throw Unknown("filter field", name),
                    }
            );

    /// <summary>The same in an order as "-createdAt".</summary>
    internal static List<T> Order<T>(List<T> all, string order, Dictionary<string, Func<T, object?>> keys)
    {
        var name = (order[0] is '-' or '+' ? order[1..] : order).Replace("_at", "At", StringComparison.Ordinal);
        var key = keys.GetValueOrDefault(name) ?? throw Unknown("order", name);
        return order[0] == '-' ? [.. all.OrderByDescending(key)] : [.. all.OrderBy(key)];
    }

    private static JsonObject Read(string filters)
    {
        try
        {
            return JsonNode.Parse(filters) as JsonObject ?? throw new ServerFault("filters must be a JSON object.");
        }
        catch (JsonException e)
        {
            throw new ServerFault($"filters is not JSON: {JsonLimits.Short(e.Message, 200)}");
        }
    }

    private static bool Matches(JsonObject filter, Func<string, string?[]> values) =>
        filter.All(f =>
            f.Key switch
            {
                "$and" => Parts(f.Value).All(p => Matches(p, values)),
                "$or" => Parts(f.Value).Any(p => Matches(p, values)),
                "$nor" => !Parts(f.Value).Any(p => Matches(p, values)),
                _ => Test(values(f.Key), f.Value),
            }
        );

    private static bool Test(string?[] values, JsonNode? test) =>
        test is JsonObject operators
            ? operators.All(o =>
                o.Key switch
                {
                    "$eq" => Equal(values, o.Value),
                    "$ne" => !Equal(values, o.Value),
                    "$in" => Items(o.Value).Any(v => Equal(values, v)),
                    "$nin" => !Items(o.Value).Any(v => Equal(values, v)),
                    "$gt" => values.Any(v => Compare(v, o.Value) > 0),
                    "$gte" => values.Any(v => Compare(v, o.Value) >= 0),
                    "$lt" => values.Any(v => Compare(v, o.Value) < 0),
                    "$lte" => values.Any(v => Compare(v, o.Value) <= 0),
                    "$exists" => values.Any(v => v is not null) == (o.Value?.GetValue<bool>() ?? false),
                    "$contains" => values.Any(v => v?.Contains(Text(o.Value) ?? "", StringComparison.Ordinal) == true),
                    "$regex" => values.Any(v =>
                        v is not null
                        && Regex.IsMatch(
                            v,
                            Text(o.Value) ?? "",
                            RegexOptions.CultureInvariant,
                            TimeSpan.FromMilliseconds(200)
                        )
                    ),
                    "$not" => !Test(values, o.Value),
                    _ => throw Unknown("filter operator", o.Key),
                }
            )
            : Equal(values, test);

    private static bool Equal(string?[] values, JsonNode? wanted) =>
        wanted is null ? values.All(v => v is null) : values.Contains(Text(wanted), StringComparer.Ordinal);

    private static int? Compare(string? value, JsonNode? with) =>
        value is null || Text(with) is not { } text ? null
        : double.TryParse(value, System.Globalization.CultureInfo.InvariantCulture, out var a)
        && double.TryParse(text, System.Globalization.CultureInfo.InvariantCulture, out var b)
            ? a.CompareTo(b)
        : string.CompareOrdinal(value, text);

    private static string? Text(JsonNode? node) => node?.ToString();

    private static string? Inside(string? metadata, string path)
    {
        var node = metadata is null ? null : JsonNode.Parse(metadata);
        foreach (var part in path.Split('.'))
        {
            node = (node as JsonObject)?[part];
        }

        return Text(node);
    }

    private static IEnumerable<JsonObject> Parts(JsonNode? list) => Items(list).OfType<JsonObject>();

    private static JsonArray Items(JsonNode? list) =>
        list as JsonArray ?? throw new ServerFault("filters: an operator that takes a list was given something else.");

    private static ServerFault Unknown(string what, string name) =>
        new($"Unknown artifact {what} \"{JsonLimits.Short(name)}\".");
}
