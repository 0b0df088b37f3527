using System.Text.Json;
using WandbLaunch.Server.Audit;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Endpoints;

/// <summary>What a running SDK sends: history, console and summary by lines, heartbeats, the end (protocol B.6).</summary>
internal sealed class FileStreamEndpoint(RunRepository runs, RunLineRepository streams, ItemEnds items, RunEnds ends)
{
    private const int MostBytes = 64 * Bodies.Megabyte;
    private const long MostLines = 1_000_000_000_000;

    internal void Map(IEndpointRouteBuilder app) =>
        app.MapPost("/files/{entity}/{project}/{run}/file_stream", Parts.Of("entity", "project", "run", StreamAsync))
            .For(Right.Write, "entity")
            .Unaudited();

    private async Task StreamAsync(HttpContext context, string entity, string project, string run)
    {
        if (runs.Find(entity, project, run) is not { } found)
        {
            throw new RequestFault(404, "not found");
        }

        using var document = await Bodies.ReadJsonAsync(context, MostBytes);
        var root = document.RootElement;
        if (root.ValueKind != JsonValueKind.Object)
        {
            throw new RequestFault(400, "The body must be a JSON object.");
        }

        // Everything is looked at before anything is written.
        var files = Files(root);
        var (preempting, complete) = (Flag(root, "preempting"), Flag(root, "complete"));
        var code = Given(root, "exitcode") is { } exit ? ExitCode(exit) : 0;
        foreach (var (name, offset, lines) in files)
        {
            switch (name)
            {
                case "wandb-history.jsonl":
                    streams.Append(found.Id, RunLines.History, offset, lines);
                    break;
                case "wandb-events.jsonl":
                    streams.Append(found.Id, RunLines.Events, offset, lines);
                    break;
                case "output.log":
                    streams.Append(found.Id, RunLines.Console, offset, lines);
                    break;
                case "wandb-summary.json" when lines.Count > 0:
                    runs.SetSummary(found.Id, lines[^1]);
                    break;
            }
        }

        if (preempting)
        {
            runs.SetState(found.Id, "preempting");
        }

        runs.Beat(found.Id);
        if (found.State == "crashed")
        {
            items.Reopen(found);
        }

        if (complete)
        {
            ends.Complete(found, code);
        }

        await context.Response.WriteAsJsonAsync(new { exitcode = (int?)null, limits = new { } });
    }

    private static List<(string Name, long Offset, List<string> Lines)> Files(JsonElement root)
    {
        var result = new List<(string, long, List<string>)>();
        if (Given(root, "files") is not { } files)
        {
            return result;
        }

        if (files.ValueKind != JsonValueKind.Object)
        {
            throw new RequestFault(400, "files must be an object of files by name.");
        }

        foreach (var file in files.EnumerateObject())
        {
            var what = $"files[\"{JsonLimits.Short(file.Name)}\"]";
            if (
                file.Value.ValueKind != JsonValueKind.Object
                || Given(file.Value, "content") is not { ValueKind: JsonValueKind.Array } content
            )
            {
                throw new RequestFault(400, what + " must be an object with a list of lines as its content.");
            }

            var offset = 0L;
            if (
                Given(file.Value, "offset") is { } at
                && !(
                    at.ValueKind == JsonValueKind.Number && at.TryGetInt64(out offset) && offset is >= 0 and < MostLines
                )
            )
            {
                throw new RequestFault(400, what + ": offset must be the number of a line, from 0 on.");
            }

            var lines = new List<string>(content.GetArrayLength());
            foreach (var line in content.EnumerateArray())
            {
                if (line.ValueKind != JsonValueKind.String)
                {
                    throw new RequestFault(400, what + ": each line must be a text.");
                }

                string text;
                try
                {
                    text = line.GetString()!;
                }
                catch (InvalidOperationException)
                {
                    throw new RequestFault(400, what + ": a line has half of a surrogate pair, which is no text.");
                }

                lines.Add(
                    file.Name is "wandb-history.jsonl" or "wandb-summary.json" or "wandb-events.jsonl"
                        ? RunDocuments.Strict(text)
                            ?? throw new RequestFault(
                                400,
                                $"{what}: line {lines.Count} is no JSON object: {JsonLimits.Short(text)}"
                            )
                        : text
                );
            }

            result.Add((file.Name, offset, lines));
        }

        return result;
    }

    // The SDK writes a code of Windows without a sign (3221225477): the same bits as an agent's. Only 0 is a success; a
    // number that is no code is a failure that cannot be told, for a run that ended must not stay running.
    private static int ExitCode(JsonElement given) =>
        given.ValueKind != JsonValueKind.Number ? throw new RequestFault(400, "exitcode must be a whole number.")
        : !given.TryGetInt64(out var code) ? 1
        : code is >= int.MinValue and <= int.MaxValue ? (int)code
        : code is > 0 and <= uint.MaxValue ? unchecked((int)(uint)code)
        : int.MaxValue;

    private static bool Flag(JsonElement root, string name) =>
        Given(root, name) is { } flag
        && flag.ValueKind switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ => throw new RequestFault(400, $"{name} must be true or false."),
        };

    private static JsonElement? Given(JsonElement map, string name) =>
        map.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;
}
