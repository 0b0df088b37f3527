using System.Globalization;
using System.Text.Json;
using WandbLaunch.Server.Auth;

namespace WandbLaunch.Server.Endpoints;

/// <summary>Signing in to the page, and out.</summary>
internal sealed class SessionEndpoints(ServerKey serverKey, Sessions sessions)
{
    internal const string Path = "/session";

    internal void Map(IEndpointRouteBuilder app)
    {
        app.MapPost(Path, SignInAsync).RequireAuthorization(Policies.SignIn);
        app.MapDelete(Path, SignOutAsync);
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
        if (
            body.RootElement.ValueKind != JsonValueKind.Object
            || !body.RootElement.TryGetProperty("key", out var key)
            || key.ValueKind != JsonValueKind.String
        )
        {
            throw new RequestFault(400, "The body must be {\"key\": \"…\"}.");
        }

        if (!serverKey.Is(key.GetString()!.Trim()))
        {
            sessions.Failed(address);
            throw new RequestFault(
                401,
                "This is not the server's key. It is in the file beside its database that ends in .key."
            );
        }

        var (cookie, token) = sessions.Begin();
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

    private Task SignOutAsync(HttpContext context)
    {
        var name = LaunchAuthenticationHandler.CookieName(context);
        sessions.End(context.Request.Cookies[name]);
        context.Response.Cookies.Delete(name, new CookieOptions { Path = "/" });
        context.Response.StatusCode = 204;
        return Task.CompletedTask;
    }
}
