using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Deque.AxeCore.Commons;
using Deque.AxeCore.Playwright;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WandbLaunch.IntegrationTests;

/// <summary>The server's page in a real browser.</summary>
public sealed class PageTests(PageSite site) : IClassFixture<PageSite>
{
    private static readonly string[] Hostile =
    [
        "<img src=x onerror=\"document.title='pwned'\">",
        "</script><script>alert(1)</script>",
        "\u202egnp.exe \u2066back\u2069",
        "{{constructor}} ${7*7} &lt;b&gt; '\"",
    ];

    [Fact]
    public async Task Every_view_is_accessible_in_both_themes_and_fits_a_phone()
    {
        Machine.Need(File.Exists(PageSite.Chromium), "Chromium at /usr/bin/chromium");
        var queue = await site.QueueAsync("axe", "V0");
        for (var i = 0; i < 3; i++)
        {
            await site.RunAsync("axe", $"run{i}", config: new JsonObject { ["lr"] = new JsonObject { ["value"] = i } });
            await site.StreamAsync(
                "axe",
                $"run{i}",
                new Dictionary<string, object>
                {
                    ["wandb-history.jsonl"] = new
                    {
                        offset = 0,
                        content = Enumerable.Range(0, 50).Select(s => $"{{\"_step\":{s},\"loss\":{50 - s}}}"),
                    },
                    ["output.log"] = new
                    {
                        offset = 0,
                        content = new[]
                        {
                            "\u001b[31mred\u001b[0m and \u001b[1;32mgreen\u001b[0m",
                            "\u001b[44mon blue\u001b[0m",
                        },
                    },
                }
            );
        }

        var item = await site.PushAsync(
            queue,
            new
            {
                uri = $"{site.Url}/local/axe/runs/run1",
                project = "axe",
                overrides = new { run_config = new { lr = 9 } },
            }
        );
        await site.AskAsync(
            $"mutation {{ createLaunchAgent(input: {{entityName: \"local\", projectName: \"model-registry\", runQueues: [\"{queue}\"], hostname: \"box\"}}) {{ launchAgentId }} }}"
        );
        var sweep = await site.SweepAsync("axe", ["run0", "run1", "run2"]);
        await site.ArtifactAsync("axe", "model", "run0", "run1");
        var views = new Dictionary<string, string>
        {
            ["/"] = "local/axe",
            ["/launch"] = "local/axe",
            [$"/launch?queue={queue}"] = "local/axe/runs/run1",
            [$"/launch?queue={queue}&item={item}"] = "config.lr",
            ["/launch?new=1"] = "Create queue",
            ["/local/axe"] = "3 runs",
            ["/local/axe?group=config.lr"] = "Group by",
            ["/local/axe/runs/run1"] = "loss",
            ["/local/axe/runs/run1?tab=config"] = "Summary",
            ["/local/axe/runs/run1?tab=log"] = "green",
            ["/local/axe/runs/run1?tab=files"] = "Artifacts that it used",
            ["/local/axe/sweeps"] = "grid",
            ["/local/axe/sweeps/" + sweep] = "Parameters against",
            ["/local/none/sweeps"] = "no such project",
            ["/local/axe/artifacts"] = "model",
            ["/local/axe/artifacts/model/model"] = "Lineage",
            ["/local/axe/artifacts/model/model/v0"] = "Used by",
            ["/local/axe/runs/run1?tab=launches"] = "Launch it again",
            ["/local/axe?compare=run0,run1,run2"] = "config.lr",
            ["/agents"] = "box",
            ["/monitor"] = "Time in the queue",
            ["/nothing/is/here"] = "Nothing is here",
        };
        foreach (var colours in new[] { ColorScheme.Light, ColorScheme.Dark })
        {
            await using var person = await site.OpenAsync("/", colours);
            foreach (var (view, text) in views)
            {
                await person.Page.GotoAsync(view);
                await Expect(person.Page.Locator("body")).ToContainTextAsync(text);
                await CheckAsync(person.Page, view, colours);
            }

            await person.Page.GotoAsync("/local/axe/runs/run1");
            await person.Named(AriaRole.Button, "Add to Launch queue").ClickAsync();
            await Expect(person.Page.GetByLabel("lr", new() { Exact = true })).ToHaveValueAsync("1");
            await CheckAsync(person.Page, "the form", colours);
            await person.Named(AriaRole.Tab, "JSON").ClickAsync();
            await CheckAsync(person.Page, "the JSON", colours);
            await person.Page.Keyboard.PressAsync("Escape");
            await person.Page.Keyboard.PressAsync("Control+k");
            await Expect(person.Named(AriaRole.Option, "Projects view")).ToBeVisibleAsync();
            await CheckAsync(person.Page, "the search", colours);
            if (colours == ColorScheme.Light)
            {
                await person.Page.SetViewportSizeAsync(360, 740);
                foreach (var (view, text) in views)
                {
                    await person.Page.GotoAsync(view);
                    await Expect(person.Page.Locator("body")).ToContainTextAsync(text);
                    Assert.True(
                        await person.Page.EvaluateAsync<int>(
                            "Math.max(document.documentElement.scrollWidth, ...[...document.querySelectorAll('dialog[open]')].map(d => d.getBoundingClientRect().right))"
                        ) <= 360,
                        $"{view} is wider than a phone"
                    );
                }
            }
        }
    }

