using System.Collections.Frozen;
using WandbLaunch.Server.Auth;

namespace WandbLaunch.Server.Endpoints;

/// <summary>The page: the same few files for every address of it, without a word of data.</summary>
internal static class PageEndpoints
{
    private const string Assets = "/assets/";

    // Nothing but the server's own files, no frame around it, and no form that a browser sends by itself.
    private const string Policy =
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

    private static readonly FrozenDictionary<string, string> Types = new Dictionary<string, string>
    {
        ["page.js"] = "text/javascript; charset=utf-8",
        ["page.css"] = "text/css; charset=utf-8",
    }.ToFrozenDictionary(StringComparer.Ordinal);

    // Where data and not the page is.
    private static readonly string[] Data =
    [
        "/graphql",
        "/files",
        "/queues",
        "/artifacts",
        "/artifactsV2",
        "/artifact-manifests",
        "/shutdown",
        SessionEndpoints.Path,
    ];

    internal static bool IsAsset(PathString path) =>
        path.Value?.StartsWith(Assets, StringComparison.Ordinal) == true
        && Types.ContainsKey(path.Value[Assets.Length..]);

    internal static bool IsPage(PathString path) => !Data.Any(d => path.StartsWithSegments(d));

    internal static void Map(IEndpointRouteBuilder app)
    {
        app.MapGet(
                Assets + "{name}",
                Parts.Of(
                    "name",
                    (context, name) =>
                        Types.TryGetValue(name, out var type)
                            ? SendAsync(context, name, type)
                            : throw new RequestFault(404, "not found")
                )
            )
            .RequireAuthorization(Policies.Assets);
        app.MapGet("/{**any}", WriteAsync).RequireAuthorization(Policies.Page);
    }

    internal static Task WriteAsync(HttpContext context) => SendAsync(context, "page.html", "text/html; charset=utf-8");

    private static async Task SendAsync(HttpContext context, string name, string type)
    {
        context.Response.ContentType = type;
        context.Response.Headers.ContentSecurityPolicy = Policy;
        context.Response.Headers.CacheControl = "no-cache";
        await using var content = typeof(PageEndpoints).Assembly.GetManifestResourceStream(name)!;
        await content.CopyToAsync(context.Response.Body, context.RequestAborted);
    }
}
