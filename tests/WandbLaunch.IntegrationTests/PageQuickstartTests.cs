using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WandbLaunch.IntegrationTests;

/// <summary>The guide's quickstart, from its beginning to its end, in the browser.</summary>
public sealed class PageQuickstartTests
{
    [Fact]
    public async Task A_run_is_opened_changed_queued_run_and_seen_to_finish_and_an_item_is_deleted()
    {
        Machine.Need(File.Exists(PageSite.Chromium), "Chromium at /usr/bin/chromium");
        var work = Directory.CreateDirectory(Path.Combine(Machine.Root, "page-quickstart")).FullName;

        // A browser that is none: it notes what it is opened with.
        var browser = Path.Combine(work, "browser");
        await File.WriteAllTextAsync(browser, $"#!/bin/sh\necho \"$1\" > '{work}/opened'\n");
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(browser, (UnixFileMode)0b111_000_000);
        }

        var output = Machine.Shell(
            $"""
            $run = & '{Path.Combine(Machine.Sources, "docs", "examples", "quickstart", "New-OfflineRun.ps1")}' '{work}'
            $server = Start-WandbLaunchServer -Path '{work}/wandb.db'
            $server | Connect-Wandb | Out-Null
            $run = Import-WandbRun $run
            Start-WandbLaunchServer -Path '{work}/wandb.db' -Open | Out-Null
            "$($run.Uri)"
            """,
            ("BROWSER", browser)
        );
        var uri = new Uri(output.Trim().Split('\n')[^1]);

        // What the browser was opened with is a file of its owner alone, which leads to a link that signs in once.
        var opened = new Uri((await File.ReadAllTextAsync(Path.Combine(work, "opened"))).Trim());
        Assert.True(opened.IsFile);
        if (!OperatingSystem.IsWindows())
        {
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(opened.LocalPath));
        }

        using var playwright = await Playwright.CreateAsync();
        await using var chromium = await playwright.Chromium.LaunchAsync(
            new BrowserTypeLaunchOptions
            {
                ExecutablePath = PageSite.Chromium,
                Args = ["--no-sandbox", "--disable-gpu", "--disable-quic"],
            }
        );
        var page = await chromium.NewPageAsync();
        await page.GotoAsync(opened.AbsoluteUri);
        await page.GetByRole(AriaRole.Link, new() { Name = $"{uri.Segments[1]}{uri.Segments[2].TrimEnd('/')}" })
            .ClickAsync();
        Assert.DoesNotContain("link=", page.Url, StringComparison.Ordinal);

        // The run's menu, and the modal: one hyperparameter is changed. There is no queue, so one is made first.
        await page.ClickAsync("nav >> text=Launch");
        await page.GetByRole(AriaRole.Button, new() { Name = "Create queue" }).ClickAsync();
        await page.GetByLabel("Name", new() { Exact = true }).FillAsync("default");
        await page.GetByLabel("Resource", new() { Exact = true }).FillAsync("local-process");
        await page.Locator("dialog[open] footer .main").ClickAsync();
        await Expect(page.Locator("main")).ToContainTextAsync("This queue is empty.");
        await page.GotoAsync(new Uri(uri, string.Concat(uri.Segments[..3]).TrimEnd('/')).AbsoluteUri);
        await page.Locator(".virtual [aria-haspopup]").First.ClickAsync();
        await page.GetByRole(AriaRole.Menuitem, new() { Name = "Add to Launch queue" }).ClickAsync();
        await Expect(page.GetByLabel("Arguments", new() { Exact = true }))
            .ToHaveValueAsync("--lr 0.1 --epochs 3 --name \"two words\"");
        await page.GetByLabel("Arguments", new() { Exact = true })
            .FillAsync("--lr 0.5 --epochs 3 --name \"two words\"");
        await page.GetByRole(AriaRole.Button, new() { Name = "Push run" }).ClickAsync();
        var item = page.Locator("dialog[open]");
        await Expect(item).ToContainTextAsync("No agent listens to this queue.");
        await Expect(item).ToContainTextAsync("--lr 0.5");

        // An agent takes it; the page shows it run and finish, and nobody reloads it.
        var agent = Machine.Start(
            "dotnet",
            Machine.Pwsh(
                "-NonInteractive",
                "-File",
                Machine.Script(
                    $"Get-WandbLaunchServer '{work}/wandb.db' | Connect-Wandb | Out-Null\nStart-WandbLaunchAgent -Queue default -AllowResource local-process -AllowGitHost file -StopWhenEmpty"
                )
            )
        )!;
        var said = agent.StandardOutput.ReadToEndAsync();
        var complained = agent.StandardError.ReadToEndAsync();
        try
        {
            await Expect(item.Locator(".state").First).ToHaveTextAsync("finished", new() { Timeout = 60_000 });
        }
        catch (PlaywrightException)
        {
            if (!agent.HasExited)
            {
                agent.Kill(true);
            }

            Assert.Fail(await said + await complained + await item.TextContentAsync());
        }

        // What ran is what was asked for: its program has no wandb here, so its words are the agent's to tell.
        var run = System
            .Text.RegularExpressions.Regex.Match((await item.TextContentAsync())!, @"Run(\w{8}) ?Copy id")
            .Groups[1];
        Assert.Contains(
            "final loss 0.25",
            Machine.Shell($"Receive-WandbLaunchLog {run.Value}"),
            StringComparison.Ordinal
        );
        foreach (var state in new[] { "waiting", "starting", "running", "finished" })
        {
            await Expect(item.GetByRole(AriaRole.Cell, new() { Name = state, Exact = true }).First).ToBeVisibleAsync();
        }

        await agent.WaitForExitAsync();
        Assert.True(agent.ExitCode == 0, await said + await complained);
        agent.Dispose();

        // Another is queued from the item that is there, and deleted from its menu.
        await item.GetByRole(AriaRole.Button, new() { Name = "Queue again" }).ClickAsync();
        await page.Keyboard.PressAsync("Escape");
        var row = page.Locator(".items tbody tr", new() { HasText = "waiting" });
        await Expect(row).ToHaveCountAsync(1);
        await row.Locator("[aria-haspopup]").ClickAsync();
        await page.GetByRole(AriaRole.Menuitem, new() { Name = "Delete" }).ClickAsync();
        await page.Locator("dialog[open] .danger").ClickAsync();
        await Expect(row).ToHaveCountAsync(0);
        await Expect(page.Locator(".items tbody tr")).ToHaveCountAsync(1);
        Machine.Shell($"Stop-WandbLaunchServer -Path '{work}/wandb.db'");
    }
}
