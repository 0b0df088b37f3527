using System.Diagnostics;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.DependencyInjection;
using WandbLaunch.Foundation;
using WandbLaunch.Server;
using WandbLaunch.Server.Data;
using WandbLaunch.Wandb;

namespace WandbLaunch.Tests;

/// <summary>The launch server, as one who means it harm sees it: raw requests over real HTTP, and files that are not what they should be. What came of it is read from the database.</summary>
[Collection(SessionCollection.Name)]
public sealed class HostileServerTests
{
    private const string Queued = "https://github.com/me/train";

    /// <summary>A server of its own with one queue, and a client that has the key.</summary>
    private sealed class Target : IAsyncDisposable
    {
        private readonly SocketsHttpHandler _handler = new() { UseCookies = false };

        internal required LaunchServer Server { get; init; }
        internal required HttpClient Client { get; init; }
        internal required string Path { get; init; }
        internal string Url => Server.Url;

        internal static async Task<Target> StartAsync(
            TimeSpan? lease = null,
            TimeProvider? time = null,
            string? path = null,
            bool behindProxy = false
        )
        {
            path ??= System.IO.Path.Combine(Fixture.NewFolder("hostile"), "wandb.db");
            var server = await LaunchServer.StartAsync(
                new LaunchServerOptions(path, "127.0.0.1", 0, Fixture.Key)
                {
                    Lease = lease,
                    Time = time ?? TimeProvider.System,
                    TrustedProxies = behindProxy ? [System.Net.IPNetwork.Parse("127.0.0.1/32")] : [],
                }
            );
            var target = new Target
            {
                Server = server,
                Path = path,
                Client = new HttpClient { BaseAddress = new Uri(server.Url), Timeout = TimeSpan.FromMinutes(2) },
            };
            target.Client.DefaultRequestHeaders.Authorization = Key();
            return target;
        }

        internal async Task WithQueueAsync()
        {
            using var answer = await GraphQLAsync(
                "mutation { createRunQueue(input: {entityName: \"local\", projectName: \"model-registry\", queueName: \"q\", access: PROJECT}) { queueID } }"
            );
            Assert.True(answer.RootElement.TryGetProperty("data", out _), answer.RootElement.ToString());
        }

        internal static AuthenticationHeaderValue Key(string key = Fixture.Key) =>
            new("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes("api:" + key)));

        internal async Task<(int Status, string Text)> SendAsync(
            HttpMethod method,
            string path,
            byte[]? body = null,
            string? type = "application/json",
            bool key = true,
            params (string Name, string Value)[] headers
        )
        {
            using var client = new HttpClient(_handler, false) { Timeout = TimeSpan.FromMinutes(2) };
            using var request = new HttpRequestMessage(method, new Uri(Url + path));
            if (body is not null)
            {
                request.Content = new ByteArrayContent(body);
                if (type is not null)
                {
                    request.Content.Headers.TryAddWithoutValidation("Content-Type", type);
                }
            }

            request.Headers.Authorization = key ? Key() : null;
            foreach (var (name, value) in headers)
            {
                Assert.True(request.Headers.TryAddWithoutValidation(name, value));
            }

            using var response = await client.SendAsync(request);
            return ((int)response.StatusCode, await response.Content.ReadAsStringAsync());
        }

        internal Task<(int Status, string Text)> PostAsync(string path, string json) =>
            SendAsync(HttpMethod.Post, path, Encoding.UTF8.GetBytes(json));

        internal async Task<JsonDocument> GraphQLAsync(string query, object? variables = null)
        {
            var (_, text) = await PostAsync("/graphql", JsonSerializer.Serialize(new { query, variables }));
            return JsonDocument.Parse(text);
        }

        internal async Task<JsonElement> PushAsync(string items)
        {
            var (status, text) = await PostAsync("/queues/push?entity=local&project=model-registry&queue=q", items);
            Assert.True(status == 200, text);
            return JsonDocument.Parse(text).RootElement.GetProperty("results");
        }

        internal async Task<JsonElement?> PopAsync()
        {
            using var answer = await GraphQLAsync(
                "mutation { popFromRunQueue(input: {entityName: \"local\", projectName: \"model-registry\", queueName: \"q\"}) { runQueueItemId runSpec } }"
            );
            return answer.RootElement.GetProperty("data").At("popFromRunQueue")?.Clone();
        }

        internal Task<WandbConnection> ConnectAsync() =>
            WandbConnection.OpenAsync(
                WandbSettings.Resolve(new LaunchEnvironment(), Fixture.Root, Url, Fixture.Key),
                null,
                default
            );

        internal T Sql<T>(string text)
        {
            using var connection = new SqliteConnection($"Data Source={Path};Pooling=false");
            connection.Open();
            using var command = connection.CreateCommand();
            command.CommandText = text;
            return (T)(command.ExecuteScalar() ?? default(T))!;
        }

        public async ValueTask DisposeAsync()
        {
            Client.Dispose();
            _handler.Dispose();
            await Server.DisposeAsync();
        }
    }

    private static readonly (string Name, string Value)[][] Strangers =
    [
        [("Origin", "http://evil.example")],
        [("Origin", "null")],
        [("Origin", "http://127.0.0.1:1")],
        [("Origin", "https://{host}")],
        [("Sec-Fetch-Site", "cross-site")],
        [("Sec-Fetch-Site", "same-site")],
        [("Origin", "http://{host}"), ("Sec-Fetch-Site", "cross-site")],
    ];

    private static readonly string Push = JsonSerializer.Serialize(
        new
        {
            query = "mutation { pushToRunQueueByName(input: {entityName: \"local\", projectName: \"model-registry\", queueName: \"q\", runSpec: \"{}\"}) { runQueueItemId } }",
        }
    );

    [Fact]
    public async Task A_page_of_another_origin_changes_nothing_even_with_the_key()
    {
        await using var target = await Target.StartAsync(behindProxy: true);
        await target.WithQueueAsync();
        var host = new Uri(target.Url).Authority;
        foreach (var headers in Strangers)
        {
            var sent = headers
                .Select(h => (h.Name, h.Value.Replace("{host}", host, StringComparison.Ordinal)))
                .ToArray();
            foreach (
                var (method, path, body) in new[]
                {
                    (HttpMethod.Post, "/graphql", Push),
                    (HttpMethod.Post, "/queues/push?entity=local&project=model-registry&queue=q", "[{\"runSpec\":{}}]"),
                    (HttpMethod.Post, "/shutdown", "{}"),
                    (HttpMethod.Post, "/files/local/demo/r1/file_stream", "{}"),
                    (HttpMethod.Put, "/files/local/demo/r1/x.txt", "x"),
                    (HttpMethod.Put, "/artifacts/local/00000000000000000000000000000000", "x"),
                    (HttpMethod.Post, "/session", $"{{\"key\":\"{Fixture.Key}\"}}"),
                    (HttpMethod.Delete, "/session", "{}"),
                }
            )
            {
                var (status, text) = await target.SendAsync(method, path, Encoding.UTF8.GetBytes(body), headers: sent);
                Assert.True(status == 403, $"{path} {string.Join(", ", sent)}: {status} {text}");
            }
        }

        // A browser that remembers the key sends it for a page of another site, too.
        Assert.Equal(
            403,
            (await target.SendAsync(HttpMethod.Get, "/local", headers: [("Sec-Fetch-Site", "cross-site")])).Status
        );
        Assert.Equal(0L, target.Sql<long>("SELECT COUNT(*) FROM items"));

        // Its own page, programs, and a page behind a TLS proxy go on.
        foreach (
            (string, string)[] headers in new (string, string)[][]
            {
                [],
                [("Origin", target.Url), ("Sec-Fetch-Site", "same-origin")],
                [("Origin", target.Url.ToUpperInvariant().Replace("HTTP", "http", StringComparison.Ordinal))],
                [("Sec-Fetch-Site", "none")],
                [("Origin", "https://" + host), ("X-Forwarded-Proto", "https")],
            }
        )
        {
            var (status, text) = await target.SendAsync(
                HttpMethod.Post,
                "/graphql",
                Encoding.UTF8.GetBytes(Push),
                headers: headers
            );
            Assert.True(status == 200, text);
        }

        Assert.Equal(5L, target.Sql<long>("SELECT COUNT(*) FROM items"));
    }

