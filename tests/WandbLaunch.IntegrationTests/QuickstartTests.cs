namespace WandbLaunch.IntegrationTests;

public sealed class QuickstartTests
{
    [Fact]
    public void The_readmes_main_job_reproduces_a_run_and_changes_it()
    {
        var (code, output, error) = Machine.Exec(
            "dotnet",
            Machine.Pwsh("-Command", $"& '{Example("quickstart")}' | Out-String -Width 160")
        );
        Assert.True(code == 0, output + error);
        Check(output);
    }

    [Fact]
    public void The_same_in_containers_of_the_real_engine()
    {
        Machine.NeedDocker();
        var (code, output, error) = Machine.Exec(
            "dotnet",
            Machine.Pwsh(
                "-Command",
                $"& '{Example("quickstart")}' -Resource local-container -BaseImage {Machine.BaseImage} | Out-String -Width 160"
            )
        );
        Assert.True(code == 0, output + error);
        Check(output);
        Machine.NoContainerIsLeft();
    }

    [Fact]
    public void The_readmes_queues_are_worked_off()
    {
        var (code, output, error) = Machine.Exec(
            "dotnet",
            Machine.Pwsh("-Command", $"& '{Example("queues")}' | Out-String -Width 160")
        );
        Assert.True(code == 0, output + error);
        Assert.Equal(
            (2, 2),
            (
                output.Split('\n').Count(l => l.Contains("RunFinished", StringComparison.Ordinal)),
                output.Split('\n').Count(l => l.Contains("RunFailed", StringComparison.Ordinal))
            )
        );
        Assert.Matches(@"demo +Failed +3 .*layers=4 lr=1 ", output);
        Assert.Contains("exit code of the agent: 2", output, StringComparison.Ordinal);
    }

    private static string Example(string name) => Path.Combine(Machine.Sources, "docs", "examples", name + ".ps1");

    // What the SDK's own log of the run says: final loss 1.458, from the uncommitted 2.0.
    private static void Check(string output)
    {
        Assert.Matches(@"\w{8}: final loss 1\.458\b", output);
        Assert.Matches(@"\w{8}: final loss 0\.25\b", output);
        Assert.Equal(2, System.Text.RegularExpressions.Regex.Count(output, @"(?m)^\w{8} Finished +0 "));
        Assert.Contains("--lr 0.5 --epochs 3 --name two words", output, StringComparison.Ordinal);
    }
}
