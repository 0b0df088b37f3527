using System.Collections;

namespace WandbLaunch.PowerShell;

/// <summary>Completes what builds images for a cluster.</summary>
public sealed class ImageBuilderCompleter : LocalCompleter
{
    private protected override Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    ) =>
        Task.FromResult<IReadOnlyList<(string, string)>>([
            ("docker", "the Docker Engine of this machine"),
            ("kaniko", "a Job of the cluster"),
            ("buildkit", "a Job of the cluster, without root"),
        ]);
}
