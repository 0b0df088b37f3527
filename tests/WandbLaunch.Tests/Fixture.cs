using System.Collections.ObjectModel;
using System.Diagnostics;
using System.Management.Automation;
using System.Management.Automation.Runspaces;
using System.Runtime.CompilerServices;
using WandbLaunch.Foundation;
using WandbLaunch.Import;
using WandbLaunch.Server;
using WandbLaunch.Wandb;

[assembly: Xunit.AssemblyFixture(typeof(WandbLaunch.Tests.Fixture))]

namespace WandbLaunch.Tests;

/// <summary>A user's machine: folders of its own, the launch server in process, the run of the real SDK in it, its repository, and a folder.</summary>
public sealed class Fixture : IAsyncLifetime
{
    internal const string Key = "local-0123456789012345678901234567890123456789";
    internal const string Commit = "c37e1fdd18ece40fa6a275836758d6309aa0f0ed";

    public static string Root { get; private set; } = "";
    internal static LaunchServer Server { get; private set; } = null!;
    public static string Repository => Path.Combine(Root, "repo");
    public static string Train => Path.Combine(Root, "train");
    public static string OfflineRun => Path.Combine(Root, "wandb", "offline-run-20261124_070622-22stxuh9");
    public static string Module { get; private set; } = "";

    /// <summary>True in Wine, where there is neither git nor Python for Windows.</summary>
    public static bool InWine { get; } = Environment.GetEnvironmentVariable("WINEPREFIX") is { Length: > 0 };

    [ModuleInitializer]
    internal static void Isolate()
    {
        Root = Directory.CreateTempSubdirectory("wandblaunch-tests-").FullName;
        Environment.SetEnvironmentVariable("WANDBLAUNCH_HOME", Path.Combine(Root, "home"));
        Environment.SetEnvironmentVariable("NETRC", Path.Combine(Root, "netrc"));
        Environment.SetEnvironmentVariable("WANDB_CONFIG_DIR", Path.Combine(Root, "config"));
        Environment.SetEnvironmentVariable("GIT_CONFIG_GLOBAL", Path.Combine(Root, "gitconfig"));
        foreach (var name in new[] { "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_PROJECT" })
        {
            Environment.SetEnvironmentVariable(name, null);
        }
    }

    public async ValueTask InitializeAsync()
    {
        Module = FindModule();
        CopyFolder(
            Path.Combine(AppContext.BaseDirectory, "data", "sdk-run-v0.12.21", "offline-run-20261124_070622-22stxuh9"),
            OfflineRun
        );
        await File.WriteAllTextAsync(
            Path.Combine(Root, "gitconfig"),
            "[user]\nname = Test\nemail = test@example.org\n[init]\ndefaultBranch = main\n[protocol \"file\"]\nallow = always\n"
        );
        if (Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_REPOSITORY") is { Length: > 0 } cloned)
        {
            // A machine without git, as Wine is.
            CopyFolder(cloned, Repository);
        }
        else
        {
            Git(
                Root,
                "clone",
                "--quiet",
                Path.Combine(AppContext.BaseDirectory, "data", "sdk-run-v0.12.21", "train.bundle"),
                Repository
            );
        }

        // The SDK itself cannot be installed without an index: a stand-in with what the program calls, that reads the launch environment as protocol E.4 says.
        Directory.CreateDirectory(Path.Combine(Root, "stub", "wandb"));
        await File.WriteAllTextAsync(
            Path.Combine(Root, "stub", "wandb", "__init__.py"),
            """
            import json, os
            class Config(dict):
                __getattr__ = dict.__getitem__
            class Run:
                def __init__(self, config):
                    self.config = Config({**config, **json.loads(os.environ.get("WANDB_CONFIG", "{}"))})
            def init(project=None, config=None):
                return Run(config or {})
            def log(row):
                pass
            """
        );

        Directory.CreateDirectory(Train);
        await File.WriteAllTextAsync(Path.Combine(Train, "requirements.txt"), "");
        await File.WriteAllTextAsync(Path.Combine(Train, "train.py"), "import sys\nprint('args', sys.argv[1:])\n");
        await File.WriteAllTextAsync(
            Path.Combine(Train, "main.py"),
            "import sys, os, json\nprint(json.dumps({'args': sys.argv[1:], 'env': {k: v for k, v in os.environ.items() if k.startswith(('WANDB', 'MY_'))}, 'cwd': os.getcwd()}))\n"
        );
        await File.WriteAllTextAsync(
            Path.Combine(Train, "sleep.py"),
            "import time\nprint('sleeping', flush=True)\ntime.sleep(600)\n"
        );
        await File.WriteAllTextAsync(
            Path.Combine(Train, "fail.py"),
            "import sys\nprint('the last words')\nsys.exit(3)\n"
        );

        Server = await LaunchServer.StartAsync(Path.Combine(Root, "server", "wandb.db"), "127.0.0.1", 0, Key);
        using var connection = await ConnectAsync();
        await RunFolderImport.ImportAsync(
            connection.Api,
            OfflineRun,
            "local",
            null,
            "local",
            Foundation.CallbackProgress.None,
            default
        );
    }

    internal static Task<WandbConnection> ConnectAsync(string key = Key) =>
        WandbConnection.OpenAsync(WandbSettings.Resolve(new LaunchEnvironment(), Root, Server.Url, key), null, default);

    public async ValueTask DisposeAsync()
    {
        await Server.DisposeAsync();
        try
        {
            Directory.Delete(Root, true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // A program of a test still ends.
        }
    }

    public static string Git(string folder, params string[] arguments)
    {
        Assert.SkipWhen(InWine, "needs git for Windows");
        var start = new ProcessStartInfo("git")
        {
            WorkingDirectory = folder,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        using var process = Process.Start(start)!;
        var error = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        Assert.True(process.ExitCode == 0, $"git {string.Join(' ', arguments)}: {error.Result}");
        return output;
    }

    public static string NewFolder(string name) =>
        Directory.CreateDirectory(Path.Combine(Root, name + "-" + Guid.NewGuid().ToString("n")[..6])).FullName;

    internal static void CopyFolder(string from, string to)
    {
        Directory.CreateDirectory(to);
        foreach (var file in Directory.EnumerateFiles(from, "*", SearchOption.AllDirectories))
        {
            var target = Path.Combine(to, Path.GetRelativePath(from, file));
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            try
            {
                File.Copy(file, target, true);
            }
            catch (IOException) when (Path.GetFileName(file).StartsWith('.'))
            {
                // What an agent is writing just now gets its name when it is whole.
            }
        }
    }

    public static string SourceRoot()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder!.FullName, "WandbLaunch.sln")))
        {
            folder = folder.Parent;
        }

