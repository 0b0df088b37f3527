using System.Management.Automation;

namespace WandbLaunch.PowerShell;

/// <summary>Shows what the caches hold.</summary>
/// <remarks>Shows the git mirrors, workspaces and virtual environments that make a second launch fast. The oldest go by themselves when all together are larger than 20 GB (WANDBLAUNCH_CACHE_MAX_MB changes that).</remarks>
/// <example><para>The largest entries</para><code>Get-WandbLaunchCache</code><para>Pipe into Sort-Object Size -Descending.</para></example>
/// <example><para>Only virtual environments</para><code>Get-WandbLaunchCache -Kind venvs</code><para>One for each Python and list of packages.</para></example>
/// <example><para>How much room does each kind take?</para><code>Get-WandbLaunchCache | Group-Object Kind | Select-Object Name, @{ n = 'MB'; e = { [int](($_.Group | Measure-Object Size -Sum).Sum / 1MB) } }</code><para>WANDBLAUNCH_CACHE_MAX_MB bounds the whole.</para></example>
[Cmdlet(VerbsCommon.Get, "WandbLaunchCache")]
[OutputType("WandbLaunch.Foundation.CacheEntry")]
public sealed class GetWandbLaunchCacheCommand : AsyncPSCmdlet
{
    /// <summary>Kinds to show: git, workspaces, venvs.</summary>
    [Parameter(Position = 0)]
    [ValidateSet("git", "workspaces", "venvs")]
    public string[] Kind { get; set; } = ["git", "workspaces", "venvs"];

    /// <inheritdoc/>
    protected override Task EndAsync()
    {
        foreach (
            var entry in Context.Cache.Entries().Where(e => Kind.Contains(e.Kind, StringComparer.OrdinalIgnoreCase))
        )
        {
            Output(entry);
        }

        return Task.CompletedTask;
    }
}
