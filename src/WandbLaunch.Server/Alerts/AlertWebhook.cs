using System.Threading.Channels;
using Polly;
using Polly.Retry;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Alerts;

/// <summary>
/// Sends alerts on to the address that whoever runs the server gave, beside the run that sent them: a run never waits for it,
/// and one that cannot be reached is told in the log. The address may hold a secret, and is written nowhere.
/// </summary>
internal sealed partial class AlertWebhook : IAsyncDisposable
{
    private const int MostWaiting = 1000;

    private readonly Uri? _address;
    private readonly ILogger<AlertWebhook> _log;
    private readonly HttpClient _client = new(new SocketsHttpHandler { AllowAutoRedirect = false })
    {
        Timeout = TimeSpan.FromSeconds(10),
    };
    private readonly Channel<object> _waiting = Channel.CreateBounded<object>(
        new BoundedChannelOptions(MostWaiting) { FullMode = BoundedChannelFullMode.DropOldest, SingleReader = true }
    );
    private readonly CancellationTokenSource _end = new();
    private readonly ResiliencePipeline<HttpResponseMessage> _retry;
    private readonly Task _sending;

    public AlertWebhook(LaunchServerOptions options, ILogger<AlertWebhook> log)
    {
        _address = options.AlertWebhook;
        _log = log;
        _retry = new ResiliencePipelineBuilder<HttpResponseMessage>()
            .AddRetry(
                new RetryStrategyOptions<HttpResponseMessage>
                {
                    ShouldHandle = new PredicateBuilder<HttpResponseMessage>()
                        .Handle<HttpRequestException>()
                        .Handle<TaskCanceledException>(e => !_end.IsCancellationRequested && e is not null)
                        .HandleResult(r => (int)r.StatusCode is 408 or 429 or >= 500),
                    MaxRetryAttempts = 4,
                    Delay = options.AlertRetryDelay,
                    BackoffType = DelayBackoffType.Exponential,
                    UseJitter = true,
                }
            )
            .Build();
        _sending = _address is null ? Task.CompletedTask : Task.Run(SendAllAsync);
    }

    /// <summary>Puts an alert in line. Its "text" is what chats show of a webhook; the rest is for programs.</summary>
    internal void Send(AlertRecord alert, RunRecord run, string server)
    {
        if (_address is null)
        {
            return;
        }

        var path = $"{run.Project.Entity}/{run.Project.Name}/{run.Name}";
        _waiting.Writer.TryWrite(
            new
            {
                text = $"{alert.Severity}: {alert.Title}\n{alert.Text}\n{run.DisplayName ?? run.Name} ({path})",
                title = alert.Title,
                message = alert.Text,
                severity = alert.Severity,
                createdAt = alert.CreatedAt + "Z",
                entity = run.Project.Entity,
                project = run.Project.Name,
                run = run.Name,
                runName = run.DisplayName,
                server,
            }
        );
    }

    public async ValueTask DisposeAsync()
    {
        // What waits gets a moment; a server that stops is not held up by somebody else's.
        _waiting.Writer.TryComplete();
        await Task.WhenAny(_sending, Task.Delay(TimeSpan.FromSeconds(2)));
        await _end.CancelAsync();
        await _sending;
        _client.Dispose();
        _end.Dispose();
    }

    private async Task SendAllAsync()
    {
        try
        {
            await foreach (var alert in _waiting.Reader.ReadAllAsync(_end.Token))
            {
                try
                {
                    using var answer = await _retry.ExecuteAsync(
                        async token => await _client.PostAsJsonAsync(_address, alert, token),
                        _end.Token
                    );
                    if (!answer.IsSuccessStatusCode)
                    {
                        Refused(_log, (int)answer.StatusCode);
                    }
                }
                catch (Exception e) when (e is HttpRequestException or TaskCanceledException)
                {
                    Unreachable(_log, e.GetType().Name);
                }
            }
        }
        catch (OperationCanceledException)
        {
            // The server stops.
        }
    }

    [LoggerMessage(20, LogLevel.Warning, "The webhook for alerts answered {Status}: the alert is kept here only.")]
    private static partial void Refused(ILogger log, int status);

    [LoggerMessage(
        21,
        LogLevel.Warning,
        "The webhook for alerts could not be reached ({Reason}): the alert is kept here only."
    )]
    private static partial void Unreachable(ILogger log, string reason);
}
