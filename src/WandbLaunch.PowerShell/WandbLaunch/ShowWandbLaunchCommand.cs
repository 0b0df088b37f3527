using System.Management.Automation;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;

namespace WandbLaunch.PowerShell;

/// <summary>Opens the page of the W&amp;B run that a launch is.</summary>
/// <remarks>Takes launches by id or from the pipeline. Where there is no browser the address is written instead. A launch that was started without a server has no page, and is an error.</remarks>
/// <example><para>The page of what runs now</para><code>Get-WandbLaunch -State Running | Show-WandbLaunch</code><para>One page for each.</para></example>
/// <example><para>Start a run and look at it</para><code>Connect-Wandb -Local; Start-WandbLaunch ./train -EntryPoint 'python train.py' -Resource local-process -Quiet | Show-WandbLaunch -PassThru</code><para>Writes the address too.</para></example>
/// <example><para>Which page would be opened?</para><code>Get-WandbLaunch | Where-Object Uri | Select-Object -First 1 | Show-WandbLaunch -WhatIf</code><para>Opens nothing.</para></example>
[Cmdlet(VerbsCommon.Show, "WandbLaunch", SupportsShouldProcess = true)]
[OutputType(typeof(string))]
public sealed class ShowWandbLaunchCommand : PageCommand
{
    /// <summary>Ids of launches.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(LaunchIdCompleter))]
    public string[] Id { get; set; } = [];

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds => [nameof(LaunchedRun), "AgentEvent"];

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        foreach (var id in Id)
        {
            try
            {
                var run = await LaunchStore.Of(Context).GetAsync(id, Token);
                await OpenAsync(run.Uri ?? throw NoPage(id, run));
            }
            catch (LaunchException e)
            {
                Error(e, id);
            }
        }
    }

    internal static LaunchException NoPage(string id, object? run) =>
        new(
            "PageMissing",
            LaunchErrorCategory.ObjectNotFound,
            $"The launch {id} has no page: no server was connected when it was started. See what it printed with Receive-WandbLaunchLog {id}.",
            run
        );
}
