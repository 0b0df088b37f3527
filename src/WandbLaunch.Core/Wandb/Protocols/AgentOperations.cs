using System.Text.Json;
using WandbLaunch.Foundation;

namespace WandbLaunch.Wandb;

/// <summary>Agents as a server knows them: registered, alive, asked to stop (protocol B.4).</summary>
internal sealed class AgentOperations(GraphQLTransport transport, ServerDialect dialect, QueueOperations queues)
{
    private static readonly TimeSpan LostAfter = TimeSpan.FromMinutes(2);

    internal async Task<string?> RegisterAsync(NewAgent agent, CancellationToken token)
    {
        if (!dialect.Agents)
        {
            return null;
        }

        var today = dialect.AgentInput.Contains("agentConfig");
        var version = typeof(AgentOperations).Assembly.GetName().Version?.ToString(3);
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
                    entity = agent.Entity,
                    project = agent.Project,
                    queues = agent.QueueIds,
                    hostname = agent.Hostname,
                    agentConfig = agent.Config,
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
                    entity = agent.Entity,
                    project = agent.Project,
                    queues = agent.QueueIds,
                    hostname = agent.Hostname,
                },
                token
            );
        return data.Text("createLaunchAgent", "launchAgentId");
    }

    internal async Task SendHeartbeatAsync(string? agent, AgentState state, CancellationToken token)
    {
        if (agent is null)
        {
            return;
        }

        var agentStatus = state switch
        {
            AgentState.Stopped or AgentState.Lost => "KILLED",
            AgentState.Running or AgentState.Draining => "RUNNING",
            _ => "POLLING",
        };
        await transport.QueryAsync(
            "updateLaunchAgent",
            """
            mutation updateLaunchAgent($agentId: ID!, $agentStatus: String) {
              updateLaunchAgent(input: {launchAgentId: $agentId, agentStatus: $agentStatus}) { success }
            }
            """,
            new { agentId = agent, agentStatus },
            token
        );
    }

    internal async Task<AgentAnswer> GetAsync(string? agent, CancellationToken token)
    {
        if (agent is null)
        {
            return new AgentAnswer(null, false);
        }

        var more = dialect.AgentFields.Contains("stopRuns") ? " stopRuns" : "";
        var data = await transport.QueryAsync(
            "LaunchAgent",
            $$"""
            query LaunchAgent($agentId: ID!) {
              launchAgent(id: $agentId) { id name runQueues hostname agentStatus stopPolling heartbeatAt{{more}} }
            }
            """,
            new { agentId = agent },
            token
        );
        return new AgentAnswer(
            data.Text("launchAgent", "name"),
            data.Flag("launchAgent", "stopPolling") ?? false,
            data.Flag("launchAgent", "stopRuns") ?? false
        );
    }

    internal async Task<IReadOnlyList<WandbLaunchAgent>> ListAsync(
        string entity,
        string project,
        CancellationToken token
    )
    {
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

        var names = (await queues.ListAsync(entity, project, false, token)).ToDictionary(q => q.Id, q => q.Name);
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

        AgentState StateOf(JsonElement agent) =>
            agent.Text("agentStatus") switch
            {
                "KILLED" => AgentState.Stopped,
                _ when agent.Time("heartbeatAt") is { } last && transport.Time.GetUtcNow() - last > LostAfter =>
                    AgentState.Lost,
                _ when agent.Flag("stopPolling") == true => AgentState.Draining,
                "RUNNING" => AgentState.Running,
                _ => AgentState.Polling,
            };
    }

    internal async Task<bool> StopAsync(string agent, CancellationToken token)
    {
        if (!dialect.Mutations.Contains("stopLaunchAgent"))
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
}
