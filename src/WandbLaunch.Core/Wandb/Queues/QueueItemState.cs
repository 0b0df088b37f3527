namespace WandbLaunch.Wandb;

/// <summary>Where an item stands (protocol B.3); the last three where the server knows them.</summary>
public enum QueueItemState
{
    /// <summary>A word that this version does not know.</summary>
    Unknown,

    /// <summary>Waits.</summary>
    Pending,

    /// <summary>An agent was given it, and has not acknowledged it yet.</summary>
    Leased,

    /// <summary>An agent has acknowledged it; on servers that do not tell the end of items it stays so.</summary>
    Claimed,

    /// <summary>Its run ended with exit code 0.</summary>
    Finished,

    /// <summary>Its run failed, or it could not be run.</summary>
    Failed,

    /// <summary>Its run was stopped.</summary>
    Stopped,
}

/// <summary>Which of a queue's items goes first.</summary>
public enum QueueItemPriority
{
    /// <summary>Before all others.</summary>
    Critical,

    /// <summary>Before most.</summary>
    High,

    /// <summary>The usual.</summary>
    Medium,

    /// <summary>When there is nothing else.</summary>
    Low,
}
