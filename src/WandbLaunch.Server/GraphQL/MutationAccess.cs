using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Schema;

/// <summary>
/// What each mutation changes, by its input, and so who may ask for it. One that is not named here is for admins alone.
/// What is not there is nobody's: the mutation itself says so.
/// </summary>
internal sealed class MutationAccess
{
    private delegate IEnumerable<bool> Rule(Caller caller, IDictionary<string, object?> input);

    private readonly Dictionary<string, Rule> _rules;
    private readonly QueueRepository _queues;
    private readonly ItemRepository _items;
    private readonly AgentRepository _agents;
    private readonly ArtifactRepository _artifacts;
    private readonly CollectionRepository _collections;
    private readonly SweepRepository _sweeps;
    private readonly RunRepository _runs;

    public MutationAccess(
        QueueRepository queues,
        ItemRepository items,
        AgentRepository agents,
        ArtifactRepository artifacts,
        CollectionRepository collections,
        SweepRepository sweeps,
        RunRepository runs
    )
    {
        _queues = queues;
        _items = items;
        _agents = agents;
        _artifacts = artifacts;
        _collections = collections;
        _sweeps = sweeps;
        _runs = runs;
        _rules = new Dictionary<string, Rule>(StringComparer.Ordinal)
        {
            ["createRunQueue"] = Entity,
            ["createDefaultResourceConfig"] = Entity,
            ["upsertRunQueue"] = QueueByName,
            ["pauseRunQueue"] = (c, i) => [Queue(c, i.Text("queueID"))],
            ["deleteRunQueues"] = (c, i) => i.Texts("queueIDs").Select(id => Queue(c, id)),
            ["pushToRunQueue"] = (c, i) => [Queue(c, i.Text("queueID")), Spec(c, i.Text("runSpec"))],
            ["pushToRunQueueByName"] = (c, i) => QueueByName(c, i).Append(Spec(c, i.Text("runSpec"))),
            ["popFromRunQueue"] = (c, i) => QueueByName(c, i).Append(Agent(c, i)),
            ["ackRunQueueItem"] = Item,
            ["failRunQueueItem"] = Item,
            ["updateRunQueueItemWarning"] = Item,
            ["finishRunQueueItem"] = Item,
            ["updateRunQueueItemEngine"] = Item,
            ["deleteFromRunQueue"] = (c, i) => [Queue(c, i.Text("queueID"))],
            ["createLaunchAgent"] = (c, i) => Entity(c, i).Concat(i.Texts("runQueues").Select(q => Queue(c, q))),
            ["updateLaunchAgent"] = (c, i) => [Agent(c, i)],
            ["stopLaunchAgent"] = (c, i) => [Agent(c, i)],
            ["upsertModel"] = Entity,
            ["upsertBucket"] = (c, i) => Entity(c, i).Append(StoredRun(c, i)),
            ["createRunFiles"] = Entity,
            ["markRunFilesUploaded"] = Entity,
            ["stopRun"] = (c, i) => [StoredRun(c, i)],
            ["updateRunState"] = (c, i) => [StoredRun(c, i)],
            ["deleteRun"] = (c, i) => [StoredRun(c, i)],
            ["deleteFiles"] = (c, i) => i.Texts("files").Select(f => FileOfRun(c, f)),
            ["rewindRun"] = Entity,
            ["notifyScriptableRunAlert"] = Entity,
            ["createArtifact"] = Entity,
            ["createArtifactType"] = Entity,
            ["createArtifactManifest"] = (c, i) => Entity(c, i).Append(Artifact(c, i.Text("artifactID"))),
            ["updateArtifactManifest"] = (c, i) =>
                [Artifact(c, i.Text("artifactManifestID")?.Replace("manifest:", "", StringComparison.Ordinal))],
            ["createArtifactFiles"] = (c, i) => i.Texts("artifactFiles", "artifactID").Select(id => Artifact(c, id)),
            ["commitArtifact"] = (c, i) => [Artifact(c, i.Text("artifactID"))],
            ["updateArtifact"] = (c, i) => [Artifact(c, i.Text("artifactID"))],
            ["deleteArtifact"] = (c, i) => [Artifact(c, i.Text("artifactID"))],
            ["useArtifact"] = (c, i) => Entity(c, i).Append(Artifact(c, i.Text("artifactID"), read: true)),
            ["linkArtifact"] = Link,
            ["unlinkArtifact"] = (c, i) =>
                [Collection(c, i.Text("artifactPortfolioID")), Artifact(c, i.Text("artifactID"), read: true)],
            ["addAliases"] = Aliases,
            ["deleteAliases"] = Aliases,
            ["updateArtifactSequence"] = (c, i) => [Collection(c, i.Text("artifactSequenceID"))],
            ["updateArtifactPortfolio"] = (c, i) => [Collection(c, i.Text("artifactPortfolioID"))],
            ["moveArtifactSequence"] = (c, i) => [Collection(c, i.Text("artifactSequenceID"))],
            ["deleteArtifactSequence"] = (c, i) => [Collection(c, i.Text("artifactSequenceID"))],
            ["deleteArtifactPortfolio"] = (c, i) => [Collection(c, i.Text("artifactPortfolioID"))],
            ["createArtifactCollectionTagAssignments"] = Entity,
            ["deleteArtifactCollectionTagAssignments"] = Entity,
            ["upsertSweep"] = Sweep,
            ["createAgent"] = (c, i) => Entity(c, i).Append(SweepById(c, i.Text("sweep"))),
            ["agentHeartbeat"] = (c, i) => [SweepAgent(c, i.Text("id"))],
        };
    }

