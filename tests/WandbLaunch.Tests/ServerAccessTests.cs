using System.Net;
using System.Net.Http.Headers;
using System.Net.Http.Json;
using System.Text;
using System.Text.Json.Nodes;
using GraphQL.Types;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.DependencyInjection;
using WandbLaunch.Server;
using WandbLaunch.Server.Audit;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;
using WandbLaunch.Server.Schema;

namespace WandbLaunch.Tests;

/// <summary>Who may ask the server for what: every endpoint and every mutation that it has, so that a new one without a word on access fails here.</summary>
public sealed class ServerAccessTests : IAsyncLifetime
{
    // In whatever team alpha has, and nobody else may see.
    private const string Marker = "s3cr3t-of-alpha";

    // Of its bytes: an artifact's content is found by it.
    private const string MarkerMd5 = "f772d0898a611e94be4b55091f9b8494";

    private readonly List<HttpClient> _clients = [];
    private LaunchServer _server = null!;
    private HttpClient _admin = null!;
    private HttpClient _member = null!;
    private HttpClient _reader = null!;
    private HttpClient _foreign = null!;
    private string _queue = "";
    private string _item = "";
    private string _agent = "";
    private string _run = "";
    private string _sweep = "";
    private string _sweepAgent = "";
    private string _artifact = "";
    private string _artifactNumber = "";
    private string _sequence = "";
    private string _portfolio = "";
    private string _file = "";

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync()
    {
        _server = await LaunchServer.StartAsync(
            Path.Combine(Fixture.NewFolder("access"), "wandb.db"),
            "127.0.0.1",
            0,
            Fixture.Key
        );
        _admin = Client(Fixture.Key);
        _member = Client(await UserAsync("ada", "Member", "alpha"));
        _reader = Client(await UserAsync("rita", "ReadOnly", "alpha"));
        _foreign = Client(await UserAsync("bob", "Member", "beta"));
        await MakeAsync();
    }

    public async ValueTask DisposeAsync()
    {
        _clients.ForEach(c => c.Dispose());
        await _server.DisposeAsync();
    }

    [Fact]
    public void Every_endpoint_says_who_may_use_it() =>
        Assert.Empty(
            Endpoints().Where(e => e.Metadata.GetMetadata<AccessRule>() is null).Select(e => e.RoutePattern.RawText)
        );

    [Fact]
    public void Every_mutation_says_whose_it_changes()
    {
        var known = _server.Services.GetRequiredService<MutationAccess>().Known;
        Assert.Equal(Mutations().Select(m => m.Name).Order(), known.Order());
    }

    [Fact]
    public void Every_endpoint_and_mutation_that_changes_something_says_what_is_noted_of_it()
    {
        Assert.Empty(
            Endpoints()
                .Where(e =>
                    e.Metadata.GetMetadata<AccessRule>()?.Right != Right.Read
                    && e.Metadata.GetMetadata<IHttpMethodMetadata>()?.HttpMethods.Contains("GET") != true
                    && e.Metadata.GetMetadata<AuditRule>() is null
                )
                .Select(e => e.RoutePattern.RawText)
        );
        Assert.Equal(Mutations().Select(m => m.Name).Order(), MutationAudit.Known.Order());
    }

