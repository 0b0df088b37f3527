using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace WandbLaunch.Resources;

/// <summary>Reads the answers of squeue, scontrol and sacct: fixed fields, and JSON of every release that has it.</summary>
internal static class SlurmReader
{
    /// <summary>Fields of <c>squeue -O</c> in the order of <see cref="Fields"/>; the folder is last, for it alone may hold the separator.</summary>
    internal const string SqueueFormat =
        "JobID:|,ArrayJobID:|,ArrayTaskID:|,State:|,Reason:|,exit_code:|,RestartCnt:|,NodeList:|,Name:|,WorkDir:|";

    /// <summary>Fields of <c>sacct --format</c>.</summary>
    internal const string SacctFormat = "JobID,State,ExitCode,NodeList,JobName";

    private const int Fields = 10;

    // NO_VAL and INFINITE of slurm.h, which older releases print as numbers.
    private const long NoValue = 4294967294;

    /// <summary>The release of <c>slurm 22.05.8</c>: 22.05 is 2205. 0: not understood.</summary>
    internal static int ReleaseOf(string text)
    {
        var parts = text.Trim().Split(' ')[^1].Split('.', '-');
        return
            parts.Length >= 2
            && int.TryParse(parts[0], NumberStyles.None, CultureInfo.InvariantCulture, out var year)
            && int.TryParse(parts[1], NumberStyles.None, CultureInfo.InvariantCulture, out var month)
            ? (year * 100) + month
            : 0;
    }

    /// <summary>
    /// How squeue is asked by a release: by JSON of a named version, since an admin's settings and each release change the
    /// default; 23.02 takes no name yet. Before it JSON comes without filters, the whole cluster's queue: null, fixed fields.
    /// </summary>
    internal static string? JsonOption(int release) =>
        release switch
        {
            < 2302 => null,
            2302 => "--json",
            < 2411 => "--json=v0.0.40",
            <= 2605 => "--json=v0.0.42",
            _ => "--json",
        };

    /// <summary>Jobs of <c>squeue -h -r -O</c> with <see cref="SqueueFormat"/>.</summary>
    internal static IReadOnlyList<SlurmJob> Text(string answer)
    {
        var jobs = new List<SlurmJob>();
        foreach (var line in answer.Split('\n'))
        {
            var fields = line.Trim('\r').Split('|', Fields);
            if (
                fields.Length < Fields
                || !long.TryParse(fields[0], NumberStyles.None, CultureInfo.InvariantCulture, out var id)
            )
            {
                continue;
            }

            var array = Whole(fields[1]) is { } of and > 0 ? of : id;
            var task = Whole(fields[2]) is { } number and < NoValue ? (int?)number : null;
            var (code, signal, fault) = SlurmJob.OfWaitStatus(Whole(fields[5]) ?? 0, fields[4]);
            jobs.Add(
                new SlurmJob
                {
                    // Without a number it is no task, whatever array it says: squeue gives a plain job its own id there.
                    Key = task is null ? new SlurmKey(id, null) : new SlurmKey(array, task),
                    States = [fields[3]],
                    Reason = fields[4],
                    ExitCode = code,
                    Signal = signal,
                    ExitIsFault = fault,
                    Restarts = (int)(Whole(fields[6]) ?? 0),
                    Nodes = fields[7],
                    Name = fields[8],
                    Folder = fields[9].TrimEnd('|'),
                }
            );
        }

        return jobs;
    }

    /// <summary>Jobs of any <c>--json</c>. Null: it is none.</summary>
    internal static IReadOnlyList<SlurmJob>? Json(string answer)
    {
        try
        {
            // What a site prints before it (a greeting, a warning) is none of it.
            var at = answer.IndexOf('{', StringComparison.Ordinal);
            return at >= 0 && JsonNode.Parse(answer[at..]) is JsonObject top && top["jobs"] is JsonArray jobs
                ? [.. jobs.OfType<JsonObject>().Select(Job).OfType<SlurmJob>()]
                : null;
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or FormatException)
        {
            return null;
        }
    }

