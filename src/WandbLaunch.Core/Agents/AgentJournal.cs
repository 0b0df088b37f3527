using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using WandbLaunch.Foundation;
using WandbLaunch.Launching;
using WandbLaunch.Model;

namespace WandbLaunch.Agents;

/// <summary>How far an item has come on this machine.</summary>
[JsonConverter(typeof(JsonStringEnumConverter<EntryState>))]
internal enum EntryState
{
    /// <summary>Popped, perhaps acknowledged.</summary>
    Popped,

    /// <summary>This agent's, perhaps being prepared.</summary>
    Claimed,

    /// <summary>Handed to its supervisor: it runs, or ran.</summary>
    Started,

    /// <summary>Its end is known and still to be reported.</summary>
    Ended,
}

/// <summary>How an item ended, as the server is told.</summary>
internal sealed record EntryReport(string State, int? ExitCode, string? Message, string? Stage, string? LogPath);

/// <summary>One item that an agent holds, as it is on disk.</summary>
internal sealed record JournalEntry
{
    private LaunchConfig? _config;

    /// <summary>The item's own name on this machine, and that of its first launch: folder, process and container, so that a second start collides.</summary>
    public required string LaunchId { get; init; }
    public required string Item { get; init; }
    public required string Server { get; init; }
    public required string Entity { get; init; }
    public required string QueueProject { get; init; }
    public required string Queue { get; init; }
    public required string QueueId { get; init; }

    /// <summary>As it was queued; it may be anything.</summary>
    public required JsonObject Spec
    {
        get;
        init
        {
            field = value;
            _config = null;
        }
    }

    /// <summary>Why the spec could not be read; it is empty then.</summary>
    public string? Fault { get; init; }
    public EntryState State { get; init; }
    public int Attempt { get; init; }
    public DateTimeOffset Taken { get; init; }
    public IReadOnlyList<string>? Gpus { get; init; }
    public EntryReport? Report { get; init; }

    /// <summary>How many of its runs a cluster took away, each of which had an engine's job of its own.</summary>
    public int Disruptions { get; init; }

    /// <summary>Why the last of them was lost.</summary>
    public string? Disrupted { get; init; }

    /// <summary>Since when it waits for its next run, where one was lost.</summary>
    public DateTimeOffset? Again { get; init; }

    /// <summary>
    /// Names the launch of this attempt. One whose run was lost has another name than the one before: what may still be left of
    /// that one, on a node that nobody reaches, can be taken for no part of it.
    /// </summary>
    [JsonIgnore]
    internal string AttemptId =>
        Disruptions == 0 ? LaunchId : LaunchId + "-" + (Disruptions + 1).ToString(CultureInfo.InvariantCulture);

    /// <summary>From when its limit for a start counts.</summary>
    [JsonIgnore]
    internal DateTimeOffset Asked => Again ?? Taken;

    /// <summary>What can be read of the spec; whether it can be used is for <see cref="ItemPreparation"/> to say.</summary>
    [JsonIgnore]
    internal LaunchConfig Config => _config ??= LaunchConfig.Tolerant(Spec);

    [JsonIgnore]
    internal string RunId => Config.RunId ?? LaunchId;

    [JsonIgnore]
    internal string RunEntity => Config.Entity ?? Entity;
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

    internal void Remove(string launchId)
    {
        if (Directory.Exists(Folder))
        {
            File.Delete(PathOf(launchId));
        }
    }

    internal bool Has(string launchId) => File.Exists(PathOf(launchId));

    /// <summary>How many entries there are, readable or not.</summary>
    internal int Count() =>
        Directory.Exists(Folder)
            ? Directory.EnumerateFiles(Folder, "*.json").Count(p => Path.GetFileName(p)[0] != '.')
            : 0;

    /// <summary>Held by whoever looks after an item: not two agents of this user, whatever their journals say.</summary>
    internal static FileLock? TryHold(string dataFolder, string launchId)
    {
        var folder = FileModes.CreatePrivateFolder(Path.Combine(dataFolder, "agents-items"));
        return FileLock.TryEnter(Path.Combine(folder, launchId + ".lock"));
    }

    /// <summary>Lets go of an item that is done.</summary>
    internal static void LetGo(string dataFolder, string launchId, FileLock held)
    {
        // Deleted while it is held, so that nobody waits at a file that is gone for others: who opens it now makes a new one.
        try
        {
            File.Delete(Path.Combine(dataFolder, "agents-items", launchId + ".lock"));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // Windows deletes no open file: an empty one stays.
        }

        held.Dispose();
    }

    /// <summary>All entries that can be read. A damaged one is put aside for a person to look at, and told of once.</summary>
    internal IReadOnlyList<JournalEntry> Entries(Action<string>? damaged = null)
    {
        string[] paths;
        try
        {
            paths = Directory.Exists(Folder) ? Directory.GetFiles(Folder, "*.json") : [];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            paths = [];
        }

        var entries = new List<JournalEntry>();
        foreach (var path in paths.Where(p => Path.GetFileName(p)[0] != '.').Order(StringComparer.Ordinal))
        {
            string text;
            try
            {
                text = FileModes.ReadShared(path);
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Taken by another agent just now, or not readable at the moment: it stays where it is.
                continue;
            }

            if (Read(text, Path.GetFileNameWithoutExtension(path)) is { } entry)
            {
                entries.Add(entry);
                continue;
            }

            // Written by a rename, so half of one means a broken disk.
            var aside = path + ".broken-" + DateTime.UtcNow.ToString("yyyyMMddHHmmss", CultureInfo.InvariantCulture);
            try
            {
                File.Move(path, aside, true);
                damaged?.Invoke(
                    $"The journal's entry {Path.GetFileName(path)} is damaged and cannot be looked after; its item may still be claimed on the server. It was kept as {aside}."
                );
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                // Said when it can be put aside, or it would be said at every look.
            }
        }

        return entries;
    }

    /// <summary>An entry, or null when anything of it is missing or of another kind than this program writes.</summary>
    private static JournalEntry? Read(string text, string launchId)
    {
        try
        {
            var entry = JsonSerializer.Deserialize<JournalEntry>(text, LaunchStore.Json);
            if (
                entry is null
                || entry.LaunchId != launchId
                || entry.Item is null
                || entry.Server is null
                || entry.Entity is null
                || entry.QueueProject is null
                || entry.Queue is null
                || entry.QueueId is null
                || entry.Spec is null
                || entry.Gpus?.Contains(null!) == true
                || !Enum.IsDefined(entry.State)
                || (entry.State == EntryState.Ended && entry.Report is not { State: not null })
            )
            {
                return null;
            }

            using var document = JsonDocument.Parse(text);
            var (spec, fault) = ItemSpec.Read(document.RootElement.GetProperty("Spec"));
            return entry with { Spec = spec, Fault = entry.Fault ?? fault };
        }
        catch (Exception e)
            when (e
                    is JsonException
                        or InvalidOperationException
                        or ArgumentException
                        or NotSupportedException
                        or KeyNotFoundException
            )
        {
            return null;
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
