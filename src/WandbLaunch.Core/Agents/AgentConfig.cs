using System.Globalization;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Python;
using WandbLaunch.Resources;
using WandbLaunch.Wandb;

namespace WandbLaunch.Agents;

/// <summary>How an agent chooses among its queues.</summary>
public enum QueueOrder
{
    /// <summary>In turn: a queue that gave an item goes to the end.</summary>
    Fair,

    /// <summary>The first queue that has an item, in the order given.</summary>
    Strict,
}

/// <summary>
/// What an agent does: parameters over environment over launch-config.yaml over defaults (protocol F.1). W&amp;B's keys are
/// taken with their meaning; the others are this project's own.
/// </summary>
internal sealed record AgentConfig
{
    internal const int Unlimited = JobLimits.Unlimited;

    private static readonly string[] Known =
    [
        "entity",
        "project",
        "queues",
        "queue",
        "max_jobs",
        "max_schedulers",
        "time_limit",
        "start_limit",
        "api_key",
        "base_url",
        "secure_mode",
        "verbosity",
        "stopped_run_timeout",
        "environment",
        "registry",
        "build",
        "builder",
        "name",
        "queue_project",
        "queue_order",
        "gpus_per_job",
        "max_retry",
        "stop_when_empty",
        "max_runs",
        "until",
        "webhook",
        "keep_log_days",
        "policy",
        "local_server",
        "no_install",
        "volumes",
        "docker_host",
        "repository",
        "base_image",
        "stop_grace_period",
        "keep_children",
        "max_log_size",
        "environment_variables",
        "pip",
    ];

    private static readonly string[] KnownPolicy = ["entities", "git_hosts", "images", "resources", "mounts"];

    internal string? Name { get; init; }
    internal string? BaseUrl { get; init; }
    internal string? ApiKey { get; init; }

    /// <summary>Database of a launch server of this machine, whose key is in a file beside it.</summary>
    internal string? LocalServer { get; init; }
    internal string? Entity { get; init; }
    internal string? Project { get; init; }
    internal string? QueueProject { get; init; }
    internal IReadOnlyList<string> Queues { get; init; } = [];
    internal QueueOrder QueueOrder { get; init; }

    /// <summary>Runs at a time.</summary>
    internal JobLimits Jobs { get; init; } = JobLimits.One;

    /// <summary>Of its runs, whatever items and queues say.</summary>
    internal RunLimits Limits { get; init; } = RunLimits.None;
    internal int MaxSchedulers { get; init; } = 1;
    internal int? GpusPerJob { get; init; }

