using System.Text.Json;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Wandb;

/// <summary>An item in the hands of an agent: taken, acknowledged, reported (protocol B.3).</summary>
internal sealed class LeaseOperations(GraphQLTransport transport, ServerDialect dialect)
{
    /// <summary>The run that agents of 2022 acknowledge an item with when it could not be started (protocol B.3).</summary>
    private const string NoRun = "None";

    /// <summary>Failures can be reported, also of items that were acknowledged.</summary>
    internal bool TakesFailures => dialect.Mutations.Contains("failRunQueueItem");

    internal async Task<PoppedItem?> PopAsync(
        string entity,
        string project,
        string queue,
        string? agent,
        IReadOnlyList<string> except,
        CancellationToken token
    )
    {
        // Our own server's alone, and only where something is left out.
        var (declared, given) = except.Count > 0 ? (", $except: [String!]", " exceptResources: $except") : ("", "");
        var variables = new Dictionary<string, object?>
        {
            ["entity"] = entity,
            ["project"] = project,
            ["queueName"] = queue,
            ["launchAgentId"] = agent,
        };
        if (except.Count > 0)
        {
            variables["except"] = except;
        }

        var data = await transport.QueryAsync(
            "popFromRunQueue",
            $$"""
            mutation popFromRunQueue($entity: String!, $project: String!, $queueName: String!, $launchAgentId: ID{{declared}}) {
              popFromRunQueue(input: {
                entityName: $entity
                projectName: $project
                queueName: $queueName
                launchAgentId: $launchAgentId{{given}}
              }) {
                runQueueItemId
                runSpec
              }
            }
            """,
            variables,
            token
        );
        if (data.At("popFromRunQueue") is not { } item)
        {
            return null;
        }

        if (
            item.At("runQueueItemId") is not { ValueKind: JsonValueKind.String or JsonValueKind.Number } known
            || known.ToString() is not { Length: > 0 and <= 512 } id
        )
        {
            throw new LaunchException(
                "ServerAnswerInvalid",
                LaunchErrorCategory.ProtocolError,
                $"The server gave an item of the queue {queue} without an id.",
                queue
            );
        }

        // One that cannot be read is an item all the same: it has to fail with a reason, or it comes back for ever.
        var (spec, fault) = ItemSpec.Read(item.At("runSpec"));
        return new PoppedItem(id, spec, fault);
    }

    internal async Task<bool> AckAsync(string item, string run, CancellationToken token)
    {
        var data = await transport.QueryAsync(
            "ackRunQueueItem",
            """
            mutation ackRunQueueItem($itemId: ID!, $runId: String!) {
              ackRunQueueItem(input: {runQueueItemId: $itemId, runName: $runId}) { success }
            }
            """,
            new { itemId = item, runId = run },
            token
        );
        return data.Flag("ackRunQueueItem", "success") ?? false;
    }

    /// <summary>Where failures cannot be reported, an item that is not acknowledged yet is by an ack without a run.</summary>
    internal async Task FailAsync(
        string item,
        string message,
        string stage,
        IReadOnlyList<string> files,
        bool acknowledged,
        CancellationToken token
    )
    {
        if (TakesFailures)
        {
            await ReportAsync("failRunQueueItem", item, message, stage, files, token);
        }
        else if (!acknowledged)
        {
            await AckAsync(item, NoRun, token);
        }
    }

    internal async Task WarnAsync(
        string item,
        string message,
        string stage,
        IReadOnlyList<string> files,
        CancellationToken token
    )
    {
        if (dialect.Mutations.Contains("updateRunQueueItemWarning"))
        {
            await ReportAsync("updateRunQueueItemWarning", item, message, stage, files, token);
        }
    }

    /// <summary>Where an item's run is found on its engine: our own server alone has a place for it.</summary>
    internal async Task NoteRunAsync(string item, string? engineId, string? reason, CancellationToken token)
    {
        if (!NotesRuns)
        {
            return;
        }

        await transport.QueryAsync(
            "updateRunQueueItemEngine",
            """
            mutation updateRunQueueItemEngine($input: UpdateRunQueueItemEngineInput!) {
              updateRunQueueItemEngine(input: $input) { success }
            }
            """,
            new
            {
                input = new
                {
                    runQueueItemId = item,
                    engineId,
                    reason = reason is null ? null : Secrets.Mask(reason),
                },
            },
            token
        );
    }

    private bool NotesRuns => dialect.Mutations.Contains("updateRunQueueItemEngine");

    /// <summary>The end of an item's run with its exit code: our own server alone has it.</summary>
    internal Task FinishAsync(ItemEnd end, CancellationToken token) =>
        transport.QueryAsync(
            "finishRunQueueItem",
            """
            mutation finishRunQueueItem($input: FinishRunQueueItemInput!) {
              finishRunQueueItem(input: $input) { success }
            }
            """,
            new { input = EndOf(end) },
            token
        );

    private Dictionary<string, object?> EndOf(ItemEnd end)
    {
        var input = new Dictionary<string, object?>
        {
            ["runQueueItemId"] = end.Item,
            ["state"] = end.State,
            ["exitCode"] = end.ExitCode,
            ["message"] = end.Message is null ? null : Secrets.Mask(end.Message),
            ["stage"] = end.Stage,
            ["filePaths"] = end.Files,
        };
        if (NotesRuns)
        {
            input["engineId"] = end.EngineId;
            input["reason"] = end.Reason is null ? null : Secrets.Mask(end.Reason);
        }

        return input;
    }

    private async Task ReportAsync(
        string operation,
        string item,
        string message,
        string stage,
        IReadOnlyList<string> files,
        CancellationToken token
    )
    {
        // filePaths is left out when there are none (protocol B.3).
        var (declared, given) = files.Count > 0 ? (", $filePaths: [String!]", ", filePaths: $filePaths") : ("", "");
        var variables = new Dictionary<string, object?>
        {
            ["runQueueItemId"] = item,
            ["message"] = Secrets.Mask(message),
            ["stage"] = stage,
        };
        if (files.Count > 0)
        {
            variables["filePaths"] = files;
        }

        await transport.QueryAsync(
            operation,
            $$"""
            mutation {{operation}}($runQueueItemId: ID!, $message: String!, $stage: String!{{declared}}) {
              {{operation}}(input: {runQueueItemId: $runQueueItemId, message: $message, stage: $stage{{given}} }) {
                success
              }
            }
            """,
            variables,
            token
        );
    }
}
