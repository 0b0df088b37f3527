using System.Buffers;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.PowerShell;

/// <summary>The combinations of arguments with several values each.</summary>
internal static class ArgumentGrid
{
    internal static IEnumerable<ArgumentSet?> Combinations(JsonObject? grid)
    {
        if (grid is null || grid.Count == 0)
        {
            yield return null;
            yield break;
        }

        var names = grid.Select(g => g.Key).ToArray();
        var values = grid.Select(g =>
                g.Value is JsonArray list ? list.Select(ArgumentSet.Plain).ToArray() : [ArgumentSet.Plain(g.Value)]
            )
            .ToArray();
        if (values.Any(v => v.Length == 0))
        {
            throw new LaunchException(
                "GridEmpty",
                LaunchErrorCategory.InvalidArgument,
                $"The grid has no value for {names[Array.FindIndex(values, v => v.Length == 0)]}, so there is no combination. Give it a value, or leave the name out.",
                null
            );
        }

        // Counts like a clock: the last name turns fastest.
        var at = new int[names.Length];
        while (true)
        {
            yield return ArgumentSet.FromPairs(
                names.Select((n, i) => new KeyValuePair<string, object?>(n, values[i][at[i]]))
            );
            var place = names.Length - 1;
            while (place >= 0 && ++at[place] == values[place].Length)
            {
                at[place--] = 0;
            }

            if (place < 0)
            {
                yield break;
            }
        }
    }
}
