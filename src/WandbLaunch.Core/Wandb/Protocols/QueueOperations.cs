using System.Text.Json.Nodes;
using WandbLaunch.Foundation;

namespace WandbLaunch.Wandb;

/// <summary>Queues themselves: list, make, configure, delete (protocol B.2).</summary>
internal sealed class QueueOperations(GraphQLTransport transport, ServerDialect dialect)
{
    // Asked for where the server has them.
    private static readonly string[] Fields =
    [
        "createdAt",
        "resource",
        "itemCount",
        "pendingCount",
        "prioritizationMode",
        "defaultResourceConfigID",
        "paused",
    ];

    // More than a list needs: each is counted for it.
    private static readonly string[] Counts = ["runningCount", "failedCount", "oldestPending"];

    internal async Task<IReadOnlyList<WandbRunQueue>> ListAsync(
        string entity,
        string project,
        bool counted,
        CancellationToken token
    )
    {
        var fields = string.Join(' ', Fields.Concat(counted ? Counts : []).Where(dialect.QueueFields.Contains));
        var data = await transport.QueryAsync(
            "ProjectRunQueues",
            $$"""
            query ProjectRunQueues($entity: String!, $projectName: String!) {
              project(entityName: $entity, name: $projectName) {
                runQueues { id name createdBy access {{fields}} }
              }
            }
            """,
            new { entity, projectName = project },
            token
        );
        var found = data.At("project") ?? throw WandbApi.ProjectMissing(entity, project);
        return
        [
            .. found
                .Items("runQueues")
                .Select(q => new WandbRunQueue
                {
                    Id = q.Text("id") ?? "",
                    Name = q.Text("name") ?? "",
                    Entity = entity,
                    QueueProject = project,
                    Access = q.Text("access"),
                    CreatedBy = q.Text("createdBy"),
                    Created = q.Time("createdAt"),
                    PrioritizationMode = q.Text("prioritizationMode"),
                    Resource = q.Text("resource"),
                    Pending = q.Number("pendingCount"),
                    Items = q.Number("itemCount"),
                    Running = q.Number("runningCount"),
                    Failed = q.Number("failedCount"),
                    Oldest = q.Time("oldestPending"),
                    Paused = q.Flag("paused"),
                    ConfigId = q.Text("defaultResourceConfigID"),
                }),
        ];
    }

    /// <summary>With what servers of today take: a prioritization mode and a configuration.</summary>
    internal async Task<string?> CreateAsync(NewQueue queue, CancellationToken token)
    {
        var data = await transport.QueryAsync(
            "CreateRunQueue",
            """
            mutation CreateRunQueue(
              $entity: String!
              $project: String!
              $queueName: String!
              $access: RunQueueAccessType!
              $prioritizationMode: RunQueuePrioritizationMode
              $defaultResourceConfigID: ID
            ) {
              createRunQueue(input: {
                entityName: $entity
                projectName: $project
                queueName: $queueName
                access: $access
                prioritizationMode: $prioritizationMode
                defaultResourceConfigID: $defaultResourceConfigID
              }) {
                success
                queueID
              }
            }
            """,
            new
            {
                entity = queue.Entity,
                project = queue.Project,
                queueName = queue.Name,
                access = queue.Access,
                prioritizationMode = queue.PrioritizationMode,
                defaultResourceConfigID = queue.ConfigId,
            },
            token
        );
        return data.Text("createRunQueue", "queueID");
    }

    /// <summary>As in 2022: the operation has another name, and a queue nothing but its access.</summary>
    internal async Task<string?> CreatePlainAsync(NewQueue queue, CancellationToken token)
    {
        var data = await transport.QueryAsync(
            "createRunQueue",
            """
            mutation createRunQueue(
              $entity: String!
              $project: String!
              $queueName: String!
              $access: RunQueueAccessType!
            ) {
              createRunQueue(input: {
                entityName: $entity
                projectName: $project
                queueName: $queueName
                access: $access
              }) {
                success
                queueID
              }
            }
            """,
            new
            {
                entity = queue.Entity,
                project = queue.Project,
                queueName = queue.Name,
                access = queue.Access,
            },
            token
        );
        return data.Text("createRunQueue", "queueID");
    }

