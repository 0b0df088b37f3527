using System.Text.Json.Nodes;

namespace WandbLaunch.Resources;

/// <summary>How a launch stands, as its object and its pods tell: over, waiting, or else it runs.</summary>
internal sealed record KubeState(RunOutcome? End, KubeWait? Wait, int Restarts)
{
    /// <summary>With the times that a wait may take; one that cannot end well is over then.</summary>
    internal RunStanding At(DateTimeOffset since, DateTimeOffset now)
    {
        if (End is not null)
        {
            return RunStanding.Ended(End);
        }

        if (Wait is null)
        {
            return RunStanding.Runs with { Restarts = Restarts };
        }

        var waited = now - since;
        return Wait.FailsAfter is { } most && waited >= most
            ? RunStanding.Ended(
                new RunOutcome(null, $"{Wait.Words} (for {Shown(waited)}; it was given up)")
                {
                    Fault = Wait.Key == "RegistryUnavailable" ? Wait.Key : "RunStuck",
                }
            )
            : RunStanding.WaitsFor(Wait.Words, Wait.StuckAfter is { } stuck && waited >= stuck) with
            {
                Restarts = Restarts,
            };
    }

    private static string Shown(TimeSpan time) =>
        time.TotalMinutes < 2 ? $"{time.TotalSeconds:0} s" : $"{time.TotalMinutes:0} minutes";
}

/// <summary>Reads the states of Jobs, and of custom resources: those that are known (Volcano, JobSet, Kubeflow, Ray, AppWrapper), and any other by the words that they have in common.</summary>
internal static class KubeStates
{
    private static readonly HashSet<string> FinishedWords = new(StringComparer.OrdinalIgnoreCase)
    {
        "complete",
        "completed",
        "succeeded",
        "finished",
    };

    private static readonly HashSet<string> FailedWords = new(StringComparer.OrdinalIgnoreCase)
    {
        "failed",
        "aborted",
        "terminated",
        "error",
        "timeout",
        "validationfailed",
    };

    private static readonly HashSet<string> StoppedWords = new(StringComparer.OrdinalIgnoreCase)
    {
        // RayJob's and Volcano's words for what somebody ended.
        "stopped",
        "aborted",
        "terminated",
    };

    private static readonly HashSet<string> RunningWords = new(StringComparer.OrdinalIgnoreCase)
    {
        "running",
        "completing",
        "restarting",
        "resuming",
        "aborting",
        "terminating",
        "stopping",
    };

    private static readonly HashSet<string> WaitingWords = new(StringComparer.OrdinalIgnoreCase)
    {
        "suspended",
        "suspending",
    };

    /// <param name="value">The object; null: it is gone.</param>
    /// <param name="pods">Its pods.</param>
    /// <param name="hints">What else is known.</param>
    internal static KubeState Read(JsonObject? value, IEnumerable<JsonObject> pods, KubeHints hints)
    {
        var all = KubePods.InOrder(pods);
        var restarts = KubePods.Restarts(all, Parallel(value, all));
        if (value is null)
        {
            var last = KubePods.OutcomeOf(all, true);
            return new KubeState(
                new RunOutcome(
                    last.ExitCode is 0 ? null : last.ExitCode,
                    last.Fault is not null
                        ? last.Reason
                        : "it was deleted from the cluster, by somebody or by its own time to live, so how it ended is not known"
                )
                {
                    Stopped = last.Fault is null,
                    Fault = last.Fault,
                },
                null,
                restarts
            );
        }

        var (finished, failed, words) = EndOf(value);
        if (failed)
        {
            return new KubeState(Failure(value, all, words), null, restarts);
        }

        if (finished)
        {
            var end = KubePods.OutcomeOf(all, false);
            return new KubeState(new RunOutcome(0, end.ExitCode is 0 ? end.Reason : null), null, restarts);
        }

        return new KubeState(null, WaitOf(value, all, hints), restarts);
    }

