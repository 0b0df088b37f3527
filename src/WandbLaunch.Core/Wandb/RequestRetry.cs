using Polly;
using Polly.Retry;
using WandbLaunch.Foundation;

namespace WandbLaunch.Wandb;

/// <summary>Which requests are tried again, when, and how long somebody's patience lasts (protocol A.4).</summary>
internal sealed class RequestRetry(string baseUrl, TimeProvider time)
{
    // 400 … 501: final by protocol A.4 (H); everything else of 4xx and 5xx is tried again, but for a disk that is full.
    private static readonly HashSet<int> FinalStatus = [400, 401, 403, 404, 409, 410, 413, 422, 501, 507];

    private static readonly ResiliencePropertyKey<long> StartedKey = new("started");

    /// <summary>Told of every wait before another try: verbose lines.</summary>
    internal Action<string>? OnRetry { get; set; }

    /// <summary>An answer that another try would not change.</summary>
    internal static bool IsFinal(int status) => FinalStatus.Contains(status);

    internal ResiliencePipeline<HttpResponseMessage> Create(int retries)
    {
        var builder = new ResiliencePipelineBuilder<HttpResponseMessage> { TimeProvider = time };
        if (retries > 0)
        {
            builder.AddRetry(
                new RetryStrategyOptions<HttpResponseMessage>
                {
                    MaxRetryAttempts = retries,
                    Delay = TimeSpan.FromSeconds(1),
                    BackoffType = DelayBackoffType.Exponential,
                    MaxDelay = TimeSpan.FromSeconds(60),
                    UseJitter = true,
                    ShouldHandle = args =>
                        ValueTask.FromResult(
                            IsPatient(args.Context, args.Outcome.Result)
                                && args.Outcome switch
                                {
                                    { Exception: HttpRequestException e } => IsTransient(e),
                                    { Exception: TimeoutException } => true,
                                    { Result: { } response } => (int)response.StatusCode >= 400
                                        && !IsFinal((int)response.StatusCode),
                                    _ => false,
                                }
                        ),
                    DelayGenerator = args =>
                        ValueTask.FromResult(
                            RetryAfter(args.Outcome.Result)
                                // Somebody waits: the pauses stay short.
                                ?? (
                                    ServerPatience.Current is null
                                        ? null
                                        : TimeSpan.FromSeconds(
                                            Math.Min(
                                                (1 << Math.Min(args.AttemptNumber, 3))
                                                    * (0.75 + (Random.Shared.NextDouble() / 2)),
                                                Math.Max(0.5, Left(args.Context).TotalSeconds - 1)
                                            )
                                        )
                                )
                        ),
                    OnRetry = args =>
                    {
                        var why = args.Outcome.Result is { } r
                            ? $"HTTP {(int)r.StatusCode}"
                            : args.Outcome.Exception?.Message;
                        var left = Left(args.Context);
                        if (
                            ServerPatience.Current?.TryWarn(
                                Secrets.Mask(
                                    $"{baseUrl} does not answer as it should ({why}). It is tried again in {args.RetryDelay.TotalSeconds:0.#} s, for up to {Math.Max(1, left.TotalSeconds):0} s more. Ctrl+C ends the command."
                                )
                            ) != true
                        )
                        {
                            OnRetry?.Invoke(
                                Secrets.Mask(
                                    $"{baseUrl}: {why}; trying again in {args.RetryDelay.TotalSeconds:0.#} s (try {args.AttemptNumber + 2})"
                                )
                            );
                        }

                        args.Outcome.Result?.Dispose();
                        return ValueTask.CompletedTask;
                    },
                }
            );
        }

        return builder.Build();
    }

    /// <summary>From here on the patience of whoever waits is counted.</summary>
    internal void Begin(ResilienceContext context) => context.Properties.Set(StartedKey, time.GetTimestamp());

    /// <summary>What is left of it.</summary>
    internal TimeSpan Left(ResilienceContext context) =>
        ServerPatience.Current is { } patience
            ? patience.Total - time.GetElapsedTime(context.Properties.GetValue(StartedKey, time.GetTimestamp()))
            : TimeSpan.MaxValue;

    // Another try must have time for its pause and for an answer.
    private bool IsPatient(ResilienceContext context, HttpResponseMessage? response) =>
        Left(context) > (RetryAfter(response) ?? TimeSpan.Zero) + TimeSpan.FromSeconds(2);

    private TimeSpan? RetryAfter(HttpResponseMessage? response) =>
        response?.Headers.RetryAfter is { } after
            ? after.Delta ?? (after.Date is { } date ? date - time.GetUtcNow() : null)
            : null;

    // A host that does not resolve, refuses, or fails TLS will not heal within a prompt's patience; a cut connection may.
    internal static bool IsTransient(HttpRequestException e) =>
        e.HttpRequestError
            is HttpRequestError.ResponseEnded
                or HttpRequestError.InvalidResponse
                or HttpRequestError.HttpProtocolError
                or HttpRequestError.Unknown
        || e.InnerException is IOException;
}
