using System.Security.Cryptography;
using System.Text;
using System.Text.Json.Nodes;

namespace WandbLaunch.Tests;

/// <summary>Artifacts as W&amp;B's own clients make, read, link and delete them.</summary>
// MD5 is W&B's checksum of a file, not a protection.
#pragma warning disable CA5351
public sealed class ClientArtifactTests
{
    private const string Fragment = """
        fragment ArtifactFragment on Artifact {
          __typename id
          artifactSequence { __typename name project { id internalId name entity { name } } }
          versionIndex artifactType { name project { name entityName } } description metadata ttlDurationSeconds ttlIsInherited
          tags { __typename id name } historyStep state size digest commitHash fileCount createdAt updatedAt
          aliases { id alias artifactCollection { __typename name project { id internalId name entity { name } } } }
        }
        """;

    [Fact]
    public async Task A_version_is_made_as_todays_core_makes_it_and_read_with_every_field()
    {
        await using var server = await ClientServer.StartAsync();
        await server.InitAsync("maker");
        var id = await LogAsync(server, "data", "dataset", "one", "maker", "best");
        var data = await server.AskAsync(
            $$"""
            query ArtifactMembershipByName { project(name: "demo", entityName: "local") {
              artifactCollectionMembership(name: "data:best") {
                id versionIndex aliases { id alias } artifactCollection { __typename name project { name } }
                artifact { ...ArtifactFragment createdBy { __typename ... on Run { id name project { name entityName } } ... on User { username } } usedBy { edges { node { name project { name entityName } } } } }
              }
              artifact(name: "data:v0", enableTracking: true) { ...ArtifactFragment currentManifest { file { directUrl } } }
            } }
            {{Fragment}}
            """
        );
        var member = data["project"]!["artifactCollectionMembership"]!;
        Assert.Equal("ArtifactSequence", member["artifactCollection"]!["__typename"]!.ToString());
        Assert.Equal(["best", "latest", "v0"], member["aliases"]!.AsArray().OfType<JsonNode>().Texts("alias"));
        var artifact = member["artifact"]!;
        Assert.Equal(id, artifact["id"]!.ToString());
        Assert.Equal(
            (3L, 1, "COMMITTED", 7L),
            (
                artifact["size"]!.GetValue<long>(),
                artifact["fileCount"]!.GetValue<int>(),
                artifact["state"]!.ToString(),
                artifact["historyStep"]!.GetValue<long>()
            )
        );
        Assert.Equal("demo", artifact["artifactType"]!["project"]!["name"]!.ToString());
        Assert.Equal(["t1"], artifact["tags"]!.AsArray().OfType<JsonNode>().Texts("name"));
        Assert.Equal(
            ("Run", "maker"),
            (artifact["createdBy"]!["__typename"]!.ToString(), artifact["createdBy"]!["name"]!.ToString())
        );
        Assert.Equal(id, data["project"]!["artifact"]!["id"]!.ToString());
        Assert.NotNull(data["project"]!["artifact"]!["currentManifest"]!["file"]!["directUrl"]);
    }

    [Fact]
    public async Task A_version_that_is_begun_twice_under_one_client_id_is_one()
    {
        await using var server = await ClientServer.StartAsync();
        await server.InitAsync("maker");
        const string Begin = """
            mutation CreateArtifact($name: String!) { createArtifact(input: {entityName: "local", projectName: "demo", runName: "maker", artifactTypeName: "job", artifactCollectionName: $name, digest: "d", clientID: "one"}) {
              artifact { id state artifactSequence { name } } } }
            """;
        var first = await server.AskAsync(Begin, new { name = "mine" });
        var second = await server.AskAsync(Begin, new { name = "made-up" });
        Assert.Equal(first.ToJsonString(), second.ToJsonString());
        Assert.Equal("mine", second["createArtifact"]!["artifact"]!["artifactSequence"]!["name"]!.ToString());
    }