    internal async Task<IReadOnlyList<string>> ConfigureAsync(QueueConfiguration queue, CancellationToken token)
    {
        if (!dialect.Mutations.Contains("upsertRunQueue"))
        {
            throw LaunchProtocol.TooOld("The configuration of a queue");
        }

        var config = new JsonObject
        {
            ["resource_args"] = new JsonObject { [queue.Resource] = queue.ResourceArgs.DeepClone() },
        };
        if (queue.Limits.Time is { } time)
        {
            config["time_limit"] = SpanText.Show(time);
        }

        if (queue.Limits.Start is { } start)
        {
            config["start_limit"] = SpanText.Show(start);
        }

        var data = await transport.QueryAsync(
            "UpsertRunQueue",
            """
            mutation UpsertRunQueue(
              $entityName: String!
              $projectName: String!
              $queueName: String!
              $resourceType: String!
              $resourceConfig: JSONString!
              $templateVariables: JSONString
              $prioritizationMode: RunQueuePrioritizationMode
            ) {
              upsertRunQueue(input: {
                entityName: $entityName
                projectName: $projectName
                queueName: $queueName
                resourceType: $resourceType
                resourceConfig: $resourceConfig
                templateVariables: $templateVariables
                prioritizationMode: $prioritizationMode
              }) {
                success
                configSchemaValidationErrors
              }
            }
            """,
            new
            {
                entityName = queue.Entity,
                projectName = queue.Project,
                queueName = queue.Name,
                resourceType = queue.Resource,
                resourceConfig = config.ToJsonString(),
                templateVariables = (queue.TemplateVariables ?? []).ToJsonString(),
                prioritizationMode = queue.PrioritizationMode,
            },
            token
        );
        return data.Flag("upsertRunQueue", "success") == false
            ? throw new LaunchException(
                "QueueNotConfigured",
                LaunchErrorCategory.InvalidOperation,
                $"The server did not take the configuration of the queue {queue.Name}.",
                queue.Name
            )
            : [.. data.Items("upsertRunQueue", "configSchemaValidationErrors").Select(e => e.ToString())];
    }

    internal async Task DeleteAsync(WandbRunQueue queue, CancellationToken token)
    {
        if (!dialect.Mutations.Contains("deleteRunQueues"))
        {
            throw LaunchProtocol.TooOld("Deleting a queue");
        }

        var data = await transport.QueryAsync(
            "DeleteRunQueue",
            """
            mutation DeleteRunQueue($id: ID!) {
              deleteRunQueues(input: {queueIDs: [$id]}) { success clientMutationId }
            }
            """,
            new { id = queue.Id },
            token
        );
        if (data.Flag("deleteRunQueues", "success") != true)
        {
            throw new LaunchException(
                "QueueNotDeleted",
                LaunchErrorCategory.InvalidOperation,
                $"The server did not delete the queue {queue.Name}. May this key delete there? See Get-WandbConnection.",
                queue
            );
        }
    }

    /// <summary>Gives agents nothing of a queue, or again what waits in it; false when the server did not.</summary>
    internal async Task<bool> PauseAsync(WandbRunQueue queue, bool paused, CancellationToken token)
    {
        var data = await transport.QueryAsync(
            "PauseRunQueue",
            """
            mutation PauseRunQueue($id: ID!, $paused: Boolean!) {
              pauseRunQueue(input: {queueID: $id, paused: $paused}) { success }
            }
            """,
            new { id = queue.Id, paused },
            token
        );
        return data.Flag("pauseRunQueue", "success") == true;
    }

    /// <summary>True when the entity is a team's.</summary>
    internal async Task<bool> IsTeamAsync(string entity, CancellationToken token)
    {
        var data = await transport.QueryAsync(
            "EntityIsTeam",
            """
            query EntityIsTeam($entity: String!) {
              entity(name: $entity) { id isTeam }
            }
            """,
            new { entity },
            token
        );
        return data.Flag("entity", "isTeam") == true;
    }
}
