using System.Net;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;

namespace WandbLaunch.Tests;

/// <summary>wandb.alert: kept, shown, and sent on.</summary>
public sealed class ClientAlertTests
{
    private const string Notify = """
        mutation NotifyScriptableRunAlert($run: String!, $title: String!, $text: String!, $severity: AlertSeverity = INFO, $waitDuration: Duration) {
          notifyScriptableRunAlert(input: {entityName: "local", projectName: "demo", runName: $run, title: $title, text: $text, severity: $severity, waitDuration: $waitDuration}) { success } }
        """;

    [Fact]
    public async Task An_alert_is_kept_once_within_the_time_that_it_waits()
    {
        await using var server = await ClientServer.StartAsync();
        await server.InitAsync("run00001");
        foreach (
            var (title, wait) in new[]
            {
                ("low", 60_000_000_000L),
                ("low", 60_000_000_000L),
                ("other", 0L),
                ("other", 0L),
            }
        )
        {
            await Task.Delay(5);
            var done = await server.AskAsync(
                Notify,
                new
                {
                    run = "run00001",
                    title,
                    text = "t",
                    severity = "WARN",
                    waitDuration = wait,
                }
            );
            Assert.True(done["notifyScriptableRunAlert"]!["success"]!.GetValue<bool>());
        }

        var data = await server.AskAsync(
            "{ project(name: \"demo\", entityName: \"local\") { run(name: \"run00001\") { state alerts { id title text severity createdAt } } alerts(first: 2) { title run { name } } } }"
        );
        Assert.Equal(
            ["low", "other", "other"],
            data["project"]!["run"]!["alerts"]!.AsArray().OfType<JsonNode>().Texts("title")
        );
        Assert.All(
            data["project"]!["run"]!["alerts"]!.AsArray(),
            a => Assert.Equal("WARN", a!["severity"]!.ToString())
        );
        Assert.Equal("running", data["project"]!["run"]!["state"]!.ToString());
        Assert.Equal(2, data["project"]!["alerts"]!.AsArray().Count);
        Assert.Contains(
            "no such run",
            await server.RefusedAsync(
                Notify,
                new
                {
                    run = "nobody",
                    title = "a",
                    text = "b",
                }
            ),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public async Task An_alert_is_sent_on_and_again_when_the_webhook_fails_at_first()
    {
        await using var hook = await Hook.StartAsync(503, 200);
        await using var server = await ClientServer.StartAsync(o =>
            o with
            {
                AlertWebhook = new Uri(hook.Url + "/secret-path"),
                AlertRetryDelay = TimeSpan.FromMilliseconds(20),
            }
        );
        await server.InitAsync("run00001");
        await server.AskAsync(
            Notify,
            new
            {
                run = "run00001",
                title = "low",
                text = "below 0.5",
            }
        );
        await ClientServer.UntilAsync(() => Task.FromResult(hook.Bodies.Count == 2));
        var sent = JsonNode.Parse(hook.Bodies[1])!;
        Assert.Equal(
            ("low", "below 0.5", "INFO", "local", "demo", "run00001"),
            (
                sent["title"]!.ToString(),
                sent["message"]!.ToString(),
                sent["severity"]!.ToString(),
                sent["entity"]!.ToString(),
                sent["project"]!.ToString(),
                sent["run"]!.ToString()
            )
        );
        Assert.Contains("low", sent["text"]!.ToString(), StringComparison.Ordinal);
        Assert.Equal("", server.Log);
    }

    [Fact]
    public async Task A_webhook_that_refuses_is_told_in_the_log_without_its_address()
    {
        await using var hook = await Hook.StartAsync(404);
        await using var server = await ClientServer.StartAsync(o =>
            o with
            {
                AlertWebhook = new Uri(hook.Url + "/secret-path"),
            }
        );
        await server.InitAsync("run00001");
        await server.AskAsync(
            Notify,
            new
            {
                run = "run00001",
                title = "low",
                text = "t",
            }
        );
        await ClientServer.UntilAsync(() => Task.FromResult(server.Log.Contains("404", StringComparison.Ordinal)));
        Assert.DoesNotContain("secret-path", server.Log, StringComparison.Ordinal);
        var data = await server.AskAsync(
            "{ project(name: \"demo\", entityName: \"local\") { run(name: \"run00001\") { alerts { title } } } }"
        );
        Assert.Single(data["project"]!["run"]!["alerts"]!.AsArray());
    }

    // What alerts are sent to: answers with one status after the other, and the last of them from then on.
    private sealed class Hook : IAsyncDisposable
    {
        private readonly WebApplication _app;

        private Hook(WebApplication app) => _app = app;

        internal List<string> Bodies { get; } = [];

        internal string Url => _app.Urls.First();

        internal static async Task<Hook> StartAsync(params int[] statuses)
        {
            var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
            builder.WebHost.UseKestrelCore().ConfigureKestrel(o => o.Listen(IPAddress.Loopback, 0));
            var hook = new Hook(builder.Build());
            hook._app.Run(async context =>
            {
                using var reader = new StreamReader(context.Request.Body);
                var body = await reader.ReadToEndAsync();
                lock (hook.Bodies)
                {
                    context.Response.StatusCode = statuses[Math.Min(hook.Bodies.Count, statuses.Length - 1)];
                    hook.Bodies.Add(body);
                }
            });
            await hook._app.StartAsync();
            return hook;
        }

        public ValueTask DisposeAsync() => _app.DisposeAsync();
    }
}
