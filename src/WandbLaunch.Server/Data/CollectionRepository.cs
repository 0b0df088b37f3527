using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dapper;
using Microsoft.Data.Sqlite;

namespace WandbLaunch.Server.Data;

/// <summary>
/// Collections of versions of artifacts: the sequences that runs add to, and portfolios, into which versions are linked. Both
/// have aliases, tags and a type, and share their names within a project.
/// </summary>
internal sealed class CollectionRepository(Database database, ProjectRepository projects)
{
    private const string Select =
        "SELECT id AS Id, entity AS Entity, project AS Project, name AS Name, kind AS Kind, type AS Type, description AS Description, tags AS Tags, created_at AS CreatedAt, updated_at AS UpdatedAt FROM collections WHERE ";

    private const int MostTags = 1000;

    internal CollectionRecord? Find(ProjectRecord project, string name) =>
        One(
            "entity = @Entity AND project = @Project AND name = @name",
            new
            {
                project.Entity,
                Project = project.Name,
                name,
            }
        );

    internal CollectionRecord? Find(long id) => One("id = @id", new { id });

    internal CollectionRecord Of(ArtifactRecord artifact) =>
        One(
            "entity = @Entity AND project = @Project AND name = @Name",
            new
            {
                artifact.Entity,
                artifact.Project,
                artifact.Name,
            }
        )
        ?? new CollectionRecord
        {
            Entity = artifact.Entity,
            Project = artifact.Project,
            Name = artifact.Name,
            Type = artifact.Type,
            CreatedAt = artifact.CreatedAt,
        };

    /// <summary>Collections of a project, or of one type in it, by name; sequences alone, or portfolios too.</summary>
    internal List<CollectionRecord> List(ProjectRecord project, string? type, bool sequencesOnly) =>
        database.Read(c =>
            c.Query<CollectionRecord>(
                    Select
                        + "entity = @Entity AND project = @Project AND (@type IS NULL OR type = @type) AND (kind = 'SEQUENCE' OR @all) AND (kind <> 'SEQUENCE' OR EXISTS (SELECT 1 FROM artifacts a WHERE a.entity = collections.entity AND a.project = collections.project AND a.name = collections.name AND a.state = 'COMMITTED')) ORDER BY name",
                    new
                    {
                        project.Entity,
                        Project = project.Name,
                        type,
                        all = !sequencesOnly,
                    }
                )
                .AsList()
        );

    internal List<ArtifactTypeRecord> Types(ProjectRecord project) =>
        database.Read(c =>
            c.Query<ArtifactTypeRecord>(
                    "SELECT name AS Name, description AS Description, created_at AS CreatedAt FROM artifact_types WHERE entity = @Entity AND project = @Project ORDER BY name",
                    new { project.Entity, Project = project.Name }
                )
                .AsList()
        );

    internal ArtifactTypeRecord AddType(string entity, string project, string name, string? description) =>
        database.Write(c =>
        {
            Names.CheckPart("the type of an artifact", name);
            var (owner, _) = projects.Upsert(entity, project, null);
            c.Execute(
                "INSERT INTO artifact_types (entity, project, name, description, created_at) VALUES (@entity, @project, @name, @description, @now) ON CONFLICT (entity, project, name) DO UPDATE SET description = COALESCE(@description, description)",
                new
                {
                    entity,
                    project = owner.Name,
                    name,
                    description,
                    now = Database.Now,
                }
            );
            return Types(owner).First(t => t.Name == name);
        });

