using System.Management.Automation;
using WandbLaunch.Foundation;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Changes how the items of queues run.</summary>
/// <remarks>Sets resource, its arguments, template variables and prioritization mode; what is not given stays. Items that wait already keep what they were pushed with.</remarks>
/// <example><para>More memory for everything that is queued from now on</para><code>Connect-Wandb -Local; Set-WandbRunQueue gpu -Resource local-container -ResourceArgs @{ memory = '16g' }</code><para>Items with resource arguments of their own keep those.</para></example>
/// <example><para>Switch priorities on</para><code>Connect-Wandb -Local; Get-WandbRunQueue gpu | Set-WandbRunQueue -Resource local-container -PrioritizationMode V0 -PassThru</code><para>-PassThru writes the queue as it is then.</para></example>
/// <example><para>No priorities any more, for all GPU queues</para><code>Connect-Wandb -Local; Get-WandbRunQueue gpu* | Set-WandbRunQueue -Resource local-container -PrioritizationMode Disabled</code><para>Items keep the order in which they came.</para></example>
[Cmdlet(VerbsCommon.Set, "WandbRunQueue", SupportsShouldProcess = true)]
[OutputType("WandbLaunch.Wandb.WandbRunQueue")]
public sealed class SetWandbRunQueueCommand : RunQueueConfigurationCommand
{
    /// <summary>Names of queues.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [Alias("Queue")]
    [ArgumentCompleter(typeof(QueueCompleter))]
    public string[] Name { get; set; } = [];

    /// <summary>Write the queue.</summary>
    [Parameter]
    public SwitchParameter PassThru { get; set; }

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds => [nameof(WandbRunQueue)];

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var (server, entity, project) = await WhereAsync();
        foreach (var name in Name)
        {
            try
            {
                var queue = await server.Queues.GetAsync(entity, project, name, server.Username, Token);
                if (await ShouldProcessAsync($"{entity}/{project}/{name}", "Change queue"))
                {
                    await ConfigureAsync(
                        server,
                        entity,
                        project,
                        name,
                        await server.Queues.ConfigurationAsync(queue, Token),
                        PrioritizationMode
                    );
                }

                if (PassThru)
                {
                    await OutputQueueAsync(server, entity, project, name);
                }
            }
            catch (LaunchException e)
            {
                Error(e, name);
            }
        }
    }
}
