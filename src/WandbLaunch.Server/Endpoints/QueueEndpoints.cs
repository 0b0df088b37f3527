using System.Globalization;

namespace WandbLaunch.Server;

/// <summary>What W&amp;B's GraphQL has no words for: many items at once, and waiting for one.</summary>
internal static class QueueEndpoints
{
    private const double LongestWait = 60;

    internal static void Map(WebApplication app, Store store)
    {
        app.MapPost("/queues/push", (HttpContext context) => QueueSchema.PushBatchAsync(store, context));
        app.MapGet("/queues/wait", (HttpContext context) => WaitAsync(app, store, context));
    }

    /// <summary>Answers when one of the queues has an item, or the time is over: an agent that waits here starts a run the moment that it comes.</summary>
    private static async Task WaitAsync(WebApplication app, Store store, HttpContext context)
    {
        var queues = context.Request.Query["queue"].Select(Store.Id).Where(q => q >= 0).Distinct().ToArray();
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
        using var registration = store.Signals.Register(queues, waiter);
        var there = store.AnyWaiting(queues);
        if (!there)
        {
            using var end = CancellationTokenSource.CreateLinkedTokenSource(
                context.RequestAborted,
                app.Lifetime.ApplicationStopping
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