    /// <summary>The collection of this name, made where it is missing.</summary>
    /// <exception cref="ServerFault">There is one of the name that is something else.</exception>
    internal CollectionRecord Need(string entity, string project, string name, string kind, string type) =>
        database.Write(c =>
        {
            var (owner, _) = projects.Upsert(entity, project, null);
            AddType(entity, owner.Name, type, null);
            c.Execute(
                "INSERT INTO collections (entity, project, name, kind, type, created_at, updated_at) VALUES (@entity, @project, @name, @kind, @type, @now, @now) ON CONFLICT (entity, project, name) DO NOTHING",
                new
                {
                    entity,
                    project = owner.Name,
                    name,
                    kind,
                    type,
                    now = Database.Now,
                }
            );
            var found = Find(owner, name)!;
            return found.Kind != kind
                    ? throw new ServerFault(
                        kind == CollectionRecord.Portfolio
                            ? $"\"{name}\" in {entity}/{owner.Name} is a collection that runs add to: nothing can be linked into it. Choose another name."
                            : $"\"{name}\" in {entity}/{owner.Name} is a collection that artifacts are linked into: a run cannot add to it. Choose another name."
                    )
                : found.Type != type
                    ? throw new ServerFault(
                        $"\"{name}\" in {entity}/{owner.Name} holds artifacts of type \"{found.Type}\", not \"{type}\". Choose another name, or that type."
                    )
                : found;
        });

    /// <summary>Links a version into a portfolio, and gives the number that it has there.</summary>
    internal int Link(CollectionRecord portfolio, ArtifactRecord artifact, IEnumerable<string> aliases) =>
        database.Transact(c =>
        {
            c.Execute(
                "INSERT INTO links (collection, artifact, version, created_at) SELECT @collection, @artifact, COALESCE((SELECT MAX(version) + 1 FROM links WHERE collection = @collection), 0), @now WHERE true ON CONFLICT (collection, artifact) DO NOTHING",
                new
                {
                    collection = portfolio.Id,
                    artifact = artifact.Id,
                    now = Database.Now,
                }
            );
            AddAliases(c, portfolio.Entity, portfolio.Project, portfolio.Name, artifact.Id, aliases.Append("latest"));
            Touch(c, portfolio.Id);
            return c.ExecuteScalar<int>(
                "SELECT version FROM links WHERE collection = @collection AND artifact = @artifact",
                new { collection = portfolio.Id, artifact = artifact.Id }
            );
        });

    internal bool Unlink(CollectionRecord portfolio, long artifact) =>
        database.Transact(c =>
        {
            DropAliases(c, portfolio, artifact, null);
            return c.Execute(
                    "DELETE FROM links WHERE collection = @collection AND artifact = @artifact",
                    new { collection = portfolio.Id, artifact }
                ) > 0;
        });

    /// <summary>Versions that are linked into a portfolio, newest first, with their numbers there.</summary>
    internal List<(long Artifact, int Version)> Links(CollectionRecord portfolio) =>
        database.Read(c =>
            c.Query<(long, int)>(
                    "SELECT l.artifact, l.version FROM links l JOIN artifacts a ON a.id = l.artifact WHERE l.collection = @Id AND a.state = 'COMMITTED' ORDER BY l.version DESC",
                    new { portfolio.Id }
                )
                .AsList()
        );

    /// <summary>Portfolios that a version is linked into.</summary>
    internal List<(CollectionRecord Collection, int Version)> LinksOf(long artifact) =>
        [
            .. database
                .Read(c =>
                    c.Query<(long Collection, int Version)>(
                            "SELECT collection, version FROM links WHERE artifact = @artifact ORDER BY collection",
                            new { artifact }
                        )
                        .AsList()
                )
                .Select(l => (Find(l.Collection)!, l.Version)),
        ];

    /// <summary>Aliases that a version has in a collection, without vN.</summary>
    internal List<string> Aliases(CollectionRecord collection, long artifact) =>
        database.Read(c =>
            c.Query<string>(
                    "SELECT alias FROM artifact_aliases WHERE entity = @Entity AND project = @Project AND name = @Name AND artifact = @artifact ORDER BY alias",
                    new
                    {
                        collection.Entity,
                        collection.Project,
                        collection.Name,
                        artifact,
                    }
                )
                .AsList()
        );

