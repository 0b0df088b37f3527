using System.Globalization;

namespace WandbLaunch.Server.Data;

/// <summary>A project of an entity.</summary>
internal sealed record ProjectRecord
{
    public long Id { get; init; }
    public string Entity { get; init; } = "";
    public string Name { get; init; } = "";
    public string? Description { get; init; }
    public string CreatedAt { get; init; } = "";
}

/// <summary>A run of a project.</summary>
internal sealed record RunRecord
{
    public long Id { get; init; }
    public string Name { get; init; } = "";
    public string? DisplayName { get; init; }
    public string? Description { get; init; }
    public string? Notes { get; init; }

    /// <summary>A list, as JSON.</summary>
    public string Tags { get; init; } = "[]";
    public string State { get; init; } = "";
    public bool Stopped { get; init; }
    public string Config { get; init; } = "{}";
    public string Summary { get; init; } = "{}";
    public string? Group { get; init; }
    public string? JobType { get; init; }
    public string? Sweep { get; init; }
    public string? Commit { get; init; }
    public string? Host { get; init; }
    public string? Repo { get; init; }
    public string? User { get; init; }
    public string CreatedAt { get; init; } = "";
    public string? HeartbeatAt { get; init; }
    public string? UpdatedAt { get; init; }
    public int? ExitCode { get; init; }

    /// <summary>What its machine measured last, as JSON.</summary>
    public string? System { get; init; }

    /// <summary>What a page is ordered by.</summary>
    public object? OrderValue { get; init; }

    /// <summary>Whose it is.</summary>
    public ProjectRecord Project { get; internal set; } = null!;
}

/// <summary>A file of a run.</summary>
internal sealed record FileRecord
{
    public string Name { get; init; } = "";
    public string? Md5 { get; init; }
    public long Size { get; init; }
    public string UpdatedAt { get; init; } = "";
}

/// <summary>A version of an artifact.</summary>
internal sealed record ArtifactRecord
{
    public long Id { get; init; }
    public string Entity { get; init; } = "";
    public string Project { get; init; } = "";
    public string Type { get; init; } = "";
    public string Name { get; init; } = "";
    public int? Version { get; init; }
    public string Digest { get; init; } = "";
    public string State { get; init; } = "";
    public string? Description { get; init; }
    public string? Metadata { get; init; }
    public string CreatedAt { get; init; } = "";
    public string? UpdatedAt { get; init; }

    /// <summary>The run that made it.</summary>
    public string? Run { get; init; }

    /// <summary>A list, as JSON.</summary>
    public string Tags { get; init; } = "[]";
    public long? Ttl { get; init; }
    public long? HistoryStep { get; init; }

    /// <summary>Aliases that were given, and vN.</summary>
    public IReadOnlyList<string> Aliases { get; internal set; } = [];
}

/// <summary>A collection of versions: a sequence, which runs add to, or a portfolio, which is put together of others'.</summary>
internal sealed record CollectionRecord
{
    internal const string Sequence = "SEQUENCE";
    internal const string Portfolio = "PORTFOLIO";

    public long Id { get; init; }
    public string Entity { get; init; } = "";
    public string Project { get; init; } = "";
    public string Name { get; init; } = "";
    public string Kind { get; init; } = Sequence;
    public string Type { get; init; } = "";
    public string? Description { get; init; }

    /// <summary>A list, as JSON.</summary>
    public string Tags { get; init; } = "[]";
    public string CreatedAt { get; init; } = "";
    public string? UpdatedAt { get; init; }
}

/// <summary>A type of artifacts in a project.</summary>
internal sealed record ArtifactTypeRecord
{
    public string Name { get; init; } = "";
    public string? Description { get; init; }
    public string CreatedAt { get; init; } = "";
}

/// <summary>A version in a collection, under the number that it has there.</summary>
internal sealed record Membership(CollectionRecord Collection, ArtifactRecord Artifact, int? Version);

/// <summary>A sweep.</summary>
internal sealed record SweepRecord
{
    public long Id { get; init; }
    public string Name { get; init; } = "";
    public string? DisplayName { get; init; }
    public string? Description { get; init; }
    public string Method { get; init; } = "";

    /// <summary>As it was given: YAML.</summary>
    public string Config { get; init; } = "";
    public string State { get; init; } = "";
    public string? Controller { get; init; }
    public string? Scheduler { get; init; }
    public string? User { get; init; }

    /// <summary>How many runs were made of it.</summary>
    public long Made { get; init; }
    public string CreatedAt { get; init; } = "";
    public string? UpdatedAt { get; init; }
    public string? HeartbeatAt { get; init; }

    /// <summary>Whose it is.</summary>
    public ProjectRecord Project { get; internal set; } = null!;
}

/// <summary>An agent of a sweep.</summary>
internal sealed record SweepAgentRecord
{
    public long Id { get; init; }
    public long Sweep { get; init; }
    public string Name { get; init; } = "";
    public string Host { get; init; } = "";
    public int Made { get; init; }
    public string CreatedAt { get; init; } = "";
    public string HeartbeatAt { get; init; } = "";
}