    [Fact]
    public async Task The_log_says_who_did_what_and_who_was_refused()
    {
        await AskAsync(
            _member,
            "mutation { popFromRunQueue(input: {entityName: \"alpha\", projectName: \"demo\", queueName: \"q\"}) { runQueueItemId } }"
        );

        // Nothing was there any more: nobody took anything.
        await AskAsync(
            _member,
            "mutation { popFromRunQueue(input: {entityName: \"alpha\", projectName: \"demo\", queueName: \"q\"}) { runQueueItemId } }"
        );
        await RefusedAsync(_foreign, $"mutation {{ stopRun(input: {{id: \"{_run}\"}}) {{ success }} }}");
        using var denied = await _reader.DeleteAsync($"/page/queues/{_queue}", Token);
        await AskAsync(_member, $"mutation {{ deleteRun(input: {{id: \"{_run}\"}}) {{ clientMutationId }} }}");
        (await _member.DeleteAsync($"/page/queues/{_queue}", Token)).EnsureSuccessStatusCode();
        var all = await AuditAsync("");
        Assert.Equal(
            [
                ("local", "Created", "user ada"),
                ("local", "Created", "user rita"),
                ("local", "Created", "user bob"),
                ("ada", "Created", "name demo"),
                ("ada", "Created", "name r1, state running"),
                ("ada", "Created", "queue q"),
                ("ada", "Changed", "queue q"),
                ("ada", "Queued", $"queue q, item {_item}"),
                ("ada", "Created", $"host {Marker}"),
            ],
            all.Take(9)
        );
        Assert.Equal(
            [
                ("ada", "Popped", $"queue q, item {_item}"),
                ("bob", "Refused", "run r1"),
                ("rita", "Refused", $"id {_queue}"),
                ("ada", "Deleted", "run r1"),
                ("ada", "Deleted", "queue q"),
            ],
            all.TakeLast(5)
        );
        Assert.Equal([("bob", "Refused", "run r1")], await AuditAsync("?user=BOB&action=Refused"));
        Assert.Empty(await AuditAsync("?since=2999-01-01"));
        Assert.Equal(all, await AuditAsync("?since=2020-01-01"));
        using var foreign = await _member.GetAsync("/audit", Token);
        Assert.Equal(HttpStatusCode.Forbidden, foreign.StatusCode);

        async Task<List<(string User, string Action, string Subject)>> AuditAsync(string query)
        {
            var answer = JsonNode.Parse(await _admin.GetStringAsync("/audit" + query, Token))!;
            Assert.All(answer["entries"]!.AsArray(), e => Assert.Equal("127.0.0.1", e!["address"]!.ToString()));
            return
            [
                .. answer["entries"]!
                    .AsArray()
                    .Select(e => (e!["user"]!.ToString(), e["action"]!.ToString(), e["subject"]!.ToString())),
            ];
        }
    }

    [Fact]
    public async Task A_read_only_key_changes_nothing_by_any_endpoint()
    {
        var tried = 0;
        foreach (var (endpoint, method) in Methods().Where(m => m.Method is not ("GET" or "HEAD")))
        {
            var rule = endpoint.Metadata.GetMetadata<AccessRule>()!;
            if (rule.Right == Right.Read)
            {
                // Asked with another verb, and nothing changes by it: queries, and the session of one's own.
                Assert.True(endpoint.RoutePattern.RawText is "/graphql" or "/session" or "/session/link");
                continue;
            }

            using var response = await _reader.SendAsync(Request(endpoint, method), Token);
            Assert.True(
                response.StatusCode == HttpStatusCode.Forbidden,
                $"{method} {endpoint.RoutePattern.RawText}: {response.StatusCode}"
            );
            tried++;
        }

        Assert.True(tried > 15);
    }

    [Fact]
    public async Task A_read_only_key_and_one_of_another_team_are_refused_every_mutation()
    {
        var mutations = Mutations().ToList();
        Assert.True(mutations.Count > 40);
        foreach (var who in new[] { _reader, _foreign })
        {
            foreach (var mutation in mutations)
            {
                var error = await MutateAsync(who, mutation);
                Assert.True(
                    error?.StartsWith("permission denied", StringComparison.Ordinal) == true,
                    $"{mutation.Name}: {error}"
                );
            }
        }

        // Whose it is comes past the check, whatever the mutation says of its input then.
        foreach (var mutation in mutations)
        {
            var error = await MutateAsync(_member, mutation);
            Assert.True(
                error?.StartsWith("permission denied", StringComparison.Ordinal) != true,
                $"{mutation.Name}: {error}"
            );
        }
    }

