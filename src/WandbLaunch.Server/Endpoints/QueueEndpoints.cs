using System.Globalization;
using System.Text.Json;
using WandbLaunch.Server.Audit;
using WandbLaunch.Server.Auth;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Endpoints;

/// <summary>What W&amp;B's GraphQL has no words for: many items at once, and waiting for one.</summary>
internal sealed class QueueEndpoints(
    QueueRepository queues,
    ItemRepository items,
    QueueSignals signals,
    IHostApplicationLifetime lifetime
)
{
    private const double LongestWait = 60;

    // What one request may bring; clients send 32 MB at most.
    private const int MostBytes = 64 * Bodies.Megabyte;

    internal void Map(IEndpointRouteBuilder app)
    {
        app.MapPost("/queues/push", PushAsync)
            .For(Right.Write, c => c.Request.Query["entity"].ToString())
            .Audited(AuditAction.Queued);
        app.MapPost("/queues/remove", RemoveAsync).For(Right.Write).Audited(AuditAction.Deleted);
        app.MapGet("/queues/wait", WaitAsync).For(Right.Read);
    }

    /// <summary>Many items in one request, as JSON and not as JSON inside JSON: [{runSpec, priority?, templateVariableValues?}]. The answer has the id of each, or why it was refused; null where there is no such queue. A request of a name (?request=) that was answered before is answered the same and pushes nothing.</summary>
    private async Task PushAsync(HttpContext context)
    {
        var query = context.Request.Query;
        var body = await Bodies.ReadAsync(context, MostBytes);
        byte[]? results = null;
        string? fault = null;
        if (
            queues.Find(query["entity"].ToString(), query["project"].ToString(), query["queue"].ToString()) is { } queue
        )
        {
            var caller = context.Caller();
            caller.NeedWrite(queue);
            try
            {
                var request = query["request"].ToString() is { Length: > 0 and <= 100 } name ? name : null;

                // Before a word of the answer is out, so that what fails can still be said with its status.
                var read = ItemBatch.Read(body);
                if (read.Exists(i => !SpecAccess.IsOwn(caller, i.Spec)))
                {
                    throw new RequestFault(403, caller.Refusal);
                }

                results = items.PushBatch(queue, read, request);
                context.Audit().Subject = $"queue {queue.Name}, {read.Count} items";
            }
            catch (JsonException e)
            {
                fault = JsonLimits.Short(e.Message, 200);
            }
        }

        context.Response.ContentType = "application/json";
        context.Response.StatusCode = fault is null ? 200 : 400;
        context.Audit().IsNothing = results is null;
        await using var writer = new Utf8JsonWriter(context.Response.BodyWriter);
        writer.WriteStartObject();
        writer.WritePropertyName("results");
        if (results is null)
        {
            writer.WriteNullValue();
        }
        else
        {
            writer.WriteRawValue(results, true);
        }

        if (fault is not null)
        {
            writer.WriteString("error", $"The body must be a JSON list of items: [{{\"runSpec\": {{…}}}}]. ({fault})");
        }

        writer.WriteEndObject();
    }

    /// <summary>Takes many items out of a queue (?queue=) in one transaction. The body is a JSON list of their ids; the answer has those that were removed. One that was started, is of another queue or is not there stays out of it.</summary>
    private async Task RemoveAsync(HttpContext context)
    {
        using var body = await Bodies.ReadJsonAsync(context, 4 * Bodies.Megabyte);
        if (body.RootElement is not { ValueKind: JsonValueKind.Array } list)
        {
            throw new RequestFault(400, "The body must be a JSON list of ids: [\"1\", \"2\"].");
        }

        var ids = list.EnumerateArray().Select(i => Ids.Parse(i.ToString())).Where(i => i >= 0);
        var queue = Ids.Parse(context.Request.Query["queue"].ToString());
        var known = queues.Find(queue);
        if (known is not null)
        {
            context.Caller().NeedWrite(known);
        }

        var removed = items.Delete(queue, ids);
        var detail = context.Audit();
        detail.IsNothing = removed.Count == 0;
        if (known is { } of)
        {
            detail.Entity = of.Entity;
            detail.Project = of.Project;
            detail.Subject = $"queue {of.Name}, items {string.Join(", ", removed.Take(50))}";
        }

        await context.Response.WriteAsJsonAsync(new { removed });
    }

    /// <summary>Answers when one of the queues has an item, or the time is over: an agent that waits here starts a run the moment that it comes.</summary>
    private async Task WaitAsync(HttpContext context)
    {
        var wanted = context.Request.Query["queue"].Select(Ids.Parse).Where(q => q >= 0).Distinct().ToArray();
        if (context.Caller() is { IsAdmin: false } caller)
        {
            wanted = [.. wanted.Where(q => queues.Find(q) is { } queue && caller.MayRead(queue))];
        }

        var seconds = 25.0;
        if (
            context.Request.Query["timeout"].ToString() is { Length: > 0 } text
            && !(
                double.TryParse(text, CultureInfo.InvariantCulture, out seconds)
                && double.IsFinite(seconds)
                && seconds >= 0
            )
        )
        {
            throw new RequestFault(400, "timeout must be a number of seconds, from 0 on.");
        }

        var waiter = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using var registration = signals.Register(wanted, waiter);
        var except = context.Request.Query["except"].OfType<string>().Take(100).ToArray();
        var there = items.AnyWaiting(wanted, except);
        if (!there)
        {
            using var end = CancellationTokenSource.CreateLinkedTokenSource(
                context.RequestAborted,
                lifetime.ApplicationStopping
            );
            end.CancelAfter(TimeSpan.FromSeconds(Math.Min(seconds, LongestWait)));
            try
            {
                await waiter.Task.WaitAsync(end.Token);
                there = true;
            }
            catch (OperationCanceledException)
            {
                // Nothing came.
            }
        }

        await context.Response.WriteAsJsonAsync(new { ready = there });
    }
}
