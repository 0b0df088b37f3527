using System.Management.Automation;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.Tests;

/// <summary>Jobs: artifacts that are made, listed, launched and queued, over real HTTP.</summary>
[Collection(SessionCollection.Name)]
public sealed class JobTests
{
    private static WandbLaunchJob Job(PSObject o) => (WandbLaunchJob)o.BaseObject;

    [Fact]
    public void A_folder_becomes_a_job_that_an_agent_runs_elsewhere()
    {
        using var shell = new Shell();
        var folder = Fixture.NewFolder("code");
        Directory.CreateDirectory(Path.Combine(folder, "pkg"));
        File.WriteAllText(
            Path.Combine(folder, "train.py"),
            "import sys, os, pkg.part\nprint(pkg.part.name, sys.argv[1:], os.environ['WANDB_ARTIFACTS'], os.getcwd())\n"
        );
        File.WriteAllText(Path.Combine(folder, "pkg", "part.py"), "name = 'part'\n");
        File.WriteAllText(Path.Combine(folder, "requirements.txt"), "");
        var job = Job(
            Assert.Single(
                shell.Ok(
                    $"New-WandbLaunchJob '{folder}' -Name my-job -EntryPoint 'python train.py' -Project jobs -PythonVersion 3.11 -Description 'about it'"
                )
            )
        );
        Assert.Equal(
            ("my-job", "v0", "artifact", "3.11", "about it"),
            (job.Name, job.Version, job.SourceType, job.PythonVersion, job.Description)
        );
        Assert.Equal(["python", "train.py"], job.EntryPoint);
        Assert.Equal("latest", Assert.Single(job.Alias));

        // The same content again is the same version; other content is the next one.
        Assert.Equal(
            "v0",
            Job(
                Assert.Single(
                    shell.Ok(
                        $"New-WandbLaunchJob '{folder}' -Name my-job -EntryPoint 'python train.py' -Project jobs -PythonVersion 3.11"
                    )
                )
            ).Version
        );
        File.AppendAllText(Path.Combine(folder, "train.py"), "print('more')\n");
        var next = Job(
            Assert.Single(
                shell.Ok(
                    $"New-WandbLaunchJob '{folder}' -Name my-job -EntryPoint 'python train.py' -Project jobs -PythonVersion 3.11 -Alias stable"
                )
            )
        );
        Assert.Equal("v1", next.Version);
        Assert.Equal(["latest", "stable"], next.Alias.Order());
        Assert.Equal(
            ["v1", "v0"],
            shell.Ok("Get-WandbLaunchJob my-* -Project jobs -AllVersions").Select(j => Job(j).Version)
        );
        Assert.Equal("v1", Job(Assert.Single(shell.Ok("Get-WandbLaunchJob local/jobs/my-job:stable"))).Version);

        Directory.Delete(folder, true);
        var run = (LaunchedRun)
            Assert
                .Single(
                    shell.Ok(
                        "Start-WandbLaunch -Job local/jobs/my-job:v0 -Resource local-process -NoInstall -Quiet -Argument lr=0.1"
                    )
                )
                .BaseObject;
        Assert.StartsWith(
            "part ['--lr', '0.1'] {\"_wandb_job\":\"local/jobs/my-job:v0\"}",
            File.ReadAllText(run.LogPath!),
            StringComparison.Ordinal
        );
        Assert.Equal(("local/jobs/my-job:v0", "jobs"), (run.Source, run.Project));

        shell.Ok("$null = New-WandbRunQueue jobq -ErrorAction SilentlyContinue");
        var item = (WandbLaunchQueueItem)
            Assert
                .Single(
                    shell.Ok(
                        "Get-WandbLaunchJob my-job -Project jobs | Add-WandbLaunchQueueItem -Queue jobq -Resource local-process -Argument n=1"
                    )
                )
                .BaseObject;
        Assert.Equal(("local/jobs/my-job:v1", "jobs"), (item.Uri, item.Project));
        shell.Ok(
            "$null = Start-WandbLaunchAgent -Queue jobq -AllowResource local-process -NoInstall -StopWhenEmpty -Quiet"
        );
        var done = (WandbLaunchQueueItem)
            Assert.Single(shell.Ok($"Get-WandbLaunchQueueItem jobq -Id {item.Id}")).BaseObject;
        Assert.Equal(QueueItemState.Finished, done.State);
        Assert.EndsWith(
            "more\n",
            File.ReadAllText(LaunchStore.Of(new LaunchContext()).Get(done.RunId!).LogPath!),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void A_repository_becomes_a_job_of_its_commit()
    {
        using var shell = new Shell();
        var job = Job(
            Assert.Single(
                shell.Ok(
                    $"New-WandbLaunchJob {new Uri(Fixture.Repository).AbsoluteUri} -EntryPoint 'python train.py' -Project jobs -PythonVersion 3.11 -Alias a, b"
                )
            )
        );
        Assert.Equal(("repo", Fixture.Commit), (job.SourceType, job.Commit));
        Assert.Matches("^job-file____[A-Za-z0-9_.-]*_train.py$", job.Name);
        Assert.Equal(["a", "b", "latest"], job.Alias.Order());
        shell.Fails(
            $"New-WandbLaunchJob {new Uri(Fixture.Repository).AbsoluteUri} -EntryPoint 'python nope.py' -Project jobs",
            "EntryPointNotFound"
        );
        shell.Fails(
            $"New-WandbLaunchJob {new Uri(Fixture.Repository).AbsoluteUri} -EntryPoint 'python ../x.py' -Project jobs",
            "PathOutside"
        );
        shell.Fails(
            $"New-WandbLaunchJob {new Uri(Fixture.Repository).AbsoluteUri} -EntryPoint 'python train.py' -Project jobs -PythonVersion two",
            "PythonVersionInvalid"
        );
    }

    [Fact]
    public void A_run_becomes_a_job_with_its_uncommitted_changes()
    {
        using var shell = new Shell();
        var job = Job(Assert.Single(shell.Ok("Get-WandbRun -Project demo | New-WandbLaunchJob")));
        Assert.Equal(("repo", Fixture.Commit, "demo"), (job.SourceType, job.Commit, job.Project));
        var run = (LaunchedRun)
            Assert
                .Single(
                    shell.Ok(
                        "$job | Start-WandbLaunch -GitRepo ./repo -Resource local-process -NoInstall -Quiet -Environment @{ PYTHONPATH = \"$PWD/stub\" } -Argument '--lr=0.1', '--epochs=3', '--name=x'",
                        ("job", job)
                    )
                )
                .BaseObject;
        Assert.Equal((true, LaunchState.Finished), (run.Patched, run.State));
        Assert.Equal("final loss 1.458", File.ReadLines(run.LogPath!).Last());
    }

    [Fact]
    public void An_image_becomes_a_job_whose_tag_is_an_alias()
    {
        using var shell = new Shell();
        var job = Job(
            Assert.Single(shell.Ok("New-WandbLaunchJob -DockerImage registry.example/team/train:2.1 -Project jobs"))
        );
        Assert.Equal(
            ("job-registry.example_team_train", "image", "registry.example/team/train:2.1"),
            (job.Name, job.SourceType, job.Source)
        );
        Assert.Contains("2.1", job.Alias);
        shell.Fails($"Start-WandbLaunch -Job {job.Job} -DockerImage other -Resource local-container", "JobWithImage");

        // The agent's policy knows the image only when it reads the job.
        shell.Ok("$null = New-WandbRunQueue imageq -ErrorAction SilentlyContinue");
        shell.Ok($"$null = Add-WandbLaunchQueueItem -Job {job.Job} -Queue imageq");
        shell.Ok("$null = Start-WandbLaunchAgent -Queue imageq -AllowImage 'good/*' -StopWhenEmpty -Quiet");
        var item = (WandbLaunchQueueItem)Assert.Single(shell.Ok("Get-WandbLaunchQueueItem imageq")).BaseObject;
        Assert.Equal(QueueItemState.Failed, item.State);
        Assert.Contains("image 'registry.example/team/train:2.1' is not allowed", item.Error, StringComparison.Ordinal);
    }

    [Fact]
    public void What_is_no_job_is_said()
    {
        using var shell = new Shell();
        shell.Fails("Start-WandbLaunch -Job local/jobs/nothing:v3 -Resource local-process", "JobNotFound");
        shell.Fails("Start-WandbLaunch -Job nothing -Resource local-process", "JobNameInvalid");
        shell.Fails("Get-WandbLaunchJob nothing -Project demo", "JobNotFound");
        shell.Fails("Get-WandbLaunchJob -Project no-such-project", "ProjectNotFound");
        shell.Fails("New-WandbLaunchJob -Project jobs", "SourceMissing");
        shell.Fails("New-WandbLaunchJob ./train -DockerImage x -Project jobs", "SourceMissing");
        Assert.Equal(
            new JobPath("e", "p", "job-x", "latest"),
            JobPath.Parse("https://wandb.ai/e/p/artifacts/job/job-x/_view")
        );
        Assert.Equal(
            new JobPath("e", "p", "job-x", "v2"),
            JobPath.Parse("https://wandb.ai/e/p/artifacts/job/job-x/v2")
        );
        Assert.Equal(new JobPath("e", "p", "job-x", "latest"), JobPath.Parse("e/p/job-x"));
        Assert.Equal(
            "local/p/x:a",
            LaunchConfig
                .FromJson((JsonObject)JsonNode.Parse("{\"uri\": \"https://wandb.ai/local/p/artifacts/job/x/a\"}")!)
                .Job
        );
        Assert.Equal(128, JobApi.Safe(new string('x', 300)).Length);
        Assert.Equal("job-https___h_a_b.git_train.py", JobApi.Safe("job-https://h/a/b.git_train.py"));
    }
}
