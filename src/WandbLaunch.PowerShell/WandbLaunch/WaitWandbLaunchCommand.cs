using System.Diagnostics;
using System.Management.Automation;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.PowerShell;

/// <summary>Waits for launches to end.</summary>
/// <remarks>Writes each launch when it is done. A launch that failed is written and is an error as well, so that $? tells. With -Timeout those that still run when the time is over are errors, and go on running.</remarks>
/// <example><para>Wait for everything that runs</para><code>Get-WandbLaunch -State Running | Wait-WandbLaunch</code><para>Writes each as it ends.</para></example>
/// <example><para>Start without waiting, wait later</para><code>$run = Start-WandbLaunch ./train -EntryPoint 'python train.py' -Resource local-process -NoWait; $run | Wait-WandbLaunch -Timeout 60</code><para>Gives up after a minute; the run goes on.</para></example>
/// <example><para>Start several, and go on when all are done</para><code>$runs = 1..2 | ForEach-Object { Start-WandbLaunch ./train -EntryPoint 'python train.py' -Argument "seed=$_" -Resource local-process -NoWait }; $runs | Wait-WandbLaunch | Group-Object State -NoElement</code><para>They run at the same time.</para></example>
[Cmdlet(VerbsLifecycle.Wait, "WandbLaunch")]
[OutputType("WandbLaunch.Model.LaunchedRun")]
public sealed class WaitWandbLaunchCommand : LaunchByIdCommand
{
    /// <summary>Seconds to wait at most, for all of them together, from the start of the command. Default: no limit.</summary>
    [Parameter]
    [ValidateRange(0, int.MaxValue)]
    public int? Timeout { get; set; }

    private readonly Stopwatch _clock = Stopwatch.StartNew();

    /// <inheritdoc/>
    private protected override async Task ActAsync(string id)
    {
        var run = await UntilDoneAsync(
            id,
            () => Timeout is { } seconds ? TimeSpan.FromSeconds(seconds) - _clock.Elapsed : TimeSpan.MaxValue
        );
        if (!run.IsDone)
        {
            throw new LaunchException(
                "WaitTimeout",
                LaunchErrorCategory.OperationTimeout,
                $"The run {id} still runs after {Timeout} s. It goes on; stop it with Stop-WandbLaunch {id}.",
                run
            );
        }

        run.Warnings.ToList().ForEach(Warn);
        Output(run);
        if (run.State is LaunchState.Failed or LaunchState.Unknown)
        {
            Error(StartWandbLaunchCommand.Failure(run), run);
        }
    }
}