    [Fact]
    public async Task What_a_form_can_send_is_not_taken_for_json()
    {
        await using var target = await Target.StartAsync();
        await target.WithQueueAsync();
        foreach (
            var type in new[]
            {
                "text/plain",
                "application/x-www-form-urlencoded",
                "multipart/form-data; boundary=x",
                "text/plain; application/json",
                "application/jsonx",
                null,
            }
        )
        {
            foreach (
                var (path, body) in new[]
                {
                    ("/graphql", Push),
                    ("/queues/push?entity=local&project=model-registry&queue=q", "[{\"runSpec\":{}}]"),
                    ("/shutdown", "{}"),
                    ("/files/local/demo/r1/file_stream", "{}"),
                    ("/session", $"{{\"key\":\"{Fixture.Key}\"}}"),
                }
            )
            {
                var (status, text) = await target.SendAsync(HttpMethod.Post, path, Encoding.UTF8.GetBytes(body), type);
                Assert.True(status == 415 && text.Contains("application/json", StringComparison.Ordinal), path + text);
            }
        }

        Assert.Equal(415, (await target.SendAsync(HttpMethod.Post, "/shutdown")).Status);
        Assert.Equal(0L, target.Sql<long>("SELECT COUNT(*) FROM items"));
        Assert.Equal(
            200,
            (
                await target.SendAsync(
                    HttpMethod.Post,
                    "/graphql",
                    Encoding.UTF8.GetBytes(Push),
                    "Application/JSON; charset=utf-8"
                )
            ).Status
        );
    }

    [Fact]
    public async Task A_session_needs_its_cookie_and_its_token_and_ends()
    {
        var time = new FakeTime();
        await using var target = await Target.StartAsync(time: time, behindProxy: true);
        var port = new Uri(target.Url).Port;
        using var client = new HttpClient(new SocketsHttpHandler { UseCookies = false });
        async Task<HttpResponseMessage> SignIn(string key) =>
            await client.PostAsync(
                new Uri(target.Url + "/session"),
                new StringContent(JsonSerializer.Serialize(new { key }), Encoding.UTF8, "application/json")
            );

        using var signedIn = await SignIn(Fixture.Key);
        Assert.Equal(HttpStatusCode.OK, signedIn.StatusCode);
        var set = Assert.Single(signedIn.Headers.GetValues("Set-Cookie"));
        foreach (var part in new[] { $"wandblaunch_{port}=", "httponly", "samesite=strict", "path=/" })
        {
            Assert.Contains(part, set, StringComparison.OrdinalIgnoreCase);
        }

        Assert.DoesNotContain("secure", set, StringComparison.OrdinalIgnoreCase);
        var cookie = set.Split(';')[0];
        var token = JsonDocument
            .Parse(await signedIn.Content.ReadAsStringAsync())
            .RootElement.GetProperty("token")
            .GetString()!;
        Assert.DoesNotContain(token, cookie, StringComparison.OrdinalIgnoreCase);
        async Task<int> Ask(string? withCookie, string? withToken, string path = "/graphql")
        {
            var headers = new List<(string, string)>();
            if (withCookie is not null)
            {
                headers.Add(("Cookie", withCookie));
            }

            if (withToken is not null)
            {
                headers.Add(("X-WandbLaunch-Session", withToken));
            }

            return (
                await target.SendAsync(
                    path == "/graphql" ? HttpMethod.Post : HttpMethod.Get,
                    path,
                    path == "/graphql" ? "{\"query\":\"{ viewer { entity } }\"}"u8.ToArray() : null,
                    key: false,
                    headers: [.. headers]
                )
            ).Status;
        }

        Assert.Equal(200, await Ask(cookie, token));
        Assert.Equal(401, await Ask(cookie, null));
        Assert.Equal(401, await Ask(null, token));
        Assert.Equal(401, await Ask(cookie[..^1] + (cookie[^1] == '0' ? '1' : '0'), token));
        Assert.Equal(401, await Ask($"wandblaunch_{port}={token}", token));

        // Another program on this host gets the cookie with every visit of the browser: the page without data is all that it opens.
        Assert.Equal(200, await Ask(cookie, null, "/local/demo"));
        Assert.Equal(401, await Ask(cookie, null, "/queues/wait?timeout=0"));
        Assert.Equal(401, await Ask(cookie, null, "/files/local/demo/r1/x"));

        // Behind a TLS proxy the cookie stays on TLS.
        using var secure = new HttpRequestMessage(HttpMethod.Post, new Uri(target.Url + "/session"))
        {
            Content = new StringContent(
                JsonSerializer.Serialize(new { key = Fixture.Key }),
                Encoding.UTF8,
                "application/json"
            ),
        };
        secure.Headers.Add("X-Forwarded-Proto", "https");
        using var securely = await client.SendAsync(secure);
        Assert.Contains(
            "secure",
            securely.Headers.GetValues("Set-Cookie").Single(),
            StringComparison.OrdinalIgnoreCase
        );

        // Out, and over.
        Assert.Equal(
            204,
            (
                await target.SendAsync(
                    HttpMethod.Delete,
                    "/session",
                    key: false,
                    headers: [("Cookie", cookie), ("X-WandbLaunch-Session", token)]
                )
            ).Status
        );
        Assert.Equal(401, await Ask(cookie, token));
        using var again = await SignIn(Fixture.Key);
        cookie = again.Headers.GetValues("Set-Cookie").Single().Split(';')[0];
        token = JsonDocument
            .Parse(await again.Content.ReadAsStringAsync())
            .RootElement.GetProperty("token")
            .GetString()!;
        time.Advance(TimeSpan.FromHours(11));
        Assert.Equal(200, await Ask(cookie, token));
        time.Advance(TimeSpan.FromHours(2));
        Assert.Equal(401, await Ask(cookie, token));

        // Neither half is in the database or any file beside it.
        foreach (var file in Directory.EnumerateFiles(Path.GetDirectoryName(target.Path)!))
        {
            if (!file.EndsWith(".lock", StringComparison.Ordinal))
            {
                Assert.DoesNotContain(
                    token,
                    Encoding.Latin1.GetString(await ReadSharedAsync(file)),
                    StringComparison.OrdinalIgnoreCase
                );
            }
        }

        // Guessing is slow, also with the right key among the guesses.
        for (var i = 0; i < 10; i++)
        {
            using var wrong = await SignIn("local-wrong" + i);
            Assert.Equal(HttpStatusCode.Unauthorized, wrong.StatusCode);
            Assert.DoesNotContain("Basic", wrong.Headers.WwwAuthenticate.ToString(), StringComparison.Ordinal);
        }

        using var late = await SignIn(Fixture.Key);
        Assert.Equal(429, (int)late.StatusCode);
        Assert.InRange(late.Headers.RetryAfter!.Delta!.Value.TotalSeconds, 1, 60);
        time.Advance(TimeSpan.FromSeconds(61));
        using var patient = await SignIn(Fixture.Key);
        Assert.Equal(HttpStatusCode.OK, patient.StatusCode);
    }

    [Fact]
    public async Task No_answer_asks_a_browser_to_remember_the_key_and_the_page_runs_only_its_own_files()
    {
        await using var target = await Target.StartAsync();
        using var client = new HttpClient();
        using var request = new HttpRequestMessage(HttpMethod.Get, new Uri(target.Url + "/local"));
        request.Headers.Add("Accept", "text/html");
        using var page = await client.SendAsync(request);
        Assert.Equal(HttpStatusCode.Unauthorized, page.StatusCode);
        Assert.Equal("Bearer", Assert.Single(page.Headers.WwwAuthenticate).Scheme);
        var html = await page.Content.ReadAsStringAsync();
        Assert.Contains("sign-in", html, StringComparison.Ordinal);
        var policy = page.Headers.GetValues("Content-Security-Policy").Single();
        Assert.DoesNotContain("unsafe", policy, StringComparison.Ordinal);
        Assert.Contains("frame-ancestors 'none'", policy, StringComparison.Ordinal);
        Assert.DoesNotMatch("<script(?![^>]* src=)|<style| style=| on[a-z]+=", html);
        var assets = System.Text.RegularExpressions.Regex.Matches(html, "/assets/[^\"]+").Select(m => m.Value).ToList();
        Assert.Contains(assets, a => a.EndsWith("/page.js", StringComparison.Ordinal));
        foreach (var asset in assets)
        {
            Assert.Equal(200, (await target.SendAsync(HttpMethod.Get, asset, key: false)).Status);
        }

        // Open to all are these files, and no other.
        var folder = assets[0][..assets[0].LastIndexOf('/')];
        foreach (
            var path in new[]
            {
                folder + "/page.html",
                folder + "/../../graphql",
                folder + "/schema.graphql",
                folder + "/",
                "/assets/",
                "/page/queues",
                "/page/events",
            }
        )
        {
            Assert.Equal(401, (await target.SendAsync(HttpMethod.Get, path, key: false)).Status);
        }
    }

