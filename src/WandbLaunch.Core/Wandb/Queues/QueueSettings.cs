using System.Text.Json.Nodes;
using WandbLaunch.Model;

namespace WandbLaunch.Wandb;

/// <summary>What a queue makes of its items, as its server keeps it.</summary>
/// <param name="Resource">Resource of its items.</param>
/// <param name="Arguments">Arguments of that resource.</param>
/// <param name="Variables">Template variables by name.</param>
/// <param name="Limits">Limits of its runs, for agents that know them.</param>
internal sealed record QueueSettings(string Resource, JsonObject Arguments, JsonObject Variables, RunLimits Limits);
