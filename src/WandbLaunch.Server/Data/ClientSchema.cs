using Microsoft.Data.Sqlite;

namespace WandbLaunch.Server.Data;

/// <summary>What W&amp;B's own clients ask for, and was not kept before.</summary>
internal static class ClientSchema
{
    // A row without a step of its own has its line: it is what its reader saw before there were steps.
    private const string Clients = """
        ALTER TABLE history ADD COLUMN step INTEGER;
        UPDATE history SET step = COALESCE(CASE WHEN json_valid(row) AND json_type(row, '$._step') IN ('integer', 'real') THEN CAST(json_extract(row, '$._step') AS INTEGER) END, line);
        CREATE INDEX history_by_step ON history (run, step);
        CREATE TABLE events (run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, line INTEGER NOT NULL, row TEXT NOT NULL, PRIMARY KEY (run, line)) WITHOUT ROWID;
        ALTER TABLE runs ADD COLUMN history_keys TEXT;
        ALTER TABLE runs ADD COLUMN system TEXT;
        ALTER TABLE runs ADD COLUMN sweep_agent INTEGER;
        CREATE INDEX runs_alive ON runs (heartbeat_at) WHERE state IN ('running', 'preempting');
        CREATE INDEX runs_by_sweep ON runs (project, sweep) WHERE sweep IS NOT NULL;
        ALTER TABLE items ADD COLUMN by_run INTEGER NOT NULL DEFAULT 0;
        ALTER TABLE artifacts ADD COLUMN tags TEXT NOT NULL DEFAULT '[]';
        ALTER TABLE artifacts ADD COLUMN ttl INTEGER;
        ALTER TABLE artifacts ADD COLUMN history_step INTEGER;
        ALTER TABLE artifacts ADD COLUMN updated_at TEXT;
        CREATE INDEX artifact_aliases_by_artifact ON artifact_aliases (artifact);
        CREATE INDEX artifacts_by_client ON artifacts (client_id) WHERE client_id IS NOT NULL;
        CREATE INDEX artifacts_by_run ON artifacts (entity, project, run) WHERE run IS NOT NULL;
        CREATE TABLE artifact_types (entity TEXT NOT NULL, project TEXT NOT NULL, name TEXT NOT NULL, description TEXT, created_at TEXT NOT NULL, PRIMARY KEY (entity, project, name)) WITHOUT ROWID;
        INSERT INTO artifact_types SELECT entity, project, type, NULL, MIN(created_at) FROM artifacts GROUP BY entity, project, type;
        CREATE TABLE collections (
          id INTEGER PRIMARY KEY AUTOINCREMENT, entity TEXT NOT NULL, project TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, type TEXT NOT NULL, description TEXT, tags TEXT NOT NULL DEFAULT '[]',
          created_at TEXT NOT NULL, updated_at TEXT, UNIQUE (entity, project, name));
        INSERT INTO collections (entity, project, name, kind, type, created_at) SELECT entity, project, name, 'SEQUENCE', type, MIN(created_at) FROM artifacts GROUP BY entity, project, name;
        CREATE TABLE links (collection INTEGER NOT NULL REFERENCES collections ON DELETE CASCADE, artifact INTEGER NOT NULL REFERENCES artifacts ON DELETE CASCADE, version INTEGER NOT NULL, created_at TEXT NOT NULL, PRIMARY KEY (collection, artifact)) WITHOUT ROWID;
        CREATE INDEX links_by_artifact ON links (artifact);
        CREATE TABLE artifact_uses (artifact INTEGER NOT NULL REFERENCES artifacts ON DELETE CASCADE, run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, used_as TEXT, at TEXT NOT NULL, PRIMARY KEY (artifact, run)) WITHOUT ROWID;
        CREATE INDEX artifact_uses_by_run ON artifact_uses (run);
        CREATE TABLE sweeps (
          id INTEGER PRIMARY KEY AUTOINCREMENT, project INTEGER NOT NULL REFERENCES projects, name TEXT NOT NULL, display_name TEXT, description TEXT, method TEXT NOT NULL, config TEXT NOT NULL, state TEXT NOT NULL,
          controller TEXT, scheduler TEXT, user TEXT, made INTEGER NOT NULL DEFAULT 0, created_at TEXT NOT NULL, updated_at TEXT, heartbeat_at TEXT, UNIQUE (project, name));
        CREATE TABLE sweep_agents (id INTEGER PRIMARY KEY AUTOINCREMENT, sweep INTEGER NOT NULL REFERENCES sweeps ON DELETE CASCADE, name TEXT NOT NULL, host TEXT NOT NULL, made INTEGER NOT NULL DEFAULT 0, created_at TEXT NOT NULL, heartbeat_at TEXT NOT NULL);
        CREATE INDEX sweep_agents_by_sweep ON sweep_agents (sweep);
        CREATE TABLE alerts (
          id INTEGER PRIMARY KEY AUTOINCREMENT, run INTEGER NOT NULL REFERENCES runs ON DELETE CASCADE, title TEXT NOT NULL, text TEXT NOT NULL, severity TEXT NOT NULL, created_at TEXT NOT NULL);
        CREATE INDEX alerts_by_run ON alerts (run, id);
        """;

    internal static void Add(SqliteConnection connection)
    {
        using var command = connection.CreateCommand();
        command.CommandText = Clients;
        command.ExecuteNonQuery();
    }
}
