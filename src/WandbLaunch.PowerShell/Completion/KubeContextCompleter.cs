using System.Collections;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Resources;

namespace WandbLaunch.PowerShell;

/// <summary>Completes contexts of kubectl's configuration.</summary>
public sealed class KubeContextCompleter : LocalCompleter
{
    private protected override IReadOnlyList<string> DependsOn => ["KubeConfig"];

    private protected override bool InFolder => true;

    private protected override Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    )
    {
        var options = new LaunchOptions
        {
            KubeConfig = One(bound, "KubeConfig") is { } file ? Path.GetFullPath(file, Folder) : null,
        };
        return Task.FromResult<IReadOnlyList<(string, string)>>([
            .. LaunchStore
                .Of(new LaunchContext())
                .Resources.All.SelectMany(r => r.Complete(nameof(LaunchOptions.KubeContext), options))
                .Select(v => (v, "")),
        ]);
    }
}
