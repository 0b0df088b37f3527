using System.Runtime.InteropServices;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Resources;

namespace WandbLaunch.Agents;

/// <summary>
/// What launch-config.yaml says of images: environment, registry and builder, as W&amp;B's agent has them (protocol F.1). What
/// these say of where images go and whether any are built is followed; the rest is named in a warning, and what is none of
/// their words is an error.
/// </summary>
internal sealed record ImageSettings
{
    private static readonly string[] Builders = ["docker", "kaniko", "buildkit", "noop"];
    private static readonly string[] Registries = ["ecr", "acr", "gcr", "local"];
    private static readonly string[] Environments = ["aws", "gcp", "azure", "local"];

    // In the words of both generations; those that say how W&B's agent brings code and logins to a build have no meaning here.
    private static readonly string[] OfKaniko =
    [
        "build-context-store",
        "build-job-name",
        "secret-name",
        "secret-key",
        "kaniko-config",
        "cloud-provider",
        "credentials",
    ];

    private const string KanikoImage = "kaniko-image";
    private const string BuildKitImage = "buildkit-image";

    private static readonly string[] OfRegistry = ["type", "uri", "url", "ecr-provider", "credentials", "repository"];

    /// <summary>No images are built: code runs in its base image as that is.</summary>
    internal bool NoBuild { get; private init; }

    /// <summary>Where images go that others are to fetch; null: nowhere.</summary>
    internal string? Repository { get; private init; }

    /// <summary>What builds images in a cluster, as <see cref="KubeBuilder"/> reads it; null: the Docker Engine of this machine builds.</summary>
    internal string? Builder { get; private init; }

    /// <summary>What is not followed, each by its name.</summary>
    internal IReadOnlyList<string> Warnings { get; private init; } = [];

    /// <summary>Reads the three sections of the settings.</summary>
    /// <param name="map">All settings.</param>
    /// <param name="shares">Some resource of the agent fetches its images from a registry.</param>
    /// <param name="invalid">Makes the error of a key.</param>
    internal static ImageSettings Read(JsonObject map, bool shares, Func<string, string, LaunchException> invalid)
    {
        var warnings = new List<string>();
        var (type, destination, builder) = ReadBuilder(map, shares, warnings, invalid);
        var registry = Registry(map, warnings, invalid);
        Environment(map, warnings, invalid);
        var repository = destination ?? registry;
        if (repository is not null && !shares)
        {
            warnings.Add(
                $"Images are not pushed to {repository}: the resources of this agent run them on the engine that builds them."
            );
        }

        return new ImageSettings
        {
            NoBuild = type == "noop",
            Builder = builder,
            Repository = repository,
            Warnings = warnings,
        };
    }

    private static (string Type, string? Destination, string? Builder) ReadBuilder(
        JsonObject map,
        bool shares,
        List<string> warnings,
        Func<string, string, LaunchException> invalid
    )
    {
        // Both may be there: build is what the agent of 2022 read, and builder today's.
        var key = map["builder"] is JsonObject { Count: > 0 } ? "builder" : "build";
        if (Section(map, key, invalid) is not { } section)
        {
            return ("docker", null, null);
        }

        Check(section, key, ["type", "platform", "destination", KanikoImage, BuildKitImage, .. OfKaniko], invalid);
        var type =
            Text(section, "type")
            ?? (
                key == "build"
                    ? "docker"
                    : throw invalid("builder.type", $"is missing. Give one of: {string.Join(", ", Builders)}.")
            );
        CheckType(type, key, Builders, invalid);
        var inCluster = type is KubeBuilder.Kaniko or KubeBuilder.BuildKit;
        if (inCluster && !shares)
        {
            warnings.Add(
                $"{key}.type {type} is not followed: no resource of this agent is a cluster, so that images are built by the Docker Engine that it uses, with the same content."
            );
        }

        var own = RuntimeInformation.OSArchitecture == Architecture.Arm64 ? "linux/arm64" : "linux/amd64";
        if (Text(section, "platform") is { } platform && (platform != own || inCluster))
        {
            warnings.Add(
                $"{key}.platform {platform} is not followed: images are made for {(inCluster && shares ? "the platform of the node that builds them" : $"the engine's own, {own}")}."
            );
        }

        var unused = OfKaniko.Where(section.ContainsKey).Select(k => $"{key}.{k}").ToList();
        if (unused.Count > 0)
        {
            warnings.Add(
                $"{string.Join(", ", unused)}: not used. Code reaches a build in the cluster by the cluster's own means, and logins are docker's on this machine."
            );
        }

        var image = Text(section, type == KubeBuilder.Kaniko ? KanikoImage : BuildKitImage);
        var builder = inCluster && shares ? type + (image is null ? "" : "=" + image) : null;
        try
        {
            _ = KubeBuilder.Parse(builder);
        }
        catch (LaunchException e)
        {
            throw invalid($"{key}.{type}-image", "is no name of an image: " + e.Message);
        }

        return (type, Place(section, key, "destination", invalid), builder);
    }

