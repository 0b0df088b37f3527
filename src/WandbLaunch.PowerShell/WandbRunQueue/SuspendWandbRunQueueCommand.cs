using System.Management.Automation;

namespace WandbLaunch.PowerShell;

/// <summary>Pauses queues.</summary>
/// <remarks>Agents are given nothing of a paused queue; what they have taken already goes on, and more can be queued. Resume-WandbRunQueue lets agents go on. The server keeps it, so it holds for all agents and after a restart. It is the pause of the server's page. The server of this module can do this; W&amp;B's own cannot.</remarks>
/// <example><para>Nothing new during maintenance</para><code>Connect-Wandb -Local; Suspend-WandbRunQueue gpu</code><para>What runs goes on to its end.</para></example>
/// <example><para>All GPU queues</para><code>Connect-Wandb -Local; Get-WandbRunQueue gpu* | Suspend-WandbRunQueue -PassThru</code><para>-PassThru writes the queues, with Paused.</para></example>
/// <example><para>Which would be paused?</para><code>Connect-Wandb -Local; Suspend-WandbRunQueue * -WhatIf</code><para>Pauses nothing. Queues that are paused already are left out.</para></example>
[Cmdlet(VerbsLifecycle.Suspend, "WandbRunQueue", SupportsShouldProcess = true)]
[OutputType("WandbLaunch.Wandb.WandbRunQueue")]
public sealed class SuspendWandbRunQueueCommand : RunQueuePauseCommand
{
    /// <inheritdoc/>
    private protected override bool Pauses => true;
}
