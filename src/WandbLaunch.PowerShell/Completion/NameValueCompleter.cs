using System.Collections;

namespace WandbLaunch.PowerShell;

/// <summary>
/// Base of the completers of name=value: names first, and after the equals sign what the name can be or is now. Inside
/// @{ } PowerShell asks no completer.
/// </summary>
public abstract class NameValueCompleter : LaunchCompleter
{
    private protected override bool InFolder => true;

    private protected sealed override async Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    )
    {
        var known = await KnownAsync(bound, token);
        return
        [
            .. known.Select(k => (k.Name + "=", k.Tip)),
            .. known.SelectMany(k => k.Values.Select(v => ($"{k.Name}={v}", k.Tip))),
        ];
    }

    /// <summary>The names, with the values that are known of each.</summary>
    private protected abstract Task<IReadOnlyList<(string Name, string Tip, IReadOnlyList<string> Values)>> KnownAsync(
        IDictionary bound,
        CancellationToken token
    );

    // Before the equals sign names alone, after it values alone.
    private protected sealed override bool Matches(string value) =>
        base.Matches(value) && Word.Contains('=', StringComparison.Ordinal) == !value.EndsWith('=');
}