    [Fact]
    public async Task From_a_project_to_its_sweep_its_best_run_and_what_that_made_and_an_agent_is_stopped()
    {
        Machine.Need(File.Exists(PageSite.Chromium), "Chromium at /usr/bin/chromium");
        for (var i = 0; i < 3; i++)
        {
            await site.RunAsync(
                "parts",
                $"p{i}",
                config: new JsonObject { ["lr"] = new JsonObject { ["value"] = 0.1 * (i + 1) } },
                summary: new { loss = 3 - i }
            );
        }

        await site.SweepAsync("parts", ["p0", "p1", "p2"]);
        await site.ArtifactAsync("parts", "weights", "p2", "p0");
        await site.AskAsync(
            $"mutation {{ createLaunchAgent(input: {{entityName: \"local\", projectName: \"model-registry\", runQueues: [\"{await site.QueueAsync("parts")}\"], hostname: \"parts-box\"}}) {{ launchAgentId }} }}"
        );
        await using var person = await site.OpenAsync("/local/parts");
        var page = person.Page;
        await person.Named(AriaRole.Link, "Sweeps").ClickAsync();
        await page.Locator("tbody a").First.ClickAsync();
        await Expect(page.Locator("main")).ToContainTextAsync("best so far 1");
        await Expect(page.Locator("tbody a").First).ToHaveTextAsync("p2");
        await Expect(page.Locator("figure circle")).ToHaveCountAsync(3);
        await page.Locator("tbody a").First.ClickAsync();
        await person.Named(AriaRole.Link, "Files and artifacts").ClickAsync();
        await page.GetByRole(AriaRole.Link, new() { Name = "weights:v0" }).ClickAsync();
        await Expect(page.Locator(".lineage")).ToContainTextAsync("p0");

        // A version that comes is there without a reload.
        await page.GetByRole(AriaRole.Link, new() { Name = "Artifacts" }).ClickAsync();
        await Expect(page.Locator("tbody tr")).ToContainTextAsync("v0");
        await site.ArtifactAsync("parts", "weights", "p1", "p0");
        await Expect(page.Locator("tbody tr")).ToContainTextAsync("v1", new() { Timeout = 60_000 });

        await page.Locator("nav >> text=Agents").ClickAsync();
        var row = page.Locator("tbody tr", new() { HasText = "parts-box" });
        await row.Locator("[aria-haspopup]").ClickAsync();
        await person.Named(AriaRole.Menuitem, "Stop").ClickAsync();
        await person.Named(AriaRole.Button, "Stop agent").ClickAsync();
        await Expect(row.Locator(".state")).ToHaveTextAsync("stopping", new() { Timeout = 60_000 });
    }

