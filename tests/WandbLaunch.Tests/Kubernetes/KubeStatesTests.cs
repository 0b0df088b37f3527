using System.Text.Json.Nodes;
using WandbLaunch.Resources;

namespace WandbLaunch.Tests;

/// <summary>What states of Jobs and custom resources mean, as real controllers write them.</summary>
public sealed class KubeStatesTests
{
    private static KubeState Read(string value, params string[] pods) =>
        KubeStates.Read(
            (JsonObject)JsonNode.Parse(value)!,
            pods.Select(p => (JsonObject)JsonNode.Parse(p)!),
            KubeHints.None
        );

    private static string Object(string apiVersion, string kind, string status, string spec = "{}") =>
        $$"""{ "apiVersion": "{{apiVersion}}", "kind": "{{kind}}", "metadata": { "name": "x", "uid": "u" }, "spec": {{spec}}, "status": {{status}} }""";

    private static string Condition(string type, string value = "True", string reason = "R", string message = "m") =>
        $$"""{ "conditions": [{ "type": "{{type}}", "status": "{{value}}", "reason": "{{reason}}", "message": "{{message}}" }] }""";

    private static string Pod(string phase, string state, string more = "", string name = "p") =>
        $$"""{ "metadata": { "name": "{{name}}", "creationTimestamp": "2026-01-01T00:00:00Z" }, "spec": { "nodeName": "n", "containers": [{ "name": "c" }] }, "status": { "phase": "{{phase}}", "containerStatuses": [{ "name": "c", "restartCount": 0, "state": {{state}} }] {{more}} } }""";

    private const string Running = """{ "running": {} }""";

    private static string Ended(int code, string reason = "Error") =>
        $$"""{ "terminated": { "exitCode": {{code}}, "reason": "{{reason}}" } }""";

    private static string Say(KubeState state) =>
        state.End is { } end
            ? end is { ExitCode: 0 }
                ? "finished"
                : end.Stopped
                    ? "stopped"
                    : "failed"
            : state.Wait is null
                ? "runs"
                : "waits";

