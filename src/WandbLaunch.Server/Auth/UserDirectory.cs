using System.Collections.Frozen;
using System.Globalization;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Auth;

/// <summary>Who has which key: all of it in memory, and made again when a user changes, so that a request costs one look.</summary>
internal sealed partial class UserDirectory
{
    private const int MostUsers = 10_000;
    private const int MostTeams = 100;

    private readonly UserRepository _users;
    private readonly ServerKey _key;
    private readonly object _lock = new();
    private volatile Known _known;

    public UserDirectory(UserRepository users, ServerKey key)
    {
        _users = users;
        _key = key;
        _known = Read();
    }

    /// <summary>Whoever has the server's own key.</summary>
    internal static Caller Owner { get; } = new(0, Caller.OwnName, Role.Admin, []);

    /// <summary>Whose key this is; null where it is nobody's.</summary>
    internal Caller? Find(ReadOnlySpan<byte> key)
    {
        if (_key.Is(key))
        {
            return Owner;
        }

        var known = _known;
        if (known.ByKey.Count == 0 || key.Length is 0 or > 200)
        {
            return null;
        }

        // What is compared are hashes of random keys: how long it takes says nothing of a key.
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        SHA256.HashData(key, hash);
        return
            known.ByKey.TryGetValue(Convert.ToHexString(hash), out var found)
            && CryptographicOperations.FixedTimeEquals(hash, found.Hash)
            ? found.Caller
            : null;
    }

    /// <summary>The user of a <see cref="Caller.Pass"/>; null once the key or the user is another.</summary>
    internal Caller? FindByPass(string pass) =>
        pass.Length == 0 ? Owner
        : long.TryParse(pass.Split('-')[0], NumberStyles.None, CultureInfo.InvariantCulture, out var id)
        && _known.ById.GetValueOrDefault(id) is { } found
        && found.Pass == pass
            ? found
        : null;

    /// <summary>A user by name.</summary>
    internal Caller? Find(string name) =>
        name.Equals(Caller.OwnName, StringComparison.OrdinalIgnoreCase) ? Owner : _known.ByName.GetValueOrDefault(name);

    internal IEnumerable<Caller> All => _known.ById.Values.OrderBy(c => c.Name, StringComparer.Ordinal).Prepend(Owner);

    /// <summary>False once the user was changed or removed.</summary>
    internal bool IsCurrent(Caller caller) => ReferenceEquals(FindByPass(caller.Pass), caller);

    internal List<UserRecord> Records() => _users.All();

    /// <summary>Makes a user. The key is told here and never again.</summary>
    /// <exception cref="RequestFault">There is one already, or what is given cannot be.</exception>
    internal (UserRecord User, string Key) Add(string name, string role, IReadOnlyCollection<string> teams)
    {
        lock (_lock)
        {
            if (!UserName().IsMatch(name) || name is "." or "..")
            {
                throw new RequestFault(
                    400,
                    "The name of a user has 1 to 64 letters, digits and the signs _ . - and begins with a letter or digit."
                );
            }

            if (Find(name) is not null)
            {
                throw new RequestFault(409, $"There is a user {name} already.");
            }

            if (_known.ById.Count >= MostUsers)
            {
                throw new RequestFault(400, $"There are {MostUsers} users already, the most that a server has.");
            }

            // Who has a team's name would have all that is the team's.
            if (All.Any(c => c.Teams.Contains(name, StringComparer.OrdinalIgnoreCase)))
            {
                throw new RequestFault(400, $"{name} is a team, and cannot be a user too. Choose another name.");
            }

            var key = NewKey();
            var made = _users.Add(name, CheckRole(role), CheckTeams(teams, name), Hash(key));
            _known = Read();
            return (made, key);
        }
    }

