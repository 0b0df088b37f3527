namespace WandbLaunch.Foundation;

/// <summary>Finds programs on PATH alone: Windows itself would look into the working folder first.</summary>
internal static class ProgramPath
{
    internal static string? Find(string name)
    {
        var extensions = OperatingSystem.IsWindows()
            ? (Environment.GetEnvironmentVariable("PATHEXT") ?? ".EXE").Split(';')
            : [""];
        foreach (
            var folder in (Environment.GetEnvironmentVariable("PATH") ?? "").Split(
                Path.PathSeparator,
                StringSplitOptions.RemoveEmptyEntries
            )
        )
        {
            foreach (var extension in extensions)
            {
                var path = Path.Combine(folder, name + extension);

                // The WindowsApps alias only opens the store.
                if (
                    File.Exists(path)
                    && !(
                        OperatingSystem.IsWindows()
                        && path.Contains("WindowsApps", StringComparison.OrdinalIgnoreCase)
                        && new FileInfo(path).Length == 0
                    )
                )
                {
                    return path;
                }
            }
        }

        return null;
    }
}
