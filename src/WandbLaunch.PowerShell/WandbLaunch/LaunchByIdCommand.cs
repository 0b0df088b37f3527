using System.Management.Automation;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;

namespace WandbLaunch.PowerShell;

/// <summary>Base of the commands that act on launches by id.</summary>
public abstract class LaunchByIdCommand : PipelineCommand
{
    /// <summary>Ids of launches, or of the W&amp;B runs that they are; wildcards are allowed.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [ArgumentCompleter(typeof(LaunchIdCompleter))]
    [SupportsWildcards]
    public string[] Id { get; set; } = [];

    private LaunchStore? _store;

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds => LaunchKinds;

    /// <summary>The launches of this machine.</summary>
    internal LaunchStore Store => _store ??= LaunchStore.Of(Context);

    /// <summary>Acts on one launch.</summary>
    private protected abstract Task ActAsync(string id);

    /// <inheritdoc/>
    protected override async Task ProcessAsync()
    {
        var ids = PipedLaunches(Store, Id)
            .SelectMany(id =>
                !WildcardPattern.ContainsWildcardCharacters(id)
                    ? [id]
                    : Store
                        .Known()
                        .Select(r => r.Id)
                        .Where(r => WildcardPattern.Get(id, WildcardOptions.IgnoreCase).IsMatch(r))
            )
            .ToList();
        foreach (var id in ids)
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
    internal async Task<LaunchedRun> UntilDoneAsync(string id, Func<TimeSpan> left)
    {
        var wait = 20;
        while (true)
        {
            var run = await Store.GetAsync(id, Token);
            if (run.IsDone || left() <= TimeSpan.Zero)
            {
                return run;
            }

            await Task.Delay((int)Math.Clamp(left().TotalMilliseconds, 1, wait), Token);
            wait = Math.Min(wait * 2, 250);
        }
    }
}
