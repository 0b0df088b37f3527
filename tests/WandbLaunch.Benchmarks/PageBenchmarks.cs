using System.Diagnostics;
using System.Globalization;
using System.Net.Http.Headers;
using System.Text.Json.Nodes;
using Microsoft.Playwright;

namespace WandbLaunch.Benchmarks;

/// <summary>The server's page over a large database: what a person waits for in Chromium, and what open pages cost the server.</summary>
internal static class PageBenchmarks
{
    private const int Runs = 100_000;
    private const int Items = 10_000;
    private const int Rows = 100_000;
    private const int Rounds = 5;

    private static string Chromium =>
        Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_CHROMIUM") ?? "/usr/bin/chromium";

    internal static async Task RunAsync(string root)
    {
        var database = AgentBenchmarks.NewDatabase("page");
        AgentBenchmarks.Stop(database.Path);
        using (
            var seed = Process.Start(
                "python3",
                [
                    Path.Combine(root, "tests", "WandbLaunch.Benchmarks", "page-data.py"),
                    database.Path,
                    .. new[] { Runs, Items, Rows }.Select(n => n.ToString(CultureInfo.InvariantCulture)),
                ]
            )
        )
        {
            await seed.WaitForExitAsync();
            if (seed.ExitCode != 0)
            {
                throw new InvalidOperationException("page-data.py failed.");
            }
        }

        // By itself, so that its processor time is known.
        using var server = Process.Start(
            new ProcessStartInfo(
                "dotnet",
                [
                    Path.Combine(Program.ModuleFolder, "server", "WandbLaunch.Server.dll"),
                    "--path",
                    database.Path,
                    "--port",
                    "0",
                ]
            )
            {
                RedirectStandardOutput = true,
                Environment = { ["WANDBLAUNCH_SERVER_KEY"] = database.Key },
            }
        )!;
        try
        {
            var url = (await server.StandardOutput.ReadLineAsync())!.Split(' ')[1];
            using var client = new HttpClient { BaseAddress = new Uri(url), Timeout = TimeSpan.FromMinutes(5) };
            client.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", database.Key);
            await AskAsync(server, client);
            if (File.Exists(Chromium))
            {
                await LookAsync(url, database.Key);
            }
            else
            {
                Console.WriteLine(
                    "What a person waits for is not measured: there is no Chromium (WANDBLAUNCH_TEST_CHROMIUM)."
                );
            }

            await OpenAsync(server, client);
        }
        finally
        {
            server.Kill();
            await server.WaitForExitAsync();
        }
    }

    // The server's own part: the median of the clock and of its processor time.
    private static async Task AskAsync(Process server, HttpClient client)
    {
        const string Where = "entity=local&project=bench&first=100";
        var runs = string.Join(',', Enumerable.Range(0, 20).Select(i => $"r{i:0000000}"));
        var keys = Uri.EscapeDataString(string.Join('\n', Enumerable.Range(0, 10).Select(i => $"k{i}/loss")));
        var filter = Uri.EscapeDataString("{\"config.optimizer\":{\"$eq\":\"adam\"}}");
        foreach (
            var (what, path, bound) in new[]
            {
                ("newest of 100,000 runs", $"/page/runs?{Where}", "0.3 s"),
                ("names of columns", "/page/runs/keys?entity=local&project=bench", "0.3 s"),
                ("runs sorted by a summary's key", $"/page/runs?{Where}&sort=summary.loss", "0.3 s"),
                ("runs sorted by a config's key", $"/page/runs?{Where}&sort=-config.lr", "0.3 s"),
                ("runs filtered by a config's key", $"/page/runs?{Where}&filter={filter}", "0.3 s"),
                ("queues with 10,000 items", "/page/queues", "0.3 s"),
                (
                    "20 runs x 10 keys x 100,000 points",
                    $"/page/run/history?{Where}&runs={runs}&keys={keys}&points=800",
                    "1.5 s with the drawing"
                ),
            }
        )
        {
            var (clock, work) = (new List<double>(), new List<double>());
            var bytes = 0;
            for (var i = 0; i < Rounds; i++)
            {
                var (watch, before) = (Stopwatch.StartNew(), Used(server));
                bytes = (await client.GetByteArrayAsync(new Uri(path, UriKind.Relative))).Length;
                clock.Add(watch.Elapsed.TotalMilliseconds);
                work.Add((Used(server) - before).TotalMilliseconds);
            }

            Console.WriteLine(
                $"{what}: {Program.Median(clock):0} ms, first {clock[0]:0} ms; processor time {Program.Median(work):0} ms; {bytes / 1024.0:0} kB (at most {bound})"
            );
        }
    }

