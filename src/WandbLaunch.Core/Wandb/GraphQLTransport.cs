using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Security.Authentication;
using System.Text;
using System.Text.Json;
using Polly;
using Polly.Retry;
using WandbLaunch.Foundation;

namespace WandbLaunch.Wandb;

/// <summary>
/// GraphQL over HTTP with W&amp;B's headers, retry and rate-limit rules (protocol A.1, A.4). The one seam to a GraphQL
/// client: everything above calls <see cref="QueryAsync"/>.
/// </summary>
internal sealed partial class GraphQLTransport : IDisposable
{
    internal static readonly string UserAgent =
        $"WandbLaunch/{typeof(GraphQLTransport).Assembly.GetName().Version?.ToString(3)} (W&B Internal Client)";

    // 400 … 501: final by protocol A.4 (H); everything else of 4xx and 5xx is tried again, but for a disk that is full.
    private static readonly HashSet<int> FinalStatus = [400, 401, 403, 404, 409, 410, 413, 422, 501, 507];

    // Specs travel as texts inside JSON: a quote is \" and not six characters.
    internal static readonly JsonSerializerOptions PlainJson = new()
    {
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
    };

    /// <summary>The same for what is written piece by piece.</summary>
    internal static readonly JsonWriterOptions PlainWriter = new() { Encoder = PlainJson.Encoder };

    private static readonly HttpRequestOptionsKey<string> OperationKey = new("operation");

    private readonly HttpClient _api;
    private readonly HttpClient _files;

    private static readonly ResiliencePropertyKey<long> StartedKey = new("started");

    // An answer's head comes soon, however long its body is.
    private static readonly TimeSpan FileHeadLimit = TimeSpan.FromSeconds(100);
    private static readonly TimeSpan BodyLimit = TimeSpan.FromMinutes(5);
    private readonly WandbSettings _settings;
    private readonly ResiliencePipeline<HttpResponseMessage> _pipeline;
    private long _notBefore;

    internal GraphQLTransport(WandbSettings settings, int maxRetries = 20)
    {
        _settings = settings;
        BaseUrl = settings.BaseUrl;
        _api = NewClient(settings);
        _files = NewClient(settings);
        _files.Timeout = Timeout.InfiniteTimeSpan;
        _api.Timeout = Timeout.InfiniteTimeSpan;
        _pipeline = NewPipeline(settings.NoRetry ? 0 : maxRetries);
    }

    internal string BaseUrl { get; }

    /// <summary>Told of every wait before another try: verbose lines.</summary>
    internal Action<string>? OnRetry { get; set; }

    internal long Requests;

    public void Dispose()
    {
        _api.Dispose();
        _files.Dispose();
    }

    /// <summary>Sends one operation and gives the <c>data</c> object.</summary>
    /// <exception cref="LaunchException">The server refused, cannot be reached, or answered with GraphQL errors.</exception>
    internal async Task<JsonElement> QueryAsync(
        string operationName,
        string query,
        object? variables,
        CancellationToken token
    )
    {
        var root = await AnswerAsync(operationName, query, variables, token);
        if (root.Items("errors").Any())
        {
            throw new LaunchException(
                "GraphQLError",
                LaunchErrorCategory.InvalidOperation,
                $"The server refused {operationName}: {ErrorText(root)}",
                operationName
            );
        }

        return root.TryGetProperty("data", out var data)
            ? data
            : throw new LaunchException(
                "ServerAnswerInvalid",
                LaunchErrorCategory.ProtocolError,
                $"{BaseUrl} answered {operationName} without data. Is this the address of a W&B API?",
                operationName
            );
    }

    /// <summary>Sends one operation of several fields: gives the <c>data</c> that came, and the error text of each field that failed alone.</summary>
    internal async Task<(JsonElement Data, IReadOnlyDictionary<string, string> Faults)> QueryPartsAsync(
        string operationName,
        string query,
        object? variables,
        CancellationToken token
    )
    {
        var root = await AnswerAsync(operationName, query, variables, token);
        var faults = new Dictionary<string, string>(StringComparer.Ordinal);
        foreach (var error in root.Items("errors"))
        {
            var field = error.Items("path").FirstOrDefault() is { ValueKind: JsonValueKind.String } name
                ? name.GetString()!
                : null;
            if (field is null || root.At("data") is null)
            {
                throw new LaunchException(
                    "GraphQLError",
                    LaunchErrorCategory.InvalidOperation,
                    $"The server refused {operationName}: {ErrorText(root)}",
                    operationName
                );
            }

            faults[field] = error.Text("message") ?? error.ToString();
        }

        return (
            root.At("data")
                ?? throw new LaunchException(
                    "ServerAnswerInvalid",
                    LaunchErrorCategory.ProtocolError,
                    $"{BaseUrl} answered {operationName} without data. Is this the address of a W&B API?",
                    operationName
                ),
            faults
        );
    }