    [Fact]
    public async Task Charts_tell_what_is_below_the_pointer_and_look_closer_and_logs_have_their_colours()
    {
        Machine.Need(File.Exists(PageSite.Chromium), "Chromium at /usr/bin/chromium");
        await site.RunAsync("drawn", "d1");
        await site.StreamAsync(
            "drawn",
            "d1",
            new Dictionary<string, object>
            {
                ["wandb-history.jsonl"] = new
                {
                    offset = 0,
                    content = Enumerable.Range(0, 101).Select(s => $"{{\"_step\":{s},\"loss\":{s * 10},\"acc\":{s}}}"),
                },
                ["output.log"] = new
                {
                    offset = 0,
                    content = new[]
                    {
                        "\u001b[1;31mred",
                        "still\u001b[22;39m plain \u001b[38;5;196mcube\u001b[48;2;1;2;3mback\u001b[0m",
                        "\u001b]0;title\u0007\u001b[2K\u001b[?25lbare\u001b[",
                        "\u001b]8;;https://example.org\u0007linked\u001b]8;;\u0007",
                        "10 %\r100 %",
                    },
                },
            }
        );
        await using var person = await site.OpenAsync("/local/drawn/runs/d1");
        var page = person.Page;
        await Expect(page.Locator("figure canvas")).ToHaveCountAsync(2);
        var chart = page.Locator("figure", new() { HasText = "loss" });
        var box = (await chart.Locator("canvas").BoundingBoxAsync())!;
        var (left, width) = (box.X + 64, box.Width - 74);
        await page.Mouse.MoveAsync(left + width / 2, box.Y + 100);
        // Both charts say what they have there.
        await Expect(chart.Locator(".hint")).ToHaveTextAsync(new Regex(@": (490|500|510)\s*$"));
        await Expect(page.Locator("figure", new() { HasText = "acc" }).Locator(".hint"))
            .ToHaveTextAsync(new Regex(@": (49|50|51)\s*$"));

        // The right half, by dragging over it: its middle is three quarters of all.
        await page.Mouse.DownAsync();
        await page.Mouse.MoveAsync(left + width - 1, box.Y + 100);
        await page.Mouse.UpAsync();
        await page.Mouse.MoveAsync(left + width / 2, box.Y + 90);
        await Expect(chart.Locator(".hint")).ToHaveTextAsync(new Regex(@": (740|750|760)\s*$"));
        await chart.Locator("canvas").DblClickAsync();
        await page.Mouse.MoveAsync(left + width / 2 + 1, box.Y + 100);
        await Expect(chart.Locator(".hint")).ToHaveTextAsync(new Regex(@": (490|500|510)\s*$"));

        // Something is drawn, in the line's colour, also with a logarithmic axis and in the other theme.
        const string Drawn =
            "c => { const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; let n = 0; for (let i = 0; i < d.length; i += 4) if (d[i] === 0x4c && d[i + 1] === 0x78 && d[i + 2] === 0xd8) n++; return n; }";
        Assert.True(await chart.Locator("canvas").EvaluateAsync<int>(Drawn) > 50);
        await page.GetByLabel("logarithmic").CheckAsync();
        await page.GetByLabel(new Regex("^Colours")).ClickAsync();
        await Expect(page.GetByLabel("logarithmic")).ToBeCheckedAsync();
        Assert.True(await chart.Locator("canvas").EvaluateAsync<int>(Drawn) > 50);

        await page.GotoAsync("/local/drawn/runs/d1?tab=log");
        var lines = page.Locator("pre[role=log] > div");
        await Expect(lines).ToHaveTextAsync(["red", "still plain cubeback", "bare", "linked", "100 %"]);
        await Expect(lines.Nth(0).Locator("span")).ToHaveClassAsync("bold ansi-red-fg");
        var parts = lines.Nth(1).Locator("span");
        await Expect(parts.Nth(0)).ToHaveClassAsync("bold ansi-red-fg");
        await Expect(parts.Nth(1)).ToHaveClassAsync("");
        await Expect(parts.Nth(2)).ToHaveCSSAsync("color", "rgb(255, 0, 0)");
        await Expect(parts.Nth(3)).ToHaveCSSAsync("background-color", "rgb(1, 2, 3)");
        await Expect(lines.Nth(2).Locator("span").Last).ToHaveClassAsync("");
    }

    // What depends on colours is asked of both themes, all else of one.
    private static async Task CheckAsync(IPage page, string what, ColorScheme colours)
    {
        var result = await page.RunAxe(
            new AxeRunOptions
            {
                ResultTypes = [ResultType.Violations],
                RunOnly =
                    colours == ColorScheme.Light
                        ? null
                        : new RunOnlyOptions { Type = "rule", Values = ["color-contrast", "link-in-text-block"] },
            }
        );
        Assert.True(
            result.Violations.Length == 0,
            $"{what} ({colours}): {string.Join("; ", result.Violations.Select(v => $"{v.Id} at {v.Nodes[0].Html}"))}"
        );
    }

