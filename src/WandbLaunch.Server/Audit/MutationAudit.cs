using System.Collections.Frozen;
using WandbLaunch.Server.Data;
using WandbLaunch.Server.Schema;

namespace WandbLaunch.Server.Audit;

/// <summary>What is noted of mutations.</summary>
internal static class MutationAudit
{
    // Null: what runs and agents say all the time. It is in the run, or in the history of the item.
    private static readonly FrozenDictionary<string, AuditAction?> Actions = new Dictionary<string, AuditAction?>(
        StringComparer.Ordinal
    )
    {
        ["createRunQueue"] = AuditAction.Created,
        ["createDefaultResourceConfig"] = AuditAction.Created,
        ["upsertRunQueue"] = AuditAction.Changed,
        ["pauseRunQueue"] = AuditAction.Changed,
        ["deleteRunQueues"] = AuditAction.Deleted,
        ["pushToRunQueue"] = AuditAction.Queued,
        ["pushToRunQueueByName"] = AuditAction.Queued,
        ["popFromRunQueue"] = AuditAction.Popped,
        ["ackRunQueueItem"] = null,
        ["failRunQueueItem"] = null,
        ["updateRunQueueItemWarning"] = null,
        ["finishRunQueueItem"] = null,
        ["updateRunQueueItemEngine"] = null,
        ["deleteFromRunQueue"] = AuditAction.Deleted,
        ["createLaunchAgent"] = AuditAction.Created,
        ["updateLaunchAgent"] = null,
        ["stopLaunchAgent"] = AuditAction.Changed,
        ["upsertModel"] = AuditAction.Created,
        ["upsertBucket"] = AuditAction.Created,
        ["createRunFiles"] = null,
        ["markRunFilesUploaded"] = null,
        ["stopRun"] = AuditAction.Changed,
        ["updateRunState"] = AuditAction.Changed,
        ["deleteRun"] = AuditAction.Deleted,
        ["deleteFiles"] = AuditAction.Deleted,
        ["rewindRun"] = AuditAction.Changed,
        ["notifyScriptableRunAlert"] = null,
        ["createArtifact"] = AuditAction.Created,
        ["createArtifactType"] = AuditAction.Created,
        ["createArtifactManifest"] = null,
        ["updateArtifactManifest"] = null,
        ["createArtifactFiles"] = null,
        ["commitArtifact"] = null,
        ["updateArtifact"] = AuditAction.Changed,
        ["deleteArtifact"] = AuditAction.Deleted,
        ["useArtifact"] = null,
        ["linkArtifact"] = AuditAction.Changed,
        ["unlinkArtifact"] = AuditAction.Changed,
        ["addAliases"] = AuditAction.Changed,
        ["deleteAliases"] = AuditAction.Changed,
        ["updateArtifactSequence"] = AuditAction.Changed,
        ["updateArtifactPortfolio"] = AuditAction.Changed,
        ["moveArtifactSequence"] = AuditAction.Changed,
        ["deleteArtifactSequence"] = AuditAction.Deleted,
        ["deleteArtifactPortfolio"] = AuditAction.Deleted,
        ["createArtifactCollectionTagAssignments"] = AuditAction.Changed,
        ["deleteArtifactCollectionTagAssignments"] = AuditAction.Changed,
        ["upsertSweep"] = AuditAction.Changed,
        ["createAgent"] = null,
        ["agentHeartbeat"] = null,
    }.ToFrozenDictionary(StringComparer.Ordinal);

    // What of an input says what it was done to. Nothing that a spec, a config or an alert holds.
    private static readonly (string Field, string Shown)[] Fields =
    [
        ("queueName", "queue"),
        ("queueIDs", "queues"),
        ("runQueueItemId", "item"),
        ("launchAgentId", "agent"),
        ("hostname", "host"),
        ("runName", "run"),
        ("name", "name"),
        ("id", ""),
        ("state", "state"),
        ("artifactCollectionName", "artifact"),
        ("artifactID", ""),
        ("artifactSequenceID", ""),
        ("artifactPortfolioID", ""),
        ("artifactPortfolioName", "portfolio"),
        ("files", "files"),
    ];

    /// <summary>Every mutation of which it is said.</summary>
    internal static IReadOnlyCollection<string> Known => Actions.Keys;

    /// <summary>What a mutation did; null where there is nothing to note.</summary>
    internal static AuditAction? Action(string mutation, object? result) =>
        result is Row row
        && row.GetValueOrDefault("success") is not false
        && row.GetValueOrDefault("inserted") is not false
            ? Actions.GetValueOrDefault(mutation)
            : null;

    internal static AuditNote Note(string mutation, IDictionary<string, object?> input, object? result)
    {
        var parts = new List<string>();
        foreach (var (field, shown) in Fields)
        {
            var value =
                input.TryGetValue(field, out var given) && given is not null ? given
                : field == "runQueueItemId" && result is Row row ? row.GetValueOrDefault(field)
                : null;
            if (value is IEnumerable<object?> list)
            {
                parts.Add($"{shown} {string.Join(", ", list.Take(20))}");
            }
            else if (value is not null)
            {
                parts.Add($"{shown} {Plain(value.ToString()!)}".Trim());
            }
        }

        var run = input.TryGetValue("id", out var id) && id is string text ? Ids.ParseRun(text) : null;
        return new AuditNote(
            mutation,
            input.Text("entityName") ?? run?.Entity,
            input.Text("projectName") ?? input.Text("modelName") ?? run?.Project,
            string.Join(", ", parts),
            input.Text("queueID") is { Length: > 0 } queue ? Data.Ids.Parse(queue) : null
        );
    }

    // Ids of W&B are words and names in base64.
    private static string Plain(string id) =>
        Ids.ParseRun(id) is var (run, _, _) ? "run " + run
        : Ids.Decode(id) is { } text && text.Split(':') is ["Artifact" or "ArtifactCollection" or "Sweep", var number]
            ? $"{text.Split(':')[0].ToLowerInvariant()} {number}"
        : id;
}