    [Theory]
    // Jobs
    [InlineData("batch/v1", "Job", """{ "active": 1 }""", "waits")]
    [InlineData(
        "batch/v1",
        "Job",
        """{ "succeeded": 1, "conditions": [{ "type": "SuccessCriteriaMet", "status": "True" }] }""",
        "waits"
    )]
    [InlineData("batch/v1", "Job", """{ "conditions": [{ "type": "Complete", "status": "True" }] }""", "finished")]
    [InlineData(
        "batch/v1",
        "Job",
        """{ "conditions": [{ "type": "Failed", "status": "True", "reason": "BackoffLimitExceeded" }] }""",
        "failed"
    )]
    [InlineData("batch/v1", "Job", """{ "conditions": [{ "type": "Failed", "status": "False" }] }""", "waits")]
    // JobSet
    [InlineData(
        "jobset.x-k8s.io/v1alpha2",
        "JobSet",
        """{ "replicatedJobsStatus": [{ "name": "w", "ready": 1 }] }""",
        "runs"
    )]
    [InlineData(
        "jobset.x-k8s.io/v1alpha2",
        "JobSet",
        """{ "conditions": [{ "type": "Completed", "status": "True" }], "terminalState": "Completed" }""",
        "finished"
    )]
    [InlineData(
        "jobset.x-k8s.io/v1alpha2",
        "JobSet",
        """{ "conditions": [{ "type": "Failed", "status": "True", "reason": "FailedJobs" }], "terminalState": "Failed" }""",
        "failed"
    )]
    [InlineData(
        "jobset.x-k8s.io/v1alpha2",
        "JobSet",
        """{ "conditions": [{ "type": "Suspended", "status": "True" }] }""",
        "waits"
    )]
    // Trainer v2: its word is Complete, and W&B's agent waits for ever for another one.
    [InlineData(
        "trainer.kubeflow.org/v1alpha1",
        "TrainJob",
        """{ "conditions": [{ "type": "Complete", "status": "True" }] }""",
        "finished"
    )]
    [InlineData(
        "trainer.kubeflow.org/v1alpha1",
        "TrainJob",
        """{ "conditions": [{ "type": "Failed", "status": "True", "reason": "TrainingRuntimeNotSupported" }] }""",
        "failed"
    )]
    [InlineData(
        "trainer.kubeflow.org/v1alpha1",
        "TrainJob",
        """{ "jobsStatus": [{ "name": "node", "active": 1 }] }""",
        "runs"
    )]
    [InlineData(
        "trainer.kubeflow.org/v1alpha1",
        "TrainJob",
        """{ "conditions": [{ "type": "Suspended", "status": "True" }] }""",
        "waits"
    )]
    // Training operator v1
    [InlineData(
        "kubeflow.org/v1",
        "PyTorchJob",
        """{ "conditions": [{ "type": "Created", "status": "True" }] }""",
        "waits"
    )]
    [InlineData(
        "kubeflow.org/v1",
        "PyTorchJob",
        """{ "conditions": [{ "type": "Created", "status": "True" }, { "type": "Running", "status": "True" }] }""",
        "runs"
    )]
    [InlineData(
        "kubeflow.org/v1",
        "PyTorchJob",
        """{ "conditions": [{ "type": "Running", "status": "False" }, { "type": "Succeeded", "status": "True" }] }""",
        "finished"
    )]
    [InlineData(
        "kubeflow.org/v1",
        "PyTorchJob",
        """{ "conditions": [{ "type": "Failed", "status": "True", "message": "m" }] }""",
        "failed"
    )]
    // Volcano
    [InlineData("batch.volcano.sh/v1alpha1", "Job", """{ "state": { "phase": "Pending" } }""", "waits")]
    [InlineData("batch.volcano.sh/v1alpha1", "Job", """{ "state": { "phase": "Running" } }""", "runs")]
    [InlineData("batch.volcano.sh/v1alpha1", "Job", """{ "state": { "phase": "Restarting" } }""", "runs")]
    [InlineData("batch.volcano.sh/v1alpha1", "Job", """{ "state": { "phase": "Completing" } }""", "runs")]
    [InlineData("batch.volcano.sh/v1alpha1", "Job", """{ "state": { "phase": "Completed" } }""", "finished")]
    [InlineData("batch.volcano.sh/v1alpha1", "Job", """{ "state": { "phase": "Failed", "message": "m" } }""", "failed")]
    [InlineData("batch.volcano.sh/v1alpha1", "Job", """{ "state": { "phase": "Aborted" } }""", "stopped")]
    [InlineData("batch.volcano.sh/v1alpha1", "Job", """{ "state": { "phase": "Terminated" } }""", "stopped")]
    // Ray
    [InlineData("ray.io/v1", "RayJob", """{ "jobDeploymentStatus": "Initializing" }""", "waits")]
    [InlineData("ray.io/v1", "RayJob", """{ "jobStatus": "RUNNING", "jobDeploymentStatus": "Running" }""", "runs")]
    [InlineData(
        "ray.io/v1",
        "RayJob",
        """{ "jobStatus": "SUCCEEDED", "jobDeploymentStatus": "Complete" }""",
        "finished"
    )]
    [InlineData(
        "ray.io/v1",
        "RayJob",
        """{ "jobStatus": "FAILED", "jobDeploymentStatus": "Complete", "message": "m" }""",
        "failed"
    )]
    [InlineData("ray.io/v1", "RayJob", """{ "jobStatus": "STOPPED", "jobDeploymentStatus": "Complete" }""", "stopped")]
    [InlineData("ray.io/v1", "RayJob", """{ "jobDeploymentStatus": "Failed", "message": "m" }""", "failed")]
    // AppWrapper
    [InlineData("workload.codeflare.dev/v1beta2", "AppWrapper", """{ "phase": "Suspended" }""", "waits")]
    [InlineData("workload.codeflare.dev/v1beta2", "AppWrapper", """{ "phase": "Running" }""", "runs")]
    [InlineData("workload.codeflare.dev/v1beta2", "AppWrapper", """{ "phase": "Succeeded" }""", "finished")]
    [InlineData("workload.codeflare.dev/v1beta2", "AppWrapper", """{ "phase": "Failed" }""", "failed")]
    // Nobody's that is known
    [InlineData(
        "example.org/v1",
        "Thing",
        """{ "conditions": [{ "type": "FINISHED", "status": "True" }] }""",
        "finished"
    )]
    [InlineData("example.org/v1", "Thing", """{ "phase": "error" }""", "failed")]
    [InlineData("example.org/v1", "Thing", "{}", "waits")]
    public void A_state_is_read(string apiVersion, string kind, string status, string said) =>
        Assert.Equal(said, Say(Read(Object(apiVersion, kind, status))));

