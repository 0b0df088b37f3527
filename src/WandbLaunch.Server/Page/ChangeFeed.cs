using Dapper;
using Microsoft.Data.Sqlite;
using SQLitePCL;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Pages;

/// <summary>What has changed since a page was told last.</summary>
internal sealed class Changes
{
    // More than anyone looks at: from there on everything of a kind is said to have changed.
    private const int Most = 200;

    private readonly Dictionary<string, HashSet<long>> _rows = new(StringComparer.Ordinal);

    internal bool IsEmpty => _rows.Count == 0;

    internal void Add(string table, long row)
    {
        if (!_rows.TryGetValue(table, out var rows))
        {
            _rows[table] = rows = [];
        }

        if (rows.Count <= Most)
        {
            rows.Add(row);
        }
    }

    internal void Add(Changes other)
    {
        foreach (var (table, rows) in other._rows)
        {
            foreach (var row in rows)
            {
                Add(table, row);
            }
        }
    }

    /// <summary>The rows of a table: null where none changed, and empty where too many did.</summary>
    internal IReadOnlyCollection<long>? Rows(string table) =>
        !_rows.TryGetValue(table, out var rows) ? null
        : rows.Count > Most ? []
        : rows;
}

/// <summary>
/// Tells pages what changes, at most four times a second. SQLite itself says which rows a write touches, so that no code
/// that writes has to know of pages; and while no page is open, nobody listens.
/// </summary>
internal sealed class ChangeFeed : IDisposable
{
    private const int MostPages = 500;
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(250);
    private static readonly HashSet<string> Tables = new(StringComparer.Ordinal)
    {
        "agents",
        "items",
        "projects",
        "queues",
        "runs",
        "files",
        "artifacts",
        "sweeps",
    };

    private readonly Database _database;
    private readonly delegate_update _hook;
    private readonly Timer _timer;
    private readonly object _lock = new();
    private readonly HashSet<Subscription> _pages = [];
    private Changes _pending = new();

    public ChangeFeed(Database database)
    {
        _database = database;
        _hook = Touched;
        _timer = new Timer(_ => Send());
    }

    /// <summary>How many pages listen.</summary>
    internal int Count
    {
        get
        {
            lock (_lock)
            {
                return _pages.Count;
            }
        }
    }

    /// <summary>Listens from now on.</summary>
    internal Subscription Subscribe()
    {
        var page = new Subscription(this);
        lock (_lock)
        {
            if (_pages.Count >= MostPages)
            {
                throw new RequestFault(503, "Too many pages are open. Close some and reload this one.");
            }

            _pages.Add(page);
        }

        Listen();
        return page;
    }

    /// <summary>Names of runs by their rows, as they are in addresses.</summary>
    internal List<string> Paths(IReadOnlyCollection<long> runs, Caller caller) =>
        _database.Read(c =>
            c.Query<(string Entity, string, string)>(
                    "SELECT p.entity, p.name, r.name FROM runs r JOIN projects p ON p.id = r.project WHERE r.id IN @runs",
                    new { runs }
                )
                .Where(r => caller.MayRead(r.Entity))
                .Select(r => $"{r.Entity}/{r.Item2}/{r.Item3}")
                .ToList()
        );

    /// <summary>Those rows of a table that somebody may see. What is gone is told to all: it is a number alone.</summary>
    internal IReadOnlyCollection<long> Visible(string table, IReadOnlyCollection<long> rows, Caller caller)
    {
        if (caller.IsAdmin || rows.Count == 0)
        {
            return rows;
        }

        var found = _database.Read(c =>
            c.Query<(long Id, string Entity, string Access, string By)>(
                    table switch
                    {
                        "queues" => "SELECT id, entity, access, created_by FROM queues WHERE id IN @rows",
                        "items" =>
                            "SELECT i.id, q.entity, q.access, q.created_by FROM items i JOIN queues q ON q.id = i.queue WHERE i.id IN @rows",
                        "agents" => "SELECT id, entity, '', '' FROM agents WHERE id IN @rows",
                        "artifacts" => "SELECT id, entity, '', '' FROM artifacts WHERE id IN @rows",
                        "sweeps" =>
                            "SELECT s.id, p.entity, '', '' FROM sweeps s JOIN projects p ON p.id = s.project WHERE s.id IN @rows",
                        "projects" => "SELECT id, entity, '', '' FROM projects WHERE id IN @rows",
                        _ => "SELECT id, '', '', '' FROM items WHERE id IN @rows AND 0",
                    },
                    new { rows }
                )
                .AsList()
        );
        var hidden = found.Where(r => !caller.MaySee(r.Entity, r.Access, r.By)).Select(r => r.Id).ToHashSet();
        return rows.Where(r => !hidden.Contains(r)).ToList() is { Count: > 0 } left ? left : [-1];
    }

    public void Dispose() => _timer.Dispose();

    private void Remove(Subscription page)
    {
        lock (_lock)
        {
            _pages.Remove(page);
        }

        Listen();
    }

    // Under the lock of all writes, so that none is under way.
    private void Listen() =>
        _database.Write(c =>
        {
            var none = Count == 0;
            raw.sqlite3_update_hook(c.Handle, none ? null : _hook, null);
        });

    // By the writer, in the midst of its write.
    private void Touched(object data, int kind, utf8z database, utf8z table, long row)
    {
        var name = table.utf8_to_string();
        if (!Tables.Contains(name))
        {
            return;
        }

        lock (_lock)
        {
            if (_pending.IsEmpty)
            {
                _timer.Change(Pause, Timeout.InfiniteTimeSpan);
            }

            _pending.Add(name, row);
        }
    }

    private void Send()
    {
        try
        {
            // What a page asks for once it is told must be there: not before the write that is under way has ended.
            var changes = _database.Write(_ =>
            {
                lock (_lock)
                {
                    var taken = _pending;
                    _pending = new Changes();
                    return taken;
                }
            });
            lock (_lock)
            {
                foreach (var page in _pages)
                {
                    page.Add(changes);
                }
            }
        }
        catch (Exception e) when (e is SqliteException or ObjectDisposedException)
        {
            // The server ends.
        }
    }

    /// <summary>One page that listens. One that is slow gets what it missed in one piece.</summary>
    internal sealed class Subscription(ChangeFeed feed) : IDisposable
    {
        private readonly SemaphoreSlim _there = new(0, 1);
        private Changes _changes = new();

        /// <summary>What has changed; null when nothing did within the time.</summary>
        internal async Task<Changes?> NextAsync(TimeSpan patience, CancellationToken token)
        {
            if (!await _there.WaitAsync(patience, token))
            {
                return null;
            }

            lock (feed._lock)
            {
                var taken = _changes;
                _changes = new Changes();
                return taken;
            }
        }

        public void Dispose()
        {
            feed.Remove(this);
            _there.Dispose();
        }

        // Under the feed's lock.
        internal void Add(Changes changes)
        {
            var first = _changes.IsEmpty;
            _changes.Add(changes);
            if (first && !changes.IsEmpty)
            {
                _there.Release();
            }
        }
    }
}
