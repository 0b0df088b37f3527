using System.Collections;
using System.Management.Automation;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Base of the commands that work with queues: whose queue, in which project, on which server.</summary>
public abstract class QueueCommand : AsyncPSCmdlet
{
    /// <summary>Owner of the queue. Default: the connection's entity.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [Alias("QueueEntity")]
    [ArgumentCompleter(typeof(EntityCompleter))]
    public string? Entity { get; set; }

    /// <summary>Project of the queue. Default: model-registry, where servers of today keep queues; on a server of 2022 the connection's project.</summary>
    [Parameter(ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(ProjectCompleter))]
    public string? QueueProject { get; set; }

    /// <summary>Connection to use. Default: the session's.</summary>
    [Parameter]
    public WandbConnection? Connection { get; set; }

    internal async Task<(WandbConnection Server, string Entity, string Project)> WhereAsync()
    {
        var server = await GetConnectionAsync(Connection);
        return (
            server,
            NeedEntity(server, Entity),
            await server.Queues.QueueProjectAsync(QueueProject, server.Project, Token)
        );
    }

    internal static string NeedEntity(WandbConnection server, string? given) =>
        given
        ?? server.Entity
        ?? throw new LaunchException(
            "EntityMissing",
            LaunchErrorCategory.InvalidArgument,
            "It is not known whose queue is meant. Give -Entity, or set WANDB_ENTITY.",
            null
        );
}

/// <summary>Gets queues.</summary>
/// <remarks>Writes the queues of an entity, with how many items wait in each where the server tells. A queue is where runs wait until an agent takes them.</remarks>
/// <example><para>All queues</para><code>Connect-Wandb -Local; Get-WandbRunQueue</code><para>Name, access, and how many wait.</para></example>
/// <example><para>What waits in the queues whose name begins with gpu?</para><code>Get-WandbRunQueue gpu* | Get-WandbLaunchQueueItem -State pending</code><para>Queues flow into the item commands.</para></example>
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
    protected override async Task ProcessAsync()
    {
        var (server, entity, project) = await WhereAsync();
        IReadOnlyList<WandbRunQueue> all;
        try
        {
            all = await server.Queues.QueuesAsync(entity, project, Token);
        }
        catch (LaunchException e)
            when (e.ErrorId == "ProjectNotFound"
                && QueueProject is null
                && Name.All(WildcardPattern.ContainsWildcardCharacters)
            )
        {
            // Nobody has made a queue yet.
            return;
        }

        foreach (var name in Name)
        {
            var pattern = WildcardPattern.Get(name, WildcardOptions.IgnoreCase);
            var found = all.Where(q => pattern.IsMatch(q.Name)).ToList();
            found.ForEach(Output);
            if (found.Count == 0 && !WildcardPattern.ContainsWildcardCharacters(name))
            {
                Error(await server.Queues.QueueMissingAsync(entity, project, name, Token), name);
            }
        }
    }
}

/// <summary>Parameters that New- and Set-WandbRunQueue share.</summary>
public abstract class RunQueueConfigurationCommand : QueueCommand
{
    /// <summary>Resource for the queue's items: local-container, local-process and others.</summary>
    [Parameter]
    [ArgumentCompleter(typeof(ResourceCompleter))]
    public string? Resource { get; set; }

    /// <summary>Arguments of that resource for items that bring none of their own. Values may hold template variables: '{{memory}}'.</summary>
    [Parameter]
    public IDictionary? ResourceArgs { get; set; }

    /// <summary>Template variables: name to a schema, as @{ memory = @{ type = 'string'; enum = '4g', '8g'; default = '4g' } }.</summary>
    [Parameter]
    public IDictionary? TemplateVariable { get; set; }

    /// <summary>V0: items have priorities. DISABLED: first in, first out.</summary>
    [Parameter]
    [ValidateSet("V0", "DISABLED")]
    public string? PrioritizationMode { get; set; }

    internal bool Configures => Resource is not null || ResourceArgs is not null || TemplateVariable is not null;