    /// <summary>The mutations that others than admins may ask for.</summary>
    internal IReadOnlyCollection<string> Known => _rules.Keys;

    /// <summary>True where the caller may do that with this.</summary>
    internal bool Allows(Caller caller, string mutation, IDictionary<string, object?> input) =>
        caller.IsAdmin
        || (
            caller.Role != Role.ReadOnly
            && _rules.TryGetValue(mutation, out var rule)
            && rule(caller, input).All(may => may)
        );

    private static IEnumerable<bool> Entity(Caller caller, IDictionary<string, object?> input) =>
        [caller.MayWrite(input.Text("entityName") ?? caller.Name)];

    private IEnumerable<bool> QueueByName(Caller caller, IDictionary<string, object?> input)
    {
        var entity = input.Text("entityName") ?? "";
        return caller.MayWrite(entity)
            ?
            [
                _queues.Find(entity, input.Text("projectName") ?? "", input.Text("queueName") ?? "") is not { } queue
                    || caller.MayWrite(queue),
            ]
            : [false];
    }

    private bool Queue(Caller caller, string? id) =>
        _queues.Find(Ids.Parse(id)) is not { } queue || caller.MayWrite(queue);

    private IEnumerable<bool> Item(Caller caller, IDictionary<string, object?> input) =>
        [
            _items.QueueOf(Ids.Parse(input.Text("runQueueItemId"))) is not { } queue
                || caller.MaySee(queue.Entity, queue.Access, queue.CreatedBy),
        ];

    private bool Agent(Caller caller, IDictionary<string, object?> input) =>
        input.Text("launchAgentId") is not { } id
        || _agents.Find(Ids.Parse(id)) is not { } agent
        || caller.MayWrite(agent.Entity);

    private static bool StoredRun(Caller caller, IDictionary<string, object?> input) =>
        input.Text("id") is not { } id || Ids.ParseRun(id) is not var (_, _, entity) || caller.MayWrite(entity);

    private bool FileOfRun(Caller caller, string id) =>
        _runs.Find(Ids.Parse(id.Split('/', 2)[0])) is not { } run || caller.MayWrite(run.Project.Entity);

    private bool Artifact(Caller caller, string? id, bool read = false) =>
        _artifacts.Find(Ids.ParseArtifact(id)) is not { } artifact
        || (read ? caller.MayRead(artifact.Entity) : caller.MayWrite(artifact.Entity));

    private bool Collection(Caller caller, string? id) =>
        _collections.Find(Ids.Parse("ArtifactCollection", id)) is not { } collection
        || caller.MayWrite(collection.Entity);

    private IEnumerable<bool> Link(Caller caller, IDictionary<string, object?> input)
    {
        var artifact =
            input.Text("artifactID") is { Length: > 0 } id ? _artifacts.Find(Ids.ParseArtifact(id))
            : input.Text("clientID") is { Length: > 0 } client ? _artifacts.FindByClientId(client)
            : null;
        return
        [
            artifact is null || caller.MayRead(artifact.Entity),
            input.Text("artifactPortfolioID") is { Length: > 0 } portfolio
                ? Collection(caller, portfolio)
                : caller.MayWrite(input.Text("entityName") ?? artifact?.Entity ?? caller.Name),
        ];
    }

    private IEnumerable<bool> Aliases(Caller caller, IDictionary<string, object?> input)
    {
        if (_artifacts.Find(Ids.ParseArtifact(input.Text("artifactID"))) is not { } artifact)
        {
            return [true];
        }

        return ((IEnumerable<object?>)input["aliases"]!)
            .Cast<IDictionary<string, object?>>()
            .Select(a => caller.MayWrite(a.Text("entityName") ?? artifact.Entity))
            .Prepend(caller.MayRead(artifact.Entity));
    }

    private IEnumerable<bool> Sweep(Caller caller, IDictionary<string, object?> input)
    {
        var sweep = input.Text("id") is { Length: > 0 } id ? _sweeps.Find(Ids.Parse("Sweep", id)) : null;
        var entity = sweep?.Project.Entity ?? input.Text("entityName") ?? caller.Name;
        yield return caller.MayWrite(entity);
        if (input.Text("launchScheduler") is { Length: > 0 } launch && Parse(launch) is { } map)
        {
            var project = map["run_queue_project"]?.ToString() ?? sweep?.Project.Name ?? input.Text("projectName");
            yield return _queues.Find(entity, project ?? "", map["queue"]?.ToString() ?? "") is not { } queue
                || caller.MayWrite(queue);
            yield return Spec(caller, map["run_spec"]?.ToString());
        }
    }

    private bool SweepById(Caller caller, string? id) =>
        _sweeps.Find(Ids.Parse("Sweep", id)) is not { } sweep || caller.MayWrite(sweep.Project.Entity);

    private bool SweepAgent(Caller caller, string? id) =>
        _sweeps.FindAgent(Ids.Parse("Agent", id)) is not { } agent
        || _sweeps.Find(agent.Sweep) is not { } sweep
        || caller.MayWrite(sweep.Project.Entity);

    private static bool Spec(Caller caller, string? spec) => SpecAccess.IsOwn(caller, spec);

    private static JsonObject? Parse(string text)
    {
        try
        {
            return JsonNode.Parse(text) as JsonObject;
        }
        catch (JsonException)
        {
            // The mutation says what is wrong with it.
            return null;
        }
    }
}
