using System.Text.RegularExpressions;

namespace WandbLaunch.Wandb;

/// <summary>The form of an API key (protocol A.2).</summary>
internal static partial class ApiKey
{
    /// <summary>Says what is wrong with a key, or null for a good one. The key itself is never in the text.</summary>
    internal static string? Fault(string key)
    {
        if (key.Length == 0)
        {
            return "the key is empty";
        }

        if (Jwt().IsMatch(key))
        {
            return null;
        }

        // On-premises keys are "prefix-" + key; only what follows the first dash is counted.
        var dash = key.IndexOf('-', StringComparison.Ordinal);
        var rest = dash >= 0 && key.Length - dash - 1 >= 40 ? key[(dash + 1)..] : key;
        return !Word().IsMatch(rest) ? "it holds characters that no key has"
            : rest.Length < 40 ? $"it has {rest.Length} characters; a key has 40 or more"
            : null;
    }

    [GeneratedRegex(@"^[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]{4,}\.[A-Za-z0-9_-]+$")]
    private static partial Regex Jwt();

    [GeneratedRegex(@"^[\w-]+$")]
    private static partial Regex Word();
}
