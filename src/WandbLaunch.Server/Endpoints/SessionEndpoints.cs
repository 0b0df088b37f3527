using System.Globalization;
using System.Text.Json;

namespace WandbLaunch.Server;

/// <summary>Signing in to the page, and out.</summary>
internal static class SessionEndpoints
{
    internal const string Path = "/session";

    internal static void Map(WebApplication app, RequestGuard guard, Sessions sessions)
    {
        app.MapPost(
            Path,
            async context =>
            {
                var address = context.Connection.RemoteIpAddress?.ToString() ?? "";
                if (sessions.Wait(address) is { Ticks: > 0 } wait)
                {
                    context.Response.Headers.RetryAfter = Math.Ceiling(wait.TotalSeconds)
                        .ToString(CultureInfo.InvariantCulture);
                    throw new RequestFault(429, "Too many wrong keys. Wait a minute.");
                }

                using var body = await Answers.ReadJsonAsync(context, 10_000);
                if (
                    body.RootElement.ValueKind != JsonValueKind.Object
                    || !body.RootElement.TryGetProperty("key", out var key)
                    || key.ValueKind != JsonValueKind.String
                )
                {
                    throw new RequestFault(400, "The body must be {\"key\": \"…\"}.");
                }

                if (!guard.IsKey(key.GetString()!.Trim()))
                {
                    sessions.Failed(address);
                    throw new RequestFault(
                        401,
                        "This is not the server's key. It is in the file beside its database that ends in .key."
                    );
                }

                var (cookie, token) = sessions.Begin();
                context.Response.Cookies.Append(
                    RequestGuard.CookieName(context),
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
        );
        app.MapDelete(
            Path,
            context =>
            {
                var name = RequestGuard.CookieName(context);
                sessions.End(context.Request.Cookies[name]);
                context.Response.Cookies.Delete(name, new CookieOptions { Path = "/" });
                context.Response.StatusCode = 204;
                return Task.CompletedTask;
            }
        );
    }
}
