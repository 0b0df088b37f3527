using System.Collections.Frozen;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Resources;

/// <summary>
/// The resource arguments of Slurm: options of sbatch by their long names, each passed as one word, and a few of this
/// module's own. What could run other code, write elsewhere or become somebody else is refused for everybody.
/// </summary>
internal static partial class SlurmArguments
{
    /// <summary>Key of the resource's arguments, and of its names in an agent's policy.</summary>
    internal const string Key = "slurm";

    /// <summary>Slurm restarts the run itself after a node failed or another job took its place; its restarts are the run's attempts.</summary>
    internal const string Requeue = "requeue";

    /// <summary>Tasks of one array that run at a time.</summary>
    internal const string Throttle = "array-throttle";

    /// <summary>The program is started by srun, once for each of the job's tasks.</summary>
    internal const string Srun = "srun";

    /// <summary>The run's folder on the cluster stays when it is over; without the key.</summary>
    internal const string Keep = "keep-folder";

    private const string PolicyPrefix = Key + ":";

    private static readonly FrozenSet<string> Own = new[] { Requeue, Throttle, Srun, Keep }.ToFrozenSet();

    /// <summary>What anybody may ask for who can put items into a queue: how much, for how long, of which kind, and when.</summary>
    private static readonly FrozenSet<string> Plain = new[]
    {
        "account",
        "begin",
        "comment",
        "constraint",
        "cpus-per-gpu",
        "cpus-per-task",
        "deadline",
        "dependency",
        "exclusive",
        "gpus",
        "gpus-per-node",
        "gpus-per-socket",
        "gpus-per-task",
        "gres",
        "hint",
        "kill-on-invalid-dep",
        "licenses",
        "mem",
        "mem-per-cpu",
        "mem-per-gpu",
        "nodes",
        "ntasks",
        "ntasks-per-core",
        "ntasks-per-gpu",
        "ntasks-per-node",
        "ntasks-per-socket",
        "partition",
        "qos",
        "signal",
        "threads-per-core",
        "time",
        "time-min",
        "tmp",
        "tres-per-task",
    }.ToFrozenSet();

    // What each would undo. sbatch takes shortened names, so none of their beginnings is passed on either.
    private static readonly FrozenDictionary<string, string> Never = new Dictionary<string, string>
    {
        ["wrap"] = "it would run another command than the run's",
        ["batch"] = "it is about where the module's own script runs",
        ["bcast"] = "it would copy programs to the nodes",
        ["prolog"] = "it would run another program",
        ["epilog"] = "it would run another program",
        ["task-prolog"] = "it would run another program",
        ["task-epilog"] = "it would run another program",
        ["export"] =
            "the run gets its variables from a file of its own, and values of this option are in the process list",
        ["export-file"] = "the run gets its variables from a file of its own",
        ["get-user-env"] = "the run gets its variables from a file of its own",
        ["output"] = "the log is written to the run's own folder",
        ["error"] = "the log is written to the run's own folder",
        ["input"] = "the program reads nothing",
        ["open-mode"] = "the log is always added to",
        ["chdir"] = "the run has a folder of its own",
        ["uid"] = "a run is the user's own",
        ["gid"] = "a run is the user's own",
        ["job-name"] = "the run is found again by its name; use comment for words of your own",
        ["array"] = "the module makes arrays, of a -Grid; array-throttle limits them",
        ["no-requeue"] = "write requeue = false",
        ["clusters"] = "jobs of another cluster are not watched; choose it with -SlurmHost",
        ["cluster-constraint"] = "jobs of another cluster are not watched; choose it with -SlurmHost",
        ["container"] = "give the image with -DockerImage",
        ["container-id"] = "give the image with -DockerImage",
        ["container-image"] = "give the image with -DockerImage",
        ["container-mounts"] = "mounts are given with -Volume",
        ["container-name"] = "each run has a container of its own",
        ["container-save"] = "it would write a file of the item's choice",
        ["container-env"] = "the run gets its variables from a file of its own",
        ["container-mount-home"] = "mounts are given with -Volume",
        ["container-remap-root"] = "a run is the user's own",
        ["container-workdir"] = "the run has a folder of its own",
        ["propagate"] = "limits of this machine are not the nodes'",
        ["bbf"] = "it would read a file of the item's choice",
        ["parsable"] = "the module reads sbatch's answer itself",
        ["test-only"] = "use -WhatIf",
        ["wait"] = "use Wait-WandbLaunch",
        ["wait-all-nodes"] = "it is about the module's own script",
        ["ignore-pbs"] = "the module's own script has no such lines",
        ["quiet"] = "the module reads sbatch's answer itself",
        ["verbose"] = "the module reads sbatch's answer itself",
        ["help"] = "it starts nothing",
        ["usage"] = "it starts nothing",
        ["version"] = "it starts nothing",
        ["no-kill"] = "a run whose node failed is not done well",
    }.ToFrozenDictionary();

