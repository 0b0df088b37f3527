using System.Text.Json;

namespace WandbLaunch.PowerShell;

/// <summary>Parameters that are for one resource alone, under the names that its settings have: SlurmHost is its host's.</summary>
internal static class ResourceSettings
{
    /// <summary>Those that were given.</summary>
    internal static IReadOnlyDictionary<string, string> Of(params (string Parameter, string? Value)[] given) =>
        given
            .Where(g => !string.IsNullOrEmpty(g.Value))
            .ToDictionary(g => NameOf(g.Parameter), g => g.Value!, StringComparer.Ordinal);

    /// <summary>The name of a setting, in an agent's file and in its policy.</summary>
    internal static string NameOf(string parameter) => JsonNamingPolicy.SnakeCaseLower.ConvertName(parameter);
}
