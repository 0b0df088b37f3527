using Microsoft.Data.Sqlite;

namespace WandbLaunch.Server.Data;

/// <summary>Who may use the server.</summary>
internal static class TeamSchema
{
    // An id is never given twice: an address that was signed for somebody is not good for whoever comes next.
    private const string Users = """
        CREATE TABLE users (
          id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE COLLATE NOCASE, role TEXT NOT NULL, teams TEXT NOT NULL DEFAULT '[]', key_hash TEXT NOT NULL UNIQUE,
          created_at TEXT NOT NULL, key_at TEXT NOT NULL);
        """;

    /// <summary>The step of a database.</summary>
    internal static void Add(SqliteConnection connection)
    {
        using var command = Database.Command(connection, Users);
        command.ExecuteNonQuery();
    }
}