    [Fact]
    public void A_pod_that_runs_makes_a_launch_run_and_creating_is_not_running()
    {
        var job = Object("batch/v1", "Job", """{ "active": 1 }""");
        Assert.Equal("runs", Say(Read(job, Pod("Running", Running))));
        var creating = Read(job, Pod("Pending", """{ "waiting": { "reason": "ContainerCreating" } }"""));
        Assert.Equal(("waits", "ContainerCreating"), (Say(creating), creating.Wait!.Key));

        // The pod is over, and the Job says nothing yet.
        Assert.Equal("runs", Say(Read(job, Pod("Succeeded", Ended(0, "Completed")))));

        // Of several one runs.
        Assert.Equal(
            "runs",
            Say(
                Read(
                    job,
                    Pod("Running", Running),
                    Pod("Pending", """{ "waiting": { "reason": "ImagePullBackOff" } }""", "", "q")
                )
            )
        );
    }

    [Fact]
    public void A_program_that_crashes_again_and_again_waits_between()
    {
        var state = Read(
            Object("batch/v1", "Job", """{ "active": 1 }"""),
            """{ "metadata": { "name": "p", "creationTimestamp": "2026-01-01T00:00:00Z" }, "spec": { "nodeName": "n", "containers": [{ "name": "c" }, { "name": "side" }] }, "status": { "phase": "Running", "containerStatuses": [{ "name": "c", "state": { "waiting": { "reason": "CrashLoopBackOff" } }, "lastState": { "terminated": { "exitCode": 1, "startedAt": null } }, "restartCount": 1 }] } }"""
        );
        Assert.Equal(("waits", "CrashLoopBackOff", 1), (Say(state), state.Wait!.Key, state.Restarts));
    }

    [Fact]
    public void An_init_container_is_looked_at_too()
    {
        var job = Object("batch/v1", "Job", "{}");
        var waits = Read(
            job,
            Pod(
                "Pending",
                """{ "waiting": { "reason": "PodInitializing" } }""",
                """, "initContainerStatuses": [{ "name": "i", "state": { "waiting": { "reason": "ErrImagePull", "message": "denied" } } }]"""
            )
        );
        Assert.Equal("its image cannot be pulled: denied", waits.Wait!.Words);
        var failed = Read(
            Object("batch/v1", "Job", Condition("Failed", "True", "BackoffLimitExceeded")),
            Pod(
                "Failed",
                """{ "waiting": { "reason": "PodInitializing" } }""",
                """, "initContainerStatuses": [{ "name": "i", "state": { "terminated": { "exitCode": 4 } } }]"""
            )
        );
        Assert.Equal("its init container 'i' ended with exit code 4", failed.End!.Reason);
    }

    [Theory]
    [InlineData("PreemptionByScheduler", "higher priority")]
    [InlineData("EvictionByEvictionAPI", "evicted")]
    [InlineData("TerminationByKubelet", "node ended it")]
    [InlineData("DeletionByTaintManager", "tainted")]
    [InlineData("DeletionByPodGC", "node is gone")]
    [InlineData("SomethingNew", "took it away")]
    public void A_disruption_is_no_failure_of_the_program(string reason, string words)
    {
        var state = Read(
            Object("batch/v1", "Job", Condition("Failed", "True", "BackoffLimitExceeded")),
            Pod(
                "Failed",
                Ended(143),
                $$""", "conditions": [{ "type": "DisruptionTarget", "status": "True", "reason": "{{reason}}", "message": "m" }]"""
            )
        );
        Assert.Equal("RunDisrupted", state.End!.Fault);
        Assert.Contains(words, state.End.Reason, StringComparison.Ordinal);
    }

    [Fact]
    public void A_deadline_is_said_and_a_failure_without_a_word_has_the_objects()
    {
        Assert.Equal(
            "it ran longer than activeDeadlineSeconds allows",
            Read(
                Object("batch/v1", "Job", Condition("Failed", "True", "DeadlineExceeded")),
                Pod("Failed", Ended(137))
            ).End!.Reason
        );
        var failed = Read(
            Object("jobset.x-k8s.io/v1alpha2", "JobSet", Condition("Failed", "True", "FailedJobs", "jobset failed"))
        ).End!;
        Assert.Equal((null, "FailedJobs: jobset failed"), (failed.ExitCode, failed.Reason));
    }

