using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Wandb;

/// <summary>A version of an artifact.</summary>
internal sealed record ArtifactInfo(
    string Id,
    string Entity,
    string Project,
    string Collection,
    int? Version,
    IReadOnlyList<string> Aliases,
    string Type,
    string? Description,
    string? Metadata,
    DateTimeOffset? Created
);

/// <summary>A file for an artifact: its path inside, and its content.</summary>
internal sealed record ArtifactContent(string Path, Func<Stream> Open);

/// <summary>The operations of artifacts that jobs need (protocol B.8).</summary>
internal sealed class ArtifactApi(GraphQLTransport transport, WandbApi api)
{
    private const string Fields =
        "id state digest description metadata versionIndex createdAt aliases { artifactCollectionName alias } artifactSequence { id name } artifactType { id name }";

    /// <summary>A version by name:alias or name:vN, or null.</summary>
    internal async Task<ArtifactInfo?> GetAsync(string entity, string project, string name, CancellationToken token)
    {
        var data = await transport.QueryAsync(
            "Artifact",
            $"query Artifact($entityName: String, $projectName: String, $name: String!) {{ project(name: $projectName, entityName: $entityName) {{ artifact(name: $name) {{ {Fields} }} }} }}",
            new
            {
                entityName = entity,
                projectName = project,
                name,
            },
            token
        );
        return data.At("project", "artifact") is { } node ? ToInfo(node, entity, project) : null;
    }

    /// <summary>The versions of all collections of a type, newest first in each.</summary>
    internal async Task<IReadOnlyList<ArtifactInfo>> ListAsync(
        string entity,
        string project,
        string type,
        CancellationToken token
    )
    {
        var found = new List<ArtifactInfo>();
        string? after = null;
        while (true)
        {
            var data = await transport.QueryAsync(
                "ArtifactOfType",
                $"query ArtifactOfType($entityName: String!, $projectName: String!, $artifactTypeName: String!, $after: String) {{ project(name: $projectName, entityName: $entityName) {{ artifactType(name: $artifactTypeName) {{ artifactCollections(first: 100, after: $after) {{ edges {{ node {{ name artifacts {{ edges {{ node {{ {Fields} }} }} }} }} }} pageInfo {{ endCursor hasNextPage }} }} }} }} }}",
                new
                {
                    entityName = entity,
                    projectName = project,
                    artifactTypeName = type,
                    after,
                },
                token
            );
            _ = data.At("project") ?? throw WandbApi.ProjectMissing(entity, project);
            foreach (
                var version in data.Items("project", "artifactType", "artifactCollections", "edges")
                    .SelectMany(e => e.Items("node", "artifacts", "edges"))
            )
            {
                if (version.At("node") is { } node && node.Text("state") is "COMMITTED" or null)
                {
                    found.Add(ToInfo(node, entity, project));
                }
            }

            if (
                data.Flag("project", "artifactType", "artifactCollections", "pageInfo", "hasNextPage") != true
                || data.Text("project", "artifactType", "artifactCollections", "pageInfo", "endCursor") is not { } end
                || end == after
            )
            {
                return found;
            }

            after = end;
        }
    }

    /// <summary>A version by its id, or null.</summary>
    internal async Task<ArtifactInfo?> GetByIdAsync(string id, string entity, string project, CancellationToken token)
    {
        var data = await transport.QueryAsync(
            "ArtifactByID",
            $"query ArtifactByID($id: ID!) {{ artifact(id: $id) {{ {Fields} }} }}",
            new { id },
            token
        );
        return data.At("artifact") is { } node ? ToInfo(node, entity, project) : null;
    }

    /// <summary>Names and addresses of the files of a version.</summary>
    internal async Task<IReadOnlyList<(string Path, string Url, long? Size, string? Md5)>> FilesAsync(
        string id,
        CancellationToken token
    )
    {
        var files = new List<(string, string, long?, string?)>();
        string? after = null;
        while (true)
        {
            var data = await transport.QueryAsync(
                "ArtifactFiles",
                "query ArtifactFiles($id: ID!, $fileCursor: String) { artifact(id: $id) { files(after: $fileCursor, first: 200) { edges { node { id name: displayName directUrl sizeBytes md5 } cursor } pageInfo { endCursor hasNextPage } } } }",
                new { id, fileCursor = after },
                token
            );
            foreach (var edge in data.Items("artifact", "files", "edges"))
            {
                if (edge.Text("node", "name") is { } name && edge.Text("node", "directUrl") is { } url)
                {
                    files.Add(
                        (
                            name,
                            url,
                            long.TryParse(edge.Text("node", "sizeBytes"), out var size) ? size : null,
                            edge.Text("node", "md5")
                        )
                    );
                }
            }

            if (
                data.Flag("artifact", "files", "pageInfo", "hasNextPage") != true
                || data.Text("artifact", "files", "pageInfo", "endCursor") is not { } end
                || end == after
            )
            {
                return files;
            }

            after = end;
        }
    }

