using System.Collections.Frozen;
using System.IO.Compression;
using System.Security.Cryptography;
using System.Text;
using WandbLaunch.Server.Auth;

namespace WandbLaunch.Server.Endpoints;

/// <summary>The page: the same few files for every address of it, without a word of data.</summary>
internal static class PageEndpoints
{
    private const string Assets = "/assets/";
    private const string Prefix = "page/";
    private const string Page = "page.html";

    // Nothing but the server's own files, no frame around it, and no form that a browser sends by itself.
    private const string Policy =
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'";

    private static readonly Lazy<PageFiles> Files = new(() => new PageFiles());

    // Where data and not the page is.
    private static readonly string[] Data =
    [
        "/graphql",
        "/files",
        "/queues",
        "/artifacts",
        "/artifactsV2",
        "/artifact-manifests",
        "/page",
        "/shutdown",
        UserEndpoints.Path,
        AuditEndpoint.Path,
        SessionEndpoints.Path,
    ];

    internal static bool IsAsset(PathString path) => Find(path.Value) is not null;

    internal static bool IsPage(PathString path) => !Data.Any(d => path.StartsWithSegments(d));

    internal static void Map(IEndpointRouteBuilder app)
    {
        app.MapGet(Assets + "{version}/{name}", SendAssetAsync).RequireAuthorization(Policies.Assets).For(Right.Read);
        app.MapGet("/{**any}", WriteAsync).RequireAuthorization(Policies.Page).For(Right.Read);
    }

    internal static Task WriteAsync(HttpContext context) => SendAsync(context, Files.Value.Page, "no-cache");

    private static Task SendAssetAsync(HttpContext context) =>
        SendAsync(
            context,
            Find(context.Request.Path.Value) ?? throw new RequestFault(404, "not found"),
            // Its address has the version of all of them in it.
            "public, max-age=31536000, immutable"
        );

    private static PageFile? Find(string? path) =>
        path?.StartsWith(Assets, StringComparison.Ordinal) == true
        && path[Assets.Length..].Split('/') is [var version, var name]
        && version == Files.Value.Version
            ? Files.Value.Assets.GetValueOrDefault(name)
            : null;

    private static async Task SendAsync(HttpContext context, PageFile file, string caching)
    {
        var headers = context.Response.Headers;
        context.Response.ContentType = file.Type;
        headers.ContentSecurityPolicy = Policy;
        headers.CacheControl = caching;
        headers.Vary = "Accept-Encoding";
        var (content, encoding) = file.For(context.Request.Headers.AcceptEncoding.ToString());
        if (encoding is not null)
        {
            headers.ContentEncoding = encoding;
        }

        context.Response.ContentLength = content.Length;
        await context.Response.Body.WriteAsync(content, context.RequestAborted);
    }

    private sealed record PageFile(string Type, byte[] Content)
    {
        // Packed once, by whoever asks for it first.
        private readonly Lazy<byte[]> _brotli = new(() =>
            Pack(Content, s => new BrotliStream(s, CompressionLevel.SmallestSize))
        );
        private readonly Lazy<byte[]> _gzip = new(() =>
            Pack(Content, s => new GZipStream(s, CompressionLevel.SmallestSize))
        );

        /// <summary>As the one who asks takes it, and how it is packed then.</summary>
        internal (byte[] Content, string? Encoding) For(string accepted)
        {
            var taken = accepted.Split(',').Select(e => e.Split(';')[0].Trim()).ToList();
            return taken.Contains("br") ? (_brotli.Value, "br")
                : taken.Contains("gzip") ? (_gzip.Value, "gzip")
                : (Content, null);
        }

        private static byte[] Pack(byte[] content, Func<Stream, Stream> packer)
        {
            using var packed = new MemoryStream();
            using (var stream = packer(packed))
            {
                stream.Write(content);
            }

            return packed.ToArray();
        }
    }

    private sealed class PageFiles
    {
        internal PageFiles()
        {
            var assembly = typeof(PageEndpoints).Assembly;
            var assets = new SortedDictionary<string, PageFile>(StringComparer.Ordinal);
            foreach (var name in assembly.GetManifestResourceNames())
            {
                if (name.StartsWith(Prefix, StringComparison.Ordinal))
                {
                    using var stream = assembly.GetManifestResourceStream(name)!;
                    using var content = new MemoryStream();
                    stream.CopyTo(content);
                    assets[name[Prefix.Length..]] = new PageFile(TypeOf(name), content.ToArray());
                }
            }

            var all = assets.SelectMany(a => Encoding.UTF8.GetBytes(a.Key).Concat(a.Value.Content)).ToArray();
            Version = Convert.ToHexString(SHA256.HashData(all))[..16].ToLowerInvariant();
            var page = Encoding.UTF8.GetString(assets[PageEndpoints.Page].Content);
            Page = new PageFile(
                TypeOf(PageEndpoints.Page),
                Encoding.UTF8.GetBytes(page.Replace("{version}", Version, StringComparison.Ordinal))
            );
            assets.Remove(PageEndpoints.Page);
            Assets = assets.ToFrozenDictionary(StringComparer.Ordinal);
        }

        /// <summary>Another for each change of any of them.</summary>
        internal string Version { get; }

        internal PageFile Page { get; }

        internal FrozenDictionary<string, PageFile> Assets { get; }

        private static string TypeOf(string name) =>
            Path.GetExtension(name) switch
            {
                ".js" => "text/javascript; charset=utf-8",
                ".css" => "text/css; charset=utf-8",
                ".svg" => "image/svg+xml",
                _ => "text/html; charset=utf-8",
            };
    }
}
