using System.Globalization;
using WandbLaunch.Server.Audit;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Endpoints;

/// <summary>The log of who did what, for admins: <c>GET /audit?after=&amp;since=&amp;action=&amp;user=&amp;first=</c>.</summary>
internal sealed class AuditEndpoint(AuditLog log)
{
    internal const string Path = "/audit";
    private const int Most = 5_000;

    internal void Map(IEndpointRouteBuilder app) => app.MapGet(Path, ListAsync).For(Right.Administer);

    private Task ListAsync(HttpContext context)
    {
        var query = context.Request.Query;
        var since = query["since"].ToString() is { Length: > 0 } text
            ? DateTimeOffset.TryParse(text, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out var at)
                ? at.UtcDateTime.ToString("yyyy-MM-dd'T'HH:mm:ss.fff", CultureInfo.InvariantCulture)
                : throw new RequestFault(400, "since must be a time.")
            : null;
        var first = query["first"].ToString() is { Length: > 0 } number ? Ids.Parse(number) : 1_000;
        var (found, more) = log.Page(
            new AuditQuery(
                Math.Max(0, Ids.Parse(query["after"].ToString())),
                since,
                [.. query["action"].OfType<string>()],
                query["user"].ToString() is { Length: > 0 } user ? user : null,
                (int)Math.Clamp(first, 1, Most)
            )
        );
        context.Response.Headers.CacheControl = "no-store";
        return context.Response.WriteAsJsonAsync(
            new
            {
                entries = found.Select(e => new
                {
                    id = e.Id,
                    at = e.At,
                    user = e.User,
                    action = e.Action,
                    operation = e.Operation,
                    entity = e.Entity,
                    project = e.Project,
                    subject = e.Subject,
                    client = e.Client,
                    address = e.Address,
                }),
                more,
            },
            context.RequestAborted
        );
    }
}
