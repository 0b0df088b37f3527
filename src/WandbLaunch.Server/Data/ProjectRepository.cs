using Dapper;

namespace WandbLaunch.Server.Data;

/// <summary>Projects of entities.</summary>
internal sealed class ProjectRepository(Database database)
{
    private const string Select =
        "SELECT id AS Id, entity AS Entity, name AS Name, description AS Description, created_at AS CreatedAt FROM projects";

    internal ProjectRecord? Find(string? entity, string? name) =>
        database.Read(c =>
            c.QueryFirstOrDefault<ProjectRecord>(
                Select + " WHERE entity = @entity AND name = @name",
                new { entity = entity ?? "", name = Names.Project(name ?? "") }
            )
        );

    internal ProjectRecord? Find(long id) =>
        database.Read(c => c.QueryFirstOrDefault<ProjectRecord>(Select + " WHERE id = @id", new { id }));

    /// <summary>Entities that have a project.</summary>
    internal List<string> Entities() =>
        database.Read(c => c.Query<string>("SELECT DISTINCT entity FROM projects ORDER BY entity").AsList());

    /// <summary>Bytes of the files of an entity's runs.</summary>
    internal long StoredBytes(string entity) =>
        database.Read(c =>
            c.ExecuteScalar<long>(
                "SELECT COALESCE(SUM(f.size), 0) FROM files f JOIN runs r ON r.id = f.run JOIN projects p ON p.id = r.project WHERE p.entity = @entity",
                new { entity }
            )
        );

    internal List<ProjectRecord> List(string? entity, long after, int first) =>
        database.Read(c =>
            c.Query<ProjectRecord>(
                    Select + " WHERE (@entity IS NULL OR entity = @entity) AND id > @after ORDER BY id LIMIT @first",
                    new
                    {
                        entity,
                        after,
                        first,
                    }
                )
                .AsList()
        );

    internal (ProjectRecord Project, bool Inserted) Upsert(string entity, string name, string? description)
    {
        Names.CheckPart("the name of a project", name);
        Names.CheckPart("the name of an entity", entity);
        var clean = Names.Project(name);
        if (clean.Length == 0 || clean is "." or "..")
        {
            throw new ServerFault($"\"{name}\" cannot be the name of a project: no letter or digit is left of it.");
        }

        return database.Write(c =>
        {
            var existing = Find(entity, clean);
            c.Execute(
                "INSERT INTO projects (entity, name, description, created_at) VALUES (@entity, @clean, @description, @now) ON CONFLICT (entity, name) DO UPDATE SET description = COALESCE(@description, description) WHERE @description IS NOT NULL",
                new
                {
                    entity,
                    clean,
                    description,
                    now = Database.Now,
                }
            );
            return (existing ?? Find(entity, clean)!, existing is null);
        });
    }
}
