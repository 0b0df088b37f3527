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
    /// <summary>What is read whole: metadata, summary and config. Everything else is a stream.</summary>
    private const long SmallFile = 64 << 20;

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
        CancellationToken token
    )
    {
        // The folder came from somebody: its links lead to nothing outside it.
        using var opened = SafeFolder.Open(folder);
        var log = opened
            .Entries(e => !e.Path.Contains('/', StringComparison.Ordinal) && e.Kind == EntryKind.File)
            .Select(e => e.Path)
            .FirstOrDefault(p => p.EndsWith(".wandb", StringComparison.Ordinal));

        // The log is read twice: the run must be there before its history goes out, and the history may be larger than memory.
        var rows = 0;
        var logPath = log is null ? null : Path.Combine(folder, log);
        var run = logPath is null ? new LoggedRun() : TransactionLog.Read(logPath, _ => rows++);
        var config = ReadConfig(opened);
        foreach (var (key, value) in run.Config)
        {
            config[key] = value?.DeepClone();
        }

        var summary = (JsonObject)run.Summary.DeepClone();
        if (
            opened.ReadAllBytes("files/wandb-summary.json", "run file", SmallFile) is { } summaryText
            && ParseSummary(summaryText, folder) is JsonObject saved
        )
        {
            foreach (var (key, value) in saved)
            {
                summary[key] = value?.DeepClone();
            }
        }

        var info = opened.ReadAllBytes("files/wandb-metadata.json", "run file", SmallFile) is { } metadata
            ? Sources.FolderRunRecord.FromMetadata(metadata, folder)
            : null;
        var name = Path.GetFileName(folder.TrimEnd('/', '\\'));
        var path = new RunPath(
            entity ?? run.Entity ?? defaultEntity,
            project ?? run.Project ?? "uncategorized",
            run.Id ?? name[(name.LastIndexOf('-') + 1)..]
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

        // What the SDK saved by a link is a file of another place, and stays there.
        var all = opened
            .Entries(e => e.Path == "files" || e.Path.StartsWith("files/", StringComparison.Ordinal))
            .Where(e => e.Kind == EntryKind.File)
            .Select(e => e.Path["files/".Length..])
            .Order(StringComparer.Ordinal)
            .ToArray();
        for (var i = 0; i < all.Length; i += 50)
        {
            progress($"{path}: files", 100 * i / all.Length);
            await api.UploadFilesAsync(
                path,
                [.. all.Skip(i).Take(50).Select(f => (f, (Func<Stream>)(() => opened.OpenExactly("files/" + f))))],
                token
            );
        }

        if (rows > 0)
        {
            var sent = 0;
            var batch = new List<string>(Lines);
            await Task.Run(
                () =>
                    TransactionLog.Read(
                        logPath!,
                        row =>
                        {
                            batch.Add(row);
                            if (batch.Count == Lines)
                            {
                                SendAsync().GetAwaiter().GetResult();
                            }
                        }
                    ),
                token
            );
            await SendAsync();

            async Task SendAsync()
            {
                if (batch.Count > 0)
                {
                    progress($"{path}: history", (int)(100L * sent / rows));
                    await api.FileStreamAsync(path, "wandb-history.jsonl", sent, batch, token);
                    sent += batch.Count;
                    batch.Clear();
                }
            }
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

    private static JsonNode? ParseSummary(byte[] text, string folder)
    {
        try
        {
            return JsonNode.Parse(text);
        }
        catch (JsonException e)
        {
            throw new LaunchException(
                "RunFolderInvalid",
                LaunchErrorCategory.InvalidData,
                $"The files/wandb-summary.json of {folder} is broken{Sources.Notebook.Line(e)}.",
                folder,
                e
            );
        }
    }

    // config.yaml: wandb_version, then name: {desc, value}.
    private static JsonObject ReadConfig(SafeFolder folder)
    {
        var config = new JsonObject();
        if (folder.ReadText("files/config.yaml", "run file", SmallFile) is { } text)
        {
            foreach (
                var (key, value) in LaunchConfig.YamlObject(text, Path.Combine(folder.FullPath, "files", "config.yaml"))
            )
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
