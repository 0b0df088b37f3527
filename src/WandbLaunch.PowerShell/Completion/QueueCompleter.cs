using System.Collections;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Completes queues of the given or default entity.</summary>
public sealed class QueueCompleter : LaunchCompleter
{
    private protected override IReadOnlyList<string> DependsOn => ["QueueEntity", "Entity", "QueueProject", "Project"];

    private protected override async Task<IReadOnlyList<(string Value, string Tip)>> ValuesAsync(
        IDictionary bound,
        CancellationToken token
    ) =>
        [
            .. (await QueuesAsync(bound, token)).Select(q =>
                (q.Name, $"{q.Access} {(q.Pending is { } waiting ? $"{waiting} waiting" : "")}".Trim())
            ),
        ];

    /// <summary>The queues that a command's parameters mean; none without a connection.</summary>
    internal static async Task<IReadOnlyList<WandbRunQueue>> QueuesAsync(IDictionary bound, CancellationToken token)
    {
        if (
            WandbSession.Current is not { } connection
            || (One(bound, "QueueEntity") ?? One(bound, "Entity") ?? connection.Entity) is not { } entity
        )
        {
            return [];
        }

        var project = await connection.Queues.QueueProjectAsync(
            One(bound, "QueueProject"),
            One(bound, "Project") ?? connection.Project,
            token
        );
        return await connection.Queues.QueuesAsync(entity, project, token);
    }
}