    /// <summary>Tries after the first one, for failures of the machine.</summary>
    internal int MaxRetry { get; init; } = 3;
    internal bool StopWhenEmpty { get; init; }
    internal int? MaxRuns { get; init; }
    internal DateTimeOffset? Until { get; init; }
    internal TimeSpan StoppedRunTimeout { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>How long a run may take to its start; null for no limit.</summary>
    internal TimeSpan? StartTimeout { get; init; } = TimeSpan.FromSeconds(1800);
    internal string? Webhook { get; init; }
    internal int KeepLogDays { get; init; } = 30;
    internal string? BaseImage { get; init; }

    /// <summary>Where images go that others are to fetch.</summary>
    internal string? Repository { get; init; }
    internal AgentPolicy Policy { get; init; } = new();
    internal LaunchOptions Launch { get; init; } = new();
    internal IReadOnlyList<string> Warnings { get; init; } = [];

    /// <summary>What was set, as it would stand in a file; without keys.</summary>
    internal JsonObject Source { get; init; } = [];

    /// <summary>W&amp;B's place for it, which WANDB_CONFIG_DIR does not move (protocol K 23).</summary>
    internal static string DefaultPath(LaunchEnvironment environment) =>
        Path.Combine(environment.Home, ".config", "wandb", "launch-config.yaml");

    /// <summary>Reads file and environment, and puts the parameters over them.</summary>
    /// <exception cref="LaunchException"><c>AgentConfigNotFound</c>, <c>AgentConfigInvalid</c>.</exception>
    /// <param name="environment">Variables, and the home folder.</param>
    /// <param name="path">The file; null for the usual one, where it exists.</param>
    /// <param name="parameters">What was given, under the names of the file.</param>
    /// <param name="chosen">A connection that somebody made on purpose: which server, whose key and whose queues is its word, and neither the environment's nor the file's.</param>
    internal static AgentConfig Resolve(
        LaunchEnvironment environment,
        string? path,
        JsonObject parameters,
        WandbSettings? chosen = null
    )
    {
        var file = path ?? DefaultPath(environment);
        JsonObject map = [];
        if (File.Exists(file))
        {
            map = SafeYaml.ReadFile(file) as JsonObject ?? [];
        }
        else if (path is not null)
        {
            throw new LaunchException(
                "AgentConfigNotFound",
                LaunchErrorCategory.ObjectNotFound,
                $"There is no agent config {path}. Check the path, or leave -Config out for ~/.config/wandb/launch-config.yaml.",
                path
            );
        }

        var known = Known
            .Concat(
                new ResourceCatalog(new LaunchContext { Environment = environment }).All.SelectMany(r =>
                    r.Info.Settings
                )
            )
            .ToList();
        if (map.FirstOrDefault(k => !known.Contains(k.Key)) is { Key: { } unknown })
        {
            // Fatal in W&B's agent too (protocol K 24): a key with a slip of the pen must not be a setting that silently does not hold.
            throw Invalid(unknown, $"is not a setting of an agent. Known are: {string.Join(", ", known)}.", file);
        }

        if (Text(map, "queue") is { } one)
        {
            map["queues"] = new JsonArray([
                .. Words(map, "queues").Append(one).Distinct().Select(q => (JsonNode?)JsonValue.Create(q)),
            ]);
            map.Remove("queue");
        }

        foreach (
            var (variable, key) in new[]
            {
                ("WANDB_ENTITY", "entity"),
                ("WANDB_PROJECT", "project"),
                ("WANDB_LAUNCH_MAX_JOBS", "max_jobs"),
                ("WANDB_BASE_URL", "base_url"),
            }
        )
        {
            if (environment[variable] is { } value && (chosen is null || key == "max_jobs"))
            {
                map[key] = value;
            }
        }

        if (chosen is not null)
        {
            map.Remove("api_key");
            map.Remove("base_url");
            map.Remove("local_server");
            map[chosen.LocalServerPath is null ? "base_url" : "local_server"] =
                chosen.LocalServerPath ?? chosen.BaseUrl;

            // The environment was asked when the connection was made. A default of the server's is none of the user's.
            if (chosen.EntitySource is SettingSource.Parameter or SettingSource.Environment)
            {
                map["entity"] = chosen.Entity;
            }

            if (chosen.ProjectSource is SettingSource.Parameter or SettingSource.Environment)
            {
                map["project"] = chosen.Project;
            }
        }

        foreach (var (key, value) in parameters)
        {
            if (key == "policy" && map["policy"] is JsonObject under && value is JsonObject over)
            {
                foreach (var (rule, list) in over)
                {
                    under[rule] = list?.DeepClone();
                }
            }
            else
            {
                map[key] = value?.DeepClone();
            }
        }

        // A file that does not exist holds no mistake; and one that does may not hold this one.
        return FromMap(
            map,
            environment,
            File.Exists(file)
                ? $"the agent's settings (parameters, environment, {file})"
                : "the agent's settings (parameters, environment)"
        );
    }

    private static AgentConfig FromMap(JsonObject map, LaunchEnvironment environment, string file)
    {
        var policy = Section(map, "policy", file);
        var resources = new ResourceCatalog(new LaunchContext { Environment = environment });
        var rules = KnownPolicy.Concat(resources.All.Select(r => r.Info.PolicyKey).OfType<string>()).ToList();
        if (policy.FirstOrDefault(k => !rules.Contains(k.Key)) is { Key: { } unknown })
        {
            throw Invalid("policy." + unknown, $"is not a rule. Known are: {string.Join(", ", rules)}.", file);
        }

        var pip = Section(map, "pip", file);
        var apiKey = Text(map, "api_key");
        if (apiKey is not null)
        {
            Secrets.Register(apiKey);
            map.Remove("api_key");
        }

        var webhook = Text(map, "webhook");
        if (
            webhook is not null
            && (
                !Uri.TryCreate(webhook, UriKind.Absolute, out var hook)
                || !(hook.Scheme == "https" || (hook.Scheme == "http" && hook.IsLoopback))
            )
        )
        {
            throw Invalid("webhook", "must be an https URL, or http on this machine.", file);
        }

        var volumes = Words(map, "volumes");
        IReadOnlyList<string> allowed = policy.ContainsKey("resources")
            ? [.. Words(policy, "resources").Select(r => resources.Get(r).Info.Name)]
            : resources.AllowedByDefault;
        var images = ImageSettings.Read(
            map,
            allowed.Any(r => resources.Find(r)?.Info.Queues == true),
            (key, what) => Invalid(key, what, file)
        );
        var jobs = JobLimits.Read(map["max_jobs"], resources, what => Invalid("max_jobs", what, file));
        var startTimeout = environment["WANDB_LAUNCH_START_TIMEOUT"] is { } text
            ? double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var seconds)
                ? seconds
                : throw Invalid("WANDB_LAUNCH_START_TIMEOUT", "must be a number of seconds.", text)
            : 1800;
        var defaults = new AgentPolicy();
        return new AgentConfig
        {
            Name = Text(map, "name"),
            BaseUrl = Text(map, "base_url"),
            ApiKey = apiKey,
            LocalServer = Text(map, "local_server"),
            Entity = Text(map, "entity"),
            Project = Text(map, "project"),
            QueueProject = Text(map, "queue_project"),
            Queues =
            [
                .. Words(map, "queues")
                    .SelectMany(q =>
                        q.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
                    )
                    .Distinct()
                    is var queues
                && queues.Any()
                    ? queues
                    : ["default"],
            ],
            QueueOrder = Text(map, "queue_order") is { } order
                ? Enum.TryParse<QueueOrder>(order, true, out var known) && Enum.IsDefined(known)
                    ? known
                    : throw Invalid("queue_order", "must be fair or strict.", file)
                : QueueOrder.Fair,
            Jobs = jobs,
            Limits = new RunLimits { Time = Span(map, "time_limit", file), Start = Span(map, "start_limit", file) },
            MaxSchedulers = Whole(map, "max_schedulers", Unlimited, file) ?? 1,
            GpusPerJob = Whole(map, "gpus_per_job", 0, file),
            MaxRetry = Whole(map, "max_retry", 0, file) ?? 3,
            StopWhenEmpty = Flag(map, "stop_when_empty", file),
            MaxRuns = Whole(map, "max_runs", 1, file),
            Until = Text(map, "until") is { } until
                ? DateTimeOffset.TryParse(until, CultureInfo.InvariantCulture, DateTimeStyles.AssumeLocal, out var time)
                    ? time
                    : throw Invalid("until", "must be a date and time.", file)
                : null,
            StoppedRunTimeout = TimeSpan.FromSeconds(Whole(map, "stopped_run_timeout", 0, file) ?? 60),
            StartTimeout = startTimeout > 0 ? TimeSpan.FromSeconds(startTimeout) : null,
            Webhook = webhook is null ? null : Secrets.Register(webhook),
            KeepLogDays = Whole(map, "keep_log_days", 0, file) ?? 30,
            BaseImage = Text(map, "base_image"),
            Repository = Text(map, "repository") ?? images.Repository,
            Policy = new AgentPolicy
            {
                Entities = policy.ContainsKey("entities") ? Words(policy, "entities") : null,
                GitHosts = policy.ContainsKey("git_hosts") ? Words(policy, "git_hosts") : defaults.GitHosts,
                Images = policy.ContainsKey("images") ? Words(policy, "images") : defaults.Images,
                Resources = allowed,
                Mounts = Words(policy, "mounts"),
                ExtraArguments =
                [
                    .. resources
                        .All.Where(r => r.Info.PolicyKey is not null)
                        .SelectMany(r => Words(policy, r.Info.PolicyKey!).Select(r.CheckExtraArgument)),
                ],
                SecureMode = Flag(map, "secure_mode", file),
            },
            Launch = new LaunchOptions
            {
                NoInstall = Flag(map, "no_install", file) || images.NoBuild,
                Volumes = volumes,
                DockerHost = Text(map, "docker_host"),
                Repository = Text(map, "repository") ?? images.Repository,
                Settings = resources
                    .All.SelectMany(r => r.Info.Settings)
                    .Select(s =>
                        (
                            Name: s,
                            Value: Text(map, s) ?? (s == KubernetesResource.BuilderSetting ? images.Builder : null)
                        )
                    )
                    .Where(s => s.Value is not null)
                    .ToDictionary(s => s.Name, s => s.Value!),
                StopGraceSeconds = Whole(map, "stop_grace_period", 0, file) ?? 10,
                KeepChildren = Flag(map, "keep_children", file),
                MaxLogSize = Bytes(map, "max_log_size", LaunchOptions.LeastLogSize, file),
                Environment = Section(map, "environment_variables", file)
                    .ToDictionary(p => p.Key, p => p.Value?.ToString() ?? ""),
                Pip = new PipSettings
                {
                    IndexUrl = Text(pip, "index_url"),
                    ExtraIndexUrls = Words(pip, "extra_index_urls"),
                    TrustedHosts = Words(pip, "trusted_hosts"),
                    FindLinks = Words(pip, "find_links"),
                    ConfigFile = Text(pip, "config_file"),
                    NoIndex = Flag(pip, "no_index", file),
                },
            },
            Warnings =
            [
                .. jobs
                    .ByResource.Keys.Except(allowed)
                    .Select(r =>
                        $"max_jobs has a number for {r}, which the agent's policy does not allow: such items are refused. Allow it with -AllowResource {r}."
                    ),
                .. images.Warnings,
            ],
            Source = map,
        };
    }

