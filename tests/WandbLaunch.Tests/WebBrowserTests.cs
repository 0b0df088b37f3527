using WandbLaunch.Foundation;

namespace WandbLaunch.Tests;

public class WebBrowserTests
{
    [Theory]
    [InlineData("file:///etc/passwd")]
    [InlineData("javascript:alert(1)")]
    [InlineData("--help")]
    [InlineData("C:\\Windows\\System32\\calc.exe")]
    [InlineData("https://user:secret@example.org/")]
    public async Task Nothing_but_pages_is_opened(string address)
    {
        var fault = await Assert.ThrowsAsync<LaunchException>(() =>
            With(null).OpenAsync(address, TestContext.Current.CancellationToken)
        );
        Assert.Equal("PageRefused", fault.ErrorId);
        Assert.Equal(LaunchErrorCategory.SecurityError, fault.Category);
    }

    [Fact]
    public async Task Without_a_browser_or_a_screen_it_says_no()
    {
        var token = TestContext.Current.CancellationToken;
        Assert.False(await With("/no/such/browser").OpenAsync("https://example.org/", token));
        Assert.SkipUnless(OperatingSystem.IsLinux(), "Elsewhere there is always one.");
        Assert.SkipWhen(ProgramPath.Find("wslview") is not null, "Linux inside Windows has one.");
        Assert.False(await With(null).OpenAsync("https://example.org/", token));
    }

    [Fact]
    public async Task One_that_stays_open_is_not_waited_for()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "A shell script stands for the browser.");
        var folder = Directory.CreateTempSubdirectory().FullName;
        try
        {
            var browser = Path.Combine(folder, "browser");
            await File.WriteAllTextAsync(
                browser,
                "#!/bin/sh\necho \"$#:$1\" > \"$0.seen\"\nexec sleep 8\n",
                TestContext.Current.CancellationToken
            );
            if (!OperatingSystem.IsWindows())
            {
                File.SetUnixFileMode(
                    browser,
                    UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute
                );
            }

            Assert.True(
                await With(browser)
                    .OpenAsync("https://example.org/a b?c=\"d\";$(id)", TestContext.Current.CancellationToken)
            );
            Assert.Equal(
                "1:https://example.org/a%20b?c=%22d%22;$(id)",
                (await File.ReadAllTextAsync(browser + ".seen", TestContext.Current.CancellationToken)).Trim()
            );
        }
        finally
        {
            Directory.Delete(folder, true);
        }
    }

    private static WebBrowser With(string? browser) =>
        new(new LaunchEnvironment { Variable = n => n == "BROWSER" ? browser : null, IsWindows = false });
}
