using System.Diagnostics;
using System.Text;

[assembly: CollectionBehavior(DisableTestParallelization = true)]
[assembly: AssemblyFixture(typeof(WandbLaunch.IntegrationTests.Machine))]

namespace WandbLaunch.IntegrationTests;

/// <summary>A user's machine: pwsh and the built module as processes of their own, with a home folder of their own.</summary>
public sealed class Machine : IDisposable
{
    // A browser beside other tests takes its time; what does not come in that comes never.
    public Machine() => Microsoft.Playwright.Assertions.SetDefaultExpectTimeout(60_000);

    public static string Root { get; } = Directory.CreateTempSubdirectory("wandblaunch-integration-").FullName;

    public static string Sources { get; } = FindSources();

    public static string Module => Path.Combine(Sources, "out", "WandbLaunch");

    public static string OfflineRun =>
        Path.Combine(AppContext.BaseDirectory, "data", "sdk-run-v0.12.21", "offline-run-20261124_070622-22stxuh9");

    private static readonly Lazy<string> PwshAssembly = new(() =>
    {
        var (code, output, error) = Exec(
            "dotnet",
            ["tool", "run", "pwsh", "-NoProfile", "-Command", "[Console]::Write($PSHOME)"],
            Sources
        );
        Assert.True(code == 0, $"pwsh is missing, see 'dotnet tool restore': {output}{error}");
        return Path.Combine(output, "pwsh.dll");
    });

    public static string BaseImage =>
        Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_BASE_IMAGE") ?? "mini-python:3.11";

    /// <summary>Skips with the reason where an engine is missing; in CI that is a failure.</summary>
    public static void Need(bool there, string what)
    {
        if (!there)
        {
            Assert.False(Environment.GetEnvironmentVariable("CI") == "true", $"CI must have {what}");
            Assert.Skip($"needs {what}");
        }
    }

    public static void NeedDocker() =>
        Need(
            Exec("docker", ["image", "inspect", BaseImage]).Code == 0,
            $"a Docker Engine with the image {BaseImage} (tests/engines/python-image.sh makes it)"
        );

    /// <summary>Containers of launches of this machine, also of those that have ended, and those in which packages are installed; other tests use the same engine.</summary>
    public static List<string> Containers(bool onlyRunning = false)
    {
        var lines = Exec(
            "docker",
            [
                "ps",
                onlyRunning ? "--all=false" : "--all",
                "--filter",
                "label=ai.wandb.launch=run",
                "--format",
                "{{.ID}} {{.Label \"ai.wandb.launch.run\"}}",
            ]
        ).Output;
        return
        [
            .. lines
                .Split('\n', StringSplitOptions.RemoveEmptyEntries)
                .Select(l => l.Split(' '))
                .Where(w => Directory.Exists(Path.Combine(Root, "home", "runs", w[1])))
                .Select(w => w[0]),
        ];
    }

    /// <summary>Nothing of this machine is left in the engine. What installs packages has no name of its launch: that of other tests ends by itself.</summary>
    public static void NoContainerIsLeft()
    {
        Assert.Empty(Containers());
        var clock = Stopwatch.StartNew();
        while (Exec("docker", ["ps", "-aq", "--filter", "label=ai.wandb.launch=install"]).Output.Length > 0)
        {
            Assert.True(clock.Elapsed < TimeSpan.FromMinutes(2), "a container that installs packages is left");
            Thread.Sleep(200);
        }
    }

    public static (int Code, string Output, string Error) Exec(
        string program,
        string[] arguments,
        string? folder = null,
        string? input = null,
        params (string Name, string? Value)[] variables
    )
    {
        using var process = Start(program, arguments, folder, variables);
        if (process is null)
        {
            return (-1, "", program + " is not there");
        }

        var output = process.StandardOutput.ReadToEndAsync();
        var error = process.StandardError.ReadToEndAsync();
        process.StandardInput.Write(input);
        process.StandardInput.Close();
        Assert.True(process.WaitForExit(180_000), $"{program} {string.Join(' ', arguments)} hangs");
        return (process.ExitCode, output.Result, error.Result);
    }

