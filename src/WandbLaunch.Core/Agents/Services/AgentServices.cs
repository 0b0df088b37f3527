using WandbLaunch.Foundation;

namespace WandbLaunch.Agents;

/// <summary>The service managers that are known.</summary>
internal static class AgentServices
{
    /// <summary>This machine's.</summary>
    internal static IAgentService Here(LaunchContext context, bool machineWide) =>
        Of(
            OperatingSystem.IsWindows() ? AgentServiceKind.ScheduledTask
                : OperatingSystem.IsMacOS() ? AgentServiceKind.LaunchdPropertyList
                : AgentServiceKind.SystemdUnit,
            new ServicePlace(context.Environment.Home, context.DataFolder, machineWide)
        );

    /// <summary>One of a kind; tests ask for others than their machine's.</summary>
    internal static IAgentService Of(AgentServiceKind kind, ServicePlace place) =>
        kind switch
        {
            AgentServiceKind.ScheduledTask => new TaskSchedulerService(place),
            AgentServiceKind.LaunchdPropertyList => new LaunchdService(place),
            _ => new SystemdService(place),
        };

    /// <summary>The agent's program without a shell: the host of the module.</summary>
    internal static OwnCommand HostCommand(LaunchContext context, string configPath) =>
        OwnProgram.Host(context.Environment).Command("agent", configPath);
}
