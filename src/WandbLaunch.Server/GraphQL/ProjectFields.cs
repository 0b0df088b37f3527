using GraphQL;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Schema;

/// <summary>Projects, and the runs in them.</summary>
internal sealed class ProjectFields(ProjectRepository projects, RunRepository runs) : ISchemaPart
{
    // The home of queues is always there (protocol B.2).
    private const string QueueProject = "model-registry";

    public void AddTo(SchemaFields fields)
    {
        foreach (var name in new[] { "project", "model" })
        {
            fields.Set(
                "Query",
                name,
                c =>
                {
                    var entity = c.GetArgument<string?>("entityName") ?? c.Username();
                    var project = c.GetArgument<string?>("name");
                    var found =
                        project == QueueProject && c.Caller().MayWrite(entity)
                            ? projects.Upsert(entity, QueueProject, null).Project
                            : projects.Find(entity, project);
                    return found is null ? null : Rows.Of(found);
                }
            );
        }

        foreach (var name in new[] { "projects", "models" })
        {
            fields.Set(
                "Query",
                name,
                c =>
                {
                    var first = c.First(50);
                    var found = projects.List(
                        c.GetArgument<string?>("entityName"),
                        long.TryParse(c.GetArgument<string?>("after"), out var after) ? after : 0,
                        first + 1
                    );
                    return Row.Connection(
                        found.Take(first).Select(Rows.Of),
                        r => Ids.Text(((ProjectRecord)r.Record!).Id),
                        found.Count > first
                    );
                }
            );
        }

        foreach (var name in new[] { "run", "bucket" })
        {
            // The 2022 SDK asks a bucket that must not be there for upload URLs; it is made then.
            fields.Set(
                "Project",
                name,
                c =>
                    c.GetArgument<string?>("name") is { } run && runs.Find(c.Of<ProjectRecord>(), run) is { } found
                        ? Rows.Of(found, (Row)c.Source!)
                        : null
            );
        }

        foreach (var name in new[] { "runs", "buckets" })
        {
            fields.Set(
                "Project",
                name,
                c =>
                {
                    var (found, cursor, more) = runs.Page(
                        c.Of<ProjectRecord>(),
                        c.GetArgument<string?>("filters"),
                        c.GetArgument<string?>("after"),
                        c.First(50),
                        c.GetArgument<string?>("order")
                    );
                    return Row.Connection(
                        found.Select(r => Rows.Of(r, (Row)c.Source!)),
                        r => cursor((RunRecord)r.Record!),
                        more
                    );
                }
            );
        }

        fields.Set(
            "Project",
            "runCount",
            c => (int)runs.Count(c.Of<ProjectRecord>(), c.GetArgument<string?>("filters"))
        );
        fields.Set("Project", "allViews", _ => Row.Connection([], _ => "", false));
        fields.Mutation(
            "upsertModel",
            (c, input) =>
            {
                var (project, inserted) = projects.Upsert(
                    input.Text("entityName") ?? c.Username(),
                    input.Text("name") ?? "uncategorized",
                    input.Text("description")
                );
                var row = Rows.Of(project);
                return new Row
                {
                    ["model"] = row,
                    ["project"] = row,
                    ["inserted"] = inserted,
                };
            }
        );
    }
}
