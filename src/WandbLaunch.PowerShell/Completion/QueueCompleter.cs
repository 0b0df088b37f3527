using System.Collections;

namespace WandbLaunch.PowerShell;

/// <summary>Completes queues of the given or default entity.</summary>
public sealed class QueueCompleter : LaunchCompleter
{
    private protected override async Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    )
    {
        if (
            WandbSession.Current is not { } connection
            || (bound["QueueEntity"]?.ToString() ?? bound["Entity"]?.ToString() ?? connection.Entity) is not { } entity
        )
        {
            return [];
        }

        var project = await connection.Queues.QueueProjectAsync(
            bound["QueueProject"]?.ToString(),
            bound["Project"]?.ToString() ?? connection.Project,
            token
        );
        return
        [
            .. (await connection.Queues.QueuesAsync(entity, project, token)).Select(q =>
                (q.Name, $"{q.Access} {(q.Pending is { } waiting ? $"{waiting} waiting" : "")}".Trim())
            ),
        ];
    }
}