    [Fact]
    public async Task Names_of_this_machine_are_taken_in_every_spelling_and_no_other()
    {
        await using var target = await Target.StartAsync();
        var port = new Uri(target.Url).Port;
        foreach (
            var host in new[]
            {
                $"127.0.0.1:{port}",
                $"LOCALHOST:{port}",
                "LocalHost",
                $"localhost.:{port}",
                $"[::1]:{port}",
                "[::1]",
                $"127.0.0.2:{port}",
                $"Host.Docker.Internal:{port}",
            }
        )
        {
            var (status, text) = await RawAsync(port, host);
            Assert.True(status == 200, $"{host}: {status} {text}");
        }

        foreach (
            var host in new[]
            {
                "evil.example",
                $"localhost.evil.example:{port}",
                $"127.0.0.1.evil.example:{port}",
                $"127.0.0.1.nip.io:{port}",
                $"evillocalhost:{port}",
                "10.0.0.1",
                "[::2]",
                "localhost..",
                "",
            }
        )
        {
            var (status, text) = await RawAsync(port, host);
            Assert.True(status is 403 or 400, $"{host}: {status} {text}");
        }

        // The page works under each name: its own origin is the name that was asked for.
        Assert.Equal(
            200,
            (
                await target.SendAsync(
                    HttpMethod.Post,
                    "/graphql",
                    "{\"query\":\"{ viewer { id } }\"}"u8.ToArray(),
                    headers: [("Host", $"LOCALHOST:{port}"), ("Origin", $"http://localhost:{port}")]
                )
            ).Status
        );

        async Task<(int, string)> RawAsync(int to, string host)
        {
            using var socket = new TcpClient();
            await socket.ConnectAsync(IPAddress.Loopback, to);
            await using var stream = socket.GetStream();
            await stream.WriteAsync(
                Encoding.ASCII.GetBytes(
                    $"GET /local HTTP/1.1\r\nHost: {host}\r\nAuthorization: {Target.Key()}\r\nConnection: close\r\n\r\n"
                )
            );
            using var reader = new StreamReader(stream);
            var text = await reader.ReadToEndAsync();
            return (int.Parse(text.Split(' ')[1], System.Globalization.CultureInfo.InvariantCulture), text);
        }
    }

    [Fact]
    public async Task An_item_that_no_reader_could_take_is_refused_alone()
    {
        await using var target = await Target.StartAsync();
        await target.WithQueueAsync();
        string Deep(int levels) =>
            string.Concat(Enumerable.Repeat("{\"a\":", levels - 1)) + "{}" + new string('}', levels - 1);
        var bad = new (string Spec, string Why)[]
        {
            ("{\"uri\":\"a\",\"uri\":\"b\"}", "twice"),
            ("{\"uri\":\"a\",\"\\u0075ri\":\"b\"}", "twice"),
            ("{\"overrides\":[{\"args\":1,\"args\":2}]}", "twice"),
            (Deep(33), "32 levels"),
            (Deep(60), "32 levels"),
            (Deep(5000), "32 levels"),
            ("{\"a\":" + new string('[', 100) + new string(']', 100) + "}", "32 levels"),
            ("{\"a\":\"" + new string('x', 1 << 20) + "\"}", "1,048,576"),
            ("{" + string.Join(',', Enumerable.Range(0, 10_001).Select(i => $"\"k{i}\":0")) + "}", "10,000 keys"),
            ("{\"a\":\"\\ud800\"}", "surrogate"),
        };
        var good = new[]
        {
            $"{{\"uri\":\"{Queued}\",\"n\":1}}",
            Deep(32),
            "{\"a\":[{\"b\":1},{\"b\":2}],\"b\":{\"a\":1}}",
        };
        foreach (var (spec, why) in bad)
        {
            var before = target.Sql<long>("SELECT COUNT(*) FROM items");
            var results = await target.PushAsync(
                $"[{{\"runSpec\":{good[0]}}},{{\"runSpec\":{spec}}},{{\"runSpec\":{good[1]}}},{{\"runSpec\":{good[2]}}}]"
            );
            Assert.Equal(4, results.GetArrayLength());
            Assert.Equal(JsonValueKind.String, results[1].ValueKind);
            Assert.Contains(why, results[1].GetString()!, StringComparison.Ordinal);
            Assert.True(results[1].GetString()!.Length < 400);
            Assert.All([0, 2, 3], i => Assert.Equal(JsonValueKind.Number, results[i].ValueKind));
            Assert.Equal(before + 3, target.Sql<long>("SELECT COUNT(*) FROM items"));

            // The same by GraphQL, by name and by id, beside one that is taken.
            using var answer = await target.GraphQLAsync(
                "mutation($bad: JSONString!, $good: JSONString!) { a: pushToRunQueue(input: {queueID: \"1\", runSpec: $bad}) { runQueueItemId } b: pushToRunQueue(input: {queueID: \"1\", runSpec: $good}) { runQueueItemId } c: pushToRunQueueByName(input: {entityName: \"local\", projectName: \"model-registry\", queueName: \"q\", runSpec: $bad}) { runQueueItemId } }",
                new { bad = spec, good = good[0] }
            );
            var errors = answer.RootElement.GetProperty("errors").EnumerateArray().ToList();
            Assert.Equal(2, errors.Count);
            Assert.All(
                errors,
                e => Assert.Contains(why, e.GetProperty("message").GetString()!, StringComparison.Ordinal)
            );
            Assert.NotNull(answer.RootElement.At("data", "b"));
            Assert.Equal(before + 4, target.Sql<long>("SELECT COUNT(*) FROM items"));
        }

        // A wrapper that says it twice, and template values.
        var two = await target.PushAsync("[{\"runSpec\":{},\"runSpec\":{\"uri\":\"b\"}},{\"runSpec\":{}}]");
        Assert.Contains("twice", two[0].GetString()!, StringComparison.Ordinal);
        Assert.Equal(JsonValueKind.Number, two[1].ValueKind);

        // Bytes that are no text are refused, whatever they would have been.
        byte[] invalid = [.. "[{\"runSpec\":{\"a\":\""u8, 0xff, 0xfe, .. "\"}},{\"runSpec\":{}}]"u8];
        var (status, text) = await target.SendAsync(
            HttpMethod.Post,
            "/queues/push?entity=local&project=model-registry&queue=q",
            invalid
        );
        Assert.True(status == 200 && text.Contains("UTF-8", StringComparison.Ordinal), text);

        // All that was taken can be listed and popped by our own client.
        using var connection = await target.ConnectAsync();
        var queue = await connection.Queues.GetAsync("local", "model-registry", "q", null, default);
        var count = 0;
        await foreach (var item in connection.Queues.ItemsAsync(queue, [], default))
        {
            Assert.Null(item.Error);
            _ = item.Arguments;
            count++;
        }

        Assert.Equal(target.Sql<long>("SELECT COUNT(*) FROM items"), count);
    }

