using System.Collections;
using System.Management.Automation;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Resources;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Parameters that New- and Set-WandbRunQueue share.</summary>
public abstract class RunQueueConfigurationCommand : QueueCommand
{
    private string? _mode;

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

    /// <summary>Longest time that a run of the queue may run, as 2h or 02:00:00. The smallest limit of item, queue and agent holds; an item says less with its own -TimeLimit.</summary>
    [Parameter]
    [Span]
    public TimeSpan? TimeLimit { get; set; }

    /// <summary>Longest time from when an agent takes an item of the queue until its program runs, as 30m.</summary>
    [Parameter]
    [Span]
    public TimeSpan? StartLimit { get; set; }

    /// <summary>V0: items have priorities. DISABLED: first in, first out.</summary>
    [Parameter]
    [ValidateSet("V0", "DISABLED")]
    public string? PrioritizationMode
    {
        get => _mode;
        // Parameters take words in any case; a server's enumeration does not.
        set => _mode = value?.ToUpperInvariant();
    }

    internal bool Configures =>
        Resource is not null
        || ResourceArgs is not null
        || TemplateVariable is not null
        || TimeLimit is not null
        || StartLimit is not null;

    internal async Task ConfigureAsync(
        WandbConnection server,
        string entity,
        string project,
        string name,
        QueueSettings? current,
        string? mode
    )
    {
        var resource =
            Resource
            ?? current?.Resource
            ?? throw new LaunchException(
                "ResourceMissing",
                LaunchErrorCategory.InvalidArgument,
                $"A queue's settings belong to a resource, and this one has none yet: give -Resource, such as -Resource {new ResourceCatalog(Context).Default.Info.Name}.",
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
                new QueueConfiguration(entity, project, name, resource, arguments, variables, mode)
                {
                    Limits = new RunLimits
                    {
                        Time = Is(nameof(TimeLimit)) ? TimeLimit : current?.Limits.Time,
                        Start = Is(nameof(StartLimit)) ? StartLimit : current?.Limits.Start,
                    },
                },
                Token
            )
        )
        {
            Warn(warning);
        }
    }

    // $null takes a limit away.
    private bool Is(string parameter) => MyInvocation.BoundParameters.ContainsKey(parameter);
}