    /// <summary>How it ended, as far as the object itself tells.</summary>
    private static (bool Finished, bool Failed, string? Words) EndOf(JsonObject value)
    {
        var status = value["status"];

        // Ray's job may have failed while what carried it is complete.
        if (value.Str("kind") == "RayJob" && status.Str("jobStatus") is { Length: > 0 } ray)
        {
            return ray.ToUpperInvariant() switch
            {
                "SUCCEEDED" => (true, false, null),
                "FAILED" or "STOPPED" => (false, true, status.Str("message")),
                _ => (false, FailedWords.Contains(status.Str("jobDeploymentStatus") ?? ""), status.Str("message")),
            };
        }

        var conditions = status.Maps("conditions").Where(c => c.Str("status") == "True").ToList();
        if (conditions.FirstOrDefault(c => FailedWords.Contains(c.Str("type") ?? "")) is { } failed)
        {
            return (false, true, failed.Str("reason") + ": " + failed.Str("message"));
        }

        if (conditions.Any(c => FinishedWords.Contains(c.Str("type") ?? "")))
        {
            return (true, false, null);
        }

        var phase = Phase(status);
        return phase is null || KubeManifest.IsJob(value)
            ? (false, false, null)
            : (
                FinishedWords.Contains(phase),
                FailedWords.Contains(phase),
                status.Str("state", "message") ?? status.Str("message") ?? status.Str("reason")
            );
    }

    private static string? Phase(JsonNode? status) =>
        status.Str("state", "phase")
        ?? status.Str("phase")
        ?? status.Str("terminalState") switch
        {
            { Length: > 0 } ended => ended,
            _ => status.Str("jobDeploymentStatus") ?? (status.At("state") is JsonValue ? status.Str("state") : null),
        };

    private static RunOutcome Failure(JsonObject value, IReadOnlyList<JsonObject> pods, string? words)
    {
        var end = KubePods.OutcomeOf(pods, true);
        var phase = Phase(value["status"]);
        var reason = value["status"]
            .Maps("conditions")
            .FirstOrDefault(c => c.Str("status") == "True" && FailedWords.Contains(c.Str("type") ?? ""))
            .Str("reason");
        var stopped =
            end.ExitCode is null or 137 or 143
            && !KubeManifest.IsJob(value)
            && (StoppedWords.Contains(phase ?? "") || value.Str("status", "jobStatus") == "STOPPED");
        return reason is "DeadlineExceeded"
                ? new RunOutcome(
                    end.ExitCode is 0 ? null : end.ExitCode,
                    "it ran longer than activeDeadlineSeconds allows"
                )
            // A program that ended with 0 was not why.
            : end.ExitCode is 0 or null && end.Reason is null
                ? new RunOutcome(null, Clean(words) ?? "it failed, and the cluster does not say why")
                {
                    Stopped = stopped,
                }
            : end with { Stopped = stopped };
    }

    private static string? Clean(string? words)
    {
        var text = words?.Trim(' ', ':');
        return string.IsNullOrEmpty(text) ? null : KubeWait.Clip(text);
    }