    /// <summary>One file as bytes.</summary>
    internal async Task<byte[]> ReadAsync(string url, string name, long limit, CancellationToken token)
    {
        using var response = await transport.Files.DownloadAsync(url, token);
        return await AnswerBody.ReadAsync(response, name, limit, token);
    }

    /// <summary>Saves all files of a version below a folder; each name is checked.</summary>
    internal async Task SaveAsync(string id, string folder, CancellationToken token)
    {
        // A folder of our own, and only files come into it: nothing there is a link.
        FileModes.CreatePrivateFolder(folder);
        foreach (var (name, url, size, md5) in await FilesAsync(id, token))
        {
            var path = SafePath.Combine(folder, name, "artifact file");
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            await transport.Files.DownloadToAsync(url, name, path, md5, size, token);
        }
    }

    // MD5 is W&B's name for content, and its manifest's digest; not a protection.
#pragma warning disable CA5351
    /// <summary>Logs a version by a run: create, manifest, files, manifest again, commit. False when this very content was there already.</summary>
    internal async Task<(ArtifactInfo Artifact, bool Made)> LogAsync(
        RunPath run,
        string type,
        string name,
        IReadOnlyList<ArtifactContent> files,
        IReadOnlyList<string> aliases,
        string? description,
        string? metadata,
        CancellationToken token
    )
    {
        var contents = new SortedDictionary<string, (string Digest, long Size, ArtifactContent File)>(
            StringComparer.Ordinal
        );
        foreach (var file in files)
        {
            using var stream = file.Open();
            contents[file.Path] = (Convert.ToBase64String(await MD5.HashDataAsync(stream, token)), stream.Length, file);
        }

        var digest = Convert
            .ToHexString(
                MD5.HashData(
                    Encoding.UTF8.GetBytes(
                        "wandb-artifact-manifest-v1\n"
                            + string.Concat(contents.Select(c => $"{c.Key}:{c.Value.Digest}\n"))
                    )
                )
            )
            .ToLowerInvariant();
        var client = Convert.ToHexString(RandomNumberGenerator.GetBytes(64)).ToLowerInvariant();
        var data = await transport.QueryAsync(
            "CreateArtifact",
            """
            mutation CreateArtifact($artifactTypeName: String!, $artifactCollectionName: String!, $entityName: String!, $projectName: String!, $runName: String, $description: String, $digest: String!, $aliases: [ArtifactAliasInput!], $metadata: JSONString, $clientID: ID!, $sequenceClientID: ID!) {
              createArtifact(input: {artifactTypeName: $artifactTypeName, artifactCollectionName: $artifactCollectionName, entityName: $entityName, projectName: $projectName, runName: $runName, description: $description, digest: $digest,
                digestAlgorithm: MANIFEST_MD5, aliases: $aliases, metadata: $metadata, clientID: $clientID, sequenceClientID: $sequenceClientID, enableDigestDeduplication: true}) { artifact { id state artifactSequence { id latestArtifact { id versionIndex } } } } }
            """,
            new
            {
                artifactTypeName = type,
                artifactCollectionName = name,
                entityName = run.Entity,
                projectName = run.Project,
                runName = run.Id,
                description,
                digest,
                metadata,
                clientID = client,
                sequenceClientID = client,
                aliases = aliases.Select(a => new { artifactCollectionName = name, alias = a }),
            },
            token
        );
        var id =
            data.Text("createArtifact", "artifact", "id")
            ?? throw new LaunchException(
                "ServerAnswerInvalid",
                LaunchErrorCategory.ProtocolError,
                $"The server did not begin the artifact {name}.",
                name
            );
        if (data.Text("createArtifact", "artifact", "state") != "PENDING")
        {
            return ((await GetByIdAsync(id, run.Entity, run.Project, token))!, false);
        }

        var latest = data.Text("createArtifact", "artifact", "artifactSequence", "latestArtifact", "id");
        await ManifestAsync("", false);
        data = await transport.QueryAsync(
            "CreateArtifactFiles",
            "mutation CreateArtifactFiles($storageLayout: ArtifactStorageLayout!, $artifactFiles: [CreateArtifactFileSpecInput!]!) { createArtifactFiles(input: {artifactFiles: $artifactFiles, storageLayout: $storageLayout}) { files { edges { node { id name displayName uploadUrl uploadHeaders artifact { id } } } } } }",
            new
            {
                storageLayout = "V2",
                artifactFiles = contents.Select(c => new
                {
                    artifactID = id,
                    name = c.Key,
                    md5 = c.Value.Digest,
                }),
            },
            token
        );
        foreach (var edge in data.Items("createArtifactFiles", "files", "edges"))
        {
            // A server that has the content already gives no address for it.
            if (
                edge.Text("node", "uploadUrl") is { Length: > 0 } url
                && contents.TryGetValue(edge.Text("node", "name") ?? "", out var content)
            )
            {
                await transport.Files.UploadAsync(
                    url,
                    content.File.Open,
                    edge.Items("node", "uploadHeaders").Select(h => h.ToString()),
                    token
                );
            }
        }

        var manifest = JsonSerializer.SerializeToUtf8Bytes(
            new JsonObject
            {
                ["version"] = 1,
                ["storagePolicy"] = "wandb-storage-policy-v1",
                ["storagePolicyConfig"] = new JsonObject { ["storageLayout"] = "V2" },
                ["contents"] = new JsonObject(
                    contents.Select(c =>
                        KeyValuePair.Create(
                            c.Key,
                            (JsonNode?)
                                new JsonObject
                                {
                                    ["digest"] = c.Value.Digest,
                                    ["birthArtifactID"] = id,
                                    ["size"] = c.Value.Size,
                                }
                        )
                    )
                ),
            }
        );
        var upload = await ManifestAsync(Convert.ToBase64String(MD5.HashData(manifest)), true);
        await transport.Files.UploadAsync(
            upload.Text("uploadUrl")!,
            () => new MemoryStream(manifest),
            upload.Items("uploadHeaders").Select(h => h.ToString()),
            token
        );
        await transport.QueryAsync(
            "CommitArtifact",
            "mutation CommitArtifact($artifactID: ID!) { commitArtifact(input: {artifactID: $artifactID}) { artifact { id digest } } }",
            new { artifactID = id },
            token
        );
        return ((await GetByIdAsync(id, run.Entity, run.Project, token))!, true);

        async Task<JsonElement> ManifestAsync(string manifestDigest, bool includeUpload)
        {
            var answer = await transport.QueryAsync(
                "CreateArtifactManifest",
                "mutation CreateArtifactManifest($name: String!, $digest: String!, $artifactID: ID!, $baseArtifactID: ID, $entityName: String!, $projectName: String!, $runName: String!, $includeUpload: Boolean!) { createArtifactManifest(input: {name: $name, digest: $digest, artifactID: $artifactID, baseArtifactID: $baseArtifactID, entityName: $entityName, projectName: $projectName, runName: $runName}) { artifactManifest { id file { id uploadUrl @include(if: $includeUpload) uploadHeaders @include(if: $includeUpload) } } } }",
                new
                {
                    name = "wandb_manifest.json",
                    digest = manifestDigest,
                    artifactID = id,
                    baseArtifactID = latest,
                    entityName = run.Entity,
                    projectName = run.Project,
                    runName = run.Id,
                    includeUpload,
                },
                token
            );
            return answer.At("createArtifactManifest", "artifactManifest", "file")
                ?? throw new LaunchException(
                    "ServerAnswerInvalid",
                    LaunchErrorCategory.ProtocolError,
                    $"The server took no manifest for the artifact {name}.",
                    name
                );
        }
    }
#pragma warning restore CA5351

