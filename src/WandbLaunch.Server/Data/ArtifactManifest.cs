using System.Text.Json;

namespace WandbLaunch.Server.Data;

/// <summary>A file that an artifact names: its bytes are kept here, or (a reference) elsewhere.</summary>
/// <param name="Path">Its name in the artifact.</param>
/// <param name="Size">Bytes; 0 where the manifest has no size, or none that a file can have.</param>
/// <param name="Digest">As the manifest has it: base64 of an MD5, or what its place elsewhere calls it.</param>
/// <param name="IsReference">Its bytes are elsewhere.</param>
internal sealed record ManifestEntry(string Path, long Size, string Digest, bool IsReference);

/// <summary>What clients store as an artifact's manifest, unread until somebody asks.</summary>
internal static class ArtifactManifest
{
    private const long LargestFile = 1L << 50;

    /// <summary>The files that it names, in its order. What is no entry is left out, and a text that is no manifest has none.</summary>
    internal static List<ManifestEntry> Entries(byte[]? manifest)
    {
        var entries = new List<ManifestEntry>();
        if (manifest is null)
        {
            return entries;
        }

        try
        {
            using var document = JsonDocument.Parse(manifest);
            if (
                document.RootElement.ValueKind != JsonValueKind.Object
                || !document.RootElement.TryGetProperty("contents", out var contents)
                || contents.ValueKind != JsonValueKind.Object
            )
            {
                return entries;
            }

            foreach (var entry in contents.EnumerateObject())
            {
                if (Read(entry) is { } read)
                {
                    entries.Add(read);
                }
            }
        }
        catch (JsonException)
        {
            // Anything can be stored as one.
        }

        return entries;
    }

    private static ManifestEntry? Read(JsonProperty entry)
    {
        try
        {
            return entry.Value.ValueKind == JsonValueKind.Object
                ? new ManifestEntry(
                    entry.Name,
                    Size(entry.Value),
                    entry.Value.TryGetProperty("digest", out var digest) && digest.ValueKind == JsonValueKind.String
                        ? digest.GetString()!
                        : "",
                    entry.Value.TryGetProperty("ref", out _)
                )
                : null;
        }
        catch (InvalidOperationException)
        {
            // Half of a pair of surrogates is no name that could be asked for.
            return null;
        }
    }

    private static long Size(JsonElement entry) =>
        entry.TryGetProperty("size", out var size)
        && size.ValueKind == JsonValueKind.Number
        && size.TryGetInt64(out var bytes)
        && bytes is >= 0 and < LargestFile
            ? bytes
            : 0;
}
