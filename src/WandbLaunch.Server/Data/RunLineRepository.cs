using System.Globalization;
using Dapper;
using Microsoft.Data.Sqlite;

namespace WandbLaunch.Server.Data;

/// <summary>What a run sends line by line.</summary>
internal enum RunLines
{
    /// <summary>Rows of its history.</summary>
    History,

    /// <summary>Lines of its console.</summary>
    Console,

    /// <summary>What its machine measured.</summary>
    Events,
}

/// <summary>The history, the console and the system metrics of runs.</summary>
internal sealed class RunLineRepository(Database database)
{
    /// <summary>Lines of a stream file; a line that is sent again takes the place of the old one.</summary>
    internal void Append(long run, RunLines kind, long offset, IReadOnlyList<string> lines)
    {
        if (lines.Count == 0)
        {
            return;
        }

        database.Transact(c =>
        {
            var keys = kind == RunLines.History ? HistoryKeys.Begin(c, run) : null;

            // Compiled once for all lines of a request.
            using var command = Database.Command(
                c,
                kind == RunLines.History
                    ? "INSERT OR REPLACE INTO history (run, line, row, step) VALUES ($r, $l, $t, $s)"
                    : $"INSERT OR REPLACE INTO {Table(kind)} (run, line, row) VALUES ($r, $l, $t)",
                ("$r", run),
                ("$l", 0L),
                ("$t", ""),
                ("$s", 0L)
            );
            foreach (var line in lines)
            {
                command.Parameters["$s"].Value = keys?.Add(offset, line) ?? 0;
                command.Parameters["$l"].Value = offset++;
                command.Parameters["$t"].Value = line;
                command.ExecuteNonQuery();
            }

            keys?.Save(c);
            if (kind == RunLines.Events)
            {
                c.Execute("UPDATE runs SET system = @system WHERE id = @run", new { run, system = lines[^1] });
            }

            return offset;
        });
    }

    internal List<string> Lines(long run, RunLines kind, long from, long to) =>
        database.Read(c =>
            c.Query<string>(
                    $"SELECT row FROM {Table(kind)} WHERE run = @run AND line >= @from AND line < @to ORDER BY line",
                    new
                    {
                        run,
                        from,
                        to,
                    }
                )
                .AsList()
        );

    /// <summary>Lines by their numbers, with them.</summary>
    internal List<(long Number, string Text)> Numbered(long run, RunLines kind, long from, int most) =>
        database.Read(c =>
            c.Query<(long, string)>(
                    $"SELECT line, row FROM {Table(kind)} WHERE run = @run AND line >= @from ORDER BY line LIMIT @most",
                    new
                    {
                        run,
                        from,
                        most,
                    }
                )
                .AsList()
        );

    internal long Count(long run, RunLines kind) =>
        database.Read(c => c.ExecuteScalar<long>($"SELECT COUNT(*) FROM {Table(kind)} WHERE run = @run", new { run }));

    /// <summary>The last line, or null.</summary>
    internal string? Last(long run, RunLines kind) =>
        database.Read(c =>
            c.ExecuteScalar<string?>(
                $"SELECT row FROM {Table(kind)} WHERE run = @run ORDER BY line DESC LIMIT 1",
                new { run }
            )
        );

    /// <summary>
    /// Rows of the history from one step to before another, all of them or at most so many, evenly, and with the last;
    /// whoever asks counts what they weigh.
    /// </summary>
    internal IEnumerable<string> BySteps(long run, long from, long to, int? samples) =>
        Sampled(
            "history",
            "run = @run AND step >= @from AND step < @to",
            "step, line",
            new DynamicParameters(
                new
                {
                    run,
                    from,
                    to,
                }
            ),
            samples
        );

    /// <summary>At most so many lines, evenly, and with the last.</summary>
    internal IEnumerable<string> Sample(long run, RunLines kind, int samples) =>
        Sampled(Table(kind), "run = @run", "line", new DynamicParameters(new { run }), samples);

    /// <summary>All lines, one after the other.</summary>
    internal IEnumerable<string> All(long run, RunLines kind) =>
        Sampled(Table(kind), "run = @run", "line", new DynamicParameters(new { run }), null);

    /// <summary>What keys the history has, and its last step (<see cref="HistoryKeys"/>).</summary>
    internal string Keys(long run)
    {
        if (
            database.Read(c =>
                c.ExecuteScalar<string?>("SELECT history_keys FROM runs WHERE id = @run", new { run })
            ) is
            { } known
        )
        {
            return known;
        }

        // Of before the server kept them.
        return database.Transact(c =>
        {
            var keys = HistoryKeys.Empty(run);
            foreach (
                var (line, row) in c.Query<(long, string)>(
                    "SELECT line, row FROM history WHERE run = @run ORDER BY line",
                    new { run },
                    buffered: false
                )
            )
            {
                keys.Add(line, row);
            }

            keys.Save(c);
            return keys.ToString();
        });
    }

    /// <summary>Takes away what came after a step. False where nothing of the history is left.</summary>
    internal bool Rewind(long run, long step) =>
        database.Transact(c =>
        {
            c.Execute("DELETE FROM history WHERE run = @run AND step > @step", new { run, step });
            c.Execute("UPDATE runs SET history_keys = NULL WHERE id = @run", new { run });
            return c.ExecuteScalar<bool>("SELECT EXISTS (SELECT 1 FROM history WHERE run = @run)", new { run });
        });

    private IEnumerable<string> Sampled(
        string table,
        string where,
        string order,
        DynamicParameters parameters,
        int? samples
    )
    {
        using var connection = database.Open();
        if (samples is { } most)
        {
            var (count, last) = connection.QuerySingle<(long, long?)>(
                $"SELECT COUNT(*), MAX(line) FROM {table} WHERE {where}",
                parameters
            );
            if (count > most)
            {
                // The lines of a run are numbered without gaps; the last one takes the place of one more.
                where += most > 1 ? " AND (line % @stride = 0 OR line = @last)" : " AND line = @last";
                parameters.Add("stride", (count + most - 2) / Math.Max(1, most - 1));
                parameters.Add("last", last);
            }
        }

        foreach (
            var line in connection.Query<string>(
                string.Create(CultureInfo.InvariantCulture, $"SELECT row FROM {table} WHERE {where} ORDER BY {order}"),
                parameters,
                buffered: false
            )
        )
        {
            yield return line;
        }
    }

    private static string Table(RunLines kind) =>
        kind switch
        {
            RunLines.History => "history",
            RunLines.Events => "events",
            _ => "console",
        };
}
