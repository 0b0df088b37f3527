using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Sources;
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
                $"There is no folder {path}. Give the run's folder, or one that has a wandb folder in it.",
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
            $"{path} is not a run folder of the W&B SDK: it has no files folder with a wandb-metadata.json, and no .wandb file. Give wandb/run-… or wandb/offline-run-…, or the folder above.",
            path
        );
    }

    internal static async Task<RunPath> ImportAsync(
        WandbApi api,
        string folder,
        string? entity,
        string? project,
        string defaultEntity,
        IProgress<LaunchProgress> progress,
        CancellationToken token,
        Action<string>? warn = null
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
        if (run.Truncated)
        {
            warn?.Invoke(
                $"{logPath} ends in the middle of a record, or is damaged from there on: the run was cut off, or its disk was. What stands before that is imported."
            );
        }

        var config = ReadConfig(opened);
        foreach (var (key, value) in run.Config)
        {
            config[key] = value?.DeepClone();
        }

        var summary = (JsonObject)run.Summary.DeepClone();
        if (
            opened.ReadAllBytes("files/wandb-summary.json", "run file", SmallFile) is { } summaryText
            && ParseSummary(summaryText, folder, warn) is { } saved
        )
        {
            foreach (var (key, value) in saved)
            {
                summary[key] = value?.DeepClone();
            }
        }

        var info = opened.ReadAllBytes("files/" + RunMetadata.FileName, "run file", SmallFile) is { } metadata
            ? RunMetadata.Read(metadata, folder)
            : null;
        var name = Path.GetFileName(folder.TrimEnd('/', '\\'));
        var path = new RunPath(
            entity ?? run.Entity ?? defaultEntity,
            project ?? run.Project ?? "uncategorized",
            CheckId(run.Id ?? name[(name.LastIndexOf('-') + 1)..], folder)
        );
        progress.Report($"{path}: run", 0);
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
            progress.Report($"{path}: files", 100 * i / all.Length);
            await api.UploadFilesAsync(
                path,
                [.. all.Skip(i).Take(50).Select(f => (f, (Func<Stream>)(() => opened.OpenExactly("files/" + f))))],
                token
            );
        }

        if (rows > 0)
        {
            var sent = 0;
            foreach (var batch in TransactionLog.History(logPath!).Chunk(Lines))
            {
                progress.Report($"{path}: history", (int)(100L * sent / rows));
                await api.FileStreamAsync(path, "wandb-history.jsonl", sent, batch, token);
                sent += batch.Length;
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

    private static JsonObject? ParseSummary(byte[] text, string folder, Action<string>? warn)
    {
        try
        {
            return JsonText.Tolerant(Encoding.UTF8.GetString(text)) as JsonObject;
        }
        catch (JsonException e)
        {
            warn?.Invoke(
                $"The files/wandb-summary.json of {folder} is not JSON{Sources.Notebook.Line(e)}; the summary of the run's log is used."
            );
            return null;
        }
    }

    // config.yaml: wandb_version, then name: {desc, value}.
    private static JsonObject ReadConfig(SafeFolder folder)
    {
        var config = new JsonObject();
        if (folder.ReadText("files/config.yaml", "run file", SmallFile) is { } text)
        {
            var map = SafeYaml.Read(text, Path.Combine(folder.FullPath, "files", "config.yaml")) as JsonObject;
            foreach (var (key, value) in map ?? [])
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
