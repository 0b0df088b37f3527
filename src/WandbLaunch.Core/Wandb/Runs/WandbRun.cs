using System.Text.Json;
using WandbLaunch.Foundation;

namespace WandbLaunch.Wandb;

/// <summary>A run on a W&amp;B server.</summary>
public sealed class WandbRun
{
    private readonly JsonElement _node;
    private IReadOnlyDictionary<string, object?>? _config;
    private IReadOnlyDictionary<string, object?>? _summary;

    internal WandbRun(JsonElement node, string entity, string project, string appUrl)
    {
        _node = node;
        Entity = entity;
        Project = project;
        Id = node.Text("name") ?? "";
        Uri =
            $"{appUrl}/{System.Uri.EscapeDataString(entity)}/{System.Uri.EscapeDataString(project)}/runs/{System.Uri.EscapeDataString(Id)}";
    }

    /// <summary>Short id of the run, 8 characters as a rule.</summary>
    public string Id { get; }

    /// <summary>Display name.</summary>
    public string? Name => _node.Text("displayName");

    /// <summary>Owner of the project.</summary>
    public string Entity { get; }

    /// <summary>Project of the run.</summary>
    public string Project { get; }

    /// <summary>running, finished, failed, crashed, killed, preempting, preempted or pending.</summary>
    public WandbRunState State =>
        Enum.TryParse<WandbRunState>(_node.Text("state"), true, out var state) ? state : WandbRunState.Unknown;

    /// <summary>Tags.</summary>
    public IReadOnlyList<string> Tags => _node.Items("tags").Select(t => t.ToString()).ToArray();

    /// <summary>When the run was made.</summary>
    public DateTimeOffset? Created => _node.Time("createdAt");

    /// <summary>Last sign of life.</summary>
    public DateTimeOffset? Heartbeat => _node.Time("heartbeatAt");

    /// <summary>Group.</summary>
    public string? Group => _node.Text("group");

    /// <summary>Job type.</summary>
    public string? JobType => _node.Text("jobType");

    /// <summary>Sweep that made the run.</summary>
    public string? Sweep => _node.Text("sweepName");

    /// <summary>Git commit that the run was made from.</summary>
    public string? Commit => _node.Text("commit");

    /// <summary>User who made the run.</summary>
    public string? User => _node.Text("user", "username");

    /// <summary>Notes.</summary>
    public string? Notes => _node.Text("notes");

    /// <summary>Configuration: name to value, without W&amp;B's own <c>_wandb</c>.</summary>
    public IReadOnlyDictionary<string, object?> Config => _config ??= ReadConfig();

    /// <summary>Summary metrics.</summary>
    public IReadOnlyDictionary<string, object?> Summary =>
        _summary ??= _node.Document("summaryMetrics") is { ValueKind: JsonValueKind.Object } map
            ? JsonValues.ToMap(map)
            : new Dictionary<string, object?>();

    /// <summary>Page of the run; what Start-WandbLaunch takes.</summary>
    public string Uri { get; }

    internal string? Cursor { get; init; }

    /// <inheritdoc/>
    public override string ToString() => Uri;

    private Dictionary<string, object?> ReadConfig()
    {
        var config = new Dictionary<string, object?>(StringComparer.Ordinal);
        if (_node.Document("config") is { ValueKind: JsonValueKind.Object } map)
        {
            foreach (var entry in map.EnumerateObject().Where(e => e.Name != "_wandb"))
            {
                config[entry.Name] = JsonValues.ToPlain(
                    entry.Value.At("value")
                        ?? (
                            entry.Value.ValueKind == JsonValueKind.Object
                            && entry.Value.TryGetProperty("value", out var v)
                                ? v
                                : entry.Value
                        )
                );
            }
        }

        return config;
    }
}

/// <summary>A file of a run on the server.</summary>
/// <param name="Name">Path of the file inside the run, with forward slashes.</param>
/// <param name="Size">Size in bytes, where the server tells it.</param>
/// <param name="Md5">MD5 digest, base64.</param>
/// <param name="Updated">When it was last written.</param>
/// <param name="Entity">Entity of the run.</param>
/// <param name="Project">Project of the run.</param>
/// <param name="RunId">Id of the run.</param>
public sealed record WandbRunFile(
    string Name,
    long? Size,
    string? Md5,
    DateTimeOffset? Updated,
    string Entity,
    string Project,
    string RunId
)
{
    internal string Url { get; init; } = "";

    /// <summary>Where the file was saved, when a destination was given.</summary>
    public string? LocalPath { get; init; }
}

/// <summary>What the run recorded about how it was started (protocol B.5, RunInfo).</summary>
internal sealed record RunInfo(
    string? Program,
    IReadOnlyList<string> Args,
    string? Python,
    string? Executable,
    bool CodeSaved,
    int GpuCount,
    string? Remote,
    string? Commit
);
