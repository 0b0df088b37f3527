using WandbLaunch.Foundation;
using WandbLaunch.Model;
using WandbLaunch.Wandb;

namespace WandbLaunch.Sources;

/// <summary>A run as it was recorded: on a server, or in the folder that the SDK left.</summary>
internal interface IRunRecord
{
    /// <summary>Name for messages.</summary>
    string Describe { get; }

    Task<RunInfo> InfoAsync(CancellationToken token);

    Task<byte[]?> FileAsync(string name, long limit, CancellationToken token);
}

internal sealed class ServerRunRecord(WandbApi api, RunPath run) : IRunRecord
{
    public string Describe => $"run {run}";

    public Task<RunInfo> InfoAsync(CancellationToken token) => api.RunInfoAsync(run, token);

    public Task<byte[]?> FileAsync(string name, long limit, CancellationToken token) =>
        api.ReadFileAsync(run, name, limit, token);
}

internal sealed class FolderRunRecord(string folder) : IRunRecord
{
    private readonly string _files = Directory.Exists(Path.Combine(folder, "files")) ? "files/" : "";

    public string Describe => $"run folder {folder}";

    public async Task<RunInfo> InfoAsync(CancellationToken token)
    {
        var bytes =
            await FileAsync(RunMetadata.FileName, SourceFiles.SmallFile, token)
            ?? throw new LaunchException(
                "RunInfoMissing",
                LaunchErrorCategory.InvalidData,
                $"{folder} has no files/{RunMetadata.FileName}, so it does not say how the run was started. Launch its code instead: the git URL or folder, with -Argument.",
                folder
            );
        return RunMetadata.Read(bytes, folder).Info;
    }

    public Task<byte[]?> FileAsync(string name, long limit, CancellationToken token)
    {
        // The folder came from somebody: its links lead to nothing outside it.
        using var run = SafeFolder.Open(folder);
        return Task.FromResult(run.ReadAllBytes(_files + name, "run file", limit));
    }
}
