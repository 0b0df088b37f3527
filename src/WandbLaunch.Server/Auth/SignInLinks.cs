using System.Security.Cryptography;
using System.Text;

namespace WandbLaunch.Server.Auth;

/// <summary>Codes that sign in once, and soon. Only their hashes stay here.</summary>
internal sealed class SignInLinks(TimeProvider time)
{
    /// <summary>How long one is good for: a browser may have to start first.</summary>
    internal static readonly TimeSpan Life = TimeSpan.FromMinutes(2);

    private const int Most = 100;

    private readonly Dictionary<string, (string Pass, long At)> _made = new(StringComparer.Ordinal);

    /// <summary>A code for a user (<see cref="Caller.Pass"/>).</summary>
    internal string Make(string pass)
    {
        var code = Convert.ToHexString(RandomNumberGenerator.GetBytes(32));
        lock (_made)
        {
            foreach (var old in _made.Where(m => time.GetElapsedTime(m.Value.At) >= Life).Select(m => m.Key).ToList())
            {
                _made.Remove(old);
            }

            if (_made.Count >= Most)
            {
                _made.Remove(_made.MinBy(m => m.Value.At).Key);
            }

            _made[Hash(code)] = (pass, time.GetTimestamp());
        }

        return code;
    }

    /// <summary>Whose a code is, the first time that it comes, while it is good.</summary>
    internal string? Use(string code)
    {
        if (code.Length is 0 or > 200)
        {
            return null;
        }

        lock (_made)
        {
            return _made.Remove(Hash(code), out var made) && time.GetElapsedTime(made.At) < Life ? made.Pass : null;
        }
    }

    private static string Hash(string code) => Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(code)));
}
