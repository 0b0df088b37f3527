using WandbLaunch.Resources;

namespace WandbLaunch.Tests;

/// <summary>The same jobs as each release of Slurm writes them.</summary>
public sealed class SlurmReaderTests
{
    private const SlurmMarker? None = null;

    private static string Data(string name) =>
        File.ReadAllText(Path.Combine(AppContext.BaseDirectory, "data", "slurm", name));

    /// <summary>How the jobs of the samples stand, in short words.</summary>
    private static readonly Dictionary<string, string> Expected = new()
    {
        ["101"] = "waits: waits its turn: jobs of higher priority go first (Priority)",
        ["102"] =
            "waits: waits for its begin time; a job that was requeued waits about two minutes (BeginTime); it was requeued 1×",
        ["103"] = "runs",
        ["104"] = "waits: Slurm gave it nodes and starts them (CONFIGURING)",
        ["105"] = "runs",
        ["106"] = "ended 0",
        ["107"] = "ended 3",
        ["108"] = "ended 137: it was ended by the signal KILL",
        ["109"] = "stopped 143: its Slurm job was cancelled",
        ["110"] = "SlurmTimeLimit 143",
        ["111"] = "SlurmNodeFailed",
        ["112"] = "out of memory 137",
        ["113"] = "SlurmPreempted 143",
        ["114"] = "stuck: is held by a user: release it with 'scontrol release' (JobHeldUser)",
        ["200_0"] = "ended 0",
        ["200_1"] = "ended 4",
        ["200_2"] = "waits: waits for other tasks of its array, which has a limit (JobArrayTaskLimit)",
        ["200_3"] = "waits: waits for other tasks of its array, which has a limit (JobArrayTaskLimit)",
        ["115"] = "runs",
    };

    private static string Short(RunStanding standing) =>
        standing.End is { } end
            ? (
                end.Fault
                ?? (
                    end.Stopped ? "stopped"
                    : end.OutOfMemory ? "out of memory"
                    : "ended"
                )
            )
                + (end.ExitCode is { } code ? $" {code}" : "")
                + (end.Fault is null && !end.OutOfMemory && end.Reason is not null ? ": " + end.Reason : "")
        : standing.Waits ? (standing.IsStuck ? "stuck: " : "waits: ") + standing.Reason
        : "runs";

    private static Dictionary<string, string> Stand(IEnumerable<SlurmJob> jobs, IEnumerable<string> keys)
    {
        var index = new SlurmIndex(jobs);
        return keys.ToDictionary(
            k => k,
            k => index.Find(SlurmKey.Parse(k)!.Value) is { } job ? Short(SlurmStanding.Of(job, None)) : "not there"
        );
    }

    [Theory]
    [InlineData("21.08")]
    [InlineData("22.05")]
    [InlineData("23.02")]
    [InlineData("23.11")]
    [InlineData("24.05")]
    [InlineData("24.11")]
    [InlineData("25.05")]
    [InlineData("25.11")]
    [InlineData("26.05")]
    [InlineData("26.05-complex")]
    public void Json_of_every_release_says_the_same(string release)
    {
        var jobs = SlurmReader.Json("A greeting of the site\n" + Data($"squeue-{release}.json"));
        Assert.NotNull(jobs);
        Assert.Equal(Expected, Stand(jobs, Expected.Keys));
        var held = new SlurmIndex(jobs).Find(new SlurmKey(116, null))!;
        Assert.StartsWith(
            "stuck: ",
            Short(SlurmStanding.Of(held with { Reason = held.Description! }, None)),
            StringComparison.Ordinal
        );
        Assert.Equal("wandblaunch-a", jobs[0].Name);
        Assert.Equal("/shared/runs/wandblaunch-a", jobs[0].Folder);

        // The array's own id is no job of its own, and a task that nobody mentions is not there.
        Assert.Null(new SlurmIndex(jobs).Find(new SlurmKey(200, 7)));
    }

    [Fact]
    public void Fixed_fields_say_the_same()
    {
        Assert.Equal(Expected, Stand(SlurmReader.Text(Data("squeue-22.05.txt")), Expected.Keys));
        Assert.Empty(SlurmReader.Text("slurm_load_jobs error: Unable to contact\n\n"));
    }