    private static KubeWait? WaitOf(JsonObject value, IReadOnlyList<JsonObject> pods, KubeHints hints)
    {
        var status = value["status"];
        var suspended =
            value.Is("spec", "suspend")
            || value.Is("spec", "runPolicy", "suspend")
            || WaitingWords.Contains(Phase(status) ?? "")
            || status.Maps("conditions").Any(c => c.Str("type") == "Suspended" && c.Str("status") == "True");
        if (suspended && !pods.Any(p => KubePods.HasBegun(p) && !KubePods.IsOver(p)))
        {
            return QueueWait(value, hints)
                ?? KubeWait.For("Suspended", null, value.Time("metadata", "creationTimestamp"));
        }

        if (pods.Count > 0)
        {
            // It runs when one of its pods does; else what the newest of them waits for is why it does not.
            var alive = pods.Where(p => !KubePods.IsOver(p)).ToList();
            var waits = alive.Select(p => KubePods.WaitOf(p, hints.WarningOf(p.Str("metadata", "name")))).ToList();
            return alive.Count > 0 && waits.All(w => w is not null) ? waits.OfType<KubeWait>().Last() : null;
        }

        if (status.Int("active") > 0 && !KubeManifest.IsJob(value))
        {
            return null;
        }

        if (hints.WarningOf(value.Str("metadata", "name")) is { } warning)
        {
            var message = warning.Str("message");
            return KubeWait.For(
                message?.Contains("exceeded quota", StringComparison.Ordinal) == true ? "QuotaExceeded"
                    : KubeWait.Knows(warning.Str("reason")) ? warning.Str("reason")!
                    : "FailedCreate",
                message,
                warning.Time("firstTimestamp") ?? value.Time("metadata", "creationTimestamp")
            );
        }

        // Of kinds whose pods are not seen here, the object's own word has to do.
        if (
            !KubeManifest.IsJob(value)
            && (
                RunningWords.Contains(Phase(status) ?? status.Str("jobStatus") ?? "")
                || status.Maps("conditions").Any(c => c.Str("type") == "Running" && c.Str("status") == "True")
                || status.Maps("replicatedJobsStatus").Any(r => r.Int("ready") > 0)
                || status.Maps("jobsStatus").Any(r => r.Int("ready") > 0 || r.Int("active") > 0)
            )
        )
        {
            return null;
        }

        var told = Clean(status.Str("state", "message") ?? status.Str("message"));
        return KubeWait.For(told is null ? "NoPod" : "Pending", told, value.Time("metadata", "creationTimestamp"));
    }

    // What holds it is Kueue, which says so on an object of its own.
    private static KubeWait? QueueWait(JsonObject value, KubeHints hints)
    {
        var queue = value.Str("metadata", "labels", KubeNames.QueueLabel);
        var workload = hints.WorkloadOf(value.Str("metadata", "uid"));
        if (queue is null && workload is null)
        {
            return null;
        }

        var conditions = workload.Maps("status", "conditions").ToList();
        if (conditions.FirstOrDefault(c => c.Str("type") == "Evicted" && c.Str("status") == "True") is { } evicted)
        {
            return KubeWait.For("EvictedByKueue", evicted.Str("message") ?? evicted.Str("reason"));
        }

        var quota = conditions.FirstOrDefault(c => c.Str("type") == "QuotaReserved" && c.Str("status") == "False");
        return quota.Str("reason") is "Misconfigured" or "Inadmissible" or "NoMatchingFlavor" or "ExceedsMaxQuota"
            ? KubeWait.For("KueueMisconfigured", quota.Str("message"), quota.Time("lastTransitionTime"))
            : KubeWait.For("QueuedByKueue", quota.Str("message") ?? (queue is null ? null : $"{queue}"));
    }

    private static int Parallel(JsonObject? value, IReadOnlyList<JsonObject> pods) =>
        KubeManifest.IsJob(value ?? [])
            ? value.Int("spec", "completions") ?? value.Int("spec", "parallelism") ?? 1
            : pods.Count;
}

/// <summary>What is asked for beside objects and pods, now and then: warnings of the cluster, and what Kueue says.</summary>
internal sealed class KubeHints
{
    internal static readonly KubeHints None = new();

    private readonly Dictionary<string, JsonObject> _warnings = new(StringComparer.Ordinal);
    private readonly Dictionary<string, JsonObject> _workloads = new(StringComparer.Ordinal);

    internal void Add(IEnumerable<JsonObject> events)
    {
        foreach (var warning in events.OrderBy(e => e.Time("lastTimestamp") ?? e.Time("eventTime")))
        {
            if (warning.Str("involvedObject", "name") is { } name)
            {
                _warnings[name] = warning;
            }
        }
    }

    internal void AddWorkloads(IEnumerable<JsonObject> workloads)
    {
        foreach (var workload in workloads)
        {
            if (workload.Str("metadata", "labels", "kueue.x-k8s.io/job-uid") is { } job)
            {
                _workloads[job] = workload;
            }
        }
    }

    internal JsonObject? WarningOf(string? name) => name is null ? null : _warnings.GetValueOrDefault(name);

    internal JsonObject? WorkloadOf(string? uid) => uid is null ? null : _workloads.GetValueOrDefault(uid);
}
