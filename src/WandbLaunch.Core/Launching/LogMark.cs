using System.Text.Json;
using WandbLaunch.Foundation;

namespace WandbLaunch.Launching;

/// <summary>How far a log was copied from an engine that keeps it: where its reading goes on, and the length that the copy had there.</summary>
internal sealed record LogMark(long Length, string Position, string Output, string Error)
{
    internal static string PathOf(string folder) => Path.Combine(folder, "log.json");

    /// <summary>Null where there is none, or none that fits the log that is there.</summary>
    internal static LogMark? Load(string folder, string logPath)
    {
        try
        {
            return
                File.Exists(PathOf(folder))
                && JsonSerializer.Deserialize<LogMark>(File.ReadAllText(PathOf(folder))) is { } mark
                && new FileInfo(logPath) is { Exists: true, LinkTarget: null } log
                && log.Length >= mark.Length
                ? mark
                : null;
        }
        catch (Exception e) when (e is IOException or JsonException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    internal static void Save(string folder, LogMark mark) =>
        FileModes.WritePrivate(PathOf(folder), JsonSerializer.Serialize(mark));

    internal static void Remove(string folder) => File.Delete(PathOf(folder));
}
