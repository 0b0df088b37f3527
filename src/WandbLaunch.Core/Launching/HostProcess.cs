using System.Diagnostics;
using System.Text.Json;
using WandbLaunch.Foundation;
using WandbLaunch.Python;

namespace WandbLaunch.Launching;

/// <summary>Starts programs of this module that outlive the shell: the host of a run, the local server.</summary>
internal static class HostProcess
{
    /// <summary>Folder of the module's libraries: where this assembly is.</summary>
    internal static string LibraryFolder => Path.GetDirectoryName(typeof(HostProcess).Assembly.Location)!;

    /// <summary>A program of the module: beside this assembly, or in the server's folder of the module.</summary>
    internal static string FindProgram(string name)
    {
        var beside = Path.Combine(LibraryFolder, name + ".dll");
        return File.Exists(beside)
            ? beside
            : Path.Combine(Path.GetDirectoryName(LibraryFolder)!, "server", name + ".dll");
    }

    /// <summary>The dotnet program: of this process, of DOTNET_ROOT, of PATH, or where the installers put it.</summary>
    internal static string FindDotnet()
    {
        var name = OperatingSystem.IsWindows() ? "dotnet.exe" : "dotnet";
        if (Environment.ProcessPath is { } own && Path.GetFileName(own) == name)
        {
            return own;
        }

        var places = new List<string?>
        {
            Environment.GetEnvironmentVariable("DOTNET_ROOT") is { Length: > 0 } root ? Path.Combine(root, name) : null,
            VirtualEnvironment.OnPath("dotnet"),
            OperatingSystem.IsWindows()
                ? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.ProgramFiles), "dotnet", name)
                : "/usr/share/dotnet/dotnet",
            "/usr/lib/dotnet/dotnet",
            "/usr/local/share/dotnet/dotnet",
            Path.Combine(LaunchEnvironment.Current.Home, ".dotnet", name),
        };
        return places.FirstOrDefault(p => p is not null && File.Exists(p))
            ?? throw new LaunchException(
                "DotnetNotFound",
                LaunchErrorCategory.ResourceUnavailable,
                "This needs the .NET runtime (8 or newer, with ASP.NET Core for the local server), and there is no dotnet program on this machine. Install it from https://dot.net, or set DOTNET_ROOT.",
                "dotnet"
            );
    }

    /// <summary>The command of a process that starts a program, and is given the orphans of what the program starts; null where it cannot be had.</summary>
    internal static IReadOnlyList<string>? Adopter()
    {
        try
        {
            var host = FindProgram("WandbLaunch.Host");
            return File.Exists(host) ? [FindDotnet(), host, "adopt"] : null;
        }
        catch (LaunchException)
        {
            // A pwsh that brings its own .NET: without it, orphans are found by the variable that they carry.
            return null;
        }
    }

    /// <summary>Starts a program detached from this shell, with its input open for one message.</summary>
    internal static ChildProcess Start(
        string assembly,
        IEnumerable<string> arguments,
        IReadOnlyDictionary<string, string>? environment = null
    )
    {
        if (!File.Exists(assembly))
        {
            throw new LaunchException(
                "ModuleIncomplete",
                LaunchErrorCategory.ResourceUnavailable,
                $"{assembly} is missing. Install the module again.",
                assembly
            );
        }

        var start = new ProcessStartInfo(FindDotnet())
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
            CreateNoWindow = true,
            WorkingDirectory = Path.GetTempPath(),
        };
        start.ArgumentList.Add(assembly);
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        foreach (var (name, value) in environment ?? new Dictionary<string, string>())
        {
            start.Environment[name] = value;
        }

        return ChildProcess.Start(start, outlives: true);
    }

    /// <summary>Hands a prepared run to a host. Secrets go through its standard input, not its command line or a file.</summary>
    internal static async Task StartRunAsync(
        string folder,
        IReadOnlyDictionary<string, string> secrets,
        CancellationToken token
    )
    {
        using var process = Start(FindProgram("WandbLaunch.Host"), ["run", folder]);

        // Closed here: a Process leaves streams that were asked for to the collector.
        using var output = process.StandardOutput;
        using var errors = process.StandardError;
        await process.StandardInput.WriteLineAsync(JsonSerializer.Serialize(secrets).AsMemory(), token);
        process.StandardInput.Close();
        var answer = await output.ReadLineAsync(token);
        if (answer != "watching")
        {
            var error = await errors.ReadToEndAsync(token);
            throw new LaunchException(
                "HostFailed",
                LaunchErrorCategory.InvalidOperation,
                $"The process that watches the run did not start: {error.Trim()}",
                folder
            );
        }
    }
}