    /// <summary>The arguments under one name each: cpus_per_task is cpus-per-task.</summary>
    /// <exception cref="LaunchException"><c>SlurmArgumentTwice</c>.</exception>
    internal static JsonObject Canonical(JsonObject given)
    {
        var map = new JsonObject();
        foreach (var (name, value) in given)
        {
            var canonical = NameOf(name);
            if (map.ContainsKey(canonical))
            {
                throw new LaunchException(
                    "SlurmArgumentTwice",
                    LaunchErrorCategory.InvalidArgument,
                    $"The Slurm argument '{canonical}' is given twice, also as '{name}'. Leave out one of them.",
                    name
                );
            }

            map[canonical] = value?.DeepClone();
        }

        return map;
    }

    /// <summary>Says what is wrong with arguments, whoever gives them.</summary>
    /// <exception cref="LaunchException"><c>SlurmArgumentRefused</c>, <c>SlurmArgumentInvalid</c>.</exception>
    internal static void Check(JsonObject? arguments)
    {
        foreach (var (name, value) in arguments ?? [])
        {
            CheckName(name);
            _ = Word(name, value);
        }

        foreach (var flag in new[] { Requeue, Srun, Keep })
        {
            _ = Flag(arguments, flag);
        }

        _ = Limit(arguments);
    }

    /// <summary>Refuses what an item may not ask for.</summary>
    /// <exception cref="LaunchException"><c>PolicyRefused</c>.</exception>
    internal static void CheckPolicy(JsonObject? arguments, AgentPolicy policy)
    {
        if (
            arguments
                ?.Select(a => a.Key)
                .FirstOrDefault(n =>
                    !Plain.Contains(n) && !Own.Contains(n) && !policy.ExtraArguments.Contains(PolicyPrefix + n)
                ) is
            { } name
        )
        {
            throw AgentPolicy.Refused(
                $"the Slurm argument '{name}' is not allowed on this agent",
                "-AllowSlurmArgument"
            );
        }
    }

    /// <summary>The name of an argument that an admin allows, as the policy keeps it.</summary>
    /// <exception cref="LaunchException"><c>SlurmArgumentRefused</c>.</exception>
    internal static string CheckExtra(string given)
    {
        var name = NameOf(given);
        CheckName(name);
        return PolicyPrefix + name;
    }

    /// <summary>The words for sbatch, in the order of their names: runs that ask for the same have the same words.</summary>
    internal static IReadOnlyList<string> Words(JsonObject? arguments, bool gpu)
    {
        var words = (arguments ?? [])
            .Where(a => !Own.Contains(a.Key))
            .OrderBy(a => a.Key, StringComparer.Ordinal)
            .Select(a => Word(a.Key, a.Value))
            .OfType<string>()
            .ToList();
        if (
            gpu
            && !words.Exists(w =>
                w.StartsWith("--gpus", StringComparison.Ordinal)
                || w.StartsWith("--gres", StringComparison.Ordinal)
                || w.StartsWith("--tres", StringComparison.Ordinal)
            )
        )
        {
            words.Add("--gpus=1");
        }

        words.Add(Flag(arguments, Requeue) ? "--requeue" : "--no-requeue");
        return words;
    }

