using System.Reflection;
using System.Runtime.Loader;

namespace WandbLaunch.Host;

/// <summary>The way into the host on the runtime of a pwsh: as a hook of the runtime's start, before PowerShell, or from WandbLaunch.Host.ps1.</summary>
public static class ShellEntry
{
    private const string HooksVariable = "DOTNET_STARTUP_HOOKS";
    private const string StartupVariable = "WANDBLAUNCH_STARTUP";

    private static string Folder => Path.GetDirectoryName(typeof(ShellEntry).Assembly.Location)!;

    /// <summary>The words after the script's name; null when this process was started for something else.</summary>
    private static string[]? Words
    {
        get
        {
            var words = Environment.GetCommandLineArgs();
            var file = Array.IndexOf(words, "-File");
            return
                file >= 0 && file + 1 < words.Length && words[file + 1] == Path.Combine(Folder, "WandbLaunch.Host.ps1")
                ? words[(file + 2)..]
                : null;
        }
    }

    /// <summary>Runs the host in a PowerShell that already runs.</summary>
    public static int Run() =>
        Words is { } words
            ? Run(words)
            : throw new InvalidOperationException("WandbLaunch.Host.ps1 is started by pwsh -File alone.");

    /// <summary>Runs the host and ends the process, where it was started for that.</summary>
    internal static void RunAndExit()
    {
        if (Words is { } words)
        {
            Environment.Exit(Run(words));
        }
    }

    private static int Run(string[] words)
    {
        CleanEnvironment();

        return (int)
            typeof(ShellEntry).Assembly.EntryPoint!.Invoke(
                null,
                BindingFlags.DoNotWrapExceptions,
                null,
                [words],
                null
            )!;
    }

    /// <summary>Has the module's libraries found beside this assembly, where they are asked for; where a list of the build names them, it counts.</summary>
    internal static void FindLibraries()
    {
        var libraries = new LibraryContext(Folder);
        AssemblyLoadContext.Default.Resolving += (_, name) =>
            name.Name == "WandbLaunch.Core" ? libraries.LoadFromAssemblyName(name) : null;
    }

    // What started this process is not for the programs that it starts.
    private static void CleanEnvironment()
    {
        var own = Path.Combine(Folder, "WandbLaunch.Host.dll");
        var hooks = (Environment.GetEnvironmentVariable(HooksVariable) ?? "")
            .Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries)
            .Where(h => h != own);
        Environment.SetEnvironmentVariable(
            HooksVariable,
            string.Join(Path.PathSeparator, hooks) is { Length: > 0 } rest ? rest : null
        );
        foreach (
            var name in (Environment.GetEnvironmentVariable(StartupVariable) ?? "").Split(
                Path.PathSeparator,
                StringSplitOptions.RemoveEmptyEntries
            )
        )
        {
            Environment.SetEnvironmentVariable(name, null);
        }

        Environment.SetEnvironmentVariable(StartupVariable, null);
    }
}
