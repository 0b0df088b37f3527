namespace WandbLaunch.Foundation;

/// <summary>
/// The links of a whole tree. One is kept when its target stays in the tree and passes through folders only: a link on
/// the way, or at its end, would let a chain of harmless links lead anywhere.
/// </summary>
internal sealed class TreeLinks
{
    private readonly HashSet<string> _links = new(StringComparer.Ordinal);

    internal void Add(string path) => _links.Add(SafePath.Fold(path));

    /// <summary>True when this path is one of the links, on a file system that ignores case and forms of letters too.</summary>
    internal bool IsLink(string path) => _links.Contains(SafePath.Fold(path));

    /// <summary>Says why the link is refused, or null.</summary>
    internal string? Fault(string path, string target)
    {
        if (SafePath.TargetFault(target) is { } fault)
        {
            return fault;
        }

        var at = path.Split('/').SkipLast(1).ToList();
        foreach (var part in target.Split('/'))
        {
            if (part is "" or ".")
            {
                continue;
            }

            if (part == "..")
            {
                if (at.Count == 0)
                {
                    return "leads out of the folder";
                }

                at.RemoveAt(at.Count - 1);
                continue;
            }

            at.Add(part);
            if (IsLink(string.Join('/', at)))
            {
                return $"leads through another link, '{SafePath.Show(string.Join('/', at))}'";
            }
        }

        return null;
    }
}
