namespace WandbLaunch.Foundation;

/// <summary>
/// What a document from outside may be: everything that walks one calls itself once for each level, and everything that
/// answers with one must be able to carry it. One object counts one document.
/// </summary>
/// <param name="where">Names the document in the error.</param>
/// <param name="errorId">Id of the error.</param>
/// <param name="maxDepth">Levels of maps and lists.</param>
/// <param name="maxNodes">Values and keys.</param>
internal sealed class TreeLimits(
    string where,
    string errorId,
    int maxDepth = DocumentLimits.Document.Levels,
    int maxNodes = DocumentLimits.Document.Values
)
{
    private int _nodes;
    private long _characters;

    /// <summary>Counts one value, <paramref name="depth"/> maps and lists below the top.</summary>
    /// <exception cref="LaunchException">The document is too much.</exception>
    internal void Add(int depth, int characters = 0)
    {
        if (depth > maxDepth)
        {
            throw Fault(
                $"it is nested more than {maxDepth} levels deep, or holds itself. Make it flatter, or keep that part in a file of the code"
            );
        }

        if (++_nodes > maxNodes)
        {
            throw Fault(
                $"it has more than {maxNodes} values, aliases written out. Keep large data in a file of the code or an artifact"
            );
        }

        _characters += characters;
        if (_characters > DocumentLimits.Document.Characters)
        {
            throw TooLong();
        }
    }

    /// <summary>Refuses a text that is too long before it is read.</summary>
    /// <exception cref="LaunchException">The document is too much.</exception>
    internal void CheckLength(long characters)
    {
        if (characters > DocumentLimits.Document.Characters)
        {
            throw TooLong();
        }
    }

    /// <summary>The error for a document that cannot be read.</summary>
    internal LaunchException Fault(string why, Exception? inner = null) =>
        new(errorId, LaunchErrorCategory.InvalidData, $"{where} cannot be read: {why.TrimEnd('.')}.", where, inner);

    private LaunchException TooLong() =>
        Fault(
            $"it is longer than {DocumentLimits.Document.Characters >> 20} million characters, aliases written out. Keep large data in a file of the code or an artifact"
        );
}
