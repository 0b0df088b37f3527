using System.Buffers.Binary;
using System.Text.Json;
using System.Text.Json.Nodes;
using Google.Protobuf;
using WandbLaunch.Foundation;

namespace WandbLaunch.Import;

/// <summary>What the SDK's transaction log tells about a run.</summary>
internal sealed class LoggedRun
{
    internal string? Id;
    internal string? Entity;
    internal string? Project;
    internal string? DisplayName;
    internal string? Group;
    internal string? JobType;
    internal string? Notes;
    internal string? Host;
    internal string? Sweep;
    internal string? Remote;
    internal string? Commit;
    internal DateTimeOffset? Started;
    internal int? ExitCode;
    internal List<string> Tags { get; } = [];
    internal JsonObject Config { get; } = [];
    internal JsonObject Summary { get; } = [];
    internal List<string> Files { get; } = [];
    internal bool Truncated;
}

/// <summary>
/// Reads a <c>.wandb</c> file: 7 bytes of header, then a LevelDB log (32 KiB blocks) of protobuf <c>Record</c> messages
/// (wandb_internal.proto of v0.12.21). History goes to the caller row by row, for it may be large.
/// </summary>
internal static class TransactionLog
{
    private const int Block = 32768;

    // What the SDK never comes near, and a damaged or hostile log could claim.
    private const int MaxRecord = 64 << 20;
    private const int MaxFields = 1_000_000;
    private const int MaxPath = 24;

    private static readonly uint[] CrcTable = [.. Enumerable.Range(0, 256).Select(CrcEntry)];

    internal static LoggedRun Read(string path, Action<string> history)
    {
        using var stream = Open(path);
        using var records = Records(stream).GetEnumerator();
        var run = new LoggedRun();
        while (TryApplyNext(records, run, history))
        {
            // One after the other.
        }

        return run;
    }

    /// <summary>The rows of history alone, read as they are asked for.</summary>
    internal static IEnumerable<string> History(string path)
    {
        using var stream = Open(path);
        using var records = Records(stream).GetEnumerator();
        var run = new LoggedRun();
        var rows = new List<string>();
        while (TryApplyNext(records, run, rows.Add))
        {
            foreach (var row in rows)
            {
                yield return row;
            }

            rows.Clear();
        }
    }

    private static FileStream Open(string path)
    {
        var stream = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite, 1 << 16);
        Span<byte> head = stackalloc byte[7];
        if (stream.ReadAtLeast(head, 7, false) < 7 || !head.StartsWith(":W&B"u8))
        {
            stream.Dispose();
            throw new LaunchException(
                "TransactionLogInvalid",
                LaunchErrorCategory.InvalidData,
                $"{path} is not a W&B transaction log: it does not begin with ':W&B'. Copy the run's folder again from where it ran.",
                path
            );
        }

