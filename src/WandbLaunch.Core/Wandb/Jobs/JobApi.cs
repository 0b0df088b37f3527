using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Wandb;

/// <summary>Reads and makes jobs (protocol B.8, D.3, H.3).</summary>
internal sealed partial class JobApi(ArtifactApi artifacts)
{
    internal const string DefinitionFile = "wandb-job.json";
    internal const string FrozenFile = "requirements.frozen.txt";
    private const long SmallFile = 16L << 20;

    internal ArtifactApi Artifacts => artifacts;

    internal async Task<WandbLaunchJob> GetAsync(JobPath path, CancellationToken token)
    {
        var found = await artifacts.GetAsync(path.Entity, path.Project, $"{path.Name}:{path.Alias}", token);
        return found is null
            ? throw new LaunchException(
                "JobNotFound",
                LaunchErrorCategory.ObjectNotFound,
                $"There is no job {path}, or this key may not see it. See Get-WandbLaunchJob -Entity {path.Entity} -Project {path.Project}.",
                path.ToString()
            )
            : await ReadAsync(found, token);
    }

    internal async Task<IReadOnlyList<WandbLaunchJob>> ListAsync(
        string entity,
        string project,
        Func<string, bool> wanted,
        bool all,
        CancellationToken token
    )
    {
        var jobs = new List<WandbLaunchJob>();
        var versions = (await artifacts.ListAsync(entity, project, "job", token)).Where(v => wanted(v.Collection));
        foreach (var found in all ? versions : versions.GroupBy(v => v.Collection).Select(g => g.First()))
        {
            jobs.Add(await ReadAsync(found, token));
        }

        return jobs;
    }

    /// <summary>A file of a job, or null.</summary>
    internal async Task<byte[]?> FileAsync(WandbLaunchJob job, string name, long limit, CancellationToken token)
    {
        var file = (await artifacts.FilesAsync(job.Id, token)).FirstOrDefault(f => f.Path == name);
        return file.Url is null ? null : await artifacts.ReadAsync(file.Url, name, limit, token);
    }

    private async Task<WandbLaunchJob> ReadAsync(ArtifactInfo artifact, CancellationToken token)
    {
        var file = (await artifacts.FilesAsync(artifact.Id, token)).FirstOrDefault(f => f.Path == DefinitionFile);
        JsonObject? json = null;
        try
        {
            json = file.Url is null
                ? null
                : JsonNode.Parse(await artifacts.ReadAsync(file.Url, DefinitionFile, SmallFile, token)) as JsonObject;
        }
        catch (JsonException)
        {
            // Listed as it is; launching it says what is wrong.
        }

        var source = json?["source"];
        return new WandbLaunchJob
        {
            Id = artifact.Id,
            Name = artifact.Collection,
            Entity = artifact.Entity,
            Project = artifact.Project,
            Version = artifact.Version is { } version ? $"v{version}" : null,
            Alias = [.. artifact.Aliases.Where(a => !VersionForm().IsMatch(a))],
            SourceType = json?["source_type"]?.ToString(),
            Source = Secrets.Mask(
                (source?["git"]?["remote"] ?? source?["artifact"] ?? source?["image"])?.ToString() ?? ""
            ),
            Commit = source?["git"]?["commit"]?.ToString(),
            EntryPoint = source?["entrypoint"] is JsonArray words ? [.. words.Select(w => w?.ToString() ?? "")] : [],
            PythonVersion = json?["runtime"]?.ToString(),
            Description = artifact.Description,
            Created = artifact.Created,
            Json = json,
        };
    }

    /// <summary>Makes a job of what is given, as <c>wandb job create</c> does: a hidden run logs it and is deleted.</summary>
    internal async Task<(WandbLaunchJob Job, bool Made)> CreateAsync(
        string entity,
        string project,
        JobSource source,
        CancellationToken token
    ) =>
        await artifacts.WithRunAsync(
            entity,
            project,
            "cli_create_job",
            async run =>
            {
                var definition = source.Definition;
                if (source.Code is { } code)
                {
                    var (logged, _) = await artifacts.LogAsync(
                        run,
                        "code",
                        "code-" + Safe(source.Name),
                        code,
                        [],
                        null,
                        null,
                        token
                    );
                    var hex = Convert.ToHexString(Convert.FromBase64String(logged.Id)).ToLowerInvariant();
                    definition["source"]!["artifact"] = $"wandb-artifact://_id/{hex}";
                }

                var files = new List<ArtifactContent>
                {
                    Text(DefinitionFile, definition.ToJsonString()),
                    Text(FrozenFile, source.Requirements ?? ""),
                };
                if (source.Patch is { } patch)
                {
                    files.Add(new ArtifactContent("diff.patch", () => new MemoryStream(patch)));
                }

                var (artifact, made) = await artifacts.LogAsync(
                    run,
                    "job",
                    Safe(source.Name),
                    files,
                    [.. source.Aliases.Append("latest").Distinct()],
                    source.Description,
                    "{\"_partial\": true}",
                    token
                );
                return (await ReadAsync(artifact, token), made);
            },
            token
        );

