using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json.Nodes;
using WandbLaunch.Server;

namespace WandbLaunch.Tests;

/// <summary>A server of its own, asked over HTTP as W&amp;B's clients ask.</summary>
internal sealed class ClientServer : IAsyncDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("wandblaunch-clients-").FullName;
    private readonly HttpClient _client = new();

    private ClientServer() { }

    internal LaunchServer Server { get; private set; } = null!;

    internal string Log =>
        File.Exists(DatabasePath + ".errors.log") ? File.ReadAllText(DatabasePath + ".errors.log") : "";

    private string DatabasePath => Path.Combine(_folder, "w.db");

    internal static async Task<ClientServer> StartAsync(
        Func<LaunchServerOptions, LaunchServerOptions>? change = null,
        Action<string>? before = null
    )
    {
        var server = new ClientServer();
        before?.Invoke(server.DatabasePath);
        var options = new LaunchServerOptions(server.DatabasePath, "127.0.0.1", 0, Fixture.Key);
        server.Server = await LaunchServer.StartAsync(change?.Invoke(options) ?? options);
        server._client.BaseAddress = new Uri(server.Server.Url);
        server._client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue(
            "Basic",
            Convert.ToBase64String(Encoding.UTF8.GetBytes("api:" + Fixture.Key))
        );
        server._client.DefaultRequestHeaders.UserAgent.ParseAdd("W&B-Internal-Client/0.12.21");
        return server;
    }

    /// <summary>The whole answer, errors and all.</summary>
    internal async Task<JsonNode> PostAsync(string document, object? variables = null)
    {
        using var response = await _client.PostAsJsonAsync("/graphql", new { query = document, variables });
        return JsonNode.Parse(await response.Content.ReadAsStringAsync())!;
    }

    /// <summary>The data of an answer without errors.</summary>
    internal async Task<JsonNode> AskAsync(string document, object? variables = null)
    {
        var answer = await PostAsync(document, variables);
        Assert.True(answer["errors"] is null, answer.ToJsonString());
        return answer["data"]!;
    }

    /// <summary>The message of the one error of an answer.</summary>
    internal async Task<string> RefusedAsync(string document, object? variables = null)
    {
        var answer = await PostAsync(document, variables);
        var errors = answer["errors"] as JsonArray;
        Assert.True(errors is { Count: > 0 }, answer.ToJsonString());
        return errors![0]!["message"]!.ToString();
    }

    /// <summary>A run as the SDK begins one.</summary>
    internal async Task<string> InitAsync(string name, string? config = null, string? group = null, string? tags = null)
    {
        var data = await AskAsync(
            """
            mutation UpsertBucket($name: String, $project: String, $entity: String, $config: JSONString, $host: String, $group: String, $tags: [String!]) {
              upsertBucket(input: {name: $name, modelName: $project, entityName: $entity, config: $config, host: $host, groupName: $group, tags: $tags}) {
                bucket { id name displayName project { name entity { name } } }
                inserted
                serverSettings { serverMessages { utfText plainText htmlText messageType messageLevel } }
              }
            }
            """,
            new
            {
                name,
                project = "demo",
                entity = "local",
                config,
                host = "box",
                group,
                tags = tags?.Split(','),
            }
        );
        Assert.Empty(data["upsertBucket"]!["serverSettings"]!["serverMessages"]!.AsArray());
        return data["upsertBucket"]!["bucket"]!["id"]!.ToString();
    }

    /// <summary>Lines of one of a run's files.</summary>
    internal Task StreamAsync(string run, string file, int offset, params string[] content) =>
        SendAsync(
            run,
            new JsonObject
            {
                ["files"] = new JsonObject
                {
                    [file] = new JsonObject
                    {
                        ["offset"] = offset,
                        ["content"] = new JsonArray([.. content.Select(c => (JsonNode)c)]),
                    },
                },
            }
        );

    /// <summary>The run's last word.</summary>
    internal Task EndAsync(string run, int exitCode = 0) =>
        SendAsync(run, new JsonObject { ["complete"] = true, ["exitcode"] = exitCode });

    internal Task BeatAsync(string run) => SendAsync(run, []);

    internal async Task<string> StateAsync(string run) =>
        (
            await AskAsync(
                "query RunState($name: String!) { project(name: \"demo\", entityName: \"local\") { run(name: $name) { state } } }",
                new { name = run }
            )
        )["project"]!["run"]!["state"]!.ToString();

    /// <summary>Waits for what another thread of the server does.</summary>
    internal static async Task UntilAsync(Func<Task<bool>> isSo)
    {
        for (var i = 0; i < 200; i++)
        {
            if (await isSo())
            {
                return;
            }

            await Task.Delay(50);
        }

        Assert.Fail("It did not come within ten seconds.");
    }

    public async ValueTask DisposeAsync()
    {
        _client.Dispose();
        await Server.DisposeAsync();
        Directory.Delete(_folder, true);
    }

    private async Task SendAsync(string run, JsonObject body)
    {
        using var response = await _client.PostAsJsonAsync($"/files/local/demo/{run}/file_stream", body);
        Assert.True(response.IsSuccessStatusCode, await response.Content.ReadAsStringAsync());
    }
}

/// <summary>What the tests of clients read from answers.</summary>
internal static class ClientAnswers
{
    /// <summary>The nodes of a connection.</summary>
    internal static List<JsonNode> Nodes(this JsonNode connection) =>
        [.. connection["edges"]!.AsArray().Select(e => e!["node"]!)];

    internal static string[] Texts(this IEnumerable<JsonNode> nodes, string field) =>
        [.. nodes.Select(n => n[field]!.ToString())];
}
