using System.Management.Automation;
using WandbLaunch.Foundation;

namespace WandbLaunch.PowerShell;

/// <summary>What Suspend- and Resume-WandbRunQueue share.</summary>
public abstract class RunQueuePauseCommand : NamedQueueCommand
{
    /// <summary>Write the queue as it is then.</summary>
    [Parameter]
    public SwitchParameter PassThru { get; set; }

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
}
