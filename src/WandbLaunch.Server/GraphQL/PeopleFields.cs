using GraphQL;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Schema;

/// <summary>Users and entities. Admins are in every team; a team is an entity that has a project, or users.</summary>
internal sealed class PeopleFields(ProjectRepository projects, UserDirectory users) : ISchemaPart
{
    public void AddTo(SchemaFields fields)
    {
        fields.Set("Query", "viewer", c => Rows.User(c.Username(), c.Caller().IsAdmin));
        fields.Set(
            "Query",
            "users",
            c =>
                Row.Connection(
                    Known(c.Caller())
                        .Where(u =>
                            c.GetArgument<string?>("query") is not { Length: > 0 } name
                            || name.Equals(u.Name, StringComparison.OrdinalIgnoreCase)
                        )
                        .Select(u => Rows.User(u.Name, u.IsAdmin)),
                    r => (string)r["id"]!,
                    false
                )
        );
        fields.Set(
            "User",
            "teams",
            c => new Row { ["edges"] = Teams(c.Caller()).Select(e => new Row { ["node"] = Rows.Entity(e) }).ToArray() }
        );
        AddEntities(fields);
        fields.Set("Query", "entity", c => c.GetArgument<string?>("name") is { } name ? Rows.Entity(name) : null);
        fields.Set("Entity", "storageBytes", c => projects.StoredBytes(Name(c)));
        fields.Set(
            "Entity",
            "project",
            c => projects.Find(Name(c), c.GetArgument<string>("name")) is { } found ? Rows.Of(found) : null
        );
        fields.Set(
            "Entity",
            "projects",
            c =>
            {
                var first = c.First(50);
                var found = projects.List(Name(c), Math.Max(0, Ids.Parse(c.GetArgument<string?>("after"))), first + 1);
                return Row.Connection(
                    found.Take(first).Select(Rows.Of),
                    r => Ids.Text(((ProjectRecord)r.Record!).Id),
                    found.Count > first
                );
            }
        );
    }

    private void AddEntities(SchemaFields fields)
    {
        fields.Set("Entity", "isTeam", c => users.Find(Name(c)) is null);
        fields.Set("Entity", "entityType", c => users.Find(Name(c)) is null ? "team" : "user");
        fields.Set("Entity", "user", c => users.Find(Name(c)) is { } user ? Rows.User(user.Name, user.IsAdmin) : null);
        fields.Set(
            "Entity",
            "members",
            c =>
                users
                    .All.Where(u => u.MayRead(Name(c)))
                    .Select(u => new Row
                    {
                        ["id"] = "user:" + u.Name,
                        ["name"] = u.Name,
                        ["username"] = u.Name,
                        ["email"] = "",
                        ["admin"] = u.IsAdmin,
                        ["pending"] = false,
                        ["accountType"] = u.Role == Role.ReadOnly ? "VIEW_ONLY" : "MEMBER",
                        ["role"] =
                            u.IsAdmin ? "admin"
                            : u.Role == Role.ReadOnly ? "viewer"
                            : "member",
                    })
                    .ToList()
        );
    }

    // Those that one shares a team with.
    private IEnumerable<Caller> Known(Caller caller) =>
        users.All.Where(u =>
            caller.IsAdmin || u.Id == caller.Id || u.Teams.Intersect(caller.Teams, StringComparer.Ordinal).Any()
        );

    private IEnumerable<string> Teams(Caller caller) =>
        caller.IsAdmin
            ? projects
                .Entities()
                .Concat(users.All.SelectMany(u => u.Teams))
                .Distinct(StringComparer.Ordinal)
                .Where(e => users.Find(e) is null)
                .Order(StringComparer.Ordinal)
            : caller.Teams;

    private static string Name(IResolveFieldContext c) => (string)((Row)c.Source!)["name"]!;
}
