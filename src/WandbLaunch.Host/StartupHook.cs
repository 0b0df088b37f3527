/// <summary>What the runtime calls before a program's own entry point, where DOTNET_STARTUP_HOOKS names this assembly; name and place are the runtime's.</summary>
internal static class StartupHook
{
    /// <summary>Does nothing in a process that was not started for it.</summary>
    public static void Initialize() => WandbLaunch.Host.ShellEntry.RunAndExit();
}
