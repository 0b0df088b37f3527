using System.Collections.Concurrent;
using System.Globalization;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>
/// Reads what runs print from the files that they print to. On a shared file system those are files of this machine; by ssh one
/// call brings what is new of all runs that are followed.
/// </summary>
internal sealed class SlurmLog(SlurmSites sites, ConcurrentDictionary<string, byte> over)
{
    private const int MostHere = 1 << 20;
    private const int MostFar = 1 << 18;

    private static readonly TimeSpan HerePause = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan FarPause = TimeSpan.FromSeconds(3);

    // A file system of a cluster shows the last bytes of another machine late.
    private static readonly TimeSpan Tail = TimeSpan.FromSeconds(3);

    private readonly ConcurrentDictionary<string, Gathering> _far = new(StringComparer.Ordinal);

    /// <summary>Hands over the output of a run from a place on, to its end where it is followed.</summary>
    internal async Task ReadAsync(
        string place,
        string id,
        string? from,
        bool follow,
        IRunLogSink to,
        CancellationToken token
    )
    {
        var site = sites.Get(place);
        var at = long.TryParse(from, NumberStyles.None, CultureInfo.InvariantCulture, out var reached) ? reached : 0;
        var pause = site.IsHere ? HerePause : FarPause;
        var gathering = site.IsHere ? null : _far.GetOrAdd(place, _ => new Gathering(site, sites.Time));
        DateTimeOffset? ended = null;
        while (true)
        {
            (byte[] Bytes, bool Over) read;
            try
            {
                var (root, _) = await site.OpenAsync(token);
                read = gathering is null
                    ? await ReadHereAsync(Path.Combine(root, "runs", id), at, token)
                    : await gathering.ReadAsync(root, id, at, token);
            }
            catch (Exception e) when (follow && e is LaunchException or IOException)
            {
                read = ([], false);
            }

            if (read.Bytes.Length > 0)
            {
                to.Output(RunStream.Output, read.Bytes);
                at += read.Bytes.Length;
                to.Reached(at);
                ended = null;
                if (read.Bytes.Length == (site.IsHere ? MostHere : MostFar))
                {
                    continue;
                }
            }

            if (!follow)
            {
                return;
            }

            if (read.Bytes.Length == 0 && (read.Over || over.ContainsKey(id)))
            {
                ended ??= sites.Time.GetUtcNow();
                if (over.ContainsKey(id) && sites.Time.GetUtcNow() - ended >= (site.IsHere ? HerePause : Tail))
                {
                    return;
                }
            }

            await Task.Delay(pause, sites.Time, token);
        }
    }

    private static async Task<(byte[] Bytes, bool Over)> ReadHereAsync(string folder, long at, CancellationToken token)
    {
        // Asked first: what it wrote before its end is there by then.
        var isOver = File.Exists(Path.Combine(folder, "exit"));
        try
        {
            var stream = new FileStream(
                Path.Combine(folder, "output.log"),
                FileMode.Open,
                FileAccess.Read,
                FileShare.ReadWrite | FileShare.Delete,
                0,
                FileOptions.Asynchronous
            );
            await using (stream)
            {
                var length = Math.Min(MostHere, stream.Length - at);
                if (length <= 0)
                {
                    return ([], isOver);
                }

                stream.Position = at;
                var bytes = new byte[length];
                var read = await stream.ReadAtLeastAsync(bytes, bytes.Length, false, token);
                return (read == bytes.Length ? bytes : bytes[..read], isOver);
            }
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            // It has printed nothing yet, or was forgotten.
            return ([], isOver);
        }
    }

    // Those that ask within a moment are asked for together.
    private sealed class Gathering(SlurmSite site, TimeProvider time)
    {
        private static readonly TimeSpan Moment = TimeSpan.FromMilliseconds(200);

        private readonly object _lock = new();
        private Dictionary<string, long> _asked = new(StringComparer.Ordinal);
        private Task<Dictionary<string, (byte[] Bytes, bool Over)>>? _answer;

        internal async Task<(byte[] Bytes, bool Over)> ReadAsync(
            string root,
            string id,
            long at,
            CancellationToken token
        )
        {
            Task<Dictionary<string, (byte[] Bytes, bool Over)>> answer;
            lock (_lock)
            {
                _asked[id] = at;
                answer = _answer ??= AskAsync(root);
            }

            return (await answer.WaitAsync(token)).GetValueOrDefault(id, ([], false));
        }

        private async Task<Dictionary<string, (byte[] Bytes, bool Over)>> AskAsync(string root)
        {
            await Task.Delay(Moment, time);
            Dictionary<string, long> asked;
            lock (_lock)
            {
                (asked, _asked, _answer) = (_asked, new Dictionary<string, long>(StringComparer.Ordinal), null);
            }

            var result = await site.RunAsync(
                SlurmScripts.Logs,
                [
                    root,
                    MostFar.ToString(CultureInfo.InvariantCulture),
                    .. asked.SelectMany(a => new[] { a.Key, a.Value.ToString(CultureInfo.InvariantCulture) }),
                ],
                CancellationToken.None
            );
            var all = new Dictionary<string, (byte[] Bytes, bool Over)>(StringComparer.Ordinal);
            foreach (var line in SlurmSite.Lines(result.Output))
            {
                if (line[0] == '=' && line[1..].Split(' ') is [var id, var text])
                {
                    all[id] = (Convert.FromBase64String(text), false);
                }
                else if (line[0] == '.')
                {
                    all[line[1..]] = (all.GetValueOrDefault(line[1..]).Bytes ?? [], true);
                }
            }

            return all;
        }
    }
}