    [Fact]
    public void Kueue_says_what_a_suspended_Job_waits_for()
    {
        var job = (JsonObject)
            JsonNode.Parse(
                """{ "apiVersion": "batch/v1", "kind": "Job", "metadata": { "name": "x", "uid": "u", "labels": { "kueue.x-k8s.io/queue-name": "gpus" } }, "spec": { "suspend": true }, "status": { "conditions": [{ "type": "Suspended", "status": "True" }] } }"""
            )!;
        KubeWait Wait(string? conditions)
        {
            var hints = new KubeHints();
            if (conditions is not null)
            {
                hints.AddWorkloads([
                    (JsonObject)
                        JsonNode.Parse(
                            $$"""{ "metadata": { "labels": { "kueue.x-k8s.io/job-uid": "u" } }, "status": { "conditions": [{{conditions}}] } }"""
                        )!,
                ]);
            }

            return KubeStates.Read(job, [], hints).Wait!;
        }

        Assert.Equal("it waits in its queue: gpus", Wait(null).Words);
        Assert.Equal(
            "it waits in its queue: couldn't assign flavors: insufficient quota",
            Wait(
                """{ "type": "QuotaReserved", "status": "False", "reason": "WaitingForQuota", "message": "couldn't assign flavors: insufficient quota" }"""
            ).Words
        );
        var wrong = Wait(
            """{ "type": "QuotaReserved", "status": "False", "reason": "Misconfigured", "message": "LocalQueue gpus doesn't exist" }"""
        );
        Assert.Equal(("KueueMisconfigured", true), (wrong.Key, wrong.StuckAfter is not null));
        Assert.Equal(
            "EvictedByKueue",
            Wait("""{ "type": "Evicted", "status": "True", "reason": "Preempted", "message": "m" }""").Key
        );
    }

    [Fact]
    public void Each_wait_has_its_time()
    {
        var began = DateTimeOffset.UnixEpoch;
        RunStanding At(string key, double minutes) =>
            new KubeState(null, KubeWait.For(key, "m"), 0).At(began, began.AddMinutes(minutes));

        Assert.False(At("Unschedulable", 0.5).IsStuck);
        Assert.True(At("Unschedulable", 1.5).IsStuck);
        Assert.Null(At("Unschedulable", 10_000).End);
        Assert.True(At("InvalidImageName", 0).IsStuck);
        Assert.Equal("RunStuck", At("InvalidImageName", 2).End!.Fault);
        Assert.Equal("RegistryUnavailable", At("RegistryUnavailable", 31).End!.Fault);
        Assert.Null(At("ImagePullBackOff", 10).End);
        Assert.Equal(
            "its image cannot be pulled: m (for 20 minutes; it was given up)",
            At("ImagePullBackOff", 20).End!.Reason
        );
        Assert.False(At("QueuedByKueue", 100_000).IsStuck);
        Assert.All(KubeWait.All, w => Assert.True(w.Fails is null || w.Stuck <= w.Fails, w.Key));
    }

    [Fact]
    public void The_table_of_reasons_is_on_its_page()
    {
        var folder = AppContext.BaseDirectory;
        while (!File.Exists(Path.Combine(folder, "WandbLaunch.sln")))
        {
            folder = Path.GetDirectoryName(folder.TrimEnd(Path.DirectorySeparatorChar))!;
        }

        var page = File.ReadAllText(Path.Combine(folder, "docs", "about_WandbLaunch_Kubernetes.md"));
        Assert.All(
            KubeWait.All,
            w =>
                Assert.Contains(
                    $"| {w.Key} | {w.Words} | {Shown(w.Stuck)} | {Shown(w.Fails)} |\n",
                    page,
                    StringComparison.Ordinal
                )
        );

        static string Shown(TimeSpan? time) =>
            time switch
            {
                null => "",
                { TotalMinutes: 0 } => "at once",
                { TotalMinutes: 1 } => "1 minute",
                { } more => $"{more.TotalMinutes} minutes",
            };
    }
}
