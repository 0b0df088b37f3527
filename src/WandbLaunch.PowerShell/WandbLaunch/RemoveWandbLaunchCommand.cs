using System.Management.Automation;
using WandbLaunch.Foundation;

namespace WandbLaunch.PowerShell;

/// <summary>Removes launches that are done, with their logs.</summary>
/// <remarks>Removes the record, the log and the files of a launch from this machine. W&amp;B runs are not touched. A launch that still runs must be stopped first.</remarks>
/// <example><para>Tidy up what is older than a month</para><code>Get-WandbLaunch -State Finished, Stopped | Where-Object { $_.Finished -lt [DateTime]::Now.AddMonths(-1) } | Remove-WandbLaunch -Confirm:$false</code><para>Logs go with them.</para></example>
/// <example><para>See what would go</para><code>Get-WandbLaunch -State Failed | Remove-WandbLaunch -WhatIf</code><para>Nothing is removed.</para></example>
/// <example><para>Keep the newest ten</para><code>Get-WandbLaunch -State Finished, Failed, Stopped | Select-Object -Skip 10 | Remove-WandbLaunch -Confirm:$false</code><para>Get-WandbLaunch writes the newest first.</para></example>
[Cmdlet(VerbsCommon.Remove, "WandbLaunch", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.High)]
[OutputType("WandbLaunch.Model.LaunchedRun")]
public sealed class RemoveWandbLaunchCommand : LaunchByIdCommand
{
    /// <summary>Write the launches that were removed, as they were.</summary>
    [Parameter]
    public SwitchParameter PassThru { get; set; }

    /// <inheritdoc/>
    private protected override async Task ActAsync(string id)
    {
        var run = await Store.GetAsync(id, Token);
        if (!run.IsDone)
        {
            throw new LaunchException(
                "RunNotDone",
                LaunchErrorCategory.InvalidOperation,
                $"The run {id} is {run.State}. Stop it first: Stop-WandbLaunch {id}",
                run
            );
        }

        if (await ShouldProcessAsync($"{id} ({run.Source})", "Remove launch and log"))
        {
            Store.Remove(id);
            if (PassThru)
            {
                Output(run);
            }
        }
    }
}