    [Fact]
    public async Task Bad_items_from_before_stop_neither_list_nor_pop_nor_the_cmdlet()
    {
        await using var target = await Target.StartAsync();
        await target.WithQueueAsync();
        var deep = string.Concat(Enumerable.Repeat("{\"a\":", 70)) + "1" + new string('}', 70);
        await target.PushAsync($"[{{\"runSpec\":{{\"uri\":\"{Queued}\",\"n\":1}}}}]");
        foreach (
            var bad in new[] { "{\"uri\":\"a\",\"uri\":\"b\"}", deep, "{", "", "[1]", "null", "{\"uri\":\"\\ud800\"}" }
        )
        {
            _ = target.Sql<object>(
                $"INSERT INTO items (queue, spec, priority, created_at) VALUES (1, '{bad}', 2, '2026-01-01T00:00:00.000')"
            );
        }

        await target.PushAsync($"[{{\"runSpec\":{{\"uri\":\"{Queued}\",\"n\":2}}}}]");
        using (var shell = new Shell(false))
        {
            var items = shell
                .Ok(
                    "$null = Connect-Wandb -BaseUrl $url -ApiKey $key; Get-WandbLaunchQueueItem q",
                    ("url", target.Url),
                    ("key", Shell.Secure(Fixture.Key))
                )
                .Select(o => (WandbLaunchQueueItem)o.BaseObject)
                .ToList();
            Assert.Equal(9, items.Count);
            Assert.Equal(7, items.Count(i => i.Error is { Length: > 0 } && i.Config is null));
            Assert.Equal([Queued, Queued], items.Where(i => i.Error is null).Select(i => i.Uri));
        }

        Assert.Equal("1", (await target.PopAsync())!.Value.Text("runSpec", "n"));
        Assert.Equal("2", (await target.PopAsync())!.Value.Text("runSpec", "n"));
        Assert.Null(await target.PopAsync());
        Assert.Equal(7L, target.Sql<long>("SELECT COUNT(*) FROM items WHERE state = 'FAILED' AND error IS NOT NULL"));
    }

    [Fact]
    public async Task A_bad_item_of_another_server_is_listed_without_its_config()
    {
        // A server of anyone's, which lets such items through.
        using var listener = new HttpListener();
        var probe = new TcpListener(IPAddress.Loopback, 0);
        probe.Start();
        var url = $"http://127.0.0.1:{((IPEndPoint)probe.LocalEndpoint).Port}";
        probe.Stop();
        listener.Prefixes.Add(url + "/");
        listener.Start();
        await using var real = await Target.StartAsync();
        await real.WithQueueAsync();
        var serving = Task.Run(async () =>
        {
            while (listener.IsListening)
            {
                var context = await listener.GetContextAsync();
                using var reader = new StreamReader(context.Request.InputStream);
                var body = await reader.ReadToEndAsync();
                var deep = string.Concat(Enumerable.Repeat("{\"a\":", 200)) + "1" + new string('}', 200);
                var answer = body.Contains("GetRunQueueItems", StringComparison.Ordinal)
                    ? """
                        {"data":{"project":{"runQueue":{"runQueueItems":{"edges":[
                          {"node":{"id":"1","state":"PENDING","runSpec":{"uri":"a","uri":"b"}}},
                          {"node":{"id":"2","state":"PENDING","runSpec":DEEP}},
                          {"node":{"id":"3","state":"PENDING","priority":99999999999,"runSpec":{"overrides":{"args":1,"args":2}}}},
                          {"node":{"id":"4","state":"PENDING","runSpec":"{\"uri\":\"\\ud800\"}"}},
                          {"node":{"id":"5","state":"PENDING","runSpec":{"uri":"good"}}}
                        ]}}}}}
                        """.Replace("DEEP", deep, StringComparison.Ordinal)
                    : (await real.PostAsync("/graphql", body)).Text;
                await context.Response.OutputStream.WriteAsync(Encoding.UTF8.GetBytes(answer));
                context.Response.Close();
            }
        });
        using var connection = await WandbConnection.OpenAsync(
            WandbSettings.Resolve(new LaunchEnvironment(), Fixture.Root, url, Fixture.Key),
            null,
            default
        );
        var queue = await connection.Queues.GetAsync("local", "model-registry", "q", null, default);
        var items = new List<WandbLaunchQueueItem>();
        await foreach (var item in connection.Queues.ItemsAsync(queue, [], default))
        {
            _ = item.Arguments;
            items.Add(item);
        }

        listener.Stop();
        await Assert.ThrowsAnyAsync<Exception>(() => serving);
        Assert.Equal(["1", "2", "3", "4", "5"], items.Select(i => i.Id));
        Assert.All(items.Take(4), i => Assert.True(i is { Config: null, Error.Length: > 0 }, i.Id));
        Assert.True(items[4] is { Uri: "good", Error: null });
    }

    [Fact]
    public async Task Bombs_of_graphql_are_answered_with_the_limit_that_they_pass()
    {
        await using var target = await Target.StartAsync();

        // Enough rows that an answer without limits would be large.
        using (var connection = await target.ConnectAsync())
        {
            for (var i = 0; i < 120; i++)
            {
                await connection.Api.UpsertRunAsync(
                    new RunUpsert($"r{i}", "local", "p")
                    {
                        Config = $"{{\"text\":{{\"value\":\"{new string('x', 1000)}\"}}}}",
                    },
                    default
                );
            }
        }

        string Nested(int levels, string inner) =>
            "{project(name:\"p\",entityName:\"local\"){"
            + string.Concat(Enumerable.Repeat("runs(first:1000){edges{node{project{", levels))
            + inner
            + string.Concat(Enumerable.Repeat("}}}}", levels))
            + "}}";
        string Doubled(int levels) =>
            "query{...f0}"
            + string.Concat(
                Enumerable
                    .Range(0, levels)
                    .Select(i => $"fragment f{i} on Query{{a:viewer{{id}}...f{i + 1} b:viewer{{id}}...f{i + 1}}}")
            )
            + $"fragment f{levels} on Query{{viewer{{id}}}}";
        var introspection =
            "{__schema{types{" + string.Concat(Enumerable.Range(0, 490).Select(i => $"f{i}:fields{{name}}")) + "}}}";
        var wide =
            "{project(name:\"p\",entityName:\"local\"){runs(first:1000){edges{node{"
            + string.Concat(Enumerable.Range(0, 900).Select(i => $"c{i}:config "))
            + "}}}}}";
        foreach (
            var (query, limit) in new[]
            {
                (Nested(4, "name"), "200,000 fields"),
                (Nested(3, "runs(first:1000){pageInfo{hasNextPage}}"), "200,000 fields"),
                (Nested(25, "name"), "20 levels"),
                (wide, "64 MB"),
                ("{" + string.Concat(Enumerable.Repeat("viewer{id}", 20_000)) + "}", "10,000 words"),
                ("{" + string.Concat(Enumerable.Repeat("viewer{id}", 600)) + "}", "1,000 fields"),
                (
                    "{" + string.Concat(Enumerable.Range(0, 1500).Select(i => $"a{i}:serverInfo{{__typename}}")) + "}",
                    "1,000 fields"
                ),
                ("{viewer{id}} #" + new string('x', 300_000), "262,144 characters"),
                (Doubled(40), "1,000 fields"),
                ("{...a} fragment a on Query{...b} fragment b on Query{...a}", "contains itself"),
                (Doubled(200), "100 fragments"),
                ("{" + Repeat("a{", 5000) + "b" + Repeat("}", 5000) + "}", "10,000 words"),
                ("{" + Repeat("a{", 1500) + "b" + Repeat("}", 1500) + "}", "20 levels"),
                ("{entity(name:" + Repeat("[", 3000) + Repeat("]", 3000) + "){id}}", "levels"),
                (introspection, "200,000 fields"),
            }
        )
        {
            var (status, text) = await target.PostAsync("/graphql", JsonSerializer.Serialize(new { query }));
            Assert.True(
                status == 400 && text.Contains(limit, StringComparison.Ordinal) && text.Length < 2000,
                $"{limit}: {status} {text[..Math.Min(500, text.Length)]}"
            );
        }

        await SendLargeAsync(target);
        foreach (
            var body in new object[]
            {
                new { query = "{ " + new string('x', 200_000) + " }" },
                new
                {
                    query = "mutation($n: String!) { upsertModel(input: {name: $n, entityName: \"local\"}) { inserted } }",
                    variables = new { n = new string('y', 10 << 20) },
                },
                new
                {
                    query = "query($n: String!) { viewer { id } }",
                    variables = new { n = new { deep = new string('z', 10 << 20) } },
                },
            }
        )
        {
            var (_, text) = await target.PostAsync("/graphql", JsonSerializer.Serialize(body));
            Assert.Contains("errors", text, StringComparison.Ordinal);
            Assert.True(text.Length < 5000, text[..Math.Min(500, text.Length)]);
        }

        // What clients really ask.
        foreach (var query in ClientQueries)
        {
            using var answer = await target.GraphQLAsync(query);
            Assert.False(answer.RootElement.TryGetProperty("errors", out var errors), errors.ToString());
        }

        string Repeat(string text, int count) => string.Concat(Enumerable.Repeat(text, count));
    }

