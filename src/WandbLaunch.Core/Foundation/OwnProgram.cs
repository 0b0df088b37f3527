using System.Diagnostics;

namespace WandbLaunch.Foundation;

/// <summary>How a program is started: its words, and what its environment needs besides.</summary>
internal sealed record OwnCommand(IReadOnlyList<string> Words, IReadOnlyDictionary<string, string> Environment);

/// <summary>One of the module's own programs: the host of what outlives a shell, and the local server.</summary>
internal sealed class OwnProgram
{
    private const string HooksVariable = "DOTNET_STARTUP_HOOKS";

    /// <summary>Names the variables that the host takes out of its environment, so that no program of a user inherits them.</summary>
    internal const string StartupVariable = "WANDBLAUNCH_STARTUP";

    // What WandbLaunch.Host.runtimeconfig.json says, for a runtime that reads pwsh's; numbers are hexadecimal.
    private static readonly IReadOnlyDictionary<string, string> RuntimeSettings = new Dictionary<string, string>
    {
        ["DOTNET_TieredPGO"] = "0",
        ["DOTNET_GCgen0MaxBudget"] = "400000",
        ["DOTNET_gcConcurrent"] = "0",
        ["DOTNET_ThreadPool_UnfairSemaphoreSpinLimit"] = "0",
    };

    private readonly LaunchEnvironment _environment;
    private readonly string _assembly;
    private readonly bool _isServer;

    private readonly OwnRuntime? _runtime;

    private OwnProgram(LaunchEnvironment environment, string assembly, bool isServer, OwnRuntime? runtime)
    {
        _environment = environment;
        _assembly = assembly;
        _isServer = isServer;
        _runtime = runtime;
    }

    /// <summary>Folder of the module's libraries: where this assembly is, or two above it where it is the one that was compiled ahead for a platform.</summary>
    internal static string LibraryFolder
    {
        get
        {
            var own = Path.GetDirectoryName(typeof(OwnProgram).Assembly.Location)!;
            return Path.GetDirectoryName(own) is { } above && Path.GetFileName(above) == "compiled"
                ? Path.GetDirectoryName(above)!
                : own;
        }
    }

    /// <summary>The program that watches runs, is an agent, or adopts orphans.</summary>
    /// <param name="environment">Where a runtime is looked for.</param>
    /// <param name="runtime">The runtime, where it is known.</param>
    internal static OwnProgram Host(LaunchEnvironment environment, OwnRuntime? runtime = null) =>
        new(environment, HostAssembly, false, runtime);

    /// <summary>The local server: beside this assembly, or in its own folder of the module.</summary>
    internal static OwnProgram Server(LaunchEnvironment environment, OwnRuntime? runtime = null)
    {
        var beside = Path.Combine(LibraryFolder, "WandbLaunch.Server.dll");
        return new(
            environment,
            File.Exists(beside)
                ? beside
                : Path.Combine(Path.GetDirectoryName(LibraryFolder)!, "server", "WandbLaunch.Server.dll"),
            true,
            runtime
        );
    }

    private static string HostAssembly => Path.Combine(LibraryFolder, "WandbLaunch.Host.dll");

    /// <summary>The words that start it with these arguments.</summary>
    /// <exception cref="LaunchException"><c>ModuleIncomplete</c>, <c>RuntimeNotFound</c>.</exception>
    internal OwnCommand Command(params IEnumerable<string> arguments)
    {
        var runtime = _runtime ?? OwnRuntime.Find(_environment);
        if (_isServer && runtime is { IsShell: false, HasWebServer: true })
        {
            return new OwnCommand([runtime.Path, Present(_assembly), .. arguments], new Dictionary<string, string>());
        }

        // A runtime without ASP.NET Core: the host loads the server with what the module brings of it.
        var host = Present(HostAssembly);
        string[] words = _isServer ? ["server", Present(_assembly), .. arguments] : [.. arguments];
        if (!runtime.IsShell)
        {
            return new OwnCommand([runtime.Path, host, .. words], new Dictionary<string, string>());
        }

        // Where the variables are, the host begins before PowerShell does; where they are lost, the script is the slower way to it.
        return new OwnCommand(
            [
                runtime.Path,
                "-NoProfile",
                "-NonInteractive",
                "-File",
                Present(Path.ChangeExtension(host, ".ps1")),
                .. words,
            ],
            StartupEnvironment(host)
        );
    }

    /// <summary>Starts it detached from this shell, with its input open for one message.</summary>
    internal ChildProcess Start(IEnumerable<string> arguments, IReadOnlyDictionary<string, string>? environment = null)
    {
        var command = Command(arguments);
        var start = new ProcessStartInfo(command.Words[0], command.Words.Skip(1))
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            UseShellExecute = false,
            CreateNoWindow = true,
            WorkingDirectory = Path.GetTempPath(),
        };
        foreach (var (name, value) in command.Environment.Concat(environment ?? new Dictionary<string, string>()))
        {
            start.Environment[name] = value;
        }

        return ChildProcess.Start(start, outlives: true);
    }

    private Dictionary<string, string> StartupEnvironment(string host)
    {
        if (host.Contains(Path.PathSeparator, StringComparison.Ordinal))
        {
            return [];
        }

        // A setting that the user has made stays.
        var set = RuntimeSettings
            .Where(s => _environment[s.Key] is null)
            .ToDictionary(s => s.Key, s => s.Value, StringComparer.Ordinal);
        set[StartupVariable] = string.Join(Path.PathSeparator, set.Keys);
        set[HooksVariable] = _environment[HooksVariable] is { } others ? others + Path.PathSeparator + host : host;
        return set;
    }

    private static string Present(string file) =>
        File.Exists(file)
            ? file
            : throw new LaunchException(
                "ModuleIncomplete",
                LaunchErrorCategory.ResourceUnavailable,
                $"{file} is missing. Install the module again.",
                file
            );
}