    [Fact]
    public void Accounts_say_how_it_ended()
    {
        var stand = Stand(SlurmReader.Accounting(Data("sacct.txt")), Expected.Keys);
        foreach (var key in new[] { "106", "107", "109", "110", "111", "112", "113", "200_0", "200_1" })
        {
            Assert.Equal(Expected[key], stand[key]);
        }

        Assert.StartsWith("waits", stand["200_2"], StringComparison.Ordinal);
        Assert.Equal("runs", stand["103"]);
    }

    [Theory]
    [InlineData("slurm 21.08.5", 2108, null)]
    [InlineData("slurm 22.05.8", 2205, null)]
    [InlineData("slurm 23.02.7", 2302, "--json")]
    [InlineData("slurm-wlm 23.11.4", 2311, "--json=v0.0.40")]
    [InlineData("slurm 24.05.1", 2405, "--json=v0.0.40")]
    [InlineData("slurm 24.11.0-0rc1", 2411, "--json=v0.0.42")]
    [InlineData("slurm 26.05.3", 2605, "--json=v0.0.42")]
    [InlineData("slurm 27.11.0", 2711, "--json")]
    [InlineData("no version", 0, null)]
    public void Each_release_is_asked_in_its_way(string text, int release, string? option)
    {
        Assert.Equal(release, SlurmReader.ReleaseOf(text));
        Assert.Equal(option, SlurmReader.JsonOption(release));
    }

    [Fact]
    public void What_is_no_answer_is_none()
    {
        Assert.Null(SlurmReader.Json(""));
        Assert.Null(SlurmReader.Json("{\"jobs\": 3}"));
        Assert.Null(SlurmReader.Json("{\"jobs\": ["));
        Assert.Empty(SlurmReader.Json("{\"jobs\": [{}, {\"job_id\": null}, 7]}")!);
    }

    [Theory]
    [InlineData("0-3", new[] { 0, 3 }, new[] { 4 }, false)]
    [InlineData("[2,5-9%2]", new[] { 2, 5, 9 }, new[] { 3, 10 }, false)]
    [InlineData("0-10:5", new[] { 0, 5, 10 }, new[] { 4 }, false)]
    [InlineData("1,3,5,...", new[] { 1, 5 }, new[] { 4 }, true)]
    public void Ranges_of_tasks(string text, int[] there, int[] not, bool cut)
    {
        var range = TaskRange.Parse(text);
        Assert.All(there, t => Assert.True(range.Has(t)));
        Assert.All(not, t => Assert.False(range.Has(t)));
        Assert.Equal(cut, range.IsCut);
    }

    [Theory]
    [InlineData("Resources", "Turn")]
    [InlineData("AssocGrpCpuLimit", "Limit")]
    [InlineData("QOSMaxJobsPerUserLimit", "Limit")]
    [InlineData("MaxJobsPerAccount", "Limit")]
    [InlineData("QOSMaxCpuPerJobLimit", "Never")]
    [InlineData("AssocMaxWallDurationPerJobLimit", "Never")]
    [InlineData("PartitionTimeLimit", "Never")]
    [InlineData("DependencyNeverSatisfied", "Never")]
    [InlineData("JobHeldAdmin", "Held")]
    [InlineData("ReqNodeNotAvail, UnavailableNodes:n[1-3]", "Down")]
    [InlineData("(ReqNodeNotAvail(Unavailable:n1))", "Down")]
    [InlineData("launch failed requeued held", "Held")]
    [InlineData("SomethingOfTomorrow", "Turn")]
    public void Reasons_are_of_a_kind(string reason, string kind) =>
        Assert.Equal(kind, SlurmReasons.Of(reason).Kind.ToString());

    [Fact]
    public void A_fault_of_the_node_is_no_exit_code()
    {
        var job = SlurmReader.Text("5|5|N/A|FAILED|JobLaunchFailure|4021|0|n1|x|/x|").Single();
        var end = SlurmStanding.Of(job, None).End!;
        Assert.Equal((null, "SlurmLaunchFailed"), (end.ExitCode, end.Fault));
    }
}
