using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using WandbLaunch.Foundation;

namespace WandbLaunch.Model;

/// <summary>
/// A launch config (protocol C.1): what to run, where to, with which changes. Null leaves the default. A public property is
/// a key: reading, writing (in this order) and merging follow from it.
/// </summary>
/// <remarks>Nothing changes one that is made, but for the serializer while it reads: what has <c>init</c> it gathers in an array first, which doubled the time of queueing a long list.</remarks>
internal sealed partial record LaunchConfig
{
    private static readonly LaunchConfig Nothing = new();

    public string? Uri { get; set; }

    /// <summary>A job to launch in the place of an address: entity/project/name:alias.</summary>
    public string? Job { get; set; }
    public string? Entity { get; set; }
    public string? Project { get; set; }
    public string? Name { get; set; }
    public string? Resource { get; set; }

    /// <summary>By the name of a resource; what each takes is its own.</summary>
    public JsonObject? ResourceArgs { get; set; }

    public DockerSection? Docker
    {
        get;
        set => field = value == DockerSection.Nothing ? null : value;
    }

    public GitSection? Git
    {
        get;
        set => field = value == GitSection.Nothing ? null : value;
    }

    public OverridesSection? Overrides
    {
        get;
        set => field = value == OverridesSection.Nothing ? null : value;
    }

    public bool? Cuda { get; set; }
    public string? RunId { get; set; }

    /// <summary>The sweep that the run belongs to.</summary>
    public string? SweepId { get; set; }

    /// <summary>Values for the placeholders of a queue's configuration.</summary>
    public JsonObject? TemplateVariables { get; set; }

    /// <summary>An item's own builder, as servers of 2022 had it.</summary>
    public JsonObject? Build { get; set; }
    public JsonObject? Builder { get; set; }
    public JsonObject? Registry { get; set; }
    public string? JobName { get; set; }

    /// <summary>Another place of docker.python_version.</summary>
    [JsonPropertyName("python_version")]
    public string? BuildPythonVersion { get; set; }

    /// <summary>Another place of docker.docker_image.</summary>
    public string? ImageUri { get; set; }

    /// <summary>What a cluster is to make beside the job.</summary>
    public JsonArray? AdditionalServices { get; set; }

    /// <summary>How often the run was preempted and queued again.</summary>
    [JsonPropertyName("_resume_count")]
    public int? ResumeCount { get; set; }

    /// <summary>The run's own key, which a server puts there for service accounts.</summary>
    [JsonPropertyName("_wandb_api_key")]
    public SecretText? ApiKey { get; set; }

    /// <summary>Who queued it.</summary>
    public string? Author { get; set; }

    /// <summary>Owner of the queue, where it is not the run's.</summary>
    public string? QueueEntity { get; set; }

    /// <summary>How long the run may run. A key of this project's own, as the next one: other agents pass it over.</summary>
    public TimeSpan? TimeLimit { get; set; }

    /// <summary>How long it may take until it runs.</summary>
    public TimeSpan? StartLimit { get; set; }

    /// <summary>Keys that this version does not know; they go through untouched.</summary>
    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Extra { get; set; }

    /// <summary>Both limits.</summary>
    internal RunLimits Limits => new() { Time = TimeLimit, Start = StartLimit };

    // The keys of the sections under the names by which the rest of the module knows them.
    internal string? DockerImage
    {
        get => Docker?.DockerImage;
        init => Docker = (Docker ?? new()) with { DockerImage = value };
    }

    internal int? UserId
    {
        get => Docker?.UserId;
        init => Docker = (Docker ?? new()) with { UserId = value };
    }

    internal JsonObject? DockerArgs
    {
        get => Docker?.Args;
        init => Docker = (Docker ?? new()) with { Args = value };
    }

    internal string? BaseImage
    {
        get => Docker?.BaseImage;
        init => Docker = (Docker ?? new()) with { BaseImage = value };
    }

    internal string? PythonVersion
    {
        get => Docker?.PythonVersion;
        init => Docker = (Docker ?? new()) with { PythonVersion = value };
    }

    internal string? CudaVersion
    {
        get => Docker?.CudaVersion;
        init => Docker = (Docker ?? new()) with { CudaVersion = value };
    }

    internal IReadOnlyList<string>? SystemPackages
    {
        get => Docker?.SystemPackages;
        init => Docker = (Docker ?? new()) with { SystemPackages = value };
    }

