using System.Text.Json;
using GraphQL;
using WandbLaunch.Server.Data;
using WandbLaunch.Server.Endpoints;

namespace WandbLaunch.Server.Schema;

/// <summary>Artifacts (protocol B.8).</summary>
internal sealed class ArtifactFields(ArtifactRepository artifacts, ProjectRepository projects) : ISchemaPart
{
    public void AddTo(SchemaFields fields)
    {
        fields.Set("Query", "artifact", c => Show(artifacts.Find(Ids.ParseArtifact(c.GetArgument<string>("id")))));
        fields.Set(
            "Query",
            "clientIDMapping",
            c =>
                artifacts.FindByClientId(c.GetArgument<string>("clientID")) is { } found
                    ? new Row { ["serverID"] = Ids.Artifact(found.Id) }
                    : null
        );
        fields.Set(
            "Project",
            "artifact",
            c => Show(artifacts.Find(c.Of<ProjectRecord>(), c.GetArgument<string>("name")))
        );
        fields.Set(
            "Run",
            "outputArtifacts",
            c => Row.Connection(artifacts.OfRun(c.Of<RunRecord>()).Select(Rows.Of), r => (string)r["id"]!, false)
        );
        AddCollections(fields);
        AddContents(fields);
        AddMutations(fields);
    }

    private void AddCollections(SchemaFields fields)
    {
        fields.Set(
            "Project",
            "artifactType",
            c =>
                c.Of<ProjectRecord>() is var project
                && c.GetArgument<string>("name") is var type
                && (artifacts.Names(project, type).Count > 0 || type == "job")
                    ? new Row
                    {
                        Record = project,
                        ["id"] = "type:" + type,
                        ["name"] = type,
                    }
                    : null
        );
        fields.Set(
            "ArtifactType",
            "artifact",
            c => Show(artifacts.Find(c.Of<ProjectRecord>(), c.GetArgument<string>("name")))
        );
        foreach (var name in new[] { "artifactCollections", "artifactSequences" })
        {
            fields.Set(
                "ArtifactType",
                name,
                c =>
                {
                    var project = c.Of<ProjectRecord>();
                    var after = c.GetArgument<string?>("after") ?? "";
                    var first = c.First(100);
                    var names = artifacts
                        .Names(project, (string)((Row)c.Source!)["name"]!)
                        .Where(n => string.CompareOrdinal(n, after) > 0)
                        .ToList();
                    return Row.Connection(
                        names
                            .Take(first)
                            .Select(n => new Row
                            {
                                Record = new Collection(project.Entity, project.Name, n),
                                ["id"] = "sequence:" + n,
                                ["name"] = n,
                            }),
                        r => (string)r["name"]!,
                        names.Count > first
                    );
                }
            );
        }

        fields.Set(
            "ArtifactSequence",
            "artifacts",
            c =>
                Row.Connection(
                    Project(c) is { } project
                        ? artifacts.Versions(project, c.Of<Collection>().Name).Take(c.First(100)).Select(Rows.Of)
                        : [],
                    r => (string)r["id"]!,
                    false
                )
        );
        fields.Set(
            "ArtifactSequence",
            "latestArtifact",
            c => Project(c) is { } project ? Show(artifacts.Find(project, c.Of<Collection>().Name)) : null
        );
    }

    private void AddContents(SchemaFields fields)
    {
        fields.Set("Artifact", "size", c => Entries(c.Of<ArtifactRecord>()).Sum(e => e.Size));
        fields.Set(
            "Artifact",
            "currentManifest",
            c =>
                c.Of<ArtifactRecord>() is var artifact && artifacts.HasManifest(artifact.Id)
                    ? ManifestRow(c, artifact)
                    : null
        );
        fields.Set("ArtifactFile", "url", c => ((Row)c.Source!).GetValueOrDefault("directUrl"));
        fields.Set(
            "Artifact",
            "files",
            c =>
            {
                var artifact = c.Of<ArtifactRecord>();
                var names = c.GetArgument<string[]?>("names");
                var after = c.GetArgument<string?>("after") ?? "";
                var first = c.First(50);
                var entries = Entries(artifact)
                    .Where(e => (names is null || names.Contains(e.Path)) && string.CompareOrdinal(e.Path, after) > 0)
                    .OrderBy(e => e.Path, StringComparer.Ordinal)
                    .ToList();
                return Row.Connection(
                    entries
                        .Take(first)
                        .Select(e => new Row
                        {
                            ["id"] = $"{Ids.Artifact(artifact.Id)}/{e.Path}",
                            ["name"] = e.Path,
                            ["displayName"] = e.Path,
                            ["sizeBytes"] = e.Size,
                            ["digest"] = e.Digest,
                            ["md5"] = e.Digest,
                            ["updatedAt"] = artifact.CreatedAt,
                            ["directUrl"] = c.SignedUrl(
                                "GET",
                                $"/artifacts/{Uri.EscapeDataString(artifact.Entity)}/{e.Md5}"
                            ),
                        }),
                    r => (string)r["name"]!,
                    entries.Count > first
                );
            }
        );
    }