    [Fact]
    public async Task Another_team_sees_nothing_by_any_endpoint_and_a_reader_does()
    {
        var seen = 0;
        foreach (
            var (endpoint, method) in Methods()
                .Where(m =>
                    m.Method == "GET"
                    && m.Endpoint.RoutePattern.RawText
                        is not ("/page/events" or "/{**any}" or "/assets/{version}/{name}")
                )
        )
        {
            using var foreign = await _foreign.SendAsync(Request(endpoint, method), Token);
            var text = await foreign.Content.ReadAsStringAsync(Token);
            Assert.False(text.Contains(Marker, StringComparison.Ordinal), $"{endpoint.RoutePattern.RawText}: {text}");
            using var own = await _reader.SendAsync(Request(endpoint, method), Token);
            if ((await own.Content.ReadAsStringAsync(Token)).Contains(Marker, StringComparison.Ordinal))
            {
                seen++;
            }

            // Changing is another matter.
            using var put = await _foreign.SendAsync(Request(endpoint, "PUT"), Token);
            Assert.False(put.IsSuccessStatusCode);
        }

        Assert.True(seen >= 10, $"{seen} answers had it for the reader.");
    }

    [Fact]
    public async Task Another_team_finds_nothing_by_any_query_and_a_reader_does()
    {
        const string Runs = "edges { node { name displayName project { description } } }";
        var queries = new Dictionary<string, string>(StringComparer.Ordinal)
        {
            ["project"] = $"project(name: \"demo\", entityName: \"alpha\") {{ description runs {{ {Runs} }} }}",
            ["model"] = "model(name: \"demo\", entityName: \"alpha\") { description }",
            ["projects"] = "projects(entityName: \"alpha\") { edges { node { description } } }",
            ["models"] = "models { edges { node { description } } }",
            ["entity"] =
                "entity(name: \"alpha\") { storageBytes members { name } projects { edges { node { description } } } project(name: \"demo\") { description } }",
            ["artifact"] =
                $"artifact(id: \"{_artifact}\") {{ description createdBy {{ ... on Run {{ displayName }} }} }}",
            ["artifactCollection"] =
                $"artifactCollection(id: \"{_sequence}\") {{ artifacts {{ edges {{ node {{ description }} }} }} }}",
            ["launchAgent"] = $"launchAgent(id: \"{_agent}\") {{ hostname }}",
            ["clientIDMapping"] = "clientIDMapping(clientID: \"client-1\") { serverID }",
            ["viewer"] = "viewer { username teams { edges { node { name } } } }",
            ["users"] = "users { edges { node { username } } }",
            ["serverInfo"] = "serverInfo { features { name } }",
        };
        var schema = _server.Services.GetRequiredService<Lazy<ISchema>>().Value;
        Assert.Equal(schema.Query.Fields.Select(f => f.Name).Order(), queries.Keys.Order());
        foreach (var (name, query) in queries)
        {
            var foreign = (await AskAsync(_foreign, "{ " + query + " }")).ToJsonString();
            Assert.DoesNotContain(Marker, foreign, StringComparison.Ordinal);
            Assert.DoesNotContain("ada", foreign, StringComparison.Ordinal);
            var own = (await AskAsync(_reader, "{ " + query + " }")).ToJsonString();
            if (name is not ("clientIDMapping" or "viewer" or "users" or "serverInfo"))
            {
                Assert.Contains(Marker, own, StringComparison.Ordinal);
            }
        }

        Assert.Null(
            (await AskAsync(_foreign, "{ clientIDMapping(clientID: \"client-1\") { serverID } }"))["clientIDMapping"]
        );
        Assert.NotNull(
            (await AskAsync(_reader, "{ clientIDMapping(clientID: \"client-1\") { serverID } }"))["clientIDMapping"]
        );
    }

