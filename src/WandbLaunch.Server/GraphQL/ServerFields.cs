using GraphQL;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Schema;

/// <summary>Who asks, and what the server can do.</summary>
internal sealed class ServerFields(Database database) : ISchemaPart
{
    public void AddTo(SchemaFields fields)
    {
        fields.Set(
            "Query",
            "viewer",
            _ => new Row
            {
                ["id"] = "user:" + ResolveContext.Username,
                ["name"] = ResolveContext.Username,
                ["username"] = ResolveContext.Username,
                ["email"] = "",
                ["entity"] = ResolveContext.Username,
                ["flags"] = "{\"code_saving_enabled\": true}",
                ["teams"] = new Row { ["edges"] = Array.Empty<Row>() },
            }
        );
        fields.Set(
            "Query",
            "serverInfo",
            _ => new Row
            {
                ["cliVersionInfo"] = "{\"max_cli_version\": \"99.0.0\"}",
                ["latestLocalVersionInfo"] = new Row
                {
                    ["outOfDate"] = false,
                    ["latestVersionString"] = "0.0.0",
                    ["versionOnThisInstanceString"] = "0.0.0",
                },
                ["features"] = new[]
                {
                    Feature("wandblaunch_queue_wait"),
                    Feature("wandblaunch_queue_push"),
                    Feature("wandblaunch_queue_remove"),
                    Feature("wandblaunch_pop_except"),
                    Feature("wandblaunch_store_" + database.Identity),
                },
            }
        );
        fields.Set("Query", "entity", c => c.GetArgument<string?>("name") is { } name ? Rows.Entity(name) : null);
    }

    private static Row Feature(string name) => new() { ["name"] = name, ["isEnabled"] = true };
}
