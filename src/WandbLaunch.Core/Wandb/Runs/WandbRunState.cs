namespace WandbLaunch.Wandb;

/// <summary>Where a run stands, as the server says.</summary>
public enum WandbRunState
{
    /// <summary>A word that this version does not know.</summary>
    Unknown,

    /// <summary>Made, and not begun.</summary>
    Pending,

    /// <summary>Runs.</summary>
    Running,

    /// <summary>Ended well.</summary>
    Finished,

    /// <summary>Ended with an error.</summary>
    Failed,

    /// <summary>Was not heard of again.</summary>
    Crashed,

    /// <summary>Was ended from outside.</summary>
    Killed,

    /// <summary>Its machine is taken from it.</summary>
    Preempting,

    /// <summary>Its machine was taken from it.</summary>
    Preempted,
}
