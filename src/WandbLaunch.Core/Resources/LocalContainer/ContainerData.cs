using System.Text.Json.Nodes;

namespace WandbLaunch.Resources;

/// <summary>The container's own part of a spec.</summary>
internal sealed record ContainerData
{
    public bool UserImage { get; init; }
    public string? Workspace { get; init; }
    public JsonObject? DockerArgs { get; init; }

    /// <summary>Docker arguments that an agent's admin allows beyond the fixed list.</summary>
    public IReadOnlyList<string> ExtraDockerArguments { get; init; } = [];
    public IReadOnlyList<string> Volumes { get; init; } = [];
    public bool Gpu { get; init; }

    /// <summary>The GPUs that are this run's own, by index or UUID; null: no choice was made.</summary>
    public IReadOnlyList<string>? Gpus { get; init; }
    public int? UserId { get; init; }
    public string? DockerEndpoint { get; init; }
    public string? BaseUrl { get; init; }
    public string? LaunchConfigJson { get; init; }
}
