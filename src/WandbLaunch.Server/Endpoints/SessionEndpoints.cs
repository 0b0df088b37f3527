using System.Globalization;
using System.Text;
using System.Text.Json;
using WandbLaunch.Server.Audit;
using WandbLaunch.Server.Auth;

namespace WandbLaunch.Server.Endpoints;

/// <summary>Signing in to the page, and out.</summary>
internal sealed class SessionEndpoints(UserDirectory users, Sessions sessions, SignInLinks links)
{
    internal const string Path = "/session";

    internal void Map(IEndpointRouteBuilder app)
    {
        app.MapPost(Path, SignInAsync)
            .RequireAuthorization(Policies.SignIn)
            .For(Right.Read)
            .Audited(AuditAction.SignedIn);
        app.MapDelete(Path, SignOutAsync).For(Right.Read).Unaudited();
        app.MapPost(Path + "/link", LinkAsync).For(Right.Read).Unaudited();
    }

    /// <summary>A code that signs in once, for whoever has the key: a link with it after its # can be opened in a browser.</summary>
    private async Task LinkAsync(HttpContext context)
    {
        context.Response.Headers.CacheControl = "no-store";
        await context.Response.WriteAsJsonAsync(
            new { code = links.Make(context.Caller().Pass), expiresIn = (int)SignInLinks.Life.TotalSeconds }
        );
    }

    private async Task SignInAsync(HttpContext context)
    {
        var address = context.Connection.RemoteIpAddress?.ToString() ?? "";
        if (sessions.Wait(address) is { Ticks: > 0 } wait)
        {
            context.Response.Headers.RetryAfter = Math.Ceiling(wait.TotalSeconds)
                .ToString(CultureInfo.InvariantCulture);
            throw new RequestFault(429, "Too many wrong keys. Wait a minute.");
        }

        using var body = await Bodies.ReadJsonAsync(context, 10_000);
        Caller? caller;
        if (Given(body.RootElement, "link") is { } link)
        {
            caller = links.Use(link) is { } pass ? users.FindByPass(pass) : null;
            if (caller is null)
            {
                sessions.Failed(address);
                throw new RequestFault(
                    401,
                    "This link was used already, or is too old. Ask for another: Start-WandbLaunchServer -Open."
                );
            }
        }
        else
        {
            var key = (Given(body.RootElement, "key") ?? throw Unknown()).Trim();
            caller = users.Find(Encoding.UTF8.GetBytes(key));
            if (caller is null)
            {
                sessions.Failed(address);
                throw new RequestFault(
                    401,
                    "This is not a key of this server. Its own is in the file beside its database that ends in .key; users have one from New-WandbLaunchServerUser."
                );
            }
        }

        var (cookie, token) = sessions.Begin(caller.Pass);
        context.Audit().Caller = caller;
        context.Response.Cookies.Append(
            LaunchAuthenticationHandler.CookieName(context),
            cookie,
            new CookieOptions
            {
                HttpOnly = true,
                SameSite = SameSiteMode.Strict,
                Path = "/",
                Secure = context.Request.IsHttps,
                MaxAge = Sessions.Life,
            }
        );
        context.Response.Headers.CacheControl = "no-store";
        await context.Response.WriteAsJsonAsync(new { token, expiresIn = (int)Sessions.Life.TotalSeconds });
    }

    private static RequestFault Unknown() => new(400, "The body must be {\"key\": \"…\"}, or {\"link\": \"…\"}.");

    private static string? Given(JsonElement body, string name) =>
        body.ValueKind == JsonValueKind.Object
        && body.TryGetProperty(name, out var value)
        && value.ValueKind == JsonValueKind.String
            ? value.GetString()
            : null;

    private Task SignOutAsync(HttpContext context)
    {
        var name = LaunchAuthenticationHandler.CookieName(context);
        sessions.End(context.Request.Cookies[name]);
        context.Response.Cookies.Delete(name, new CookieOptions { Path = "/" });
        context.Response.StatusCode = 204;
        return Task.CompletedTask;
    }
}
