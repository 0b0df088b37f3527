using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using Microsoft.Playwright;

namespace WandbLaunch.IntegrationTests;

/// <summary>A real browser, signed in to the server's page, and then on a page of someone else: of another port, and of another name.</summary>
public sealed class HostileBrowserTests : IAsyncDisposable
{
    private const string Key = "local-0123456789012345678901234567890123456789";

    private readonly string _folder = Directory
        .CreateDirectory(Path.Combine(Machine.Root, "browser-" + Guid.NewGuid().ToString("n")[..6]))
        .FullName;
    private readonly List<string> _cookiesSeen = [];
    private System.Diagnostics.Process? _server;
    private HttpListener? _evil;

    private static string Chromium =>
        Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_CHROMIUM") ?? "/usr/bin/chromium";

    [Fact]
    public async Task A_page_of_another_site_queues_nothing_and_stops_nothing()
    {
        Machine.Need(File.Exists(Chromium), "Chromium at /usr/bin/chromium");
        var url = await StartServerAsync();
        using var api = new HttpClient { BaseAddress = new Uri(url) };
        api.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue(
            "Basic",
            Convert.ToBase64String(Encoding.UTF8.GetBytes("api:" + Key))
        );
        await AskAsync(
            api,
            "mutation { createRunQueue(input: {entityName: \"local\", projectName: \"model-registry\", queueName: \"q\", access: PROJECT}) { queueID } }"
        );
        var port = StartEvil(url);

        using var playwright = await Playwright.CreateAsync();
        await using var browser = await playwright.Chromium.LaunchPersistentContextAsync(
            Path.Combine(_folder, "profile"),
            new BrowserTypeLaunchPersistentContextOptions
            {
                ExecutablePath = Chromium,
                Headless = true,
                Args =
                [
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-quic",
                    "--no-first-run",
                    "--disable-background-networking",
                    "--disable-component-update",
                    "--disable-sync",
                ],
            }
        );

        // Signed in by the form; the browser asks for no password by itself, and runs nothing that the page does not name.
        var page = await browser.NewPageAsync();
        var complaints = new List<string>();
        page.Console += (_, message) =>
        {
            if (message.Text.Contains("Content Security Policy", StringComparison.Ordinal))
            {
                complaints.Add(message.Text);
            }
        };
        await page.GotoAsync(url);
        await page.FillAsync("#key", "wrong");
        await page.ClickAsync("#sign-in button");
        await Assertions.Expect(page.Locator("#sign-in-fault")).ToContainTextAsync("not a key of this server");
        await page.FillAsync("#key", Key);
        await page.ClickAsync("#sign-in button");
        await Assertions.Expect(page.Locator("#content")).ToContainTextAsync("local/model-registry");
        await page.ReloadAsync();
        await Assertions.Expect(page.Locator("#content")).ToContainTextAsync("local/model-registry");
        Assert.Empty(complaints);
        Assert.Equal("", await page.EvaluateAsync<string>("document.cookie"));

        // The browser also has the key as it was remembered before there were sessions.
        var old = await browser.NewPageAsync();
        await old.GotoAsync(url.Replace("http://", $"http://api:{Key}@", StringComparison.Ordinal));

        // Each name of this machine: another port of the same host is the same site to a browser, and its cookies go there.
        foreach (var host in new[] { "127.0.0.1", "localhost" })
        {
            foreach (var attack in Attacks.Keys)
            {
                var evil = await browser.NewPageAsync();
                await evil.GotoAsync($"http://{host}:{port}/{attack}");
                await Assertions.Expect(evil).ToHaveTitleAsync("done", new() { Timeout = 20_000 });
                await evil.CloseAsync();
            }
        }

        // What its servers make of the cookies that the browser brought them: half of a session opens nothing.
        var stolen = _cookiesSeen.Where(c => c.Contains("wandblaunch_", StringComparison.Ordinal)).Distinct().ToList();
        Assert.NotEmpty(stolen);
        using var thief = new HttpClient(new SocketsHttpHandler { UseCookies = false });
        foreach (var cookie in stolen)
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, url + "/graphql")
            {
                Content = new StringContent(Push(url, "json"), Encoding.UTF8, "application/json"),
            };
            request.Headers.Add("Cookie", cookie);
            Assert.Equal(HttpStatusCode.Unauthorized, (await thief.SendAsync(request)).StatusCode);
        }

        // Nothing came of it, the server lives, and its own page still works.
        Assert.False(_server!.HasExited);
        var data = await AskAsync(
            api,
            "{ project(name: \"model-registry\", entityName: \"local\") { runQueue(name: \"q\") { itemCount } } }"
        );
        Assert.Contains("\"itemCount\":0", data, StringComparison.Ordinal);
        await page.ReloadAsync();
        await Assertions.Expect(page.Locator("#content")).ToContainTextAsync("local/model-registry");

        // The same push from the page itself goes through: it was the origin that was refused.
        var own = await page.EvaluateAsync<int>(
            "async body => (await fetch('/graphql', { method: 'POST', headers: { 'Content-Type': 'application/json', 'X-WandbLaunch-Session': localStorage.getItem('wandblaunch-session') }, body })).status",
            Push(url, "json")
        );
        Assert.Equal(200, own);
        Assert.Contains(
            "\"itemCount\":1",
            await AskAsync(
                api,
                "{ project(name: \"model-registry\", entityName: \"local\") { runQueue(name: \"q\") { itemCount } } }"
            ),
            StringComparison.Ordinal
        );

        // Out is out.
        await page.ClickAsync("#sign-out");
        await Assertions.Expect(page.Locator("#sign-in")).ToBeVisibleAsync();
        await page.ReloadAsync();
        await Assertions.Expect(page.Locator("#sign-in")).ToBeVisibleAsync();
    }

    // What is on the other site's pages. A form of text/plain sends name=value, so the JSON hides its = in a text.
    private static readonly Dictionary<string, Func<string, string>> Attacks = new(StringComparer.Ordinal)
    {
        ["form"] = url => Form(url + "/graphql", "text/plain", Push(url, "form")),
        ["form-batch"] = url =>
            Form(
                    url + "/queues/push?entity=local&project=model-registry&queue=q",
                    "text/plain",
                    "[{\"runSpec\":{\"uri\":\"x\",\"pad\":\"="
                )
                .Replace("FORMEND", "\"}}]", StringComparison.Ordinal),
        ["form-shutdown"] = url => Form(url + "/shutdown", "application/x-www-form-urlencoded", "{"),
        ["no-cors"] = url => Fetches(url, "no-cors"),
        ["cors"] = url => Fetches(url, "cors"),
        ["beacon"] = url =>
            Script(
                $"for (const type of ['text/plain', 'application/json']) try {{ navigator.sendBeacon('{url}/graphql', new Blob([{JsonSerializer.Serialize(Push(url, "beacon"))}], {{ type }})) }} catch {{}}\nnavigator.sendBeacon('{url}/shutdown'); await new Promise(r => setTimeout(r, 500));"
            ),
        ["frame"] = url =>
            Script(
                $"const f = document.body.appendChild(document.createElement('iframe')); f.src = '{url}/'; await new Promise(r => {{ f.onload = r; f.onerror = r; setTimeout(r, 2000); }}); let seen = false; try {{ seen = !!f.contentDocument.querySelector('#content'); }} catch {{}} if (seen) throw new Error('framed');"
            ),
    };

    private static string Push(string url, string why) =>
        JsonSerializer.Serialize(
            new
            {
                query = "mutation { pushToRunQueueByName(input: {entityName: \"local\", projectName: \"model-registry\", queueName: \"q\", runSpec: \"{}\"}) { runQueueItemId } }",
                pad = why + "=" + url,
            }
        );

    private static string Form(string action, string type, string body)
    {
        var at = body.IndexOf("pad\":\"", StringComparison.Ordinal);
        var split = at < 0 ? body.Length : body.IndexOf('=', at);
        var (name, value) = split >= body.Length ? (body, "FORMEND") : (body[..split], body[(split + 1)..] + "FORMEND");
        var made =
            $"<form id=f target=t method=post enctype='{type}' action='{action}'><input name='{WebUtility.HtmlEncode(name)}' value='{WebUtility.HtmlEncode(value)}'></form><iframe name=t></iframe>";
        return (body.StartsWith('[') ? made : made.Replace("FORMEND", "", StringComparison.Ordinal))
            + Script(
                "const t = document.querySelector('iframe'); document.getElementById('f').submit(); await new Promise(r => { t.onload = r; setTimeout(r, 3000); });"
            );
    }

    private static string Fetches(string url, string mode)
    {
        var body = JsonSerializer.Serialize(Push(url, mode));
        return Script(
            $$"""
            for (const host of ['127.0.0.1', 'localhost', '[::1]']) {
              const base = '{{url}}'.replace('127.0.0.1', host);
              const send = (path, init) => fetch(base + path, { mode: '{{mode}}', credentials: 'include', ...init }).catch(() => {});
              await send('/graphql', { method: 'POST', body: {{body}} });
              await send('/graphql', { method: 'POST', body: {{body}}, headers: { 'Content-Type': 'application/json' } });
              await send('/graphql', { method: 'POST', body: {{body}}, headers: { 'Content-Type': 'application/json', 'X-WandbLaunch-Session': 'x' } });
              await send('/queues/push?entity=local&project=model-registry&queue=q', { method: 'POST', body: '[{"runSpec": {"uri": "x"} }]' });
              await send('/shutdown', { method: 'POST' });
              await send('/shutdown', { method: 'POST', body: '{}', headers: { 'Content-Type': 'application/json' } });
              await send('/session', { method: 'DELETE' });
              const read = await send('/', {});
              if (read && read.type !== 'opaque') throw new Error('readable');
            }
            """
        );
    }

    private static string Script(string text) =>
        $"<script>(async () => {{ try {{ {text} document.title = 'done'; }} catch (e) {{ document.title = 'failed: ' + e; }} }})()</script>";

    private async Task<string> StartServerAsync()
    {
        _server = Machine.Start(
            "dotnet",
            [
                Path.Combine(Machine.Module, "server", "WandbLaunch.Server.dll"),
                "--path",
                Path.Combine(_folder, "wandb.db"),
            ],
            _folder,
            ("WANDBLAUNCH_SERVER_KEY", Key)
        );
        var line = await _server!.StandardOutput.ReadLineAsync();
        Assert.StartsWith("listening ", line, StringComparison.Ordinal);
        return line!["listening ".Length..];
    }

    private int StartEvil(string url)
    {
        var probe = new TcpListener(IPAddress.Loopback, 0);
        probe.Start();
        var port = ((IPEndPoint)probe.LocalEndpoint).Port;
        probe.Stop();
        _evil = new HttpListener();
        _evil.Prefixes.Add($"http://127.0.0.1:{port}/");
        _evil.Prefixes.Add($"http://localhost:{port}/");
        _evil.Start();
        _ = Task.Run(async () =>
        {
            while (_evil.IsListening)
            {
                HttpListenerContext context;
                try
                {
                    context = await _evil.GetContextAsync();
                }
                catch (Exception e) when (e is HttpListenerException or ObjectDisposedException)
                {
                    return;
                }

                if (context.Request.Headers["Cookie"] is { } cookie)
                {
                    _cookiesSeen.Add(cookie);
                }

                var attack = Attacks.GetValueOrDefault(context.Request.Url!.AbsolutePath.Trim('/'));
                context.Response.ContentType = "text/html; charset=utf-8";
                await context.Response.OutputStream.WriteAsync(
                    Encoding.UTF8.GetBytes("<!doctype html><body>" + attack?.Invoke(url))
                );
                context.Response.Close();
            }
        });
        return port;
    }

    private static async Task<string> AskAsync(HttpClient api, string query)
    {
        using var response = await api.PostAsync(
            "/graphql",
            new StringContent(JsonSerializer.Serialize(new { query }), Encoding.UTF8, "application/json")
        );
        return await response.Content.ReadAsStringAsync();
    }

    public async ValueTask DisposeAsync()
    {
        _evil?.Close();
        if (_server is { HasExited: false })
        {
            _server.Kill();
            await _server.WaitForExitAsync();
        }

        _server?.Dispose();
    }
}
