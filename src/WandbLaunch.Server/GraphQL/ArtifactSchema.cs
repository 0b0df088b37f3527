using System.Text.Json;
using GraphQL;
using WandbLaunch.Server.Endpoints;

namespace WandbLaunch.Server;

/// <summary>The resolvers of artifacts (protocol B.8).</summary>
internal static class ArtifactSchema
{
    internal static void Add(Store store, Action<string, string, Func<IResolveFieldContext, object?>> set)
    {
        set("Query", "artifact", c => store.Artifact(Store.ArtifactKey(c.GetArgument<string>("id"))));
        set(
            "Query",
            "clientIDMapping",
            c =>
                store.ArtifactByClientId(c.GetArgument<string>("clientID")) is { } found
                    ? new Row { ["serverID"] = found["id"] }
                    : null
        );
        set("Project", "artifact", c => store.Artifact((Row)c.Source!, c.GetArgument<string>("name")));
        set(
            "Project",
            "artifactType",
            c =>
                (Row)c.Source! is var project
                && c.GetArgument<string>("name") is var type
                && (store.ArtifactNames(project, type).Count > 0 || type == "job")
                    ? new Row
                    {
                        ["id"] = "type:" + type,
                        ["name"] = type,
                        ["project"] = project,
                    }
                    : null
        );
        set(
            "ArtifactType",
            "artifact",
            c => store.Artifact((Row)((Row)c.Source!)["project"]!, c.GetArgument<string>("name"))
        );
        foreach (var name in new[] { "artifactCollections", "artifactSequences" })
        {
            set(
                "ArtifactType",
                name,
                c =>
                {
                    var type = (Row)c.Source!;
                    var project = (Row)type["project"]!;
                    var after = c.GetArgument<string?>("after") ?? "";
                    var first = Math.Clamp(c.GetArgument("first", 100), 1, 1000);
                    var names = store
                        .ArtifactNames(project, (string)type["name"]!)
                        .Where(n => string.CompareOrdinal(n, after) > 0)
                        .ToList();
                    return WandbSchema.Connection(
                        names
                            .Take(first)
                            .Select(n => new Row
                            {
                                ["id"] = "sequence:" + n,
                                ["name"] = n,
                                ["project"] = project,
                            }),
                        r => (string)r["name"]!,
                        names.Count > first
                    );
                }
            );
        }

        set(
            "ArtifactSequence",
            "artifacts",
            c =>
                (Row)((Row)c.Source!)["project"]! is { } project
                    ? WandbSchema.Connection(
                        store
                            .ArtifactVersions(project, (string)((Row)c.Source!)["name"]!)
                            .Take(Math.Clamp(c.GetArgument("first", 100), 1, 1000)),
                        r => (string)r["id"]!,
                        false
                    )
                    : null
        );
        set(
            "ArtifactSequence",
            "latestArtifact",
            c =>
                (Row)c.Source! is var sequence
                && store.Project(
                    (string?)sequence.GetValueOrDefault("entityName"),
                    (string?)sequence.GetValueOrDefault("projectName")
                )
                    is { } project
                    ? store.Artifact(project, (string)sequence["name"]!)
                    : null
        );
        set(
            "Run",
            "outputArtifacts",
            c => WandbSchema.Connection(store.ArtifactsOfRun((Row)c.Source!), r => (string)r["id"]!, false)
        );
        set("Artifact", "size", c => Entries(store, (Row)c.Source!).Sum(e => e.Size));
        set(
            "Artifact",
            "currentManifest",
            c =>
                (Row)c.Source! is var artifact && store.Manifest(artifact.Key) is not null
                    ? ManifestRow(c, artifact)
                    : null
        );
        set("ArtifactFile", "url", c => ((Row)c.Source!).GetValueOrDefault("directUrl"));
        set(
            "Artifact",
            "files",
            c =>
            {
                var artifact = (Row)c.Source!;
                var names = c.GetArgument<string[]?>("names");
                var after = c.GetArgument<string?>("after") ?? "";
                var first = Math.Clamp(c.GetArgument("first", 50), 1, 1000);
                var entries = Entries(store, artifact)
                    .Where(e => (names is null || names.Contains(e.Path)) && string.CompareOrdinal(e.Path, after) > 0)
                    .OrderBy(e => e.Path, StringComparer.Ordinal)
                    .ToList();
                return WandbSchema.Connection(
                    entries
                        .Take(first)
                        .Select(e => new Row
                        {
                            ["id"] = $"{artifact["id"]}/{e.Path}",
                            ["name"] = e.Path,
                            ["displayName"] = e.Path,
                            ["sizeBytes"] = e.Size,
                            ["digest"] = e.Digest,
                            ["md5"] = e.Digest,
                            ["updatedAt"] = artifact["createdAt"],
                            ["directUrl"] = WandbSchema.SignedUrl(
                                c,
                                "GET",
                                $"/artifacts/{Uri.EscapeDataString((string)artifact["entityName"]!)}/{e.Md5}"
                            ),
                        }),
                    r => (string)r["name"]!,
                    entries.Count > first
                );
            }
        );

        set(
            "Mutation",
            "createArtifact",
            c =>
            {
                var input = WandbSchema.Input(c);
                var name =
                    WandbSchema.Text(input, "artifactCollectionName")
                    ?? (input.GetValueOrDefault("artifactCollectionNames") as IEnumerable<object?>)
                        ?.FirstOrDefault()
                        ?.ToString()
                    ?? throw new ServerFault("artifactCollectionName is missing.");
                var aliases = (input.GetValueOrDefault("aliases") as IEnumerable<object?> ?? [])
                    .Select(a => ((IDictionary<string, object?>)a!)["alias"]!.ToString()!)
                    .ToList();
                var artifact = store.CreateArtifact(
                    WandbSchema.Text(input, "entityName") ?? WandbSchema.Username,
                    WandbSchema.Text(input, "projectName") ?? "uncategorized",
                    WandbSchema.Text(input, "artifactTypeName") ?? "",
                    name,
                    WandbSchema.Text(input, "digest") ?? "",
                    WandbSchema.Text(input, "description"),
                    WandbSchema.Text(input, "metadata"),
                    WandbSchema.Text(input, "runName"),
                    WandbSchema.Text(input, "clientID"),
                    aliases
                );
                return new Row { ["artifact"] = artifact };
            }
        );
        foreach (var name in new[] { "createArtifactManifest", "updateArtifactManifest" })
        {
            set(
                "Mutation",
                name,
                c =>
                {
                    var input = WandbSchema.Input(c);
                    var artifact = store.Artifact(
                        Store.ArtifactKey(
                            WandbSchema.Text(input, "artifactID")
                                ?? WandbSchema
                                    .Text(input, "artifactManifestID")
                                    ?.Replace("manifest:", "", StringComparison.Ordinal)
                        )
                    );
                    return artifact is null
                        ? throw new ServerFault("There is no such artifact.")
                        : new Row { ["artifactManifest"] = ManifestRow(c, artifact) };
                }
            );
        }

        set(
            "Mutation",
            "createArtifactFiles",
            c =>
            {
                var specs = ((IEnumerable<object?>)WandbSchema.Input(c)["artifactFiles"]!).Cast<
                    IDictionary<string, object?>
                >();
                return new Row
                {
                    ["files"] = WandbSchema.Connection(
                        specs
                            .Select(s =>
                                (
                                    Spec: s,
                                    Artifact: store.Artifact(Store.ArtifactKey(s["artifactID"]?.ToString()))
                                        ?? throw new ServerFault("There is no such artifact.")
                                )
                            )
                            .Select(s => new Row
                            {
                                ["id"] = $"{s.Artifact["id"]}/{s.Spec["name"]}",
                                ["name"] = s.Spec["name"],
                                ["displayName"] = s.Spec["name"],
                                ["artifact"] = s.Artifact,
                                ["storagePath"] = s.Spec["name"],
                                ["uploadUrl"] = WandbSchema.SignedUrl(
                                    c,
                                    "PUT",
                                    $"/artifacts/{Uri.EscapeDataString((string)s.Artifact["entityName"]!)}/{Md5(s.Spec["md5"]?.ToString())}"
                                ),
                                ["uploadHeaders"] = FileEndpoints.UploadHeaders,
                            }),
                        r => (string)r["id"]!,
                        false
                    ),
                };
            }
        );
        set(
            "Mutation",
            "commitArtifact",
            c => new Row
            {
                ["artifact"] =
                    store.CommitArtifact(Store.ArtifactKey(WandbSchema.Text(WandbSchema.Input(c), "artifactID")))
                    ?? throw new ServerFault("There is no such artifact."),
            }
        );
        set(
            "Mutation",
            "useArtifact",
            c => new Row
            {
                ["artifact"] =
                    store.Artifact(Store.ArtifactKey(WandbSchema.Text(WandbSchema.Input(c), "artifactID")))
                    ?? throw new ServerFault("There is no such artifact."),
            }
        );
    }

    private static Row ManifestRow(IResolveFieldContext c, Row artifact)
    {
        var path = $"/artifact-manifests/{artifact.Key.ToString(System.Globalization.CultureInfo.InvariantCulture)}";
        return new Row
        {
            ["id"] = "manifest:" + artifact["id"],
            ["digest"] = artifact["digest"],
            ["file"] = new Row
            {
                ["id"] = "manifest:" + artifact["id"],
                ["name"] = "wandb_manifest.json",
                ["displayName"] = "wandb_manifest.json",
                ["directUrl"] = WandbSchema.SignedUrl(c, "GET", path),
                ["uploadUrl"] = WandbSchema.SignedUrl(c, "PUT", path),
                ["uploadHeaders"] = Array.Empty<string>(),
            },
        };
    }

    private static List<(string Path, long Size, string Digest, string Md5)> Entries(Store store, Row artifact)
    {
        if (store.Manifest(artifact.Key) is not { } manifest)
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
