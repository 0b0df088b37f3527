using System.Net.Http.Headers;
using System.Text.Json;
using System.Text.Json.Serialization;
using System.Threading.Channels;
using Polly;
using Polly.Retry;

namespace WandbLaunch.Agents;

/// <summary>Posts an agent's events as JSON to an address. A hook that is slow, full or gone holds nothing up.</summary>
internal sealed class AgentWebhook : IAsyncDisposable
{
    private static readonly JsonSerializerOptions Json = new()
    {
        DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
        PropertyNamingPolicy = JsonNamingPolicy.CamelCase,
    };

    // Events go to the address that was given and to no other: who may read them was decided by whoever gave it.
    private readonly HttpClient _client = new(new SocketsHttpHandler { AllowAutoRedirect = false })
    {
        Timeout = TimeSpan.FromSeconds(10),
    };
    private readonly Channel<AgentEvent> _events = Channel.CreateBounded<AgentEvent>(
        new BoundedChannelOptions(1000) { FullMode = BoundedChannelFullMode.DropOldest }
    );
    private readonly ResiliencePipeline<string?> _tries;
    private readonly TimeProvider _time;
    private readonly Uri _address;
    private readonly Action<string> _failed;
    private readonly Task _sending;
    private bool _wellBefore = true;

    internal AgentWebhook(string address, Action<string> failed, TimeProvider? time = null)
    {
        _time = time ?? TimeProvider.System;
        _tries = new ResiliencePipelineBuilder<string?> { TimeProvider = _time }
            .AddRetry(
                new RetryStrategyOptions<string?>
                {
                    MaxRetryAttempts = 2,
                    Delay = TimeSpan.FromSeconds(1),
                    BackoffType = DelayBackoffType.Exponential,
                    ShouldHandle = static args => ValueTask.FromResult(args.Outcome.Result is not null),
                }
            )
            .Build();
        _address = new Uri(address);
        _failed = failed;
        _sending = Task.Run(SendAllAsync);
    }

    internal void Post(AgentEvent happened) => _events.Writer.TryWrite(happened);

    /// <summary>Sends what is left, for ten seconds at most.</summary>
    public async ValueTask DisposeAsync()
    {
        _events.Writer.TryComplete();
        await Task.WhenAny(_sending, Task.Delay(TimeSpan.FromSeconds(10), _time));
        _client.Dispose();
    }

    private async Task SendAllAsync()
    {
        await foreach (var happened in _events.Reader.ReadAllAsync())
        {
            var body = JsonSerializer.SerializeToUtf8Bytes(happened, Json);
            var fault = await _tries.ExecuteAsync(async _ => await SendAsync(body), CancellationToken.None);
            if (fault is not null && _wellBefore)
            {
                // Its host only: the rest of such an address is a secret as a rule. Said once until it works again.
                _failed($"The webhook at {_address.Host} does not take events: {fault}");
            }

            _wellBefore = fault is null;
        }
    }

    // Null when it was taken, else why not.
    private async Task<string?> SendAsync(byte[] body)
    {
        try
        {
            using var content = new ByteArrayContent(body);
            content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
            using var response = await _client.PostAsync(_address, content);
            return response.IsSuccessStatusCode ? null : $"HTTP {(int)response.StatusCode}";
        }
        catch (Exception e) when (e is HttpRequestException or OperationCanceledException or ObjectDisposedException)
        {
            return e is HttpRequestException failed ? failed.HttpRequestError.ToString() : "no answer in time";
        }
    }
}