    [Fact]
    public async Task Hostile_names_logs_and_configs_are_texts()
    {
        Machine.Need(File.Exists(PageSite.Chromium), "Chromium at /usr/bin/chromium");
        var queue = await site.QueueAsync("<b onclick=alert(1)>q");
        var config = new JsonObject();
        foreach (var name in Hostile)
        {
            config[name] = new JsonObject { ["value"] = name };
        }

        for (var i = 0; i < 10_000; i++)
        {
            config[$"key{i:00000}"] = new JsonObject { ["value"] = i };
        }

        config["large"] = new JsonObject { ["value"] = new string('x', 1 << 20) };
        for (var i = 0; i < Hostile.Length; i++)
        {
            await site.RunAsync("hostile", $"h{i}", Hostile[i], i == 0 ? config : null);
            await site.StreamAsync(
                "hostile",
                $"h{i}",
                new Dictionary<string, object>
                {
                    ["output.log"] = new
                    {
                        offset = 0,
                        content = Hostile
                            .Append("\u001b]8;;javascript:alert(1)\u0007link\u001b]8;;\u0007")
                            .Append("\u001b[38;2;1;2;3;\"onmouseover=alert(1)m colour"),
                    },
                    ["wandb-history.jsonl"] = new
                    {
                        offset = 0,
                        content = new[]
                        {
                            new JsonObject { [Hostile[i]] = 1, ["_step"] = 0 }.ToJsonString(),
                            new JsonObject { [Hostile[i]] = 2, ["_step"] = 1 }.ToJsonString(),
                        },
                    },
                }
            );
        }

        var item = await site.PushAsync(
            queue,
            new
            {
                uri = $"{site.Url}/local/hostile/runs/h0",
                name = Hostile[0],
                author = Hostile[1],
                project = "hostile",
                overrides = new { run_config = new Dictionary<string, string> { [Hostile[0]] = Hostile[1] } },
            }
        );
        await site.ArtifactAsync("hostile", Hostile[0], "h0", "h1");
        var sweep = await site.SweepAsync("hostile", ["h0", "h1"], Hostile[1], Hostile[2], Hostile[3]);
        await using var person = await site.OpenAsync("/local/hostile");
        var page = person.Page;
        foreach (var name in Hostile)
        {
            await Expect(page.GetByRole(AriaRole.Link, new() { Name = name, Exact = true })).ToBeVisibleAsync();
        }

        foreach (
            var (view, text) in new[]
            {
                ("/local/hostile/runs/h0", Hostile[0]),
                ("/local/hostile/runs/h0?tab=config", Hostile[1]),
                ("/local/hostile/runs/h0?tab=log", Hostile[1]),
                ("/local/hostile?compare=h0,h1,h2,h3", Hostile[2]),
                ("/local/hostile?group=config." + Uri.EscapeDataString(Hostile[3]), "Group by"),
                ($"/launch?queue={queue}", Hostile[0]),
                ($"/launch?queue={queue}&item={item}", Hostile[1]),
                ("/local/hostile/artifacts", Hostile[0]),
                ($"/local/hostile/artifacts/model/{Uri.EscapeDataString(Hostile[0])}", Hostile[1]),
                ("/local/hostile/runs/h0?tab=files", Hostile[0]),
                ("/local/hostile/sweeps", Hostile[1]),
                ($"/local/hostile/sweeps/{sweep}", Hostile[3]),
                ("/monitor", "<b onclick=alert(1)>q"),
                (
                    "/local/hostile?filter=%5B%5B%22state%22,%22%3D%22,%22"
                        + Uri.EscapeDataString("<script>alert(1)</script>")
                        + "%22%5D%5D",
                    "<script>alert(1)</script>"
                ),
                ("/local/hostile?columns=%7Bnot", "4 runs"),
            }
        )
        {
            await page.GotoAsync(view);
            await Expect(page.Locator("body")).ToContainTextAsync(text);
            Assert.Equal(
                0,
                await page.Locator("#app img, #app script, #app b[onclick], #app a[href^='javascript:']").CountAsync()
            );
            // A name may stand in the title, as it is.
            Assert.NotEqual("pwned", await page.TitleAsync());
        }

        // A config of 10,000 keys and a megabyte opens in the form, and is searched there.
        await page.GotoAsync("/local/hostile/runs/h0");
        await person.Named(AriaRole.Button, "Add to Launch queue").ClickAsync();
        await page.GetByLabel("Search the config").FillAsync("key07777");
        await page.GetByLabel("key07777", new() { Exact = true }).FillAsync("1");
        await page.GetByText("As a command").ClickAsync();
        await Expect(page.Locator("form.push .command")).ToContainTextAsync("\"key07777\":1");
    }

