using System.Text.RegularExpressions;
using WandbLaunch.Foundation;
using WandbLaunch.Sources;

namespace WandbLaunch.Resources;

/// <summary>What an entry point is on this machine: a Python program, a script of PowerShell or of a shell, or any program.</summary>
internal static partial class EntryCommand
{
    // A shell script, a binary, any other program runs on a machine without Python, unless packages are to be installed for it.
    internal static bool NeedsPython(ResolvedRun resolved, LaunchOptions options) =>
        (!options.NoInstall && !resolved.Requirements.IsEmpty)
        || (
            resolved.EntryPoint.Count > 0
            && (PythonName().IsMatch(resolved.EntryPoint[0]) || Is(resolved.EntryPoint[0], ".py"))
        );

    /// <summary>"python" is the environment's own; a shell is the user's (protocol D.2, step 10); "pwsh" is the one at hand.</summary>
    /// <exception cref="LaunchException"><c>ProgramIsScript</c>, <c>PwshNotFound</c>.</exception>
    internal static List<string> Of(ResolvedRun resolved, string python, LaunchEnvironment environment)
    {
        var entry = resolved.EntryPoint.ToList();
        if (entry.Count == 0)
        {
            return entry;
        }

        if (PythonName().IsMatch(entry[0]))
        {
            entry[0] = python;
        }
        else if (Is(entry[0], ".py"))
        {
            entry.Insert(0, python);
        }
        else if (Is(entry[0], ".ps1"))
        {
            entry.InsertRange(0, ["pwsh", .. EntryPoint.ScriptWords]);
        }
        else if (Is(entry[0], ".sh"))
        {
            entry.Insert(0, "bash");
        }

        if (entry[0] == "pwsh")
        {
            entry = [.. Pwsh(), .. entry.Skip(1)];
        }

        if (entry[0] == "bash")
        {
            // The bash that is found on Windows is that of a Linux beside it, to which this folder, its variables and their end are strange.
            entry[0] =
                OperatingSystem.IsWindows()
                    ? throw new LaunchException(
                        "ProgramIsScript",
                        LaunchErrorCategory.InvalidArgument,
                        $"'{entry.ElementAtOrDefault(1) ?? "bash"}' is a script of a Unix shell, and Windows has none. Launch it with another -Resource, such as a container, or name a shell by its path: -EntryPoint 'C:/Program Files/Git/bin/bash.exe', 'train.sh'.",
                        entry.ElementAtOrDefault(1)
                    )
                : environment["SHELL"] is { } shell && File.Exists(shell) ? shell
                : "bash";
        }

        return entry;
    }

    /// <summary>The pwsh that this process is, or that lies beside its runtime, or of PATH, or where its installer puts it. As a .NET tool it is a library that dotnet runs.</summary>
    private static IReadOnlyList<string> Pwsh()
    {
        var own = Environment.ProcessPath ?? "";
        var library = Path.Combine(AppContext.BaseDirectory, "pwsh.dll");
        return Path.GetFileNameWithoutExtension(own) switch
        {
            "pwsh" => [own],
            "dotnet" when File.Exists(library) => [own, library],
            _ =>
            [
                ProgramPath.Find("pwsh")
                    ?? Installed()
                    ?? throw new LaunchException(
                        "PwshNotFound",
                        LaunchErrorCategory.ResourceUnavailable,
                        "The entry point is a script of PowerShell, and there is no pwsh on PATH. Install PowerShell, or name another program with -EntryPoint.",
                        "pwsh"
                    ),
            ],
        };
    }

    private static string? Installed()
    {
        var path = Path.Combine(
            Environment.GetFolderPath(Environment.SpecialFolder.ProgramFiles),
            "PowerShell",
            "7",
            "pwsh.exe"
        );
        return OperatingSystem.IsWindows() && File.Exists(path) ? path : null;
    }

    private static bool Is(string program, string ending) =>
        program.EndsWith(
            ending,
            OperatingSystem.IsWindows() ? StringComparison.OrdinalIgnoreCase : StringComparison.Ordinal
        );

    // Jobs say python3.11, where the version is the environment's already.
    [GeneratedRegex(@"^python(3(\.\d+)?)?$")]
    private static partial Regex PythonName();
}