/// <summary>An alert of a run.</summary>
internal sealed record AlertRecord
{
    public long Id { get; init; }
    public long Run { get; init; }
    public string Title { get; init; } = "";
    public string Text { get; init; } = "";
    public string Severity { get; init; } = "";
    public string CreatedAt { get; init; } = "";
}

/// <summary>A queue with its configuration.</summary>
internal sealed record QueueRecord
{
    public long Id { get; init; }
    public string Entity { get; init; } = "";
    public string Project { get; init; } = "";
    public string Name { get; init; } = "";
    public string CreatedBy { get; init; } = "";
    public string Access { get; init; } = "";
    public string CreatedAt { get; init; } = "";
    public string Mode { get; init; } = "";
    public string? Resource { get; init; }
    public string? ResourceConfig { get; init; }
    public string? TemplateVariables { get; init; }
    public string? ExternalLinks { get; init; }

    /// <summary>True while no agent is given its items.</summary>
    public bool Paused { get; init; }
}

/// <summary>A resource with its configuration, as queues are made of it.</summary>
internal sealed record ResourceConfigRecord
{
    public string Resource { get; init; } = "";
    public string Config { get; init; } = "{}";
    public string Variables { get; init; } = "{}";
}

/// <summary>An item of a queue.</summary>
internal sealed record ItemRecord
{
    public long Id { get; init; }
    public long Queue { get; init; }
    public string State { get; init; } = "";
    public string? RunName { get; init; }
    public string Spec { get; init; } = "";
    public string CreatedAt { get; init; } = "";
    public int Priority { get; init; }
    public long? Agent { get; init; }
    public string? AgentName { get; init; }
    public int? ExitCode { get; init; }
    public string? ClaimedAt { get; init; }
    public string? FinishedAt { get; init; }

    /// <summary>What its engine calls its run.</summary>
    public string? EngineId { get; init; }

    /// <summary>What its run waits for, or why it ended.</summary>
    public string? Reason { get; init; }

    /// <summary>A report, as JSON.</summary>
    public string? Error { get; init; }

    /// <summary>Reports, as JSON.</summary>
    public string? Warnings { get; init; }

    /// <summary>Why nobody could run it; null where somebody can.</summary>
    public string? Fault { get; internal set; }

    /// <summary>What it adds to an answer.</summary>
    public int Weight => Fault is null ? Spec.Length : 0;
}

/// <summary>An agent that was registered.</summary>
internal sealed record AgentRecord
{
    public long Id { get; init; }
    public string Entity { get; init; } = "";
    public string Name { get; init; } = "";

    /// <summary>Names, as JSON.</summary>
    public string Queues { get; init; } = "[]";
    public string Hostname { get; init; } = "";
    public string Status { get; init; } = "";
    public bool StopPolling { get; init; }

    /// <summary>It is to stop its runs, too.</summary>
    public bool StopRuns { get; init; }
    public string HeartbeatAt { get; init; } = "";
    public string CreatedAt { get; init; } = "";
    public string? Version { get; init; }
}

/// <summary>Ids as clients see them.</summary>
internal static class Ids
{
    /// <summary>The number; -1 for what is none.</summary>
    internal static long Parse(string? text) =>
        long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var id) ? id : -1;

    internal static string Text(long id) => id.ToString(CultureInfo.InvariantCulture);

    internal static string Run(string run, string project, string entity) => Encode($"Run:v1:{run}:{project}:{entity}");

    /// <summary>The parts of a run's id; null for what is none.</summary>
    internal static (string Run, string Project, string Entity)? ParseRun(string id) =>
        Decode(id)?.Split(':') is ["Run", "v1", var run, var project, var entity] ? (run, project, entity) : null;

    internal static string Artifact(long id) => Encode("Artifact:" + Text(id));

    internal static long ParseArtifact(string? id) =>
        Decode(id ?? "")?.Split(':') is ["Artifact", var number] ? Parse(number) : -1;

    internal static string Of(string kind, long id) => Encode($"{kind}:{Text(id)}");

    /// <summary>The number of an id of this kind; -1 for what is none.</summary>
    internal static long Parse(string kind, string? id) =>
        Decode(id ?? "")?.Split(':') is [var given, var number] && given == kind ? Parse(number) : -1;

    internal static string Encode(string text) => Convert.ToBase64String(System.Text.Encoding.UTF8.GetBytes(text));

    internal static string? Decode(string text)
    {
        try
        {
            return System.Text.Encoding.UTF8.GetString(Convert.FromBase64String(text));
        }
        catch (FormatException)
        {
            return null;
        }
    }
}

/// <summary>Pages of rows that can be large: ended by their number, and by their weight.</summary>
internal static class Pages
{
    private const long Heavy = 8L << 20;

    internal static List<T> TakePage<T>(this IEnumerable<T> rows, int first, Func<T, long> weight, out bool more)
    {
        var page = new List<T>();
        var sum = 0L;
        more = false;
        foreach (var row in rows)
        {
            if (page.Count == first || sum > Heavy)
            {
                more = true;
                break;
            }

            sum += weight(row);
            page.Add(row);
        }

        return page;
    }
}
