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
public sealed class RemoveWandbRunQueueCommand : QueueCommand
{
    /// <summary>Names of queues; wildcards are allowed.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [Alias("Queue")]
    [ArgumentCompleter(typeof(QueueCompleter))]
    [SupportsWildcards]
    public string[] Name { get; set; } = [];

    /// <summary>Write the queues that were removed, as they were.</summary>
    [Parameter]
    public SwitchParameter PassThru { get; set; }

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds => [nameof(WandbRunQueue)];

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var (server, entity, project) = await WhereAsync();
        foreach (var name in await NamesAsync(server, entity, project))
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

    // The default queue stays, so a wildcard does not mean it.
    private async Task<IEnumerable<string>> NamesAsync(WandbConnection server, string entity, string project)
    {
        if (!Name.Any(WildcardPattern.ContainsWildcardCharacters))
        {
            return Name;
        }

        var all = await server.Queues.QueuesAsync(entity, project, Token);
        return Name.SelectMany(n =>
            WildcardPattern.ContainsWildcardCharacters(n)
                ? all.Select(q => q.Name)
                    .Where(q =>
                        q != QueueApi.DefaultQueue && WildcardPattern.Get(n, WildcardOptions.IgnoreCase).IsMatch(q)
                    )
                : [n]
        );
    }
}
