using System.Globalization;
using System.Text.RegularExpressions;
using Dapper;
using Microsoft.Data.Sqlite;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Pages;

/// <summary>Which runs a table shows, and in which order.</summary>
internal sealed record RunQuery(long Project, string? Filter, string? Text, string Sort);

/// <summary>
/// The table of a project's runs. Which runs, and in which order, is found once and kept for a while as their numbers, so
/// that every page of a table of 100,000 runs is a few rows by their keys, and no run is seen twice while one scrolls.
/// </summary>
internal sealed class RunTable(Database database)
{
    private const int MostKept = 16;
    private const int MostGroups = 500;
    private const int MostParts = 4;
    private const int FewRuns = 100;
    private const string NoCase = " COLLATE NOCASE";
    private const string Select =
        "SELECT id AS Id, name AS Name, display_name AS DisplayName, notes AS Notes, tags AS Tags, state AS State, stopped AS Stopped, config AS Config, summary AS Summary, grp AS \"Group\", job_type AS JobType, sweep AS Sweep, commit_hash AS \"Commit\", host AS Host, user AS User, created_at AS CreatedAt, heartbeat_at AS HeartbeatAt, updated_at AS UpdatedAt FROM runs";

    private readonly object _lock = new();
    private readonly LinkedList<(string Id, RunQuery Query, long[] Runs)> _kept = [];
    private long _next = Environment.TickCount64;

    /// <summary>The runs of a query: those of a snapshot that is still kept, or as it is now.</summary>
    internal (string Snapshot, long[] Runs) Find(RunQuery query, string? snapshot)
    {
        lock (_lock)
        {
            foreach (var kept in _kept)
            {
                if (kept.Id == snapshot && kept.Query == query)
                {
                    return (kept.Id, kept.Runs);
                }
            }
        }

        var found = Search(query);
        lock (_lock)
        {
            var id = (++_next).ToString(CultureInfo.InvariantCulture);
            _kept.AddFirst((id, query, found));
            if (_kept.Count > MostKept)
            {
                _kept.RemoveLast();
            }

            return (id, found);
        }
    }

    /// <summary>Rows of runs, in the order that is given.</summary>
    internal List<RunRecord> Rows(IReadOnlyList<long> ids) =>
        ids.Count == 0
            ? []
            : database.Read(c =>
            {
                var found = c.Query<RunRecord>(Select + " WHERE id IN @ids", new { ids }).ToDictionary(r => r.Id);
                return ids.Where(found.ContainsKey).Select(i => found[i]).ToList();
            });

    /// <summary>How many runs there are of each value of a column, the most frequent first.</summary>
    internal List<(object? Value, long Count, string Newest)> Groups(RunQuery query, string column)
    {
        var parameters = new DynamicParameters();
        var expression = RunColumns.Expression(column, "group", parameters);
        using var connection = Open();
        return connection
            .Query(
                $"SELECT {expression} AS v, COUNT(*) AS n, MAX(created_at) AS t FROM runs WHERE {Where(query, parameters)} GROUP BY 1 ORDER BY 2 DESC, 3 DESC LIMIT {MostGroups}",
                parameters
            )
            .Select(r => ((object?)Shown(r.v), (long)r.n, (string)r.t))
            .ToList();
    }

    // The values of a document are read out of each run's text: by all processors, each for a part of the runs.
    private long[] Search(RunQuery query)
    {
        var descending = query.Sort.StartsWith('-');
        var column = query.Sort.TrimStart('-', '+');
        if (column == "created" && query.Filter is null && query.Text is null)
        {
            using var connection = Open();
            return connection
                .Query<long>(
                    $"SELECT id FROM runs WHERE project = @Project ORDER BY created_at {(descending ? "DESC, id DESC" : "ASC, id ASC")}",
                    query
                )
                .ToArray();
        }

        var parts = Parts(query.Project);
        var found = new List<SortKey>[parts.Count];
        try
        {
            Parallel.For(0, parts.Count, i => found[i] = Read(query, column, parts[i].From, parts[i].To));
        }
        catch (AggregateException e) when (e.InnerExceptions.Count > 0)
        {
            // What is wrong with the filter is wrong with each part of it.
            System.Runtime.ExceptionServices.ExceptionDispatchInfo.Throw(e.InnerExceptions[0]);
        }

        var all = found.SelectMany(f => f).ToArray();
        Array.Sort(
            all,
            descending ? SortKey.Descending
                : column == "created" ? SortKey.Oldest
                : SortKey.Ascending
        );
        return Array.ConvertAll(all, k => k.Run);
    }

