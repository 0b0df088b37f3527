using System.Text.Json;
using Microsoft.AspNetCore.Http.Features;
using WandbLaunch.Server.Auth;

namespace WandbLaunch.Server.Pages;

/// <summary>GET /page/events: one stream of server-sent events for a page, which says what it should ask for again.</summary>
internal sealed class EventsEndpoint(
    ChangeFeed feed,
    Sessions sessions,
    UserDirectory users,
    IHostApplicationLifetime lifetime
)
{
    // A proxy ends what is silent for longer, and a page takes what is silent for gone.
    private static readonly TimeSpan Beat = TimeSpan.FromSeconds(15);

    // Another after each start: a page then asks for everything again.
    private readonly string _server = Guid.NewGuid().ToString("n");

    internal void Map(IEndpointRouteBuilder app) => app.MapGet("/page/events", StreamAsync).For(Right.Read);

    private async Task StreamAsync(HttpContext context)
    {
        using var end = CancellationTokenSource.CreateLinkedTokenSource(
            context.RequestAborted,
            lifetime.ApplicationStopping
        );
        using var page = feed.Subscribe();
        context.Features.Get<IHttpResponseBodyFeature>()?.DisableBuffering();
        context.Response.ContentType = "text/event-stream";
        context.Response.Headers.CacheControl = "no-store";
        context.Response.Headers["X-Accel-Buffering"] = "no";
        try
        {
            await SendAsync(context, "hello", new { server = _server }, end.Token);
            while (IsSignedIn(context))
            {
                var changes = await page.NextAsync(Beat, end.Token);
                if (changes is null)
                {
                    await context.Response.WriteAsync(":\n\n", end.Token);
                    await context.Response.Body.FlushAsync(end.Token);
                }
                else if (IsSignedIn(context))
                {
                    await SendAsync(context, "changes", Shown(changes, context.Caller()), end.Token);
                }
            }
        }
        catch (Exception e) when (e is OperationCanceledException or IOException)
        {
            // The page is gone, or the server goes.
        }
    }

    // Who has signed out, or has been signed in for too long, hears nothing more; nor does a user who was changed, as before.
    private bool IsSignedIn(HttpContext context) =>
        users.IsCurrent(context.Caller())
        && (
            context.Request.Headers[Sessions.TokenHeader].ToString() is not { Length: > 0 } token
            || sessions.Find(context.Request.Cookies[LaunchAuthenticationHandler.CookieName(context)], token)
                is not null
        );

    private Dictionary<string, object> Shown(Changes changes, Caller caller)
    {
        var shown = new Dictionary<string, object>(StringComparer.Ordinal);
        foreach (var table in new[] { "agents", "artifacts", "items", "projects", "queues", "sweeps" })
        {
            if (changes.Rows(table) is { } rows)
            {
                shown[table] = feed.Visible(table, rows, caller);
            }
        }

        if (changes.Rows("runs") is { } runs)
        {
            shown["runs"] = runs.Count == 0 ? [] : feed.Paths(runs, caller);
        }

        return shown;
    }

    private static async Task SendAsync(HttpContext context, string kind, object data, CancellationToken token)
    {
        await context.Response.WriteAsync($"event: {kind}\ndata: {JsonSerializer.Serialize(data)}\n\n", token);
        await context.Response.Body.FlushAsync(token);
    }
}
