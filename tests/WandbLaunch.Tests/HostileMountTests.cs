using System.Net.Sockets;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Resources;

namespace WandbLaunch.Tests;

/// <summary>Items that ask for a mount, and folders of this machine that were prepared for it by an earlier item.</summary>
public sealed class HostileMountTests
{
    private readonly string _root = Fixture.NewFolder("mounts");

    public HostileMountTests()
    {
        Directory.CreateDirectory(Path.Combine(_root, "allowed", "a", "b"));
        Directory.CreateDirectory(Path.Combine(_root, "outside", "deep"));
        File.WriteAllText(Path.Combine(_root, "outside", "f"), "secret");
    }

    private string Allowed => Path.Combine(_root, "allowed");

    private static string Check(string[] mounts, string volume) =>
        Assert.Single(
            new AgentPolicy { Mounts = mounts }
                .CheckAll(
                    new LaunchConfig
                    {
                        DockerImage = "python:3.12",
                        ResourceArgs = new JsonObject { ["local-container"] = new JsonObject { ["volume"] = volume } },
                    },
                    "me",
                    "me"
                )
                .Volumes
        );

    private static void Refused(string[] mounts, string volume) =>
        Assert.Equal("PolicyRefused", Assert.Throws<LaunchException>(() => Check(mounts, volume)).ErrorId);

    [Fact]
    public void A_link_is_followed_as_the_engine_follows_it()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "needs symbolic links");
        Directory.CreateSymbolicLink(Path.Combine(Allowed, "s"), "../outside/deep");

        // Word by word "s/../f" is allowed/f; for the kernel it is outside/f.
        File.CreateSymbolicLink(Path.Combine(Allowed, "t"), "s/../f");
        File.CreateSymbolicLink(Path.Combine(Allowed, "later"), "../outside/not/made/yet");
        File.CreateSymbolicLink(Path.Combine(Allowed, "round"), "round2");
        File.CreateSymbolicLink(Path.Combine(Allowed, "round2"), "round");
        Directory.CreateSymbolicLink(Path.Combine(Allowed, "in"), "a/b");
        Directory.CreateDirectory(Path.Combine(Allowed, "x:", "y"));
        Directory.CreateSymbolicLink(Path.Combine(Allowed, "colon"), "x:/y");
        foreach (
            var name in new[]
            {
                "s",
                "s/x",
                "t",
                "later",
                "later/x",
                "round",
                "round/x",
                "colon",
                "in/../../../outside",
            }
        )
        {
            Refused([Allowed], Allowed + "/" + name + ":/data");
        }

        // The engine gets the place itself, so that the link can be changed without a use.
        Assert.Equal(Allowed + "/a/b:/data:ro", Check([Allowed], Allowed + "/in:/data:ro"));
        Assert.Equal(Allowed + "/a/new:/data", Check([Allowed], Allowed + "/a/new:/data"));
        Refused([Allowed], Allowed + "/a\n:/data");
        Refused([Allowed], "/:/data");
        Refused([Allowed], "//etc:/data");
        Refused([Allowed], Allowed + ":/data:ro,z");
    }

    [Fact]
    public void A_socket_or_pipe_is_mounted_only_by_its_own_name()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "needs Unix sockets");
        var path = Path.Combine(Allowed, "engine");
        using var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Bind(new UnixDomainSocketEndPoint(path));
        File.CreateSymbolicLink(Path.Combine(Allowed, "plain.txt"), "engine");
        File.WriteAllText(Path.Combine(Allowed, "DOCKER.SOCK"), "");
        Refused([Allowed], path + ":/run/x");
        Refused([Allowed], Allowed + "/plain.txt:/run/x");
        Refused([Allowed], Allowed + "/DOCKER.SOCK:/run/x");
        Assert.Equal(path + ":/run/x", Check([Allowed, path], path + ":/run/x"));
    }

    [Fact]
    public void The_nearest_allowed_folder_decides_what_may_be_written()
    {
        var inner = Path.Combine(Allowed, "a");
        Refused([Allowed, inner + ":ro"], inner + "/b:/data");
        Assert.Equal(inner + "/b:/data:ro", Check([Allowed, inner + ":ro"], inner + "/b:/data:ro"));
        Assert.Equal(inner + "/b:/data", Check([Allowed + ":ro", inner], inner + "/b:/data"));
    }

    [Fact]
    public void What_the_agent_may_not_look_at_is_refused()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows() || Environment.IsPrivilegedProcess, "root may look at everything");
        if (OperatingSystem.IsWindows())
        {
            return;
        }

        var closed = Directory.CreateDirectory(Path.Combine(Allowed, "closed")).FullName;
        Directory.CreateSymbolicLink(Path.Combine(closed, "l"), "/etc");
        File.SetUnixFileMode(closed, UnixFileMode.None);
        try
        {
            Refused([Allowed], closed + "/l:/data");
        }
        finally
        {
            File.SetUnixFileMode(closed, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }
}