    [Fact]
    public async Task Runs_show_what_they_took_and_made()
    {
        await using var server = await ClientServer.StartAsync();
        await server.InitAsync("maker");
        await server.InitAsync("user");
        var id = await LogAsync(server, "data", "dataset", "one", "maker");
        await server.AskAsync(
            "mutation UseArtifact($input: UseArtifactInput!) { useArtifact(input: $input) { artifact { id digest description state createdAt labels metadata } } }",
            new
            {
                input = new
                {
                    artifactID = id,
                    entityName = "local",
                    projectName = "demo",
                    runName = "user",
                    usedAs = "input",
                    artifactEntityName = "local",
                    artifactProjectName = "demo",
                },
            }
        );
        var data = await server.AskAsync(
            """
            query RunArtifacts { project(name: "demo", entityName: "local") {
              maker: run(name: "maker") { outputArtifacts(first: 10) { totalCount edges { node { id } cursor } pageInfo { endCursor hasNextPage } } }
              user: run(name: "user") { inputArtifacts(first: 10) { totalCount edges { node { id usedBy { edges { node { name } } } } cursor usedAs } pageInfo { endCursor hasNextPage } } }
            } }
            """
        );
        Assert.Equal([id], data["project"]!["maker"]!["outputArtifacts"]!.Nodes().Texts("id"));
        var used = data["project"]!["user"]!["inputArtifacts"]!;
        Assert.Equal(1, used["totalCount"]!.GetValue<int>());
        Assert.Equal("input", used["edges"]![0]!["usedAs"]!.ToString());
        Assert.Equal(["user"], Assert.Single(used.Nodes())["usedBy"]!.Nodes().Texts("name"));
    }

