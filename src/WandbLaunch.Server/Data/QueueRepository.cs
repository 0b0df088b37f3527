using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using Dapper;

namespace WandbLaunch.Server.Data;

/// <summary>Queues and their configuration (protocol B.2).</summary>
internal sealed class QueueRepository(Database database, ProjectRepository projects, QueueSignals signals)
{
    private const string Select =
        "SELECT id AS Id, entity AS Entity, project AS Project, name AS Name, created_by AS CreatedBy, access AS Access, created_at AS CreatedAt, mode AS Mode, resource AS Resource, resource_config AS ResourceConfig, template_variables AS TemplateVariables, external_links AS ExternalLinks, paused AS Paused FROM queues WHERE deleted = 0 AND ";

    // Every push and pop asks for its queue; whatever changes one empties this.
    private readonly ConcurrentDictionary<(string, string, string), QueueRecord> _known = new();

    internal List<QueueRecord> List(ProjectRecord project) =>
        Read("entity = @Entity AND project = @Name ORDER BY id", new { project.Entity, project.Name });

    internal QueueRecord? Find(string entity, string project, string name) =>
        _known.TryGetValue((entity, project, name), out var known)
            ? known
            : database.Write(_ =>
            {
                var found = Read(
                        "entity = @entity AND project = @project AND name = @name",
                        new
                        {
                            entity,
                            project = Names.Project(project),
                            name,
                        }
                    )
                    .FirstOrDefault();
                if (found is not null && _known.Count < 10_000)
                {
                    _known[(entity, project, name)] = found;
                }

                return found;
            });

    internal QueueRecord? Find(long id) => Read("id = @id", new { id }).FirstOrDefault();

    internal QueueRecord Create(
        string entity,
        string project,
        string name,
        string access,
        string? mode,
        long? config,
        string user
    )
    {
        Names.CheckPart("the name of a queue", name);
        if (name.Length > 64)
        {
            throw new ServerFault("The name of a queue has 1 to 64 characters.");
        }

        return database.Write(c =>
        {
            var (home, _) = projects.Upsert(entity, project, null);
            if (Find(entity, project, name) is not null)
            {
                throw new ServerFault($"There is a queue \"{name}\" in {entity}/{home.Name} already.");
            }

            c.Execute(
                "INSERT INTO queues (entity, project, name, created_by, access, created_at, mode, resource, resource_config, template_variables) SELECT @entity, @project, @name, @user, @access, @now, @mode, (SELECT resource FROM resource_configs WHERE id = @config AND entity = @entity), (SELECT config FROM resource_configs WHERE id = @config AND entity = @entity), (SELECT template_variables FROM resource_configs WHERE id = @config AND entity = @entity)",
                new
                {
                    entity,
                    project = home.Name,
                    name,
                    user,
                    access,
                    now = Database.Now,
                    mode = mode ?? "DISABLED",
                    config,
                }
            );
            return Find(entity, project, name)!;
        });
    }

    internal long CreateResourceConfig(string entity, string resource, string config, string? variables)
    {
        JsonLimits.CheckObject("config", config);
        CheckVariables(variables ?? "{}");
        return database.Write(c =>
            c.ExecuteScalar<long>(
                "INSERT INTO resource_configs (entity, resource, config, template_variables) VALUES (@entity, @resource, @config, @variables) RETURNING id",
                new
                {
                    entity,
                    resource,
                    config,
                    variables = variables ?? "{}",
                }
            )
        );
    }

    /// <summary>A configuration by its id; "queue:7" is that of a queue.</summary>
    internal ResourceConfigRecord? ResourceConfig(string entity, string id) =>
        database.Read(c =>
            id.StartsWith("queue:", StringComparison.Ordinal)
                ? c.QueryFirstOrDefault<ResourceConfigRecord>(
                    "SELECT resource AS Resource, resource_config AS Config, template_variables AS Variables FROM queues WHERE entity = @entity AND id = @id AND resource IS NOT NULL",
                    new { entity, id = Ids.Parse(id[6..]) }
                )
                : c.QueryFirstOrDefault<ResourceConfigRecord>(
                    "SELECT resource AS Resource, config AS Config, template_variables AS Variables FROM resource_configs WHERE entity = @entity AND id = @id",
                    new { entity, id = Ids.Parse(id) }
                )
        );

    internal void Configure(long queue, string resource, string config, string? variables, string? mode, string? links)
    {
        JsonLimits.CheckObject("resourceConfig", config);
        CheckVariables(variables ?? "{}");
        JsonLimits.CheckObject("externalLinks", links ?? "{}");
        database.Write(c =>
        {
            c.Execute(
                "UPDATE queues SET resource = @resource, resource_config = @config, template_variables = COALESCE(@variables, template_variables), mode = COALESCE(@mode, mode), external_links = COALESCE(@links, external_links) WHERE id = @queue",
                new
                {
                    queue,
                    resource,
                    config,
                    variables,
                    mode,
                    links,
                }
            );
            _known.Clear();
        });
    }

    /// <summary>Gives agents nothing of a queue, or again what waits in it. What was started goes on.</summary>
    internal void Pause(long id, bool paused)
    {
        database.Write(c =>
        {
            if (c.Execute("UPDATE queues SET paused = @paused WHERE id = @id AND deleted = 0", new { id, paused }) == 0)
            {
                throw new ServerFault("There is no such queue.");
            }

            _known.Clear();
        });
        if (!paused)
        {
            signals.Wake(id, int.MaxValue);
        }
    }

    /// <summary>Deletes a queue with the items that wait in it; those that were started stay (guide).</summary>
    internal void Delete(long id) =>
        database.Write(c =>
        {
            var queue = Find(id) ?? throw new ServerFault("There is no such queue.");
            if (queue.Name == "default")
            {
                throw new ServerFault("The default queue cannot be deleted.");
            }

            c.Execute(
                "DELETE FROM items WHERE queue = @id AND state IN ('PENDING', 'LEASED'); UPDATE queues SET deleted = 1 WHERE id = @id",
                new { id }
            );
            _known.Clear();
        });

    private List<QueueRecord> Read(string where, object parameters) =>
        database.Read(c => c.Query<QueueRecord>(Select + where, parameters).AsList());

    // {"name": {"schema": {…}, …}}, as QueueTemplates reads them.
    private static void CheckVariables(string text)
    {
        JsonLimits.CheckObject("templateVariables", text);
        foreach (var (name, variable) in JsonNode.Parse(text)!.AsObject())
        {
            if (
                variable is not JsonObject map
                || (map.TryGetPropertyValue("schema", out var schema) && schema is not (null or JsonObject))
                || (schema is JsonObject limits && (!IsNumber(limits["minimum"]) || !IsNumber(limits["maximum"])))
            )
            {
                throw new ServerFault(
                    $"templateVariables: \"{JsonLimits.Short(name)}\" must be an object with a schema, whose minimum and maximum are numbers."
                );
            }
        }

        static bool IsNumber(JsonNode? limit) =>
            limit is null || limit.GetValueKind() == System.Text.Json.JsonValueKind.Number;
    }
}
