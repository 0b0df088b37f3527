using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Schema;

/// <summary>Records as the schema shows them.</summary>
internal static class Rows
{
    internal static Row Of(ProjectRecord project) =>
        new()
        {
            Record = project,
            ["id"] = "project:" + Ids.Text(project.Id),
            ["entityName"] = project.Entity,
            ["entity"] = Entity(project.Entity),
            ["name"] = project.Name,
            ["description"] = project.Description,
            ["createdAt"] = project.CreatedAt,
            ["updatedAt"] = project.CreatedAt,
            ["readOnly"] = false,
            ["internalId"] = Ids.Text(project.Id),
            ["isBenchmark"] = false,
            ["access"] = "PRIVATE",
            ["user"] = User(Caller.OwnName),
        };

    /// <summary>An entity; who is in it is asked for by <see cref="PeopleFields"/>.</summary>
    internal static Row Entity(string name) =>
        new()
        {
            Record = new EntityRecord(name),
            ["id"] = "entity:" + name,
            ["name"] = name,
            ["available"] = false,
            ["readOnly"] = false,
            ["readOnlyAdmin"] = false,
            ["privateOnly"] = false,
            ["codeSavingEnabled"] = true,
            ["defaultAccess"] = "PRIVATE",
            ["isPaid"] = false,
            ["limits"] = "{}",
        };

    /// <summary>A user.</summary>
    internal static Row User(string name, bool isAdmin = false) =>
        new()
        {
            [SchemaFields.TypeName] = "User",
            ["id"] = "user:" + name,
            ["name"] = name,
            ["username"] = name,
            ["email"] = "",
            ["entity"] = name,
            ["admin"] = isAdmin || name == Caller.OwnName,
            ["flags"] = "{\"code_saving_enabled\": true}",
            ["apiKeys"] = new Row { ["edges"] = Array.Empty<Row>() },
        };

    internal static Row Of(RunRecord run, Row? project = null) =>
        new()
        {
            Record = run,
            [SchemaFields.TypeName] = "Run",
            ["id"] = Ids.Run(run.Name, run.Project.Name, run.Project.Entity),
            ["internalId"] = Ids.Text(run.Id),
            ["projectId"] = (int)run.Project.Id,
            ["exitcode"] = run.ExitCode,
            ["failed"] = run.State is "failed" or "crashed" or "killed",
            ["running"] = run.State is "running" or "preempting",
            ["shouldStop"] = run.Stopped,
            ["name"] = run.Name,
            ["displayName"] = run.DisplayName,
            ["description"] = run.Description,
            ["notes"] = run.Notes,
            ["tags"] = JsonSerializer.Deserialize<string[]>(run.Tags),
            ["state"] = run.State,
            ["stopped"] = run.Stopped,
            ["config"] = run.Config,
            ["summaryMetrics"] = run.Summary,
            ["systemMetrics"] = run.System ?? "{}",
            ["group"] = run.Group,
            ["jobType"] = run.JobType,
            ["sweepName"] = run.Sweep,
            ["commit"] = run.Commit,
            ["host"] = run.Host,
            ["repo"] = run.Repo,
            ["readOnly"] = false,
            ["user"] = run.User is { } user ? User(user) : null,
            ["createdAt"] = run.CreatedAt,
            ["heartbeatAt"] = run.HeartbeatAt,
            ["updatedAt"] = run.UpdatedAt,
            ["project"] = project ?? Of(run.Project),
        };

    internal static Row Of(FileRecord file, RunRecord run) =>
        new()
        {
            Record = run,
            ["id"] = $"{Ids.Text(run.Id)}/{file.Name}",
            ["name"] = file.Name,
            ["displayName"] = file.Name,
            ["digest"] = file.Md5,
            ["md5"] = file.Md5,
            ["sizeBytes"] = file.Size,
            ["updatedAt"] = file.UpdatedAt,
        };

    internal static Row Of(ArtifactRecord artifact) =>
        new()
        {
            Record = artifact,
            ["id"] = Ids.Artifact(artifact.Id),
            ["entityName"] = artifact.Entity,
            ["projectName"] = artifact.Project,
            ["versionIndex"] = artifact.Version,
            ["digest"] = artifact.Digest,
            ["state"] = artifact.State,
            ["description"] = artifact.Description,
            ["metadata"] = artifact.Metadata,
            ["labels"] = "[]",
            ["createdAt"] = artifact.CreatedAt,
            ["updatedAt"] = artifact.UpdatedAt ?? artifact.CreatedAt,
            ["historyStep"] = artifact.HistoryStep,
            // -1 is W&B's word for as long as the team keeps them, which is for ever here.
            ["ttlDurationSeconds"] = artifact.Ttl ?? -1L,
            ["ttlIsInherited"] = artifact.Ttl is null,
            ["tags"] = Tags(artifact.Tags),
            ["commitHash"] = artifact.Digest,
        };

    internal static Row Of(CollectionRecord collection) =>
        new()
        {
            Record = collection,
            [SchemaFields.TypeName] =
                collection.Kind == CollectionRecord.Portfolio ? "ArtifactPortfolio" : "ArtifactSequence",
            ["id"] = Ids.Of("ArtifactCollection", collection.Id),
            ["name"] = collection.Name,
            ["description"] = collection.Description,
            ["state"] = "READY",
            ["createdAt"] = collection.CreatedAt,
            ["updatedAt"] = collection.UpdatedAt ?? collection.CreatedAt,
            ["tags"] = Row.Connection(Tags(collection.Tags), t => (string)t["name"]!, false),
        };