    private List<SortKey> Read(RunQuery query, string column, long from, long to)
    {
        var parameters = new DynamicParameters();
        var expression = RunColumns.Expression(column, "sort", parameters);
        if (expression.EndsWith(NoCase, StringComparison.Ordinal))
        {
            expression = $"lower({expression[..^NoCase.Length]})";
        }

        parameters.Add("from", from);
        parameters.Add("to", to);
        using var connection = Open();
        using var reader = connection.ExecuteReader(
            $"SELECT id, {expression} FROM runs WHERE id BETWEEN @from AND @to AND {Where(query, parameters)}",
            parameters
        );
        var found = new List<SortKey>();
        while (reader.Read())
        {
            found.Add(
                reader.GetValue(1) switch
                {
                    long whole => new SortKey(reader.GetInt64(0), 0, whole, null),
                    double number => new SortKey(reader.GetInt64(0), 0, number, null),
                    string text => new SortKey(reader.GetInt64(0), 1, 0, text),
                    _ => new SortKey(reader.GetInt64(0), 2, 0, null),
                }
            );
        }

        return found;
    }

    // Stretches of ids with about as many runs each; one where there are few.
    private List<(long From, long To)> Parts(long project)
    {
        var count = Math.Min(MostParts, Environment.ProcessorCount);
        var (first, last) = database.Read(c =>
            c.QuerySingle<(long?, long?)>("SELECT MIN(id), MAX(id) FROM runs WHERE project = @project", new { project })
        );
        if (first is not { } from || last is not { } to || count == 1 || to - from < FewRuns)
        {
            return [(first ?? 0, last ?? 0)];
        }

        var step = (to - from) / count + 1;
        return Enumerable.Range(0, count).Select(i => (from + i * step, from + (i + 1) * step - 1)).ToList();
    }

    /// <summary>What a run is sorted by: numbers, then texts; what has no value is last, whichever way it is sorted.</summary>
    private readonly record struct SortKey(long Run, byte Kind, double Number, string? Text)
    {
        internal static readonly Comparer<SortKey> Ascending = Comparer<SortKey>.Create(
            (a, b) => Compare(a, b, 1) is not 0 and var order ? order : b.Run.CompareTo(a.Run)
        );

        internal static readonly Comparer<SortKey> Descending = Comparer<SortKey>.Create(
            (a, b) => Compare(a, b, -1) is not 0 and var order ? order : b.Run.CompareTo(a.Run)
        );

        /// <summary>By the time of their beginning, the oldest first.</summary>
        internal static readonly Comparer<SortKey> Oldest = Comparer<SortKey>.Create(
            (a, b) => Compare(a, b, 1) is not 0 and var order ? order : a.Run.CompareTo(b.Run)
        );

        private static int Compare(SortKey a, SortKey b, int way) =>
            a.Kind == 2 || b.Kind == 2 ? a.Kind.CompareTo(b.Kind)
            : a.Kind != b.Kind ? way * a.Kind.CompareTo(b.Kind)
            : way * (a.Kind == 0 ? a.Number.CompareTo(b.Number) : string.CompareOrdinal(a.Text, b.Text));
    }

    private static string Where(RunQuery query, DynamicParameters parameters)
    {
        parameters.Add("project", query.Project);
        var where = "project = @project";
        if (query.Filter is { } filter)
        {
            where += $" AND ({new RunFilters(parameters).Where(filter)})";
        }

        if (query.Text is { } text)
        {
            parameters.Add(
                "like",
                "%"
                    + text.Replace("\\", "\\\\", StringComparison.Ordinal)
                        .Replace("%", "\\%", StringComparison.Ordinal)
                        .Replace("_", "\\_", StringComparison.Ordinal)
                    + "%"
            );
            where +=
                " AND (name LIKE @like ESCAPE '\\' OR display_name LIKE @like ESCAPE '\\' OR notes LIKE @like ESCAPE '\\' OR tags LIKE @like ESCAPE '\\' OR grp LIKE @like ESCAPE '\\' OR commit_hash LIKE @like ESCAPE '\\')";
        }

        return where;
    }

    private static object? Shown(object? value) => value is string text ? JsonLimits.Short(text, 300) : value;

    private SqliteConnection Open()
    {
        var connection = database.Open();
        connection.CreateFunction(
            "regexp",
            (string pattern, string? text) =>
                text is not null
                && Regex.IsMatch(text, pattern, RegexOptions.CultureInvariant, TimeSpan.FromMilliseconds(200))
        );
        return connection;
    }
}
