using Microsoft.Data.Sqlite;

namespace WandbLaunch.Server.Data;

/// <summary>Where an item's run is found on its engine, and what the engine says of it.</summary>
internal static class EngineSchema
{
    internal static void Add(SqliteConnection connection)
    {
        using var command = connection.CreateCommand();
        command.CommandText = "ALTER TABLE items ADD COLUMN engine_id TEXT; ALTER TABLE items ADD COLUMN reason TEXT;";
        command.ExecuteNonQuery();
    }
}
