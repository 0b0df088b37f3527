using System.Text.Json;
using WandbLaunch.Server.Audit;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Endpoints;

/// <summary>Users, for admins: <c>/users</c>. A key is in the answer that makes it, and in no other.</summary>
internal sealed class UserEndpoints(UserDirectory users)
{
    internal const string Path = "/users";
    private const int MostBytes = 64 << 10;
    private static readonly JsonSerializerOptions Web = new(JsonSerializerDefaults.Web);

    internal void Map(IEndpointRouteBuilder app)
    {
        app.MapGet(Path, ListAsync).For(Right.Administer);
        app.MapPost(Path, AddAsync).For(Right.Administer).Audited(AuditAction.Created);
        app.MapPost(Path + "/{name}", Parts.Of("name", ChangeAsync)).For(Right.Administer).Audited(AuditAction.Changed);
        app.MapDelete(Path + "/{name}", Parts.Of("name", RemoveAsync))
            .For(Right.Administer)
            .Audited(AuditAction.Deleted);
    }

    private Task ListAsync(HttpContext context) =>
        AnswerAsync(context, new { users = users.Records().Select(u => Shown(u, null)) });

    private async Task AddAsync(HttpContext context)
    {
        using var body = await Bodies.ReadJsonAsync(context, MostBytes);
        var given = Read(body.RootElement);
        context.Audit().Subject = $"user {given.Name}";
        var (user, key) = users.Add(
            given.Name ?? throw new RequestFault(400, "name is missing."),
            given.Role ?? nameof(Role.Member),
            given.Teams ?? []
        );
        await AnswerAsync(context, Shown(user, key));
    }

    private async Task ChangeAsync(HttpContext context, string name)
    {
        using var body = await Bodies.ReadJsonAsync(context, MostBytes);
        var given = Read(body.RootElement);
        context.Audit().Subject =
            $"user {name}{(given.Role is null ? "" : ", role " + given.Role)}{(given.Teams is null ? "" : ", teams " + string.Join(" ", given.Teams))}{(given.NewKey ? ", another key" : "")}";
        var (user, key) = users.Change(name, given.Role, given.Teams, given.NewKey);
        await AnswerAsync(context, Shown(user, key));
    }

    private Task RemoveAsync(HttpContext context, string name)
    {
        context.Audit().Subject = $"user {name}";
        return AnswerAsync(context, Shown(users.Remove(name), null));
    }

    private static object Shown(UserRecord user, string? key) =>
        new
        {
            name = user.Name,
            role = UserDirectory.RoleName(user.Role),
            teams = user.TeamNames,
            createdAt = user.CreatedAt,
            keyAt = user.KeyAt,
            key,
        };

    private static Task AnswerAsync(HttpContext context, object answer)
    {
        context.Response.Headers.CacheControl = "no-store";
        return context.Response.WriteAsJsonAsync(answer, context.RequestAborted);
    }

    private static UserInput Read(JsonElement body)
    {
        try
        {
            return body.Deserialize<UserInput>(Web) ?? throw new RequestFault(400, "The body must be a JSON object.");
        }
        catch (JsonException e)
        {
            throw new RequestFault(400, "The body is no user: " + JsonLimits.Short(e.Message, 200));
        }
    }

    private sealed record UserInput(string? Name, string? Role, string[]? Teams, bool NewKey = false);
}
