using System.Collections.Frozen;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>What the pods of a launch tell: whether it runs, what it waits for, how its program ended.</summary>
internal static class KubePods
{
    // Not the program's doing: the pod was taken away, or its node.
    private static readonly FrozenDictionary<string, string> Disruptions = new Dictionary<string, string>(
        StringComparer.Ordinal
    )
    {
        ["Evicted"] = "its node evicted it",
        ["Preempting"] = "a pod of a higher priority took its place",
        ["Preempted"] = "a pod of a higher priority took its place",
        ["NodeLost"] = "its node was lost",
        ["NodeShutdown"] = "its node was shut down",
        ["Terminated"] = "its node was shut down",
        ["Shutdown"] = "its node was shut down",
        ["NodeAffinity"] = "its node no longer fitted",
        ["UnexpectedAdmissionError"] = "its node refused it",
        ["OutOfcpu"] = "its node had no CPU left for it",
        ["OutOfmemory"] = "its node had no memory left for it",
        ["OutOfpods"] = "its node had no place left for it",
        ["PreemptionByScheduler"] = "a pod of a higher priority took its place",
        ["DeletionByTaintManager"] = "its node was tainted, and it was removed from it",
        ["EvictionByEvictionAPI"] = "it was evicted, as when a node is drained",
        ["DeletionByPodGC"] = "its node is gone",
        ["TerminationByKubelet"] = "its node ended it, to keep itself alive or to shut down",
    }.ToFrozenDictionary(StringComparer.Ordinal);

    /// <summary>Newest last: a Job that begins anew makes a new one.</summary>
    internal static IReadOnlyList<JsonObject> InOrder(IEnumerable<JsonObject> pods) =>
        [
            .. pods.OrderBy(p => p.Time("metadata", "creationTimestamp") ?? DateTimeOffset.MinValue)
                .ThenBy(p => p.Int("metadata", "annotations", "batch.kubernetes.io/job-completion-index") ?? 0)
                .ThenBy(p => p.Str("metadata", "name"), StringComparer.Ordinal),
        ];

    private static readonly string[] Indexes =
    [
        "batch.kubernetes.io/job-completion-index",
        "jobset.sigs.k8s.io/job-index",
        "training.kubeflow.org/replica-index",
        "volcano.sh/task-index",
    ];

    private static readonly string[] Roles =
    [
        "training.kubeflow.org/replica-type",
        "ray.io/node-type",
        "volcano.sh/task-spec",
    ];
    private static readonly string[] Leaders = ["master", "chief", "launcher", "head", "driver"];

    /// <summary>Of many that do one run together, those that speak for it, one after the other: rank 0, the master.</summary>
    internal static IReadOnlyList<JsonObject> Speakers(IEnumerable<JsonObject> pods)
    {
        var all = InOrder(pods);
        var first = all.Where(p => Indexes.All(i => Mark(p, i) is null or "0")).ToList();
        var leaders = first
            .Where(p => Roles.Any(r => Leaders.Contains(Mark(p, r)?.ToLowerInvariant(), StringComparer.Ordinal)))
            .ToList();
        return leaders.Count > 0 ? leaders
            : first.Count > 0 ? first
            : all;
    }

    private static string? Mark(JsonObject pod, string name) =>
        pod.Str("metadata", "labels", name) ?? pod.Str("metadata", "annotations", name);

    /// <summary>The container that is the run's own program.</summary>
    internal static string? MainOf(JsonObject pod) =>
        pod.Str("metadata", "annotations", KubeNames.MainContainer)
        ?? pod.Maps("status", "containerStatuses").FirstOrDefault()?.Str("name")
        ?? pod.Maps("spec", "containers").FirstOrDefault()?.Str("name");

    internal static JsonObject? StatusOf(JsonObject pod, string? container) =>
        pod.Maps("status", "containerStatuses").FirstOrDefault(s => s.Str("name") == container);

    /// <summary>True when the program has begun, and may have ended.</summary>
    internal static bool HasBegun(JsonObject pod) =>
        StatusOf(pod, MainOf(pod)) is { } status
        && (
            status.At("state", "running") is not null
            || status.At("state", "terminated") is not null
            || status.At("lastState", "terminated") is not null
        );

    internal static bool IsOver(JsonObject pod) => pod.Str("status", "phase") is "Succeeded" or "Failed";

    /// <summary>How often its program was begun anew.</summary>
    internal static int Restarts(IReadOnlyList<JsonObject> pods, int parallel) =>
        Math.Max(0, pods.Count(HasBegun) - Math.Max(1, parallel))
        + pods.Sum(p => StatusOf(p, MainOf(p)).Int("restartCount") ?? 0);

