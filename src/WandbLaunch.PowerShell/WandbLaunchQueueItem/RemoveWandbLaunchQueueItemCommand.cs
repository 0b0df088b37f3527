using System.Management.Automation;
using WandbLaunch.Foundation;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Takes items out of a queue before they start.</summary>
/// <remarks>Removes runs that wait. One that an agent has taken already stays and is an error: stop its run instead. Asks before it removes.</remarks>
/// <example><para>Empty a queue</para><code>Connect-Wandb -Local; Get-WandbLaunchQueueItem gpu -State pending | Remove-WandbLaunchQueueItem -Confirm:$false</code><para>Runs that were started go on.</para></example>
/// <example><para>Which of one project would go?</para><code>Connect-Wandb -Local; Get-WandbLaunchQueueItem gpu -State pending | Where-Object Project -eq demo | Remove-WandbLaunchQueueItem -WhatIf</code><para>Removes nothing.</para></example>
/// <example><para>Take back what was just added</para><code>Connect-Wandb -Local; $items = Add-WandbLaunchQueueItem https://github.com/me/train -Grid @{ lr = 0.1, 0.01 } -Queue gpu; $items | Remove-WandbLaunchQueueItem -Confirm:$false</code><para>What Add-WandbLaunchQueueItem writes is what goes in.</para></example>
[Cmdlet(VerbsCommon.Remove, "WandbLaunchQueueItem", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.High)]
public sealed class RemoveWandbLaunchQueueItemCommand : QueueItemCommand
{
    private protected override async Task ActAsync(WandbConnection server, WandbRunQueue queue, string id)
    {
        if (
            !await ShouldProcessAsync(
                $"item {id} of {queue.Entity}/{queue.QueueProject}/{queue.Name}",
                "Remove queue item"
            )
        )
        {
            return;
        }

        if (!await server.Queues.DeleteItemAsync(queue, id, Token))
        {
            var item = await server.Queues.ItemAsync(queue, id, Token);
            throw item is null
                ? new LaunchException(
                    "ItemNotFound",
                    LaunchErrorCategory.ObjectNotFound,
                    $"The queue {queue.Name} has no item {id}.",
                    id
                )
                : new LaunchException(
                    "ItemStarted",
                    LaunchErrorCategory.InvalidOperation,
                    $"The item {id} is {item.State} already and stays in the queue's list.{(item.RunId is null ? "" : $" Its run is {item.RunId}: stop it with Stop-WandbLaunch on the agent's machine.")}",
                    item
                );
        }
    }
}
