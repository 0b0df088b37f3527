using Microsoft.Data.Sqlite;

namespace WandbLaunch.Server.Data;

/// <summary>Who did what.</summary>
internal static class AuditSchema
{
    private const string Tables = """
        CREATE TABLE audit (
          id INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, user TEXT NOT NULL, action TEXT NOT NULL, operation TEXT NOT NULL, entity TEXT, project TEXT, subject TEXT NOT NULL, queue INTEGER,
          client TEXT NOT NULL, address TEXT NOT NULL);
        CREATE INDEX audit_by_time ON audit (at);
        """;

    /// <summary>The step of a database.</summary>
    internal static void Add(SqliteConnection connection)
    {
        using var command = Database.Command(connection, Tables);
        command.ExecuteNonQuery();
    }
}
