using System.Net;
using Microsoft.AspNetCore.Connections.Features;
using WandbLaunch.Server.Endpoints;

namespace WandbLaunch.Server.Auth;

/// <summary>What every request must pass before anybody asks whose it is: the name it came by, and the page it came from.</summary>
internal sealed class RequestGuard(LaunchServerOptions options)
{
    // With a certificate the address without one is of this machine alone.
    private readonly bool _loopback = options.IsLoopback || options.Certificate is not null;

    /// <summary>Before a proxy's word is taken.</summary>
    internal Task CheckNameAsync(HttpContext context, RequestDelegate next)
    {
        var headers = context.Response.Headers;
        headers.XContentTypeOptions = "nosniff";
        headers.XFrameOptions = "DENY";
        headers["Referrer-Policy"] = "no-referrer";
        headers["Cross-Origin-Resource-Policy"] = "same-origin";
        headers["Cross-Origin-Opener-Policy"] = "same-origin";

        // A page of another site must not reach this server through a name that points here.
        return IsForThisMachine(context) && !IsOwnName(context.Request.Host.Host)
            ? FaultAnswers.WriteAsync(context, 403, "unknown host name")
            : next(context);
    }

    internal Task InvokeAsync(HttpContext context, RequestDelegate next)
    {
        var request = context.Request;
        if (IsForThisMachine(context) && !IsOwnName(request.Host.Host))
        {
            return FaultAnswers.WriteAsync(context, 403, "unknown host name");
        }

        return Stranger(request) is { } why ? FaultAnswers.WriteAsync(context, 403, why) : next(context);
    }

    // By TLS it has the names of its certificate, which whoever asks has looked at. Not what a proxy says of itself: the connection.
    private bool IsForThisMachine(HttpContext context) =>
        _loopback && context.Features.Get<ITlsHandshakeFeature>() is null;

    private bool IsOwnName(string host)
    {
        var name = host.EndsWith('.') ? host[..^1] : host;
        return name.Equals("localhost", StringComparison.OrdinalIgnoreCase)
            || name.Equals(options.PublicUrl?.Host, StringComparison.OrdinalIgnoreCase)
            || name.Equals("host.docker.internal", StringComparison.OrdinalIgnoreCase)
            || IPAddress.TryParse(name.Trim('[', ']'), out var address) && IPAddress.IsLoopback(address);
    }

    // Browsers say where a request comes from, and no page can change it; programs say nothing.
    private static string? Stranger(HttpRequest request)
    {
        var site = request.Headers["Sec-Fetch-Site"].ToString();
        var foreign = site.Length > 0 && site is not ("same-origin" or "none");
        if (
            HttpMethods.IsGet(request.Method)
            || HttpMethods.IsHead(request.Method)
            || HttpMethods.IsOptions(request.Method)
        )
        {
            return foreign && request.Headers.Authorization.Count > 0
                ? "A page of another site caused this request, with a key that the browser remembered. Close the browser's windows to make it forget."
                : null;
        }

        var origin = request.Headers.Origin.ToString();
        return
            foreign
            || origin.Length > 0
                && !origin.Equals($"{request.Scheme}://{request.Host.Value}", StringComparison.OrdinalIgnoreCase)
            ? "A page of another site caused this request. Only the server's own page, and programs, may change something here."
            : null;
    }
}
