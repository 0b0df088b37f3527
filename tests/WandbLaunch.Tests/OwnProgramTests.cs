using WandbLaunch.Foundation;

namespace WandbLaunch.Tests;

public sealed class OwnProgramTests
{
    private static readonly OwnRuntime Shell = new("/opt/powershell/pwsh", true, false);
    private static readonly string Host = Path.Combine(OwnProgram.LibraryFolder, "WandbLaunch.Host.dll");
    private static readonly string Server = Path.Combine(OwnProgram.LibraryFolder, "WandbLaunch.Server.dll");

    private static LaunchEnvironment With(params (string Name, string Value)[] variables) =>
        new() { Variable = n => variables.FirstOrDefault(v => v.Name == n).Value };

    [Fact]
    public void A_dotnet_with_all_of_it_starts_host_and_server_themselves()
    {
        var dotnet = new OwnRuntime("/usr/bin/dotnet", false, true);
        var host = OwnProgram.Host(With(), dotnet).Command("run", "/a b");
        Assert.Equal(["/usr/bin/dotnet", Host, "run", "/a b"], host.Words);
        Assert.Empty(host.Environment);
        Assert.Equal(
            ["/usr/bin/dotnet", Server, "--port", "0"],
            OwnProgram.Server(With(), dotnet).Command("--port", "0").Words
        );
    }

    [Fact]
    public void A_dotnet_without_AspNetCore_starts_the_server_through_the_host()
    {
        var command = OwnProgram.Server(With(), new OwnRuntime("/usr/bin/dotnet", false, false)).Command("--port", "0");
        Assert.Equal(["/usr/bin/dotnet", Host, "server", Server, "--port", "0"], command.Words);
        Assert.Empty(command.Environment);
    }

    [Fact]
    public void A_pwsh_starts_the_host_by_its_script_and_before_it_by_the_hook()
    {
        var command = OwnProgram.Host(With(), Shell).Command("agent", "/etc/x.yaml");
        Assert.Equal(
            [
                Shell.Path,
                "-NoProfile",
                "-NonInteractive",
                "-File",
                Path.ChangeExtension(Host, ".ps1"),
                "agent",
                "/etc/x.yaml",
            ],
            command.Words
        );
        Assert.Equal(Host, command.Environment["DOTNET_STARTUP_HOOKS"]);
        Assert.Equal("0", command.Environment["DOTNET_TieredPGO"]);

        // Each variable that is set is taken out again by the host.
        Assert.Equal(
            command
                .Environment.Keys.Except(["DOTNET_STARTUP_HOOKS", OwnProgram.StartupVariable])
                .Order(StringComparer.Ordinal),
            command.Environment[OwnProgram.StartupVariable].Split(Path.PathSeparator).Order(StringComparer.Ordinal)
        );
    }

    [Fact]
    public void What_the_user_has_set_for_the_runtime_stays()
    {
        var command = OwnProgram
            .Host(With(("DOTNET_STARTUP_HOOKS", "/opt/trace.dll"), ("DOTNET_TieredPGO", "1")), Shell)
            .Command("run", "/x");
        Assert.Equal("/opt/trace.dll" + Path.PathSeparator + Host, command.Environment["DOTNET_STARTUP_HOOKS"]);
        Assert.DoesNotContain("DOTNET_TieredPGO", command.Environment.Keys);
        Assert.DoesNotContain(
            "DOTNET_TieredPGO",
            command.Environment[OwnProgram.StartupVariable],
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void A_runtime_is_found_here_and_an_unknown_one_is_refused()
    {
        var found = OwnRuntime.Find(With(("WANDBLAUNCH_RUNTIME", "dotnet")));
        Assert.False(found.IsShell);
        Assert.True(found.HasWebServer);
        var fault = Assert.Throws<LaunchException>(() => OwnRuntime.Find(With(("WANDBLAUNCH_RUNTIME", "java"))));
        Assert.Equal("RuntimeUnknown", fault.ErrorId);
        Assert.Equal("java", fault.Target);
    }
}
