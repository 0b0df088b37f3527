using System.Text.Json;

namespace WandbLaunch.IntegrationTests;

/// <summary>Programs in containers of the real engine that try what they must not be able to do.</summary>
public sealed class HostileContainerTests
{
    private static JsonElement Last(string output) =>
        JsonDocument
            .Parse(output.Split('\n', StringSplitOptions.RemoveEmptyEntries).Last(l => l.StartsWith('{')))
            .RootElement;

    // Tries everything and says what the kernel let it do.
    private const string Attack = """
        import json, os, ctypes, socket, subprocess, sys
        def tries(act):
            try:
                act()
                return "done"
            except BaseException as e:
                return type(e).__name__ + " " + str(getattr(e, "errno", ""))
        status = dict(l.split(":\t", 1) for l in open("/proc/self/status").read().splitlines() if ":\t" in l)
        libc = ctypes.CDLL(None, use_errno=True)
        def call(name, *args):
            if getattr(libc, name)(*args) != 0:
                raise OSError(ctypes.get_errno(), name)
        def unshare():
            if libc.unshare(0x00020000) != 0:
                raise OSError(ctypes.get_errno(), "unshare")
        print(json.dumps({
            "uid": os.getuid(),
            "nnp": status["NoNewPrivs"].strip(),
            "eff": int(status["CapEff"], 16),
            "bnd": int(status["CapBnd"], 16),
            "mknod": tries(lambda: os.mknod("/tmp/disk", 0o060600, os.makedev(8, 0))),
            "raw": tries(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)),
            "chroot": tries(lambda: os.chroot("/tmp")),
            "unshare": tries(unshare),
            "mount": tries(lambda: call("mount", b"none", b"/mnt", b"tmpfs", 0, None)),
            "host": os.path.exists("/proc/1/root/" + sys.argv[1]),
            "sysrq": tries(lambda: open("/proc/sysrq-trigger", "w").write("h")),
            "core": open("/proc/self/limits").read().split("Max core file size")[1].split()[0],
        }))
        """;

    private static JsonElement Run(string more)
    {
        // A file of this machine, which a container must not see.
        var secret = Path.Combine(Machine.Root, "host-only.txt");
        File.WriteAllText(secret, "host");
        var repository = Machine.NewRepository("walls", Attack);
        return Last(
            Machine.Shell(
                $"Start-WandbLaunch '{new Uri(repository).AbsoluteUri}' -BaseImage {Machine.BaseImage} -Quiet -Argument '{secret.TrimStart('/')}' {more} | Receive-WandbLaunchLog"
            )
        );
    }

    [Fact]
    public void A_program_has_no_capabilities_and_cannot_get_any()
    {
        Machine.NeedDocker();
        var seen = Run("");
        Assert.Equal(1000, seen.GetProperty("uid").GetInt32());
        Assert.Equal("1", seen.GetProperty("nnp").GetString());
        Assert.Equal((0, 0), (seen.GetProperty("eff").GetInt64(), seen.GetProperty("bnd").GetInt64()));
        foreach (var name in new[] { "mknod", "raw", "chroot", "unshare", "mount", "sysrq" })
        {
            Assert.NotEqual("done", seen.GetProperty(name).GetString());
        }

        Assert.False(seen.GetProperty("host").GetBoolean());
        Assert.Equal("0", seen.GetProperty("core").GetString());
    }

    [Fact]
    public void Root_of_an_image_owns_its_files_and_nothing_more()
    {
        Machine.NeedDocker();
        var seen = Run("-UserId 0");
        Assert.Equal(0, seen.GetProperty("uid").GetInt32());
        Assert.Equal("1", seen.GetProperty("nnp").GetString());

        // CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID.
        Assert.Equal(0xFB, seen.GetProperty("bnd").GetInt64());
        foreach (var name in new[] { "mknod", "raw", "chroot", "unshare", "mount", "sysrq" })
        {
            Assert.NotEqual("done", seen.GetProperty(name).GetString());
        }

        Assert.False(seen.GetProperty("host").GetBoolean());
    }

    [Fact]
    public void A_fork_bomb_meets_its_limit_and_the_machine_goes_on()
    {
        Machine.NeedDocker();
        var repository = Machine.NewRepository(
            "bomb",
            "import os, time\nmade = 0\ntry:\n    while made < 100000:\n        if os.fork() == 0:\n            time.sleep(60)\n            os._exit(0)\n        made += 1\nexcept OSError as e:\n    print('{\"made\": %d, \"errno\": %d}' % (made, e.errno), flush=True)\n"
        );
        var uri = new Uri(repository).AbsoluteUri;
        var made = Last(
            Machine.Shell(
                $"Start-WandbLaunch '{uri}' -BaseImage {Machine.BaseImage} -Quiet -DockerArgs @{{ 'pids-limit' = 100 }} | Receive-WandbLaunchLog"
            )
        );
        Assert.Equal(11, made.GetProperty("errno").GetInt32());
        Assert.InRange(made.GetProperty("made").GetInt32(), 50, 100);

        // Without a word the limit is there too.
        var id = Machine
            .Shell(
                $"(Start-WandbLaunch '{new Uri(Machine.NewRepository("sleeper", "import time\ntime.sleep(60)\n")).AbsoluteUri}' -BaseImage {Machine.BaseImage} -NoWait -Quiet).Id"
            )
            .Trim();
        var seen = "";
        for (var i = 0; i < 100 && seen.Length == 0; i++)
        {
            Thread.Sleep(100);
            seen = Machine
                .Exec(
                    "docker",
                    [
                        "inspect",
                        "-f",
                        "{{.HostConfig.PidsLimit}} {{.HostConfig.SecurityOpt}} {{.HostConfig.CapDrop}}",
                        "wandb-launch-" + id,
                    ]
                )
                .Output.Trim();
        }

        Machine.Shell($"Get-WandbLaunch {id} | Stop-WandbLaunch");
        Assert.Equal("4096 [no-new-privileges] [ALL]", seen);
    }

