using Dapper;

namespace WandbLaunch.Server.Data;

/// <summary>Alerts that runs sent.</summary>
internal sealed class AlertRepository(Database database)
{
    // What a run says over and over, in a loop that nobody watches, must not fill the disk.
    private const int MostOfRun = 1000;

    private const string Select =
        "SELECT a.id AS Id, a.run AS Run, a.title AS Title, a.text AS Text, a.severity AS Severity, a.created_at AS CreatedAt FROM alerts a ";

    /// <summary>Keeps an alert; null where one with the same title came from the run within the time that it asked to wait.</summary>
    internal AlertRecord? Add(long run, string title, string text, string severity, TimeSpan wait) =>
        database.Transact(c =>
        {
            if (
                c.ExecuteScalar<bool>(
                    "SELECT EXISTS (SELECT 1 FROM alerts WHERE run = @run AND title = @title AND created_at > @since)",
                    new
                    {
                        run,
                        title,
                        since = Database.Before(wait),
                    }
                )
            )
            {
                return null;
            }

            var id = c.ExecuteScalar<long>(
                "INSERT INTO alerts (run, title, text, severity, created_at) VALUES (@run, @title, @text, @severity, @now) RETURNING id",
                new
                {
                    run,
                    title,
                    text,
                    severity,
                    now = Database.Now,
                }
            );
            c.Execute(
                "DELETE FROM alerts WHERE run = @run AND id <= (SELECT id FROM alerts WHERE run = @run ORDER BY id DESC LIMIT 1 OFFSET @MostOfRun)",
                new { run, MostOfRun }
            );
            return c.QuerySingle<AlertRecord>(Select + "WHERE a.id = @id", new { id });
        });

    internal List<AlertRecord> OfRun(long run, long after, int first) =>
        database.Read(c =>
            c.Query<AlertRecord>(
                    Select + "WHERE a.run = @run AND a.id > @after ORDER BY a.id LIMIT @first",
                    new
                    {
                        run,
                        after,
                        first,
                    }
                )
                .AsList()
        );

    internal List<AlertRecord> OfProject(long project, long after, int first) =>
        database.Read(c =>
            c.Query<AlertRecord>(
                    Select
                        + "JOIN runs r ON r.id = a.run WHERE r.project = @project AND a.id > @after ORDER BY a.id LIMIT @first",
                    new
                    {
                        project,
                        after,
                        first,
                    }
                )
                .AsList()
        );
}
