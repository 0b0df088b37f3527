using System.Collections;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Resources;

namespace WandbLaunch.PowerShell;

/// <summary>Completes what kubectl's configuration has, of this machine or of -KubeConfig.</summary>
public abstract class KubeCompleter : LocalCompleter
{
    /// <summary>The parameter whose values these are.</summary>
    private protected abstract string Parameter { get; }

    private protected override IReadOnlyList<string> DependsOn => ["KubeConfig"];

    private protected override bool InFolder => true;

    private protected override Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    )
    {
        var file = One(bound, "KubeConfig") is { } given ? Path.GetFullPath(given, Folder) : null;
        var options = new LaunchOptions { Settings = ResourceSettings.Of(("KubeConfig", file)) };
        return Task.FromResult<IReadOnlyList<(string, string)>>([
            .. LaunchStore
                .Of(new LaunchContext())
                .Resources.All.SelectMany(r => r.Complete(ResourceSettings.NameOf(Parameter), options))
                .Select(v => (v, "")),
        ]);
    }
}