    [Fact]
    public async Task Bombs_and_large_bodies_leave_the_servers_memory_small()
    {
        // In a process of its own, whose memory is the server's alone.
        var path = Path.Combine(Fixture.NewFolder("memory"), "wandb.db");
        using var process = Start(path);
        var url = (await process.StandardOutput.ReadLineAsync())!["listening ".Length..];
        try
        {
            using (
                var connection = await WandbConnection.OpenAsync(
                    WandbSettings.Resolve(new LaunchEnvironment(), Fixture.Root, url, Fixture.Key),
                    null,
                    default
                )
            )
            {
                for (var i = 0; i < 120; i++)
                {
                    await connection.Api.UpsertRunAsync(
                        new RunUpsert($"r{i}", "local", "p")
                        {
                            Config = $"{{\"text\":{{\"value\":\"{new string('x', 1000)}\"}}}}",
                        },
                        default
                    );
                }
            }

            using var client = new HttpClient { BaseAddress = new Uri(url), Timeout = TimeSpan.FromMinutes(2) };
            client.DefaultRequestHeaders.Authorization = Target.Key();
            async Task<int> Send(string at, byte[] body)
            {
                using var content = new ByteArrayContent(body);
                content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
                using var response = await client.PostAsync(at, content);
                return (int)response.StatusCode;
            }

            string Nested(int levels) =>
                "{project(name:\"p\",entityName:\"local\"){"
                + string.Concat(Enumerable.Repeat("runs(first:1000){edges{node{config project{", levels))
                + "name"
                + string.Concat(Enumerable.Repeat("}}}}", levels))
                + "}}";
            var wide =
                "{project(name:\"p\",entityName:\"local\"){runs(first:1000){edges{node{"
                + string.Concat(Enumerable.Range(0, 900).Select(i => $"c{i}:config "))
                + "}}}}}";
            foreach (
                var query in new[]
                {
                    Nested(3),
                    Nested(4),
                    Nested(25),
                    wide,
                    "{" + string.Concat(Enumerable.Repeat("viewer{id}", 20_000)) + "}",
                }
            )
            {
                Assert.Equal(400, await Send("/graphql", JsonSerializer.SerializeToUtf8Bytes(new { query })));
            }

            var large = new byte[100 << 20];
            Array.Fill(large, (byte)' ');
            for (var i = 0; i < 5; i++)
            {
                Assert.Equal(413, await Send("/graphql", large));
                Assert.Equal(413, await Send("/queues/push?entity=local&project=p&queue=q", large));
            }

            process.Refresh();
            Assert.InRange(process.PeakWorkingSet64 >> 20, 1, 500);
        }
        finally
        {
            process.Kill();
            await process.WaitForExitAsync();
        }
    }

    private static async Task SendLargeAsync(Target target)
    {
        // 100 MB, announced and unannounced.
        var large = new byte[100 << 20];
        Array.Fill(large, (byte)' ');
        foreach (var path in new[] { "/graphql", "/queues/push?entity=local&project=p&queue=q", "/session" })
        {
            var (status, text) = await target.SendAsync(HttpMethod.Post, path, large);
            Assert.True(status == 413 && text.Contains("bytes", StringComparison.Ordinal), text);
        }

        using (var chunked = new HttpRequestMessage(HttpMethod.Post, new Uri(target.Url + "/graphql")))
        {
            chunked.Content = new StreamContent(new MemoryStream(large));
            chunked.Content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
            chunked.Headers.TransferEncodingChunked = true;
            using var response = await target.Client.SendAsync(chunked);
            Assert.Equal(413, (int)response.StatusCode);
        }
    }

    // The introspection of graphql-js and of Python's gql, with its nine levels of ofType, and the SDK's largest queries.
    private static readonly string[] ClientQueries =
    [
        "query IntrospectionQuery { __schema { queryType { name } mutationType { name } subscriptionType { name } types { ...FullType } directives { name description locations args { ...InputValue } } } } fragment FullType on __Type { kind name description fields(includeDeprecated: true) { name description args { ...InputValue } type { ...TypeRef } isDeprecated deprecationReason } inputFields { ...InputValue } interfaces { ...TypeRef } enumValues(includeDeprecated: true) { name description isDeprecated deprecationReason } possibleTypes { ...TypeRef } } fragment InputValue on __InputValue { name description type { ...TypeRef } defaultValue } fragment TypeRef on __Type { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name ofType { kind name } } } } } } } } } }",
        "query Probe { QueryType: __type(name: \"Query\") { fields { name args { name type { kind name ofType { name } } } } } MutationType: __type(name: \"Mutation\") { fields { name args { name } } } ServerInfoType: __type(name: \"ServerInfo\") { fields { name } inputFields { name } } }",
        "query Runs { project(name: \"p\", entityName: \"local\") { runCount readOnly runs(first: 1000) { edges { node { id tags name displayName sweepName state config group jobType commit readOnly createdAt heartbeatAt description notes systemMetrics summaryMetrics historyKeys historyLineCount user { name username } } cursor } pageInfo { endCursor hasNextPage } } } }",
    ];

    [Fact]
    public async Task Every_shape_of_body_gets_a_reason()
    {
        await using var target = await Target.StartAsync();
        using (var connection = await target.ConnectAsync())
        {
            await connection.Api.UpsertRunAsync(new RunUpsert("r1", "local", "p"), default);
        }

        var bodies = new List<(string Path, string Body)>();
        foreach (
            var body in new[]
            {
                "",
                "[]",
                "[{\"query\":\"{viewer{id}}\"}]",
                "\"text\"",
                "1",
                "null",
                "true",
                "{",
                "{}",
                "{\"query\":null}",
                "{\"query\":1}",
                "{\"query\":{}}",
                "{\"query\":\"\"}",
                "{\"query\":\"{\"}",
                "{\"query\":\"\\ud800\"}",
                "{\"query\":\"{viewer{id}}\",\"variables\":[]}",
                "{\"query\":\"{viewer{id}}\",\"variables\":\"{}\"}",
                "{\"query\":\"{viewer{id}}\",\"variables\":1}",
                "{\"query\":\"{viewer{id}}\",\"variables\":{\"a\":\"\\ud800\"}}",
                "{\"query\":\"{viewer{id}}\",\"operationName\":1}",
                "{\"query\":\"{viewer{id}}\",\"operationName\":[]}",
                new string('[', 1000) + new string(']', 1000),
            }
        )
        {
            bodies.Add(("/graphql", body));
        }

        foreach (
            var body in new[]
            {
                "",
                "[]",
                "null",
                "1",
                "{",
                "{\"files\":[]}",
                "{\"files\":\"x\"}",
                "{\"files\":{\"output.log\":1}}",
                "{\"files\":{\"output.log\":{}}}",
                "{\"files\":{\"output.log\":{\"content\":\"x\"}}}",
                "{\"files\":{\"output.log\":{\"content\":[1]}}}",
                "{\"files\":{\"output.log\":{\"content\":[\"\\ud800\"]}}}",
                "{\"files\":{\"output.log\":{\"content\":[\"x\"],\"offset\":\"1\"}}}",
                "{\"files\":{\"output.log\":{\"content\":[\"x\"],\"offset\":-1}}}",
                "{\"files\":{\"output.log\":{\"content\":[\"x\"],\"offset\":1.5}}}",
                "{\"files\":{\"output.log\":{\"content\":[\"x\"],\"offset\":9223372036854775807}}}",
                "{\"files\":{\"output.log\":{\"content\":[\"x\"],\"offset\":1e300}}}",
                "{\"complete\":true,\"exitcode\":\"0\"}",
                "{\"complete\":\"yes\"}",
                "{\"preempting\":1}",
            }
        )
        {
            bodies.Add(("/files/local/p/r1/file_stream", body));
        }

        foreach (var body in new[] { "", "{", "{}", "null", "1", "\"x\"" })
        {
            bodies.Add(("/session", body));
        }

        foreach (var (path, body) in bodies)
        {
            var (status, text) = await target.PostAsync(path, body);
            Assert.True(status == 400 && Reason(text) is { Length: > 5 }, $"{path} {body}: {status} {text}");
        }

        Assert.Equal(0L, target.Sql<long>("SELECT COUNT(*) FROM console"));
        Assert.Equal("running", target.Sql<string>("SELECT state FROM runs"));
        foreach (var timeout in new[] { "NaN", "Infinity", "-Infinity", "-1", "1e999", "x" })
        {
            var (status, text) = await target.SendAsync(HttpMethod.Get, "/queues/wait?queue=1&timeout=" + timeout);
            Assert.True(status == 400 && Reason(text).Contains("timeout", StringComparison.Ordinal), timeout + text);
        }

        Assert.Equal(200, (await target.SendAsync(HttpMethod.Get, "/queues/wait?queue=x&timeout=0")).Status);

        // Which of several operations: the one that is named, and no guess.
        const string Two = "query A { viewer { id } } query B { viewer { username } }";
        var (ok, named) = await target.PostAsync(
            "/graphql",
            JsonSerializer.Serialize(new { query = Two, operationName = "B" })
        );
        Assert.True(ok == 200 && JsonDocument.Parse(named).RootElement.Text("data", "viewer", "username") == "local");
        foreach (var operationName in new[] { null, "C" })
        {
            var (_, text) = await target.PostAsync(
                "/graphql",
                JsonSerializer.Serialize(new { query = Two, operationName })
            );
            Assert.Contains("errors", text, StringComparison.Ordinal);
        }

        // Arguments that a resolver cannot use: an error with a reason, and no story of the server's inside.
        foreach (
            var query in new[]
            {
                "{project(name:\"p\",entityName:\"local\"){runs(filters:\"{\"){edges{cursor}}}}",
                "{project(name:\"p\",entityName:\"local\"){runs(filters:\"[]\"){edges{cursor}}}}",
                "{project(name:\"p\",entityName:\"local\"){runCount(filters:\"{\\\"state\\\":{\\\"$in\\\":1}}\")}}",
                "{project(name:\"p\",entityName:\"local\"){runs(filters:\"{\\\"tags\\\":1}\"){edges{cursor}}}}",
                "{project(name:\"p\",entityName:\"local\"){runs(after:\"x\"){edges{cursor}}}}",
                "{project(name:\"p\",entityName:\"local\"){runs(after:\"eA==\"){edges{cursor}}}}",
                "mutation{deleteFiles(input:{files:[\"x\"]}){success}}",
                "mutation{upsertBucket(input:{name:\"r9\",modelName:\"p\",entityName:\"local\",createdAt:\"soon\"}){inserted}}",
                "mutation{upsertRunQueue(input:{entityName:\"local\",projectName:\"p\",queueName:\"q\",resourceType:\"x\",resourceConfig:\"{}\",templateVariables:\"{\\\"a\\\":5}\"}){success}}",
                "mutation{upsertRunQueue(input:{entityName:\"local\",projectName:\"p\",queueName:\"q\",resourceType:\"x\",resourceConfig:\"[]\"}){success}}",
            }
        )
        {
            using var answer = await target.GraphQLAsync(query);
            var message = answer.RootElement.GetProperty("errors")[0].GetProperty("message").GetString()!;
            Assert.True(
                !message.Contains("log has", StringComparison.Ordinal)
                    && !message.Contains("Exception", StringComparison.Ordinal),
                message
            );
        }
    }