    /// <summary>Gets JSON from a path below the base URL.</summary>
    internal async Task<JsonElement> GetAsync(string path, CancellationToken token)
    {
        using var response = await SendAsync(
            _files,
            () =>
            {
                var request = NewRequest(HttpMethod.Get, new Uri(BaseUrl + path));
                request.Headers.Authorization = ApiAuthorization();
                return request;
            },
            HttpCompletionOption.ResponseHeadersRead,
            token
        );
        return await ReadAsync(response, path, token);
    }

    private async Task<JsonElement> AnswerAsync(
        string operationName,
        string query,
        object? variables,
        CancellationToken token
    )
    {
        var body = JsonSerializer.SerializeToUtf8Bytes(
            new
            {
                query,
                variables,
                operationName,
            },
            PlainJson
        );
        using var response = await SendAsync(
            _api,
            () =>
            {
                var request = NewRequest(HttpMethod.Post, new Uri(BaseUrl + "/graphql"));
                request.Content = new ByteArrayContent(body);
                request.Content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
                request.Headers.Authorization = ApiAuthorization();
                request.Options.Set(OperationKey, operationName);
                return request;
            },
            HttpCompletionOption.ResponseHeadersRead,
            token
        );
        return await ReadAsync(response, operationName, token);
    }

    private async Task<JsonElement> ReadAsync(HttpResponseMessage response, string what, CancellationToken token)
    {
        await EnsureSuccessAsync(response, what, token);
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(token);
        limit.CancelAfter(BodyLimit);
        try
        {
            var stream = await response.Content.ReadAsStreamAsync(limit.Token);
            await using (stream)
            {
                // Deeper than the reader's 64 levels: what an item holds must not make a server seem away.
                var document = await JsonDocument.ParseAsync(
                    stream,
                    new JsonDocumentOptions { MaxDepth = 10_000 },
                    limit.Token
                );
                if (document.RootElement.ValueKind == JsonValueKind.Object)
                {
                    return document.RootElement;
                }
            }

            throw new JsonException("not an object");
        }
        catch (JsonException e)
        {
            throw new LaunchException(
                "ServerAnswerInvalid",
                LaunchErrorCategory.ProtocolError,
                $"{BaseUrl} answered {what} with something that is not JSON. Is this the address of a W&B API, and not of a web page or a proxy?",
                what,
                e
            );
        }
        catch (IOException e)
        {
            throw new LaunchException(
                "ConnectionFailed",
                LaunchErrorCategory.ConnectionError,
                $"{BaseUrl} broke off its answer to {what}: {e.Message} Try again.",
                what,
                e
            );
        }
        catch (OperationCanceledException e) when (!token.IsCancellationRequested)
        {
            throw new LaunchException(
                "ServerTimeout",
                LaunchErrorCategory.OperationTimeout,
                $"{BaseUrl} began to answer {what} and did not end within {BodyLimit.TotalMinutes:0} minutes.",
                what,
                e
            );
        }
    }

    private static bool IsRedirect(HttpResponseMessage response) =>
        (int)response.StatusCode is 301 or 302 or 303 or 307 or 308;

    private LaunchException Redirected(string what, Uri? target) =>
        new(
            "ServerRedirects",
            LaunchErrorCategory.SecurityError,
            $"{BaseUrl} sends {what} on to {(target is null ? "elsewhere" : target.GetLeftPart(UriPartial.Authority))}, which is not followed: the API key is for {BaseUrl} alone. If the other address is right, give it with Connect-Wandb -BaseUrl.",
            what
        );

    // The user's own headers and names are for the API, and not for the storage that it signs addresses of.
    private HttpRequestMessage NewRequest(HttpMethod method, Uri target)
    {
        var request = new HttpRequestMessage(method, target);
        if (IsOwn(target))
        {
            request.Headers.TryAddWithoutValidation("X-WANDB-USERNAME", _settings.Username);
            request.Headers.TryAddWithoutValidation("X-WANDB-USER-EMAIL", _settings.UserEmail);
            foreach (var (name, value) in _settings.ExtraHeaders)
            {
                request.Headers.TryAddWithoutValidation(name, value);
            }
        }

        return request;
    }

