using System.Diagnostics;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Tests;

/// <summary>Tests that share the one Slurm, some of which take it down.</summary>
[CollectionDefinition(Name)]
public sealed class SlurmCollection
{
    public const string Name = "Slurm";
}

/// <summary>A user of the real Slurm of tests/engines/slurm-up.sh, with a data folder of their own, who asks it more often than users do.</summary>
internal sealed class SlurmMachine : IDisposable
{
    private readonly Dictionary<string, string?> _variables;

    internal SlurmMachine(params (string Name, string? Value)[] variables)
    {
        Need();
        Folder = Directory
            .CreateDirectory(Path.Combine(Fixture.Root, "slurm-" + Guid.NewGuid().ToString("n")[..8]))
            .FullName;
        _variables = new Dictionary<string, string?>
        {
            ["WANDBLAUNCH_HOME"] = Path.Combine(Folder, "home"),
            ["SLURM_CONF"] = Settings,
            ["WANDBLAUNCH_SLURM_POLL"] = "0.3",
            ["WANDBLAUNCH_SLURM_LOST"] = "3",
        };
        foreach (var (name, value) in variables)
        {
            _variables[name] = value;
        }

        Context = new LaunchContext
        {
            Environment = new LaunchEnvironment
            {
                Variable = n => _variables.TryGetValue(n, out var v) ? v : Environment.GetEnvironmentVariable(n),
            },
        };
    }

    internal static string? Engine => Environment.GetEnvironmentVariable("WANDBLAUNCH_TEST_SLURM");

    /// <summary>How its commands find it.</summary>
    internal static string Settings => Path.Combine(Engine ?? "", "slurm.conf");

    internal string Folder { get; }

    internal LaunchContext Context { get; }

    internal string Runs => Path.Combine(Folder, "home", "slurm", "runs");

    internal LaunchOptions Options { get; set; } = new() { NoInstall = true, StopGraceSeconds = 3 };

    /// <summary>Skips with the reason where there is no Slurm; in CI that is a failure.</summary>
    internal static void Need()
    {
        if (Engine is not { Length: > 0 })
        {
            Assert.False(
                OperatingSystem.IsLinux() && Environment.GetEnvironmentVariable("CI") == "true",
                "CI must have Slurm (tests/engines/slurm-up.sh)"
            );
            Assert.Skip("needs Slurm: tests/engines/slurm-up.sh, and its folder in WANDBLAUNCH_TEST_SLURM");
        }
    }

    /// <summary>The launches of this user, as a new process knows them.</summary>
    internal LaunchStore Store() => LaunchStore.Of(Context);

    /// <summary>Prepares a launch of a shell script.</summary>
    internal Task<PreparedLaunch> PrepareAsync(
        LaunchStore store,
        string script,
        JsonObject? arguments = null,
        LaunchOptions? options = null,
        IReadOnlyList<string>? words = null,
        string? image = null
    )
    {
        var code = Directory.CreateDirectory(Path.Combine(Folder, "code-" + LaunchCache.Hash(script)[..8])).FullName;
        if (!File.Exists(Path.Combine(code, "main.sh")))
        {
            File.WriteAllText(Path.Combine(code, "main.sh"), script);
        }

        return new Launcher(store, _ => Task.FromResult<Wandb.WandbConnection?>(null)).PrepareAsync(
            new LaunchConfig
            {
                Uri = image is null ? code : null,
                DockerImage = image,
                EntryPoint = image is null ? ["bash", "main.sh"] : null,
                Args = words is null ? null : ArgumentSet.FromWords(words),
                Resource = "slurm",
                ResourceArgs = arguments is null ? null : new JsonObject { ["slurm"] = arguments },
            },
            options ?? Options,
            Folder,
            default
        );
    }

    /// <summary>Runs a shell script to its end.</summary>
    internal async Task<LaunchedRun> RunAsync(
        string script,
        JsonObject? arguments = null,
        LaunchOptions? options = null,
        IReadOnlyList<string>? words = null,
        Action<LaunchedRun>? changed = null,
        string? image = null,
        CancellationToken token = default
    )
    {
        var store = Store();
        var prepared = await PrepareAsync(store, script, arguments, options, words, image);
        using var supervision = new Supervision(store.Resources);
        return await supervision.RunAsync(
            prepared.Folder,
            prepared.Spec,
            prepared.Secrets,
            null,
            changed,
            false,
            token
        );
    }

    /// <summary>A command of Slurm.</summary>
    internal static string Command(params string[] words)
    {
        Need();
        using var process = Process.Start(
            new ProcessStartInfo(words[0], words.Skip(1))
            {
                RedirectStandardOutput = true,
                RedirectStandardError = true,
                Environment = { ["SLURM_CONF"] = Settings },
            }
        )!;
        var error = process.StandardError.ReadToEndAsync();
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return output + error.Result;
    }

    /// <summary>Ends slurmctld, as an admin would for an update.</summary>
    internal static async Task StopControllerAsync()
    {
        var id = int.Parse(
            File.ReadAllText(Path.Combine(Engine!, "run", "slurmctld.pid")),
            System.Globalization.CultureInfo.InvariantCulture
        );
        Command("kill", id.ToString(System.Globalization.CultureInfo.InvariantCulture));
        await UntilAsync(() => !Directory.Exists($"/proc/{id}"), "the controller ends");
    }

    /// <summary>Starts slurmctld again; it puts itself into the background.</summary>
    internal static void StartController()
    {
        // It stays, and is none of what the tests leave behind.
        var start = new ProcessStartInfo("slurmctld");
        var path = start.Environment["PATH"];
        start.Environment.Clear();
        start.Environment["PATH"] = path;
        start.Environment["SLURM_CONF"] = Settings;
        using var process = Process.Start(start)!;
        Assert.True(process.WaitForExit(30_000));
    }

    internal static async Task UntilAsync(Func<bool> there, string what, int seconds = 60)
    {
        var clock = Stopwatch.StartNew();
        while (!there())
        {
            Assert.True(clock.Elapsed < TimeSpan.FromSeconds(seconds), what);
            await Task.Delay(100);
        }
    }

    public void Dispose()
    {
        foreach (var run in Store().Known().Where(r => r is { IsDone: false, Handle: not null }))
        {
            Command("scancel", run.Handle!.Id);
        }
    }
}
