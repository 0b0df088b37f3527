using System.Diagnostics;
using System.Globalization;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Tests;

/// <summary>The host of a run waits beside the preparation: it gets the run, or is gone. Processes are looked for in /proc.</summary>
public sealed class HostProcessTests
{
    private static readonly LaunchContext Context = new();

    [Fact]
    public async Task A_host_whose_launch_comes_to_nothing_ends_and_leaves_nothing()
    {
        NeedLinux();
        var folder = LaunchStore.Of(Context).Folder(NewId());
        using (HostProcess.Begin(Context.Environment, folder))
        {
            await UntilAsync(() => Hosts(folder).Count == 1);
        }

        await UntilAsync(() => Hosts(folder).Count == 0);
        Assert.False(Directory.Exists(folder));
    }

    [Fact]
    public async Task A_host_that_waited_is_the_one_that_runs_the_launch()
    {
        NeedLinux();
        var prepared = await PrepareAsync();
        using var host = HostProcess.Begin(Context.Environment, prepared.Folder);
        await UntilAsync(() => Hosts(prepared.Folder).Count == 1);
        var waiting = Hosts(prepared.Folder).Single();
        await LeaveAsync(prepared, host);
        Assert.Equal([$"parent {waiting}"], await LinesAsync(prepared));
    }

    [Fact]
    public async Task A_host_that_was_ended_while_it_waited_is_replaced()
    {
        NeedLinux();
        var prepared = await PrepareAsync();
        using var host = HostProcess.Begin(Context.Environment, prepared.Folder);
        await UntilAsync(() => Hosts(prepared.Folder).Count == 1);
        var waiting = Hosts(prepared.Folder).Single();
        using (var process = Process.GetProcessById(waiting))
        {
            process.Kill();
        }

        await UntilAsync(() => Hosts(prepared.Folder).Count == 0);
        await LeaveAsync(prepared, host);
        var line = Assert.Single(await LinesAsync(prepared));
        Assert.StartsWith("parent ", line, StringComparison.Ordinal);
        Assert.NotEqual($"parent {waiting}", line);
    }

    [Fact]
    public async Task Cancelled_before_the_hand_over_it_gets_no_run()
    {
        NeedLinux();
        var prepared = await PrepareAsync();
        using (var host = HostProcess.Begin(Context.Environment, prepared.Folder))
        {
            await UntilAsync(() => Hosts(prepared.Folder).Count == 1);
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() =>
                LeaveAsync(prepared, host, new CancellationToken(true))
            );
        }

        await UntilAsync(() => Hosts(prepared.Folder).Count == 0);
        Assert.False(File.Exists(LaunchStore.StartedPath(prepared.Folder)));
        LaunchCache.DeleteFolder(prepared.Folder);
    }

    [Fact]
    public async Task A_launch_that_cannot_be_prepared_leaves_no_host()
    {
        NeedLinux();
        var id = NewId();
        using var shell = new Shell(false);
        shell.Run(
            $"Start-WandbLaunch '{Fixture.NewFolder("nothing")}' -Resource local-process -NoInstall -NoWait -RunId {id}"
        );
        Assert.StartsWith(
            "EntryPointNotFound",
            Assert.Single(shell.Errors).FullyQualifiedErrorId,
            StringComparison.Ordinal
        );
        var folder = LaunchStore.Of(Context).Folder(id);
        await UntilAsync(() => Hosts(folder).Count == 0);
        Assert.False(Directory.Exists(folder));
    }

    /// <summary>The processes that host a run of this folder.</summary>
    private static List<int> Hosts(string folder)
    {
        var found = new List<int>();
        foreach (var id in Directory.EnumerateDirectories("/proc").Select(Path.GetFileName))
        {
            try
            {
                if (
                    int.TryParse(id, CultureInfo.InvariantCulture, out var number)
                    && File.ReadAllText($"/proc/{id}/cmdline")
                        .Contains($"WandbLaunch.Host.dll\0run\0{folder}\0", StringComparison.Ordinal)
                )
                {
                    found.Add(number);
                }
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Ended meanwhile.
            }
        }

        return found;
    }

    private static string NewId() => "host" + Guid.NewGuid().ToString("n")[..8];

    private static Task<PreparedLaunch> PrepareAsync() =>
        new Launcher(LaunchStore.Of(Context), _ => Task.FromResult<Wandb.WandbConnection?>(null)).PrepareAsync(
            new LaunchConfig
            {
                Uri = Fixture.NewFolder("host"),
                Resource = "local-process",
                EntryPoint = ["/bin/sh", "-c", "echo parent $PPID"],
            },
            new LaunchOptions { LaunchId = NewId(), NoInstall = true },
            Fixture.Root,
            default
        );

    private static async Task LeaveAsync(PreparedLaunch prepared, HostProcess host, CancellationToken token = default)
    {
        using var supervision = new Supervision(LaunchStore.Of(Context).Resources);
        await supervision.LeaveAsync(prepared.Folder, prepared.Spec, prepared.Secrets, token, host);
    }

    private static async Task<string[]> LinesAsync(PreparedLaunch prepared)
    {
        await UntilAsync(() => LaunchStore.Load(prepared.Folder) is { IsDone: true });
        Assert.Equal(LaunchState.Finished, LaunchStore.Load(prepared.Folder)!.State);
        return await File.ReadAllLinesAsync(prepared.Run.LogPath!);
    }

    private static void NeedLinux() => Assert.SkipUnless(OperatingSystem.IsLinux(), "/proc is looked at.");

    private static async Task UntilAsync(Func<bool> there)
    {
        for (var clock = Stopwatch.StartNew(); !there(); )
        {
            Assert.True(clock.Elapsed < TimeSpan.FromSeconds(60));
            await Task.Delay(20);
        }
    }
}