    private bool IsOwn(Uri target) =>
        new Uri(BaseUrl) is var origin && target.Authority == origin.Authority && target.Scheme == origin.Scheme;

    /// <summary>Posts JSON to a path below the base URL (the file stream of protocol B.6).</summary>
    internal Task<JsonElement> PostAsync(string path, object body, CancellationToken token)
    {
        var json = JsonSerializer.SerializeToUtf8Bytes(body);
        return PostContentAsync(
            path,
            () =>
            {
                var content = new ByteArrayContent(json);
                content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
                return content;
            },
            token
        );
    }

    /// <summary>Posts JSON that is made anew for each try, and gives the answer.</summary>
    internal async Task<JsonElement> PostContentAsync(string path, Func<HttpContent> content, CancellationToken token)
    {
        using var response = await SendAsync(
            _api,
            () =>
            {
                var request = NewRequest(HttpMethod.Post, new Uri(BaseUrl + path));
                request.Content = content();
                request.Headers.Authorization = ApiAuthorization();
                return request;
            },
            HttpCompletionOption.ResponseContentRead,
            token
        );
        return await ReadAsync(response, path, token);
    }

    internal static string ErrorText(JsonElement root)
    {
        static string One(JsonElement e) =>
            e.ValueKind switch
            {
                JsonValueKind.String => e.GetString()!,
                JsonValueKind.Object when e.TryGetProperty("message", out var message) => message.ToString(),
                _ => e.ToString(),
            };

        if (root.ValueKind == JsonValueKind.Object)
        {
            if (root.TryGetProperty("errors", out var errors) && errors.ValueKind == JsonValueKind.Array)
            {
                return string.Join("; ", errors.EnumerateArray().Select(One));
            }

            if (root.TryGetProperty("error", out var error) || root.TryGetProperty("message", out error))
            {
                return One(error);
            }
        }

        return root.ToString();
    }

    private static HttpClient NewClient(WandbSettings settings)
    {
        var handler = new SocketsHttpHandler
        {
            AutomaticDecompression = DecompressionMethods.All,
            PooledConnectionLifetime = TimeSpan.FromMinutes(5),
            ConnectTimeout = TimeSpan.FromSeconds(10),
            // Followed by hand, where they are: see DownloadAsync.
            AllowAutoRedirect = false,
        };
        var scheme = new Uri(settings.BaseUrl).Scheme;
        if (settings.Proxies.TryGetValue(scheme, out var proxy) || settings.Proxies.TryGetValue("all", out proxy))
        {
            handler.Proxy = new WebProxy(proxy);
        }

        var client = new HttpClient(new SocketFaultHandler(handler));
        client.DefaultRequestHeaders.TryAddWithoutValidation("User-Agent", UserAgent);
        return client;
    }

