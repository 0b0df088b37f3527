using System.Collections.Concurrent;

namespace WandbLaunch.PowerShell;

/// <summary>
/// What completers have found, kept for the life of a connection. Tab never waits long: what is older than its time is
/// asked for again behind the prompt, and until the answer is there the old values are offered, or none.
/// </summary>
internal sealed class CompletionCache(TimeProvider time)
{
    // Less than a tenth of a second with what PowerShell itself needs.
    private static readonly TimeSpan Patience = TimeSpan.FromMilliseconds(80);

    private static readonly TimeSpan Limit = TimeSpan.FromSeconds(10);

    // Words of other entities, projects and runs; nobody comes back to them after so many.
    private const int MostKeys = 200;

    private readonly ConcurrentDictionary<string, Entry> _entries = new(StringComparer.Ordinal);

    /// <summary>The values of a key: kept ones while they are fresh and hold what is wanted, else what a new question gives in time.</summary>
    /// <param name="key">The completer, and everything that its values depend on.</param>
    /// <param name="fresh">How long values count as new.</param>
    /// <param name="ask">Gives the values; cancelled after ten seconds.</param>
    /// <param name="fits">False for values in which nothing begins with the word: perhaps it was made just now.</param>
    internal IReadOnlyList<(string Value, string Tip)> Get(
        string key,
        TimeSpan fresh,
        Func<CancellationToken, Task<IReadOnlyList<(string Value, string Tip)>>> ask,
        Func<IReadOnlyList<(string Value, string Tip)>, bool> fits
    )
    {
        if (_entries.Count > MostKeys)
        {
            _entries.Clear();
        }

        var entry = _entries.GetOrAdd(key, _ => new Entry());
        Task refresh;
        lock (entry)
        {
            if (entry.Values is { } kept && time.GetElapsedTime(entry.Asked) < fresh && fits(kept))
            {
                return kept;
            }

            if (entry.Refresh is not { IsCompleted: false })
            {
                entry.Refresh = Task.Run(() => RefreshAsync(entry, ask));
            }

            refresh = entry.Refresh;
        }

#pragma warning disable VSTHRD002 // PowerShell waits for a completer, and this long at most.
        refresh.Wait(Patience);
#pragma warning restore VSTHRD002
        lock (entry)
        {
            return entry.Values ?? [];
        }
    }

    private async Task RefreshAsync(
        Entry entry,
        Func<CancellationToken, Task<IReadOnlyList<(string Value, string Tip)>>> ask
    )
    {
        try
        {
            var asked = time.GetTimestamp();
            using var limit = new CancellationTokenSource(Limit, time);
            var values = await ask(limit.Token).WaitAsync(limit.Token);
            lock (entry)
            {
                (entry.Values, entry.Asked) = (values, asked);
            }
        }
        catch (Exception)
        {
            // A completer has nobody to tell, whatever it was; the old values stay, and the next Tab asks again.
        }
    }

    private sealed class Entry
    {
        internal IReadOnlyList<(string Value, string Tip)>? Values { get; set; }

        internal long Asked { get; set; }

        internal Task? Refresh { get; set; }
    }
}
