namespace WandbLaunch.Server.Schema;

/// <summary>An object of an answer: its plain fields by their names, and the record that it was made of.</summary>
internal sealed class Row() : Dictionary<string, object?>(StringComparer.Ordinal)
{
    /// <summary>What fields that ask the database need to know.</summary>
    internal object? Record { get; init; }

    /// <summary>A page out of all rows: those after the one with this cursor.</summary>
    internal static Row Page(IReadOnlyCollection<Row> all, Func<Row, string> cursor, string? after, int first)
    {
        var left = (after is { Length: > 0 } ? all.SkipWhile(r => cursor(r) != after).Skip(1) : all).ToList();
        return Connection(left.Take(first), cursor, left.Count > first, all.Count);
    }

    /// <summary>A page of rows as a connection (edges, pageInfo, totalCount).</summary>
    internal static Row Connection(IEnumerable<Row> rows, Func<Row, string> cursor, bool more, int? total = null)
    {
        var edges = rows.Select(r => new Row { ["node"] = r, ["cursor"] = cursor(r) }).ToArray();
        return new Row
        {
            ["edges"] = edges,
            ["totalCount"] = total ?? edges.Length,
            ["pageInfo"] = new Row
            {
                ["hasNextPage"] = more,
                ["endCursor"] = edges.Length > 0 ? edges[^1]["cursor"] : null,
            },
        };
    }
}
