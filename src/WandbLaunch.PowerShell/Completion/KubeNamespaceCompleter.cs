namespace WandbLaunch.PowerShell;

/// <summary>Completes namespaces that contexts of kubectl's configuration are in.</summary>
public sealed class KubeNamespaceCompleter : KubeCompleter
{
    private protected override string Parameter => "Namespace";
}
