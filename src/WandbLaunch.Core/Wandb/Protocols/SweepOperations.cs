using WandbLaunch.Foundation;

namespace WandbLaunch.Wandb;

/// <summary>Sweeps, as far as an agent must know them (protocol B.7).</summary>
internal sealed class SweepOperations(GraphQLTransport transport, ServerDialect dialect)
{
    internal bool Known => dialect.ProjectFields.Contains("sweep");

    internal async Task<string?> StateAsync(string entity, string project, string sweep, CancellationToken token)
    {
        var data = await transport.QueryAsync(
            "GetSweepState",
            """
            query GetSweepState($entity: String, $project: String, $sweep: String!) {
              project(name: $project, entityName: $entity) { sweep(sweepName: $sweep) { state } }
            }
            """,
            new
            {
                entity,
                project,
                sweep,
            },
            token
        );
        return data.Text("project", "sweep", "state");
    }

    internal async Task CancelAsync(string entity, string project, string sweep, CancellationToken token)
    {
        if (!Known || !dialect.Mutations.Contains("upsertSweep"))
        {
            return;
        }

        var data = await transport.QueryAsync(
            "GetSweep",
            """
            query GetSweep($entity: String, $project: String, $sweep: String!) {
              project(name: $project, entityName: $entity) { sweep(sweepName: $sweep) { id state } }
            }
            """,
            new
            {
                entity,
                project,
                sweep,
            },
            token
        );
        if (
            data.Text("project", "sweep", "id") is { } id
            && data.Text("project", "sweep", "state") is "PENDING" or "RUNNING" or "PAUSED"
        )
        {
            await transport.QueryAsync(
                "UpsertSweep",
                """
                mutation UpsertSweep($id: ID, $state: String, $entity: String, $project: String) {
                  upsertSweep(input: {id: $id, state: $state, entityName: $entity, projectName: $project}) {
                    sweep { name }
                  }
                }
                """,
                new
                {
                    id,
                    state = "CANCELED",
                    entity,
                    project,
                },
                token
            );
        }
    }
}
