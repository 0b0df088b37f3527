using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Schema;

/// <summary>Who asks, and what the server can do.</summary>
internal sealed class ServerFields(Database database) : ISchemaPart
{
    public void AddTo(SchemaFields fields)
    {
        fields.Set(
            "Query",
            "serverInfo",
            _ => new Row
            {
                ["cliVersionInfo"] = new Dictionary<string, object?> { ["max_cli_version"] = "99.0.0" },
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
    }

    private static Row Feature(string name) => new() { ["name"] = name, ["isEnabled"] = true };
}
