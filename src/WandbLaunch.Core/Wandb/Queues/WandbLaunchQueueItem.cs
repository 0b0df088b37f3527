using System.Text;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Wandb;

/// <summary>A run that waits in a queue, or was taken from one.</summary>
public sealed record WandbLaunchQueueItem
{
    private readonly byte[]? _json;
    private string? _text;
    private JsonObject? _spec;
    private string? _config;
    private string? _uri;
    private string? _error;
    private string? _reason;
    private IReadOnlyList<string> _warning = [];

    /// <summary>Id of the item on its server.</summary>
    public required string Id { get; init; }

    /// <summary>Name of the queue.</summary>
    public required string Queue { get; init; }

    /// <summary>Owner of the queue.</summary>
    public required string Entity { get; init; }

    /// <summary>Project of the queue.</summary>
    public required string QueueProject { get; init; }

    /// <summary>Where it stands.</summary>
    public required QueueItemState State { get; init; }

    /// <summary>Place among those that wait, from 1; null for others, or where the server does not tell.</summary>
    public int? Position { get; init; }

    /// <summary>Which goes first, in a queue with priorities.</summary>
    public QueueItemPriority? Priority { get; init; }

    /// <summary>When it was queued.</summary>
    public DateTimeOffset? Created { get; init; }

    /// <summary>How long ago it was queued.</summary>
    public TimeSpan? Age => Created is { } created ? DateTimeOffset.UtcNow - created : null;

    /// <summary>Name of the agent that took it.</summary>
    public string? Agent { get; init; }

    /// <summary>Id of its run, once an agent has taken it.</summary>
    public string? RunId { get; init; }

    /// <summary>Page of that run.</summary>
    public string? RunUri { get; init; }

    /// <summary>What is launched. A password or token in it is masked, here and in everything below.</summary>
    public string? Uri
    {
        get => _uri;
        init => _uri = value is null ? null : Secrets.MaskLogins(value);
    }

    /// <summary>Arguments that the item sets: words, or name=value.</summary>
    public IReadOnlyList<string> Arguments =>
        LaunchConfig.Tolerant(Spec).Args switch
        {
            { Words: { } words } => [.. words.Select(Secrets.MaskLogins)],
            { Pairs: { } pairs } =>
            [
                .. pairs.Select(p => Secrets.MaskLogins(p.Value is null ? p.Key : $"{p.Key}={JsonTree.Of(p.Value)}")),
            ],
            _ => [],
        };

    /// <summary>Target project of the run.</summary>
    public string? Project { get; init; }

    /// <summary>Exit code of its program, where the server tells.</summary>
    public int? ExitCode { get; init; }

    /// <summary>What its engine calls its run: id of a container, a process or a cluster's job, where the server tells.</summary>
    public string? EngineId { get; init; }

    /// <summary>What its run waits for, or why it ended as it did, where the server tells.</summary>
    public string? Reason
    {
        get => _reason;
        init => _reason = value is null ? null : Secrets.MaskLogins(value);
    }

    /// <summary>Why it failed.</summary>
    public string? Error
    {
        get => _error;
        init => _error = value is null ? null : Secrets.MaskLogins(value);
    }

    /// <summary>Files of the agent's run that belong to the failure: the log's last lines as a rule.</summary>
    public IReadOnlyList<string> ErrorFile { get; init; } = [];

    /// <summary>Warnings of the agent.</summary>
    public IReadOnlyList<string> Warning
    {
        get => _warning;
        init => _warning = [.. value.Select(Secrets.MaskLogins)];
    }

    /// <summary>When an agent took it.</summary>
    public DateTimeOffset? Claimed { get; init; }

    /// <summary>When its run ended.</summary>
    public DateTimeOffset? Finished { get; init; }

    /// <summary>The launch config as JSON.</summary>
    public string? Config =>
        _config ??=
            Spec is not { } spec ? SpecText
            : Secrets.MaskLogins((JsonNode)spec) is var masked && ReferenceEquals(masked, spec) ? SpecText
            : masked!.ToJsonString(GraphQLTransport.PlainJson);

    internal string? SpecText
    {
        get => _text ??= _json is null ? null : Encoding.UTF8.GetString(_json);
        init => _text = value;
    }

    internal byte[]? SpecJson
    {
        init => _json = value;
    }

    internal JsonObject? Spec => _spec ??= JsonText.TolerantObject(SpecText);

    /// <summary>True when the state will not change any more.</summary>
    public bool IsDone => State is QueueItemState.Finished or QueueItemState.Failed or QueueItemState.Stopped;

    /// <inheritdoc/>
    public override string ToString() => Id;
}
