using System.Security.Cryptography;
using System.Text;

namespace WandbLaunch.Foundation;

/// <summary>Where mirrors, workspaces and virtual environments are kept, and how large they may grow.</summary>
internal sealed class LaunchCache(string root)
{
    internal string Root { get; } = root;

    internal string GitFolder(string remote) =>
        Path.Combine(FileModes.CreatePrivateFolder(Path.Combine(Root, "git")), Hash(remote)[..24]);

    internal string WorkspaceFolder(string key) =>
        Path.Combine(FileModes.CreatePrivateFolder(Path.Combine(Root, "workspaces")), Hash(key)[..24]);

    internal string VenvFolder(string key) =>
        Path.Combine(FileModes.CreatePrivateFolder(Path.Combine(Root, "venvs")), Hash(key)[..24]);

    /// <summary>What is kept of an environment or an image that could not be made: what the tools said.</summary>
    internal string FailureFolder(string key) => VenvFolder(key) + ".failed";

    internal static string Hash(string text) =>
        Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(text))).ToLowerInvariant();

    internal static string Hash(ReadOnlySpan<byte> bytes) =>
        Convert.ToHexString(SHA256.HashData(bytes)).ToLowerInvariant();

    /// <summary>Marks an entry as used now: the oldest go first when the cache is trimmed.</summary>
    internal static void Touch(string folder)
    {
        try
        {
            Directory.SetLastAccessTimeUtc(folder, DateTime.UtcNow);
            Directory.SetLastWriteTimeUtc(folder, DateTime.UtcNow);
        }
        catch (IOException)
        {
            // A cache entry that another process is removing.
        }
    }

    internal IEnumerable<CacheEntry> Entries()
    {
        foreach (var kind in new[] { "git", "workspaces", "venvs" })
        {
            var folder = new DirectoryInfo(Path.Combine(Root, kind));
            if (!folder.Exists)
            {
                continue;
            }

            foreach (var entry in folder.EnumerateDirectories())
            {
                yield return new CacheEntry(kind, entry.Name, Size(entry), entry.LastWriteTimeUtc, entry.FullName);
            }
        }
    }

    /// <summary>Removes one entry unless a launch holds it.</summary>
    internal static bool Remove(CacheEntry entry)
    {
        using var held = FileLock.TryEnter(entry.Path + ".lock");
        if (held is null)
        {
            return false;
        }

        DeleteFolder(entry.Path);
        return true;
    }

    /// <summary>Brings the cache below a size in bytes, oldest entries first.</summary>
    internal void Trim(long maxBytes)
    {
        var entries = Entries().OrderByDescending(e => e.LastUsed).ToList();
        long total = 0;
        foreach (var entry in entries)
        {
            total += entry.Size;
            if (total > maxBytes)
            {
                Remove(entry);
            }
        }
    }

    internal static void DeleteFolder(string path)
    {
        if (!Directory.Exists(path))
        {
            return;
        }

        // git's object files are read-only, which stops a delete on Windows.
        if (OperatingSystem.IsWindows())
        {
            foreach (
                var file in Directory.EnumerateFiles(
                    path,
                    "*",
                    new EnumerationOptions { RecurseSubdirectories = true, AttributesToSkip = 0 }
                )
            )
            {
                File.SetAttributes(file, FileAttributes.Normal);
            }
        }

        Directory.Delete(path, true);
    }

    private static long Size(DirectoryInfo folder)
    {
        try
        {
            return folder
                .EnumerateFiles(
                    "*",
                    new EnumerationOptions
                    {
                        RecurseSubdirectories = true,
                        AttributesToSkip = FileAttributes.ReparsePoint,
                        IgnoreInaccessible = true,
                    }
                )
                .Sum(f => f.Length);
        }
        catch (IOException)
        {
            return 0;
        }
    }
}

/// <summary>One entry of the caches.</summary>
/// <param name="Kind">git, workspaces or venvs.</param>
/// <param name="Name">Hash that names it.</param>
/// <param name="Size">Bytes on disk.</param>
/// <param name="LastUsed">When a launch last used it, UTC.</param>
/// <param name="Path">Where it is.</param>
public sealed record CacheEntry(string Kind, string Name, long Size, DateTime LastUsed, string Path);