    public static Process? Start(
        string program,
        string[] arguments,
        string? folder = null,
        params (string Name, string? Value)[] variables
    )
    {
        var start = new ProcessStartInfo(program)
        {
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
            StandardOutputEncoding = Encoding.UTF8,
            WorkingDirectory = folder ?? Root,
        };
        foreach (var argument in arguments)
        {
            start.ArgumentList.Add(argument);
        }

        foreach (
            var name in new[]
            {
                "WANDB_API_KEY",
                "WANDB_BASE_URL",
                "WANDB_ENTITY",
                "WANDB_PROJECT",
                "MSBuildSDKsPath",
                "MSBUILD_EXE_PATH",
            }
        )
        {
            start.Environment.Remove(name);
        }

        // No colours between the words that the tests look for.
        start.Environment["NO_COLOR"] = "1";
        start.Environment["WANDBLAUNCH_HOME"] = Path.Combine(Root, "home");
        start.Environment["NETRC"] = Path.Combine(Root, "netrc");
        start.Environment["GIT_CONFIG_GLOBAL"] = Path.Combine(Root, "gitconfig");
        foreach (var (name, value) in variables)
        {
            start.Environment[name] = value;
        }

        try
        {
            return Process.Start(start);
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return null;
        }
    }

    /// <summary>The words after <c>dotnet</c> that start the pwsh of the tool manifest in one process, without its shim.</summary>
    public static string[] Pwsh(params string[] arguments) => [PwshAssembly.Value, "-NoProfile", .. arguments];

    /// <summary>A script of its own with the module imported.</summary>
    public static string Script(string text)
    {
        var path = Path.Combine(Root, $"script-{Guid.NewGuid():n}.ps1");
        File.WriteAllText(path, $"Import-Module '{Module}'\n{text}");
        return path;
    }

    /// <summary>Runs commands in pwsh with the module; anything on the error stream fails the test.</summary>
    public static string Shell(string script, params (string Name, string? Value)[] variables)
    {
        var (code, output, error) = TryShell(script, variables);
        Assert.True(code == 0 && error.Length == 0, $"exit {code}\n{output}\n{error}");
        return output;
    }

    public static (int Code, string Output, string Error) TryShell(
        string script,
        params (string Name, string? Value)[] variables
    ) => Exec("dotnet", Pwsh("-NonInteractive", "-File", Script(script)), Root, null, variables);

    public static string Git(string folder, params string[] arguments)
    {
        var (code, output, error) = Exec("git", arguments, folder);
        Assert.True(code == 0, error);
        return output.Trim();
    }

    /// <summary>A repository with a program, a patch's worth of history, and a remote.</summary>
    public static string NewRepository(string name, string program = "import sys\nprint('ran with', sys.argv[1:])\n")
    {
        if (!File.Exists(Path.Combine(Root, "gitconfig")))
        {
            File.WriteAllText(
                Path.Combine(Root, "gitconfig"),
                "[user]\nname = Test\nemail = test@example.org\n[init]\ndefaultBranch = main\n"
            );
        }

        var folder = Directory
            .CreateDirectory(Path.Combine(Root, name + "-" + Guid.NewGuid().ToString("n")[..6]))
            .FullName;
        Git(folder, "init", "-q", "-b", "main");
        File.WriteAllText(Path.Combine(folder, "main.py"), program);
        File.WriteAllText(Path.Combine(folder, "requirements.txt"), "");
        Git(folder, "add", ".");
        Git(folder, "commit", "-q", "-m", "one");
        return folder;
    }

    public void Dispose()
    {
        TryShell(
            "Get-WandbLaunch -State Running | Stop-WandbLaunch; Get-WandbLaunchServer | Where-Object Running | Stop-WandbLaunchServer"
        );
        try
        {
            Directory.Delete(Root, true);
        }
        catch (IOException)
        {
            // A program of a test still ends.
        }
    }

    private static string FindSources()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder!.FullName, "WandbLaunch.sln")))
        {
            folder = folder.Parent;
        }

        return folder.FullName;
    }
}
