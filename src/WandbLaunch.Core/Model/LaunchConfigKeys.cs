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
            var near = Spelling.Near(shown, names);
            (faults ??= []).Add(
                near is null ? $"'{section}{shown}'" : $"'{section}{shown}' (is '{section}{near}' meant?)"
            );
        }
    }
}
