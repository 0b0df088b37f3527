using WandbLaunch.Foundation;

namespace WandbLaunch.Wandb;

/// <summary>
/// What a server offers beyond the 2022 protocol, found by one question (protocol, first table; B.1). The protocols ask
/// it, and nobody else.
/// </summary>
internal sealed record ServerDialect
{
    private const string OwnPrefix = "wandblaunch_";
    private const string StorePrefix = "wandblaunch_store_";

    internal required IReadOnlySet<string> Mutations { get; init; }
    internal IReadOnlySet<string> QueueFields { get; init; } = new HashSet<string>();
    internal IReadOnlySet<string> ItemFields { get; init; } = new HashSet<string>();
    internal IReadOnlySet<string> ItemsArguments { get; init; } = new HashSet<string>();
    internal IReadOnlySet<string> ProjectFields { get; init; } = new HashSet<string>();
    internal IReadOnlySet<string> AgentFields { get; init; } = new HashSet<string>();
    internal IReadOnlySet<string> AgentInput { get; init; } = new HashSet<string>();
    internal IReadOnlySet<string> Features { get; init; } = new HashSet<string>();

    /// <summary>Today's protocol: items are pushed by the queue's name, and queues live in one project of their own.</summary>
    internal bool PushByName => Mutations.Contains("pushToRunQueueByName");

    /// <summary>Many items in one field.</summary>
    internal bool PushBatch => Features.Contains("wandblaunch_queue_push");

    /// <summary>Many items are removed by one request.</summary>
    internal bool RemoveBatch => Features.Contains("wandblaunch_queue_remove");

    internal bool Agents => AgentFields.Count > 0;

    /// <summary>The server tells waiting agents of work.</summary>
    internal bool Wait => Features.Contains("wandblaunch_queue_wait");

    /// <summary>Pops and waits can leave out items of some resources.</summary>
    internal bool PopsByResource => Features.Contains("wandblaunch_pop_except");

    /// <summary>Names the database of this project's own server: its item ids are small numbers, and another database counts anew.</summary>
    internal string Store => Features.FirstOrDefault(f => f.StartsWith(StorePrefix, StringComparison.Ordinal)) ?? "";

    /// <summary>The end of an item can be reported with its exit code.</summary>
    internal bool Finish => Mutations.Contains("finishRunQueueItem");

    /// <summary>This project's own server.</summary>
    internal bool Own => Finish || Features.Any(f => f.StartsWith(OwnPrefix, StringComparison.Ordinal));

    internal static async Task<ServerDialect> ProbeAsync(GraphQLTransport transport, CancellationToken token)
    {
        const string Query = """
            query ProbeServerCapabilities {
              MutationType: __type(name: "Mutation") { fields { name } }
              RunQueueType: __type(name: "RunQueue") { fields { name args { name } } }
              RunQueueItemType: __type(name: "RunQueueItem") { fields { name } }
              ProjectType: __type(name: "Project") { fields { name } }
              LaunchAgentType: __type(name: "LaunchAgent") { fields { name } }
              CreateLaunchAgentInputType: __type(name: "CreateLaunchAgentInput") { inputFields { name } }
              ServerInfoType: __type(name: "ServerInfo") { fields { name } }
            }
            """;
        var data = await transport.QueryAsync("ProbeServerCapabilities", Query, null, token);
        HashSet<string> Names(string type, string list = "fields") =>
            data.Items(type, list).Select(f => f.Text("name")).OfType<string>().ToHashSet(StringComparer.Ordinal);
        var features = new HashSet<string>(StringComparer.Ordinal);
        if (Names("ServerInfoType").Contains("features"))
        {
            var info = await transport.QueryAsync(
                "ServerFeaturesQuery",
                "query ServerFeaturesQuery { serverInfo { features { name isEnabled } } }",
                null,
                token
            );
            features = info.Items("serverInfo", "features")
                .Where(f => f.Flag("isEnabled") == true)
                .Select(f => f.Text("name"))
                .OfType<string>()
                .ToHashSet(StringComparer.Ordinal);
        }

        return new ServerDialect
        {
            Mutations = Names("MutationType"),
            QueueFields = Names("RunQueueType"),
            ItemFields = Names("RunQueueItemType"),
            ItemsArguments = data.Items("RunQueueType", "fields")
                .Where(f => f.Text("name") == "runQueueItems")
                .SelectMany(f => f.Items("args"))
                .Select(a => a.Text("name"))
                .OfType<string>()
                .ToHashSet(StringComparer.Ordinal),
            ProjectFields = Names("ProjectType"),
            AgentFields = Names("LaunchAgentType"),
            AgentInput = Names("CreateLaunchAgentInputType", "inputFields"),
            Features = features,
        };
    }
}
