using System.Collections.Concurrent;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>Brings code to the cluster: once for the same code, however many run it.</summary>
internal sealed class SlurmCodes
{
    // Which code is there already, by place and hash; and of one that is being sent, the sending.
    private readonly ConcurrentDictionary<string, Task> _sent = new(StringComparer.Ordinal);

    /// <summary>Sends the code of a folder, and gives the hash that names it there.</summary>
    /// <exception cref="LaunchException"><c>SlurmFolderFailed</c>.</exception>
    internal async Task<string> SendAsync(SlurmSite site, string workspace, CancellationToken token)
    {
        var (root, _) = await site.OpenAsync(token);
        var path = Path.GetTempFileName();
        try
        {
            var archive = new FileStream(
                path,
                FileMode.Create,
                FileAccess.ReadWrite,
                FileShare.None,
                1 << 16,
                FileOptions.Asynchronous
            );
            await using (archive)
            {
                var hash = await SlurmCode.PackAsync(workspace, archive, token);
                var key = site.Place + "\n" + hash;
                var sending = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
                var known = _sent.GetOrAdd(key, sending.Task);
                if (known != sending.Task)
                {
                    await known.WaitAsync(token);
                    return hash;
                }

                try
                {
                    await SendAsync(site, root, hash, archive, token);
                    sending.SetResult();
                }
                catch (Exception e)
                {
                    _sent.TryRemove(key, out _);
                    sending.SetException(e);
                    _ = sending.Task.Exception;
                    throw;
                }

                return hash;
            }
        }
        finally
        {
            File.Delete(path);
        }
    }

    private static async Task SendAsync(
        SlurmSite site,
        string root,
        string hash,
        FileStream archive,
        CancellationToken token
    )
    {
        if ((await site.RunAsync(SlurmScripts.HasCode, [root, hash], token)).Succeeded)
        {
            return;
        }

        var result = await site.RunAsync(
            SlurmScripts.TakeCode,
            [root, hash],
            (stream, t) => archive.CopyToAsync(stream, t),
            Timeout.InfiniteTimeSpan,
            token
        );
        if (!result.Succeeded)
        {
            throw new LaunchException(
                "SlurmFolderFailed",
                LaunchErrorCategory.WriteError,
                $"The code could not be written to {root} on {site.Name}: {SlurmSite.Last(result.Error)} Is there room ('df', 'quota')? Choose another folder with -SlurmFolder.",
                root
            );
        }
    }
}
