using System.Management.Automation;

namespace WandbLaunch.PowerShell;

/// <summary>Lets agents go on with paused queues.</summary>
/// <remarks>Undoes Suspend-WandbRunQueue, and the pause of the server's page. Agents that wait hear of it at once. A queue that is not paused stays as it is.</remarks>
/// <example><para>After maintenance</para><code>Connect-Wandb -Local; Resume-WandbRunQueue gpu</code><para>Agents take what waits, in its order.</para></example>
/// <example><para>Everything that is paused</para><code>Connect-Wandb -Local; Get-WandbRunQueue | Where-Object Paused | Resume-WandbRunQueue</code><para>Queues flow from one command to the next.</para></example>
/// <example><para>Which would go on?</para><code>Connect-Wandb -Local; Resume-WandbRunQueue gpu* -WhatIf</code><para>Changes nothing.</para></example>
[Cmdlet(VerbsLifecycle.Resume, "WandbRunQueue", SupportsShouldProcess = true)]
[OutputType("WandbLaunch.Wandb.WandbRunQueue")]
public sealed class ResumeWandbRunQueueCommand : RunQueuePauseCommand
{
    /// <inheritdoc/>
    private protected override bool Pauses => false;
}
