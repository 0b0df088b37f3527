using System.Text.RegularExpressions;
using WandbLaunch.Foundation;

namespace WandbLaunch.Model;

/// <summary>Where a job is: entity/project/name:alias, or its page on a W&amp;B server.</summary>
internal sealed partial record JobPath(string Entity, string Project, string Name, string Alias)
{
    internal static JobPath Parse(string text)
    {
        var match = Reference().Match(text.Trim());
        match = match.Success ? match : Page().Match(text.Trim());
        return match.Success
            ? new JobPath(
                Uri.UnescapeDataString(match.Groups["entity"].Value),
                Uri.UnescapeDataString(match.Groups["project"].Value),
                Uri.UnescapeDataString(match.Groups["name"].Value),
                match.Groups["alias"] is { Success: true, Value: not "_view" } alias
                    ? Uri.UnescapeDataString(alias.Value)
                    : "latest"
            )
            : throw new LaunchException(
                "JobNameInvalid",
                LaunchErrorCategory.InvalidArgument,
                $"'{text}' is not a job. A job is entity/project/name:alias, or its address https://wandb.ai/<entity>/<project>/artifacts/job/<name>/<alias>.",
                text
            );
    }

    /// <summary>True for the address of a job's page.</summary>
    internal static bool IsPage(string text) => Page().IsMatch(text);

    public override string ToString() => $"{Entity}/{Project}/{Name}:{Alias}";

    [GeneratedRegex(@"^(?<entity>[^/\s:]+)/(?<project>[^/\s:]+)/(?<name>[^/\s:]+)(?::(?<alias>[^/\s:]+))?$")]
    private static partial Regex Reference();

    [GeneratedRegex(
        @"^https?://[^/]+/(?<entity>[^/]+)/(?<project>[^/]+)/artifacts/job/(?<name>[^/?#]+)(?:/(?<alias>[^/?#]+))?(?:[/?#].*)?$"
    )]
    private static partial Regex Page();
}
