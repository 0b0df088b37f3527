using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
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
            ["readOnly"] = false,
        };

    internal static Row Entity(string name) =>
        new()
        {
            ["id"] = "entity:" + name,
            ["name"] = name,
            ["isTeam"] = false,
        };

    internal static Row Of(RunRecord run, Row? project = null) =>
        new()
        {
            Record = run,
            ["id"] = Ids.Run(run.Name, run.Project.Name, run.Project.Entity),
            ["name"] = run.Name,
            ["displayName"] = run.DisplayName,
            ["description"] = run.Description,
            ["notes"] = run.Notes,
            ["tags"] = JsonSerializer.Deserialize<string[]>(run.Tags),
            ["state"] = run.State,
            ["stopped"] = run.Stopped,
            ["config"] = run.Config,
            ["summaryMetrics"] = run.Summary,
            ["systemMetrics"] = "{}",
            ["group"] = run.Group,
            ["jobType"] = run.JobType,
            ["sweepName"] = run.Sweep,
            ["commit"] = run.Commit,
            ["host"] = run.Host,
            ["repo"] = run.Repo,
            ["readOnly"] = false,
            ["user"] = run.User is not { } user
                ? null
                : new Row
                {
                    ["id"] = "user:" + user,
                    ["name"] = user,
                    ["username"] = user,
                    ["entity"] = user,
                },
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
            ["type"] = artifact.Type,
            ["collection"] = artifact.Name,
            ["versionIndex"] = artifact.Version,
            ["digest"] = artifact.Digest,
            ["state"] = artifact.State,
            ["description"] = artifact.Description,
            ["metadata"] = artifact.Metadata,
            ["createdAt"] = artifact.CreatedAt,
            ["updatedAt"] = artifact.CreatedAt,
            ["artifactType"] = new Row { ["id"] = "type:" + artifact.Type, ["name"] = artifact.Type },
            ["artifactSequence"] = new Row
            {
                Record = new Collection(artifact.Entity, artifact.Project, artifact.Name),
                ["id"] = "sequence:" + artifact.Name,
                ["name"] = artifact.Name,
            },
            ["commitHash"] = artifact.Digest,
            ["aliases"] = artifact
                .Aliases.Select(a => new Row { ["artifactCollectionName"] = artifact.Name, ["alias"] = a })
                .ToArray(),
        };

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

/// <summary>A collection of versions of an artifact.</summary>
internal sealed record Collection(string Entity, string Project, string Name);
