using System.Globalization;
using Microsoft.Data.Sqlite;

namespace WandbLaunch.Server.Data;

/// <summary>A step that brings a database from the version before to its own.</summary>
internal sealed record SchemaStep(int Version, string Name, Action<SqliteConnection> Run);

/// <summary>
/// What the tables are: as steps, each of which a database passes once. A new database passes all of them, so that there is
/// one text of each table. A step that was released is never changed; what changes the tables is a new step.
/// </summary>
internal static class DatabaseSchema
{
    // Databases of before the steps say version 0, whatever tables of today they have: what makes them 1 and 2 looks first.
    internal static readonly SchemaStep[] Steps =
    [
        new(1, "tables of runs, queues and artifacts, and the database's name", MakeTables),
        new(2, "digests of content that is outside of the database", AddDigests),
        new(3, "where items run, and why they wait", EngineSchema.Add),
        new(4, "queues that are paused, and the history of items", PageSchema.Add),
        new(5, "what W&B's own clients ask for: steps, system metrics, collections, sweeps, alerts", ClientSchema.Add),
        new(6, "users, with their keys, roles and teams", TeamSchema.Add),
        new(7, "the log of who did what", AuditSchema.Add),
    ];

    private const string Tables = """
        CREATE TABLE IF NOT EXISTS projects (id INTEGER PRIMARY KEY, entity TEXT NOT NULL, name TEXT NOT NULL, description TEXT, created_at TEXT NOT NULL, UNIQUE (entity, name));
        CREATE TABLE IF NOT EXISTS runs (
          id INTEGER PRIMARY KEY, project INTEGER NOT NULL REFERENCES projects, name TEXT NOT NULL, display_name TEXT, description TEXT, notes TEXT, tags TEXT NOT NULL DEFAULT '[]',
          state TEXT NOT NULL, stopped INTEGER NOT NULL DEFAULT 0, config TEXT NOT NULL DEFAULT '{}', summary TEXT NOT NULL DEFAULT '{}', grp TEXT, job_type TEXT, sweep TEXT,
          commit_hash TEXT, host TEXT, program TEXT, repo TEXT, user TEXT, exit_code INTEGER, created_at TEXT NOT NULL, heartbeat_at TEXT, updated_at TEXT, UNIQUE (project, name));
        CREATE INDEX IF NOT EXISTS runs_by_created ON runs (project, created_at, id);
        CREATE TABLE IF NOT EXISTS files (run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, name TEXT NOT NULL, md5 TEXT, size INTEGER NOT NULL, updated_at TEXT NOT NULL, content BLOB NOT NULL, PRIMARY KEY (run, name));
        CREATE TABLE IF NOT EXISTS history (run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, line INTEGER NOT NULL, row TEXT NOT NULL, PRIMARY KEY (run, line)) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS console (run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, line INTEGER NOT NULL, row TEXT NOT NULL, PRIMARY KEY (run, line)) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS queues (
          id INTEGER PRIMARY KEY AUTOINCREMENT, entity TEXT NOT NULL, project TEXT NOT NULL, name TEXT NOT NULL, created_by TEXT NOT NULL, access TEXT NOT NULL, created_at TEXT NOT NULL,
          mode TEXT NOT NULL DEFAULT 'DISABLED', resource TEXT, resource_config TEXT, template_variables TEXT, external_links TEXT, deleted INTEGER NOT NULL DEFAULT 0);
        CREATE UNIQUE INDEX IF NOT EXISTS queues_by_name ON queues (entity, project, name) WHERE deleted = 0;
        CREATE TABLE IF NOT EXISTS items (
          id INTEGER PRIMARY KEY AUTOINCREMENT, queue INTEGER NOT NULL REFERENCES queues, spec TEXT NOT NULL, priority INTEGER NOT NULL, state TEXT NOT NULL DEFAULT 'PENDING', created_at TEXT NOT NULL,
          lease_until INTEGER, agent INTEGER, run_name TEXT, claimed_at TEXT, finished_at TEXT, exit_code INTEGER, error TEXT, warnings TEXT);
        CREATE INDEX IF NOT EXISTS items_waiting ON items (queue, priority, id) WHERE state = 'PENDING';
        CREATE INDEX IF NOT EXISTS items_leased ON items (lease_until) WHERE state = 'LEASED';
        CREATE INDEX IF NOT EXISTS items_by_queue ON items (queue, id);
        CREATE TABLE IF NOT EXISTS agents (
          id INTEGER PRIMARY KEY AUTOINCREMENT, entity TEXT NOT NULL, project TEXT NOT NULL, queues TEXT NOT NULL, hostname TEXT NOT NULL, name TEXT NOT NULL, status TEXT NOT NULL, stop_polling INTEGER NOT NULL DEFAULT 0,
          heartbeat_at TEXT NOT NULL, created_at TEXT NOT NULL, config TEXT, version TEXT);
        CREATE TABLE IF NOT EXISTS pushes (request TEXT PRIMARY KEY, answer BLOB NOT NULL, at INTEGER NOT NULL) WITHOUT ROWID;
        CREATE TABLE IF NOT EXISTS resource_configs (id INTEGER PRIMARY KEY AUTOINCREMENT, entity TEXT NOT NULL, resource TEXT NOT NULL, config TEXT NOT NULL, template_variables TEXT NOT NULL DEFAULT '{}');
        CREATE TABLE IF NOT EXISTS artifacts (
          id INTEGER PRIMARY KEY AUTOINCREMENT, entity TEXT NOT NULL, project TEXT NOT NULL, type TEXT NOT NULL, name TEXT NOT NULL, version INTEGER, digest TEXT NOT NULL, state TEXT NOT NULL DEFAULT 'PENDING',
          description TEXT, metadata TEXT, created_at TEXT NOT NULL, run TEXT, client_id TEXT, aliases TEXT NOT NULL DEFAULT '[]', manifest BLOB);
        CREATE INDEX IF NOT EXISTS artifacts_by_name ON artifacts (entity, project, name, version);
        CREATE TABLE IF NOT EXISTS artifact_aliases (entity TEXT NOT NULL, project TEXT NOT NULL, name TEXT NOT NULL, alias TEXT NOT NULL, artifact INTEGER NOT NULL REFERENCES artifacts, PRIMARY KEY (entity, project, name, alias));
        CREATE TABLE IF NOT EXISTS blobs (entity TEXT NOT NULL, md5 TEXT NOT NULL, content BLOB NOT NULL, PRIMARY KEY (entity, md5));
        CREATE TABLE IF NOT EXISTS identity (name TEXT NOT NULL);
        INSERT INTO identity SELECT lower(hex(randomblob(16))) WHERE NOT EXISTS (SELECT 1 FROM identity);
        """;

