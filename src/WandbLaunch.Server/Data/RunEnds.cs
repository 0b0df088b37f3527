using System.Globalization;
using System.Text.Json.Nodes;

namespace WandbLaunch.Server.Data;

/// <summary>A run that ends, however the server learns of it: its state, its console as a file, and the queue's item that it came of.</summary>
internal sealed class RunEnds(RunRepository runs, FileRepository files, ItemEnds items)
{
    /// <summary>The run says itself that it has ended.</summary>
    internal void Complete(RunRecord run, int exitCode)
    {
        runs.SetExitCode(run.Id, exitCode);

        // A run that said it would be preempted and then failed was preempted (the SDK's mark_preempting).
        var state =
            exitCode == 0 ? "finished"
            : run.State == "preempting" ? "preempted"
            : "failed";
        runs.SetState(run.Id, state);
        files.SaveConsole(run.Id);
        EndItem(run, state, exitCode);
    }

    /// <summary>Somebody else says how the run ended; other states are no end.</summary>
    internal void Told(RunRecord run, string state)
    {
        if (state is "finished" or "failed" or "crashed" or "killed" or "preempted")
        {
            EndItem(run, state, null);
        }
    }

    /// <summary>Runs of which nothing was heard for this long have crashed.</summary>
    internal int Crash(TimeSpan silence)
    {
        var dead = runs.Crash(Database.Before(silence));
        foreach (var run in dead.Select(runs.Find).OfType<RunRecord>())
        {
            files.SaveConsole(run.Id);
            EndItem(
                run,
                "crashed",
                null,
                string.Create(
                    CultureInfo.InvariantCulture,
                    $"The run {run.Name} crashed: nothing was heard of it for {silence.TotalMinutes:0.##} minutes. Its machine or its process ended, or the server cannot be reached from there."
                )
            );
        }

        return dead.Count;
    }

    private void EndItem(RunRecord run, string state, int? exitCode, string? why = null)
    {
        var (end, message) =
            state == "finished" ? ("FINISHED", null)
            : run.Stopped ? ("STOPPED", null)
            : (
                "FAILED",
                why
                    ?? $"The run {run.Name} ended as {state}{(exitCode is { } code ? $" with exit code {code.ToString(CultureInfo.InvariantCulture)}" : "")}."
            );
        items.EndOfRun(
            run,
            end,
            exitCode,
            message is null ? null : new JsonObject { ["message"] = message, ["stage"] = "run" }.ToJsonString()
        );
    }
}
