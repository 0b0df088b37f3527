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
internal sealed class GraphQLTransport : IDisposable
{
    internal static readonly string UserAgent =
        $"WandbLaunch/{typeof(GraphQLTransport).Assembly.GetName().Version?.ToString(3)} (W&B Internal Client)";

    // 400 … 501: final by protocol A.4 (H); everything else of 4xx and 5xx is tried again.
    private static readonly HashSet<int> FinalStatus = [400, 401, 403, 404, 409, 410, 413, 422, 501];

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
                var request = new HttpRequestMessage(HttpMethod.Get, BaseUrl + path);
                request.Headers.Authorization = ApiAuthorization();
                return request;
            },
            HttpCompletionOption.ResponseContentRead,
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
                var request = new HttpRequestMessage(HttpMethod.Post, BaseUrl + "/graphql")
                {
                    Content = new ByteArrayContent(body),
                };
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
        try
        {
            var stream = await response.Content.ReadAsStreamAsync(token);
            await using (stream)
            {
                var document = await JsonDocument.ParseAsync(stream, default, token);
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
    }

    /// <summary>Opens a file for reading. The key goes only to the API's own host.</summary>
    internal async Task<HttpResponseMessage> DownloadAsync(string url, CancellationToken token)
    {
        var target = FileUri(url);
        var response = await SendAsync(
            _files,
            () =>
            {
                var request = new HttpRequestMessage(HttpMethod.Get, target);
                request.Headers.Authorization = FileAuthorization(target);
                return request;
            },
            HttpCompletionOption.ResponseHeadersRead,
            token
        );
        await EnsureSuccessAsync(response, target.AbsolutePath, token);
        return response;
    }

    /// <summary>Sends a file by PUT; <paramref name="headers"/> are the server's <c>Name:value</c> lines.</summary>
    internal async Task UploadAsync(string url, Func<Stream> open, IEnumerable<string> headers, CancellationToken token)
    {
        var target = FileUri(url);
        var lines = headers.ToList();
        using var response = await SendAsync(
            _files,
            () =>
            {
                var request = new HttpRequestMessage(HttpMethod.Put, target) { Content = new StreamContent(open()) };
                request.Headers.Authorization = FileAuthorization(target);
                foreach (var parts in lines.Select(l => l.Split(':', 2)).Where(p => p.Length == 2))
                {
                    if (!request.Headers.TryAddWithoutValidation(parts[0], parts[1]))
                    {
                        request.Content.Headers.TryAddWithoutValidation(parts[0], parts[1]);
                    }
                }

                return request;
            },
            HttpCompletionOption.ResponseContentRead,
            token
        );
        await EnsureSuccessAsync(response, target.AbsolutePath, token);
    }

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
                var request = new HttpRequestMessage(HttpMethod.Post, BaseUrl + path) { Content = content() };
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
            MaxAutomaticRedirections = 10,
        };
        var scheme = new Uri(settings.BaseUrl).Scheme;
        if (settings.Proxies.TryGetValue(scheme, out var proxy) || settings.Proxies.TryGetValue("all", out proxy))
        {
            handler.Proxy = new WebProxy(proxy);
        }

        var client = new HttpClient(handler);
        client.DefaultRequestHeaders.TryAddWithoutValidation("User-Agent", UserAgent);
        client.DefaultRequestHeaders.TryAddWithoutValidation("X-WANDB-USERNAME", settings.Username);
        client.DefaultRequestHeaders.TryAddWithoutValidation("X-WANDB-USER-EMAIL", settings.UserEmail);
        foreach (var (name, value) in settings.ExtraHeaders)
        {
            client.DefaultRequestHeaders.TryAddWithoutValidation(name, value);
        }

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
                            args.Outcome switch
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
                            args.Outcome.Result?.Headers.RetryAfter is { } after
                                ? after.Delta ?? (after.Date is { } date ? date - DateTimeOffset.UtcNow : null)
                                : null
                        ),
                    OnRetry = args =>
                    {
                        var why = args.Outcome.Result is { } r
                            ? $"HTTP {(int)r.StatusCode}"
                            : args.Outcome.Exception?.Message;
                        OnRetry?.Invoke(
                            Secrets.Mask(
                                $"{BaseUrl}: {why}; trying again in {args.RetryDelay.TotalSeconds:0.#} s (try {args.AttemptNumber + 2})"
                            )
                        );
                        args.Outcome.Result?.Dispose();
                        return ValueTask.CompletedTask;
                    },
                }
            );
        }

        return builder.Build();
    }

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
        try
        {
            return await _pipeline.ExecuteAsync(
                async cancel =>
                {
                    await WaitForRateLimitAsync(cancel);
                    Interlocked.Increment(ref Requests);
                    using var request = create();
                    using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
                    if (client == _api)
                    {
                        limit.CancelAfter(_settings.HttpTimeout);
                    }

                    HttpResponseMessage response;
                    try
                    {
                        response = await client.SendAsync(request, completion, limit.Token);
                    }
                    catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
                    {
                        throw new TimeoutException($"no answer within {_settings.HttpTimeout.TotalSeconds:0.#} s");
                    }

                    NoteRateLimit(response);
                    return response;
                },
                token
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
        var text = await response.Content.ReadAsStringAsync(token);
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
        _settings.ApiKey is { } key
        && new Uri(BaseUrl) is var origin
        && target.Authority == origin.Authority
        && target.Scheme == origin.Scheme
            ? Basic("user", key)
            : null;

    private static AuthenticationHeaderValue Basic(string user, string key) =>
        new("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes(user + ":" + key)));
}
