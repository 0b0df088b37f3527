namespace WandbLaunch.PowerShell;

/// <summary>Completes contexts of kubectl's configuration.</summary>
public sealed class KubeContextCompleter : KubeCompleter
{
    private protected override string Parameter => "KubeContext";
}
