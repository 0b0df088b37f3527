using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Wandb;

/// <summary>An item that was popped: leased until it is acknowledged. With a fault its spec could not be read, and is empty.</summary>
internal sealed record PoppedItem(string Id, JsonObject Spec, string? Fault = null);

/// <summary>What the server says of an agent.</summary>
internal sealed record AgentState(string? Name, bool StopPolling);

/// <summary>The operations of agents (protocol B.3, B.4), in the protocol that the server speaks.</summary>
internal sealed class AgentApi(GraphQLTransport transport, WandbApi api)
{
    /// <summary>Takes the next item of a queue, or null when it is empty. Another agent gets it unless it is acknowledged in time.</summary>
    internal async Task<PoppedItem?> PopAsync(
        string entity,
        string project,
        string queue,
        string? agent,
        CancellationToken token
    )
    {
        var data = await transport.QueryAsync(
            "popFromRunQueue",
            """
            mutation popFromRunQueue($entity: String!, $project: String!, $queueName: String!, $launchAgentId: ID) {
              popFromRunQueue(input: {
                entityName: $entity
                projectName: $project
                queueName: $queueName
                launchAgentId: $launchAgentId
              }) {
                runQueueItemId
                runSpec
              }
            }
            """,
            new
            {
                entity,
                project,
                queueName = queue,
                launchAgentId = agent,
            },
            token
        );
        if (data.At("popFromRunQueue") is not { } item)
        {
            return null;
        }

        if (
            item.At("runQueueItemId") is not { ValueKind: JsonValueKind.String or JsonValueKind.Number } given
            || given.ToString() is not { Length: > 0 and <= 512 } id
        )
        {
            throw new LaunchException(
                "ServerAnswerInvalid",
                LaunchErrorCategory.ProtocolError,
                $"The server gave an item of the queue {queue} without an id.",
                queue
            );
        }

        // One that cannot be read is an item all the same: it has to fail with a reason, or it comes back for ever.
        var (spec, fault) = ItemSpec.Read(item.At("runSpec"));
        return new PoppedItem(id, spec, fault);
    }

    /// <summary>Makes a popped item this agent's own; false when its lease was over and somebody else has it.</summary>
    internal async Task<bool> AckAsync(string item, string run, CancellationToken token)
    {
        var data = await transport.QueryAsync(
            "ackRunQueueItem",
            """
            mutation ackRunQueueItem($itemId: ID!, $runId: String!) {
              ackRunQueueItem(input: {runQueueItemId: $itemId, runName: $runId}) { success }
            }
            """,
            new { itemId = item, runId = run },
            token
        );
        return data.Flag("ackRunQueueItem", "success") ?? false;
    }

    /// <summary>
    /// As <see cref="AckAsync"/>, and can be asked again after an answer that was lost: an item that carries this run then
    /// is this agent's. Only then: the id of a run is made of the item or stands in it, so that another agent, which
    /// took the item when the lease was over, acknowledged it with the same one.
    /// </summary>
    internal async Task<bool> ClaimAsync(
        QueueApi queues,
        WandbRunQueue queue,
        string item,
        string run,
        bool askedBefore,
        CancellationToken token
    ) =>
        await AckAsync(item, run, token) || (askedBefore && (await queues.ItemAsync(queue, item, token))?.RunId == run);

    /// <summary>Reports an item that could not be run. Servers of 2022 know only an ack with the run "None" (protocol B.3).</summary>
    internal async Task FailAsync(
        string item,
        string message,
        string stage,
        IReadOnlyList<string> files,
        bool acknowledged,
        CancellationToken token
    )
    {
        var dialect = await api.DialectAsync(token);
        if (dialect.Mutations.Contains("failRunQueueItem"))
        {
            await ReportAsync("failRunQueueItem", item, message, stage, files, token);
        }
        else if (!acknowledged)
        {
            await AckAsync(item, "None", token);
        }
    }

    internal async Task WarnAsync(
        string item,
        string message,
        string stage,
        IReadOnlyList<string> files,
        CancellationToken token
    )
    {
        if ((await api.DialectAsync(token)).Mutations.Contains("updateRunQueueItemWarning"))
        {
            await ReportAsync("updateRunQueueItemWarning", item, message, stage, files, token);
        }
    }

