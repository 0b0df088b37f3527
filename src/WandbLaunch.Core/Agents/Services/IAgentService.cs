namespace WandbLaunch.Agents;

/// <summary>A machine's service manager, as it keeps agents. Keys are in none of what is written: the account's netrc or its secret vault has them.</summary>
internal interface IAgentService
{
    /// <summary>File with the settings of the agent of a name.</summary>
    string ConfigPath(string name);

    /// <summary>Where the manager has the agent of a name: a file, or what stands for one.</summary>
    string DefinitionPath(string name);

    bool Exists(string name);

    /// <summary>Makes the definition; writes nothing.</summary>
    AgentServiceDefinition Define(AgentServiceRequest request);

    /// <summary>Writes the settings and the definition, and has the service manager start it. What the manager says against it comes back.</summary>
    Task<string?> InstallAsync(AgentServiceDefinition definition, string? password, CancellationToken token);

    /// <summary>Takes the definition away. The agent itself is asked to end after its runs.</summary>
    Task<string?> UninstallAsync(AgentServiceDefinition definition, CancellationToken token);
}

/// <summary>An agent that is to be a service.</summary>
/// <param name="Name">Name of the agent.</param>
/// <param name="Config">Its settings.</param>
/// <param name="Command">Words of the program that is the agent.</param>
/// <param name="Account">Account that it runs under; null is the current user.</param>
/// <param name="Variables">Environment of the service; no secrets.</param>
/// <param name="HasPassword">True when the account's password is given to the service manager.</param>
internal sealed record AgentServiceRequest(
    string Name,
    AgentConfig Config,
    IReadOnlyList<string> Command,
    string? Account,
    IReadOnlyDictionary<string, string> Variables,
    bool HasPassword = false
);

/// <summary>Where the parts of a service are: the user's own folders, or the machine's.</summary>
internal sealed record ServicePlace(string Home, string DataFolder, bool MachineWide);