    [Fact]
    public async Task A_private_queue_is_its_makers_and_the_admins()
    {
        var other = Client(await UserAsync("carl", "Member", "alpha"));
        await AskAsync(
            _member,
            "mutation { createRunQueue(input: {entityName: \"alpha\", projectName: \"demo\", queueName: \"mine\", access: USER}) { queueID } }"
        );
        const string Queues = "{ project(name: \"demo\", entityName: \"alpha\") { runQueues { name createdBy } } }";
        Assert.Equal(["q", "mine"], await NamesAsync(_member));
        Assert.Equal(["q", "mine"], await NamesAsync(_admin));
        Assert.Equal(["q"], await NamesAsync(other));
        const string Push =
            "mutation { pushToRunQueueByName(input: {entityName: \"alpha\", projectName: \"demo\", queueName: \"mine\", runSpec: \"{}\"}) { runQueueItemId } }";
        Assert.StartsWith("permission denied", await RefusedAsync(other, Push), StringComparison.Ordinal);
        using var many = await other.PostAsJsonAsync(
            "/queues/push?entity=alpha&project=demo&queue=mine",
            new[] { new { runSpec = new { uri = "x" } } },
            Token
        );
        Assert.Equal(HttpStatusCode.Forbidden, many.StatusCode);
        Assert.NotNull((await AskAsync(_member, Push))["pushToRunQueueByName"]!["runQueueItemId"]);

        async Task<IEnumerable<string>> NamesAsync(HttpClient who) =>
            (await AskAsync(who, Queues))["project"]!["runQueues"]!.AsArray().Select(q => q!["name"]!.ToString());
    }

    [Fact]
    public async Task Nobody_queues_a_run_for_a_team_of_others()
    {
        const string Push =
            "mutation { pushToRunQueue(input: {queueID: \"ID\", runSpec: \"{\\\"uri\\\": \\\"x\\\", \\\"entity\\\": \\\"beta\\\"}\"}) { runQueueItemId } }";
        Assert.StartsWith(
            "permission denied",
            await RefusedAsync(_member, Push.Replace("ID\"", _queue + "\"", StringComparison.Ordinal)),
            StringComparison.Ordinal
        );
        using var many = await _member.PostAsJsonAsync(
            "/queues/push?entity=alpha&project=demo&queue=q",
            new[] { new { runSpec = new { uri = "x", entity = "beta" } } },
            Token
        );
        Assert.Equal(HttpStatusCode.Forbidden, many.StatusCode);
    }

    [Fact]
    public async Task A_signed_address_does_what_its_user_may_and_ends_with_the_user()
    {
        var address = (
            await AskAsync(
                _reader,
                "{ project(name: \"demo\", entityName: \"alpha\") { run(name: \"r1\") { files { edges { node { directUrl url(upload: true) } } } } } }"
            )
        )["project"]!["run"]!["files"]!["edges"]![0]!["node"]!;
        using var stranger = new HttpClient();
        Assert.Contains(
            Marker,
            await stranger.GetStringAsync(address["directUrl"]!.ToString(), Token),
            StringComparison.Ordinal
        );

        // Asked for an upload, it is signed for one: a reader's is refused where it is used.
        using var upload = await stranger.PutAsync(address["url"]!.ToString(), new StringContent("x"), Token);
        Assert.Equal(HttpStatusCode.Forbidden, upload.StatusCode);
        using var forged = await stranger.GetAsync(
            address["directUrl"]!.ToString().Replace("user=2", "user=1", StringComparison.Ordinal),
            Token
        );
        Assert.Equal(HttpStatusCode.Unauthorized, forged.StatusCode);
        (await _admin.DeleteAsync("/users/rita", Token)).EnsureSuccessStatusCode();
        using var after = await stranger.GetAsync(address["directUrl"]!.ToString(), Token);
        Assert.Equal(HttpStatusCode.Unauthorized, after.StatusCode);
    }

