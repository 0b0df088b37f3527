using System.Runtime.Versioning;

namespace WandbLaunch.Foundation;

/// <summary>Finds the program that a command names, as a shell would: a path counts from the run's folder, a bare name is looked up on the run's PATH.</summary>
internal static class ProgramPath
{
    /// <exception cref="LaunchException"><c>ProgramNotStarted</c>, <c>ProgramIsScript</c>.</exception>
    internal static string Resolve(string program, string folder, string? path, bool windows)
    {
        var found = Find(program, folder, path ?? "", windows);
        if (
            windows
            && Path.GetExtension(found ?? program) is { } extension
            && (
                extension.Equals(".cmd", StringComparison.OrdinalIgnoreCase)
                || extension.Equals(".bat", StringComparison.OrdinalIgnoreCase)
            )
        )
        {
            throw new LaunchException(
                "ProgramIsScript",
                LaunchErrorCategory.InvalidArgument,
                $"'{program}' is a script of cmd.exe, which takes arguments apart and runs what is in them. Name the program that it starts, or write the command for cmd out: -EntryPoint 'cmd /c {program}'.",
                program
            );
        }

        return found
            ?? throw new LaunchException(
                "ProgramNotStarted",
                LaunchErrorCategory.ResourceUnavailable,
                program.Contains('/', StringComparison.Ordinal)
                || (windows && program.Contains('\\', StringComparison.Ordinal))
                    ? $"'{program}' cannot be started: there is no such file in {folder}. Paths count from the folder of the code."
                    : $"'{program}' cannot be started: there is no such program on the PATH. Is it installed? A program of the code's own folder is './{program}'.",
                program
            );
    }

    /// <summary>Finds a program on this process's PATH alone: Windows itself would look into the working folder first.</summary>
    internal static string? Find(string name) =>
        Find(name, "", Environment.GetEnvironmentVariable("PATH") ?? "", OperatingSystem.IsWindows());

    /// <summary>An alias of a Store app on PATH, which <see cref="Find(string)"/> passes by: it may be none that works.</summary>
    internal static string? FindAlias(string name) =>
        OperatingSystem.IsWindows()
            ? (Environment.GetEnvironmentVariable("PATH") ?? "")
                .Split(';', StringSplitOptions.RemoveEmptyEntries)
                .Where(Path.IsPathRooted)
                .Select(f => Path.Combine(f, name + ".exe"))
                .FirstOrDefault(f => File.Exists(f) && IsAlias(f))
            : null;

    private static readonly string[] ProgramEndings = [".exe", ".com", ".cmd", ".bat"];

    private static bool HasEnding(string program) =>
        ProgramEndings.Contains(Path.GetExtension(program), StringComparer.OrdinalIgnoreCase);

    private static bool IsAlias(string file) =>
        file.Contains("WindowsApps", StringComparison.OrdinalIgnoreCase) && new FileInfo(file).Length == 0;

    private static string? Find(string program, string folder, string path, bool windows)
    {
        // On Windows what has no ending of a program may have one on disk (python3.11 too); scripts are found too, to be refused with the reason.
        string[] endings =
            !windows || HasEnding(program) ? [""]
            : Path.GetExtension(program).Length == 0 ? ProgramEndings
            : ["", .. ProgramEndings];
        if (
            Path.IsPathRooted(program)
            || program.Contains('/', StringComparison.Ordinal)
            || (windows && program.Contains('\\', StringComparison.Ordinal))
        )
        {
            return endings.Select(e => Path.GetFullPath(Path.Combine(folder, program + e))).FirstOrDefault(File.Exists);
        }

        return path.Split(windows ? ';' : ':', StringSplitOptions.RemoveEmptyEntries)
            .Where(Path.IsPathRooted)
            .SelectMany(f => endings.Select(e => Path.Combine(f, program + e)))
            .FirstOrDefault(f => File.Exists(f) && IsProgram(f, windows));
    }

    private static bool IsProgram(string file, bool windows) =>
        windows
            // It may only open the Store.
            ? !IsAlias(file)
            : OperatingSystem.IsWindows() || IsExecutable(file);

    [UnsupportedOSPlatform("windows")]
    private static bool IsExecutable(string file)
    {
        try
        {
            return (
                    File.GetUnixFileMode(file)
                    & (UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute)
                ) != 0;
        }
        catch (FileNotFoundException)
        {
            // A link whose target is gone; shells pass it over too.
            return false;
        }
    }
}