    [Fact]
    public async Task What_one_does_the_other_sees_and_a_server_that_is_killed_takes_nothing_that_was_typed()
    {
        Machine.Need(File.Exists(PageSite.Chromium), "Chromium at /usr/bin/chromium");
        var queue = await site.QueueAsync("shared");
        await site.RunAsync("shared", "r1");
        await using var one = await site.OpenAsync($"/launch?queue={queue}");
        await using var two = await site.OpenAsync($"/launch?queue={queue}");
        await Expect(two.Page.Locator("main")).ToContainTextAsync("This queue is empty.");
        await one.Page.GotoAsync("/local/shared/runs/r1");
        await one.Named(AriaRole.Button, "Add to Launch queue").ClickAsync();
        await one
            .Page.GetByLabel("Queue", new() { Exact = true })
            .SelectOptionAsync(queue.ToString(System.Globalization.CultureInfo.InvariantCulture));
        await one.Page.GetByLabel("Name", new() { Exact = true }).FillAsync("typed before");
        await site.KillServerAsync();
        await Expect(two.Page.Locator(".live")).ToHaveTextAsync("no server");
        await one.Named(AriaRole.Button, "Push run").ClickAsync();
        await Expect(one.Page.Locator("form.push .fault")).ToContainTextAsync("does not answer");
        await site.StartServerAsync();

        // Sessions end with the server: each signs in again, over what was there.
        foreach (var person in new[] { one, two })
        {
            await Expect(person.Page.Locator("#sign-in")).ToBeVisibleAsync();
            await person.Page.FillAsync("#key", PageSite.Key);
            await person.Page.ClickAsync("#sign-in button");
            await Expect(person.Page.Locator(".live")).ToHaveTextAsync("live");
        }

        await Expect(one.Page.GetByLabel("Name", new() { Exact = true })).ToHaveValueAsync("typed before");
        await one.Named(AriaRole.Button, "Push run").ClickAsync();
        await Expect(two.Page.GetByRole(AriaRole.Link, new() { Name = "typed before" })).ToBeVisibleAsync();
        await one.Page.Keyboard.PressAsync("Escape");
        await one.Page.ClickAsync("text=Pause");
        await Expect(two.Page.Locator("main")).ToContainTextAsync("The queue is paused.");
    }