    [Fact]
    public async Task What_came_from_a_key_ends_with_it()
    {
        // As somebody who has found it: signed in, with a link to sign in again, and with the address of a file.
        var key = await UserAsync("dora", "ReadOnly", "alpha");
        using var browser = new HttpClient(new SocketsHttpHandler { UseCookies = true })
        {
            BaseAddress = new Uri(_server.Url),
        };
        using var signedIn = await browser.PostAsJsonAsync("/session", new { key }, Token);
        browser.DefaultRequestHeaders.Add(
            "X-WandbLaunch-Session",
            JsonNode.Parse(await signedIn.Content.ReadAsStringAsync(Token))!["token"]!.ToString()
        );
        using var made = await browser.PostAsJsonAsync("/session/link", new { }, Token);
        Assert.Equal(HttpStatusCode.OK, made.StatusCode);
        var link = JsonNode.Parse(await made.Content.ReadAsStringAsync(Token))!["code"]!.ToString();
        using var keyed = Client(key);
        var address = (
            await AskAsync(
                keyed,
                "{ project(name: \"demo\", entityName: \"alpha\") { run(name: \"r1\") { files { edges { node { directUrl } } } } } }"
            )
        )["project"]!["run"]!["files"]!["edges"]![0]!["node"]!["directUrl"]!.ToString();
        using var stranger = new HttpClient { BaseAddress = new Uri(_server.Url) };
        (await stranger.GetAsync(address, Token)).EnsureSuccessStatusCode();
        (await browser.GetAsync("/page/me", Token)).EnsureSuccessStatusCode();

        using var changed = await _admin.PostAsJsonAsync("/users/dora", new { newKey = true }, Token);
        changed.EnsureSuccessStatusCode();
        Assert.Equal(HttpStatusCode.Unauthorized, (await keyed.GetAsync("/page/me", Token)).StatusCode);
        Assert.Equal(HttpStatusCode.Unauthorized, (await browser.GetAsync("/page/me", Token)).StatusCode);
        Assert.Equal(HttpStatusCode.Unauthorized, (await stranger.GetAsync(address, Token)).StatusCode);
        using var again = await stranger.PostAsJsonAsync("/session", new { link }, Token);
        Assert.Equal(HttpStatusCode.Unauthorized, again.StatusCode);
    }

    [Fact]
    public async Task The_page_is_signed_in_with_a_users_key_and_tells_what_the_user_may_see()
    {
        var key = await UserAsync("dora", "Member", "beta");
        using var browser = new HttpClient(new SocketsHttpHandler { UseCookies = true })
        {
            BaseAddress = new Uri(_server.Url),
        };
        using var signedIn = await browser.PostAsJsonAsync("/session", new { key }, Token);
        signedIn.EnsureSuccessStatusCode();
        var token = JsonNode.Parse(await signedIn.Content.ReadAsStringAsync(Token))!["token"]!.ToString();
        browser.DefaultRequestHeaders.Add("X-WandbLaunch-Session", token);
        var me = JsonNode.Parse(await browser.GetStringAsync("/page/me", Token))!;
        Assert.Equal(("dora", "Member"), (me["name"]!.ToString(), me["role"]!.ToString()));
        using var stream = await browser.SendAsync(
            new HttpRequestMessage(HttpMethod.Get, "/page/events"),
            HttpCompletionOption.ResponseHeadersRead,
            Token
        );
        using var lines = new StreamReader(await stream.Content.ReadAsStreamAsync(Token));
        await lines.ReadLineAsync(Token);

        // What another team does is not told; what comes after it is.
        await AskAsync(_member, Upsert("alpha", "r1", "state: \"running\""));
        await AskAsync(_foreign, Upsert("beta", "b1", ""));
        string? line;
        do
        {
            line = await lines.ReadLineAsync(Token).AsTask().WaitAsync(TimeSpan.FromSeconds(60), Token);
            Assert.DoesNotContain("alpha/", line ?? "", StringComparison.Ordinal);
        } while (line is not null && !line.Contains("beta/demo/b1", StringComparison.Ordinal));

        Assert.NotNull(line);

        // It ends with the user.
        (await _admin.DeleteAsync("/users/dora", Token)).EnsureSuccessStatusCode();
        await AskAsync(_foreign, Upsert("beta", "b2", ""));
        while (await lines.ReadLineAsync(Token).AsTask().WaitAsync(TimeSpan.FromSeconds(60), Token) is not null) { }

        using var over = await browser.GetAsync("/page/me", Token);
        Assert.Equal(HttpStatusCode.Unauthorized, over.StatusCode);

        static string Upsert(string entity, string run, string more) =>
            $"mutation {{ upsertBucket(input: {{entityName: \"{entity}\", modelName: \"demo\", name: \"{run}\" {more}}}) {{ bucket {{ id }} }} }}";
    }

