using System.Management.Automation;
using WandbLaunch.Foundation;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>A command of queues that are named, or come from the pipeline.</summary>
public abstract class NamedQueueCommand : QueueCommand
{
    /// <summary>Names of queues; wildcards are allowed.</summary>
    [Parameter(Mandatory = true, Position = 0, ValueFromPipeline = true, ValueFromPipelineByPropertyName = true)]
    [Alias("Queue")]
    [ArgumentCompleter(typeof(QueueCompleter))]
    [SupportsWildcards]
    public string[] Name { get; set; } = [];

    /// <inheritdoc/>
    private protected override IReadOnlyList<string> Kinds => [nameof(WandbRunQueue)];

    /// <summary>The queues that are meant, each once. A name without wildcards is one, whether it is there or not.</summary>
    /// <param name="server">Where they are.</param>
    /// <param name="entity">Whose they are.</param>
    /// <param name="project">Where they are kept.</param>
    /// <param name="except">One that no wildcard means.</param>
    private protected async Task<IEnumerable<string>> NamesAsync(
        WandbConnection server,
        string entity,
        string project,
        string? except = null
    )
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
                    ? all.Select(q => q.Name)
                        .Where(q => q != except && WildcardPattern.Get(n, WildcardOptions.IgnoreCase).IsMatch(q))
                    : [n]
            )
            .Distinct(StringComparer.Ordinal);
    }
}
