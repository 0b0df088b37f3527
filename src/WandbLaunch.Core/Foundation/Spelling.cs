namespace WandbLaunch.Foundation;

/// <summary>Finds what was meant by a name that is mistyped.</summary>
internal static class Spelling
{
    /// <summary>The name that is nearest to what was typed; null where none is near.</summary>
    internal static string? Near(string typed, IEnumerable<string> names) =>
        names
            .Select(n => (Name: n, Distance: Distance(typed.ToLowerInvariant(), n)))
            .Where(n => n.Distance <= Math.Max(2, n.Name.Length / 3))
            .OrderBy(n => n.Distance)
            .Select(n => n.Name)
            .FirstOrDefault();

    // Levenshtein: letters to add, take away or change.
    private static int Distance(string a, string b)
    {
        var row = Enumerable.Range(0, b.Length + 1).ToArray();
        for (var i = 1; i <= a.Length; i++)
        {
            var before = row[0];
            row[0] = i;
            for (var j = 1; j <= b.Length; j++)
            {
                (before, row[j]) = (
                    row[j],
                    Math.Min(Math.Min(row[j], row[j - 1]) + 1, before + (a[i - 1] == b[j - 1] ? 0 : 1))
                );
            }
        }

        return row[b.Length];
    }
}
