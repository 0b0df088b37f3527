using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.Import;

/// <summary>Takes a run folder that the SDK left on disk into a server.</summary>
internal static class RunFolderImport
{
    private const int Lines = 1000;

    internal static bool IsRunFolder(string folder) =>
        Directory.Exists(Path.Combine(folder, "files"))
        && (
            File.Exists(Path.Combine(folder, "files", "wandb-metadata.json"))
            || Directory.EnumerateFiles(folder, "*.wandb").Any()
        );

    /// <summary>The run folders that a path means: itself, those in it, or those in its wandb folder.</summary>
    internal static IReadOnlyList<string> Find(string path)
    {
        if (File.Exists(path) && path.EndsWith(".wandb", StringComparison.Ordinal))
        {
            return [Path.GetDirectoryName(path)!];
        }

        if (!Directory.Exists(path))
        {
            throw new LaunchException(
                "RunFolderNotFound",
                LaunchErrorCategory.ObjectNotFound,
                $"There is no folder {path}.",
                path
            );
        }

        if (IsRunFolder(path))
        {
            return [path];
        }

        foreach (var place in new[] { path, Path.Combine(path, "wandb") })
        {
            var found = Directory.Exists(place)
                ? new DirectoryInfo(place)
                    .EnumerateDirectories()
                    .Where(d => d.LinkTarget is null && IsRunFolder(d.FullName))
                    .Select(d => d.FullName)
                    .Order(StringComparer.Ordinal)
                    .ToArray()
                : [];
            if (found.Length > 0)
            {
                return found;
            }
        }

        throw new LaunchException(
            "RunFolderInvalid",
            LaunchErrorCategory.InvalidData,
            $"{path} is not a run folder of the W&B SDK: it has no files folder with a wandb-metadata.json, and no .wandb file.",
            path
        );
    }

    internal static async Task<RunPath> ImportAsync(
        WandbApi api,
        string folder,
        string? entity,
        string? project,
        string defaultEntity,
        Action<string, int?> progress,
        CancellationToken token,
        Action<string>? warn = null
    )
    {
        var files = Path.Combine(folder, "files");
        var log = Directory.EnumerateFiles(folder, "*.wandb").FirstOrDefault();
        var history = new List<string>();
        var run = log is null ? new LoggedRun() : TransactionLog.Read(log, history.Add);
        if (run.Truncated)
        {
            warn?.Invoke(
                $"{log} ends in the middle of a record, or is damaged from there on: the run was cut off, or its disk was. What stands before that is imported."
            );
        }

        var config = ReadConfig(Path.Combine(files, "config.yaml"));
        foreach (var (key, value) in run.Config)
        {
            config[key] = value?.DeepClone();
        }

        var summaryPath = Path.Combine(files, "wandb-summary.json");
        var summary = (JsonObject)run.Summary.DeepClone();
        if (File.Exists(summaryPath) && await ReadSummaryAsync(summaryPath, warn, token) is { } saved)
        {
            foreach (var (key, value) in saved)
            {
                summary[key] = value?.DeepClone();
            }
        }

        var metadataPath = Path.Combine(files, "wandb-metadata.json");
        var info = File.Exists(metadataPath)
            ? Sources.FolderRunRecord.FromMetadata(await File.ReadAllBytesAsync(metadataPath, token), folder)
            : null;
        var name = Path.GetFileName(folder.TrimEnd('/', '\\'));
        var path = new RunPath(
            entity ?? run.Entity ?? defaultEntity,
            project ?? run.Project ?? "uncategorized",
            CheckId(run.Id ?? name[(name.LastIndexOf('-') + 1)..], folder)
        );
        progress($"{path}: run", 0);
        await api.UpsertProjectAsync(path.Entity, path.Project, token);
        await api.UpsertRunAsync(
            new RunUpsert(path.Id, path.Entity, path.Project)
            {
                DisplayName = string.IsNullOrEmpty(run.DisplayName) ? null : run.DisplayName,
                Group = run.Group,
                JobType = run.JobType,
                Notes = run.Notes,
                Host = run.Host,
                Sweep = run.Sweep,
                Tags = run.Tags.Count > 0 ? run.Tags : null,
                Commit = run.Commit ?? info?.Commit,
                Repo = run.Remote is null ? null : Secrets.Mask(run.Remote),
                Program = info?.Program,
                Config = config.ToJsonString(),
                Summary = summary.ToJsonString(),
                State = "running",
            },
            token
        );

        var all = Directory.Exists(files)
            ? new DirectoryInfo(files)
                .EnumerateFiles(
                    "*",
                    new EnumerationOptions
                    {
                        RecurseSubdirectories = true,
                        AttributesToSkip = FileAttributes.ReparsePoint,
                    }
                )
                .OrderBy(f => f.FullName, StringComparer.Ordinal)
                .ToArray()
            : [];
        for (var i = 0; i < all.Length; i += 50)
        {
            progress($"{path}: files", 100 * i / all.Length);
            await api.UploadFilesAsync(
                path,
                [
                    .. all.Skip(i)
                        .Take(50)
                        .Select(f =>
                            (
                                Path.GetRelativePath(files, f.FullName).Replace('\\', '/'),
                                (Func<Stream>)(() => File.OpenRead(f.FullName))
                            )
                        ),
                ],
                token
            );
        }

        for (var i = 0; i < history.Count; i += Lines)
        {
            progress($"{path}: history", 100 * i / history.Count);
            await api.FileStreamAsync(
                path,
                "wandb-history.jsonl",
                i,
                history.GetRange(i, Math.Min(Lines, history.Count - i)),
                token
            );
        }

        // Without an exit record the run was cut off; that is what W&B calls crashed.
        if (run.ExitCode is { } code)
        {
            await api.CompleteAsync(path, code, token);
        }
        else
        {
            await api.UpsertRunAsync(
                new RunUpsert(path.Id, path.Entity, path.Project) { State = log is null ? "finished" : "crashed" },
                token
            );
        }

        return path;
    }

    // It becomes a part of addresses on the server.
    private static string CheckId(string id, string folder) =>
        id.Length is > 0 and <= 128
        && id is not ("." or "..")
        && !id.Any(c => char.IsControl(c) || char.IsWhiteSpace(c) || "/\\#?%:".Contains(c, StringComparison.Ordinal))
            ? id
            : throw new LaunchException(
                "RunFolderInvalid",
                LaunchErrorCategory.InvalidData,
                $"{folder} says that its run's id is '{(id.Length > 60 ? id[..60] + "…" : id)}', which cannot be the id of a run.",
                folder
            );

    private static async Task<JsonObject?> ReadSummaryAsync(string path, Action<string>? warn, CancellationToken token)
    {
        try
        {
            new TreeLimits(path, "RunFolderInvalid").CheckLength(new FileInfo(path).Length);
            return JsonText.Tolerant(await File.ReadAllTextAsync(path, token)) as JsonObject;
        }
        catch (JsonException e)
        {
            warn?.Invoke($"{path} is not JSON ({e.Message}); the summary of the run's log is used.");
            return null;
        }
    }

    // config.yaml: wandb_version, then name: {desc, value}.
    private static JsonObject ReadConfig(string path)
    {
        var config = new JsonObject();
        if (File.Exists(path))
        {
            foreach (var (key, value) in LaunchConfig.YamlObject(path))
            {
                if (key != "wandb_version" && value is JsonObject entry)
                {
                    config[key] = entry.DeepClone();
                }
            }
        }

        return config;
    }
}
