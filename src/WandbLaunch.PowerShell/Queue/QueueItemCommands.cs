using System.Collections;
using System.Management.Automation;
using System.Runtime.CompilerServices;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Gets items of queues.</summary>
/// <remarks>Writes the runs that wait in queues and those that agents have taken, oldest first: state, position, age, agent and run, as far as the server tells.</remarks>
/// <example><para>Everything in a queue</para><code>Connect-Wandb -Local; Get-WandbLaunchQueueItem gpu</code><para>Without a name: of all queues.</para></example>
/// <example><para>Queue what failed again</para><code>Connect-Wandb -Local; Get-WandbLaunchQueueItem gpu -State failed | Add-WandbLaunchQueueItem -Queue gpu</code><para>Each goes with its own config.</para></example>
[Cmdlet(VerbsCommon.Get, "WandbLaunchQueueItem")]
[OutputType("WandbLaunch.Wandb.WandbLaunchQueueItem")]
public sealed class GetWandbLaunchQueueItemCommand : QueueCommand
{
    /// <summary>Names of queues; wildcards are allowed. Default: all.</summary>
    [Parameter(Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [Alias("Name")]
    [ArgumentCompleter(typeof(QueueCompleter))]
    [SupportsWildcards]
    public string[] Queue { get; set; } = ["*"];

    /// <summary>Ids of items. Not given: all.</summary>
    [Parameter]
    public string[] Id { get; set; } = [];

    /// <summary>States that count.</summary>
    [Parameter]
    [ValidateSet("pending", "leased", "claimed", "finished", "failed", "stopped")]
    public string[] State { get; set; } = [];

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var (server, entity, project) = await WhereAsync();
        var all = await server.Queues.QueuesAsync(entity, project, Token);
        foreach (var name in Queue)
        {
            var pattern = WildcardPattern.Get(name, WildcardOptions.IgnoreCase);
            var queues = all.Where(q => pattern.IsMatch(q.Name)).ToList();
            if (queues.Count == 0 && !WildcardPattern.ContainsWildcardCharacters(name))
            {
                Error(await server.Queues.QueueMissingAsync(entity, project, name, Token), name);
            }

            foreach (var queue in queues)
            {
                if (Id.Length == 0)
                {
                    await foreach (var item in server.Queues.ItemsAsync(queue, State, Token))
                    {
                        Output(item);
                    }

                    continue;
                }

                foreach (var id in Id)
                {
                    if (await server.Queues.ItemAsync(queue, id, Token) is { } item)
                    {
                        Output(item);
                    }
                    else if (queues.Count == 1)
                    {
                        Error(
                            new LaunchException(
                                "ItemNotFound",
                                LaunchErrorCategory.ObjectNotFound,
                                $"The queue {queue.Name} has no item {id}.",
                                id
                            ),
                            id
                        );
                    }
                }
            }
        }
    }
}

/// <summary>Base of the commands that act on one item after the other.</summary>
public abstract class QueueItemCommand : QueueCommand
{
    private readonly Dictionary<(string, string, string), WandbRunQueue> _queues = [];

    /// <summary>Name of the queue.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(QueueCompleter))]
    public string Queue { get; set; } = "";

    /// <summary>Ids of items.</summary>
    [Parameter(Mandatory = true, Position = 1, ValueFromPipelineByPropertyName = true)]
    public string[] Id { get; set; } = [];

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var (server, entity, project) = await WhereAsync();
        if (!_queues.TryGetValue((entity, project, Queue), out var queue))
        {
            _queues[(entity, project, Queue)] = queue = await server.Queues.GetAsync(
                entity,
                project,
                Queue,
                server.Username,
                Token
            );
        }

        foreach (var id in Id)
        {
            try
            {
                await ActAsync(server, queue, id);
            }
            catch (LaunchException e)
            {
                Error(e, id);
            }
        }
    }

    private protected abstract Task ActAsync(WandbConnection server, WandbRunQueue queue, string id);
}