    /// <summary>The version of databases that this server makes and serves.</summary>
    internal static int Latest => Steps[^1].Version;

    internal static int Version(SqliteConnection connection) =>
        Convert.ToInt32(Scalar(connection, "PRAGMA user_version"), CultureInfo.InvariantCulture);

    /// <summary>Takes the steps that are left, all or none of them.</summary>
    internal static void Upgrade(SqliteConnection connection)
    {
        if (Version(connection) == Latest)
        {
            return;
        }

        // The version is a part of the database's first page, and so of the transaction.
        Execute(connection, "BEGIN IMMEDIATE");
        try
        {
            var from = Version(connection);
            foreach (var step in Steps.Where(s => s.Version > from))
            {
                step.Run(connection);
                Execute(
                    connection,
                    string.Create(CultureInfo.InvariantCulture, $"PRAGMA user_version = {step.Version}")
                );
            }

            Execute(connection, "COMMIT");
        }
        catch
        {
            // A full disk may have rolled back already.
            if (SQLitePCL.raw.sqlite3_get_autocommit(connection.Handle) == 0)
            {
                Execute(connection, "ROLLBACK");
            }

            throw;
        }
    }

    private static void MakeTables(SqliteConnection connection) => Execute(connection, Tables);

    private static void AddDigests(SqliteConnection connection)
    {
        foreach (var table in new[] { "files", "blobs" })
        {
            if (Scalar(connection, $"SELECT 1 FROM pragma_table_info('{table}') WHERE name = 'hash'") is null)
            {
                Execute(connection, $"ALTER TABLE {table} ADD COLUMN hash TEXT");
            }

            Execute(connection, $"CREATE INDEX IF NOT EXISTS {table}_by_hash ON {table} (hash)");
        }
    }

    private static object? Scalar(SqliteConnection connection, string text)
    {
        using var command = connection.CreateCommand();
        command.CommandText = text;
        return command.ExecuteScalar();
    }

    private static void Execute(SqliteConnection connection, string text)
    {
        using var command = connection.CreateCommand();
        command.CommandText = text;
        command.ExecuteNonQuery();
    }
}