    private async Task<string> UserAsync(string name, string role, params string[] teams)
    {
        using var response = await _admin.PostAsJsonAsync(
            "/users",
            new
            {
                name,
                role,
                teams,
            },
            Token
        );
        response.EnsureSuccessStatusCode();
        return JsonNode.Parse(await response.Content.ReadAsStringAsync(Token))!["key"]!.ToString();
    }

    private HttpClient Client(string key)
    {
        var client = new HttpClient(new SocketsHttpHandler { UseCookies = false })
        {
            BaseAddress = new Uri(_server.Url),
        };
        client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue(
            "Basic",
            Convert.ToBase64String(Encoding.UTF8.GetBytes("api:" + key))
        );
        _clients.Add(client);
        return client;
    }

    // One of each kind of thing, in alpha.
    private async Task MakeAsync()
    {
        await AskAsync(
            _member,
            $"mutation {{ upsertModel(input: {{entityName: \"alpha\", name: \"demo\", description: \"{Marker}\"}}) {{ model {{ id }} }} }}"
        );
        _run = (
            await AskAsync(
                _member,
                $"mutation {{ upsertBucket(input: {{entityName: \"alpha\", modelName: \"demo\", name: \"r1\", displayName: \"{Marker}\", state: \"running\"}}) {{ bucket {{ id }} }} }}"
            )
        )["upsertBucket"]!["bucket"]!["id"]!.ToString();
        using var put = await _member.PutAsync("/files/alpha/demo/r1/note.txt", new StringContent(Marker), Token);
        put.EnsureSuccessStatusCode();
        using var lines = await _member.PostAsJsonAsync(
            "/files/alpha/demo/r1/file_stream",
            new JsonObject
            {
                ["files"] = new JsonObject
                {
                    ["output.log"] = new JsonObject { ["offset"] = 0, ["content"] = new JsonArray(Marker + "\n") },
                    ["wandb-history.jsonl"] = new JsonObject
                    {
                        ["offset"] = 0,
                        ["content"] = new JsonArray($"{{\"_step\": 0, \"{Marker}\": 1}}"),
                    },
                },
            },
            Token
        );
        lines.EnsureSuccessStatusCode();
        _file = (
            await AskAsync(
                _member,
                "{ project(name: \"demo\", entityName: \"alpha\") { run(name: \"r1\") { files { edges { node { id } } } } } }"
            )
        )["project"]!["run"]!["files"]!["edges"]![0]!["node"]!["id"]!.ToString();
        _queue = (
            await AskAsync(
                _member,
                "mutation { createRunQueue(input: {entityName: \"alpha\", projectName: \"demo\", queueName: \"q\", access: PROJECT}) { queueID } }"
            )
        )["createRunQueue"]!["queueID"]!.ToString();
        await AskAsync(
            _member,
            $"mutation {{ upsertRunQueue(input: {{entityName: \"alpha\", projectName: \"demo\", queueName: \"q\", resourceType: \"local-process\", resourceConfig: \"{{\\\"x\\\": \\\"{Marker}\\\"}}\"}}) {{ success }} }}"
        );
        _item = (
            await AskAsync(
                _member,
                $"mutation {{ pushToRunQueue(input: {{queueID: \"{_queue}\", runSpec: \"{{\\\"uri\\\": \\\"https://example.org/{Marker}.git\\\", \\\"author\\\": \\\"{Marker}\\\"}}\"}}) {{ runQueueItemId }} }}"
            )
        )["pushToRunQueue"]!["runQueueItemId"]!.ToString();
        _agent = (
            await AskAsync(
                _member,
                $"mutation {{ createLaunchAgent(input: {{entityName: \"alpha\", projectName: \"demo\", runQueues: [\"{_queue}\"], hostname: \"{Marker}\"}}) {{ launchAgentId }} }}"
            )
        )["createLaunchAgent"]!["launchAgentId"]!.ToString();
        var sweep = (
            await AskAsync(
                _member,
                "mutation { upsertSweep(input: {entityName: \"alpha\", projectName: \"demo\", config: \"method: grid\\nparameters:\\n  a:\\n    values: [1, 2]\\n\"}) { sweep { id name } } }"
            )
        )["upsertSweep"]!["sweep"]!;
        _sweep = sweep["id"]!.ToString();
        _sweepAgent = (
            await AskAsync(
                _member,
                $"mutation {{ createAgent(input: {{entityName: \"alpha\", projectName: \"demo\", sweep: \"{sweep["name"]}\", host: \"box\"}}) {{ agent {{ id }} }} }}"
            )
        )["createAgent"]!["agent"]!["id"]!.ToString();
        var artifact = (
            await AskAsync(
                _member,
                $"mutation {{ createArtifact(input: {{entityName: \"alpha\", projectName: \"demo\", runName: \"r1\", artifactTypeName: \"data\", artifactCollectionName: \"set\", digest: \"d\", clientID: \"client-1\", description: \"{Marker}\"}}) {{ artifact {{ id artifactSequence {{ id }} }} }} }}"
            )
        )["createArtifact"]!["artifact"]!;
        _artifact = artifact["id"]!.ToString();
        _sequence = artifact["artifactSequence"]!["id"]!.ToString();
        _artifactNumber = Ids.Text(Ids.ParseArtifact(_artifact));
        using var manifest = await _member.PutAsync(
            $"/artifact-manifests/{_artifactNumber}",
            new StringContent(
                $"{{\"contents\": {{\"{Marker}\": {{\"digest\": \"ASNFZ4mrze8BI0VniavN7w==\", \"size\": 3}}}}}}"
            ),
            Token
        );
        manifest.EnsureSuccessStatusCode();
        await AskAsync(
            _member,
            $"mutation {{ commitArtifact(input: {{artifactID: \"{_artifact}\"}}) {{ artifact {{ id }} }} }}"
        );
        _portfolio = (
            await AskAsync(
                _member,
                $"mutation {{ linkArtifact(input: {{artifactID: \"{_artifact}\", artifactPortfolioName: \"best\", entityName: \"alpha\", projectName: \"demo\"}}) {{ artifactMembership {{ artifactCollection {{ id }} }} }} }}"
            )
        )["linkArtifact"]!["artifactMembership"]!["artifactCollection"]!["id"]!.ToString();
        using var blob = await _member.PutAsync("/artifacts/alpha/" + MarkerMd5, new StringContent(Marker), Token);
        blob.EnsureSuccessStatusCode();
    }

