using System.Text.Json.Nodes;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace WandbLaunch.IntegrationTests;

/// <summary>
/// The pictures of the page in docs: each is made here, of data that is always the same, and is written where
/// WANDBLAUNCH_TEST_SCREENSHOTS=1. Otherwise what is made is only looked at: another font is no fault.
/// </summary>
public sealed class PageScreenshotTests(PageSite site) : IClassFixture<PageSite>
{
    private const long MostBytes = 600_000;

    [Fact]
    public async Task Pictures_of_the_page_are_made_of_it()
    {
        Machine.Need(File.Exists(PageSite.Chromium), "Chromium at /usr/bin/chromium");
        var queue = await site.QueueAsync("gpu", "V0");
        for (var i = 0; i < 6; i++)
        {
            var (lr, width) = (0.3 / (i + 1), 64 << (i % 3));
            await site.RunAsync(
                "resnet",
                $"resnet{i}",
                $"resnet-{width}-{i}",
                new JsonObject
                {
                    ["lr"] = new JsonObject { ["value"] = Math.Round(lr, 4) },
                    ["width"] = new JsonObject { ["value"] = width },
                },
                new { loss = Math.Round(0.2 + lr, 4), accuracy = Math.Round(0.95 - lr / 2, 4) }
            );
            await site.StreamAsync(
                "resnet",
                $"resnet{i}",
                new Dictionary<string, object>
                {
                    ["wandb-history.jsonl"] = new
                    {
                        offset = 0,
                        content = Enumerable
                            .Range(0, 200)
                            .Select(s =>
                                new JsonObject
                                {
                                    ["_step"] = s,
                                    ["loss"] =
                                        0.2 + lr + 2 * Math.Exp(-s * (0.02 + lr / 10)) + 0.03 * Math.Sin(s * (i + 2)),
                                    ["accuracy"] = 0.95 - lr / 2 - 0.8 * Math.Exp(-s * (0.02 + lr / 10)),
                                }.ToJsonString()
                            ),
                    },
                }
            );
        }

        await site.SweepAsync("resnet", [.. Enumerable.Range(0, 6).Select(i => $"resnet{i}")]);
        foreach (var width in new[] { 64, 128, 256 })
        {
            await site.PushAsync(
                queue,
                new
                {
                    uri = $"{site.Url}/local/resnet/runs/resnet1",
                    name = $"resnet-{width}-again",
                    project = "resnet",
                    author = "ada",
                    overrides = new { run_config = new { width } },
                }
            );
        }

        var size = 0L;
        foreach (var (name, colours) in new[] { ("light", ColorScheme.Light), ("dark", ColorScheme.Dark) })
        {
            await using var person = await site.OpenAsync("/", colours);
            var page = person.Page;
            foreach (
                var (view, path, ready) in new[]
                {
                    ("launch", $"/launch?queue={queue}", page.Locator(".items tbody tr")),
                    ("runs", "/local/resnet", page.Locator(".virtual tbody a")),
                    (
                        "compare",
                        "/local/resnet?compare=resnet0,resnet1,resnet2,resnet3,resnet4",
                        page.Locator("figure canvas")
                    ),
                }
            )
            {
                await page.GotoAsync(path);
                await Expect(ready.First).ToBeVisibleAsync(new() { Timeout = 60_000 });
                var picture = await page.ScreenshotAsync(
                    new() { Animations = ScreenshotAnimations.Disabled, FullPage = view == "compare" }
                );
                Assert.Equal([0x89, (byte)'P', (byte)'N', (byte)'G'], picture[..4]);
                size += picture.Length;
                if (Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_SCREENSHOTS") == "1")
                {
                    await File.WriteAllBytesAsync(
                        Path.Combine(Machine.Sources, "docs", $"page-{view}-{name}.png"),
                        picture
                    );
                }
            }
        }

        Assert.True(size <= MostBytes, $"the pictures have {size:N0} bytes of {MostBytes:N0}");
    }
}
