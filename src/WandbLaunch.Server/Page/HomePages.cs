using Dapper;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Pages;

/// <summary>What the first view and the search (Ctrl+K) ask for: <c>/page/home</c>, <c>/page/search</c>, <c>/page/me</c>.</summary>
internal sealed class HomePages(Database database, PageQueues queues)
{
    private const int MostProjects = 500;
    private const int MostFound = 30;

    internal void Map(IEndpointRouteBuilder app)
    {
        app.MapGet(
                "/page/home",
                c => c.AnswerAsync(new { projects = Projects(c.Caller()), queues = queues.Queues(c.Caller()) })
            )
            .For(Right.Read);
        app.MapGet("/page/search", c => c.AnswerAsync(new { runs = Find(c.Request.Text("q") ?? "", c.Caller()) }))
            .For(Right.Read);
        app.MapGet("/page/me", c => c.AnswerAsync(Me(c.Caller()))).For(Right.Read);
    }

    // Who is signed in, so that the page shows what this user can do.
    private static object Me(Caller caller) =>
        new
        {
            name = caller.Name,
            role = caller.Role.ToString(),
            teams = caller.Teams,
        };

    private IEnumerable<object> Projects(Caller caller) =>
        database
            .Read(c =>
                c.Query<(string Entity, string Name, string? Description, long Runs, string? Newest)>(
                        $"""
                        SELECT p.entity, p.name, p.description, (SELECT COUNT(*) FROM runs WHERE project = p.id),
                          (SELECT created_at FROM runs WHERE project = p.id ORDER BY created_at DESC LIMIT 1)
                        FROM projects p WHERE @all OR p.entity IN @entities ORDER BY 5 DESC NULLS LAST, p.id LIMIT {MostProjects}
                        """,
                        new { all = caller.IsAdmin, entities = caller.Entities }
                    )
                    .AsList()
            )
            .Select(p =>
                (object)
                    new
                    {
                        entity = p.Entity,
                        name = p.Name,
                        description = p.Description,
                        runs = p.Runs,
                        newest = p.Newest,
                    }
            );

    private IEnumerable<object> Find(string text, Caller caller)
    {
        if (text.Trim().Length == 0)
        {
            return [];
        }

        var like = text.Trim()
            .Replace("\\", "\\\\", StringComparison.Ordinal)
            .Replace("%", "\\%", StringComparison.Ordinal)
            .Replace("_", "\\_", StringComparison.Ordinal);
        return database
            .Read(c =>
                c.Query<(string Entity, string Project, string Name, string? Shown)>(
                        $"SELECT p.entity, p.name, r.name, r.display_name FROM runs r JOIN projects p ON p.id = r.project WHERE (@all OR p.entity IN @entities) AND (r.name LIKE @like ESCAPE '\\' OR r.display_name LIKE @like ESCAPE '\\') ORDER BY r.id DESC LIMIT {MostFound}",
                        new
                        {
                            like = $"%{like}%",
                            all = caller.IsAdmin,
                            entities = caller.Entities,
                        }
                    )
                    .AsList()
            )
            .Select(r =>
                (object)
                    new
                    {
                        entity = r.Entity,
                        project = r.Project,
                        name = r.Name,
                        displayName = r.Shown,
                    }
            );
    }
}