    private static string? Registry(
        JsonObject map,
        List<string> warnings,
        Func<string, string, LaunchException> invalid
    )
    {
        if (Section(map, "registry", invalid) is not { } section)
        {
            return null;
        }

        var type = Text(section, "type");
        if (type is not null)
        {
            CheckType(type, "registry", Registries, invalid);
        }

        if (type == "local")
        {
            return null;
        }

        var unused = section.Select(p => p.Key).Where(k => k is not ("type" or "uri" or "url")).ToList();
        if (unused.Count > 0)
        {
            warnings.Add(
                $"{string.Join(", ", unused.Select(k => "registry." + k))}: not used. Registries are logged in to as docker does on this machine: docker login, or its credential helpers."
                    + (unused.Except(OfRegistry).Any() ? " The registry's place is registry.uri." : "")
            );
        }

        return Place(section, "registry", "uri", invalid) ?? Place(section, "registry", "url", invalid);
    }

    private static void Environment(
        JsonObject map,
        List<string> warnings,
        Func<string, string, LaunchException> invalid
    )
    {
        if (Section(map, "environment", invalid) is not { } section)
        {
            return;
        }

        var type =
            Text(section, "type")
            ?? throw invalid("environment.type", $"is missing. Give one of: {string.Join(", ", Environments)}.");
        CheckType(type, "environment", Environments, invalid);
        if (type != "local")
        {
            warnings.Add(
                $"{string.Join(", ", section.Select(p => "environment." + p.Key))}: not used. Programs and credential helpers of this machine find {type} by its own variables and files; -Environment gives runs theirs."
            );
        }
    }

    private static JsonObject? Section(JsonObject map, string key, Func<string, string, LaunchException> invalid) =>
        map[key] switch
        {
            null or JsonObject { Count: 0 } => null,
            JsonObject section => section,
            _ => throw invalid(key, "must be a mapping."),
        };

    private static void Check(
        JsonObject section,
        string name,
        string[] known,
        Func<string, string, LaunchException> invalid
    )
    {
        if (section.FirstOrDefault(k => !known.Contains(k.Key)) is { Key: { } unknown })
        {
            throw invalid(
                $"{name}.{unknown}",
                $"is not a setting of a builder{(Spelling.Near(unknown, known) is { } near ? $" (is '{near}' meant?)" : "")}. Known are: {string.Join(", ", known)}."
            );
        }
    }

    private static void CheckType(
        string type,
        string section,
        string[] known,
        Func<string, string, LaunchException> invalid
    )
    {
        if (!known.Contains(type))
        {
            throw invalid(
                $"{section}.type",
                $"is '{type}'{(Spelling.Near(type, known) is { } near ? $" (is '{near}' meant?)" : "")}. Give one of: {string.Join(", ", known)}."
            );
        }
    }

    // Without a tag: each image has one of its own.
    private static string? Place(
        JsonObject section,
        string name,
        string key,
        Func<string, string, LaunchException> invalid
    )
    {
        if (Text(section, key) is not { } text)
        {
            return null;
        }

        var place = (text.StartsWith("https://", StringComparison.Ordinal) ? text["https://".Length..] : text).TrimEnd(
            '/'
        );
        return
            place.Length == 0
            || place.Contains("://", StringComparison.Ordinal)
            || place.Any(char.IsWhiteSpace)
            || place.LastIndexOf(':') > place.LastIndexOf('/') && place.Contains('/')
            ? throw invalid(
                $"{name}.{key}",
                $"is '{text}': give the name of a repository without a tag, such as registry.example.org/team/launch."
            )
            : place;
    }

    private static string? Text(JsonObject map, string key) =>
        map[key] is JsonValue value && value.ToString() is { Length: > 0 } text ? text : null;
}
