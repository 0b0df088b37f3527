using System.Globalization;
using System.Security.Cryptography;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Backups;

/// <summary>Copies and moves of what a backup is made of.</summary>
internal static class BackupFiles
{
    // Whole or not at all, and what its name says. False where it is not there.
    internal static bool Copy(string from, string to, string hash)
    {
        FileStream source;
        try
        {
            source = new FileStream(from, FileMode.Open, FileAccess.Read, FileShare.Read | FileShare.Delete);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return false;
        }

        using (source)
        {
            var folder = Path.GetDirectoryName(to)!;
            FileStore.CreateFolder(Path.GetDirectoryName(folder)!);
            FileStore.CreateFolder(folder);
            var aside = to + ".new";
            File.Delete(aside);
            using var digest = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            var options = new FileStreamOptions { Mode = FileMode.CreateNew, Access = FileAccess.Write };
            if (!OperatingSystem.IsWindows())
            {
                options.UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;
            }

            using (var target = new FileStream(aside, options))
            {
                var block = new byte[1 << 17];
                int read;
                while ((read = source.Read(block)) > 0)
                {
                    digest.AppendData(block, 0, read);
                    target.Write(block, 0, read);
                }

                target.Flush(true);
            }

            if (!Convert.ToHexString(digest.GetHashAndReset()).Equals(hash, StringComparison.OrdinalIgnoreCase))
            {
                File.Delete(aside);
                throw new StartFault(
                    StartFault.Invalid,
                    $"{from} is damaged: it is not the content that its name says."
                );
            }

            File.Move(aside, to, true);
            return true;
        }
    }

    internal static void Move(string from, string to)
    {
        if (Directory.Exists(from))
        {
            Directory.Move(from, to);
        }
        else
        {
            File.Move(from, to);
        }
    }

    internal static string Free(string path)
    {
        var free = path;
        for (var i = 1; Path.Exists(free) || Path.Exists(free + ".files"); i++)
        {
            free = string.Create(CultureInfo.InvariantCulture, $"{path}.{i}");
        }

        return free;
    }

    internal static void Discard(string database, string files)
    {
        File.Delete(database);
        if (Directory.Exists(files))
        {
            Directory.Delete(files, true);
        }
    }
}