    private IEnumerable<RouteEndpoint> Endpoints() =>
        _server.Services.GetRequiredService<EndpointDataSource>().Endpoints.Cast<RouteEndpoint>();

    private IEnumerable<(RouteEndpoint Endpoint, string Method)> Methods() =>
        Endpoints()
            .SelectMany(e =>
                (e.Metadata.GetMetadata<IHttpMethodMetadata>()?.HttpMethods ?? ["GET"]).Select(m => (e, m))
            );

    // The address of an endpoint, with what is alpha's in its place.
    private HttpRequestMessage Request(RouteEndpoint endpoint, string method)
    {
        var template = endpoint.RoutePattern.RawText!;
        var blob = MarkerMd5;
        var id =
            template.StartsWith("/page/items", StringComparison.Ordinal) ? _item
            : template.StartsWith("/page/agents", StringComparison.Ordinal) ? _agent
            : template.StartsWith("/artifact", StringComparison.Ordinal) ? _artifactNumber
            : _queue;
        var path = template
            .Replace("{entity}", "alpha", StringComparison.Ordinal)
            .Replace("{project}", "demo", StringComparison.Ordinal)
            .Replace("{run}", "r1", StringComparison.Ordinal)
            .Replace("{**name}", "note.txt", StringComparison.Ordinal)
            .Replace("{region}", "default", StringComparison.Ordinal)
            .Replace("{**rest}", "x/" + blob, StringComparison.Ordinal)
            .Replace("{md5}", blob, StringComparison.Ordinal)
            .Replace("{name}", "ada", StringComparison.Ordinal)
            .Replace("{id}", id, StringComparison.Ordinal);
        Assert.DoesNotContain('{', path);
        var q = path == "/page/search" ? Marker[..6] : "";
        var query =
            $"?entity=alpha&project=demo&run=r1&runs=r1&queue={_queue}&keys={Marker}&by=name&timeout=0&artifact=set&q={q}&sort=-created";
        var request = new HttpRequestMessage(new HttpMethod(method), path + query);
        if (method is "POST" or "PUT")
        {
            request.Content = JsonContent.Create(new { entity = "alpha", project = "demo" });
        }

        return request;
    }

