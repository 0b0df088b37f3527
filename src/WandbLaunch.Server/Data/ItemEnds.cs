using Dapper;

namespace WandbLaunch.Server.Data;

/// <summary>Items that end, or go on, with their runs.</summary>
internal sealed class ItemEnds(Database database)
{
    // The item says where its run is to be; one that does not leaves it to its agent, and then the run's name has to do.
    private const string OfRun =
        "run_name = @run AND COALESCE(json_extract(spec, '$.entity'), '') IN ('', @Entity) AND replace(lower(trim(COALESCE(json_extract(spec, '$.project'), ''))), ' ', '-') IN ('', @Project)";

    private static readonly TimeSpan AgentLost = TimeSpan.FromMinutes(2);

    /// <summary>
    /// Ends the item that a run came of, whoever ran it: W&amp;B's agents never say how it ended. Ours do, and know more than the run
    /// does (its program may go on, or never have reached the server): while one is alive its word is waited for, and it
    /// holds over what is written here.
    /// </summary>
    internal void EndOfRun(RunRecord run, string state, int? exitCode, string? report) =>
        database.Write(c =>
        {
            c.Execute(
                $"UPDATE items SET state = @state, exit_code = @exitCode, error = @report, finished_at = @now, by_run = 1 WHERE {OfRun} AND state = 'CLAIMED' AND NOT EXISTS (SELECT 1 FROM agents a WHERE a.id = items.agent AND a.version IS NOT NULL AND a.version NOT LIKE 'wandb%' AND a.heartbeat_at >= @alive)",
                new
                {
                    run = run.Name,
                    run.Project.Entity,
                    Project = run.Project.Name,
                    state,
                    exitCode,
                    report,
                    now = Database.Now,
                    alive = Database.Before(AgentLost),
                }
            );
        });

    /// <summary>A run that was taken for dead goes on, and so does its item.</summary>
    internal void Reopen(RunRecord run) =>
        database.Write(c =>
        {
            c.Execute(
                $"UPDATE items SET state = 'CLAIMED', exit_code = NULL, error = NULL, finished_at = NULL, by_run = 0 WHERE {OfRun} AND by_run = 1",
                new
                {
                    run = run.Name,
                    run.Project.Entity,
                    Project = run.Project.Name,
                }
            );
        });
}