    [Fact]
    public async Task Queues_and_items_are_worked_with_by_mouse_and_by_keys()
    {
        Machine.Need(File.Exists(PageSite.Chromium), "Chromium at /usr/bin/chromium");
        await using var person = await site.OpenAsync("/launch");
        var page = person.Page;

        // A queue with a template variable, made in the form; what is wrong is said at its field.
        await page.GetByRole(AriaRole.Button, new() { Name = "Create queue" }).First.ClickAsync();
        await page.GetByLabel("Name", new() { Exact = true }).FillAsync("a/b");
        await page.Locator("dialog[open] footer .main").ClickAsync();
        await Expect(page.Locator(".field", new() { HasText = "Name" }).First.Locator(".fault"))
            .ToContainTextAsync("cannot be the name of a queue");
        await page.GetByLabel("Name", new() { Exact = true }).FillAsync("made");
        await page.GetByLabel("Resource", new() { Exact = true }).FillAsync("local-process");
        await page.GetByLabel("Priorities").SelectOptionAsync("V0");
        await page.GetByLabel("Configuration").FillAsync("{\"resource_args\": ");
        await Expect(page.Locator("dialog[open]")).ToContainTextAsync("This is not JSON yet");
        await page.GetByLabel("Configuration")
            .FillAsync("{\"resource_args\": {\"local-process\": {\"gpus\": \"{{gpus}}\"}}}");
        await person.Named(AriaRole.Button, "Add a variable").ClickAsync();
        await page.GetByLabel("Name of variable 1").FillAsync("gpus");
        await page.GetByLabel("Type of variable 1").SelectOptionAsync("integer");
        await page.GetByLabel("Maximum of variable 1").FillAsync("8");
        await page.Locator("dialog[open] footer .main").ClickAsync();
        await Expect(page.Locator("h2", new() { HasText = "local/made" })).ToBeVisibleAsync();
        var other = await site.QueueAsync("elsewhere");

        // Queued in the form: the JSON follows it, and it follows the JSON.
        await page.Locator(".title .main").ClickAsync();
        await page.GetByLabel("What to run").FillAsync("https://example.org/train.git");
        await page.GetByLabel("Arguments", new() { Exact = true }).FillAsync("--lr 0.1 --name \"two words\"");
        await person.Named(AriaRole.Tab, "JSON").ClickAsync();
        await Expect(page.GetByLabel("Launch config", new() { Exact = true }))
            .ToHaveValueAsync(new Regex("\"two words\""));
        await page.GetByLabel("Launch config", new() { Exact = true })
            .FillAsync("{\"uri\": \"https://example.org/other.git\", \"name\": \"by JSON\"}");
        await person.Named(AriaRole.Tab, "Form").ClickAsync();
        await Expect(page.GetByLabel("Name", new() { Exact = true })).ToHaveValueAsync("by JSON");
        await page.GetByLabel("gpus (integer)").FillAsync("9");
        await person.Named(AriaRole.Button, "Push run").ClickAsync();
        await Expect(page.Locator(".field", new() { HasText = "gpus (integer)" }).Locator(".fault"))
            .ToContainTextAsync("may not be 9");
        await page.GetByLabel("gpus (integer)").FillAsync("2");
        await person.Named(AriaRole.Button, "Push run").ClickAsync();
        await Expect(page.Locator("dialog[open]")).ToContainTextAsync("No agent listens to this queue.");
        await Expect(page.Locator("dialog[open]")).ToContainTextAsync("Add-WandbLaunchQueueItem -Queue 'made'");
        await page.Keyboard.PressAsync("Escape");
        var made = long.Parse(
            Regex.Match(page.Url, @"queue=(\d+)").Groups[1].Value,
            System.Globalization.CultureInfo.InvariantCulture
        );
        var spec = new { uri = "https://example.org/x.git", resource_args = new { n = 1 } };
        for (var i = 0; i < 3; i++)
        {
            await site.PostAsync(
                "/page/items",
                new
                {
                    queue = made.ToString(System.Globalization.CultureInfo.InvariantCulture),
                    spec,
                    variables = new { gpus = 1 },
                }
            );
        }

        // Many at once by the mouse.
        await Expect(page.Locator(".items tbody tr")).ToHaveCountAsync(4);
        await page.Locator(".items tbody input").Nth(0).CheckAsync();
        await page.Locator(".items tbody input").Nth(1).CheckAsync();
        await person.Named(AriaRole.Button, "Change priority").ClickAsync();
        await page.GetByLabel("Priority", new() { Exact = true }).SelectOptionAsync("0");
        await person.Named(AriaRole.Button, "Change").ClickAsync();
        await Expect(page.Locator(".items tbody tr", new() { HasText = "critical" })).ToHaveCountAsync(2);
        // What is done is done: nothing is chosen any more.
        await Expect(page.Locator(".bulk")).ToHaveCountAsync(0);
        await page.Locator(".items tbody input").Nth(0).CheckAsync();
        await person.Named(AriaRole.Button, "Move to another queue").ClickAsync();
        await page.GetByLabel("To the queue")
            .SelectOptionAsync(other.ToString(System.Globalization.CultureInfo.InvariantCulture));
        await person.Named(AriaRole.Button, "Move").ClickAsync();
        await Expect(page.Locator(".items tbody tr")).ToHaveCountAsync(3);

        // One by keys alone: menu, arrows, and the question that is asked before.
        await page.Locator(".items tbody tr").First.Locator("[aria-haspopup]").FocusAsync();
        await page.Keyboard.PressAsync("Enter");
        await Expect(page.GetByRole(AriaRole.Menuitem).First).ToBeFocusedAsync();
        await page.Keyboard.PressAsync("ArrowUp");
        await Expect(person.Named(AriaRole.Menuitem, "Delete")).ToBeFocusedAsync();
        await page.Keyboard.PressAsync("Enter");
        await page.Locator("dialog[open] .danger").FocusAsync();
        await page.Keyboard.PressAsync("Enter");
        await Expect(page.Locator(".items tbody tr")).ToHaveCountAsync(2);

        // To another view by keys, and back by the search.
        await page.Locator("main").FocusAsync();
        await page.Keyboard.PressAsync("g");
        await page.Keyboard.PressAsync("m");
        await Expect(page.Locator("h1")).ToHaveTextAsync("Monitor");
        await page.Keyboard.PressAsync("Control+k");
        await Expect(page.GetByRole(AriaRole.Combobox)).ToBeFocusedAsync();
        await page.Keyboard.TypeAsync("elsewh");
        await Expect(page.Locator("[role=option]").First).ToContainTextAsync("local/elsewhere");
        await page.Keyboard.PressAsync("Enter");
        await Expect(page.Locator("main h2")).ToHaveTextAsync("local/elsewhere");
        await person.ChooseAsync("Actions of the queue elsewhere", "Delete");
        await Expect(page.Locator("dialog[open]")).ToContainTextAsync("1 waiting items are deleted with it");
        await person.Named(AriaRole.Button, "Delete queue").ClickAsync();
        await Expect(page.Locator("main")).Not.ToContainTextAsync("local/elsewhere");
    }

