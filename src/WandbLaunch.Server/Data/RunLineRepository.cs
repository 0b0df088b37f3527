using Dapper;

namespace WandbLaunch.Server.Data;

/// <summary>What a run sends line by line.</summary>
internal enum RunLines
{
    /// <summary>Rows of its history.</summary>
    History,

    /// <summary>Lines of its console.</summary>
    Console,
}

/// <summary>The history and the console of runs.</summary>
internal sealed class RunLineRepository(Database database)
{
    /// <summary>Lines of a stream file; a line that is sent again takes the place of the old one.</summary>
    internal void Append(long run, RunLines kind, long offset, IEnumerable<string> lines) =>
        database.Transact(c =>
        {
            // Compiled once for all lines of a request.
            using var command = Database.Command(
                c,
                $"INSERT OR REPLACE INTO {Table(kind)} (run, line, row) VALUES ($r, $l, $t)",
                ("$r", run),
                ("$l", 0L),
                ("$t", "")
            );
            foreach (var line in lines)
            {
                command.Parameters["$l"].Value = offset++;
                command.Parameters["$t"].Value = line;
                command.ExecuteNonQuery();
            }

            return offset;
        });

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

    internal long Count(long run, RunLines kind) =>
        database.Read(c => c.ExecuteScalar<long>($"SELECT COUNT(*) FROM {Table(kind)} WHERE run = @run", new { run }));

    /// <summary>All lines, one after the other.</summary>
    internal IEnumerable<string> All(long run, RunLines kind)
    {
        using var connection = database.Open();
        foreach (
            var line in connection.Query<string>(
                $"SELECT row FROM {Table(kind)} WHERE run = @run ORDER BY line",
                new { run },
                buffered: false
            )
        )
        {
            yield return line;
        }
    }

    private static string Table(RunLines kind) => kind == RunLines.History ? "history" : "console";
}