    private ResiliencePipeline<HttpResponseMessage> NewPipeline(int retries)
    {
        var builder = new ResiliencePipelineBuilder<HttpResponseMessage>();
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
                    ShouldHandle = static args =>
                        ValueTask.FromResult(
                            IsPatient(args.Context, args.Outcome.Result)
                                && args.Outcome switch
                                {
                                    { Exception: HttpRequestException e } => IsTransient(e),
                                    { Exception: TimeoutException } => true,
                                    { Result: { } response } => (int)response.StatusCode >= 400
                                        && !FinalStatus.Contains((int)response.StatusCode),
                                    _ => false,
                                }
                        ),
                    DelayGenerator = static args =>
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
                                    $"{BaseUrl} does not answer as it should ({why}). It is tried again in {args.RetryDelay.TotalSeconds:0.#} s, for up to {Math.Max(1, left.TotalSeconds):0} s more. Ctrl+C ends the command."
                                )
                            ) != true
                        )
                        {
                            OnRetry?.Invoke(
                                Secrets.Mask(
                                    $"{BaseUrl}: {why}; trying again in {args.RetryDelay.TotalSeconds:0.#} s (try {args.AttemptNumber + 2})"
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

    private static TimeSpan Left(ResilienceContext context) =>
        ServerPatience.Current is { } patience
            ? patience.Total
                - TimeSpan.FromMilliseconds(
                    Environment.TickCount64 - context.Properties.GetValue(StartedKey, Environment.TickCount64)
                )
            : TimeSpan.MaxValue;

    // Another try must have time for its pause and for an answer.
    private static bool IsPatient(ResilienceContext context, HttpResponseMessage? response) =>
        Left(context) > (RetryAfter(response) ?? TimeSpan.Zero) + TimeSpan.FromSeconds(2);

    private static TimeSpan? RetryAfter(HttpResponseMessage? response) =>
        response?.Headers.RetryAfter is { } after
            ? after.Delta ?? (after.Date is { } date ? date - DateTimeOffset.UtcNow : null)
            : null;

    // A host that does not resolve, refuses, or fails TLS will not heal within a prompt's patience; a cut connection may.
    private static bool IsTransient(HttpRequestException e) =>
        e.HttpRequestError
            is HttpRequestError.ResponseEnded
                or HttpRequestError.InvalidResponse
                or HttpRequestError.HttpProtocolError
                or HttpRequestError.Unknown
        || e.InnerException is IOException;

    private async Task<HttpResponseMessage> SendAsync(
        HttpClient client,
        Func<HttpRequestMessage> create,
        HttpCompletionOption completion,
        CancellationToken token
    )
    {
        var context = ResilienceContextPool.Shared.Get(token);
        context.Properties.Set(StartedKey, Environment.TickCount64);
        try
        {
            return await _pipeline.ExecuteAsync(
                async tries =>
                {
                    var cancel = tries.CancellationToken;
                    await WaitForRateLimitAsync(cancel);
                    Interlocked.Increment(ref Requests);
                    using var request = create();
                    using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
                    var most =
                        client == _api ? _settings.HttpTimeout
                        : completion == HttpCompletionOption.ResponseHeadersRead ? FileHeadLimit
                        : Timeout.InfiniteTimeSpan;
                    var left = Left(tries);
                    if (most != Timeout.InfiniteTimeSpan)
                    {
                        most = left < most ? TimeSpan.FromSeconds(Math.Max(1, left.TotalSeconds)) : most;
                        limit.CancelAfter(most);
                    }

                    HttpResponseMessage response;
                    try
                    {
                        response = await client.SendAsync(request, completion, limit.Token);
                    }
                    catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
                    {
                        throw new TimeoutException($"no answer within {most.TotalSeconds:0.#} s");
                    }

                    NoteRateLimit(response);
                    if (client == _api && IsRedirect(response))
                    {
                        using (response)
                        {
                            throw Redirected(
                                request.RequestUri!.AbsolutePath,
                                response.Headers.Location is { } next ? new Uri(request.RequestUri, next) : null
                            );
                        }
                    }

                    return response;
                },
                context
            );
        }
        catch (HttpRequestException e)
        {
            throw Explain(e);
        }
        catch (TimeoutException e)
        {
            throw new LaunchException(
                "ServerTimeout",
                LaunchErrorCategory.OperationTimeout,
                $"{BaseUrl} gave {e.Message}. Try again, or set WANDB_HTTP_TIMEOUT (seconds) higher.",
                BaseUrl,
                e
            );
        }
        finally
        {
            ResilienceContextPool.Shared.Return(context);
        }
    }

    private async ValueTask WaitForRateLimitAsync(CancellationToken token)
    {
        var wait = Interlocked.Read(ref _notBefore) - Environment.TickCount64;
        if (wait > 0)
        {
            await Task.Delay(TimeSpan.FromMilliseconds(Math.Min(wait, 60_000)), token);
        }
    }

    // Both headers are needed (protocol A.4); with nothing left, the next request waits for the reset.
    private void NoteRateLimit(HttpResponseMessage response)
    {
        if (Header("RateLimit-Remaining") is { } remaining && Header("RateLimit-Reset") is { } reset && remaining < 1)
        {
            Interlocked.Exchange(ref _notBefore, Environment.TickCount64 + (long)(reset * 1000));
        }

        double? Header(string name) =>
            response.Headers.TryGetValues(name, out var values)
            && double.TryParse(values.First(), NumberStyles.Float, CultureInfo.InvariantCulture, out var number)
                ? number
                : null;
    }

    private LaunchException Explain(HttpRequestException e)
    {
        var (id, advice) = e.HttpRequestError switch
        {
            HttpRequestError.NameResolutionError => (
                "HostNotFound",
                "The host name is not known. Check the address (-BaseUrl, WANDB_BASE_URL) and the network."
            ),
            HttpRequestError.SecureConnectionError => (
                "TlsFailed",
                "The certificate was not accepted. Add the server's certificate authority to the machine's trust store (on Linux SSL_CERT_FILE), or check the clock."
            ),
            HttpRequestError.ProxyTunnelError => (
                "ProxyFailed",
                "The proxy refused. Check HTTPS_PROXY, NO_PROXY and WANDB__PROXIES."
            ),
            _ when e.InnerException is AuthenticationException => (
                "TlsFailed",
                "The certificate was not accepted. Add the server's certificate authority to the machine's trust store (on Linux SSL_CERT_FILE), or check the clock."
            ),
            _ when e.InnerException is SocketException => (
                "HostUnreachable",
                "Nothing answers there. Is the server running, the port right, a firewall or proxy between?"
            ),
            _ => ("ConnectionFailed", "Try again; if it stays, check the network and the proxy settings."),
        };
        var detail = e.InnerException is AuthenticationException or SocketException
            ? e.InnerException.Message
            : e.Message;
        return new LaunchException(
            id,
            LaunchErrorCategory.ConnectionError,
            $"Cannot reach {BaseUrl}: {detail}. {advice}",
            BaseUrl,
            e
        );
    }

    private static async Task EnsureSuccessAsync(HttpResponseMessage response, string what, CancellationToken token)
    {
        if (response.IsSuccessStatusCode)
        {
            return;
        }

        var status = (int)response.StatusCode;
        var after = response.Headers.RetryAfter?.Delta;
        var text = await ErrorBodyAsync(response, token);
        response.Dispose();
        var detail = "";
        try
        {
            using var document = JsonDocument.Parse(text);
            detail = ErrorText(document.RootElement);
        }
        catch (JsonException)
        {
            detail = text.Length > 200 ? text[..200] : text;
        }

        throw status switch
        {
            401 => new LaunchException(
                "ApiKeyRejected",
                LaunchErrorCategory.AuthenticationError,
                "The server does not accept this API key. Give the right one with Connect-Wandb -ApiKey, or check WANDB_API_KEY and the netrc entry of this host.",
                what
            )
            {
                StatusCode = status,
            },
            403 or 404 => new LaunchException(
                "AccessDenied",
                LaunchErrorCategory.PermissionDenied,
                $"The server denies access to {what} (HTTP {status}: {detail}). Check the entity and project names and that this key may see them.",
                what
            )
            {
                StatusCode = status,
            },
            422 when detail.Length > 0 && response.RequestMessage?.Method == HttpMethod.Put => new LaunchException(
                "FileDamaged",
                LaunchErrorCategory.InvalidData,
                $"The server did not take {what}: {detail} Did the file change while it was sent?",
                what
            )
            {
                StatusCode = status,
            },
            507 => new LaunchException(
                "ServerDiskFull",
                LaunchErrorCategory.ResourceUnavailable,
                $"The server did not take {what}: {detail}",
                what
            )
            {
                StatusCode = status,
            },
            429 => new LaunchException(
                "RateLimited",
                LaunchErrorCategory.ResourceUnavailable,
                $"The server is still limiting the rate after all tries (HTTP 429: {detail}). Wait a few minutes.",
                what
            )
            {
                StatusCode = status,
                RetryAfter = after,
            },
            _ => new LaunchException(
                "ServerError",
                LaunchErrorCategory.ConnectionError,
                $"The server failed at {what} (HTTP {status}: {detail}).",
                what
            )
            {
                StatusCode = status,
                RetryAfter = after,
            },
        };
    }

    private Uri FileUri(string url) => new(new Uri(BaseUrl + "/"), url);

    private AuthenticationHeaderValue? ApiAuthorization() =>
        _settings.AccessToken is { } bearer ? new AuthenticationHeaderValue("Bearer", bearer)
        : _settings.ApiKey is { } key ? Basic("api", key)
        : null;

    // Protocol A.1: file downloads use the literal user name "user". Signed URLs of a storage host must not see the key.
    private AuthenticationHeaderValue? FileAuthorization(Uri target) =>
        _settings.ApiKey is { } key && IsOwn(target) ? Basic("user", key) : null;

    private static AuthenticationHeaderValue Basic(string user, string key) =>
        new("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes(user + ":" + key)));
}
