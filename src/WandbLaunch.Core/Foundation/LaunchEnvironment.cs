using System.Runtime.InteropServices;

namespace WandbLaunch.Foundation;

/// <summary>What the machine tells about itself; tests give another one.</summary>
internal sealed class LaunchEnvironment
{
    internal Func<string, string?> Variable { get; init; } = Environment.GetEnvironmentVariable;

    internal string Home { get; init; } =
        Environment.GetFolderPath(Environment.SpecialFolder.UserProfile, Environment.SpecialFolderOption.DoNotVerify);

    internal bool IsWindows { get; init; } = RuntimeInformation.IsOSPlatform(OSPlatform.Windows);

    internal string? this[string name] => Variable(name) is { Length: > 0 } value ? value : null;

    /// <summary>The module's data folder: runs, caches, the server's database. <c>WANDBLAUNCH_HOME</c> moves it.</summary>
    internal string DataFolder =>
        this["WANDBLAUNCH_HOME"]
        ?? Path.Combine(
            IsWindows
                ? this["LOCALAPPDATA"] ?? Path.Combine(Home, "AppData", "Local")
                : this["XDG_DATA_HOME"] ?? Path.Combine(Home, ".local", "share"),
            "WandbLaunch"
        );
}
