using System.Net;
using System.Security.Cryptography;
using System.Text;
using Microsoft.Net.Http.Headers;

namespace WandbLaunch.Server;

/// <summary>What every request must pass before anything looks at it: the name it came by, the page it came from, the key, the kind of its body.</summary>
internal sealed class RequestGuard(string listen, byte[] key, UrlSigner signer, Sessions sessions)
{
    private readonly bool _loopback = IPAddress.IsLoopback(IPAddress.Parse(listen));

    internal async Task InvokeAsync(HttpContext context, RequestDelegate next)
    {
        var (request, headers) = (context.Request, context.Response.Headers);
        headers.XContentTypeOptions = "nosniff";
        headers.XFrameOptions = "DENY";
        headers["Referrer-Policy"] = "no-referrer";
        headers["Cross-Origin-Resource-Policy"] = "same-origin";
        headers["Cross-Origin-Opener-Policy"] = "same-origin";

        // What a TLS proxy before this server says. A page of another site cannot send it without being asked first.
        if (request.Headers["X-Forwarded-Proto"] == "https")
        {
            request.Scheme = "https";
        }

        if (_loopback && !IsOwnName(request.Host.Host))
        {
            // A page of another site must not reach this server through a name that points here.
            await Answers.FaultAsync(context, 403, "unknown host name");
        }
        else if (Stranger(request) is { } why)
        {
            await Answers.FaultAsync(context, 403, why);
        }
        else if (IsOpen(request) || IsKey(request) || signer.Verify(request) || IsSession(request))
        {
            // A form and a fetch of another site can send every other kind without being asked first.
            if (HttpMethods.IsPost(request.Method) && !IsJson(request))
            {
                await Answers.FaultAsync(context, 415, "The body must be JSON: send Content-Type: application/json.");
            }
            else
            {
                CheckUpload(request);
                await next(context);
            }
        }
        else
        {
            // Not Basic: a browser would ask for the key, and send it with every request from then on, whoever causes it.
            headers.WWWAuthenticate = "Bearer realm=\"WandbLaunch\"";
            context.Response.StatusCode = 401;
            if (
                HttpMethods.IsGet(request.Method)
                && request.Headers.Accept.ToString().Contains("text/html", StringComparison.OrdinalIgnoreCase)
            )
            {
                await PageEndpoints.WriteAsync(context);
            }
            else
            {
                await Answers.FaultAsync(context, 401, "invalid API key");
            }
        }
    }

    // The name under which a file is kept is also one on the disk of whoever saves it. An escaped slash is a slash there.
    private static void CheckUpload(HttpRequest request)
    {
        if (
            HttpMethods.IsPut(request.Method)
            && request.Path.StartsWithSegments("/files", out var rest)
            && rest.Value?.Split('/', 5) is [_, _, _, _, var name]
        )
        {
            Names.CheckFile(name.Replace("%2F", "/", StringComparison.OrdinalIgnoreCase));
        }
    }

    /// <summary>Name of the session's cookie: cookies are shared by all ports of a host.</summary>
    internal static string CookieName(HttpContext context) =>
        "wandblaunch_" + context.Connection.LocalPort.ToString(System.Globalization.CultureInfo.InvariantCulture);

    internal bool IsKey(string given) => CryptographicOperations.FixedTimeEquals(Encoding.UTF8.GetBytes(given), key);

    private static bool IsOwnName(string host)
    {
        var name = host.EndsWith('.') ? host[..^1] : host;
        return name.Equals("localhost", StringComparison.OrdinalIgnoreCase)
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

    // What is shown to everyone: how to sign in.
    private static bool IsOpen(HttpRequest request) =>
        HttpMethods.IsGet(request.Method) && PageEndpoints.IsAsset(request.Path)
        || HttpMethods.IsPost(request.Method) && request.Path == SessionEndpoints.Path;

    private bool IsSession(HttpRequest request)
    {
        var cookie = request.Cookies[CookieName(request.HttpContext)];
        return sessions.IsValid(cookie, request.Headers[Sessions.TokenHeader])
            || HttpMethods.IsGet(request.Method) && PageEndpoints.IsPage(request.Path) && sessions.IsKnown(cookie);
    }

    private static bool IsJson(HttpRequest request) =>
        MediaTypeHeaderValue.TryParse(request.ContentType, out var type)
        && type.MediaType.Equals("application/json", StringComparison.OrdinalIgnoreCase);

    private bool IsKey(HttpRequest request)
    {
        var header = request.Headers.Authorization.ToString();
        byte[] given;
        try
        {
            given =
                header.StartsWith("Basic ", StringComparison.OrdinalIgnoreCase) ? Convert.FromBase64String(header[6..])
                : header.StartsWith("Bearer ", StringComparison.OrdinalIgnoreCase)
                    ? Encoding.UTF8.GetBytes(":" + header[7..])
                : [];
        }
        catch (FormatException)
        {
            return false;
        }

        var colon = Array.IndexOf(given, (byte)':');
        return colon >= 0 && CryptographicOperations.FixedTimeEquals(given.AsSpan(colon + 1), key);
    }
}
