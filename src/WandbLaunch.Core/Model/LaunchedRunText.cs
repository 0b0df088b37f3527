using System.Text.Json;
using WandbLaunch.Foundation;

namespace WandbLaunch.Model;

/// <summary>A launch as its <c>run.json</c>: every property that is stored, in the order of the record.</summary>
internal static class LaunchedRunText
{
    /// <summary>The text of a launch.</summary>
    internal static string Write(LaunchedRun run) =>
        JsonFields.Write(json =>
        {
            json.Text(nameof(run.Id), run.Id);
            json.Text(nameof(run.RunId), run.RunId);
            json.Text(nameof(run.Name), run.Name);
            json.Text(nameof(run.Source), run.Source);
            json.Text(nameof(run.Config), run.Config);
            json.Text(nameof(run.Commit), run.Commit);
            json.WriteBoolean(nameof(run.Patched), run.Patched);
            json.Text(nameof(run.Resource), run.Resource);
            json.Text(nameof(run.Image), run.Image);
            json.Texts(nameof(run.Command), run.Command);
            json.Texts(nameof(run.Arguments), run.Arguments);
            json.Text(nameof(run.Entity), run.Entity);
            json.Text(nameof(run.Project), run.Project);
            json.Text(nameof(run.Uri), run.Uri);
            json.Text(nameof(run.State), run.State.ToString());
            json.Number(nameof(run.ExitCode), run.ExitCode);
            json.Text(nameof(run.Reason), run.Reason);
            json.Text(nameof(run.ErrorId), run.ErrorId);
            json.WriteBoolean(nameof(run.IsStuck), run.IsStuck);
            json.WriteNumber(nameof(run.Restarts), run.Restarts);
            json.Text(nameof(run.Agent), run.Agent);
            json.WriteBoolean(nameof(run.OutOfMemory), run.OutOfMemory);
            json.Time(nameof(run.Started), run.Started);
            json.Time(nameof(run.Finished), run.Finished);
            json.Text(nameof(run.LogPath), run.LogPath);
            json.WriteBoolean(nameof(run.LogTruncated), run.LogTruncated);
            json.Texts(nameof(run.Warnings), run.Warnings);
            if (run.Handle is { } handle)
            {
                json.WriteStartObject(nameof(run.Handle));
                json.Text(nameof(handle.Kind), handle.Kind);
                json.Text(nameof(handle.Id), handle.Id);
                json.Text(nameof(handle.Place), handle.Place);
                json.WriteEndObject();
            }
        });

    /// <summary>The launch of a text.</summary>
    /// <exception cref="JsonException">It is none.</exception>
    internal static LaunchedRun Read(string text) =>
        JsonFields.Read(
            text,
            json => new LaunchedRun
            {
                Id = json.NeededText(nameof(LaunchedRun.Id)),
                RunId = json.Text(nameof(LaunchedRun.RunId)),
                Name = json.Text(nameof(LaunchedRun.Name)),
                Source = json.NeededText(nameof(LaunchedRun.Source)),
                Config = json.Text(nameof(LaunchedRun.Config)),
                Commit = json.Text(nameof(LaunchedRun.Commit)),
                Patched = json.Flag(nameof(LaunchedRun.Patched)),
                Resource = json.NeededText(nameof(LaunchedRun.Resource)),
                Image = json.Text(nameof(LaunchedRun.Image)),
                Command = json.Texts(nameof(LaunchedRun.Command)),
                Arguments = json.Texts(nameof(LaunchedRun.Arguments)),
                Entity = json.Text(nameof(LaunchedRun.Entity)),
                Project = json.Text(nameof(LaunchedRun.Project)),
                Uri = json.Text(nameof(LaunchedRun.Uri)),
                State = State(json.Text(nameof(LaunchedRun.State))),
                ExitCode = json.Number(nameof(LaunchedRun.ExitCode)),
                Reason = json.Text(nameof(LaunchedRun.Reason)),
                ErrorId = json.Text(nameof(LaunchedRun.ErrorId)),
                IsStuck = json.Flag(nameof(LaunchedRun.IsStuck)),
                Restarts = json.Number(nameof(LaunchedRun.Restarts)) ?? 0,
                Agent = json.Text(nameof(LaunchedRun.Agent)),
                OutOfMemory = json.Flag(nameof(LaunchedRun.OutOfMemory)),
                Started = json.Time(nameof(LaunchedRun.Started)),
                Finished = json.Time(nameof(LaunchedRun.Finished)),
                LogPath = json.Text(nameof(LaunchedRun.LogPath)),
                LogTruncated = json.Flag(nameof(LaunchedRun.LogTruncated)),
                Warnings = json.Texts(nameof(LaunchedRun.Warnings)),
                Handle = json.Object(nameof(LaunchedRun.Handle)) is { } handle
                    ? new RunHandle(
                        handle.NeededText(nameof(RunHandle.Kind)),
                        handle.NeededText(nameof(RunHandle.Id)),
                        handle.Text(nameof(RunHandle.Place))
                    )
                    : null,
            }
        );

    private static LaunchState State(string? name) =>
        name is null ? default
        : Enum.TryParse(typeof(LaunchState), name, true, out var state) ? (LaunchState)state
        : throw new JsonException($"'{name}' is no state of a launch.");
}