    internal static Row Of(Membership membership) =>
        new()
        {
            Record = membership,
            ["id"] = Ids.Encode($"Membership:{membership.Collection.Id}:{membership.Artifact.Id}"),
            ["versionIndex"] = membership.Version,
            ["artifactCollection"] = Of(membership.Collection),
            ["artifact"] = Of(membership.Artifact),
            ["createdAt"] = membership.Artifact.CreatedAt,
        };

    internal static Row Of(SweepRecord sweep) =>
        new()
        {
            Record = sweep,
            ["id"] = Ids.Of("Sweep", sweep.Id),
            ["name"] = sweep.Name,
            ["displayName"] = sweep.DisplayName,
            ["description"] = sweep.Description,
            ["method"] = sweep.Method,
            ["state"] = sweep.State,
            ["config"] = sweep.Config,
            ["controller"] = sweep.Controller,
            ["scheduler"] = sweep.Scheduler,
            ["earlyStopJobRunning"] = false,
            ["createdAt"] = sweep.CreatedAt,
            ["updatedAt"] = sweep.UpdatedAt,
            ["heartbeatAt"] = sweep.HeartbeatAt,
            ["user"] = sweep.User is { } user ? User(user) : null,
            ["project"] = Of(sweep.Project),
        };

    internal static Row Of(SweepAgentRecord agent) =>
        new()
        {
            Record = agent,
            ["id"] = Ids.Of("Agent", agent.Id),
            ["name"] = agent.Name,
            ["host"] = agent.Host,
            ["totalRuns"] = agent.Made,
            ["createdAt"] = agent.CreatedAt,
            ["heartbeatAt"] = agent.HeartbeatAt,
            // An agent of W&B asks every few seconds.
            ["state"] =
                string.CompareOrdinal(agent.HeartbeatAt, Database.Before(TimeSpan.FromMinutes(2))) >= 0
                    ? "RUNNING"
                    : "FINISHED",
        };

    internal static Row Of(AlertRecord alert) =>
        new()
        {
            Record = alert,
            ["id"] = Ids.Text(alert.Id),
            ["title"] = alert.Title,
            ["text"] = alert.Text,
            ["severity"] = alert.Severity,
            ["createdAt"] = alert.CreatedAt,
        };

    /// <summary>Tags, whose name is their id.</summary>
    internal static Row[] Tags(string list) =>
        [
            .. JsonSerializer
                .Deserialize<string[]>(list)!
                .Select(t => new Row { ["id"] = Ids.Encode("Tag:" + t), ["name"] = t }),
        ];

    internal static Row Of(QueueRecord queue) =>
        new()
        {
            Record = queue,
            ["id"] = Ids.Text(queue.Id),
            ["entityName"] = queue.Entity,
            ["projectName"] = queue.Project,
            ["name"] = queue.Name,
            ["createdBy"] = queue.CreatedBy,
            ["access"] = queue.Access,
            ["createdAt"] = queue.CreatedAt,
            ["prioritizationMode"] = queue.Mode,
            ["paused"] = queue.Paused,
            ["resource"] = queue.Resource,
            ["resourceConfig"] = queue.ResourceConfig,
            ["templateVariables"] = queue.TemplateVariables,
            ["externalLinks"] = queue.ExternalLinks,
            ["defaultResourceConfigID"] = queue.Resource is null ? null : "queue:" + Ids.Text(queue.Id),
        };

    internal static Row Of(ItemRecord item)
    {
        var waits = item.State == "PENDING";
        return new()
        {
            Record = item,
            ["id"] = Ids.Text(item.Id),
            ["queue"] = item.Queue,
            ["state"] = item.State,
            ["associatedRunId"] = item.RunName,
            ["createdAt"] = item.CreatedAt,
            ["priority"] = item.Priority,
            ["launchAgentId"] = waits ? null : item.Agent?.ToString(CultureInfo.InvariantCulture),
            ["launchAgentName"] = waits ? null : item.AgentName,
            ["exitCode"] = item.ExitCode,
            ["claimedAt"] = item.ClaimedAt,
            ["finishedAt"] = item.FinishedAt,
            ["engineId"] = item.EngineId,
            ["reason"] = item.Reason,
            ["error"] =
                item.Error is { } error ? Report(ItemRepository.Json(error))
                : item.Fault is { } fault ? Report(ItemRepository.Unreadable(fault))
                : null,
            ["warnings"] =
                item.Warnings is { } warnings && ItemRepository.Json(warnings) is JsonArray list
                    ? list.Select(Report).ToArray()
                    : [],
        };
    }

    internal static Row Of(AgentRecord agent) =>
        new()
        {
            Record = agent,
            ["id"] = Ids.Text(agent.Id),
            ["name"] = agent.Name,
            ["runQueues"] = JsonSerializer.Deserialize<string[]>(agent.Queues),
            ["hostname"] = agent.Hostname,
            ["agentStatus"] = agent.Status,
            ["stopPolling"] = agent.StopPolling,
            ["stopRuns"] = agent.StopRuns,
            ["heartbeatAt"] = agent.HeartbeatAt,
            ["createdAt"] = agent.CreatedAt,
            ["version"] = agent.Version,
        };

    private static Row Report(JsonNode? report) =>
        report is JsonObject map
            ? new()
            {
                ["message"] = map["message"]?.ToString(),
                ["stage"] = map["stage"]?.ToString(),
                ["filePaths"] =
                    (map["filePaths"] as JsonArray)?.Select(p => p?.ToString()).OfType<string>().ToArray() ?? [],
            }
            : new() { ["message"] = report?.ToString(), ["filePaths"] = Array.Empty<string>() };
}