    [Fact]
    public async Task Types_collections_and_versions_are_listed_page_by_page()
    {
        await using var server = await ClientServer.StartAsync();
        await server.InitAsync("maker");
        await server.AskAsync(
            "mutation CreateArtifactType($description: String) { createArtifactType(input: {entityName: \"local\", projectName: \"demo\", name: \"dataset\", description: $description}) { artifactType { id } } }",
            new { description = "tables" }
        );
        foreach (var content in new[] { "one", "two", "three" })
        {
            await LogAsync(server, "data", "dataset", content, "maker");
        }

        await LogAsync(server, "other", "model", "m", "maker");
        var data = await server.AskAsync(
            """
            query Listing($cursor: String, $filters: JSONString, $order: String) { project(name: "demo", entityName: "local") {
              artifactTypes(after: $cursor, first: 50) { edges { node { id name description createdAt } cursor } pageInfo { endCursor hasNextPage } totalCount }
              artifactType(name: "dataset") {
                id name description createdAt
                artifactSequences(after: $cursor) { totalCount edges { node { id name description createdAt } cursor } pageInfo { endCursor hasNextPage } }
                artifactCollections(first: 10, filters: $filters, order: $order) { totalCount edges { node { __typename id name description createdAt updatedAt tags { edges { node { id name } } } defaultArtifactType { name } } cursor } pageInfo { endCursor hasNextPage } }
                artifactSequence(name: "data") { __typename name }
                artifactCollection(name: "data") { __typename aliases(first: 10) { edges { node { alias } cursor } pageInfo { endCursor hasNextPage } }
                  first: artifacts(first: 2) { totalCount edges { node { id versionIndex } version cursor } pageInfo { endCursor hasNextPage } } }
              }
              artifactCollections(first: 10) { edges { node { name } } }
            } }
            """,
            new { filters = "{\"name\":{\"$in\":[\"data\"]}}", order = "-createdAt" }
        );
        var project = data["project"]!;
        Assert.Equal(["dataset", "model"], project["artifactTypes"]!.Nodes().Texts("name"));
        Assert.Equal("tables", project["artifactType"]!["description"]!.ToString());
        Assert.Equal(["data"], project["artifactType"]!["artifactCollections"]!.Nodes().Texts("name"));
        Assert.Equal(["data", "other"], project["artifactCollections"]!.Nodes().Texts("name"));
        var page = project["artifactType"]!["artifactCollection"]!["first"]!;
        Assert.Equal(
            (3, true),
            (page["totalCount"]!.GetValue<int>(), page["pageInfo"]!["hasNextPage"]!.GetValue<bool>())
        );
        Assert.Equal(["v2", "v1"], page["edges"]!.AsArray().Select(e => e!["version"]!.ToString()));
        var rest = await server.AskAsync(
            "query Rest($after: String) { project(name: \"demo\", entityName: \"local\") { artifactCollection(name: \"data\") { artifacts(first: 2, after: $after, order: null) { edges { version } pageInfo { hasNextPage } } artifactMembership(aliasName: \"v0\") { files(first: 10) { totalCount edges { node { __typename id name: displayName url sizeBytes storagePath mimetype updatedAt digest md5 directUrl } } pageInfo { hasNextPage } } } } } }",
            new { after = page["pageInfo"]!["endCursor"]!.ToString() }
        );
        var collection = rest["project"]!["artifactCollection"]!;
        Assert.Equal("v0", collection["artifacts"]!["edges"]![0]!["version"]!.ToString());
        Assert.Equal(["a.txt"], collection["artifactMembership"]!["files"]!.Nodes().Texts("name"));
        Assert.Contains(
            "\"odd\"",
            await server.RefusedAsync(
                "{ project(name: \"demo\", entityName: \"local\") { artifactCollections(order: \"odd\") { totalCount } } }"
            ),
            StringComparison.Ordinal
        );
        Assert.Contains(
            "\"odd\"",
            await server.RefusedAsync(
                "{ project(name: \"demo\", entityName: \"local\") { artifactCollections(filters: \"{\\\"odd\\\":1}\") { totalCount } } }"
            ),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task A_version_is_linked_into_a_portfolio_and_found_there()
    {
        await using var server = await ClientServer.StartAsync();
        await server.InitAsync("maker");
        var first = await LogAsync(server, "model-a", "model", "a", "maker");
        var second = await LogAsync(server, "model-b", "model", "b", "maker");
        foreach (var (id, version) in new[] { (first, 0), (second, 1), (first, 0) })
        {
            var linked = await LinkAsync(server, id, "best", "prod");
            Assert.Equal(version, linked["versionIndex"]!.GetValue<int>());
            Assert.Equal(
                "ArtifactPortfolio",
                linked["artifactMembership"]!["artifactCollection"]!["__typename"]!.ToString()
            );
        }

        var data = await server.AskAsync(
            "query Linked($id: ID!) { project(name: \"demo\", entityName: \"local\") { artifact(name: \"best:prod\") { id aliases { alias artifactCollection { name } } } artifactCollection(name: \"best\") { id __typename artifacts { edges { version node { id } } } } } artifact(id: $id) { artifactMemberships { edges { node { versionIndex aliases { alias } artifactCollection { __typename name } } } } } }",
            new { id = first }
        );
        Assert.Equal(first, data["project"]!["artifact"]!["id"]!.ToString());
        var memberships = data["artifact"]!["artifactMemberships"]!.Nodes();
        Assert.Equal(["model-a", "best"], memberships.Select(m => m["artifactCollection"]!["name"]!.ToString()));
        var portfolio = data["project"]!["artifactCollection"]!;
        Assert.Equal([second, first], portfolio["artifacts"]!.Nodes().Texts("id"));
        await server.AskAsync(
            "mutation UnlinkArtifact($input: UnlinkArtifactInput!) { unlinkArtifact(input: $input) { success artifactID } }",
            new { input = new { artifactID = first, artifactPortfolioID = portfolio["id"]!.ToString() } }
        );
        var after = await server.AskAsync(
            "{ project(name: \"demo\", entityName: \"local\") { artifact(name: \"best:prod\") { id } artifactCollection(name: \"best\") { artifacts { edges { node { id } } } } own: artifact(name: \"model-a:latest\") { id } } }"
        );
        Assert.Null(after["project"]!["artifact"]);
        Assert.Equal([second], after["project"]!["artifactCollection"]!["artifacts"]!.Nodes().Texts("id"));
        Assert.Equal(first, after["project"]!["own"]!["id"]!.ToString());
        Assert.Contains(
            "linked into",
            await server.RefusedAsync(Create, Input("best", "model", "x", "maker")),
            StringComparison.Ordinal
        );
        Assert.Contains(
            "of type \"model\"",
            await server.RefusedAsync(Create, Input("model-a", "dataset", "x", "maker")),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task A_version_is_changed_and_gets_aliases_and_tags()
    {
        await using var server = await ClientServer.StartAsync();
        await server.InitAsync("maker");
        var id = await LogAsync(server, "data", "dataset", "one", "maker", "old");
        await server.AskAsync(
            "mutation UpdateArtifact($input: UpdateArtifactInput!) { updateArtifact(input: $input) { artifact { id description metadata tags { name } } } }",
            new
            {
                input = new
                {
                    artifactID = id,
                    description = "words",
                    metadata = "{\"k\":1}",
                    ttlDurationSeconds = 60,
                    tagsToAdd = new[] { new { tagName = "new" } },
                    tagsToDelete = new[] { new { tagName = "t1" } },
                },
            }
        );
        var alias = new
        {
            artifactID = id,
            aliases = new[]
            {
                new
                {
                    entityName = "local",
                    projectName = "demo",
                    artifactCollectionName = "data",
                    alias = "fresh",
                },
            },
        };
        await server.AskAsync(
            "mutation AddAliases($input: AddAliasesInput!) { addAliases(input: $input) { success } }",
            new { input = alias }
        );
        await server.AskAsync(
            "mutation Tags($tags: [TagInput!]!) { createArtifactCollectionTagAssignments(input: {entityName: \"local\", projectName: \"demo\", artifactCollectionName: \"data\", tags: $tags}) { tags { id name tagCategoryName } } }",
            new { tags = new[] { new { tagName = "a" }, new { tagName = "b" } } }
        );
        await server.AskAsync(
            "mutation { deleteArtifactCollectionTagAssignments(input: {entityName: \"local\", projectName: \"demo\", artifactCollectionName: \"data\", tags: [{tagName: \"a\"}]}) { success } }"
        );
        var data = await server.AskAsync(
            "{ project(name: \"demo\", entityName: \"local\") { artifactCollection(name: \"data\") { id tags { edges { node { name } } } } artifact(name: \"data:fresh\") { description metadata ttlDurationSeconds ttlIsInherited tags { name } aliases { alias } } } }"
        );
        var artifact = data["project"]!["artifact"]!;
        Assert.Equal(
            ("words", "{\"k\":1}", 60, false),
            (
                artifact["description"]!.ToString(),
                artifact["metadata"]!.ToString(),
                artifact["ttlDurationSeconds"]!.GetValue<int>(),
                artifact["ttlIsInherited"]!.GetValue<bool>()
            )
        );
        Assert.Equal(["new"], artifact["tags"]!.AsArray().OfType<JsonNode>().Texts("name"));
        Assert.Equal(
            ["fresh", "latest", "old", "v0"],
            artifact["aliases"]!.AsArray().OfType<JsonNode>().Texts("alias")
        );
        Assert.Equal(["b"], data["project"]!["artifactCollection"]!["tags"]!.Nodes().Texts("name"));
        await server.AskAsync(
            "mutation DeleteAliases($input: DeleteAliasesInput!) { deleteAliases(input: $input) { success } }",
            new { input = alias }
        );
        Assert.Null(
            (
                await server.AskAsync(
                    "{ project(name: \"demo\", entityName: \"local\") { artifact(name: \"data:fresh\") { id } } }"
                )
            )["project"]!["artifact"]
        );

        var collection = data["project"]!["artifactCollection"]!["id"]!.ToString();
        var changed = await server.AskAsync(
            "mutation U($id: ID!) { updateArtifactSequence(input: {artifactSequenceID: $id, name: \"renamed\", description: \"d\"}) { artifactCollection { id name description } } }",
            new { id = collection }
        );
        Assert.Equal("renamed", changed["updateArtifactSequence"]!["artifactCollection"]!["name"]!.ToString());
        await server.AskAsync(
            "mutation M($id: ID!) { moveArtifactSequence(input: {artifactSequenceID: $id, destinationArtifactTypeName: \"table\"}) { artifactCollection { id } } }",
            new { id = collection }
        );
        var moved = await server.AskAsync(
            "query A($id: ID!) { artifactCollection(id: $id) { __typename name description aliases { edges { node { alias } } } } project(name: \"demo\", entityName: \"local\") { artifact(name: \"renamed:old\") { artifactType { name } } } }",
            new { id = collection }
        );
        Assert.Equal("renamed", moved["artifactCollection"]!["name"]!.ToString());
        Assert.Equal("table", moved["project"]!["artifact"]!["artifactType"]!["name"]!.ToString());
    }

    [Fact]
    public async Task A_version_with_aliases_is_deleted_with_them_alone()
    {
        await using var server = await ClientServer.StartAsync();
        await server.InitAsync("maker");
        var first = await LogAsync(server, "data", "dataset", "one", "maker");
        var second = await LogAsync(server, "data", "dataset", "two", "maker");
        const string Delete =
            "mutation DeleteArtifact($input: DeleteArtifactInput!) { deleteArtifact(input: $input) { artifact { id state } } }";
        Assert.Contains(
            "latest",
            await server.RefusedAsync(Delete, new { input = new { artifactID = second, deleteAliases = false } }),
            StringComparison.Ordinal
        );
        await server.AskAsync(Delete, new { input = new { artifactID = second, deleteAliases = true } });
        await server.AskAsync(Delete, new { input = new { artifactID = first } });
        var again = await LogAsync(server, "data", "dataset", "two", "maker");
        var data = await server.AskAsync(
            "query V($id: ID!) { artifact(id: $id) { versionIndex } project(name: \"demo\", entityName: \"local\") { artifactCollection(name: \"data\") { id artifacts { totalCount } } } }",
            new { id = again }
        );
        Assert.Equal(2, data["artifact"]!["versionIndex"]!.GetValue<int>());
        Assert.Equal(1, data["project"]!["artifactCollection"]!["artifacts"]!["totalCount"]!.GetValue<int>());
        await server.AskAsync(
            "mutation D($id: ID!) { deleteArtifactSequence(input: {artifactSequenceID: $id}) { artifactCollection { __typename state } } }",
            new { id = data["project"]!["artifactCollection"]!["id"]!.ToString() }
        );
        Assert.Null(
            (
                await server.AskAsync(
                    "{ project(name: \"demo\", entityName: \"local\") { artifactCollection(name: \"data\") { id } artifact(name: \"data:latest\") { id } } }"
                )
            )["project"]!["artifact"]
        );
    }

    private const string Create = """
        mutation CreateArtifact($input: CreateArtifactInput!) { createArtifact(input: $input) { ...CreatedArtifact } }
        fragment CreatedArtifact on CreateArtifactPayload { artifact { id state artifactSequence { latestArtifact { id versionIndex } } } }
        """;

    private static object Input(string name, string type, string content, string run, params string[] aliases) =>
        new
        {
            input = new
            {
                entityName = "local",
                projectName = "demo",
                runName = run,
                artifactTypeName = type,
                artifactCollectionName = name,
                digest = Convert.ToHexString(MD5.HashData(Encoding.UTF8.GetBytes(content))).ToLowerInvariant(),
                digestAlgorithm = "MANIFEST_MD5",
                description = (string?)null,
                aliases = aliases.Select(a => new { artifactCollectionName = name, alias = a }),
                metadata = "{}",
                clientID = Guid.NewGuid().ToString(),
                sequenceClientID = "sequence-" + name,
                enableDigestDeduplication = true,
                historyStep = 7,
                ttlDurationSeconds = (long?)null,
                tags = new[]
                {
                    new
                    {
                        tagName = "t1",
                        attributes = (string?)null,
                        tagCategoryName = (string?)null,
                    },
                },
                storageRegion = (string?)null,
                clientMutationId = "1",
            },
        };

    // The sequence of requests with which a version comes to be, with one file.
    private static async Task<string> LogAsync(
        ClientServer server,
        string name,
        string type,
        string content,
        string run,
        params string[] aliases
    )
    {
        var made = await server.AskAsync(Create, Input(name, type, content, run, aliases));
        var artifact = made["createArtifact"]!["artifact"]!;
        var id = artifact["id"]!.ToString();
        Assert.Equal("PENDING", artifact["state"]!.ToString());
        var bytes = Encoding.UTF8.GetBytes(content);
        var md5 = Convert.ToBase64String(MD5.HashData(bytes));
        var manifest = new JsonObject
        {
            ["version"] = 1,
            ["contents"] = new JsonObject
            {
                ["a.txt"] = new JsonObject { ["digest"] = md5, ["size"] = bytes.Length },
            },
        }.ToJsonString();
        var asked = await server.AskAsync(
            """
            mutation CreateArtifactManifest($id: ID!, $digest: String!) { createArtifactManifest(input: {artifactID: $id, name: "wandb_manifest.json", digest: $digest, entityName: "local", projectName: "demo", type: FULL}) {
              artifactManifest { id file { id name displayName uploadUrl uploadHeaders } } } }
            """,
            new { id, digest = Convert.ToBase64String(MD5.HashData(Encoding.UTF8.GetBytes(manifest))) }
        );
        var files = await server.AskAsync(
            """
            mutation CreateArtifactFiles($artifactFiles: [CreateArtifactFileSpecInput!]!, $storageLayout: ArtifactStorageLayout!) { createArtifactFiles(input: {artifactFiles: $artifactFiles, storageLayout: $storageLayout}) {
              files { edges { node { storagePath uploadUrl uploadHeaders uploadMultipartUrls { uploadID uploadUrlParts { partNumber uploadUrl } } artifact { id } } } } } }
            """,
            new
            {
                artifactFiles = new[]
                {
                    new
                    {
                        artifactID = id,
                        name = "a.txt",
                        md5,
                        artifactManifestID = asked["createArtifactManifest"]!["artifactManifest"]!["id"]!.ToString(),
                    },
                },
                storageLayout = "V2",
            }
        );
        using var client = new HttpClient();
        foreach (
            var (url, body) in new[]
            {
                (
                    asked["createArtifactManifest"]!["artifactManifest"]!["file"]!["uploadUrl"]!.ToString(),
                    Encoding.UTF8.GetBytes(manifest)
                ),
                (Assert.Single(files["createArtifactFiles"]!["files"]!.Nodes())["uploadUrl"]!.ToString(), bytes),
            }
        )
        {
            using var put = await client.PutAsync(new Uri(url), new ByteArrayContent(body));
            Assert.True(put.IsSuccessStatusCode, put.ToString());
        }

        await server.AskAsync(
            "mutation CommitArtifact($artifactID: ID!) { commitArtifact(input: {artifactID: $artifactID}) { artifact { id digest } } }",
            new { artifactID = id }
        );
        return id;
    }

    private static async Task<JsonNode> LinkAsync(ClientServer server, string id, string portfolio, string alias) =>
        (
            await server.AskAsync(
                """
                mutation LinkArtifact($input: LinkArtifactInput!, $includeAliases: Boolean = true) { linkArtifact(input: $input) {
                  versionIndex artifactMembership { id versionIndex aliases { id alias } artifactCollection { __typename name } artifact { id aliases @include(if: $includeAliases) { alias } } } } }
                """,
                new
                {
                    input = new
                    {
                        artifactID = id,
                        artifactPortfolioName = portfolio,
                        entityName = "local",
                        projectName = "demo",
                        aliases = new[] { new { artifactCollectionName = portfolio, alias } },
                    },
                }
            )
        )["linkArtifact"]!;
}
