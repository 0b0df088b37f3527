using System.Management.Automation;
using WandbLaunch.Foundation;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>What Suspend- and Resume-WandbRunQueue share.</summary>
public abstract class RunQueuePauseCommand : QueueCommand
{
    /// <summary>Names of queues; wildcards are allowed.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [Alias("Queue")]
    [ArgumentCompleter(typeof(QueueCompleter))]
    [SupportsWildcards]
    public string[] Name { get; set; } = [];

    /// <summary>Write the queue as it is then.</summary>
    [Parameter]
    public SwitchParameter PassThru { get; set; }

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds => [nameof(WandbRunQueue)];

    /// <summary>Whether agents are given nothing of the queue afterwards.</summary>
    private protected abstract bool Pauses { get; }

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var (server, entity, project) = await WhereAsync();
        foreach (var name in await NamesAsync(server, entity, project))
        {
            try
            {
                var queue = await server.Queues.GetAsync(entity, project, name, server.Username, Token);

                // Also with -WhatIf: what a server cannot do is no plan.
                if (await server.Queues.PauseFaultAsync(queue, Token) is { } fault)
                {
                    throw fault;
                }

                if (queue.Paused == Pauses)
                {
                    Verbose($"{name} {(Pauses ? "is paused" : "is not paused")} already.");
                }
                else if (
                    await ShouldProcessAsync($"{entity}/{project}/{name}", Pauses ? "Pause queue" : "Resume queue")
                )
                {
                    await server.Queues.PauseAsync(queue, Pauses, Token);
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

    private async Task<IEnumerable<string>> NamesAsync(WandbConnection server, string entity, string project)
    {
        if (!Name.Any(WildcardPattern.ContainsWildcardCharacters))
        {
            return Name;
        }

        IReadOnlyList<WandbRunQueue> all;
        try
        {
            all = await server.Queues.QueuesAsync(entity, project, Token);
        }
        catch (LaunchException e) when (e.ErrorId == "ProjectNotFound" && QueueProject is null)
        {
            // Nobody has made a queue yet.
            all = [];
        }

        return Name.SelectMany(n =>
                WildcardPattern.ContainsWildcardCharacters(n)
                    ? all.Select(q => q.Name).Where(q => WildcardPattern.Get(n, WildcardOptions.IgnoreCase).IsMatch(q))
                    : [n]
            )
            .Distinct(StringComparer.Ordinal);
    }
}