    [Fact]
    public async Task The_table_of_runs_keeps_its_state_in_the_address_and_shows_what_is_in_sight()
    {
        Machine.Need(File.Exists(PageSite.Chromium), "Chromium at /usr/bin/chromium");
        for (var i = 0; i < 250; i++)
        {
            await site.RunAsync(
                "table",
                $"t{i:000}",
                config: new JsonObject
                {
                    ["lr"] = new JsonObject { ["value"] = i },
                    ["opt"] = new JsonObject { ["value"] = i % 2 == 0 ? "adam" : "sgd" },
                },
                summary: new { loss = 250 - i }
            );
        }

        await using var person = await site.OpenAsync("/local/table");
        var page = person.Page;
        await Expect(page.Locator("main")).ToContainTextAsync("250 runs");
        Assert.True(await page.Locator(".virtual tbody tr").CountAsync() < 80);
        await page.GetByRole(AriaRole.Button, new() { Name = "summary.loss" }).ClickAsync();
        await page.GetByRole(AriaRole.Button, new() { Name = "summary.loss" }).ClickAsync();
        await Expect(page.Locator(".virtual tbody a").First).ToHaveTextAsync("t249");
        Assert.Contains("sort=summary.loss", page.Url, StringComparison.Ordinal);
        await page.Locator(".virtual").EvaluateAsync("e => { e.scrollTop = e.scrollHeight; }");
        await Expect(page.GetByRole(AriaRole.Link, new() { Name = "t000" })).ToBeVisibleAsync();
        await page.GetByLabel("Search runs").FillAsync("t24");
        await Expect(page.Locator("main")).ToContainTextAsync("10 runs");
        await person.Named(AriaRole.Button, "Add filter").ClickAsync();
        await page.GetByLabel("Column").FillAsync("config.opt");
        await page.GetByLabel("Value").FillAsync("sgd");
        await person.Named(AriaRole.Button, "Add").ClickAsync();
        await Expect(page.Locator("main")).ToContainTextAsync("5 runs");
        var address = page.Url;
        await page.ReloadAsync();
        await Expect(page.Locator("main")).ToContainTextAsync("5 runs");
        Assert.Equal(address, page.Url);
        await page.GetByLabel("Choose t249").CheckAsync();
        await page.GetByLabel("Choose t247").CheckAsync();
        await person.Named(AriaRole.Button, "Compare").ClickAsync();
        await Expect(page.Locator("main")).ToContainTextAsync("2 values differ; 1 are the same");
        await page.GoBackAsync();
        await person.Named(AriaRole.Button, "Columns").ClickAsync();
        await page.GetByLabel("Notes", new() { Exact = true }).CheckAsync();
        await person.Named(AriaRole.Button, "Show").ClickAsync();
        await Expect(page.GetByRole(AriaRole.Columnheader, new() { Name = "Notes" })).ToBeVisibleAsync();

        // A run that comes is there without a reload.
        await site.RunAsync(
            "table",
            "t24-new",
            config: new JsonObject { ["opt"] = new JsonObject { ["value"] = "sgd" } }
        );
        await Expect(page.GetByRole(AriaRole.Link, new() { Name = "t24-new" })).ToBeVisibleAsync();
        var zone = await page.Locator("time").First.GetAttributeAsync("title");
        Assert.Contains("+5:30", zone, StringComparison.Ordinal);
    }
}