    internal string? GitVersion
    {
        get => Git?.Version;
        init => Git = (Git ?? new()) with { Version = value };
    }

    internal string? GitRepo
    {
        get => Git?.Repo;
        init => Git = (Git ?? new()) with { Repo = value };
    }

    internal ArgumentSet? Args
    {
        get => Overrides?.Args;
        init => Overrides = (Overrides ?? new()) with { Args = value };
    }

    internal JsonObject? RunConfig
    {
        get => Overrides?.RunConfig;
        init => Overrides = (Overrides ?? new()) with { RunConfig = value };
    }

    internal JsonObject? Artifacts
    {
        get => Overrides?.Artifacts;
        init => Overrides = (Overrides ?? new()) with { Artifacts = value };
    }

    internal IReadOnlyList<string>? EntryPoint
    {
        get => Overrides?.EntryPoint;
        init => Overrides = (Overrides ?? new()) with { EntryPoint = value };
    }

    /// <summary>What is launched.</summary>
    internal string? Source => Uri ?? Job ?? DockerImage;

    /// <summary>The scheduler of a sweep (protocol F.7).</summary>
    internal bool IsScheduler => Uri?.StartsWith("placeholder", StringComparison.Ordinal) ?? false;

    /// <summary>Puts <paramref name="over"/> over this one: every value that it sets wins (protocol C.2).</summary>
    internal LaunchConfig Merge(LaunchConfig over)
    {
        if (over == Nothing)
        {
            return this;
        }

        if (this == Nothing)
        {
            return over;
        }

        // An address and a job are two answers to one question.
        var under =
            over.Uri is not null && over.Job is null ? this with { Job = null }
            : over.Job is not null && over.Uri is null ? this with { Uri = null }
            : this;
        return Layers<LaunchConfig>.Lay(under, over, over with { });
    }

    /// <summary>The config as JSON, without secrets.</summary>
    public override string ToString() =>
        Secrets.MaskLogins(
            Secrets.Mask(
                (ApiKey is null ? this : this with { ApiKey = new SecretText(Secrets.Masked) }).ToJson().ToJsonString()
            )
        );
}

/// <summary>The image, and what it is built from.</summary>
internal sealed record DockerSection : ILayer<DockerSection>
{
    internal static readonly DockerSection Nothing = new();

    public string? DockerImage { get; set; }
    public int? UserId { get; set; }

    [Joined]
    public JsonObject? Args { get; set; }
    public string? BaseImage { get; set; }
    public string? PythonVersion { get; set; }
    public string? CudaVersion { get; set; }
    public IReadOnlyList<string>? SystemPackages { get; set; }
    public bool? BuildImage { get; set; }

    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Extra { get; set; }

    public DockerSection Over(DockerSection under) => Layers<DockerSection>.Lay(under, this, this with { });
}

/// <summary>Where the code is, where the source does not say it or something else is wanted.</summary>
internal sealed record GitSection : ILayer<GitSection>
{
    internal static readonly GitSection Nothing = new();

    public string? Version { get; set; }
    public string? Repo { get; set; }

    /// <summary>Another name of version: the guide's table has it, while its example and the protocol say version.</summary>
    public string? GitVersion { get; set; }

    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Extra { get; set; }

    public GitSection Over(GitSection under) => Layers<GitSection>.Lay(under, this, this with { });
}

/// <summary>What is different from the source's own.</summary>
internal sealed record OverridesSection : ILayer<OverridesSection>
{
    internal static readonly OverridesSection Nothing = new();

    public ArgumentSet? Args
    {
        get;
        set => field = value is { IsEmpty: true } ? null : value;
    }

    [Joined]
    public JsonObject? RunConfig { get; set; }

    [Joined]
    public JsonObject? Artifacts { get; set; }
    public IReadOnlyList<string>? EntryPoint { get; set; }
    public string? Dockerfile { get; set; }
    public string? WorkingDir { get; set; }

    /// <summary>Files of the source that are to have another content, in whole or in part.</summary>
    public JsonObject? Files { get; set; }

    [JsonExtensionData]
    public Dictionary<string, JsonElement>? Extra { get; set; }

    public OverridesSection Over(OverridesSection under) => Layers<OverridesSection>.Lay(under, this, this with { });
}

/// <summary>A text that no log, message or view shows.</summary>
internal sealed record SecretText(string Value)
{
    public override string ToString() => Secrets.Masked;
}
