using LibGit2Sharp;
using WandbLaunch.Foundation;

namespace WandbLaunch.Sources;

// The mirror on disk.
internal sealed partial class GitMirror
{
    private Repository Open()
    {
        RemoveLeftLocks();
        if (!Repository.IsValid(_folder))
        {
            FileModes.CreatePrivateFolder(_folder);
            Repository.Init(_folder, true);
        }

        return new Repository(_folder);
    }

    // Who was killed while it wrote has left its lock, and to libgit2 that is somebody at work for ever: nothing could be
    // fetched from this remote any more. The mirror is ours alone while its own lock is held.
    private void RemoveLeftLocks()
    {
        var deep = new EnumerationOptions
        {
            RecurseSubdirectories = true,
            AttributesToSkip = FileAttributes.ReparsePoint,
        };
        foreach (
            var (folder, options) in new[]
            {
                (_folder, new EnumerationOptions()),
                (Path.Combine(_folder, "refs"), deep),
            }
        )
        {
            if (Directory.Exists(folder))
            {
                foreach (var left in Directory.EnumerateFiles(folder, "*.lock", options))
                {
                    File.Delete(left);
                }
            }
        }
    }
}