    /// <summary>What a pod that has not begun waits for; null for one that runs or is over.</summary>
    internal static KubeWait? WaitOf(JsonObject pod, JsonObject? warning)
    {
        if (IsOver(pod))
        {
            return null;
        }

        var since = pod.Time("metadata", "creationTimestamp");
        var main = StatusOf(pod, MainOf(pod));
        if (main.At("state", "running") is not null || main.At("state", "terminated") is not null)
        {
            return null;
        }

        if (pod.Str("metadata", "deletionTimestamp") is not null)
        {
            return KubeWait.For("Terminating", null, pod.Time("metadata", "deletionTimestamp"));
        }

        // Init containers too: what one of them waits for, all wait for.
        var statuses = pod.Maps("status", "initContainerStatuses")
            .Concat(pod.Maps("status", "containerStatuses"))
            .Select(s => s.At("state", "waiting"))
            .OfType<JsonObject>()
            .ToList();
        var told =
            statuses.FirstOrDefault(w =>
                KubeWait.Knows(w.Str("reason")) && w.Str("reason") is not ("ContainerCreating" or "PodInitializing")
            )
            ?? main.At("state", "waiting") as JsonObject;
        if (told.Str("reason") is { } reason && reason is not ("ContainerCreating" or "PodInitializing"))
        {
            return KubeWait.For(reason, told.Str("message"), since);
        }

        if (
            pod.Maps("status", "conditions").FirstOrDefault(c => c.Str("type") == "PodScheduled") is { } scheduled
            && scheduled.Str("status") == "False"
        )
        {
            return KubeWait.For(
                scheduled.Str("reason") is { } why && KubeWait.Knows(why) ? why : "Unschedulable",
                scheduled.Str("message"),
                scheduled.Time("lastTransitionTime") ?? since
            );
        }

        if (warning.Str("reason") is "FailedMount" or "FailedAttachVolume" or "FailedCreatePodSandBox")
        {
            return KubeWait.For(warning.Str("reason")!, warning.Str("message"), since);
        }

        return pod.Str("spec", "nodeName") is null && statuses.Count == 0
            ? KubeWait.For("NotScheduled", warning.Str("message"), since)
            : KubeWait.For(told.Str("reason") ?? "ContainerCreating", null, since);
    }

    /// <summary>How the program ended, as the newest pod that ended tells.</summary>
    /// <param name="pods">In order.</param>
    /// <param name="failed">The launch is known to have failed.</param>
    internal static RunOutcome OutcomeOf(IReadOnlyList<JsonObject> pods, bool failed)
    {
        var ended = pods.Where(p => TerminationOf(p) is not null || IsOver(p)).ToList();

        // Of several that ran at once, one that failed is why.
        var pod =
            (failed ? ended.LastOrDefault(p => CodeOf(p) is not (null or 0)) : null)
            ?? (
                ended.Count > 0 ? ended[^1]
                : pods.Count > 0 ? pods[^1]
                : null
            );
        if (pod is null)
        {
            return new RunOutcome(null);
        }

        var end = TerminationOf(pod);
        var code = CodeOf(pod);
        var disruption = DisruptionOf(pod);
        if (disruption is not null && (failed || code is not 0))
        {
            return new RunOutcome(code is 0 ? null : code, disruption) { Fault = "RunDisrupted" };
        }

        if (end.Str("reason") == "OOMKilled")
        {
            return new RunOutcome(
                code,
                "out of memory: its container reached its memory limit and was killed. Raise resources.limits.memory",
                true
            );
        }

        if (end is null && InitFailureOf(pod) is { } init)
        {
            return new RunOutcome(null, init);
        }

        var words = end.Str("message") ?? pod.Str("status", "message");
        return new RunOutcome(
            code,
            end.Str("reason") switch
            {
                "ContainerCannotRun" or "StartError" =>
                    $"its program could not be started: {KubeWait.Clip(words ?? "")}",
                "DeadlineExceeded" => "it ran longer than activeDeadlineSeconds allows",
                _ when pod.Str("status", "reason") == "DeadlineExceeded" =>
                    "it ran longer than activeDeadlineSeconds allows",
                _ when code is null or 0 && failed && words is not null => KubeWait.Clip(words),
                _ => null,
            }
        );
    }

    private static JsonObject? TerminationOf(JsonObject pod)
    {
        var status = StatusOf(pod, MainOf(pod));
        return (status.At("state", "terminated") ?? status.At("lastState", "terminated")) as JsonObject;
    }

    private static int? CodeOf(JsonObject pod) =>
        TerminationOf(pod).Int("exitCode") is { } code ? ExitCodes.Fold(code) : null;

    private static string? DisruptionOf(JsonObject pod)
    {
        var reason = pod.Str("status", "reason");
        var condition = pod.Maps("status", "conditions")
            .FirstOrDefault(c => c.Str("type") == "DisruptionTarget" && c.Str("status") == "True");
        return (reason is not null && Disruptions.TryGetValue(reason, out var words))
            || (condition.Str("reason") is { } named && Disruptions.TryGetValue(named, out words))
                ? words + Detail(pod.Str("status", "message") ?? condition.Str("message"))
            : condition is not null ? "the cluster took it away" + Detail(condition.Str("message"))
            : pod.Str("status", "phase") == "Unknown" ? Disruptions["NodeLost"]
            : null;
    }

    private static string Detail(string? text) =>
        string.IsNullOrWhiteSpace(text) ? "" : ": " + KubeWait.Clip(text.Trim());

    private static string? InitFailureOf(JsonObject pod) =>
        pod.Maps("status", "initContainerStatuses")
            .FirstOrDefault(s => s.Int("state", "terminated", "exitCode") is not (null or 0))
            is { } status
            ? $"its init container '{status.Str("name")}' ended with exit code {status.Int("state", "terminated", "exitCode")}"
            : null;
}