    /// <summary>What the server is told, without the project (protocol B.4), and without addresses that hold secrets.</summary>
    internal JsonObject ForServer()
    {
        var map = (JsonObject)Source.DeepClone();
        foreach (var key in new[] { "project", "webhook", "environment_variables", "pip" })
        {
            map.Remove(key);
        }

        map["queues"] = new JsonArray([.. Queues.Select(q => (JsonNode?)JsonValue.Create(q))]);
        map["max_jobs"] = Jobs.Total;
        return map;
    }

    private static string? Text(JsonObject map, string key) =>
        map[key] is JsonValue value && value.ToString() is { Length: > 0 } text ? text : null;

    private static string[] Words(JsonObject map, string key) =>
        map[key] switch
        {
            JsonArray list => [.. list.Select(v => v?.ToString() ?? "").Where(v => v.Length > 0)],
            JsonValue one when one.ToString() is { Length: > 0 } text => [text],
            _ => [],
        };

    private static JsonObject Section(JsonObject map, string key, string file) =>
        map[key] switch
        {
            null => [],
            JsonObject section => section,
            _ => throw Invalid(key, "must be a mapping.", file),
        };

    private static int? Whole(JsonObject map, string key, int least, string file) =>
        map[key] switch
        {
            null => null,
            JsonValue value
                when int.TryParse(
                    value.ToString(),
                    NumberStyles.AllowLeadingSign,
                    CultureInfo.InvariantCulture,
                    out var number
                )
                    && number >= least => number,
            _ => throw Invalid(key, $"must be a whole number of {least} or more.", file),
        };

    private static long? Bytes(JsonObject map, string key, long least, string file) =>
        map[key] switch
        {
            null => null,
            JsonValue value
                when long.TryParse(value.ToString(), NumberStyles.None, CultureInfo.InvariantCulture, out var number)
                    && number >= least => number,
            _ => throw Invalid(key, $"must be a number of bytes, {least} or more.", file),
        };

    private static TimeSpan? Span(JsonObject map, string key, string file) =>
        map[key] switch
        {
            null => null,
            JsonValue value when SpanText.TryParse(value.ToString(), out var span) => span,
            _ => throw Invalid(key, $"must be {SpanText.Forms}.", file),
        };

    private static bool Flag(JsonObject map, string key, string file) =>
        map[key] switch
        {
            null => false,
            JsonValue value when bool.TryParse(value.ToString(), out var flag) => flag,
            _ => throw Invalid(key, "must be true or false.", file),
        };

    private static LaunchException Invalid(string key, string what, string file) =>
        new("AgentConfigInvalid", LaunchErrorCategory.InvalidData, $"'{key}' in {file} {what}", key);
}