    /// <summary>Makes the run that logs an artifact, and deletes it after: as W&amp;B's own command does (protocol B.8, CLI created jobs).</summary>
    internal async Task<T> WithRunAsync<T>(
        string entity,
        string project,
        string jobType,
        Func<RunPath, Task<T>> work,
        CancellationToken token
    )
    {
        var run = new RunPath(
            entity,
            project,
            await api.UpsertRunAsync(
                new RunUpsert(RunId.New(), entity, project) { JobType = jobType, DisplayName = jobType },
                token
            )
        );
        try
        {
            return await work(run);
        }
        finally
        {
            var id = Convert.ToBase64String(Encoding.UTF8.GetBytes($"Run:v1:{run.Id}:{run.Project}:{run.Entity}"));

            // Also after Ctrl+C, but not for ever; what may stay is an empty run.
            using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(20));
            try
            {
                await transport.QueryAsync(
                    "DeleteRun",
                    "mutation DeleteRun($id: ID!) { deleteRun(input: {id: $id}) { clientMutationId } }",
                    new { id },
                    limit.Token
                );
            }
            catch (Exception e) when (e is LaunchException or OperationCanceledException)
            {
                // How the work ended is what the caller asked for.
            }
        }
    }

    private static ArtifactInfo ToInfo(JsonElement node, string entity, string project) =>
        new(
            node.Text("id") ?? "",
            entity,
            project,
            node.Text("artifactSequence", "name") ?? "",
            node.At("versionIndex") is { ValueKind: JsonValueKind.Number } version ? version.GetInt32() : null,
            [.. node.Items("aliases").Select(a => a.Text("alias")).OfType<string>()],
            node.Text("artifactType", "name") ?? "",
            node.Text("description"),
            node.Text("metadata"),
            node.Time("createdAt")
        );
}