    /// <summary>All aliases of a collection, with the version that each is of.</summary>
    internal List<(string Alias, long Artifact)> Aliases(CollectionRecord collection) =>
        database.Read(c =>
            c.Query<(string, long)>(
                    "SELECT alias, artifact FROM artifact_aliases WHERE entity = @Entity AND project = @Project AND name = @Name ORDER BY alias",
                    new
                    {
                        collection.Entity,
                        collection.Project,
                        collection.Name,
                    }
                )
                .AsList()
        );

    /// <summary>The version that an alias of a collection, or vN, names; -1 where there is none.</summary>
    internal long Named(CollectionRecord collection, string alias) =>
        database.Read(c =>
            c.ExecuteScalar<long?>(
                "SELECT artifact FROM artifact_aliases WHERE entity = @Entity AND project = @Project AND name = @Name AND alias = @alias",
                new
                {
                    collection.Entity,
                    collection.Project,
                    collection.Name,
                    alias,
                }
            )
            ?? (
                alias.Length > 1 && alias[0] == 'v' && Ids.Parse(alias[1..]) is var version and >= 0
                    ? c.ExecuteScalar<long?>(
                        collection.Kind == CollectionRecord.Portfolio
                            ? "SELECT artifact FROM links WHERE collection = @Id AND version = @version"
                            : "SELECT id FROM artifacts WHERE entity = @Entity AND project = @Project AND name = @Name AND version = @version AND state = 'COMMITTED'",
                        new
                        {
                            collection.Id,
                            collection.Entity,
                            collection.Project,
                            collection.Name,
                            version,
                        }
                    )
                    : null
            )
            ?? -1
        );

    internal void AddAliases(CollectionRecord collection, long artifact, IEnumerable<string> aliases) =>
        database.Write(c => AddAliases(c, collection.Entity, collection.Project, collection.Name, artifact, aliases));

    /// <summary>Takes these aliases from a version, or all where none are given.</summary>
    internal void DropAliases(CollectionRecord collection, long artifact, IReadOnlyCollection<string>? aliases) =>
        database.Write(c => DropAliases(c, collection, artifact, aliases));

    /// <summary>Renames or describes a collection.</summary>
    internal CollectionRecord Change(CollectionRecord collection, string? name, string? description)
    {
        database.Transact(c =>
        {
            if (name is not null && name != collection.Name)
            {
                Names.CheckPart("the name of an artifact", name);
                if (
                    One(
                        "entity = @Entity AND project = @Project AND name = @name",
                        new
                        {
                            collection.Entity,
                            collection.Project,
                            name,
                        }
                    )
                    is not null
                )
                {
                    throw new ServerFault(
                        $"There is a collection \"{name}\" in {collection.Entity}/{collection.Project} already."
                    );
                }

                c.Execute(
                    "UPDATE collections SET name = @newName WHERE id = @Id; UPDATE artifacts SET name = @newName WHERE entity = @Entity AND project = @Project AND name = @Name AND @Kind = 'SEQUENCE'; UPDATE artifact_aliases SET name = @newName WHERE entity = @Entity AND project = @Project AND name = @Name",
                    new
                    {
                        newName = name,
                        collection.Id,
                        collection.Entity,
                        collection.Project,
                        collection.Name,
                        collection.Kind,
                    }
                );
            }

            c.Execute(
                "UPDATE collections SET description = COALESCE(@description, description) WHERE id = @Id",
                new { description, collection.Id }
            );
            return Touch(c, collection.Id);
        });

        // Other connections see what is written once all of it is.
        return Find(collection.Id)!;
    }

    /// <summary>Gives a sequence and all of its versions another type.</summary>
    internal CollectionRecord Move(CollectionRecord sequence, string type)
    {
        AddType(sequence.Entity, sequence.Project, type, null);
        database.Transact(c =>
        {
            c.Execute(
                "UPDATE collections SET type = @type WHERE id = @Id; UPDATE artifacts SET type = @type WHERE entity = @Entity AND project = @Project AND name = @Name",
                new
                {
                    type,
                    sequence.Id,
                    sequence.Entity,
                    sequence.Project,
                    sequence.Name,
                }
            );
            return Touch(c, sequence.Id);
        });
        return Find(sequence.Id)!;
    }

