using System.Globalization;
using System.Text.Json;
using WandbLaunch.Foundation;

namespace WandbLaunch.LocalServer;

/// <summary>A backup of a launch server, or what was restored from one.</summary>
public sealed record LaunchServerBackup
{
    /// <summary>Folder of the backup.</summary>
    public required string BackupPath { get; init; }

    /// <summary>SQLite file of the server.</summary>
    public required string Path { get; init; }

    /// <summary>When the backup was made.</summary>
    public DateTimeOffset Created { get; init; }

    /// <summary>How many files of runs and artifacts are in it.</summary>
    public long Files { get; init; }

    /// <summary>Bytes of database and files.</summary>
    public long Size { get; init; }

    /// <summary>How many files were copied this time.</summary>
    public long Copied { get; init; }

    /// <inheritdoc/>
    public override string ToString() => BackupPath;
}

/// <summary>Makes and restores backups, by the server's own program: the server itself goes on, or does not run.</summary>
internal static class ServerBackups
{
    // Exit codes of the server (StartFault there).
    private const int DatabaseUnusable = 3;
    private const int DatabaseInUse = 4;
    private const int Invalid = 8;
    private const int Occupied = 9;

    internal static Task<LaunchServerBackup> MakeAsync(
        LaunchContext context,
        string database,
        string folder,
        CancellationToken token
    ) => RunAsync(context, ["--backup", folder, "--path", database], database, folder, token);

    internal static Task<LaunchServerBackup> RestoreAsync(
        LaunchContext context,
        string folder,
        string database,
        bool force,
        CancellationToken token
    ) =>
        RunAsync(
            context,
            force
                ? ["--restore", folder, "--path", database, "--force", "yes"]
                : ["--restore", folder, "--path", database],
            database,
            folder,
            token
        );

    private static async Task<LaunchServerBackup> RunAsync(
        LaunchContext context,
        string[] words,
        string database,
        string folder,
        CancellationToken token
    )
    {
        using var process = OwnProgram.Server(context.Environment).Start(words, new Dictionary<string, string>());
        process.StandardInput.Close();
        string? line;
        string error;
        try
        {
            var faults = process.StandardError.ReadToEndAsync(token);
            line = await process.StandardOutput.ReadLineAsync(token);
            error = (await faults).Trim();
            await process.WaitForExitAsync(token);
        }
        catch (OperationCanceledException)
        {
            // Half a backup is none: the next goes on where it stopped.
            process.Process.Kill();
            throw;
        }

        if (line?.StartsWith("done ", StringComparison.Ordinal) == true)
        {
            using var answer = JsonDocument.Parse(line["done ".Length..]);
            var root = answer.RootElement;
            return new LaunchServerBackup
            {
                BackupPath = folder,
                Path = database,
                Created = DateTimeOffset.Parse(
                    root.GetProperty("Created").GetString()!,
                    CultureInfo.InvariantCulture,
                    DateTimeStyles.AssumeUniversal
                ),
                Files = root.GetProperty("Files").GetInt64(),
                Size = root.GetProperty("Bytes").GetInt64(),
                Copied = root.GetProperty("Copied").GetInt64(),
            };
        }

        throw process.ExitCode switch
        {
            DatabaseUnusable => new LaunchException(
                "DatabaseUnusable",
                LaunchErrorCategory.InvalidData,
                error,
                database
            ),
            DatabaseInUse => new LaunchException(
                "DatabaseInUse",
                LaunchErrorCategory.ResourceExists,
                $"{error} A server that runs is not written over: Stop-WandbLaunchServer.",
                database
            ),
            Invalid => new LaunchException("BackupInvalid", LaunchErrorCategory.InvalidData, error, folder),
            Occupied => new LaunchException("BackupOccupied", LaunchErrorCategory.ResourceExists, error, folder),
            _ => new LaunchException("BackupFailed", LaunchErrorCategory.WriteError, error, folder),
        };
    }
}