    [Fact]
    public async Task A_full_disk_is_a_507_and_what_was_there_stays()
    {
        await using var target = await Target.StartAsync();
        await target.WithQueueAsync();
        using (var connection = await target.ConnectAsync())
        {
            await connection.Api.UpsertRunAsync(new RunUpsert("r1", "local", "p"), default);
        }

        void Limit(string pages)
        {
            using var command = target.Server.Services.GetRequiredService<Database>().Writer.CreateCommand();
            command.CommandText = "PRAGMA max_page_count = " + pages;
            command.ExecuteScalar();
        }

        Limit(target.Sql<long>("PRAGMA page_count").ToString(System.Globalization.CultureInfo.InvariantCulture));
        var filler = new string('x', 500_000);
        foreach (
            var (path, body) in new[]
            {
                (
                    "/queues/push?entity=local&project=model-registry&queue=q",
                    $"[{{\"runSpec\":{{\"a\":\"{filler}\"}}}}]"
                ),
                (
                    "/queues/push?entity=local&project=model-registry&queue=q&request=once",
                    $"[{{\"runSpec\":{{\"a\":\"{filler}\"}},\"templateVariableValues\":{{}}}}]"
                ),
                ("/files/local/p/r1/file_stream", $"{{\"files\":{{\"output.log\":{{\"content\":[\"{filler}\"]}}}}}}"),
                (
                    "/graphql",
                    JsonSerializer.Serialize(
                        new
                        {
                            query = "mutation($s: JSONString!) { pushToRunQueue(input: {queueID: \"1\", runSpec: $s}) { runQueueItemId } }",
                            variables = new { s = $"{{\"a\":\"{filler}\"}}" },
                        }
                    )
                ),
            }
        )
        {
            var (status, text) = await target.PostAsync(path, body);
            Assert.True(
                status == 507 && Reason(text).Contains("no room", StringComparison.Ordinal),
                $"{path}: {status} {text}"
            );
        }

        Assert.Equal(0L, target.Sql<long>("SELECT COUNT(*) FROM items"));

        // Room again: it goes on, without a restart, and a request that failed under its name is done now.
        Limit("1000000");
        Assert.Equal(
            JsonValueKind.Number,
            (await target.PushAsync($"[{{\"runSpec\":{{\"a\":\"{filler}\"}}}}]"))[0].ValueKind
        );
        var (again, text2) = await target.PostAsync(
            "/queues/push?entity=local&project=model-registry&queue=q&request=once",
            "[{\"runSpec\":{}}]"
        );
        Assert.True(again == 200, text2);
        Assert.Equal(2L, target.Sql<long>("SELECT COUNT(*) FROM items"));
    }

