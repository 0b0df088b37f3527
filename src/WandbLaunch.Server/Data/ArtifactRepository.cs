using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using Dapper;
using Microsoft.Data.Sqlite;

namespace WandbLaunch.Server.Data;

/// <summary>What a version of an artifact begins with.</summary>
internal sealed record NewArtifact(string Entity, string Project, string Type, string Name, string Digest)
{
    internal string? Description { get; init; }
    internal string? Metadata { get; init; }
    internal string? Run { get; init; }
    internal string? ClientId { get; init; }
    internal IReadOnlyList<string> Aliases { get; init; } = [];
    internal IReadOnlyList<string> Tags { get; init; } = [];
    internal long? Ttl { get; init; }
    internal long? HistoryStep { get; init; }
}

/// <summary>Artifacts: versions of named collections, with a manifest that names their files by digest (protocol B.8). Jobs are artifacts.</summary>
internal sealed class ArtifactRepository(
    Database database,
    ProjectRepository projects,
    CollectionRepository collections
)
{
    private const string Select =
        "SELECT a.id AS Id, a.entity AS Entity, a.project AS Project, a.type AS Type, a.name AS Name, a.version AS Version, a.digest AS Digest, a.state AS State, a.description AS Description, a.metadata AS Metadata, a.created_at AS CreatedAt, a.updated_at AS UpdatedAt, a.run AS Run, a.tags AS Tags, a.ttl AS Ttl, a.history_step AS HistoryStep FROM artifacts a WHERE ";

    /// <summary>Begins a version. One with the same digest is given back as it is.</summary>
    internal ArtifactRecord Create(NewArtifact wanted)
    {
        var name = wanted.Name;
        if (
            name.Length is 0 or > 128
            || name.Contains('/', StringComparison.Ordinal)
            || name.Contains(':', StringComparison.Ordinal)
        )
        {
            throw new ServerFault($"\"{name}\" cannot be the name of an artifact.");
        }

        if (wanted.Metadata is not null)
        {
            JsonLimits.CheckObject("metadata", wanted.Metadata);
        }

        return database.Write(c =>
        {
            var (owner, _) = projects.Upsert(wanted.Entity, wanted.Project, null);

            // A client asks again under its own id for the one that it has begun: it is the same, also where the second time has
            // another name (job create of 0.16).
            if (
                wanted.ClientId is { Length: > 0 } client
                && FindByClientId(client) is { State: not "DELETED" } begun
                && (begun.Entity, begun.Project, begun.Type, begun.Digest)
                    == (wanted.Entity, owner.Name, wanted.Type, wanted.Digest)
            )
            {
                return begun;
            }

            collections.Need(wanted.Entity, owner.Name, name, CollectionRecord.Sequence, wanted.Type);
            var same = Read(
                    "a.entity = @entity AND a.project = @project AND a.name = @name AND a.digest = @digest AND a.state = 'COMMITTED' ORDER BY a.id DESC LIMIT 1",
                    new
                    {
                        entity = wanted.Entity,
                        project = owner.Name,
                        name,
                        digest = wanted.Digest,
                    }
                )
                .FirstOrDefault();
            if (same is not null)
            {
                SetAliases(c, same, wanted.Aliases);
                return same;
            }

            var id = c.ExecuteScalar<long>(
                "INSERT INTO artifacts (entity, project, type, name, digest, description, metadata, created_at, updated_at, run, client_id, aliases, tags, ttl, history_step) VALUES (@entity, @project, @type, @name, @digest, @description, @metadata, @now, @now, @run, @client, @aliases, @tags, @ttl, @step) RETURNING id",
                new
                {
                    entity = wanted.Entity,
                    project = owner.Name,
                    type = wanted.Type,
                    name,
                    digest = wanted.Digest,
                    description = wanted.Description,
                    metadata = wanted.Metadata,
                    now = Database.Now,
                    run = wanted.Run,
                    client = wanted.ClientId,
                    aliases = JsonSerializer.Serialize(wanted.Aliases),
                    tags = JsonSerializer.Serialize(wanted.Tags),
                    ttl = wanted.Ttl,
                    step = wanted.HistoryStep,
                }
            );
            return Find(id)!;
        });
    }

    /// <summary>Ends a version: it gets its number, and the aliases that were asked for, latest among them.</summary>
    internal ArtifactRecord? Commit(long id) =>
        database.Write(c =>
        {
            if (Find(id) is not { } artifact)
            {
                return null;
            }

            if (artifact.State != "COMMITTED")
            {
                c.Execute(
                    "UPDATE artifacts SET state = 'COMMITTED', version = (SELECT COALESCE(MAX(b.version) + 1, 0) FROM artifacts b WHERE b.entity = artifacts.entity AND b.project = artifacts.project AND b.name = artifacts.name) WHERE id = @id",
                    new { id }
                );
                var aliases = c.ExecuteScalar<string>("SELECT aliases FROM artifacts WHERE id = @id", new { id })!;
                SetAliases(c, artifact, JsonNode.Parse(aliases)!.AsArray().Select(a => a!.ToString()).Append("latest"));
            }

            return Find(id);
        });

    internal void SetManifest(long id, byte[] manifest) =>
        database.Write(c =>
        {
            c.Execute(
                "UPDATE artifacts SET manifest = @manifest WHERE id = @id AND state <> 'COMMITTED'",
                new { id, manifest }
            );
        });

    internal byte[]? Manifest(long id) =>
        database.Read(c => c.ExecuteScalar<byte[]?>("SELECT manifest FROM artifacts WHERE id = @id", new { id }));

    internal bool HasManifest(long id) =>
        database.Read(c =>
            c.ExecuteScalar<bool>(
                "SELECT EXISTS (SELECT 1 FROM artifacts WHERE id = @id AND manifest IS NOT NULL)",
                new { id }
            )
        );

    internal ArtifactRecord? Find(long id) => Read("a.id = @id", new { id }).FirstOrDefault();

    internal ArtifactRecord? FindByClientId(string client) =>
        Read("a.client_id = @client ORDER BY a.id DESC LIMIT 1", new { client }).FirstOrDefault();

    /// <summary>A committed version by name:alias or name:vN, of a sequence or a portfolio; without either, latest.</summary>
    internal ArtifactRecord? Find(ProjectRecord project, string reference) => Member(project, reference)?.Artifact;

    /// <summary>A committed version by name:alias or name:vN, and where it was found.</summary>
    internal Membership? Member(ProjectRecord project, string reference)
    {
        var colon = reference.LastIndexOf(':');
        var (name, alias) = colon < 0 ? (reference, "latest") : (reference[..colon], reference[(colon + 1)..]);
        return collections.Find(project, name) is { } collection ? Member(collection, alias) : null;
    }

    /// <summary>A committed version of a collection by an alias or vN.</summary>
    internal Membership? Member(CollectionRecord collection, string alias) =>
        Find(collections.Named(collection, alias)) is { State: "COMMITTED" } found ? Member(collection, found) : null;

    /// <summary>A version as it stands in a collection.</summary>
    internal Membership Member(CollectionRecord collection, ArtifactRecord artifact) =>
        new(
            collection,
            artifact,
            collection.Kind == CollectionRecord.Sequence
                ? artifact.Version
                : collections
                    .LinksOf(artifact.Id)
                    .Where(l => l.Collection.Id == collection.Id)
                    .Select(l => (int?)l.Version)
                    .FirstOrDefault()
        );

    /// <summary>Where a version stands: its own sequence first, then the portfolios that it is linked into.</summary>
    internal List<Membership> Memberships(ArtifactRecord artifact) =>
        [
            new Membership(collections.Of(artifact), artifact, artifact.Version),
            .. collections.LinksOf(artifact.Id).Select(l => new Membership(l.Collection, artifact, l.Version)),
        ];

    /// <summary>The versions of a collection, newest first, as they stand there.</summary>
    internal List<Membership> Members(CollectionRecord collection) =>
        collection.Kind == CollectionRecord.Sequence
            ?
            [
                .. Read(
                        "a.entity = @Entity AND a.project = @Project AND a.name = @Name AND a.state = 'COMMITTED' ORDER BY a.version DESC",
                        new
                        {
                            collection.Entity,
                            collection.Project,
                            collection.Name,
                        }
                    )
                    .Select(a => new Membership(collection, a, a.Version)),
            ]
            : [.. collections.Links(collection).Select(l => new Membership(collection, Find(l.Artifact)!, l.Version))];

    /// <summary>Changes what can be changed of a version: null leaves as it is.</summary>
    internal void Change(
        ArtifactRecord artifact,
        string? description,
        string? metadata,
        long? ttl,
        IReadOnlyCollection<string> addTags,
        IReadOnlyCollection<string> removeTags
    )
    {
        if (metadata is not null)
        {
            JsonLimits.CheckObject("metadata", metadata);
        }

        database.Transact(c =>
            c.Execute(
                "UPDATE artifacts SET description = COALESCE(@description, description), metadata = COALESCE(@metadata, metadata), ttl = COALESCE(@ttl, ttl), tags = @tags, updated_at = @now WHERE id = @Id",
                new
                {
                    artifact.Id,
                    description,
                    metadata,
                    ttl,
                    tags = JsonSerializer.Serialize(
                        CollectionRepository.Tagged(
                            c.ExecuteScalar<string>("SELECT tags FROM artifacts WHERE id = @Id", new { artifact.Id })!,
                            addTags,
                            removeTags
                        )
                    ),
                    now = Database.Now,
                }
            )
        );
    }

    /// <summary>Deletes a version. Its number is not given again.</summary>
    /// <exception cref="ServerFault">It has aliases, and they are not to go with it.</exception>
    internal void Delete(ArtifactRecord artifact, bool withAliases) =>
        database.Transact(c =>
        {
            var aliases = c.Query<string>(
                    "SELECT alias FROM artifact_aliases WHERE artifact = @Id ORDER BY alias",
                    new { artifact.Id }
                )
                .AsList();
            if (aliases.Count > 0 && !withAliases)
            {
                throw new ServerFault(
                    $"{artifact.Name}:v{artifact.Version} has the aliases {string.Join(", ", aliases)}. Delete it with its aliases, or give them to another version first."
                );
            }

            return c.Execute(
                "DELETE FROM artifact_aliases WHERE artifact = @Id; DELETE FROM links WHERE artifact = @Id; UPDATE artifacts SET state = 'DELETED', manifest = NULL, updated_at = @now WHERE id = @Id",
                new { artifact.Id, now = Database.Now }
            );
        });

    /// <summary>A run takes a version as its input.</summary>
    internal void Use(ArtifactRecord artifact, long run, string? usedAs) =>
        database.Write(c =>
        {
            c.Execute(
                "INSERT INTO artifact_uses (artifact, run, used_as, at) VALUES (@Id, @run, @usedAs, @now) ON CONFLICT (artifact, run) DO UPDATE SET used_as = COALESCE(@usedAs, used_as)",
                new
                {
                    artifact.Id,
                    run,
                    usedAs,
                    now = Database.Now,
                }
            );
        });

    /// <summary>Runs that took a version as their input.</summary>
    internal List<long> UsedBy(long artifact) =>
        database.Read(c =>
            c.Query<long>("SELECT run FROM artifact_uses WHERE artifact = @artifact ORDER BY at, run", new { artifact })
                .AsList()
        );

    /// <summary>What a run took as its input, and as what.</summary>
    internal List<(ArtifactRecord Artifact, string? UsedAs)> Inputs(long run)
    {
        var used = database.Read(c =>
            c.Query<(long Id, string? UsedAs)>(
                    "SELECT artifact, used_as FROM artifact_uses WHERE run = @run ORDER BY at, artifact",
                    new { run }
                )
                .AsList()
        );
        return [.. used.Select(u => (Find(u.Id)!, u.UsedAs))];
    }

    internal List<ArtifactRecord> OfRun(RunRecord run) =>
        Read(
            "a.entity = @entity AND a.project = @project AND a.run = @run AND a.state = 'COMMITTED' ORDER BY a.id",
            new
            {
                entity = run.Project.Entity,
                project = run.Project.Name,
                run = run.Name,
            }
        );

    private static void SetAliases(SqliteConnection connection, ArtifactRecord artifact, IEnumerable<string> aliases) =>
        CollectionRepository.AddAliases(
            connection,
            artifact.Entity,
            artifact.Project,
            artifact.Name,
            artifact.Id,
            aliases
        );

    private List<ArtifactRecord> Read(string where, object parameters) =>
        database.Read(c =>
        {
            var artifacts = c.Query<ArtifactRecord>(Select + where, parameters).AsList();
            foreach (var artifact in artifacts)
            {
                IEnumerable<string> aliases = c.Query<string>(
                    "SELECT alias FROM artifact_aliases WHERE artifact = @Id AND entity = @Entity AND project = @Project AND name = @Name ORDER BY alias",
                    new
                    {
                        artifact.Id,
                        artifact.Entity,
                        artifact.Project,
                        artifact.Name,
                    }
                );
                artifact.Aliases =
                [
                    .. artifact.Version is { } version
                        ? aliases.Append("v" + version.ToString(CultureInfo.InvariantCulture))
                        : aliases,
                ];
            }

            return artifacts;
        });
}