    /// <summary>True or false, where it is given.</summary>
    internal static bool Flag(JsonObject? arguments, string name) =>
        arguments?[name] switch
        {
            null => false,
            JsonValue value when value.TryGetValue<bool>(out var flag) => flag,
            JsonValue value when bool.TryParse(value.ToString(), out var flag) => flag,
            _ => throw Invalid(name, "must be true or false"),
        };

    /// <summary>Tasks of one array that run at a time; null: no limit.</summary>
    internal static int? Limit(JsonObject? arguments) =>
        arguments?[Throttle] switch
        {
            null => null,
            JsonValue value
                when int.TryParse(value.ToString(), NumberStyles.None, CultureInfo.InvariantCulture, out var most)
                    && most > 0 => most,
            _ => throw Invalid(Throttle, "must be a whole number of 1 or more"),
        };

    private static string NameOf(string name) => name.TrimStart('-').Replace('_', '-').ToLowerInvariant();

    private static void CheckName(string name)
    {
        if (!NameForm().IsMatch(name))
        {
            throw Refused(name, "is not the long name of an option, such as cpus-per-task");
        }

        if (Plain.Contains(name) || Own.Contains(name))
        {
            return;
        }

        if (Never.TryGetValue(name, out var why))
        {
            throw Refused(name, $"cannot be given: {why}");
        }

        if (Never.Keys.Concat(Plain).FirstOrDefault(n => n.StartsWith(name, StringComparison.Ordinal)) is { } whole)
        {
            throw Refused(name, $"is short for {whole}; write names in full");
        }
    }

    // A switch, a number or a text; null where it is switched off.
    private static string? Word(string name, JsonNode? value)
    {
        if (Own.Contains(name))
        {
            return null;
        }

        switch (value)
        {
            case JsonValue flag when flag.TryGetValue<bool>(out var on):
                return on ? "--" + name : null;
            case JsonArray { Count: > 0 } many when many.All(v => v is JsonValue):
                return Text(string.Join(',', many.Select(v => v!.ToString())));
            case JsonValue one when one.GetValueKind() is JsonValueKind.Number or JsonValueKind.String:
                return Text(one.ToString());
            default:
                throw Invalid(name, "must be a text, a number, a list of them, or true for an option without a value");
        }

        string Text(string text)
        {
            if (text.Length is 0 or > 4000 || text.Any(char.IsControl))
            {
                throw Invalid(name, "must be a text of one line");
            }

            // As PowerShell writes a time span: 1.02:00:00 are a day and two hours.
            return $"--{name}={(name is "time" or "time-min" && Days().Match(text) is { Success: true } days ? days.Groups[1].Value + "-" + days.Groups[2].Value : text)}";
        }
    }

    private static LaunchException Refused(string name, string why) =>
        new(
            "SlurmArgumentRefused",
            LaunchErrorCategory.InvalidArgument,
            $"The Slurm argument '{ItemSpec.Shown(name, 64)}' {why}.",
            name
        );

    private static LaunchException Invalid(string name, string what) =>
        new(
            "SlurmArgumentInvalid",
            LaunchErrorCategory.InvalidArgument,
            $"The Slurm argument '{ItemSpec.Shown(name, 64)}' {what}: -ResourceArgs @{{ slurm = @{{ time = '1:00:00' }} }}.",
            name
        );

    [GeneratedRegex("^[a-z][a-z0-9-]{0,63}$")]
    private static partial Regex NameForm();

    [GeneratedRegex(@"^(\d+)\.(\d\d:\d\d:\d\d)$")]
    private static partial Regex Days();
}