    [Fact]
    public async Task What_nobody_foresaw_has_an_id_and_no_stack()
    {
        await using var target = await Target.StartAsync();
        await target.WithQueueAsync();
        var writer = target.Server.Services.GetRequiredService<Database>().Writer;
        writer.CreateFunction("fail", Fail);
        using (var command = writer.CreateCommand())
        {
            command.CommandText = "CREATE TEMP TRIGGER failing BEFORE INSERT ON main.items BEGIN SELECT fail(); END";
            command.ExecuteNonQuery();
        }

        var (status, text) = await target.PostAsync(
            "/queues/push?entity=local&project=model-registry&queue=q",
            "[{\"runSpec\":{}}]"
        );
        Assert.Equal(500, status);
        Assert.DoesNotContain("secret", text, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", text, StringComparison.Ordinal);
        var id = System.Text.RegularExpressions.Regex.Match(Reason(text), "[0-9a-f]{12}").Value;
        Assert.Contains(id, await File.ReadAllTextAsync(target.Path + ".errors.log"), StringComparison.Ordinal);
        Assert.Equal(200, (await target.PostAsync("/graphql", "{\"query\":\"{viewer{id}}\"}")).Status);

        static string Fail() => throw new InvalidOperationException("a secret of the inside");
    }

    public static TheoryData<string> Damages =>
        ["empty", "text", "truncated", "page", "header", "foreign", "readonly", "folder", "parent", "orphan"];

    [Theory]
    [MemberData(nameof(Damages))]
    public async Task A_file_that_is_no_database_of_ours_is_left_as_it_is(string damage)
    {
        var folder = Fixture.NewFolder("damaged");
        var path = Path.Combine(folder, "wandb.db");
        if (damage is "truncated" or "page" or "header" or "readonly" or "orphan")
        {
            await using (var server = await LaunchServer.StartAsync(path, "127.0.0.1", 0, Fixture.Key))
            {
                using var connection = await WandbConnection.OpenAsync(
                    WandbSettings.Resolve(new LaunchEnvironment(), Fixture.Root, server.Url, Fixture.Key),
                    null,
                    default
                );
                for (var i = 0; i < 200; i++)
                {
                    await connection.Api.UpsertRunAsync(
                        new RunUpsert($"run{i}", "local", "p") { Notes = new string('n', 500) },
                        default
                    );
                }
            }
        }

        switch (damage)
        {
            case "empty":
                await File.WriteAllBytesAsync(path, []);
                break;
            case "text":
                await File.WriteAllTextAsync(
                    path,
                    string.Concat(Enumerable.Repeat("notes of mine, no database\n", 500))
                );
                break;
            case "truncated":
                await using (var file = new FileStream(path, FileMode.Open))
                {
                    file.SetLength(file.Length / 2);
                }

                break;
            case "page":
                var bytes = await File.ReadAllBytesAsync(path);
                for (var at = 4096 * 3; at < bytes.Length; at += 4096)
                {
                    bytes.AsSpan(at, 64).Fill(0xa5);
                }

                await File.WriteAllBytesAsync(path, bytes);
                break;
            case "header":
                var head = await File.ReadAllBytesAsync(path);
                head.AsSpan(16, 40).Fill(0xff);
                await File.WriteAllBytesAsync(path, head);
                break;
            case "foreign":
                await using (var other = new SqliteConnection($"Data Source={path};Pooling=false"))
                {
                    await other.OpenAsync();
                    await using var command = other.CreateCommand();
                    command.CommandText = "CREATE TABLE bookmarks (url TEXT); INSERT INTO bookmarks VALUES ('x')";
                    await command.ExecuteNonQueryAsync();
                }

                break;
            case "readonly":
                File.SetAttributes(path, FileAttributes.ReadOnly);
                break;
            case "folder":
                Directory.CreateDirectory(path);
                break;
            case "parent":
                await File.WriteAllTextAsync(Path.Combine(folder, "file"), "x");
                path = Path.Combine(folder, "file", "wandb.db");
                break;
            case "orphan":
                await File.WriteAllBytesAsync(path + "-wal", new byte[5000]);
                File.Delete(path);
                break;
        }

        var before = Snapshot(folder);
        var (code, output, error) = Serve(path);
        Assert.Equal(3, code);
        Assert.Empty(output);
        var line = Assert.Single(error.TrimEnd('\n').Split('\n'));
        Assert.DoesNotContain("   at ", line, StringComparison.Ordinal);
        Assert.Contains(Path.GetFileName(path), line, StringComparison.Ordinal);
        var after = Snapshot(folder);
        Assert.All(before, f => Assert.True(after[f.Key] == f.Value, f.Key + " was changed"));

        // Through the cmdlet: the same reason, at once.
        using var shell = new Shell(false);
        if (damage is not "parent")
        {
            var fault = shell.Fails("Start-WandbLaunchServer $path", "DatabaseUnusable", ("path", path));
            Assert.Contains(line.Trim(), fault.ToString(), StringComparison.Ordinal);
            after = Snapshot(folder);
            Assert.All(before, f => Assert.True(after[f.Key] == f.Value, f.Key + " was changed"));
        }

        if (damage == "readonly")
        {
            File.SetAttributes(path, FileAttributes.Normal);
        }
    }

    [Fact]
    public async Task A_missing_file_is_made_and_a_wrong_option_is_said_so()
    {
        var path = Path.Combine(Fixture.NewFolder("fresh"), "deep", "er", "wandb.db");
        await using (await Target.StartAsync(path: path))
        {
            Assert.True(new FileInfo(path).Length > 0);
        }

        foreach (
            var wrong in new[] { new[] { "--port", "x" }, ["--listen", "here"], ["--port", "99999"], ["--nope", "1"] }
        )
        {
            var (code, _, error) = Serve(path, wrong);
            Assert.True(code == 2 && error.StartsWith("usage:", StringComparison.Ordinal), error);
        }

        var taken = new TcpListener(IPAddress.Loopback, 0);
        taken.Start();
        var (busy, _, why) = Serve(
            path,
            "--port",
            ((IPEndPoint)taken.LocalEndpoint).Port.ToString(System.Globalization.CultureInfo.InvariantCulture)
        );
        taken.Stop();
        Assert.True(
            busy == 1
                && Assert.Single(why.TrimEnd('\n').Split('\n')).Contains("Cannot listen", StringComparison.Ordinal),
            why
        );
    }

    [Fact]
    public async Task One_server_has_a_file_whatever_path_leads_there()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "links need a right there");
        var folder = Fixture.NewFolder("locked");
        var path = Path.Combine(folder, "data", "wandb.db");
        using var first = Start(path);
        var url = (await first.StandardOutput.ReadLineAsync())!["listening ".Length..];
        Directory.CreateSymbolicLink(Path.Combine(folder, "link"), "data");
        Directory.CreateSymbolicLink(Path.Combine(folder, "chain"), "link");
        File.CreateSymbolicLink(Path.Combine(folder, "db"), "./data/../chain/wandb.db");

        // A folder with a database in it can be copied while it is served, and the copying takes no lock away.
        foreach (var file in Directory.EnumerateFiles(Path.Combine(folder, "data")))
        {
            File.Copy(file, file + ".copy");
        }

        foreach (
            var other in new[]
            {
                path,
                Path.Combine(folder, "data", "..", "data", "wandb.db"),
                Path.Combine(folder, "link", "wandb.db"),
                Path.Combine(folder, "chain", "wandb.db"),
                Path.Combine(folder, "db"),
                Path.GetRelativePath(Path.GetTempPath(), path),
            }
        )
        {
            var (code, output, error) = Serve(other);
            Assert.True(code == 4 && output.Length == 0, $"{other}: {code} {output} {error}");
            Assert.Contains(url, error, StringComparison.Ordinal);
            Assert.Contains(
                first.Id.ToString(System.Globalization.CultureInfo.InvariantCulture),
                error,
                StringComparison.Ordinal
            );
        }

        using (var shell = new Shell(false))
        {
            var fault = shell.Fails(
                "Start-WandbLaunchServer $path",
                "DatabaseInUse",
                ("path", Path.Combine(folder, "db"))
            );
            Assert.Contains(url, fault.ToString(), StringComparison.Ordinal);
        }

        // One that was killed leaves no lock.
        first.Kill();
        await first.WaitForExitAsync();
        using var second = Start(Path.Combine(folder, "db"));
        Assert.StartsWith("listening ", await second.StandardOutput.ReadLineAsync(), StringComparison.Ordinal);
        second.Kill();
        await second.WaitForExitAsync();
    }

    [Fact]
    public async Task A_lease_ends_in_its_time_whatever_the_clock_says_and_begins_anew_with_the_server()
    {
        var time = new FakeTime();
        var path = Path.Combine(Fixture.NewFolder("clock"), "wandb.db");
        await using (var target = await Target.StartAsync(TimeSpan.FromSeconds(60), time, path))
        {
            await target.WithQueueAsync();
            await target.PushAsync("[{\"runSpec\":{\"n\":1}}]");
            Assert.NotNull(await target.PopAsync());
            time.SetWall(-TimeSpan.FromDays(1));
            time.Advance(TimeSpan.FromSeconds(59));
            Assert.Null(await target.PopAsync());
            time.SetWall(TimeSpan.FromDays(3));
            Assert.Null(await target.PopAsync());
            time.SetWall(-TimeSpan.FromDays(1));
            time.Advance(TimeSpan.FromSeconds(2));
            Assert.NotNull(await target.PopAsync());
            time.Advance(TimeSpan.FromSeconds(50));
        }

        await using (var target = await Target.StartAsync(TimeSpan.FromSeconds(60), time, path))
        {
            time.Advance(TimeSpan.FromSeconds(50));
            Assert.Null(await target.PopAsync());
            time.Advance(TimeSpan.FromSeconds(11));
            Assert.NotNull(await target.PopAsync());
        }
    }

