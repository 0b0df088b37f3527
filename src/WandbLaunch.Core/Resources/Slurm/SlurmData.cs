namespace WandbLaunch.Resources;

/// <summary>Slurm's own part of a spec.</summary>
internal sealed record SlurmData
{
    /// <summary>Where Slurm is: see <see cref="SlurmPlace"/>.</summary>
    public string Place { get; init; } = "";

    /// <summary>Hash of its code, which is on the cluster; null: the image has it.</summary>
    public string? Code { get; init; }

    /// <summary>Words for sbatch.</summary>
    public IReadOnlyList<string> Options { get; init; } = [];

    /// <summary>Tasks of its array that run at a time.</summary>
    public int? Throttle { get; init; }

    public bool Requeue { get; init; }
    public bool Srun { get; init; }
    public bool Keep { get; init; }

    /// <summary>The program is Python's: an environment is made for it on the node where the one of the login node does not fit.</summary>
    public bool NeedsPython { get; init; }

    public string? PythonVersion { get; init; }

    /// <summary>Packages of its environment; null: none is made.</summary>
    public string? Requirements { get; init; }

    public string? RequirementsHash { get; init; }
    public bool Frozen { get; init; }

    /// <summary>Folders of the cluster for its container, as host:container[:ro].</summary>
    public IReadOnlyList<string> Volumes { get; init; } = [];

    public bool Gpu { get; init; }
    public string? LaunchConfigJson { get; init; }
}
