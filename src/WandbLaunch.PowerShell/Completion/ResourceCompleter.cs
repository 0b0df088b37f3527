using System.Collections;

namespace WandbLaunch.PowerShell;

/// <summary>Completes resources.</summary>
public sealed class ResourceCompleter : LaunchCompleter
{
    private protected override Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    ) =>
        Task.FromResult<IReadOnlyList<(string, string)>>([
            ("local-container", "a Docker container of this machine"),
            ("local-process", "a process of this machine"),
        ]);
}
