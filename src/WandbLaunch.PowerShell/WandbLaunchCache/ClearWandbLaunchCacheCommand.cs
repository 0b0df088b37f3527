using System.Management.Automation;
using WandbLaunch.Foundation;

namespace WandbLaunch.PowerShell;

/// <summary>Empties the caches.</summary>
/// <remarks>Removes git mirrors, workspaces and virtual environments. They are made again when they are needed. An entry that a launch uses at this moment stays.</remarks>
/// <example><para>Empty everything</para><code>Clear-WandbLaunchCache -Confirm:$false</code><para>The next launches fetch and install again.</para></example>
/// <example><para>Only what was not used for a week</para><code>Clear-WandbLaunchCache -OlderThan 7 -WhatIf</code><para>Shows what would go.</para></example>
/// <example><para>Only the copies of git repositories</para><code>Clear-WandbLaunchCache -Kind git -Confirm:$false</code><para>The next launch of each fetches it again.</para></example>
[Cmdlet(VerbsCommon.Clear, "WandbLaunchCache", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.High)]
[OutputType("WandbLaunch.Foundation.CacheEntry")]
public sealed class ClearWandbLaunchCacheCommand : AsyncPSCmdlet
{
    /// <summary>Kinds to empty: git, workspaces, venvs.</summary>
    [Parameter(Position = 0)]
    [ValidateSet("git", "workspaces", "venvs")]
    public string[] Kind { get; set; } = ["git", "workspaces", "venvs"];

    /// <summary>Only entries that were not used for so many days.</summary>
    [Parameter]
    [ValidateRange(0, 36500)]
    public int OlderThan { get; set; }

    /// <summary>Write the entries that were removed.</summary>
    [Parameter]
    public SwitchParameter PassThru { get; set; }

    /// <inheritdoc/>
    protected override async Task EndAsync()
    {
        var before = DateTime.UtcNow.AddDays(-OlderThan);
        foreach (
            var entry in Context
                .Cache.Entries()
                .Where(e => Kind.Contains(e.Kind, StringComparer.OrdinalIgnoreCase) && e.LastUsed <= before)
                .ToList()
        )
        {
            try
            {
                if (!await ShouldProcessAsync($"{entry.Path} ({entry.Size / 1048576.0:0.#} MB)", "Remove from cache"))
                {
                    continue;
                }

                if (!LaunchCache.Remove(entry))
                {
                    Warn($"{entry.Path} is in use and stays.");
                }
                else if (PassThru)
                {
                    Output(entry);
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                Error(e, entry);
            }
        }
    }
}
