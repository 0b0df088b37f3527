using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;

namespace WandbLaunch.Server;

/// <summary>Artifacts: versions of named collections, with a manifest that names their files by digest (protocol B.8). Jobs are artifacts.</summary>
internal sealed partial class Store
{
    private const string ArtifactColumns =
        "a.id, a.entity, a.project, a.type, a.name, a.version, a.digest, a.state, a.description, a.metadata, a.created_at, a.run, a.manifest IS NOT NULL";

    internal static string ArtifactId(long id) =>
        Convert.ToBase64String(Encoding.UTF8.GetBytes("Artifact:" + id.ToString(CultureInfo.InvariantCulture)));

    internal static long ArtifactKey(string? id)
    {
        try
        {
            return Encoding.UTF8.GetString(Convert.FromBase64String(id ?? "")).Split(':') is ["Artifact", var number]
                ? Id(number)
                : -1;
        }
        catch (FormatException)
        {
            return -1;
        }
    }

    /// <summary>Begins a version. One with the same digest is given back as it is, committed or not.</summary>
    internal Row CreateArtifact(
        string entity,
        string project,
        string type,
        string name,
        string digest,
        string? description,
        string? metadata,
        string? run,
        string? clientId,
        IReadOnlyList<string> aliases
    )
    {
        if (
            name.Length is 0 or > 128
            || name.Contains('/', StringComparison.Ordinal)
            || name.Contains(':', StringComparison.Ordinal)
        )
        {
            throw new ServerFault($"\"{name}\" cannot be the name of an artifact.");
        }

        if (metadata is not null)
        {
            CheckObject(metadata, "metadata");
        }

        lock (_writing)
        {
            var (owner, _) = UpsertProject(entity, project, null);
            var clean = (string)owner["name"]!;
            if (
                ReadArtifacts(
                        "a.entity = $e AND a.project = $p AND a.name = $n AND a.digest = $d AND a.state = 'COMMITTED' ORDER BY a.id DESC LIMIT 1",
                        ("$e", entity),
                        ("$p", clean),
                        ("$n", name),
                        ("$d", digest)
                    )
                    .FirstOrDefault() is
                { } same
            )
            {
                SetAliases(same, aliases);
                return same;
            }

            using var command = Command(
                _writer,
                "INSERT INTO artifacts (entity, project, type, name, digest, description, metadata, created_at, run, client_id, aliases) VALUES ($e, $p, $t, $n, $d, $x, $m, $now, $r, $c, $l) RETURNING id",
                ("$e", entity),
                ("$p", clean),
                ("$t", type),
                ("$n", name),
                ("$d", digest),
                ("$x", description),
                ("$m", metadata),
                ("$now", Now),
                ("$r", run),
                ("$c", clientId),
                ("$l", new JsonArray([.. aliases.Select(a => (JsonNode?)JsonValue.Create(a))]).ToJsonString())
            );
            return Artifact((long)command.ExecuteScalar()!)!;
        }
    }

    /// <summary>Ends a version: it gets its number, and the aliases that were asked for, latest among them.</summary>
    internal Row? CommitArtifact(long id)
    {
        lock (_writing)
        {
            if (Artifact(id) is not { } artifact)
            {
                return null;
            }

            if ((string)artifact["state"]! != "COMMITTED")
            {
                using var command = Command(
                    _writer,
                    "UPDATE artifacts SET state = 'COMMITTED', version = (SELECT COALESCE(MAX(b.version) + 1, 0) FROM artifacts b WHERE b.entity = artifacts.entity AND b.project = artifacts.project AND b.name = artifacts.name) WHERE id = $i",
                    ("$i", id)
                );
                command.ExecuteNonQuery();
                using var read = Command(_writer, "SELECT aliases FROM artifacts WHERE id = $i", ("$i", id));
                SetAliases(
                    artifact,
                    JsonNode.Parse((string)read.ExecuteScalar()!)!.AsArray().Select(a => a!.ToString()).Append("latest")
                );
            }

            return Artifact(id);
        }
    }

    private void SetAliases(Row artifact, IEnumerable<string> aliases)
    {
        foreach (var alias in aliases.Distinct())
        {
            using var command = Command(
                _writer,
                "INSERT INTO artifact_aliases (entity, project, name, alias, artifact) VALUES ($e, $p, $n, $a, $i) ON CONFLICT (entity, project, name, alias) DO UPDATE SET artifact = $i",
                ("$e", artifact["entityName"]),
                ("$p", artifact["projectName"]),
                ("$n", artifact["collection"]),
                ("$a", alias),
                ("$i", artifact.Key)
            );
            command.ExecuteNonQuery();
        }
    }

    internal void SetManifest(long id, byte[] manifest)
    {
        lock (_writing)
        {
            using var command = Command(
                _writer,
                "UPDATE artifacts SET manifest = $m WHERE id = $i AND state <> 'COMMITTED'",
                ("$i", id),
                ("$m", manifest)
            );
            command.ExecuteNonQuery();
        }
    }

    internal byte[]? Manifest(long id)
    {
        using var connection = Open();
        using var command = Command(connection, "SELECT manifest FROM artifacts WHERE id = $i", ("$i", id));
        return command.ExecuteScalar() as byte[];
    }

