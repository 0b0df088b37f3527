using System.Text.Json;
using WandbLaunch.Foundation;
using WandbLaunch.Wandb;

namespace WandbLaunch.Sources;

/// <summary>What the SDK writes about a run into <c>wandb-metadata.json</c>, which the server makes runInfo of (protocol D.2).</summary>
internal sealed record RunMetadata
{
    internal const string FileName = "wandb-metadata.json";

    internal static readonly RunMetadata None = new();

    internal string? Program { get; init; }

    /// <summary>Path of the program inside the repository.</summary>
    internal string? CodePath { get; init; }
    internal IReadOnlyList<string> Args { get; init; } = [];
    internal string? Python { get; init; }
    internal string? Executable { get; init; }
    internal int GpuCount { get; init; }

    /// <summary>Major and minor version of CUDA.</summary>
    internal string? Cuda { get; init; }

    /// <summary>Folder of the repository on the machine where it ran.</summary>
    internal string? Root { get; init; }

    /// <summary>Image that it ran in.</summary>
    internal string? Docker { get; init; }
    internal string? Remote { get; init; }
    internal string? Commit { get; init; }

    /// <summary>As the server tells it of a run.</summary>
    internal RunInfo Info => new(Program, Args, Python, Executable, CodePath is not null, GpuCount, Remote, Commit);

    /// <exception cref="LaunchException"><c>RunInfoMissing</c>: it is broken.</exception>
    internal static RunMetadata Read(byte[] bytes, string what)
    {
        try
        {
            using var document = JsonDocument.Parse(bytes);
            var root = document.RootElement;
            return new RunMetadata
            {
                Program = root.Text("program"),
                CodePath = root.Text("codePath"),
                Args = root.Items("args").Select(a => a.ToString()).ToArray(),
                Python = root.Text("python"),
                Executable = root.Text("executable"),
                GpuCount =
                    root.At("gpu_count") is { ValueKind: JsonValueKind.Number } gpus && gpus.TryGetInt32(out var count)
                        ? count
                        : 0,
                Cuda = root.Text("cuda") is { Length: > 0 } cuda ? string.Join('.', cuda.Split('.').Take(2)) : null,
                Root = root.Text("root"),
                Docker = root.Text("docker") is { Length: > 0 } image ? image : null,
                Remote = root.Text("git", "remote"),
                Commit = root.Text("git", "commit"),
            };
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new LaunchException(
                "RunInfoMissing",
                LaunchErrorCategory.InvalidData,
                $"The {FileName} of {what} is broken{Notebook.Line(e)}.",
                what,
                e
            );
        }
    }

    /// <summary>Of a run whose server told the most of it already: a file that is missing or broken adds nothing.</summary>
    internal static async Task<RunMetadata> OfAsync(IRunRecord record, CancellationToken token)
    {
        if (await record.FileAsync(FileName, SourceFiles.SmallFile, token) is not { } bytes)
        {
            return None;
        }

        try
        {
            return Read(bytes, record.Describe);
        }
        catch (LaunchException e) when (e.ErrorId == "RunInfoMissing")
        {
            return None;
        }
    }
}
