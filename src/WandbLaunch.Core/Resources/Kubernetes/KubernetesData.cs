using System.Text.Json.Nodes;

namespace WandbLaunch.Resources;

/// <summary>The cluster's own part of a spec.</summary>
internal sealed record KubernetesData
{
    public string Place { get; init; } = "";
    public string Kind { get; init; } = KubeKind.Job.ToString();
    public string Namespace { get; init; } = "";
    public string Name { get; init; } = "";

    /// <summary>Complete but for the secrets.</summary>
    public JsonObject Manifest { get; init; } = [];

    /// <summary>Made before it, and removed with it.</summary>
    public IReadOnlyList<JsonObject> Services { get; init; } = [];
    public bool WaitForReady { get; init; } = true;
    public int WaitSeconds { get; init; } = 300;

    internal KubeHandle Handle => new(KubeKind.Parse(Kind), Namespace, Name);
}
