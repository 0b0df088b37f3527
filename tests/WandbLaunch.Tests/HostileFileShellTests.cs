using WandbLaunch.Server;
using WandbLaunch.Wandb;
using static WandbLaunch.Tests.HostileFileTests;

namespace WandbLaunch.Tests;

/// <summary>Files on their way to a shell.</summary>
[Collection(SessionCollection.Name)]
public sealed class HostileFileShellTests
{
    [Fact]
    public async Task A_download_passes_a_line_that_breaks_again_and_again_without_beginning_anew()
    {
        await using var server = await LaunchServer.StartAsync(NewDatabase("line-back"), "127.0.0.1", 0, Fixture.Key);
        using var connection = await ConnectAsync(server.Url);
        const long Size = 40 * Megabyte;
        await connection.Api.UploadFilesAsync(Run, [("large.bin", () => new Pattern(Size, 3))], default);
        using var download = new BreakingLine(server.Url, 6 * Megabyte, 6);
        using var shell = new Shell(false);
        var folder = Fixture.NewFolder("line-out");
        var saved = shell.Ok(
            $"$null = Connect-Wandb {download.Url} -ApiKey $key; Get-WandbRunFile files001 -Entity local -Project files -Destination $to",
            ("key", Shell.Secure(Fixture.Key)),
            ("to", folder)
        );
        Assert.Equal(
            Md5(new Pattern(Size, 3)),
            Md5(File.OpenRead(((WandbRunFile)Assert.Single(saved).BaseObject).LocalPath!))
        );
        Assert.InRange(download.CutsLeft, -1, 1);
        Assert.InRange(download.Passed, Size, Size * 3 / 2);
        Assert.Equal(["large.bin"], Directory.GetFiles(Path.Combine(folder, "files001")).Select(Path.GetFileName));
    }
}
