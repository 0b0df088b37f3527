namespace WandbLaunch.Wandb;

/// <summary>A queue of runs that wait for an agent.</summary>
public sealed record WandbRunQueue
{
    /// <summary>Name, unique in its project.</summary>
    public required string Name { get; init; }

    /// <summary>The name under which the commands for items and agents take it from the pipeline.</summary>
    public string Queue => Name;

    /// <summary>Owner.</summary>
    public required string Entity { get; init; }

    /// <summary>Project that the queue belongs to: model-registry on servers of today, the runs' own project on those of 2022.</summary>
    public required string QueueProject { get; init; }

    /// <summary>Id of the queue on its server.</summary>
    public required string Id { get; init; }

    /// <summary>PROJECT: for the whole team. USER: for whoever made it.</summary>
    public string? Access { get; init; }

    /// <summary>Who made it.</summary>
    public string? CreatedBy { get; init; }

    /// <summary>When it was made, where the server tells.</summary>
    public DateTimeOffset? Created { get; init; }

    /// <summary>V0 where items have priorities, else DISABLED.</summary>
    public string? PrioritizationMode { get; init; }

    /// <summary>Resource that the queue sets for its items.</summary>
    public string? Resource { get; init; }

    /// <summary>Arguments of that resource for items that bring none of their own; null where the server does not tell.</summary>
    public IReadOnlyDictionary<string, object?>? ResourceArgs { get; init; }

    /// <summary>Template variables by name, each with its schema; null where the server does not tell.</summary>
    public IReadOnlyDictionary<string, object?>? TemplateVariables { get; init; }

    /// <summary>Longest time that its runs may run.</summary>
    public TimeSpan? TimeLimit { get; init; }

    /// <summary>Longest time from when an agent takes an item until its program runs.</summary>
    public TimeSpan? StartLimit { get; init; }

    /// <summary>Items that wait, where the server tells.</summary>
    public int? Pending { get; init; }

    /// <summary>Items that agents have taken and that are not done; counted by Watch-WandbRunQueue alone.</summary>
    public int? Running { get; init; }

    /// <summary>Items that failed; counted by Watch-WandbRunQueue alone.</summary>
    public int? Failed { get; init; }

    /// <summary>When what waits longest was queued; found by Watch-WandbRunQueue alone.</summary>
    public DateTimeOffset? Oldest { get; init; }

    /// <summary>Agents that take items of it now; found by Watch-WandbRunQueue alone.</summary>
    public int? Agents { get; init; }

    /// <summary>All items, where the server tells.</summary>
    public int? Items { get; init; }

    /// <summary>True while no agent is given its items; null where the server has no such thing.</summary>
    public bool? Paused { get; init; }

    internal string? ConfigId { get; init; }

    /// <inheritdoc/>
    public override string ToString() => Name;
}
