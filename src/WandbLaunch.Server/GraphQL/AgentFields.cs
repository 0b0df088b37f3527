using System.Text.Json;
using GraphQL;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Schema;

/// <summary>Agents (protocol B.4).</summary>
internal sealed class AgentFields(AgentRepository agents) : ISchemaPart
{
    public void AddTo(SchemaFields fields)
    {
        fields.Set("Project", "launchAgents", c => agents.List(c.Of<ProjectRecord>()).Select(Rows.Of).ToList());
        fields.Set(
            "Query",
            "launchAgent",
            c => agents.Find(Ids.Parse(c.GetArgument<string>("id"))) is { } agent ? Rows.Of(agent) : null
        );
        fields.Mutation(
            "createLaunchAgent",
            (_, input) =>
            {
                var queues = ((IEnumerable<object?>)input["runQueues"]!).Select(q => q!.ToString()).ToArray();
                var id = agents.Create(
                    input.Need("entityName"),
                    input.Need("projectName"),
                    JsonSerializer.Serialize(queues),
                    input.Need("hostname"),
                    input.Text("agentConfig"),
                    input.Text("version")
                );
                return new Row { ["success"] = true, ["launchAgentId"] = Ids.Text(id) };
            }
        );
        fields.Mutation(
            "updateLaunchAgent",
            (c, input) => c.Done(agents.Update(input.NeedId("launchAgentId"), input.Text("agentStatus")))
        );
        fields.Mutation(
            "stopLaunchAgent",
            (c, input) =>
                c.Done(agents.Stop(input.NeedId("launchAgentId"), input.GetValueOrDefault("stopRuns") is true))
        );
    }
}