    /// <summary>Jobs of <c>sacct -n -X -P --format</c> with <see cref="SacctFormat"/>. A requeued job's last record is the one that counts.</summary>
    internal static IReadOnlyList<SlurmJob> Accounting(string answer)
    {
        var jobs = new Dictionary<string, SlurmJob>(StringComparer.Ordinal);
        foreach (var line in answer.Split('\n'))
        {
            var fields = line.Trim('\r').Split('|');
            if (fields.Length < 3 || fields[0].Contains('.', StringComparison.Ordinal))
            {
                continue;
            }

            // 123_[5-9%2] are those that wait.
            var open = fields[0].IndexOf("_[", StringComparison.Ordinal);
            var key = SlurmKey.Parse(open > 0 ? fields[0][..open] : fields[0]);
            if (key is null)
            {
                continue;
            }

            var exit = fields[2].Split(':');
            jobs[fields[0]] = new SlurmJob
            {
                Key = key.Value,
                Waiting = open > 0 ? TaskRange.Parse(fields[0][(open + 1)..]) : null,
                // "CANCELLED by 1000"; a cut off one ends in +.
                States = [fields[1].Split(' ')[0].TrimEnd('+')],
                ExitCode = (int)(Whole(exit[0]) ?? 0),
                Signal = exit.Length > 1 ? (int)(Whole(exit[1]) ?? 0) : 0,
                Nodes = fields.Length > 3 ? fields[3] : "",
                Name = fields.Length > 4 ? fields[4] : "",
            };
        }

        return [.. jobs.Values];
    }

    private static SlurmJob? Job(JsonObject job)
    {
        var id = Number(job["job_id"]) ?? Number((job["step_id"] as JsonObject)?["job_id"]);
        if (id is not > 0)
        {
            return null;
        }

        var array = Number(job["array_job_id"]) is { } of and > 0 ? of : 0;
        var task = array > 0 && Number(job["array_task_id"]) is { } number and < NoValue ? (int?)number : null;
        var waiting = array > 0 && task is null ? Word(job["array_task_string"]) : null;
        var states = job["job_state"] switch
        {
            JsonArray many => many.Select(s => s?.ToString() ?? "").ToList(),
            { } one => [one.ToString()],
            null => [],
        };
        var reason = Word(job["state_reason"]) ?? "None";
        var (code, signal, fault) = Exit(job["exit_code"], reason);
        return new SlurmJob
        {
            Key = array > 0 ? new SlurmKey(array, task) : new SlurmKey(id.Value, null),
            Waiting = string.IsNullOrEmpty(waiting) ? null : TaskRange.Parse(waiting),
            States = states,
            Reason = reason,
            Description = Word(job["state_description"]),
            ExitCode = code,
            Signal = signal,
            ExitIsFault = fault,
            Restarts = (int)(Number(job["restart_cnt"]) ?? 0),
            Nodes = Word(job["nodes"]) ?? "",
            Name = Word(job["name"]) ?? "",
            Folder = Word(job["current_working_directory"]) ?? "",
        };
    }

    // A wait status as a number (to 22.05), in a struct (23.02), or taken apart by the sender (from 23.11), with or without structs in it.
    private static (int Code, int Signal, bool Fault) Exit(JsonNode? node, string reason)
    {
        if (node is JsonObject parts && (parts.ContainsKey("return_code") || parts.ContainsKey("signal")))
        {
            var signal = parts["signal"] is JsonObject named ? Number(named["id"] ?? named["signal_id"]) : null;
            return ((int)(Number(parts["return_code"]) ?? 0), (int)(signal ?? 0), false);
        }

        return SlurmJob.OfWaitStatus(Number(node) ?? 0, reason);
    }

    // A number, a struct around one, or none: not set, infinite, null, or the number that means so.
    private static long? Number(JsonNode? node) =>
        node switch
        {
            JsonObject value when value["set"] is { } set => Flag(set) && !Flag(value["infinite"])
                ? Number(value["number"])
                : null,
            JsonObject value => Number(value["number"]),
            JsonValue value when value.TryGetValue<long>(out var number) => number >= NoValue ? null : number,
            JsonValue value when value.TryGetValue<double>(out var number) => (long)number,
            JsonValue value when value.TryGetValue<string>(out var text) => Whole(text),
            _ => null,
        };

    private static bool Flag(JsonNode? node) =>
        node is JsonValue value && value.TryGetValue<bool>(out var flag) && flag;

    private static string? Word(JsonNode? node) =>
        node is JsonValue value && value.TryGetValue<string>(out var text) && text.Length > 0 ? text : null;

    private static long? Whole(string text) =>
        long.TryParse(text.Trim(), NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : null;
}