    /// <summary>Reports the end of an item's run; only this project's own server knows it.</summary>
    internal Task FinishAsync(
        string item,
        string state,
        int? exitCode,
        string? message,
        string? stage,
        IReadOnlyList<string> files,
        CancellationToken token
    ) =>
        transport.QueryAsync(
            "finishRunQueueItem",
            """
            mutation finishRunQueueItem($input: FinishRunQueueItemInput!) {
              finishRunQueueItem(input: $input) { success }
            }
            """,
            new
            {
                input = new
                {
                    runQueueItemId = item,
                    state,
                    exitCode,
                    message,
                    stage,
                    filePaths = files,
                },
            },
            token
        );

    /// <summary>Registers an agent; null on servers that know no agents (protocol B.1).</summary>
    internal async Task<string?> CreateAsync(
        string entity,
        string project,
        IReadOnlyList<string> queueIds,
        string hostname,
        string config,
        CancellationToken token
    )
    {
        var dialect = await api.DialectAsync(token);
        if (!dialect.Agents)
        {
            return null;
        }

        var today = dialect.AgentInput.Contains("agentConfig");
        var version = typeof(AgentApi).Assembly.GetName().Version?.ToString(3);
        var data = today
            ? await transport.QueryAsync(
                "createLaunchAgent",
                """
                mutation createLaunchAgent(
                  $entity: String!
                  $project: String!
                  $queues: [ID!]!
                  $hostname: String!
                  $agentConfig: JSONString
                  $version: String
                ) {
                  createLaunchAgent(input: {
                    entityName: $entity
                    projectName: $project
                    runQueues: $queues
                    hostname: $hostname
                    agentConfig: $agentConfig
                    version: $version
                  }) {
                    launchAgentId
                  }
                }
                """,
                new
                {
                    entity,
                    project,
                    queues = queueIds,
                    hostname,
                    agentConfig = config,
                    version,
                },
                token
            )
            : await transport.QueryAsync(
                "createLaunchAgent",
                """
                mutation createLaunchAgent($entity: String!, $project: String!, $queues: [ID!]!, $hostname: String!) {
                  createLaunchAgent(input: {
                    entityName: $entity
                    projectName: $project
                    runQueues: $queues
                    hostname: $hostname
                  }) {
                    launchAgentId
                  }
                }
                """,
                new
                {
                    entity,
                    project,
                    queues = queueIds,
                    hostname,
                },
                token
            );
        return data.Text("createLaunchAgent", "launchAgentId");
    }

    /// <summary>POLLING, RUNNING or KILLED; also the agent's sign of life.</summary>
    internal async Task UpdateAsync(string? agent, string status, CancellationToken token)
    {
        if (agent is not null)
        {
            await transport.QueryAsync(
                "updateLaunchAgent",
                """
                mutation updateLaunchAgent($agentId: ID!, $agentStatus: String) {
                  updateLaunchAgent(input: {launchAgentId: $agentId, agentStatus: $agentStatus}) { success }
                }
                """,
                new { agentId = agent, agentStatus = status },
                token
            );
        }
    }

    internal async Task<AgentState> GetAsync(string? agent, CancellationToken token)
    {
        if (agent is null)
        {
            return new AgentState(null, false);
        }

        var data = await transport.QueryAsync(
            "LaunchAgent",
            """
            query LaunchAgent($agentId: ID!) {
              launchAgent(id: $agentId) { id name runQueues hostname agentStatus stopPolling heartbeatAt }
            }
            """,
            new { agentId = agent },
            token
        );
        return new AgentState(data.Text("launchAgent", "name"), data.Flag("launchAgent", "stopPolling") ?? false);
    }

