using System.Collections;
using System.Management.Automation;
using System.Runtime.CompilerServices;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Puts runs into a queue.</summary>
/// <remarks>Takes what Start-WandbLaunch takes, and leaves the running to an agent (Start-WandbLaunchAgent), on this machine or another. Runs, configs and items come from the pipeline; rows of a CSV become arguments when -Uri or -Config says what to run; -Grid queues every combination. Any number of items goes in few requests and keeps its order; one that is refused is an error of its own. A folder of this machine cannot be queued, because the agent may be elsewhere: push it to git.
///
/// The queue named default is made by its first item; others are made with New-WandbRunQueue.</remarks>
/// <example><para>Queue the failed runs of a project again, with another learning rate</para><code>Connect-Wandb -Local; Get-WandbRun -Project demo | Where-Object State -eq finished | Add-WandbLaunchQueueItem -Argument @{ lr = 0.1 }</code><para>Into the queue named default.</para></example>
/// <example><para>Every combination of two arguments</para><code>Connect-Wandb -Local; Add-WandbLaunchQueueItem https://github.com/me/train -EntryPoint 'python train.py' -Grid @{ lr = 1e-3, 1e-4; layers = 2, 4 } -Queue gpu</code><para>Four items.</para></example>
/// <example><para>One run for each row of a table</para><code>Import-Csv grid.csv | Add-WandbLaunchQueueItem -Uri https://github.com/me/train -Queue gpu -Priority high</code><para>The columns are the names of the arguments.</para></example>
[Cmdlet(VerbsCommon.Add, "WandbLaunchQueueItem", SupportsShouldProcess = true)]
[Alias("awq")]
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
    // A field of the enum would have the module load Core at import: its size is part of this class.
    [ValidateSet("critical", "high", "medium", "low")]
    public string? Priority { get; set; }

    /// <summary>Values for the queue's template variables.</summary>
    [Parameter]
    [Alias("v")]
    [NameValue]
    [ArgumentCompleter(typeof(TemplateVariableCompleter))]
    public IDictionary? TemplateVariable { get; set; }

    /// <summary>Arguments with several values each: every combination becomes an item.</summary>
    [Parameter]
    public IDictionary? Grid { get; set; }

    /// <summary>Connection to use. Default: the session's.</summary>
    [Parameter]
    public WandbConnection? Connection { get; set; }

    /// <inheritdoc/>
    protected override async Task BeginAsync()
    {
        _pusher = new QueuePusher(
            await GetConnectionAsync(Connection),
            Queue,
            QueueEntity,
            QueueProject,
            Priority is null ? null : Enum.Parse<QueueItemPriority>(Priority, true),
            Map(TemplateVariable),
            WorkingFolder
        );
        if (await AskAsync(IsWhatIf))
        {
            await _pusher.CheckQueueAsync(Token);
        }
    }

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
