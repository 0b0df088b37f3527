using GraphQL;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Schema;

/// <summary>Users and entities. The server has one user, who is in every team; a team is an entity that has a project.</summary>
internal sealed class PeopleFields(ProjectRepository projects) : ISchemaPart
{
    public void AddTo(SchemaFields fields)
    {
        fields.Set("Query", "viewer", _ => Rows.User(ResolveContext.Username));
        fields.Set(
            "Query",
            "users",
            c =>
                Row.Connection(
                    c.GetArgument<string?>("query") is not { Length: > 0 } name
                    || name.Equals(ResolveContext.Username, StringComparison.OrdinalIgnoreCase)
                        ? [Rows.User(ResolveContext.Username)]
                        : [],
                    r => (string)r["id"]!,
                    false
                )
        );
        fields.Set(
            "User",
            "teams",
            _ => new Row
            {
                ["edges"] = projects
                    .Entities()
                    .Where(e => e != ResolveContext.Username)
                    .Select(e => new Row { ["node"] = Rows.Entity(e) })
                    .ToArray(),
            }
        );
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

    private static string Name(IResolveFieldContext c) => (string)((Row)c.Source!)["name"]!;
}