    /// <summary>Deletes a collection: a sequence with its versions, a portfolio with its links alone.</summary>
    internal void Delete(CollectionRecord collection) =>
        database.Transact(c =>
            c.Execute(
                (
                    collection.Kind == CollectionRecord.Sequence
                        ? "DELETE FROM links WHERE artifact IN (SELECT id FROM artifacts WHERE entity = @Entity AND project = @Project AND name = @Name); DELETE FROM artifact_aliases WHERE artifact IN (SELECT id FROM artifacts WHERE entity = @Entity AND project = @Project AND name = @Name); UPDATE artifacts SET state = 'DELETED', manifest = NULL WHERE entity = @Entity AND project = @Project AND name = @Name; "
                        : ""
                )
                    + "DELETE FROM artifact_aliases WHERE entity = @Entity AND project = @Project AND name = @Name; DELETE FROM collections WHERE id = @Id",
                new
                {
                    collection.Id,
                    collection.Entity,
                    collection.Project,
                    collection.Name,
                }
            )
        );

    /// <summary>The tags with some more and some less.</summary>
    internal IReadOnlyList<string> Tag(
        CollectionRecord collection,
        IReadOnlyCollection<string> add,
        IReadOnlyCollection<string> remove
    ) =>
        database.Transact(c =>
        {
            var tags = Tagged(
                c.ExecuteScalar<string>("SELECT tags FROM collections WHERE id = @Id", new { collection.Id })!,
                add,
                remove
            );
            c.Execute(
                "UPDATE collections SET tags = @tags WHERE id = @Id",
                new { collection.Id, tags = JsonSerializer.Serialize(tags) }
            );
            Touch(c, collection.Id);
            return tags;
        });

    /// <summary>A list of tags, as JSON, with some more and some less.</summary>
    internal static IReadOnlyList<string> Tagged(
        string known,
        IReadOnlyCollection<string> add,
        IReadOnlyCollection<string> remove
    )
    {
        List<string> tags =
        [
            .. JsonNode
                .Parse(known)!
                .AsArray()
                .Select(t => t!.ToString())
                .Except(remove, StringComparer.Ordinal)
                .Union(add, StringComparer.Ordinal),
        ];
        return tags.Count <= MostTags
            ? tags
            : throw new ServerFault(
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"{MostTags} tags are the most, and these would be {tags.Count}."
                )
            );
    }

    internal static void AddAliases(
        SqliteConnection connection,
        string entity,
        string project,
        string name,
        long artifact,
        IEnumerable<string> aliases
    ) =>
        connection.Execute(
            "INSERT INTO artifact_aliases (entity, project, name, alias, artifact) VALUES (@entity, @project, @name, @alias, @artifact) ON CONFLICT (entity, project, name, alias) DO UPDATE SET artifact = @artifact",
            aliases
                .Distinct(StringComparer.Ordinal)
                .Select(alias => new
                {
                    entity,
                    project,
                    name,
                    alias,
                    artifact,
                })
        );

    private static void DropAliases(
        SqliteConnection connection,
        CollectionRecord collection,
        long artifact,
        IReadOnlyCollection<string>? aliases
    ) =>
        connection.Execute(
            "DELETE FROM artifact_aliases WHERE entity = @Entity AND project = @Project AND name = @Name AND artifact = @artifact"
                + (aliases is null ? "" : " AND alias IN @aliases"),
            new
            {
                collection.Entity,
                collection.Project,
                collection.Name,
                artifact,
                aliases,
            }
        );

    private static int Touch(SqliteConnection connection, long collection) =>
        connection.Execute(
            "UPDATE collections SET updated_at = @now WHERE id = @collection",
            new { collection, now = Database.Now }
        );

    private CollectionRecord? One(string where, object parameters) =>
        database.Read(c => c.QueryFirstOrDefault<CollectionRecord>(Select + where, parameters));
}
