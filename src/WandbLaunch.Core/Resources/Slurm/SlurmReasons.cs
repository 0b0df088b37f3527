using System.Collections.Frozen;
using System.Text.RegularExpressions;

namespace WandbLaunch.Resources;

/// <summary>What kind of waiting Slurm's reason is.</summary>
internal enum SlurmWait
{
    /// <summary>It waits its turn: nothing is to be done.</summary>
    Turn,

    /// <summary>A limit of the account, the user or the QOS is reached.</summary>
    Limit,

    /// <summary>Somebody holds it.</summary>
    Held,

    /// <summary>It can never start as it is.</summary>
    Never,

    /// <summary>Machines or partitions are down.</summary>
    Down,
}

/// <summary>Slurm's reasons in words a person understands; Slurm's own word stays in them, for its manual and its admin know it.</summary>
internal static partial class SlurmReasons
{
    private static readonly FrozenDictionary<string, (SlurmWait Kind, string Words)> Words = new Dictionary<
        string,
        (SlurmWait Kind, string Words)
    >
    {
        ["None"] = (SlurmWait.Turn, "waits for the scheduler to look at it"),
        ["Priority"] = (SlurmWait.Turn, "waits its turn: jobs of higher priority go first"),
        ["Resources"] = (SlurmWait.Turn, "waits for free nodes"),
        ["BeginTime"] = (SlurmWait.Turn, "waits for its begin time; a job that was requeued waits about two minutes"),
        ["Licenses"] = (SlurmWait.Turn, "waits for a licence"),
        ["JobArrayTaskLimit"] = (SlurmWait.Turn, "waits for other tasks of its array, which has a limit"),
        ["Dependency"] = (SlurmWait.Turn, "waits for the job that it depends on"),
        ["SchedDefer"] = (SlurmWait.Turn, "waits for the scheduler's next round"),
        ["Prolog"] = (SlurmWait.Turn, "its nodes are being prepared"),
        ["Cleaning"] = (SlurmWait.Turn, "what it left on its nodes is being cleaned up"),
        ["JobHeldUser"] = (SlurmWait.Held, "is held by a user: release it with 'scontrol release'"),
        ["JobHeldAdmin"] = (SlurmWait.Held, "is held by an admin of the cluster: ask them to release it"),
        ["JobHoldMaxRequeue"] = (
            SlurmWait.Held,
            "was requeued too often and is held: release it with 'scontrol release', or cancel it"
        ),
        ["PartitionConfig"] = (SlurmWait.Never, "asks for more than its partition has or allows"),
        ["PartitionNodeLimit"] = (SlurmWait.Never, "asks for more nodes than its partition allows"),
        ["PartitionTimeLimit"] = (SlurmWait.Never, "asks for more time than its partition allows"),
        ["BadConstraints"] = (SlurmWait.Never, "asks for what no node has (constraint, memory, CPUs or GRES)"),
        ["DependencyNeverSatisfied"] = (SlurmWait.Never, "depends on a job that ended in another way than it asks for"),
        ["InvalidAccount"] = (SlurmWait.Never, "names an account that does not exist"),
        ["InvalidQOS"] = (SlurmWait.Never, "names a QOS that does not exist or is not its account's"),
        ["QOSNotAllowed"] = (SlurmWait.Never, "names a QOS that its account or partition does not allow"),
        ["AccountNotAllowed"] = (SlurmWait.Never, "names an account that its partition does not allow"),
        ["ReservationDeleted"] = (SlurmWait.Never, "asks for a reservation that was deleted"),
        ["PartitionDown"] = (SlurmWait.Down, "its partition is down"),
        ["PartitionInactive"] = (SlurmWait.Down, "its partition is inactive"),
        ["NodeDown"] = (SlurmWait.Down, "a node that it needs is down"),
        ["ReqNodeNotAvail"] = (SlurmWait.Down, "a node that it asks for is not available now"),
        ["FrontEndDown"] = (SlurmWait.Down, "no front end node is up"),
        ["Reservation"] = (SlurmWait.Turn, "waits for its reservation to begin"),
        ["NonZeroExitCode"] = (SlurmWait.Turn, "ended with another exit code than 0"),
    }.ToFrozenDictionary(StringComparer.Ordinal);

    /// <summary>The kind of a reason, and what it says.</summary>
    /// <param name="reason">Slurm's word, or its short sentence such as <c>ReqNodeNotAvail, UnavailableNodes:n1</c>.</param>
    internal static (SlurmWait Kind, string Words) Of(string reason)
    {
        var word = reason.Trim('(', ')').Split(',', ' ', '(')[0];
        if (reason.Replace('_', ' ').Contains("requeued held", StringComparison.OrdinalIgnoreCase))
        {
            return (
                SlurmWait.Held,
                "could not be launched, was requeued and is held: release it with 'scontrol release', or cancel it"
            );
        }

        return Words.TryGetValue(word, out var known) ? known
            : PerJob().IsMatch(word) ? (SlurmWait.Never, "asks for more than one job of its account or QOS may have")
            : Limit().IsMatch(word)
                ? (SlurmWait.Limit, "waits for other jobs of its account, user or QOS to end: their limit is reached")
            : (SlurmWait.Turn, "waits");
    }

    /// <summary>A sentence for an item: what it waits for, and Slurm's own word.</summary>
    internal static string Say(SlurmJob job)
    {
        if (job.Has("CONFIGURING"))
        {
            return "Slurm gave it nodes and starts them (CONFIGURING)";
        }

        if (job.Has("SPECIAL_EXIT"))
        {
            return $"is held after an end that asked for attention (SPECIAL_EXIT, {job.Reason}): release it with 'scontrol release', or cancel it";
        }

        var (kind, words) = Of(job.Reason);
        var again = job.Restarts > 0 ? $"; it was requeued {job.Restarts}×" : "";
        return $"{words} ({job.Reason}){(kind == SlurmWait.Never ? "; it will not start as it is" : "")}{again}";
    }

    // Of one job, which no waiting makes smaller: AssocMaxCpuPerJobLimit, QOSMaxWallDurationPerJobLimit, MaxMemPerLimit.
    [GeneratedRegex(@"^(Assoc|QOS).*PerJob|^(Assoc|QOS)MaxWallDuration|MaxMemPerLimit$|^(Assoc|QOS).*MinGRES")]
    private static partial Regex PerJob();

    [GeneratedRegex(@"^(Assoc|QOS)|^Max\w+Per(Account|User|Job)|Limit$")]
    private static partial Regex Limit();
}
