using System.Management.Automation;
using WandbLaunch.Agents;
using WandbLaunch.Foundation;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Gets queues.</summary>
/// <remarks>Writes the queues of an entity, with how many items wait in each where the server tells. A queue is where runs wait until an agent takes them.</remarks>
/// <example><para>All queues</para><code>Connect-Wandb -Local; Get-WandbRunQueue</code><para>Name, access, and how many wait.</para></example>
/// <example><para>What waits in the queues whose name begins with gpu?</para><code>Get-WandbRunQueue gpu* | Get-WandbLaunchQueueItem -State pending</code><para>Queues flow into the item commands.</para></example>
/// <example><para>Which queues are empty?</para><code>Connect-Wandb -Local; Get-WandbRunQueue | Where-Object Pending -eq 0 | Select-Object Name, QueueProject</code><para>For what an agent could end on: -StopWhenEmpty.</para></example>
[Cmdlet(VerbsCommon.Get, "WandbRunQueue")]
[OutputType("WandbLaunch.Wandb.WandbRunQueue")]
public sealed class GetWandbRunQueueCommand : QueueCommand
{
    /// <summary>Names of queues; wildcards are allowed.</summary>
    [Parameter(Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [Alias("Queue")]
    [ArgumentCompleter(typeof(QueueCompleter))]
    [SupportsWildcards]
    public string[] Name { get; set; } = ["*"];

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds =>
        [nameof(WandbRunQueue), nameof(WandbLaunchQueueItem), nameof(WandbLaunchAgent), nameof(AgentEvent)];

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var (server, entity, project) = await WhereAsync();
        var names = Kind == nameof(WandbLaunchAgent) ? Texts("Queues") : Name;
        IReadOnlyList<WandbRunQueue> all;
        try
        {
            all = await server.Queues.QueuesAsync(entity, project, Token);
        }
        catch (LaunchException e)
            when (e.ErrorId == "ProjectNotFound"
                && QueueProject is null
                && names.All(WildcardPattern.ContainsWildcardCharacters)
            )
        {
            // Nobody has made a queue yet.
            return;
        }

        foreach (var name in names)
        {
            var pattern = WildcardPattern.Get(name, WildcardOptions.IgnoreCase);
            var found = all.Where(q => pattern.IsMatch(q.Name)).ToList();
            OutputAll(await server.Queues.WithConfigurationsAsync(found, Token));
            if (found.Count == 0 && !WildcardPattern.ContainsWildcardCharacters(name))
            {
                Error(await server.Queues.QueueMissingAsync(entity, project, name, Token), name);
            }
        }
    }
}
