using System.Globalization;
using System.Text.Json.Nodes;
using Microsoft.Data.Sqlite;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Tests;

/// <summary>Databases of before the server kept what W&amp;B's own clients ask for.</summary>
public sealed class ClientMigrationTests
{
    private const int Before = 3;

    [Fact]
    public async Task What_was_kept_before_is_read_as_clients_ask()
    {
        await using var server = await ClientServer.StartAsync(before: MakeFormer);
        var data = await server.AskAsync(
            """
            { project(name: "demo", entityName: "local") {
              run(name: "run00001") { historyKeys history(minStep: 10, maxStep: 31) all: history(samples: 10) }
              artifactTypes { edges { node { name } } }
              artifactCollections { edges { node { __typename name createdAt artifacts { edges { version } } aliases { edges { node { alias } } } } } }
              artifact(name: "data:best") { versionIndex updatedAt tags { name } createdBy { ... on Run { name } } }
            } }
            """
        );
        var run = data["project"]!["run"]!;
        Assert.Equal(30, run["historyKeys"]!["lastStep"]!.GetValue<int>());
        Assert.Equal(
            "{\"typeCounts\":[{\"type\":\"number\",\"count\":2}]}",
            run["historyKeys"]!["keys"]!["loss"]!.ToJsonString()
        );
        Assert.Equal(
            [10, 30],
            run["history"]!.AsArray().Select(r => JsonNode.Parse(r!.ToString())!["_step"]!.GetValue<int>())
        );
        Assert.Equal(4, run["all"]!.AsArray().Count);
        Assert.Equal(["dataset"], data["project"]!["artifactTypes"]!.Nodes().Texts("name"));
        var collection = Assert.Single(data["project"]!["artifactCollections"]!.Nodes());
        Assert.Equal(
            ("ArtifactSequence", "data", "2026-01-01T00:00:00.000"),
            (collection["__typename"]!.ToString(), collection["name"]!.ToString(), collection["createdAt"]!.ToString())
        );
        Assert.Equal(["v1", "v0"], collection["artifacts"]!["edges"]!.AsArray().Select(e => e!["version"]!.ToString()));
        Assert.Equal("run00001", data["project"]!["artifact"]!["createdBy"]!["name"]!.ToString());

        // And more is added to it.
        await server.StreamAsync("run00001", "wandb-history.jsonl", 4, "{\"_step\":31,\"loss\":0.1}");
        var after = await server.AskAsync(
            "{ project(name: \"demo\", entityName: \"local\") { run(name: \"run00001\") { historyKeys } } }"
        );
        Assert.Equal(31, after["project"]!["run"]!["historyKeys"]!["lastStep"]!.GetValue<int>());
    }

    [Fact]
    public async Task Rows_that_are_added_before_anybody_asked_are_counted_with_the_others()
    {
        await using var server = await ClientServer.StartAsync(before: MakeFormer);
        await server.StreamAsync("run00001", "wandb-history.jsonl", 4, "{\"_step\":31,\"loss\":0.1}");
        var data = await server.AskAsync(
            "{ project(name: \"demo\", entityName: \"local\") { run(name: \"run00001\") { historyKeys } } }"
        );
        Assert.Equal(
            "{\"typeCounts\":[{\"type\":\"number\",\"count\":3}]}",
            data["project"]!["run"]!["historyKeys"]!["keys"]!["loss"]!.ToJsonString()
        );
    }

    private static void MakeFormer(string path)
    {
        using var connection = new SqliteConnection($"Data Source={path};Pooling=false");
        connection.Open();
        foreach (var step in DatabaseSchema.Steps.Where(s => s.Version <= Before))
        {
            step.Run(connection);
        }

        Database.Execute(
            connection,
            """
            INSERT INTO projects VALUES (7, 'local', 'demo', NULL, '2026-01-01T00:00:00.000');
            INSERT INTO runs (id, project, name, state, user, created_at, heartbeat_at) VALUES (3, 7, 'run00001', 'finished', 'me', '2026-01-01T00:00:01.000', '2026-01-01T00:00:02.000');
            INSERT INTO history (run, line, row) VALUES (3, 0, '{"_step":0,"loss":1.5}'), (3, 1, '{"_step":10,"loss":0.5}'), (3, 2, '{"other":1}'), (3, 3, '{"_step":30,"other":2}');
            INSERT INTO artifacts (id, entity, project, type, name, version, digest, state, created_at, run, manifest) VALUES
              (1, 'local', 'demo', 'dataset', 'data', 0, 'a', 'COMMITTED', '2026-01-01T00:00:00.000', 'run00001', x'7b7d'),
              (2, 'local', 'demo', 'dataset', 'data', 1, 'b', 'COMMITTED', '2026-01-02T00:00:00.000', NULL, x'7b7d');
            INSERT INTO artifact_aliases VALUES ('local', 'demo', 'data', 'best', 1), ('local', 'demo', 'data', 'latest', 2);
            """ + string.Create(CultureInfo.InvariantCulture, $"PRAGMA user_version = {Before};")
        );
    }
}