    internal async Task ConfigureAsync(
        WandbConnection server,
        string entity,
        string project,
        string name,
        (string Resource, JsonObject Arguments, JsonObject Variables)? current
    )
    {
        var resource =
            Resource
            ?? current?.Resource
            ?? throw new LaunchException(
                "ResourceMissing",
                LaunchErrorCategory.InvalidArgument,
                "Arguments and template variables of a queue belong to a resource: give -Resource.",
                name
            );
        var arguments =
            LaunchConfigCommand.Map(ResourceArgs)
            ?? (current is { } known && known.Resource == resource ? known.Arguments : []);
        var variables = TemplateVariable is null ? current?.Variables : [];
        foreach (var (key, value) in LaunchConfigCommand.Map(TemplateVariable) ?? [])
        {
            // The schema alone is enough; W&B's whole form, with a description, does as well.
            variables![key] =
                value is JsonObject whole && whole.ContainsKey("schema")
                    ? value.DeepClone()
                    : new JsonObject { ["schema"] = value?.DeepClone() };
        }

        foreach (
            var warning in await server.Queues.ConfigureAsync(
                entity,
                project,
                name,
                resource,
                arguments,
                variables,
                PrioritizationMode,
                Token
            )
        )
        {
            Warn(warning);
        }
    }
}

/// <summary>Makes a queue.</summary>
/// <remarks>A queue is for the whole team, or with -Access Private for you alone. -PrioritizationMode V0 lets items have priorities. -Resource and -ResourceArgs set where and how its items run, unless they say so themselves. The queue named default needs not be made: its first item does that.</remarks>
/// <example><para>A queue for the GPU machines</para><code>Connect-Wandb -Local; New-WandbRunQueue gpu -PrioritizationMode V0</code><para>Its items may have priorities.</para></example>
/// <example><para>A queue whose runs get 4 GB, or what the item says</para><code>Connect-Wandb -Local; New-WandbRunQueue small -Resource local-container -ResourceArgs @{ memory = '{{memory}}' } -TemplateVariable @{ memory = @{ type = 'string'; default = '4g' } }</code><para>Items choose with -TemplateVariable @{ memory = '8g' }.</para></example>
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
    protected override async Task ProcessAsync()
    {
        var (server, entity, project) = await WhereAsync();
        foreach (var name in Name)
        {
            if (!await ShouldProcessAsync($"{entity}/{project}/{name}", "Make queue"))
            {
                continue;
            }

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

                await server.Queues.CreateAsync(
                    entity,
                    project,
                    name,
                    Access == "Private" ? "USER" : "PROJECT",
                    PrioritizationMode,
                    null,
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

/// <summary>Changes how the items of queues run.</summary>
/// <remarks>Sets resource, its arguments, template variables and prioritization mode; what is not given stays. Items that wait already keep what they were pushed with.</remarks>
/// <example><para>More memory for everything that is queued from now on</para><code>Connect-Wandb -Local; Set-WandbRunQueue gpu -Resource local-container -ResourceArgs @{ memory = '16g' }</code><para>Items with resource arguments of their own keep those.</para></example>
/// <example><para>Switch priorities on</para><code>Connect-Wandb -Local; Get-WandbRunQueue gpu | Set-WandbRunQueue -Resource local-container -PrioritizationMode V0 -PassThru</code><para>-PassThru writes the queue as it is then.</para></example>
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
                        await server.Queues.ConfigurationAsync(queue, Token)
                    );
                    queue = await server.Queues.GetAsync(entity, project, name, server.Username, Token);
                }

                if (PassThru)
                {
                    Output(queue);
                }
            }
            catch (LaunchException e)
            {
                Error(e, name);
            }
        }
    }
}

/// <summary>Deletes queues.</summary>
/// <remarks>The items that wait go with their queue; runs that were started go on. The queue named default cannot be deleted. Asks before it deletes.</remarks>
/// <example><para>Delete without being asked</para><code>Connect-Wandb -Local; Remove-WandbRunQueue old -Confirm:$false</code><para>For scripts.</para></example>
/// <example><para>Which would go?</para><code>Connect-Wandb -Local; Get-WandbRunQueue test* | Remove-WandbRunQueue -WhatIf</code><para>Deletes nothing.</para></example>
[Cmdlet(VerbsCommon.Remove, "WandbRunQueue", SupportsShouldProcess = true, ConfirmImpact = ConfirmImpact.High)]
public sealed class RemoveWandbRunQueueCommand : QueueCommand
{
    /// <summary>Names of queues.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [Alias("Queue")]
    [ArgumentCompleter(typeof(QueueCompleter))]
    public string[] Name { get; set; } = [];

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var (server, entity, project) = await WhereAsync();
        foreach (var name in Name)
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
                }
            }
            catch (LaunchException e)
            {
                Error(e, name);
            }
        }
    }
}