    internal Row? Artifact(long id) => ReadArtifacts("a.id = $i", ("$i", id)).FirstOrDefault();

    internal Row? ArtifactByClientId(string id) =>
        ReadArtifacts("a.client_id = $c ORDER BY a.id DESC LIMIT 1", ("$c", id)).FirstOrDefault();

    /// <summary>A committed version by name:alias or name:vN; without either, latest.</summary>
    internal Row? Artifact(Row project, string reference)
    {
        var colon = reference.LastIndexOf(':');
        var (name, alias) = colon < 0 ? (reference, "latest") : (reference[..colon], reference[(colon + 1)..]);
        var version = alias.Length > 1 && alias[0] == 'v' ? Id(alias[1..]) : -1;
        return ReadArtifacts(
                version >= 0
                    ? "a.entity = $e AND a.project = $p AND a.name = $n AND a.version = $v AND a.state = 'COMMITTED'"
                    : "a.id = (SELECT artifact FROM artifact_aliases WHERE entity = $e AND project = $p AND name = $n AND alias = $a) AND a.state = 'COMMITTED'",
                ("$e", project["entityName"]),
                ("$p", project["name"]),
                ("$n", name),
                ("$v", version),
                ("$a", alias)
            )
            .FirstOrDefault();
    }

    /// <summary>Names of the collections of a type that have a committed version.</summary>
    internal List<string> ArtifactNames(Row project, string type)
    {
        using var connection = Open();
        using var command = Command(
            connection,
            "SELECT DISTINCT name FROM artifacts WHERE entity = $e AND project = $p AND type = $t AND state = 'COMMITTED' ORDER BY name",
            ("$e", project["entityName"]),
            ("$p", project["name"]),
            ("$t", type)
        );
        using var reader = command.ExecuteReader();
        var names = new List<string>();
        while (reader.Read())
        {
            names.Add(reader.GetString(0));
        }

        return names;
    }

    internal List<Row> ArtifactVersions(Row project, string name) =>
        ReadArtifacts(
            "a.entity = $e AND a.project = $p AND a.name = $n AND a.state = 'COMMITTED' ORDER BY a.version DESC",
            ("$e", project["entityName"]),
            ("$p", project["name"]),
            ("$n", name)
        );

    internal List<Row> ArtifactsOfRun(Row run) =>
        ReadArtifacts(
            "a.entity = $e AND a.project = $p AND a.run = $r AND a.state = 'COMMITTED' ORDER BY a.id",
            ("$e", ((Row)run["project"]!)["entityName"]),
            ("$p", ((Row)run["project"]!)["name"]),
            ("$r", run["name"])
        );

    private List<Row> ReadArtifacts(string where, params (string Name, object? Value)[] parameters)
    {
        var rows = new List<Row>();
        using var connection = Open();
        using (
            var command = Command(connection, $"SELECT {ArtifactColumns} FROM artifacts a WHERE {where}", parameters)
        )
        {
            using var reader = command.ExecuteReader();
            while (reader.Read())
            {
                var name = reader.GetString(4);
                rows.Add(
                    new Row
                    {
                        Key = reader.GetInt64(0),
                        ["id"] = ArtifactId(reader.GetInt64(0)),
                        ["entityName"] = reader.GetString(1),
                        ["projectName"] = reader.GetString(2),
                        ["type"] = reader.GetString(3),
                        ["collection"] = name,
                        ["versionIndex"] = reader.IsDBNull(5) ? null : reader.GetInt32(5),
                        ["digest"] = reader.GetString(6),
                        ["state"] = reader.GetString(7),
                        ["description"] = reader.GetValue(8) as string,
                        ["metadata"] = reader.GetValue(9) as string,
                        ["createdAt"] = reader.GetString(10),
                        ["updatedAt"] = reader.GetString(10),
                        ["artifactType"] = new Row
                        {
                            ["id"] = "type:" + reader.GetString(3),
                            ["name"] = reader.GetString(3),
                        },
                        ["artifactSequence"] = new Row
                        {
                            ["id"] = "sequence:" + name,
                            ["name"] = name,
                            ["entityName"] = reader.GetString(1),
                            ["projectName"] = reader.GetString(2),
                        },
                        ["commitHash"] = reader.GetString(6),
                    }
                );
            }
        }

        foreach (var row in rows)
        {
            using var command = Command(
                connection,
                "SELECT alias FROM artifact_aliases WHERE artifact = $i ORDER BY alias",
                ("$i", row.Key)
            );
            using var reader = command.ExecuteReader();
            var aliases = new List<Row>();
            while (reader.Read())
            {
                aliases.Add(
                    new Row { ["artifactCollectionName"] = row["collection"], ["alias"] = reader.GetString(0) }
                );
            }

            if (row["versionIndex"] is int version)
            {
                aliases.Add(
                    new Row
                    {
                        ["artifactCollectionName"] = row["collection"],
                        ["alias"] = "v" + version.ToString(CultureInfo.InvariantCulture),
                    }
                );
            }

            row["aliases"] = aliases.ToArray();
        }

        return rows;
    }
}