/// <summary>Takes items out of a queue before they start.</summary>
/// <remarks>Removes runs that wait. One that an agent has taken already stays and is an error: stop its run instead. Asks before it removes.</remarks>
/// <example><para>Empty a queue</para><code>Connect-Wandb -Local; Get-WandbLaunchQueueItem gpu -State pending | Remove-WandbLaunchQueueItem -Confirm:$false</code><para>Runs that were started go on.</para></example>
/// <example><para>Which of one project would go?</para><code>Connect-Wandb -Local; Get-WandbLaunchQueueItem gpu -State pending | Where-Object Project -eq demo | Remove-WandbLaunchQueueItem -WhatIf</code><para>Removes nothing.</para></example>
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

/// <summary>Waits until items are done.</summary>
/// <remarks>Writes each item when its run has ended, or with -Started when an agent has taken it. An item that failed is written and is an error as well. On servers that do not record the end of items, the state of the item's run is what counts.</remarks>
/// <example><para>Queue and wait</para><code>Connect-Wandb -Local; Get-WandbLaunchQueueItem gpu -State failed | Wait-WandbLaunchQueueItem -Timeout 60</code><para>Those that are done already are written at once.</para></example>
/// <example><para>Wait for an agent to take them</para><code>Connect-Wandb -Local; Get-WandbLaunchQueueItem gpu -State claimed | Wait-WandbLaunchQueueItem -Started</code><para>Ends when all have a run.</para></example>
[Cmdlet(VerbsLifecycle.Wait, "WandbLaunchQueueItem")]
[OutputType("WandbLaunch.Wandb.WandbLaunchQueueItem")]
public sealed class WaitWandbLaunchQueueItemCommand : QueueItemCommand
{
    /// <summary>Seconds to wait at most, for each. Default: no limit.</summary>
    [Parameter]
    [ValidateRange(0, int.MaxValue)]
    public int? Timeout { get; set; }

    /// <summary>Wait only until an agent has taken the item.</summary>
    [Parameter]
    public SwitchParameter Started { get; set; }

    private protected override async Task ActAsync(WandbConnection server, WandbRunQueue queue, string id)
    {
        var until = Timeout is { } seconds ? DateTime.UtcNow.AddSeconds(seconds) : DateTime.MaxValue;
        var wait = 200;
        while (true)
        {
            var item =
                await server.Queues.ItemAsync(queue, id, Token)
                ?? throw new LaunchException(
                    "ItemNotFound",
                    LaunchErrorCategory.ObjectNotFound,
                    $"The queue {queue.Name} has no item {id}. Was it removed?",
                    id
                );
            item = await WithRunStateAsync(server, item);
            if (item.IsDone || (Started && item.State == "claimed"))
            {
                Output(item);
                if (item.State == "failed" && !Started)
                {
                    throw new LaunchException(
                        "ItemFailed",
                        LaunchErrorCategory.OperationStopped,
                        $"The item {id} of the queue {queue.Name} failed: {item.Error ?? "its run failed"}",
                        item
                    );
                }

                return;
            }

            if (DateTime.UtcNow >= until)
            {
                throw new LaunchException(
                    "WaitTimeout",
                    LaunchErrorCategory.OperationTimeout,
                    $"The item {id} is still {item.State} after {Timeout} s.{(item.State == "pending" ? " Does an agent run for its queue? See Get-WandbLaunchAgent." : "")}",
                    item
                );
            }

            await Task.Delay(wait, Token);
            wait = Math.Min(wait * 2, 5000);
        }
    }

    private async Task<WandbLaunchQueueItem> WithRunStateAsync(WandbConnection server, WandbLaunchQueueItem item)
    {
        if (
            item is not { State: "claimed", RunId: { } run, Project: { } project }
            || (await server.Api.DialectAsync(Token)).Finish
        )
        {
            return item;
        }

        string? state;
        try
        {
            state = await server.Api.RunStateAsync(
                new RunPath(item.Spec?["entity"]?.ToString() ?? item.Entity, project, run),
                Token
            );
        }
        catch (LaunchException e) when (e.ErrorId is "GraphQLError" or "ProjectNotFound")
        {
            // The run has not called wandb.init yet.
            return item;
        }

        return state switch
        {
            "finished" => item with { State = "finished" },
            "failed" or "crashed" => item with { State = "failed", Error = $"its run {run} is {state}" },
            "killed" => item with { State = "stopped" },
            _ => item,
        };
    }
}

