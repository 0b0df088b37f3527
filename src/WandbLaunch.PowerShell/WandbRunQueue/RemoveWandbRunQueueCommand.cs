using System.Management.Automation;
using WandbLaunch.Foundation;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Deletes queues.</summary>
/// <remarks>The items that wait go with their queue; runs that were started go on. The queue named default cannot be deleted. Asks before it deletes.</remarks>
/// <example><para>Delete without being asked</para><code>Connect-Wandb -Local; Remove-WandbRunQueue old -Confirm:$false</code><para>For scripts.</para></example>
/// <example><para>Which would go?</para><code>Connect-Wandb -Local; Get-WandbRunQueue test* | Remove-WandbRunQueue -WhatIf</code><para>Deletes nothing.</para></example>
/// <example><para>Those that nothing waits in</para><code>Connect-Wandb -Local; Get-WandbRunQueue | Where-Object { $_.Name -ne 'default' -and $_.Pending -eq 0 } | Remove-WandbRunQueue -WhatIf</code><para>The default queue of a project always stays.</para></example>
[Cmdlet(VerbsCommon.Remove, "WandbRunQueue", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.High)]
[OutputType("WandbLaunch.Wandb.WandbRunQueue")]
public sealed class RemoveWandbRunQueueCommand : NamedQueueCommand
{
    /// <summary>Write the queues that were removed, as they were.</summary>
    [Parameter]
    public SwitchParameter PassThru { get; set; }

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var (server, entity, project) = await WhereAsync();
        // The default queue stays, so a wildcard does not mean it.
        foreach (var name in await NamesAsync(server, entity, project, QueueApi.DefaultQueue))
        {
            try
            {
                var queue = await server.Queues.GetAsync(entity, project, name, server.Username, Token);
                if (name == QueueApi.DefaultQueue)
                {
                    throw new LaunchException(
                        "DefaultQueueStays",
                        LaunchErrorCategory.InvalidOperation,
                        "The default queue of a project cannot be deleted. Empty it with: Get-WandbLaunchQueueItem default -State pending | Remove-WandbLaunchQueueItem",
                        queue
                    );
                }

                if (
                    await ShouldProcessAsync(
                        $"{entity}/{project}/{name}{(queue.Pending is > 0 ? $" with {queue.Pending} items that wait" : "")}",
                        "Delete queue"
                    )
                )
                {
                    await server.Queues.DeleteAsync(queue, Token);
                    if (PassThru)
                    {
                        Output(queue);
                    }
                }
            }
            catch (LaunchException e)
            {
                Error(e, name);
            }
        }
    }
}
