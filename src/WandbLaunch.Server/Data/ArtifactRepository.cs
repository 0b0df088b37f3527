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
}

/// <summary>Artifacts: versions of named collections, with a manifest that names their files by digest (protocol B.8). Jobs are artifacts.</summary>
internal sealed class ArtifactRepository(Database database, ProjectRepository projects)
{
    private const string Select =
        "SELECT a.id AS Id, a.entity AS Entity, a.project AS Project, a.type AS Type, a.name AS Name, a.version AS Version, a.digest AS Digest, a.state AS State, a.description AS Description, a.metadata AS Metadata, a.created_at AS CreatedAt FROM artifacts a WHERE ";

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
                "INSERT INTO artifacts (entity, project, type, name, digest, description, metadata, created_at, run, client_id, aliases) VALUES (@entity, @project, @type, @name, @digest, @description, @metadata, @now, @run, @client, @aliases) RETURNING id",
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

    /// <summary>A committed version by name:alias or name:vN; without either, latest.</summary>
    internal ArtifactRecord? Find(ProjectRecord project, string reference)
    {
        var colon = reference.LastIndexOf(':');
        var (name, alias) = colon < 0 ? (reference, "latest") : (reference[..colon], reference[(colon + 1)..]);
        var version = alias.Length > 1 && alias[0] == 'v' ? Ids.Parse(alias[1..]) : -1;
        return Read(
                version >= 0
                    ? "a.entity = @entity AND a.project = @project AND a.name = @name AND a.version = @version AND a.state = 'COMMITTED'"
                    : "a.id = (SELECT artifact FROM artifact_aliases WHERE entity = @entity AND project = @project AND name = @name AND alias = @alias) AND a.state = 'COMMITTED'",
                new
                {
                    entity = project.Entity,
                    project = project.Name,
                    name,
                    version,
                    alias,
                }
            )
            .FirstOrDefault();
    }

    /// <summary>Names of the collections of a type that have a committed version.</summary>
    internal List<string> Names(ProjectRecord project, string type) =>
        database.Read(c =>
            c.Query<string>(
                    "SELECT DISTINCT name FROM artifacts WHERE entity = @entity AND project = @project AND type = @type AND state = 'COMMITTED' ORDER BY name",
                    new
                    {
                        entity = project.Entity,
                        project = project.Name,
                        type,
                    }
                )
                .AsList()
        );

    internal List<ArtifactRecord> Versions(ProjectRecord project, string name) =>
        Read(
            "a.entity = @entity AND a.project = @project AND a.name = @name AND a.state = 'COMMITTED' ORDER BY a.version DESC",
            new
            {
                entity = project.Entity,
                project = project.Name,
                name,
            }
        );

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
        connection.Execute(
            "INSERT INTO artifact_aliases (entity, project, name, alias, artifact) VALUES (@Entity, @Project, @Name, @alias, @Id) ON CONFLICT (entity, project, name, alias) DO UPDATE SET artifact = @Id",
            aliases
                .Distinct()
                .Select(alias => new
                {
                    artifact.Entity,
                    artifact.Project,
                    artifact.Name,
                    alias,
                    artifact.Id,
                })
        );

    private List<ArtifactRecord> Read(string where, object parameters) =>
        database.Read(c =>
        {
            var artifacts = c.Query<ArtifactRecord>(Select + where, parameters).AsList();
            foreach (var artifact in artifacts)
            {
                IEnumerable<string> aliases = c.Query<string>(
                    "SELECT alias FROM artifact_aliases WHERE artifact = @Id ORDER BY alias",
                    new { artifact.Id }
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