        return folder.FullName;
    }

    private static string FindModule() => Path.Combine(SourceRoot(), "out", "WandbLaunch");
}

/// <summary>A real runspace with the built module, connected to the test's server.</summary>
public sealed class Shell : IDisposable
{
    private readonly Runspace _runspace;

    public Shell(bool connect = true)
    {
        var state = InitialSessionState.CreateDefault2();
        if (OperatingSystem.IsWindows())
        {
            // As pwsh has it from its own configuration; views are refused without.
            state.ExecutionPolicy = Microsoft.PowerShell.ExecutionPolicy.RemoteSigned;
        }

        state.ImportPSModule([Path.Combine(Fixture.Module, "WandbLaunch.psd1")]);
        _runspace = RunspaceFactory.CreateRunspace(state);
        _runspace.Open();
        _runspace.SessionStateProxy.Path.SetLocation(Fixture.Root);
        if (connect)
        {
            Run($"Connect-Wandb {Fixture.Server.Url} -ApiKey $key", ("key", Secure(Fixture.Key)));
        }
    }

    public Collection<ErrorRecord> Errors { get; private set; } = [];
    public Collection<WarningRecord> Warnings { get; private set; } = [];
    public Collection<InformationRecord> Information { get; private set; } = [];

    public static System.Security.SecureString Secure(string text)
    {
        var secret = new System.Security.SecureString();
        text.ToList().ForEach(secret.AppendChar);
        return secret;
    }

    public System.Management.Automation.PowerShell New(string script)
    {
        var shell = System.Management.Automation.PowerShell.Create(_runspace);
        shell.AddScript(script);
        return shell;
    }

    public Collection<PSObject> Run(string script, params (string Name, object Value)[] variables)
    {
        foreach (var (name, value) in variables)
        {
            _runspace.SessionStateProxy.SetVariable(name, value);
        }

        using var shell = New(script);
        try
        {
            var result = shell.Invoke();
            Errors = shell.Streams.Error.ReadAll();
            Warnings = shell.Streams.Warning.ReadAll();
            Information = shell.Streams.Information.ReadAll();
            return result;
        }
        catch (RuntimeException e)
        {
            Errors = [e.ErrorRecord];
            return [];
        }
    }

    /// <summary>Runs, and fails the test on any error.</summary>
    public Collection<PSObject> Ok(string script, params (string Name, object Value)[] variables)
    {
        var result = Run(script, variables);
        Assert.True(Errors.Count == 0, string.Join("\n", Errors.Select(e => e.ToString())));
        return result;
    }

    /// <summary>Runs, and expects exactly one error with this id.</summary>
    public ErrorRecord Fails(string script, string id, params (string Name, object Value)[] variables)
    {
        Run(script, variables);
        var error = Assert.Single(Errors);
        Assert.True(
            error.FullyQualifiedErrorId.StartsWith(id + ",", StringComparison.Ordinal),
            $"{error.FullyQualifiedErrorId}: {error}"
        );
        return error;
    }

    public void Dispose() => _runspace.Dispose();
}