    [Fact]
    public async Task Names_that_would_be_paths_or_lines_are_refused()
    {
        await using var target = await Target.StartAsync();
        string[] bad = [".", "..", "a/b", "a\\b", "r1\n", "\nr1", "a\0b", "a\u0007", new string('x', 129), ""];
        string[] kinds =
        [
            "mutation($n: String!) { x: upsertBucket(input: {name: $n, modelName: \"p\", entityName: \"local\"}) { inserted } }",
            "mutation($n: String!) { x: upsertBucket(input: {name: \"ok\", modelName: $n, entityName: \"local\"}) { inserted } }",
            "mutation($n: String!) { x: upsertBucket(input: {name: \"ok\", modelName: \"p\", entityName: $n}) { inserted } }",
            "mutation($n: String!) { x: upsertModel(input: {name: $n, entityName: \"local\"}) { inserted } }",
            "mutation($n: String!) { x: createRunQueue(input: {entityName: \"local\", projectName: \"p\", queueName: $n, access: PROJECT}) { queueID } }",
            "mutation($n: String!) { x: upsertRunQueue(input: {entityName: \"local\", projectName: \"p\", queueName: $n, resourceType: \"x\", resourceConfig: \"{}\"}) { success } }",
            "mutation($n: String!) { x: createArtifact(input: {entityName: \"local\", projectName: \"p\", artifactTypeName: \"job\", artifactCollectionName: $n, digest: \"d\"}) { artifact { id } } }",
            "mutation($n: String!) { x: createArtifact(input: {entityName: \"local\", projectName: \"p\", artifactTypeName: $n, artifactCollectionName: \"a\", digest: \"d\"}) { artifact { id } } }",
            "mutation($n: String!) { x: createArtifact(input: {entityName: \"local\", projectName: \"p\", artifactTypeName: \"job\", artifactCollectionNames: [$n], digest: \"d\"}) { artifact { id } } }",
            "mutation($n: String!) { x: createArtifact(input: {entityName: \"local\", projectName: \"p\", artifactTypeName: \"job\", artifactCollectionName: \"a\", digest: \"d\", aliases: [{artifactCollectionName: \"a\", alias: $n}]}) { artifact { id } } }",
        ];
        foreach (var query in kinds)
        {
            foreach (var n in bad)
            {
                using var answer = await target.GraphQLAsync(query, new { n });
                Assert.True(
                    answer.RootElement.TryGetProperty("errors", out var errors),
                    query + JsonSerializer.Serialize(n)
                );
                Assert.Contains("cannot be", errors[0].GetProperty("message").GetString()!, StringComparison.Ordinal);
            }
        }

        foreach (var table in new[] { "projects", "runs", "queues" })
        {
            Assert.Equal(0L, target.Sql<long>("SELECT COUNT(*) FROM " + table));
        }

        using (var connection = await target.ConnectAsync())
        {
            await connection.Api.UpsertRunAsync(new RunUpsert("r1", "local", "p"), default);
        }

        foreach (
            var file in new[] { "..", "../x", "a/../../x", "/etc/x", "a//b", "a\\b", "a\nb", "", new string('x', 1025) }
        )
        {
            using var answer = await target.GraphQLAsync(
                "mutation($n: String!) { createRunFiles(input: {entityName: \"local\", projectName: \"p\", runName: \"r1\", files: [$n]}) { runID } }",
                new { n = file }
            );
            Assert.True(answer.RootElement.TryGetProperty("errors", out _), file);
            using var part = await target.GraphQLAsync(
                "mutation($n: String!) { createArtifactFiles(input: {artifactFiles: [{artifactID: \"1\", name: $n, md5: \"x\"}]}) { files { edges { node { name } } } } }",
                new { n = file }
            );
            Assert.True(part.RootElement.TryGetProperty("errors", out _), file);
        }

        foreach (var file in new[] { "a%2F..%2F..%2Fx", "..%2Fx", "%5C..%5Cx", "a%0Ab", "a//b", "%2Fx" })
        {
            var (status, text) = await target.SendAsync(HttpMethod.Put, "/files/local/p/r1/" + file, [1], null);
            Assert.True(status == 400, file + status + text);
        }

        Assert.Equal(0L, target.Sql<long>("SELECT COUNT(*) FROM files"));
        Assert.Equal(
            200,
            (await target.SendAsync(HttpMethod.Put, "/files/local/p/r1/media/%C3%A4%20b.txt", [1], null)).Status
        );
        Assert.Equal("media/ä b.txt", target.Sql<string>("SELECT name FROM files"));
    }

    [Fact]
    public async Task Configs_summaries_and_history_are_json_objects()
    {
        await using var target = await Target.StartAsync();
        using (var connection = await target.ConnectAsync())
        {
            await connection.Api.UpsertRunAsync(
                new RunUpsert("r1", "local", "p") { Summary = "{\"loss\":1}" },
                default
            );
        }

        foreach (var text in new[] { "", "x", "{", "[1]", "5", "null", "\"t\"", "{\"a\":NaNx}", "{\"a\":1}{}" })
        {
            foreach (var field in new[] { "config", "summaryMetrics" })
            {
                using var answer = await target.GraphQLAsync(
                    "mutation($t: JSONString!) { upsertBucket(input: {name: \"r1\", modelName: \"p\", entityName: \"local\", "
                        + field
                        + ": $t}) { inserted } }",
                    new { t = text }
                );
                Assert.Contains(
                    field,
                    answer.RootElement.GetProperty("errors")[0].GetProperty("message").GetString()!,
                    StringComparison.Ordinal
                );
            }

            foreach (var file in new[] { "wandb-summary.json", "wandb-history.jsonl" })
            {
                var (status, why) = await target.PostAsync(
                    "/files/local/p/r1/file_stream",
                    JsonSerializer.Serialize(
                        new
                        {
                            files = new Dictionary<string, object>
                            {
                                ["output.log"] = new { offset = 0, content = new[] { "line\n" } },
                                [file] = new { offset = 0, content = new[] { text } },
                            },
                        }
                    )
                );
                Assert.True(
                    status == 400 && Reason(why).Contains(file, StringComparison.Ordinal),
                    $"{text}: {status} {why}"
                );
            }
        }

        // All or nothing.
        Assert.Equal("{\"loss\":1}", target.Sql<string>("SELECT summary FROM runs"));
        Assert.Equal(0L, target.Sql<long>("SELECT COUNT(*) FROM console"));

        // Python writes a loss that has run away as NaN, which is no JSON: it becomes the text that the SDK's own history has.
        var (ok, said) = await target.PostAsync(
            "/files/local/p/r1/file_stream",
            JsonSerializer.Serialize(
                new
                {
                    files = new Dictionary<string, object>
                    {
                        ["wandb-summary.json"] = new
                        {
                            offset = 0,
                            content = new[]
                            {
                                "{\"loss\": NaN, \"t\": \"NaN \\\" NaN\", \"l\": [Infinity, -Infinity, -1]}",
                            },
                        },
                    },
                }
            )
        );
        Assert.True(ok == 200, said);
        Assert.Equal(
            "{\"loss\": \"NaN\", \"t\": \"NaN \\\" NaN\", \"l\": [\"Infinity\", \"-Infinity\", -1]}",
            target.Sql<string>("SELECT summary FROM runs")
        );
    }

    private static string Reason(string text)
    {
        using var document = JsonDocument.Parse(text);
        return ServerFaults.ErrorText(document.RootElement);
    }

    private static async Task<byte[]> ReadSharedAsync(string file)
    {
        await using var stream = new FileStream(
            file,
            FileMode.Open,
            FileAccess.Read,
            FileShare.ReadWrite | FileShare.Delete
        );
        using var copy = new MemoryStream();
        await stream.CopyToAsync(copy);
        return copy.ToArray();
    }

    // What is beside the database and belongs to no server's work.
    private static Dictionary<string, string> Snapshot(string folder) =>
        Directory
            .EnumerateFileSystemEntries(folder, "*", SearchOption.AllDirectories)
            .Where(f => !f.Contains(".lock", StringComparison.Ordinal) && !f.EndsWith("-shm", StringComparison.Ordinal))
            .ToDictionary(
                f => f,
                f =>
                    Directory.Exists(f)
                        ? "folder"
                        : Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(f)))
            );

    private static Process Start(string path, params string[] more)
    {
        var start = new ProcessStartInfo("dotnet")
        {
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            WorkingDirectory = Path.GetTempPath(),
        };
        foreach (var argument in (string[])[typeof(LaunchServer).Assembly.Location, "--path", path, .. more])
        {
            start.ArgumentList.Add(argument);
        }

        start.Environment["WANDBLAUNCH_SERVER_KEY"] = Fixture.Key;
        return Process.Start(start)!;
    }

    private static (int Code, string Output, string Error) Serve(string path, params string[] more)
    {
        using var process = Start(path, more);
        var error = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEndAsync();
        if (!process.WaitForExit(30_000))
        {
            process.Kill();
            Assert.Fail($"a server runs on {path}: {output.Result}");
        }

        return (process.ExitCode, output.Result, error.Result);
    }

    /// <summary>Two clocks: one that anyone can set, and one that only goes on.</summary>
    private sealed class FakeTime : TimeProvider
    {
        private long _ticks = 1_000_000;
        private TimeSpan _wall;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public override long GetTimestamp() => Interlocked.Read(ref _ticks);

        public override DateTimeOffset GetUtcNow() => DateTimeOffset.UtcNow + _wall;

        internal void Advance(TimeSpan by) => Interlocked.Add(ref _ticks, by.Ticks);

        internal void SetWall(TimeSpan away) => _wall = away;
    }
}
