namespace WandbLaunch.Tests;

/// <summary>The caches of the machine, which others use.</summary>
[Collection(ProcessCollection.Name)]
public sealed class CacheTests
{
    [Fact]
    public void The_caches_can_be_seen_and_emptied()
    {
        using var shell = new Shell();
        shell.Ok(
            $"Start-WandbLaunch '{new Uri(Fixture.Repository).AbsoluteUri}' -EntryPoint 'python -c 1' -Resource local-process -NoInstall -Quiet"
        );
        Assert.Contains(shell.Ok("Get-WandbLaunchCache"), e => e.Properties["Kind"].Value is "git");
        shell.Ok("Clear-WandbLaunchCache git, workspaces -Confirm:$false");
        Assert.Empty(shell.Ok("Get-WandbLaunchCache git, workspaces"));
    }
}