/// <summary>Puts runs into a queue.</summary>
/// <remarks>Takes what Start-WandbLaunch takes, and leaves the running to an agent (Start-WandbLaunchAgent), on this machine or another. Runs, configs and items come from the pipeline; rows of a CSV become arguments when -Uri or -Config says what to run; -Grid queues every combination. Any number of items goes in few requests and keeps its order; one that is refused is an error of its own. A folder of this machine cannot be queued, because the agent may be elsewhere: push it to git.
///
/// The queue named default is made by its first item; others are made with New-WandbRunQueue.</remarks>
/// <example><para>Queue the failed runs of a project again, with another learning rate</para><code>Connect-Wandb -Local; Get-WandbRun -Project demo | Where-Object State -eq finished | Add-WandbLaunchQueueItem -Argument @{ lr = 0.1 }</code><para>Into the queue named default.</para></example>
/// <example><para>Every combination of two arguments</para><code>Connect-Wandb -Local; Add-WandbLaunchQueueItem https://github.com/me/train -EntryPoint 'python train.py' -Grid @{ lr = 1e-3, 1e-4; layers = 2, 4 } -Queue gpu</code><para>Four items.</para></example>
/// <example><para>One run for each row of a table</para><code>Import-Csv grid.csv | Add-WandbLaunchQueueItem -Uri https://github.com/me/train -Queue gpu -Priority high</code><para>The columns are the names of the arguments.</para></example>
[Cmdlet(VerbsCommon.Add, "WandbLaunchQueueItem", SupportsShouldProcess = true)]
[OutputType("WandbLaunch.Wandb.WandbLaunchQueueItem")]
public sealed class AddWandbLaunchQueueItemCommand : LaunchConfigCommand
{
    private QueuePusher? _pusher;
    private bool _asks = true;

    /// <summary>Name of the queue. Default: default.</summary>
    [Parameter]
    [Alias("q")]
    [ArgumentCompleter(typeof(QueueCompleter))]
    public string Queue { get; set; } = QueueApi.DefaultQueue;

    /// <summary>Owner of the queue, where that is not the runs' own entity.</summary>
    [Parameter]
    [ArgumentCompleter(typeof(EntityCompleter))]
    public string? QueueEntity { get; set; }

    /// <summary>Project of the queue. Default: model-registry, where servers of today keep queues; on a server of 2022 the project of the run.</summary>
    [Parameter]
    [ArgumentCompleter(typeof(ProjectCompleter))]
    public string? QueueProject { get; set; }

    /// <summary>critical, high, medium or low; for queues with priorities.</summary>
    [Parameter]
    [ValidateSet("critical", "high", "medium", "low")]
    public string? Priority { get; set; }

    /// <summary>Values for the queue's template variables.</summary>
    [Parameter]
    [Alias("v")]
    public IDictionary? TemplateVariable { get; set; }

    /// <summary>Arguments with several values each: every combination becomes an item.</summary>
    [Parameter]
    public IDictionary? Grid { get; set; }

    /// <summary>Connection to use. Default: the session's.</summary>
    [Parameter]
    public WandbConnection? Connection { get; set; }

    /// <inheritdoc/>
    protected override async Task BeginAsync() =>
        _pusher = new QueuePusher(
            await GetConnectionAsync(Connection),
            Queue,
            QueueEntity,
            QueueProject,
            Priority,
            Map(TemplateVariable),
            WorkingFolder
        );

    /// <inheritdoc/>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    protected override bool ProcessNow()
    {
        if (_pusher!.IsNew)
        {
            _asks = MayAsk();
        }

        if (InputObject is null && MyInvocation.ExpectingInput)
        {
            return true;
        }

        var config = BuildConfig();
        foreach (var combination in ArgumentGrid.Combinations(Map(Grid)))
        {
            var full = combination is null
                ? config
                : config with
                {
                    Args = ArgumentSet.Merge(config.Args, combination),
                };
            var spec = _pusher!.Spec(full);
            if (!_asks || ShouldProcess(Secrets.Mask($"{spec.Source} {spec.Args}".TrimEnd()), $"Add to queue {Queue}"))
            {
                _pusher.Add(spec);
            }
        }

        return !_pusher.IsFull || _pusher.Begin(OutputAll, Error, Token);
    }

    /// <inheritdoc/>
    protected override Task ProcessAsync() => _pusher!.WaitAsync();

    /// <inheritdoc/>
    protected override Task EndAsync() => _pusher!.FlushAsync(OutputAll, Error, Token);
}
