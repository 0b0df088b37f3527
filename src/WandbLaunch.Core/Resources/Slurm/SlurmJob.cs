using System.Globalization;

namespace WandbLaunch.Resources;

/// <summary>What is known to Slurm as one thing that runs: a job, or one task of an array.</summary>
/// <param name="Id">The job's id, or its array's. A task's own job id is not it: the last task keeps the array's.</param>
/// <param name="Task">Its number in the array; null: no array.</param>
internal readonly record struct SlurmKey(long Id, int? Task)
{
    /// <summary>As the commands take it: 123, or 123_4.</summary>
    public override string ToString() =>
        Id.ToString(CultureInfo.InvariantCulture)
        + (Task is { } task ? "_" + task.ToString(CultureInfo.InvariantCulture) : "");

    /// <summary>Reads what <see cref="ToString"/> wrote; null for anything else.</summary>
    internal static SlurmKey? Parse(string text)
    {
        var parts = text.Split('_');
        return parts.Length > 2
            || !long.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out var id)
            || id == 0
                ? null
            : parts.Length == 1 ? new SlurmKey(id, null)
            : int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out var task)
                ? new SlurmKey(id, task)
            : null;
    }
}

/// <summary>One job as squeue, scontrol or sacct tells of it, whatever the release and the form.</summary>
internal sealed record SlurmJob
{
    /// <summary>States that a job does not leave by itself, without what may still stand beside them.</summary>
    private static readonly string[] Terminal =
    [
        "COMPLETED",
        "CANCELLED",
        "FAILED",
        "TIMEOUT",
        "NODE_FAIL",
        "PREEMPTED",
        "BOOT_FAIL",
        "DEADLINE",
        "OUT_OF_MEMORY",
        "REVOKED",
    ];

    private static readonly string[] Base = ["PENDING", "RUNNING", "SUSPENDED", .. Terminal];

    // Each says that the job will be back in the queue, whatever state it is in now.
    private static readonly string[] Again =
    [
        "REQUEUED",
        "REQUEUE_FED",
        "REQUEUE_HOLD",
        "SPECIAL_EXIT",
        "RESV_DEL_HOLD",
    ];

    internal required SlurmKey Key { get; init; }

    /// <summary>Numbers of the tasks that this record stands for together while they wait; null: it is one.</summary>
    internal TaskRange? Waiting { get; init; }

    /// <summary>State words: one base state, and flags. Releases before 23.11 say one word alone, and a flag hides the state.</summary>
    internal required IReadOnlyList<string> States { get; init; }

    /// <summary>Slurm's word for why it waits or failed; None where there is none.</summary>
    internal string Reason { get; init; } = "None";

    /// <summary>Slurm's own sentence about it.</summary>
    internal string? Description { get; init; }

    /// <summary>Exit code; only of a job that is over.</summary>
    internal int ExitCode { get; init; }

    /// <summary>The signal that ended it; 0: none.</summary>
    internal int Signal { get; init; }

    /// <summary>True where the exit code is no program's: slurmd's own fault stands in its place.</summary>
    internal bool ExitIsFault { get; init; }

    internal int Restarts { get; init; }

    internal string Nodes { get; init; } = "";

    internal string Name { get; init; } = "";

    internal string Folder { get; init; } = "";

    /// <summary>The base state, where it is told.</summary>
    internal string? State => States.FirstOrDefault(s => Base.Contains(s));

    internal bool Has(string flag) => States.Contains(flag);

    /// <summary>It gave its nodes back, and does not come again.</summary>
    internal bool IsOver => State is { } state && Terminal.Contains(state) && !Has("COMPLETING") && !IsAgain;

    /// <summary>It goes back into the queue.</summary>
    internal bool IsAgain => States.Any(s => Again.Contains(s));

    /// <summary>It waits for its nodes.</summary>
    internal bool IsWaiting => State == "PENDING" || (State != "RUNNING" && IsAgain) || Has("CONFIGURING");

    /// <summary>What a wait status says: the code in the upper byte, the signal in the lower one.</summary>
    internal static (int Code, int Signal, bool Fault) OfWaitStatus(long status, string reason) =>
        status is > 0xFFFF or < 0 || (reason == "JobLaunchFailure" && (status & 0xFF) != 0 && status >> 8 != 0)
            ? (0, 0, true)
            : ((int)(status >> 8), (int)(status & 0x7F), false);
}

/// <summary>Numbers of an array's tasks, as <c>0-4,7,10-20:2%3</c>. Slurm cuts long ones off.</summary>
internal sealed class TaskRange
{
    private readonly List<(int From, int To, int Step)> _parts = [];

    private TaskRange(bool cut) => IsCut = cut;

    /// <summary>The text was cut off: there are more than it says.</summary>
    internal bool IsCut { get; }

    internal bool Has(int task) => _parts.Exists(p => task >= p.From && task <= p.To && (task - p.From) % p.Step == 0);

    internal static TaskRange Parse(string text)
    {
        var plain = text.Split('%')[0].Trim('[', ']');
        var range = new TaskRange(plain.EndsWith("...", StringComparison.Ordinal));
        foreach (var part in plain.Replace("...", "", StringComparison.Ordinal).Split(','))
        {
            var stepped = part.Split(':');
            var ends = stepped[0].Split('-');
            if (!Number(ends[0], out var from))
            {
                continue;
            }

            var to = ends.Length > 1 && Number(ends[1], out var last) ? last : from;
            range._parts.Add((from, to, stepped.Length > 1 && Number(stepped[1], out var step) && step > 0 ? step : 1));
        }

        return range;
    }

    private static bool Number(string text, out int number) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out number);
}
