namespace WandbLaunch.IntegrationTests;

/// <summary>Containers whose time is over: an engine ends none by itself.</summary>
public sealed class ContainerLimitTests
{
    [Theory]
    [InlineData("")]
    [InlineData("-NoWait")]
    public void A_container_over_its_time_limit_is_stopped_and_says_so(string wait)
    {
        Machine.NeedDocker();
        var uri = new Uri(
            Machine.NewRepository("limit", "import time\nprint('up', flush=True)\ntime.sleep(600)\n")
        ).AbsoluteUri;
        var said = Machine
            .Shell(
                $"$run = Start-WandbLaunch '{uri}' -BaseImage {Machine.BaseImage} -TimeLimit 3s -StopGracePeriod 1 -Quiet {wait} -ErrorAction SilentlyContinue; $run = $run | Wait-WandbLaunch -Timeout 60 -ErrorAction SilentlyContinue; $run.Id; \"$($run.State) $($run.ErrorId) $($run.EngineId -eq $run.ContainerId)\"; $run.Reason; $run.Duration.TotalSeconds; Receive-WandbLaunchLog $run.Id"
            )
            .Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        Assert.Equal("Failed TimeLimit True", said[1]);
        Assert.Contains("time limit of 00:00:03", said[2], StringComparison.Ordinal);
        Assert.InRange(double.Parse(said[3], System.Globalization.CultureInfo.InvariantCulture), 3, 30);
        Assert.Equal("up", said[4]);
        Assert.Equal(
            "",
            Machine.Exec("docker", ["ps", "-q", "--filter", $"label=ai.wandb.launch.run={said[0]}"]).Output.Trim()
        );
    }
}