    [Fact]
    public void What_an_item_asks_of_the_engine_meets_the_agents_walls()
    {
        Machine.NeedDocker();
        var repository = Machine.NewRepository(
            "items",
            "import os, sys\nif 'eat' in sys.argv:\n    x = bytearray(400 << 20)\nif 'fill' in sys.argv:\n    f = open('/dev/shm/x', 'wb')\n    f.write(b'0' * (32 << 20))\n    f.flush()\nprint('env', os.environ.get('WANDB_PROJECT'), os.environ.get('MINE'), os.uname().nodename)\n"
        );
        var uri = new Uri(repository).AbsoluteUri;
        string Item(string arguments, string more = "") =>
            $"$null = Add-WandbLaunchQueueItem {uri} -Queue walls -Project walls -ResourceArgs @{{ 'local-container' = @{{ {arguments} }} }} {more}; ";
        Machine.Shell(
            "$null = Connect-Wandb -Local; $null = New-WandbRunQueue walls; "
                + Item("memory = '64m'; 'memory-swap' = '64m'", "-Argument eat")
                + Item("'shm-size' = '8m'", "-Argument fill")
                + Item("'pids-limit' = -1")
                + Item("name = 'renamed-by-item'; env = @('WANDB_PROJECT=stolen', 'MINE=1')")
                + $"$null = Add-WandbLaunchQueueItem {uri} -Queue walls -Project walls -ResourceArgs @{{ local = @{{ name = 'renamed-by-item' }} }}"
        );
        var (code, text, error) = Machine.TryShell(
            $"$null = Connect-Wandb -Local; Start-WandbLaunchAgent -NoInstall -AllowGitHost file -StopWhenEmpty -BaseImage '{Machine.BaseImage}' -Queue walls -Name waller; exit $LASTEXITCODE"
        );
        Assert.True(code == 2, text + error);
        var output = Machine.Shell(
            "$null = Connect-Wandb -Local; Get-WandbLaunchQueueItem walls | ForEach-Object { \"$($_.State) $($_.ExitCode) $($_.Error)\" }; Get-WandbLaunch -State Finished | Where-Object Agent -eq waller | Receive-WandbLaunchLog"
        );
        var lines = output.Trim().ReplaceLineEndings("\n").Split('\n');
        Assert.StartsWith("Failed 137 ", lines[0], StringComparison.Ordinal);
        Assert.Contains("out of memory", lines[0], StringComparison.Ordinal);
        Assert.StartsWith("Failed ", lines[1], StringComparison.Ordinal);
        Assert.Contains("pids-limit", lines[2], StringComparison.Ordinal);
        Assert.StartsWith("Finished 0", lines[3], StringComparison.Ordinal);
        Assert.StartsWith("Finished 0", lines[4], StringComparison.Ordinal);
        Assert.Contains(lines, l => l.StartsWith("env walls 1 ", StringComparison.Ordinal));
        Assert.DoesNotContain("stolen", output, StringComparison.Ordinal);
        Assert.Equal("", Machine.Exec("docker", ["ps", "-aq", "--filter", "name=renamed-by-item"]).Output.Trim());
    }

    [Fact]
    public void In_secure_mode_an_image_runs_as_it_is()
    {
        Machine.NeedDocker();
        Machine.Shell(
            $"$null = Connect-Wandb -Local; $null = New-WandbRunQueue secure; $null = Add-WandbLaunchQueueItem -DockerImage {Machine.BaseImage} -Queue secure -Project p -Argument python3, -c, 'print(\"evil\")'; $null = Add-WandbLaunchQueueItem -DockerImage {Machine.BaseImage} -Queue secure -Project p -DockerArgs @{{ env = 'PYTHONSTARTUP=/tmp/x' }}; $null = Add-WandbLaunchQueueItem -DockerImage {Machine.BaseImage} -Queue secure -Project p"
        );
        Machine.TryShell(
            "$null = Connect-Wandb -Local; Start-WandbLaunchAgent -SecureMode -StopWhenEmpty -Queue secure -Name securer"
        );
        var output = Machine.Shell(
            "$null = Connect-Wandb -Local; Get-WandbLaunchQueueItem secure | ForEach-Object { \"$($_.State) $($_.Error)\" }"
        );
        var lines = output.Trim().ReplaceLineEndings("\n").Split('\n');
        Assert.Contains("secure mode", lines[0], StringComparison.Ordinal);
        Assert.Contains("secure mode", lines[1], StringComparison.Ordinal);
        Assert.StartsWith("Finished", lines[2], StringComparison.Ordinal);
    }
}
