using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.Agents;

/// <summary>
/// What an agent is on its server: its queues, its id and name there, the run that holds its logs, and the protocol that
/// it speaks over a transport of its own. Made once at the start, while somebody waits; afterwards nothing of it changes.
/// </summary>
internal sealed class AgentRegistration : IDisposable
{
    private readonly GraphQLTransport _transport;

    private AgentRegistration(AgentConfig config, WandbConnection connection, ILaunchProtocol starting)
    {
        Connection = connection;

        // At the start the connection's patience counts; afterwards the agent has its own, and the transport tries once.
        _transport = new GraphQLTransport(connection.Settings, 0);
        Protocol = starting.Over(_transport);
        Api = new WandbApi(_transport, Protocol);
        QueueApi = new QueueApi(_transport, Api);
        Entity =
            config.Entity
            ?? connection.Entity
            ?? throw new LaunchException(
                "EntityMissing",
                LaunchErrorCategory.InvalidArgument,
                "It is not known whose queues are meant. Give -Entity, or set WANDB_ENTITY.",
                null
            );
        QueueProject =
            config.QueueProject
            ?? Protocol.QueueProject(config.Project ?? connection.Project)
            ?? throw new LaunchException(
                "ProjectMissing",
                LaunchErrorCategory.InvalidArgument,
                "On this server queues belong to a project: name it, as Start-WandbLaunchAgent <project>, or set WANDB_PROJECT.",
                null
            );
    }

    internal WandbConnection Connection { get; }
    internal ILaunchProtocol Protocol { get; }
    internal WandbApi Api { get; }
    internal QueueApi QueueApi { get; }
    internal string Entity { get; }
    internal string QueueProject { get; }

    /// <summary>In the order of the configuration.</summary>
    internal IReadOnlyList<WandbRunQueue> Queues { get; private set; } = [];

    internal string? AgentId { get; private set; }

    internal string? ServerName { get; private set; }

    /// <summary>The run that holds the logs of failures, where the server has one.</summary>
    internal RunPath? LogRun =>
        ServerName is null || !Protocol.AgentsHaveARun ? null : new RunPath(Entity, QueueProject, ServerName);

    /// <summary>The key that item ids are remembered under.</summary>
    internal string ServerKey => Connection.BaseUrl + Protocol.Store;

    /// <summary>Finds the agent's queues and registers it.</summary>
    /// <exception cref="LaunchException"><c>QueueNotFound</c>, or what the server says.</exception>
    internal static async Task<AgentRegistration> CreateAsync(
        AgentConfig config,
        WandbConnection connection,
        AgentTeller teller,
        CancellationToken token
    )
    {
        var starting = await connection.Api.ProtocolAsync(token);
        var made = new AgentRegistration(config, connection, starting);
        try
        {
            await made.RegisterAsync(config, starting, teller, token);
            return made;
        }
        catch
        {
            made.Dispose();
            throw;
        }
    }

    private async Task RegisterAsync(
        AgentConfig config,
        ILaunchProtocol starting,
        AgentTeller teller,
        CancellationToken token
    )
    {
        Queues = await FindQueuesAsync(config, token);
        AgentId = await starting.RegisterAgentAsync(
            new NewAgent(
                Entity,
                QueueProject,
                [.. Queues.Select(q => q.Id)],
                Environment.MachineName,
                config.ForServer().ToJsonString()
            ),
            token
        );
        ServerName = (await starting.AgentAsync(AgentId, token)).Name;
        if (LogRun is not { } run)
        {
            return;
        }

        try
        {
            await Connection.Api.UpsertRunAsync(
                new RunUpsert(run.Id, Entity, QueueProject)
                {
                    DisplayName = run.Id,
                    JobType = "sweep-controller",
                    Host = Environment.MachineName,
                },
                token
            );
        }
        catch (LaunchException e)
        {
            teller.Warn($"Logs of failures cannot be kept on the server: {e.Message}");
            ServerName = null;
        }
    }

    // Protocol B.4: without any queue the default one is made; one that is missing is an error.
    private async Task<IReadOnlyList<WandbRunQueue>> FindQueuesAsync(AgentConfig config, CancellationToken token)
    {
        IReadOnlyList<WandbRunQueue> all;
        try
        {
            all = await Connection.Queues.QueuesAsync(Entity, QueueProject, token);
        }
        catch (LaunchException e) when (e.ErrorId == "ProjectNotFound" && Protocol.QueuesBelongToEntity)
        {
            all = [];
        }

        if (config.Queues.Contains(QueueApi.DefaultQueue) && all.All(q => q.Name != QueueApi.DefaultQueue))
        {
            await Connection.Queues.CreateAsync(
                new NewQueue(Entity, QueueProject, QueueApi.DefaultQueue, "PROJECT"),
                token
            );
            all = await Connection.Queues.QueuesAsync(Entity, QueueProject, token);
        }

        var missing = config.Queues.Where(n => all.All(q => q.Name != n)).ToList();
        return missing.Count == 0
            ? [.. config.Queues.Select(n => all.First(q => q.Name == n))]
            : throw new LaunchException(
                "QueueNotFound",
                LaunchErrorCategory.ObjectNotFound,
                $"There is no queue {string.Join(", ", missing)} in {Entity}/{QueueProject}. {(all.Count > 0 ? "There are: " + string.Join(", ", all.Select(q => q.Name)) + "." : "There is none at all.")} Make it with New-WandbRunQueue.",
                missing
            );
    }

    /// <summary>Says goodbye for an agent of this name that was killed: it would be seen as working on the server.</summary>
    internal async Task BuryAsync(WandbLaunchAgent? before, ServerLink link)
    {
        if (
            before is not { State: not AgentState.Stopped, AgentId: { } id, ServerName: { } name }
            || before.Server != Connection.BaseUrl
        )
        {
            return;
        }

        await link.OnceAsync(async t =>
        {
            // Ids are small numbers on some servers: after a change of database this one may be another's.
            if ((await Protocol.AgentAsync(id, t)).Name == name)
            {
                await Protocol.SendHeartbeatAsync(id, AgentState.Stopped, t);
                if (LogRun is not null)
                {
                    await Api.CompleteAsync(new RunPath(before.Entity!, before.QueueProject!, name), 1, t);
                }
            }
        });
    }

    public void Dispose() => _transport.Dispose();
}
