using System.Globalization;

namespace WandbLaunch.Resources;

/// <summary>What a run wrote at its end, for when Slurm has forgotten its job.</summary>
internal sealed record SlurmMarker
{
    internal int? ExitCode { get; private init; }

    internal string? Reason { get; private init; }

    /// <summary>When it began, and ended.</summary>
    internal (DateTimeOffset From, DateTimeOffset To)? Ran =>
        Begin is { } from && End is { } to && to >= from
            ? (DateTimeOffset.FromUnixTimeSeconds(from), DateTimeOffset.FromUnixTimeSeconds(to))
            : null;

    private long? Begin { get; init; }

    private long? End { get; init; }

    /// <summary>The job that began with it, which is another one where a submission that timed out was taken all the same.</summary>
    internal SlurmKey? Key { get; private init; }

    /// <summary>It has no job any more and wrote nothing, for so long.</summary>
    internal TimeSpan? Missing { get; private init; }

    /// <summary>Its folder is gone.</summary>
    internal bool Gone { get; private init; }

    /// <summary>Reads the answer of <see cref="SlurmScripts.Markers"/>, by id.</summary>
    internal static IReadOnlyDictionary<string, SlurmMarker> Read(string answer)
    {
        var markers = new Dictionary<string, SlurmMarker>(StringComparer.Ordinal);
        string? id = null;
        foreach (var line in answer.Split('\n'))
        {
            if (line.StartsWith('='))
            {
                markers[id = line[1..].Trim()] = new SlurmMarker();
            }
            else if (id is not null && line.Split('=', 2) is [var name, var value])
            {
                var marker = markers[id];
                markers[id] = name switch
                {
                    "code" when Number(value) is { } code => marker with { ExitCode = (int)code },
                    "begin" => marker with { Begin = Seconds(value) },
                    "end" => marker with { End = Seconds(value) },
                    "key" => marker with { Key = SlurmKey.Parse(value.Trim()) },
                    "reason" => marker with { Reason = value.Trim() },
                    "missing" when Number(value) is { } seconds => marker with
                    {
                        Missing = TimeSpan.FromSeconds(Math.Max(0, seconds)),
                    },
                    "gone" => marker with { Gone = true },
                    _ => marker,
                };
            }
        }

        return markers;
    }

    // Of a time that there is.
    private static long? Seconds(string text) => Number(text) is { } at and > 0 and < 253402300799 ? at : null;

    private static long? Number(string text) =>
        long.TryParse(text.Trim(), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number)
            ? number
            : null;
}

/// <summary>From Slurm's words to how a run stands, one to one.</summary>
internal static class SlurmStanding
{
    private static readonly string[] Signals =
    [
        "",
        "HUP",
        "INT",
        "QUIT",
        "ILL",
        "TRAP",
        "ABRT",
        "BUS",
        "FPE",
        "KILL",
        "USR1",
        "SEGV",
        "USR2",
        "PIPE",
        "ALRM",
        "TERM",
    ];

    /// <summary>How a run stands whose job is known to Slurm.</summary>
    /// <param name="job">What Slurm says.</param>
    /// <param name="marker">What the run wrote at its end, where it did.</param>
    internal static RunStanding Of(SlurmJob job, SlurmMarker? marker)
    {
        if (job.IsOver)
        {
            return RunStanding.Ended(EndOf(job, marker) with { Ran = marker?.Ran });
        }

        if (job.IsWaiting)
        {
            var (kind, _) = SlurmReasons.Of(job.Reason);
            var stuck = kind is SlurmWait.Never or SlurmWait.Held || job.Has("SPECIAL_EXIT");
            return RunStanding.WaitsFor(SlurmReasons.Say(job), stuck) with { Restarts = job.Restarts };
        }

        // RUNNING, SUSPENDED, and what still holds its nodes: COMPLETING, STAGE_OUT, SIGNALING, STOPPED, RESIZING.
        return RunStanding.Runs with
        {
            Restarts = job.Restarts,
        };
    }

    /// <summary>How a run ended that Slurm does not know any more; null: not known, it may still become so.</summary>
    internal static RunOutcome? Of(SlurmMarker? marker, TimeSpan grace) =>
        marker is null ? null
        : marker.ExitCode is { } code ? new RunOutcome(code, marker.Reason) { Ran = marker.Ran }
        : marker.Gone
            ? new RunOutcome(
                null,
                "its folder on the cluster was removed and Slurm does not know its job any more, so how it ended is not known"
            )
            {
                Fault = "SlurmJobLost",
            }
        : marker.Missing >= grace
            ? new RunOutcome(
                null,
                "Slurm does not know its job any more and it left no word of its end: its node failed, or it was killed, and the cluster forgot that. Its output may tell more"
            )
            {
                Fault = "SlurmJobLost",
            }
        : null;

    private static RunOutcome EndOf(SlurmJob job, SlurmMarker? marker)
    {
        // What Slurm says of the exit wins; where it says nothing, the run's own word counts.
        var signal = job.Signal;
        int? code =
            job.ExitIsFault ? marker?.ExitCode
            : signal > 0 ? 128 + signal
            : job.ExitCode != 0 ? job.ExitCode
            : marker?.ExitCode is { } own and not 0 ? own
            : null;
        var where = job.Nodes.Length > 0 && job.Nodes != "(null)" ? $" ({job.Nodes})" : "";
        return job.State switch
        {
            "COMPLETED" => new RunOutcome(0),
            "CANCELLED" => new RunOutcome(code ?? 143, "its Slurm job was cancelled") { Stopped = true },
            "TIMEOUT" => new RunOutcome(
                code ?? 143,
                "it reached its time limit and was ended. Give it more with -ResourceArgs @{ slurm = @{ time = '2:00:00' } }"
            )
            {
                Fault = "SlurmTimeLimit",
            },
            "OUT_OF_MEMORY" => new RunOutcome(
                137,
                "out of memory: the job reached its memory limit and was killed. Raise it with -ResourceArgs @{ slurm = @{ mem = '16G' } }",
                true
            ),
            "NODE_FAIL" => new RunOutcome(null, $"its node failed{where}; it can be launched again")
            {
                Fault = "SlurmNodeFailed",
            },
            "BOOT_FAIL" => new RunOutcome(null, $"its nodes could not be started{where}; it can be launched again")
            {
                Fault = "SlurmNodeFailed",
            },
            "PREEMPTED" => new RunOutcome(
                code ?? 143,
                "a job of higher priority took its place; it can be launched again"
            )
            {
                Fault = "SlurmPreempted",
            },
            "DEADLINE" => new RunOutcome(null, "it could not end before its deadline any more, so Slurm removed it")
            {
                Fault = "SlurmDeadline",
            },
            "REVOKED" => new RunOutcome(null, "another cluster of the federation took it, which is not watched")
            {
                Fault = "SlurmJobLost",
            },
            _ when job.ExitIsFault => new RunOutcome(
                marker?.ExitCode,
                marker?.Reason
                    ?? $"Slurm could not start it on its node ({job.Reason}){where}; the node's slurmd.log says why"
            )
            {
                Fault = marker?.ExitCode is null ? "SlurmLaunchFailed" : null,
            },
            _ => new RunOutcome(
                code ?? 1,
                marker?.Reason
                    ?? (
                        signal > 0
                            ? $"it was ended by the signal {(signal < Signals.Length ? Signals[signal] : signal.ToString(CultureInfo.InvariantCulture))}"
                        : job.Reason is "None" or "NonZeroExitCode" or "RaisedSignal" or "" ? null
                        : $"Slurm says {job.Reason}"
                    )
            ),
        };
    }
}
