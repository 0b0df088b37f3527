using System.Text.Json;
using Dapper;
using Microsoft.Data.Sqlite;

namespace WandbLaunch.Server.Data;

/// <summary>A user as it is kept: of the key there is a hash alone.</summary>
internal sealed record UserRecord
{
    public long Id { get; init; }
    public string Name { get; init; } = "";

    /// <summary>ADMIN, MEMBER or READ_ONLY.</summary>
    public string Role { get; init; } = "";

    /// <summary>A list, as JSON.</summary>
    public string Teams { get; init; } = "[]";
    public string KeyHash { get; init; } = "";
    public string CreatedAt { get; init; } = "";

    /// <summary>When the key was made.</summary>
    public string KeyAt { get; init; } = "";

    internal string[] TeamNames => JsonSerializer.Deserialize<string[]>(Teams)!;
}

/// <summary>Users of the server.</summary>
internal sealed class UserRepository(Database database)
{
    private const string Select =
        "SELECT id AS Id, name AS Name, role AS Role, teams AS Teams, key_hash AS KeyHash, created_at AS CreatedAt, key_at AS KeyAt FROM users";

    internal List<UserRecord> All() => database.Read(c => c.Query<UserRecord>(Select + " ORDER BY name").AsList());

    internal UserRecord? Find(string name) =>
        database.Read(c => c.QueryFirstOrDefault<UserRecord>(Select + " WHERE name = @name", new { name }));

    /// <exception cref="ServerFault">There is one of this name.</exception>
    internal UserRecord Add(string name, string role, IEnumerable<string> teams, string keyHash)
    {
        try
        {
            return database.Write(c =>
                c.QuerySingle<UserRecord>(
                    "INSERT INTO users (name, role, teams, key_hash, created_at, key_at) VALUES (@name, @role, @teams, @keyHash, @now, @now) RETURNING id AS Id, name AS Name, role AS Role, teams AS Teams, key_hash AS KeyHash, created_at AS CreatedAt, key_at AS KeyAt",
                    new
                    {
                        name,
                        role,
                        teams = JsonSerializer.Serialize(teams),
                        keyHash,
                        now = Database.Now,
                    }
                )
            );
        }
        catch (SqliteException e) when (e.SqliteExtendedErrorCode == SQLitePCL.raw.SQLITE_CONSTRAINT_UNIQUE)
        {
            throw new RequestFault(409, $"There is a user {name} already.");
        }
    }

    /// <summary>Changes what is given; a new hash is a new key.</summary>
    internal void Change(long id, string? role, IEnumerable<string>? teams, string? keyHash) =>
        database.Write(c =>
            c.Execute(
                "UPDATE users SET role = COALESCE(@role, role), teams = COALESCE(@teams, teams), key_hash = COALESCE(@keyHash, key_hash), key_at = CASE WHEN @keyHash IS NULL THEN key_at ELSE @now END WHERE id = @id",
                new
                {
                    id,
                    role,
                    teams = teams is null ? null : JsonSerializer.Serialize(teams),
                    keyHash,
                    now = Database.Now,
                }
            )
        );

    internal void Remove(long id) => database.Write(c => c.Execute("DELETE FROM users WHERE id = @id", new { id }));
}
