using System.Text.Json;
using System.Text.Json.Serialization;

namespace WandbLaunch.Wandb;

/// <summary>What an agent does: the same words on its machine, on the server and in every command.</summary>
[JsonConverter(typeof(AgentStateConverter))]
public enum AgentState
{
    /// <summary>Waits for items.</summary>
    Polling,

    /// <summary>Has items that run, or are being prepared.</summary>
    Running,

    /// <summary>Takes no more items, and ends after those that it has.</summary>
    Draining,

    /// <summary>Has ended, and said so.</summary>
    Stopped,

    /// <summary>Was killed, or has not been heard of for two minutes.</summary>
    Lost,
}

/// <summary>In files as small words, as they always were.</summary>
internal sealed class AgentStateConverter()
    : JsonStringEnumConverter<AgentState>(JsonNamingPolicy.CamelCase, allowIntegerValues: false);
