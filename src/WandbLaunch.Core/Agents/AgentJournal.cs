using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;

namespace WandbLaunch.Agents;

/// <summary>How far an item has come on this machine.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<EntryState>))]
internal enum EntryState
{
    /// <summary>Popped, perhaps acknowledged.</summary>
    Popped,

    /// <summary>This agent's, perhaps being prepared.</summary>
    Claimed,

    /// <summary>Handed to its watcher: it runs, or ran.</summary>
    Started,

    /// <summary>Its end is known and still to be reported.</summary>
    Ended,
}

/// <summary>How an item ended, as the server is told.</summary>
internal sealed record EntryReport(string State, int? ExitCode, string? Message, string? Stage, string? LogPath);

/// <summary>One item that an agent holds, as it is on disk.</summary>
internal sealed record JournalEntry
{
    /// <summary>Names the launch folder, process and container, so that a second start collides.</summary>
    public required string LaunchId { get; init; }
    public required string Item { get; init; }
    public required string Server { get; init; }
    public required string Entity { get; init; }
    public required string QueueProject { get; init; }
    public required string Queue { get; init; }
    public required string QueueId { get; init; }
    public required JsonObject Spec { get; init; }
    public EntryState State { get; init; }
    public int Attempt { get; init; }
    public DateTimeOffset Taken { get; init; }
    public IReadOnlyList<string>? Gpus { get; init; }
    public EntryReport? Report { get; init; }

    [JsonIgnore]
    internal string RunId => Spec["run_id"]?.ToString() is { Length: > 0 } given ? given : LaunchId;

    [JsonIgnore]
    internal string RunEntity => Spec["entity"]?.ToString() is { Length: > 0 } given ? given : Entity;
}

/// <summary>
/// What an agent holds, a file for each item, written before the item is acknowledged. After a crash the next agent of
/// this user on this machine reads it and goes on where the files say.
/// </summary>
internal sealed class AgentJournal(string folder)
{
    private string Folder { get; } = Path.Combine(folder, "items");

    /// <summary>Eight characters that only this item of this server has.</summary>
    internal static string LaunchIdOf(string server, string item)
    {
        var number = new System.Numerics.BigInteger(
            SHA256.HashData(Encoding.UTF8.GetBytes(server + "\n" + item)),
            true
        );
        var text = new StringBuilder(8);
        for (var i = 0; i < 8; i++)
        {
            number = System.Numerics.BigInteger.DivRem(number, 36, out var digit);
            text.Append("0123456789abcdefghijklmnopqrstuvwxyz"[(int)digit]);
        }

        return text.ToString();
    }

    internal void Save(JournalEntry entry) =>
        FileModes.WritePrivate(PathOf(entry.LaunchId), JsonSerializer.Serialize(entry, LaunchStore.Json));

    internal void Remove(string launchId) => File.Delete(PathOf(launchId));

    internal IEnumerable<JournalEntry> Entries()
    {
        if (!Directory.Exists(Folder))
        {
            yield break;
        }

        foreach (
            var path in Directory
                .EnumerateFiles(Folder, "*.json")
                .Where(p => Path.GetFileName(p)[0] != '.')
                .Order(StringComparer.Ordinal)
        )
        {
            JournalEntry? entry = null;
            try
            {
                entry = JsonSerializer.Deserialize<JournalEntry>(File.ReadAllText(path), LaunchStore.Json);
            }
            catch (Exception e) when (e is JsonException or IOException)
            {
                // Written by a rename, so half of one means a broken disk: kept for a person to look at, and not tried again.
                File.Move(
                    path,
                    path + ".broken-" + DateTime.UtcNow.ToString("yyyyMMddHHmmss", CultureInfo.InvariantCulture),
                    true
                );
            }

            if (entry is not null)
            {
                yield return entry;
            }
        }
    }

    /// <summary>Takes over an entry of a journal whose agent is gone; the caller holds that agent's lock.</summary>
    internal void TakeFrom(AgentJournal other, string launchId)
    {
        FileModes.CreatePrivateFolder(Folder);
        File.Move(other.PathOf(launchId), PathOf(launchId), true);
    }

    private string PathOf(string launchId) => Path.Combine(Folder, launchId + ".json");
}
