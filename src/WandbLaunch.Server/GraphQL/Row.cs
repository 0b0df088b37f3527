namespace WandbLaunch.Server.Schema;

/// <summary>An object of an answer: its plain fields by their names, and the record that it was made of.</summary>
internal sealed class Row() : Dictionary<string, object?>(StringComparer.Ordinal)
{
    /// <summary>What fields that ask the database need to know.</summary>
    internal object? Record { get; init; }

    /// <summary>A page of rows as a connection (edges, pageInfo).</summary>
    internal static Row Connection(IEnumerable<Row> rows, Func<Row, string> cursor, bool more)
    {
        var edges = rows.Select(r => new Row { ["node"] = r, ["cursor"] = cursor(r) }).ToArray();
        return new Row
        {
            ["edges"] = edges,
            ["pageInfo"] = new Row
            {
                ["hasNextPage"] = more,
                ["endCursor"] = edges.Length > 0 ? edges[^1]["cursor"] : null,
            },
        };
    }
}