    private void AddMutations(SchemaFields fields)
    {
        fields.Mutation(
            "createArtifact",
            (_, input) =>
            {
                var name =
                    input.Text("artifactCollectionName")
                    ?? (input.GetValueOrDefault("artifactCollectionNames") as IEnumerable<object?>)
                        ?.FirstOrDefault()
                        ?.ToString()
                    ?? throw new ServerFault("artifactCollectionName is missing.");
                var artifact = artifacts.Create(
                    new NewArtifact(
                        input.Text("entityName") ?? ResolveContext.Username,
                        input.Text("projectName") ?? "uncategorized",
                        input.Text("artifactTypeName") ?? "",
                        name,
                        input.Text("digest") ?? ""
                    )
                    {
                        Description = input.Text("description"),
                        Metadata = input.Text("metadata"),
                        Run = input.Text("runName"),
                        ClientId = input.Text("clientID"),
                        Aliases =
                        [
                            .. (input.GetValueOrDefault("aliases") as IEnumerable<object?> ?? []).Select(a =>
                                ((IDictionary<string, object?>)a!)["alias"]!.ToString()!
                            ),
                        ],
                    }
                );
                return new Row { ["artifact"] = Rows.Of(artifact) };
            }
        );
        foreach (var name in new[] { "createArtifactManifest", "updateArtifactManifest" })
        {
            fields.Mutation(
                name,
                (c, input) =>
                    new Row
                    {
                        ["artifactManifest"] = ManifestRow(
                            c,
                            Need(
                                input.Text("artifactID")
                                    ?? input
                                        .Text("artifactManifestID")
                                        ?.Replace("manifest:", "", StringComparison.Ordinal)
                            )
                        ),
                    }
            );
        }

        fields.Mutation(
            "createArtifactFiles",
            (c, input) =>
                new Row
                {
                    ["files"] = Row.Connection(
                        ((IEnumerable<object?>)input["artifactFiles"]!)
                            .Cast<IDictionary<string, object?>>()
                            .Select(s => UploadRow(c, s, Need(s["artifactID"]?.ToString()))),
                        r => (string)r["id"]!,
                        false
                    ),
                }
        );
        fields.Mutation(
            "commitArtifact",
            (_, input) =>
                new Row
                {
                    ["artifact"] = Rows.Of(
                        artifacts.Commit(Ids.ParseArtifact(input.Text("artifactID"))) ?? throw Missing()
                    ),
                }
        );
        fields.Mutation(
            "useArtifact",
            (_, input) => new Row { ["artifact"] = Rows.Of(Need(input.Text("artifactID"))) }
        );
    }

    private static Row? Show(ArtifactRecord? artifact) => artifact is null ? null : Rows.Of(artifact);

    private static ServerFault Missing() => new("There is no such artifact.");

    private ArtifactRecord Need(string? id) => artifacts.Find(Ids.ParseArtifact(id)) ?? throw Missing();

    private ProjectRecord? Project(IResolveFieldContext c) =>
        c.Of<Collection>() is var collection ? projects.Find(collection.Entity, collection.Project) : null;

    private static Row UploadRow(IResolveFieldContext c, IDictionary<string, object?> spec, ArtifactRecord artifact) =>
        new()
        {
            ["id"] = $"{Ids.Artifact(artifact.Id)}/{spec["name"]}",
            ["name"] = spec["name"],
            ["displayName"] = spec["name"],
            ["artifact"] = Rows.Of(artifact),
            ["storagePath"] = spec["name"],
            ["uploadUrl"] = c.SignedUrl(
                "PUT",
                $"/artifacts/{Uri.EscapeDataString(artifact.Entity)}/{Md5(spec["md5"]?.ToString())}"
            ),
            ["uploadHeaders"] = FileEndpoints.UploadHeaders,
        };

    private static Row ManifestRow(IResolveFieldContext c, ArtifactRecord artifact)
    {
        var path = $"/artifact-manifests/{Ids.Text(artifact.Id)}";
        var id = "manifest:" + Ids.Artifact(artifact.Id);
        return new Row
        {
            ["id"] = id,
            ["digest"] = artifact.Digest,
            ["file"] = new Row
            {
                ["id"] = id,
                ["name"] = "wandb_manifest.json",
                ["displayName"] = "wandb_manifest.json",
                ["directUrl"] = c.SignedUrl("GET", path),
                ["uploadUrl"] = c.SignedUrl("PUT", path),
                ["uploadHeaders"] = Array.Empty<string>(),
            },
        };
    }

    private List<(string Path, long Size, string Digest, string Md5)> Entries(ArtifactRecord artifact)
    {
        if (artifacts.Manifest(artifact.Id) is not { } manifest)
        {
            return [];
        }

        try
        {
            using var document = JsonDocument.Parse(manifest);
            return
                document.RootElement.TryGetProperty("contents", out var contents)
                && contents.ValueKind == JsonValueKind.Object
                ?
                [
                    .. contents
                        .EnumerateObject()
                        .Select(e =>
                            (
                                e.Name,
                                Size(e.Value),
                                e.Value.GetProperty("digest").GetString() ?? "",
                                Md5(e.Value.GetProperty("digest").GetString())
                            )
                        ),
                ]
                : [];
        }
        catch (JsonException)
        {
            return [];
        }

        static long Size(JsonElement entry) =>
            entry.TryGetProperty("size", out var size) && size.TryGetInt64(out var bytes) ? bytes : 0;
    }

    // Base64 in manifests and inputs, hexadecimal in addresses.
    private static string Md5(string? base64)
    {
        try
        {
            return Convert.ToHexString(Convert.FromBase64String(base64 ?? "")).ToLowerInvariant();
        }
        catch (FormatException)
        {
            return "-";
        }
    }
}
