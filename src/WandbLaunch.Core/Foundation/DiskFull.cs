namespace WandbLaunch.Foundation;

/// <summary>Tells a full disk from other failures.</summary>
internal static class DiskFull
{
    internal static LaunchException? Explain(Exception e, string path) =>
        e is IOException && (e.HResult & 0xFFFF) is 28 or 0x70 or 0x27
            ? new LaunchException(
                "DiskFull",
                LaunchErrorCategory.WriteError,
                $"The disk of {path} is full. Free room, or empty the caches with Clear-WandbLaunchCache.",
                path,
                e
            )
            : null;
}
