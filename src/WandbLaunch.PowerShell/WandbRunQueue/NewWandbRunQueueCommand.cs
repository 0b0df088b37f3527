using System.Management.Automation;
using WandbLaunch.Foundation;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Makes a queue.</summary>
/// <remarks>A queue is for the whole team, or with -Access Private for you alone. -PrioritizationMode V0 lets items have priorities. -Resource and -ResourceArgs set where and how its items run, unless they say so themselves. The queue named default needs not be made: its first item does that.</remarks>
/// <example><para>A queue for the GPU machines</para><code>Connect-Wandb -Local; New-WandbRunQueue gpu -PrioritizationMode V0</code><para>Its items may have priorities.</para></example>
/// <example><para>A queue whose runs get 4 GB, or what the item says</para><code>Connect-Wandb -Local; New-WandbRunQueue small -Resource local-container -ResourceArgs @{ memory = '{{memory}}' } -TemplateVariable @{ memory = @{ type = 'string'; default = '4g' } }</code><para>Items choose with -TemplateVariable @{ memory = '8g' }.</para></example>
/// <example><para>One for each machine</para><code>Connect-Wandb -Local; 'small', 'large' | New-WandbRunQueue -Resource local-container</code><para>Names come from the pipeline too.</para></example>
[Cmdlet(VerbsCommon.New, "WandbRunQueue", SupportsShouldProcess = true)]
[OutputType("WandbLaunch.Wandb.WandbRunQueue")]
public sealed class NewWandbRunQueueCommand : RunQueueConfigurationCommand
{
    /// <summary>Name, 1 to 64 characters.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true)]
    [ValidateLength(1, 64)]
    [Alias("Queue")]
    public string[] Name { get; set; } = [];

    /// <summary>Team: whoever sees the project. Private: only you.</summary>
    [Parameter]
    [ValidateSet("Team", "Private")]
    public string Access { get; set; } = "Team";

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
                if (await server.Queues.FindAsync(entity, project, name, server.Username, Token) is { } there)
                {
                    throw new LaunchException(
                        "QueueExists",
                        LaunchErrorCategory.ResourceExists,
                        $"There is a queue {name} in {entity}/{project} already. Change it with Set-WandbRunQueue.",
                        there
                    );
                }

                if (!await ShouldProcessAsync($"{entity}/{project}/{name}", "Make queue"))
                {
                    continue;
                }

                await server.Queues.CreateAsync(
                    new NewQueue(entity, project, name, Access == "Private" ? "USER" : "PROJECT", PrioritizationMode),
                    Token
                );
                if (Configures)
                {
                    await ConfigureAsync(server, entity, project, name, null);
                }

                Output(await server.Queues.GetAsync(entity, project, name, server.Username, Token));
            }
            catch (LaunchException e)
            {
                Error(e, name);
            }
        }
    }
}