    /// <summary>The agents of a project; only this project's own server lists them.</summary>
    internal async Task<IReadOnlyList<WandbLaunchAgent>> ListAsync(
        string entity,
        string project,
        QueueApi queues,
        CancellationToken token
    )
    {
        var dialect = await api.DialectAsync(token);
        if (!dialect.ProjectFields.Contains("launchAgents"))
        {
            return [];
        }

        var data = await transport.QueryAsync(
            "LaunchAgents",
            """
            query LaunchAgents($entity: String!, $project: String!) {
              project(name: $project, entityName: $entity) {
                launchAgents { id name runQueues hostname agentStatus stopPolling heartbeatAt createdAt }
              }
            }
            """,
            new { entity, project },
            token
        );
        if (data.At("project") is null)
        {
            return [];
        }

        var names = (await queues.QueuesAsync(entity, project, token)).ToDictionary(q => q.Id, q => q.Name);
        return
        [
            .. data.Items("project", "launchAgents")
                .Select(a => new WandbLaunchAgent
                {
                    Name = a.Text("name") ?? a.Text("id") ?? "",
                    State = StateOf(a),
                    AgentId = a.Text("id"),
                    ServerName = a.Text("name"),
                    Entity = entity,
                    QueueProject = project,
                    Hostname = a.Text("hostname"),
                    Queues = [.. a.Items("runQueues").Select(q => names.GetValueOrDefault(q.ToString(), q.ToString()))],
                    Heartbeat = a.Time("heartbeatAt"),
                    Started = a.Time("createdAt"),
                }),
        ];

        static string StateOf(JsonElement agent) =>
            agent.Text("agentStatus") switch
            {
                "KILLED" => "stopped",
                _ when agent.Time("heartbeatAt") is { } last
                        && DateTimeOffset.UtcNow - last > TimeSpan.FromMinutes(2) => "lost",
                _ when agent.Flag("stopPolling") == true => "draining",
                "RUNNING" => "running",
                _ => "polling",
            };
    }

    /// <summary>Asks an agent to end by way of the server; false when the server has no such thing.</summary>
    internal async Task<bool> StopAsync(string agent, CancellationToken token)
    {
        if (!(await api.DialectAsync(token)).Mutations.Contains("stopLaunchAgent"))
        {
            return false;
        }

        var data = await transport.QueryAsync(
            "stopLaunchAgent",
            """
            mutation stopLaunchAgent($agentId: ID!) {
              stopLaunchAgent(input: {launchAgentId: $agentId}) { success }
            }
            """,
            new { agentId = agent },
            token
        );
        return data.Flag("stopLaunchAgent", "success") ?? false;
    }

    /// <summary>State of a sweep, or null when there is none (protocol B.7).</summary>
    internal async Task<string?> SweepStateAsync(string entity, string project, string sweep, CancellationToken token)
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

    /// <summary>Ends a sweep whose scheduler failed (protocol F.5, B.7); one that is over already stays as it is.</summary>
    internal async Task CancelSweepAsync(string entity, string project, string sweep, CancellationToken token)
    {
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

    /// <summary>Waits until one of the queues has an item; only this project's own server tells. False when the time is over.</summary>
    internal async Task<bool> WaitAsync(IReadOnlyList<string> queueIds, TimeSpan limit, CancellationToken token)
    {
        var path =
            $"/queues/wait?timeout={limit.TotalSeconds.ToString(CultureInfo.InvariantCulture)}{string.Concat(queueIds.Select(q => "&queue=" + Uri.EscapeDataString(q)))}";
        return (await transport.GetAsync(path, token)).Flag("ready") ?? false;
    }

    private async Task ReportAsync(
        string operation,
        string item,
        string message,
        string stage,
        IReadOnlyList<string> files,
        CancellationToken token
    )
    {
        // filePaths is left out when there are none (protocol B.3).
        var (declared, given) = files.Count > 0 ? (", $filePaths: [String!]", ", filePaths: $filePaths") : ("", "");
        var variables = new Dictionary<string, object?>
        {
            ["runQueueItemId"] = item,
            ["message"] = Secrets.Mask(message),
            ["stage"] = stage,
        };
        if (files.Count > 0)
        {
            variables["filePaths"] = files;
        }

        await transport.QueryAsync(
            operation,
            $$"""
            mutation {{operation}}($runQueueItemId: ID!, $message: String!, $stage: String!{{declared}}) {
              {{operation}}(input: {runQueueItemId: $runQueueItemId, message: $message, stage: $stage{{given}} }) {
                success
              }
            }
            """,
            variables,
            token
        );
    }
}