        return stream;
    }

    private static bool TryApplyNext(IEnumerator<byte[]> records, LoggedRun run, Action<string> history)
    {
        try
        {
            if (!records.MoveNext())
            {
                return false;
            }

            Apply(run, records.Current, history);
            return true;
        }
        catch (Exception e) when (e is InvalidProtocolBufferException or EndOfStreamException)
        {
            // A run that was killed leaves a last record that is not whole; everything before it counts.
            run.Truncated = true;
            return false;
        }
    }

    private static IEnumerable<byte[]> Records(FileStream stream)
    {
        var position = 7L;
        var parts = new MemoryStream();
        var header = new byte[7];
        while (true)
        {
            var left = Block - (int)(position % Block);
            if (left < 7)
            {
                stream.Seek(left, SeekOrigin.Current);
                position += left;
                continue;
            }

            var read = stream.ReadAtLeast(header, 7, false);
            if (read == 0)
            {
                yield break;
            }

            var length = BinaryPrimitives.ReadUInt16LittleEndian(header.AsSpan(4));
            var type = header[6];
            if (read < 7 || type is < 1 or > 4 || length > left - 7)
            {
                throw new EndOfStreamException();
            }

            var data = new byte[length];
            stream.ReadExactly(data);
            position += 7 + length;
            if (Crc(type, data) != BinaryPrimitives.ReadUInt32LittleEndian(header) || parts.Length + length > MaxRecord)
            {
                throw new EndOfStreamException();
            }

            if (type is 1 or 2)
            {
                parts.SetLength(0);
            }

            parts.Write(data);
            if (type is 1 or 4)
            {
                yield return parts.ToArray();
            }
        }
    }

    // Field numbers of message Record: run 17, history 2, summary 3, config 5, files 6, exit 18. Output (4 and 13) is in output.log, and may be large.
    private static void Apply(LoggedRun run, byte[] record, Action<string> history)
    {
        foreach (var (field, bytes, _) in Fields(record))
        {
            switch (field)
            {
                case 17:
                    ApplyRun(run, bytes);
                    break;
                case 2:
                    history(Items(bytes, 1, []).ToJsonString());
                    break;
                case 3:
                    Update(run.Summary, bytes, false);
                    break;
                case 5:
                    Update(run.Config, bytes, true);
                    break;
                case 6:
                    run.Files.AddRange(
                        Fields(bytes).Where(f => f.Number == 1).Select(f => Text(f.Bytes, 1)).OfType<string>()
                    );
                    break;
                case 18:
                    run.ExitCode = ExitCodes.Fold(
                        unchecked((long)Fields(bytes).Where(f => f.Number == 1).Select(f => f.Value).FirstOrDefault())
                    );
                    break;
            }
        }
    }

    private static void ApplyRun(LoggedRun run, byte[] bytes)
    {
        foreach (var (field, content, _) in Fields(bytes))
        {
            string Text() => System.Text.Encoding.UTF8.GetString(content);
            switch (field)
            {
                case 1:
                    run.Id = Text();
                    break;
                case 2:
                    run.Entity = Text();
                    break;
                case 3:
                    run.Project = Text();
                    break;
                case 4:
                    Update(run.Config, content, true);
                    break;
                case 5:
                    Update(run.Summary, content, false);
                    break;
                case 6:
                    run.Group = Text();
                    break;
                case 7:
                    run.JobType = Text();
                    break;
                case 8:
                    run.DisplayName = Text();
                    break;
                case 9:
                    run.Notes = Text();
                    break;
                case 10:
                    run.Tags.Add(Text());
                    break;
                case 12:
                    run.Sweep = Text();
                    break;
                case 13:
                    run.Host = Text();
                    break;
                case 17:
                    var seconds = Fields(content).Where(f => f.Number == 1).Select(f => f.Value).FirstOrDefault();
                    run.Started = seconds is >= -62_135_596_800 and <= 253_402_300_799
                        ? DateTimeOffset.FromUnixTimeSeconds(seconds)
                        : null;
                    break;
                case 21:
                    foreach (var (number, value, _) in Fields(content))
                    {
                        run.Remote = number == 1 ? System.Text.Encoding.UTF8.GetString(value) : run.Remote;
                        run.Commit = number == 2 ? System.Text.Encoding.UTF8.GetString(value) : run.Commit;
                    }

                    break;
            }
        }
    }

    // update = 1 and remove = 2, each an item with key 1, nested_key 2, value_json 16.
    private static void Update(JsonObject target, byte[] bytes, bool isConfig)
    {
        foreach (var (key, value) in Items(bytes, 1, []))
        {
            target[key] = isConfig
                ? new JsonObject { ["value"] = value?.DeepClone(), ["desc"] = null }
                : value?.DeepClone();
        }

        foreach (var (key, _) in Items(bytes, 2, []))
        {
            target.Remove(key);
        }
    }

    private static JsonObject Items(byte[] bytes, int number, JsonObject into)
    {
        foreach (var (_, item, _) in Fields(bytes).Where(f => f.Number == number))
        {
            var path = new List<string>();
            JsonNode? value = null;
            foreach (var (field, content, _) in Fields(item))
            {
                switch (field)
                {
                    case 1:
                        path.Insert(0, System.Text.Encoding.UTF8.GetString(content));
                        break;
                    case 2:
                        path.Add(System.Text.Encoding.UTF8.GetString(content));
                        break;
                    case 16:
                        value = Json(System.Text.Encoding.UTF8.GetString(content));
                        break;
                }
            }

            if (path.Count == 0)
            {
                continue;
            }

            if (path.Count > MaxPath)
            {
                throw new EndOfStreamException();
            }

            var target = into;
            foreach (var name in path.SkipLast(1))
            {
                target = (JsonObject)(target[name] is JsonObject inner ? inner : target[name] = new JsonObject());
            }

            target[path[^1]] = value;
        }

        return into;
    }

    // The SDK writes NaN and Infinity, which JSON does not know; they are kept as their names.
    private static JsonNode? Json(string text)
    {
        try
        {
            return JsonText.Tolerant(text);
        }
        catch (JsonException)
        {
            return JsonValue.Create(text);
        }
    }

    // The SDK's checksum of a piece: CRC-32 of its kind and content (zlib's, not LevelDB's own).
    private static uint Crc(byte type, byte[] data)
    {
        var crc = CrcTable[(0xFFFFFFFF ^ type) & 0xFF] ^ 0x00FFFFFF;
        foreach (var value in data)
        {
            crc = CrcTable[(crc ^ value) & 0xFF] ^ (crc >> 8);
        }

        return ~crc;
    }

    private static uint CrcEntry(int value)
    {
        var entry = (uint)value;
        for (var bit = 0; bit < 8; bit++)
        {
            entry = (entry & 1) == 1 ? 0xEDB88320 ^ (entry >> 1) : entry >> 1;
        }

        return entry;
    }

    private static string? Text(byte[] message, int number) =>
        Fields(message)
            .Where(f => f.Number == number)
            .Select(f => System.Text.Encoding.UTF8.GetString(f.Bytes))
            .FirstOrDefault();

    private static List<(int Number, byte[] Bytes, long Value)> Fields(byte[] message)
    {
        var fields = new List<(int, byte[], long)>();
        var input = new CodedInputStream(message);
        uint tag;
        while ((tag = input.ReadTag()) != 0)
        {
            if (fields.Count >= MaxFields)
            {
                throw new EndOfStreamException();
            }

            var number = WireFormat.GetTagFieldNumber(tag);
            switch (WireFormat.GetTagWireType(tag))
            {
                case WireFormat.WireType.LengthDelimited:
                    fields.Add((number, input.ReadBytes().ToByteArray(), 0));
                    break;
                case WireFormat.WireType.Varint:
                    fields.Add((number, [], input.ReadInt64()));
                    break;
                default:
                    input.SkipLastField();
                    break;
            }
        }

        return fields;
    }
}
