using System.Management.Automation;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;

namespace WandbLaunch.PowerShell;

/// <summary>Base of the commands that act on launches by id.</summary>
public abstract class LaunchByIdCommand : AsyncPSCmdlet
{
    /// <summary>Ids of launches.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(LaunchIdCompleter))]
    public string[] Id { get; set; } = [];

    /// <summary>The launches of this machine.</summary>
    private LaunchStore? _store;

    internal LaunchStore Store => _store ??= LaunchStore.Of(Context);

    /// <summary>Acts on one launch.</summary>
    private protected abstract Task ActAsync(string id);

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        foreach (var id in Id)
        {
            try
            {
                await ActAsync(id);
            }
            catch (Exception e) when (e is LaunchException or IOException)
            {
                Error(e, id);
            }
        }
    }

    /// <summary>Waits until a launch is done, or the time is over.</summary>
    internal async Task<LaunchedRun> UntilDoneAsync(string id, TimeSpan limit)
    {
        var until = limit == Timeout.InfiniteTimeSpan ? DateTime.MaxValue : DateTime.UtcNow + limit;
        var wait = 20;
        while (true)
        {
            var run = await Store.GetAsync(id, Token);
            if (run.IsDone || DateTime.UtcNow >= until)
            {
                return run;
            }

            await Task.Delay(wait, Token);
            wait = Math.Min(wait * 2, 250);
        }
    }
}
