using Microsoft.Data.Sqlite;

namespace WandbLaunch.Server.Data;

/// <summary>What the page adds to the tables: queues that are paused, and the history of items.</summary>
internal static class PageSchema
{
    // Triggers, and no words of the code that changes an item: whoever changes its state, and for whatever reason, it is told.
    // None is on what is pushed, whose rate counts: when an item was queued is in the item.
    private const string Tables = """
        ALTER TABLE queues ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
        CREATE TABLE item_events (id INTEGER PRIMARY KEY, item INTEGER NOT NULL, at TEXT NOT NULL, state TEXT NOT NULL, agent INTEGER, note TEXT);
        CREATE INDEX item_events_by_item ON item_events (item, id);
        CREATE TRIGGER items_told AFTER UPDATE OF state ON items WHEN OLD.state IS NOT NEW.state
        BEGIN
          INSERT INTO item_events (item, at, state, agent, note)
          VALUES (NEW.id, strftime('%Y-%m-%dT%H:%M:%f', 'now'), NEW.state, NEW.agent, CASE NEW.state WHEN 'PENDING' THEN 'Its agent did not begin it in time, so it waits again.' END);
        END;
        CREATE TRIGGER items_forgotten AFTER DELETE ON items
        BEGIN
          DELETE FROM item_events WHERE item = OLD.id;
        END;
        CREATE INDEX items_active ON items (queue, state) WHERE state IN ('LEASED', 'CLAIMED');
        CREATE INDEX items_ended ON items (queue, finished_at, state) WHERE finished_at IS NOT NULL;
        CREATE INDEX items_by_run ON items (run_name) WHERE run_name IS NOT NULL;
        """;

    /// <summary>The step of a database.</summary>
    internal static void Add(SqliteConnection connection)
    {
        using var command = Database.Command(connection, Tables);
        command.ExecuteNonQuery();
    }
}
