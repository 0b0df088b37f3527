using System.Management.Automation;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Makes a queue.</summary>
/// <remarks>A queue is for the whole team, or with -Access Private for you alone. -PrioritizationMode V0 lets items have priorities. -Resource and -ResourceArgs set where and how its items run, unless they say so themselves. The queue named default needs not be made: its first item does that. A queue from the pipeline is copied with all of its settings, but for those that are given.</remarks>
/// <example><para>A queue for the GPU machines</para><code>Connect-Wandb -Local; New-WandbRunQueue gpu -PrioritizationMode V0</code><para>Its items may have priorities.</para></example>
/// <example><para>A queue whose runs get 4 GB, or what the item says</para><code>Connect-Wandb -Local; New-WandbRunQueue small -Resource local-container -ResourceArgs @{ memory = '{{memory}}' } -TemplateVariable @{ memory = @{ type = 'string'; default = '4g' } }</code><para>Items choose with -TemplateVariable @{ memory = '8g' }.</para></example>
/// <example><para>One for each machine</para><code>Connect-Wandb -Local; 'small', 'large' | New-WandbRunQueue -Resource local-container</code><para>Names come from the pipeline too.</para></example>
/// <example><para>A second queue with the settings of the first</para><code>Connect-Wandb -Local; Get-WandbRunQueue gpu | New-WandbRunQueue gpu-night</code><para>Its items are not copied.</para></example>
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

        // A queue from the pipeline is copied whole, but for what is given.
        var mode = PrioritizationMode ?? Text("PrioritizationMode");
        var isPrivate = MyInvocation.BoundParameters.ContainsKey("Access")
            ? Access == "Private"
            : Text("Access") == "USER";
        var configuration = Text("Resource") is { } resource
            ? new QueueSettings(
                resource,
                LaunchConfigCommand.MapOf(InputObject!, "ResourceArgs"),
                LaunchConfigCommand.MapOf(InputObject!, "TemplateVariables"),
                new RunLimits { Time = Span("TimeLimit"), Start = Span("StartLimit") }
            )
            : null;
        // Live, or as a text of a file.
        TimeSpan? Span(string property) =>
            Text(property) is { } text && SpanText.TryParse(text, out var span) ? span : null;
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
                    new NewQueue(entity, project, name, isPrivate ? "USER" : "PROJECT", mode),
                    Token
                );
                if (Configures || configuration is not null)
                {
                    await ConfigureAsync(server, entity, project, name, configuration, mode);
                }

                await OutputQueueAsync(server, entity, project, name);
            }
            catch (LaunchException e)
            {
                Error(e, name);
            }
        }
    }
}
