using System.Text.Json;
using WandbLaunch.Foundation;

namespace WandbLaunch.Model;

/// <summary>Keys that nobody reads: of a person they are mistyped as a rule, and what they were to say would be lost in silence.</summary>
internal sealed partial record LaunchConfig
{
    /// <summary>True when nothing in it is a launch config's: a table of something else.</summary>
    internal bool HasUnknownKeysAlone => Extra is { Count: > 0 } && this with { Extra = null } == Nothing;

    /// <summary>Refuses keys that this version does not know. For what a person writes; items may come from newer versions.</summary>
    /// <exception cref="LaunchException"><c>ConfigKeyUnknown</c>: all of them, each with the key that is meant where one is near.</exception>
    internal void CheckKeys()
    {
        List<string>? faults = null;
        Check(Extra, "", Names(LaunchConfigJson.Strict.LaunchConfig), ref faults);
        Check(Docker?.Extra, "docker.", Names(LaunchConfigJson.Strict.DockerSection), ref faults);
        Check(Git?.Extra, "git.", Names(LaunchConfigJson.Strict.GitSection), ref faults);
        Check(Overrides?.Extra, "overrides.", Names(LaunchConfigJson.Strict.OverridesSection), ref faults);
        if (faults is not null)
        {
            throw new LaunchException(
                "ConfigKeyUnknown",
                LaunchErrorCategory.InvalidData,
                $"A launch config has no key {string.Join(", ", faults)}. Mend {(faults.Count == 1 ? "it" : "them")}, or let {(faults.Count == 1 ? "it" : "them")} through with -AllowUnknownKey.",
                faults.Count == 1 ? faults[0] : faults
            );
        }
    }

    private static IEnumerable<string> Names(System.Text.Json.Serialization.Metadata.JsonTypeInfo type) =>
        type.Properties.Where(p => !p.IsExtensionData).Select(p => p.Name);

    private static void Check(
        Dictionary<string, JsonElement>? extra,
        string section,
        IEnumerable<string> names,
        ref List<string>? faults
    )
    {
        foreach (var key in extra?.Keys ?? Enumerable.Empty<string>())
        {
            var shown = ItemSpec.Shown(key, 60);
            var near = names
                .Select(n => (Name: n, Distance: Distance(shown.ToLowerInvariant(), n)))
                .Where(n => n.Distance <= Math.Max(2, n.Name.Length / 3))
                .OrderBy(n => n.Distance)
                .Select(n => n.Name)
                .FirstOrDefault();
            (faults ??= []).Add(
                near is null ? $"'{section}{shown}'" : $"'{section}{shown}' (is '{section}{near}' meant?)"
            );
        }
    }

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
