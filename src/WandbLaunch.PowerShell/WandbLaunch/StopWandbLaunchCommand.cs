using System.Management.Automation;

namespace WandbLaunch.PowerShell;

/// <summary>Stops launches.</summary>
/// <remarks>The program is asked to end and gets its grace period; then everything that it started is killed, and its container removed. Works from any shell.</remarks>
/// <example><para>Stop everything that runs</para><code>Get-WandbLaunch -State Running | Stop-WandbLaunch</code><para>Add -WhatIf to see which.</para></example>
/// <example><para>Start and stop one</para><code>$run = Start-WandbLaunch ./train -EntryPoint 'python sleep.py' -Resource local-process -NoWait; $run | Stop-WandbLaunch -PassThru</code><para>Its state is Stopped.</para></example>
/// <example><para>Stop what runs longer than an hour</para><code>Get-WandbLaunch -State Running | Where-Object Started -lt ([DateTime]::Now.AddHours(-1)) | Stop-WandbLaunch</code><para>Each gets its grace period, then it is ended with all that it started.</para></example>
[Cmdlet(VerbsLifecycle.Stop, "WandbLaunch", SupportsShouldProcess = true)]
[OutputType("WandbLaunch.Model.LaunchedRun")]
public sealed class StopWandbLaunchCommand : LaunchByIdCommand
{
    /// <summary>Write the stopped launch.</summary>
    [Parameter]
    public SwitchParameter PassThru { get; set; }

    /// <inheritdoc/>
    private protected override async Task ActAsync(string id)
    {
        var run = await Store.GetAsync(id, Token);
        if (run.IsDone)
        {
            Verbose($"{id} is done already: {run.State}");
        }
        else if (await ShouldProcessAsync($"{id} ({run.Source})", "Stop run"))
        {
            run = await Store.StopAsync(id, Token);
        }

        if (PassThru)
        {
            Output(run);
        }
    }
}
