namespace WandbLaunch.PowerShell;

/// <summary>Base of the completers whose values stand in files of this machine: nothing is older than the last Tab, unless reading takes too long.</summary>
public abstract class LocalCompleter : LaunchCompleter
{
    private protected sealed override TimeSpan Fresh => TimeSpan.Zero;
}