    /// <summary>Changes a user; with a new key the old one is good for nothing more.</summary>
    internal (UserRecord User, string? Key) Change(
        string name,
        string? role,
        IReadOnlyCollection<string>? teams,
        bool newKey
    )
    {
        lock (_lock)
        {
            var user = Need(name);
            var key = newKey ? NewKey() : null;
            _users.Change(
                user.Id,
                role is null ? null : CheckRole(role),
                teams is null ? null : CheckTeams(teams, user.Name),
                key is null ? null : Hash(key)
            );
            _known = Read();
            return (Need(name), key);
        }
    }

    /// <summary>Removes a user. What the user made stays.</summary>
    internal UserRecord Remove(string name)
    {
        lock (_lock)
        {
            var user = Need(name);
            _users.Remove(user.Id);
            _known = Read();
            return user;
        }
    }

    internal static string RoleName(string role) =>
        role switch
        {
            "ADMIN" => nameof(Role.Admin),
            "MEMBER" => nameof(Role.Member),
            _ => nameof(Role.ReadOnly),
        };

    private UserRecord Need(string name) =>
        _users.Find(name) ?? throw new RequestFault(404, $"There is no user {JsonLimits.Short(name, 100)}.");

    private static string CheckRole(string role) =>
        role.ToUpperInvariant() switch
        {
            "ADMIN" => "ADMIN",
            "MEMBER" => "MEMBER",
            "READONLY" or "READ_ONLY" => "READ_ONLY",
            _ => throw new RequestFault(400, "A role is Admin, Member or ReadOnly."),
        };

    private List<string> CheckTeams(IReadOnlyCollection<string> teams, string user)
    {
        if (teams.Count > MostTeams)
        {
            throw new RequestFault(400, $"A user is in at most {MostTeams} teams.");
        }

        foreach (var team in teams)
        {
            Names.CheckPart("the name of a team", team);
            if (team.Equals(user, StringComparison.OrdinalIgnoreCase) || _known.ByName.ContainsKey(team))
            {
                throw new RequestFault(400, $"{team} is a user, and cannot be a team too. Choose another name.");
            }
        }

        return [.. teams.Distinct(StringComparer.Ordinal).Order(StringComparer.Ordinal)];
    }

    // As long as W&B's clients want the last part of a key to be: 206 bits.
    private static string NewKey() =>
        "local-" + RandomNumberGenerator.GetString("abcdefghijklmnopqrstuvwxyz0123456789", 40);

    private static string Hash(string key) => Convert.ToHexString(SHA256.HashData(Encoding.UTF8.GetBytes(key)));

    private Known Read()
    {
        var users = _users
            .All()
            .Select(u =>
                (
                    Record: u,
                    Caller: new Caller(u.Id, u.Name, Enum.Parse<Role>(RoleName(u.Role)), u.TeamNames, u.KeyHash)
                )
            )
            .ToList();

        // Whoever is as before stays who it was: what this user has open goes on.
        for (var i = 0; i < users.Count && _known is { } before; i++)
        {
            var (record, caller) = users[i];
            if (
                before.ById.GetValueOrDefault(record.Id) is { } same
                && before.ByKey.TryGetValue(record.KeyHash, out var key)
                && ReferenceEquals(key.Caller, same)
                && same.Name == caller.Name
                && same.Role == caller.Role
                && same.Teams.SequenceEqual(caller.Teams, StringComparer.Ordinal)
            )
            {
                users[i] = (record, same);
            }
        }

        return new Known(
            users.ToFrozenDictionary(
                u => u.Record.KeyHash,
                u => (Convert.FromHexString(u.Record.KeyHash), u.Caller),
                StringComparer.Ordinal
            ),
            users.ToFrozenDictionary(u => u.Record.Id, u => u.Caller),
            users.ToFrozenDictionary(u => u.Record.Name, u => u.Caller, StringComparer.OrdinalIgnoreCase)
        );
    }

    [GeneratedRegex(@"\A[A-Za-z0-9][A-Za-z0-9_.-]{0,63}\z")]
    private static partial Regex UserName();

    private sealed record Known(
        FrozenDictionary<string, (byte[] Hash, Caller Caller)> ByKey,
        FrozenDictionary<long, Caller> ById,
        FrozenDictionary<string, Caller> ByName
    );
}