    private TypeFields Mutations() => _server.Services.GetRequiredService<Lazy<ISchema>>().Value.Mutation!.Fields;

    /// <summary>Asks for a mutation with an input of what is alpha's; gives its error.</summary>
    private async Task<string?> MutateAsync(HttpClient who, FieldType mutation)
    {
        var type = Assert.IsAssignableFrom<IInputObjectGraphType>(
            Named(mutation.Arguments!.Find("input")!.ResolvedType!)
        );
        var answer = await PostAsync(
            who,
            $"mutation M($input: {type.Name}!) {{ {mutation.Name}(input: $input) {{ __typename }} }}",
            new JsonObject { ["input"] = Input(mutation.Name, type) }
        );
        return answer["errors"]?[0]?["message"]?.ToString();
    }

    private JsonObject Input(string mutation, IInputObjectGraphType type)
    {
        var input = new JsonObject();
        foreach (var field in type.Fields)
        {
            var value = Value(mutation, field.Name, field.ResolvedType!);
            if (value is not null)
            {
                input[field.Name] = value;
            }
        }

        return input;
    }

    private JsonNode? Value(string mutation, string field, IGraphType type)
    {
        var required = type is NonNullGraphType;
        var inner = type is NonNullGraphType nonNull ? nonNull.ResolvedType! : type;
        if (inner is ListGraphType list)
        {
            return required || field is "runQueues" or "files" or "queueIDs"
                ? new JsonArray(Value(mutation, field, list.ResolvedType!))
                : null;
        }

        if (inner is IInputObjectGraphType map)
        {
            return required ? Input(mutation, map) : null;
        }

        var known = (mutation, field) switch
        {
            ("upsertSweep", "id") => _sweep,
            ("agentHeartbeat", "id") => _sweepAgent,
            (_, "id") => _run,
            (_, "queueID" or "queueIDs" or "runQueues") => _queue,
            (_, "runQueueItemId") => _item,
            (_, "launchAgentId") => _agent,
            (_, "artifactID") => _artifact,
            (_, "artifactManifestID") => "manifest:" + _artifact,
            (_, "artifactSequenceID") => _sequence,
            (_, "artifactPortfolioID") => _portfolio,
            ("deleteFiles", "files") => _file,
            (_, "entityName") => "alpha",
            (_, "projectName" or "modelName") => "demo",
            (_, "runName") => "r1",
            (_, "queueName") => "q",
            (_, "sweep") when mutation == "createAgent" => _sweep,
            _ => null,
        };
        if (known is not null || !required)
        {
            return known;
        }

        return inner switch
        {
            EnumerationGraphType words => words.Values.First().Name,
            _ => inner.Name switch
            {
                "Int" or "Int64" or "Float" => 1,
                "Boolean" => true,
                "JSONString" => "{}",
                _ => "x",
            },
        };
    }

    private static IGraphType Named(IGraphType type) =>
        type is IProvideResolvedType wrapped ? Named(wrapped.ResolvedType!) : type;

    private static async Task<JsonNode> AskAsync(HttpClient who, string query)
    {
        var answer = await PostAsync(who, query, null);
        Assert.True(answer["errors"] is null, answer.ToJsonString());
        return answer["data"]!;
    }

    private static async Task<string> RefusedAsync(HttpClient who, string query) =>
        (await PostAsync(who, query, null))["errors"]![0]!["message"]!.ToString();

    private static async Task<JsonNode> PostAsync(HttpClient who, string query, JsonObject? variables)
    {
        using var response = await who.PostAsJsonAsync("/graphql", new { query, variables }, Token);
        return JsonNode.Parse(await response.Content.ReadAsStringAsync(Token))!;
    }
}