    private static async Task LookAsync(string url, string key)
    {
        using var playwright = await Playwright.CreateAsync();
        await using var browser = await playwright.Chromium.LaunchAsync(
            new() { ExecutablePath = Chromium, Args = ["--no-sandbox", "--disable-gpu", "--disable-quic"] }
        );
        string state;
        await using (var first = await browser.NewContextAsync(new() { BaseURL = url }))
        {
            var page = await first.NewPageAsync();
            await page.GotoAsync("/");
            await page.FillAsync("#key", key);
            await page.ClickAsync("#sign-in button");
            await page.WaitForSelectorAsync("#sign-in", new() { State = WaitForSelectorState.Hidden });
            state = await first.StorageStateAsync();
        }

        var (cold, sorted, filtered, drawn) = (
            new List<double>(),
            new List<double>(),
            new List<double>(),
            new List<double>()
        );
        for (var i = 0; i < Rounds; i++)
        {
            // Another context has an empty cache.
            await using var context = await browser.NewContextAsync(
                new()
                {
                    BaseURL = url,
                    StorageState = state,
                    // What is waited for is said as a text, which the page's policy does not let anybody run.
                    BypassCSP = true,
                }
            );
            var page = await context.NewPageAsync();
            page.SetDefaultTimeout(120_000);
            cold.Add(
                await TimeAsync(
                    page,
                    () => page.GotoAsync("/local/bench"),
                    "document.querySelector('.virtual tbody a')"
                )
            );
            sorted.Add(
                await TimeAsync(
                    page,
                    () => page.GetByRole(AriaRole.Button, new() { Name = "summary.loss" }).ClickAsync(),
                    "document.querySelector('.virtual tbody a')?.textContent !== window.before"
                )
            );
            var query = Uri.EscapeDataString("[[\"config.optimizer\",\"=\",\"adam\"]]");
            filtered.Add(
                await TimeAsync(
                    page,
                    () =>
                        page.EvaluateAsync(
                            $"history.pushState(null, '', '/local/bench?filter={query}'); dispatchEvent(new PopStateEvent('popstate'))"
                        ),
                    "document.querySelector('main [role=status]')?.textContent.startsWith('33,')"
                )
            );
            await page.GotoAsync(
                "/local/bench?compare=" + string.Join(',', Enumerable.Range(0, 20).Select(n => $"r{n:0000000}"))
            );
            await page.WaitForFunctionAsync("document.querySelectorAll('figure canvas').length === 6");
            drawn.Add(
                await TimeAsync(
                    page,
                    () => page.GetByRole(AriaRole.Button, new() { Name = "More charts" }).ClickAsync(),
                    // A chart that waits for its numbers says of each run that it has none.
                    "document.querySelectorAll('figure .plot').length === 10 && [...document.querySelectorAll('figure .plot')].every(p => !p.ariaLabel.includes(': none'))"
                )
            );
        }

        Console.WriteLine($"first view of 100,000 runs, nothing kept: {Program.Median(cold):0} ms (at most 1,000)");
        Console.WriteLine($"sorted by a summary's key, seen: {Program.Median(sorted):0} ms (at most 300)");
        Console.WriteLine($"filtered by a config's key, seen: {Program.Median(filtered):0} ms (at most 300)");
        Console.WriteLine(
            $"20 runs x 10 charts x 100,000 points, asked for and drawn: {Program.Median(drawn):0} ms (at most 1,500)"
        );
    }

    private static async Task<double> TimeAsync(IPage page, Func<Task> act, string until)
    {
        await page.EvaluateAsync("window.before = document.querySelector('.virtual tbody a')?.textContent");
        var clock = Stopwatch.StartNew();
        await act();
        await page.WaitForFunctionAsync(until);
        return clock.Elapsed.TotalMilliseconds;
    }

    // What open pages cost: each has one stream. Half a minute of nothing, and half a minute with a run a second.
    private static async Task OpenAsync(Process server, HttpClient client)
    {
        foreach (var (pages, changes) in new[] { (1, false), (50, false), (50, true) })
        {
            using var stop = new CancellationTokenSource();
            var streams = Enumerable.Range(0, pages).Select(_ => ListenAsync(client, stop.Token)).ToList();
            await Task.Delay(5_000);
            var (before, clock) = (Used(server), Stopwatch.StartNew());
            for (var i = 0; i < 30; i++)
            {
                if (changes)
                {
                    await client.PostAsync(
                        new Uri("/graphql", UriKind.Relative),
                        new StringContent(
                            new JsonObject
                            {
                                ["query"] =
                                    $"mutation {{ upsertBucket(input: {{entityName: \"local\", modelName: \"bench\", name: \"new{i}\"}}) {{ inserted }} }}",
                            }.ToJsonString(),
                            System.Text.Encoding.UTF8,
                            "application/json"
                        )
                    );
                }

                await Task.Delay(1_000);
            }

            var share = (Used(server) - before) / clock.Elapsed * 100;
            await stop.CancelAsync();
            await Task.WhenAll(streams);
            Console.WriteLine(
                $"{pages} open {(pages == 1 ? "page" : "pages")}, {(changes ? "a run a second" : "nothing happens")}: {share:0.00} % of a core (at most {(pages == 1 ? "0.1" : "5")} %)"
            );
        }
    }

    private static async Task ListenAsync(HttpClient client, CancellationToken token)
    {
        try
        {
            using var answer = await client.GetAsync(
                new Uri("/page/events", UriKind.Relative),
                HttpCompletionOption.ResponseHeadersRead,
                token
            );
            await using var stream = await answer.Content.ReadAsStreamAsync(token);
            var buffer = new byte[4096];
            while (await stream.ReadAsync(buffer, token) > 0) { }
        }
        catch (OperationCanceledException)
        {
            // The page is closed.
        }
    }

    private static TimeSpan Used(Process server)
    {
        server.Refresh();
        return server.TotalProcessorTime;
    }
}
