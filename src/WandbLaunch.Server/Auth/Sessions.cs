using System.Security.Cryptography;
using System.Text;

namespace WandbLaunch.Server.Auth;

/// <summary>
/// Who has signed in to the page. A session has two halves: a cookie that no script can read, and a token that the page
/// keeps for its own origin. A cookie alone goes to every port of its host, so it alone opens nothing.
/// </summary>
internal sealed class Sessions(TimeProvider time)
{
    /// <summary>Header of the page's requests with the token.</summary>
    internal const string TokenHeader = "X-WandbLaunch-Session";

    /// <summary>How long one signs in for.</summary>
    internal static readonly TimeSpan Life = TimeSpan.FromHours(12);

    private const int Most = 1000;

    // Failed tries from one address before it must wait.
    private const int Tries = 10;
    private static readonly TimeSpan Window = TimeSpan.FromMinutes(1);

    private readonly object _lock = new();
    private readonly Dictionary<string, (byte[] Token, long Since, string Pass)> _sessions = new(
        StringComparer.Ordinal
    );
    private readonly Dictionary<string, (int Failed, long Since)> _failures = new(StringComparer.Ordinal);

    /// <summary>Begins a session of a user (<see cref="Caller.Pass"/>). Only hashes stay here.</summary>
    internal (string Cookie, string Token) Begin(string pass)
    {
        var (cookie, token) = (Secret(), Secret());
        lock (_lock)
        {
            foreach (var old in _sessions.Where(s => IsOver(s.Value.Since, Life)).Select(s => s.Key).ToList())
            {
                _sessions.Remove(old);
            }

            if (_sessions.Count >= Most)
            {
                _sessions.Remove(_sessions.MinBy(s => s.Value.Since).Key);
            }

            _sessions[Key(cookie)] = (Hash(token), time.GetTimestamp(), pass);
        }

        return (cookie, token);
    }

    /// <summary>Whose session both halves are of; null where they are of none.</summary>
    internal string? Find(string? cookie, string? token) =>
        Find(cookie) is var (expected, pass)
        && token is { Length: > 0 and < 200 }
        && CryptographicOperations.FixedTimeEquals(expected, Hash(token))
            ? pass
            : null;

    /// <summary>True where the cookie is of a session: enough to be shown the empty page.</summary>
    internal bool IsKnown(string? cookie) => Find(cookie) is not null;

    internal void End(string? cookie)
    {
        lock (_lock)
        {
            _sessions.Remove(Key(cookie ?? ""));
        }
    }

    /// <summary>How long this address must wait before it may try again; zero when it may.</summary>
    internal TimeSpan Wait(string address)
    {
        lock (_lock)
        {
            return
                _failures.TryGetValue(address, out var known) && known.Failed >= Tries && !IsOver(known.Since, Window)
                ? Window - time.GetElapsedTime(known.Since)
                : TimeSpan.Zero;
        }
    }

    internal void Failed(string address)
    {
        lock (_lock)
        {
            if (_failures.Count >= Most)
            {
                foreach (var old in _failures.Where(f => IsOver(f.Value.Since, Window)).Select(f => f.Key).ToList())
                {
                    _failures.Remove(old);
                }
            }

            var known = _failures.GetValueOrDefault(address);
            _failures[address] =
                known.Failed == 0 || IsOver(known.Since, Window)
                    ? (1, time.GetTimestamp())
                    : (known.Failed + 1, known.Since);
        }
    }

    private (byte[] Token, string Pass)? Find(string? cookie)
    {
        if (cookie is not { Length: > 0 and < 200 })
        {
            return null;
        }

        lock (_lock)
        {
            return _sessions.TryGetValue(Key(cookie), out var found) && !IsOver(found.Since, Life)
                ? (found.Token, found.Pass)
                : null;
        }
    }

    private bool IsOver(long since, TimeSpan after) => time.GetElapsedTime(since) >= after;

    private static string Secret() => Convert.ToHexString(RandomNumberGenerator.GetBytes(32));

    private static byte[] Hash(string text) => SHA256.HashData(Encoding.UTF8.GetBytes(text));

    private static string Key(string cookie) => Convert.ToHexString(Hash(cookie));
}