    /// <summary>Id of the code artifact that a job names.</summary>
    internal static string CodeArtifactId(string reference)
    {
        var hex = reference.Replace("wandb-artifact://_id/", "", StringComparison.Ordinal).Split('/')[0];
        try
        {
            return Convert.ToBase64String(Convert.FromHexString(hex));
        }
        catch (FormatException)
        {
            // Today's SDK writes the id itself.
            return hex;
        }
    }

    /// <summary>Every character outside letters, digits, _ - . becomes _; over 128 the middle goes (protocol B.8).</summary>
    internal static string Safe(string name)
    {
        var clean = Unsafe().Replace(name, "_");
        return clean.Length > 128 ? clean[..63] + ".." + clean[^63..] : clean;
    }

    private static ArtifactContent Text(string path, string text) =>
        new(path, () => new MemoryStream(Encoding.UTF8.GetBytes(text)));

    [GeneratedRegex("[^A-Za-z0-9_.-]")]
    private static partial Regex Unsafe();

    [GeneratedRegex(@"^v\d+$")]
    private static partial Regex VersionForm();
}

/// <summary>What a job is made of.</summary>
internal sealed record JobSource(string Name, JsonObject Definition)
{
    internal IReadOnlyList<ArtifactContent>? Code { get; init; }
    internal string? Requirements { get; init; }
    internal byte[]? Patch { get; init; }
    internal IReadOnlyList<string> Aliases { get; init; } = [];
    internal string? Description { get; init; }

    private static JsonObject Base(string type, JsonObject source, string? runtime) =>
        new()
        {
            ["_version"] = "v0",
            ["_partial"] = "v0",
            ["source_type"] = type,
            ["source"] = source,
            ["input_types"] = new JsonObject { ["wb_type"] = "unknown" },
            ["output_types"] = new JsonObject { ["wb_type"] = "unknown" },
            ["runtime"] = runtime,
        };

    internal static JobSource Repository(
        string remote,
        string commit,
        IReadOnlyList<string> entryPoint,
        string? runtime
    ) =>
        new(
            $"job-{remote}_{entryPoint.FirstOrDefault(w => w.EndsWith(".py", StringComparison.Ordinal)) ?? (entryPoint.Count > 0 ? entryPoint[0] : "")}",
            Base(
                "repo",
                new JsonObject
                {
                    ["git"] = new JsonObject { ["remote"] = remote, ["commit"] = commit },
                    ["entrypoint"] = Words(entryPoint),
                    ["notebook"] = false,
                },
                runtime
            )
        );

    internal static JobSource Folder(
        string name,
        IReadOnlyList<ArtifactContent> code,
        IReadOnlyList<string> entryPoint,
        string? runtime
    ) =>
        new(
            name,
            Base(
                "artifact",
                new JsonObject
                {
                    ["artifact"] = "",
                    ["entrypoint"] = Words(entryPoint),
                    ["notebook"] = false,
                },
                runtime
            )
        )
        {
            Code = code,
        };

    internal static JobSource Image(string image)
    {
        // The tag becomes an alias, and is no part of the name.
        var slash = image.LastIndexOf('/');
        var colon = image.IndexOf(':', slash + 1);
        return new JobSource(
            "job-" + (colon < 0 ? image : image[..colon]).Split('@')[0],
            Base("image", new JsonObject { ["image"] = image }, null)
        )
        {
            Aliases = colon < 0 || image.Contains('@', StringComparison.Ordinal) ? [] : [image[(colon + 1)..]],
        };
    }

    private static JsonArray Words(IReadOnlyList<string> words) =>
        new([.. words.Select(w => (JsonNode?)JsonValue.Create(w))]);
}
