using System.Management.Automation;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;

namespace WandbLaunch.PowerShell;

/// <summary>Shows launches of this machine.</summary>
/// <remarks>Shows what you launched from any shell, newest first: what ran, where it stands, its exit code, its log.</remarks>
/// <example><para>What runs now?</para><code>Get-WandbLaunch -State Starting, Pending, Running</code><para>From any shell.</para></example>
/// <example><para>The last failed one in full</para><code>@(Get-WandbLaunch -State Failed)[0]</code><para>Pipe it into Format-List for all properties.</para></example>
/// <example><para>How long did the runs of today take?</para><code>Get-WandbLaunch | Where-Object Started -gt ([DateTime]::Today) | Sort-Object Duration -Descending | Select-Object Id, State, Duration</code><para>Launches are kept until Remove-WandbLaunch.</para></example>
[Cmdlet(VerbsCommon.Get, "WandbLaunch")]
[Alias("gwl")]
[OutputType("WandbLaunch.Model.LaunchedRun")]
public sealed class GetWandbLaunchCommand : PipelineCommand
{
    /// <summary>Ids of launches, or of the W&amp;B runs that they are; wildcards are allowed.</summary>
    [Parameter(Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(LaunchIdCompleter))]
    [SupportsWildcards]
    public string[] Id { get; set; } = ["*"];

    /// <summary>Only launches in these states.</summary>
    [Parameter]
    [ValidateSet("Starting", "Pending", "Running", "Stopping", "Finished", "Failed", "Stopped", "Unknown")]
    public string[] State { get; set; } = [];

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds => LaunchKinds;

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        foreach (var id in PipedLaunches(Runs, Id))
        {
            try
            {
                if (WildcardPattern.ContainsWildcardCharacters(id))
                {
                    var pattern = WildcardPattern.Get(id, WildcardOptions.IgnoreCase);
                    (await Runs.AllAsync(r => pattern.IsMatch(r), Token)).Where(Fits).ToList().ForEach(Output);
                }
                else if (await Runs.GetAsync(id, Token) is var run && Fits(run))
                {
                    Output(run);
                }
            }
            catch (LaunchException e)
            {
                Error(e, id);
            }
        }
    }

    private LaunchStore? _runs;

    private LaunchStore Runs => _runs ??= LaunchStore.Of(Context);

    private bool Fits(LaunchedRun run) =>
        State.Length == 0 || State.Contains(run.State.ToString(), StringComparer.OrdinalIgnoreCase);
}
