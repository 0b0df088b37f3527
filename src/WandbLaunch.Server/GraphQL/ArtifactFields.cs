using GraphQL;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;
using WandbLaunch.Server.Endpoints;

namespace WandbLaunch.Server.Schema;

/// <summary>Artifacts (protocol B.8).</summary>
internal sealed class ArtifactFields(ArtifactRepository artifacts, CollectionRepository collections, RunRepository runs)
    : ISchemaPart
{
    public void AddTo(SchemaFields fields)
    {
        fields.Set("Query", "artifact", c => Show(artifacts.Find(Ids.ParseArtifact(c.GetArgument<string>("id")))));
        fields.Set(
            "Query",
            "clientIDMapping",
            c =>
                artifacts.FindByClientId(c.GetArgument<string>("clientID")) is { } found
                    ? new Row { Record = found, ["serverID"] = Ids.Artifact(found.Id) }
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
            c =>
                Row.Page(
                    [.. artifacts.OfRun(c.Of<RunRecord>()).Select(Rows.Of)],
                    r => (string)r["id"]!,
                    c.GetArgument<string?>("after"),
                    c.First(1000)
                )
        );
        fields.Set("Run", "inputArtifacts", Inputs);
        fields.Set("Artifact", "artifactSequence", c => Rows.Of(collections.Of(c.Of<ArtifactRecord>())));
        fields.Set("Artifact", "artifactType", c => Type(c.Of<ArtifactRecord>()));
        fields.Set(
            "Artifact",
            "aliases",
            c =>
                artifacts
                    .Memberships(c.Of<ArtifactRecord>())
                    .SelectMany(m => CollectionFields.Aliases(m, collections))
                    .ToList()
        );
        fields.Set(
            "Artifact",
            "artifactMemberships",
            c =>
                Row.Connection(
                    artifacts.Memberships(c.Of<ArtifactRecord>()).Select(Rows.Of),
                    r => (string)r["id"]!,
                    false
                )
        );
        fields.Set(
            "Artifact",
            "createdBy",
            c =>
                c.Of<ArtifactRecord>() is var artifact && artifact.Run is { } run
                    ? runs.Find(artifact.Entity, artifact.Project, run) is { } found
                        ? Rows.Of(found)
                        : null
                    : Rows.User(Caller.OwnName)
        );
        fields.Set(
            "Artifact",
            "usedBy",
            c =>
                Row.Page(
                    [
                        .. artifacts
                            .UsedBy(c.Of<ArtifactRecord>().Id)
                            .Select(runs.Find)
                            .OfType<RunRecord>()
                            .Select(r => Rows.Of(r)),
                    ],
                    r => (string)r["id"]!,
                    c.GetArgument<string?>("after"),
                    c.First(1000)
                )
        );
        AddContents(fields);
        AddMutations(fields);
    }

    private Row Inputs(IResolveFieldContext c)
    {
        var used = artifacts.Inputs(c.Of<RunRecord>().Id);
        var names = used.ToDictionary(u => Ids.Artifact(u.Artifact.Id), u => u.UsedAs, StringComparer.Ordinal);
        var page = Row.Page(
            [.. used.Select(u => Rows.Of(u.Artifact))],
            r => (string)r["id"]!,
            c.GetArgument<string?>("after"),
            c.First(1000)
        );
        foreach (var edge in (Row[])page["edges"]!)
        {
            edge["usedAs"] = names[(string)edge["cursor"]!];
        }

        return page;
    }

    private static Row Type(ArtifactRecord artifact) =>
        new()
        {
            Record = new ProjectRecord { Entity = artifact.Entity, Name = artifact.Project },
            ["id"] = Ids.Encode("ArtifactType:" + artifact.Type),
            ["name"] = artifact.Type,
            ["createdAt"] = artifact.CreatedAt,
        };

    private void AddContents(SchemaFields fields)
    {
        foreach (var size in new[] { "size", "storageBytes" })
        {
            fields.Set("Artifact", size, c => Entries(c.Of<ArtifactRecord>()).Sum(e => e.Size));
        }

        fields.Set("Artifact", "fileCount", c => Entries(c.Of<ArtifactRecord>()).Count);
        fields.Set(
            "Artifact",
            "currentManifest",
            c =>
                c.Of<ArtifactRecord>() is var artifact && artifacts.HasManifest(artifact.Id)
                    ? ManifestRow(c, artifact)
                    : null
        );
        fields.Set("Artifact", "files", c => Files(c, c.Of<ArtifactRecord>(), c.GetArgument<string[]?>("names")));
        fields.Set(
            "Artifact",
            "filesByManifestEntries",
            c =>
                Files(
                    c,
                    c.Of<ArtifactRecord>(),
                    [
                        .. (c.GetArgument<List<Dictionary<string, object?>>?>("entries") ?? []).Select(e =>
                            e.Text("name") ?? ""
                        ),
                    ]
                )
        );
        fields.Set(
            "ArtifactCollectionMembership",
            "files",
            c => Files(c, c.Of<Membership>().Artifact, c.GetArgument<string[]?>("names"))
        );
    }

    private Row Files(IResolveFieldContext c, ArtifactRecord artifact, string[]? names)
    {
        var after = c.GetArgument<string?>("after") ?? "";
        var first = c.First(names is null ? 50 : 1000);
        var all = Entries(artifact);
        var wanted = names?.ToHashSet(StringComparer.Ordinal);
        var entries = all.Where(e =>
                (wanted is null || wanted.Contains(e.Path)) && string.CompareOrdinal(e.Path, after) > 0
            )
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
                    ["storagePath"] = e.Path,
                    ["updatedAt"] = artifact.CreatedAt,
                    ["directUrl"] = c.SignedUrl(
                        "GET",
                        $"/artifacts/{Uri.EscapeDataString(artifact.Entity)}/{Md5(e.Digest)}"
                    ),
                }),
            r => (string)r["name"]!,
            entries.Count > first,
            all.Count
        );
    }

    private void AddMutations(SchemaFields fields)
    {
        fields.Mutation(
            "createArtifact",
            (c, input) =>
            {
                var name =
                    input.Text("artifactCollectionName")
                    ?? (input.GetValueOrDefault("artifactCollectionNames") as IEnumerable<object?>)
                        ?.FirstOrDefault()
                        ?.ToString()
                    ?? throw new ServerFault("artifactCollectionName is missing.");
                var artifact = artifacts.Create(
                    new NewArtifact(
                        input.Text("entityName") ?? c.Username(),
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
                        Tags = input.Texts("tags", "tagName"),
                        Ttl = input.GetValueOrDefault("ttlDurationSeconds") as long?,
                        HistoryStep = input.GetValueOrDefault("historyStep") as long?,
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
            (_, input) =>
            {
                var artifact = Need(input.Text("artifactID"));
                if (
                    runs.Find(input.Text("entityName"), input.Text("projectName"), input.Text("runName") ?? "") is
                    { } run
                )
                {
                    artifacts.Use(artifact, run.Id, input.Text("usedAs"));
                }

                return new Row { ["artifact"] = Rows.Of(artifact) };
            }
        );
        fields.Mutation(
            "updateArtifact",
            (_, input) =>
            {
                var artifact = Need(input.Text("artifactID"));
                artifacts.Change(
                    artifact,
                    input.Text("description"),
                    input.Text("metadata"),
                    input.GetValueOrDefault("ttlDurationSeconds") as long?,
                    input.Texts("tagsToAdd", "tagName"),
                    input.Texts("tagsToDelete", "tagName")
                );
                if (input.GetValueOrDefault("aliases") is not null)
                {
                    // What is given takes the place of what the version has in its own collection.
                    var own = collections.Of(artifact);
                    collections.DropAliases(own, artifact.Id, null);
                    collections.AddAliases(own, artifact.Id, input.Texts("aliases", "alias"));
                }

                return new Row { ["artifact"] = Rows.Of(artifacts.Find(artifact.Id)!) };
            }
        );
        fields.Mutation(
            "deleteArtifact",
            (_, input) =>
            {
                var artifact = Need(input.Text("artifactID"));
                artifacts.Delete(artifact, input.GetValueOrDefault("deleteAliases") is true);
                return new Row { ["artifact"] = Rows.Of(artifacts.Find(artifact.Id)!), ["success"] = true };
            }
        );
    }

    private static Row? Show(ArtifactRecord? artifact) => artifact is null ? null : Rows.Of(artifact);

    private static ServerFault Missing() => new("There is no such artifact.");

    private ArtifactRecord Need(string? id) => artifacts.Find(Ids.ParseArtifact(id)) ?? throw Missing();

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

    private List<ManifestEntry> Entries(ArtifactRecord artifact) =>
        ArtifactManifest.Entries(artifacts.Manifest(artifact.Id));

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
