using System.Net;
using System.Net.Http.Headers;
using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Logging;
using Polly;
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

    // An answer's head comes soon, however long its body is.
    private static readonly TimeSpan FileHeadLimit = TimeSpan.FromSeconds(100);
    private static readonly TimeSpan BodyLimit = TimeSpan.FromMinutes(5);
    private readonly WandbSettings _settings;
    private readonly ResiliencePipeline<HttpResponseMessage> _pipeline;
    private readonly RequestRetry _retry;
    private readonly RateLimit _rate;
    private readonly ServerFaults _faults;

    internal GraphQLTransport(WandbSettings settings, int maxRetries = 20, TimeProvider? time = null)
    {
        Time = time ?? TimeProvider.System;
        _settings = settings;
        BaseUrl = settings.BaseUrl;
        _api = NewClient(settings);
        _files = NewClient(settings);
        _files.Timeout = Timeout.InfiniteTimeSpan;
        _api.Timeout = Timeout.InfiniteTimeSpan;
        _faults = new ServerFaults(BaseUrl);
        _rate = new RateLimit(Time);
        _retry = new RequestRetry(BaseUrl, Time);
        _pipeline = _retry.Create(settings.NoRetry ? 0 : maxRetries);
        Files = new FileTransfers(this, _files, settings, _faults, _rate, _retry);
    }

    internal string BaseUrl { get; }

    internal TimeProvider Time { get; }

    /// <summary>Files of any size, at addresses that the API gives.</summary>
    internal FileTransfers Files { get; }

    /// <summary>Told of every wait before another try: verbose lines.</summary>
    internal Action<string>? OnRetry
    {
        get => _retry.OnRetry;
        set => _retry.OnRetry = value;
    }

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
            var text = ServerFaults.ErrorText(root);
            throw text.StartsWith("permission denied", StringComparison.OrdinalIgnoreCase)
                ? new LaunchException(
                    "AccessDenied",
                    LaunchErrorCategory.PermissionDenied,
                    $"The server refused {operationName}: {text}",
                    operationName
                )
                : new LaunchException(
                    "GraphQLError",
                    LaunchErrorCategory.InvalidOperation,
                    $"The server refused {operationName}: {text}",
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
                    $"The server refused {operationName}: {ServerFaults.ErrorText(root)}",
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
        await ServerFaults.EnsureSuccessAsync(response, what, token);
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
                $"{BaseUrl} began to answer {what} and did not end within {BodyLimit.TotalMinutes:0} minutes. Try again; ask for less at a time where it stays.",
                what,
                e
            );
        }
    }

    // The user's own headers and names are for the API, and not for the storage that it signs addresses of.
    internal HttpRequestMessage NewRequest(HttpMethod method, Uri target)
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

    internal bool IsOwn(Uri target) =>
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

    /// <summary>Sends to an address of a file, with the tries of a request.</summary>
    internal Task<HttpResponseMessage> SendFileAsync(
        Func<HttpRequestMessage> create,
        HttpCompletionOption completion,
        CancellationToken token
    ) => SendAsync(_files, create, completion, token);

    private async Task<HttpResponseMessage> SendAsync(
        HttpClient client,
        Func<HttpRequestMessage> create,
        HttpCompletionOption completion,
        CancellationToken token
    )
    {
        var context = ResilienceContextPool.Shared.Get(token);
        _retry.Begin(context);
        try
        {
            return await _pipeline.ExecuteAsync(
                async tries =>
                {
                    var cancel = tries.CancellationToken;
                    await _rate.WaitAsync(cancel);
                    Interlocked.Increment(ref Requests);
                    using var request = create();
                    using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
                    var most =
                        client == _api ? _settings.HttpTimeout
                        : completion == HttpCompletionOption.ResponseHeadersRead ? FileHeadLimit
                        : Timeout.InfiniteTimeSpan;
                    var left = _retry.Left(tries);
                    if (most != Timeout.InfiniteTimeSpan)
                    {
                        most = left < most ? TimeSpan.FromSeconds(Math.Max(1, left.TotalSeconds)) : most;
                        limit.CancelAfter(most);
                    }

                    HttpResponseMessage response;
                    var sent = Time.GetTimestamp();
                    try
                    {
                        response = await client.SendAsync(request, completion, limit.Token);
                    }
                    catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
                    {
                        throw new TimeoutException($"no answer within {most.TotalSeconds:0.#} s");
                    }

                    _rate.Note(response);
                    LogRequest(request, response, Time.GetElapsedTime(sent));
                    if (client == _api && ServerFaults.IsRedirect(response))
                    {
                        using (response)
                        {
                            throw _faults.Redirected(
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
            throw _faults.Explain(e);
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

    // Without its query, for a signed address is a key, and without a login.
    private static void LogRequest(HttpRequestMessage request, HttpResponseMessage response, TimeSpan took)
    {
        if (ServerPatience.Current?.Context.Log is { } log && log.IsEnabled(LogLevel.Debug))
        {
            log.LogDebug(
                "{Method} {Address} {Operation} {Status} in {Time:0} ms",
                request.Method,
                request.RequestUri!.GetComponents(
                    UriComponents.SchemeAndServer | UriComponents.Path,
                    UriFormat.UriEscaped
                ),
                request.Options.TryGetValue(OperationKey, out var operation) ? operation : "-",
                (int)response.StatusCode,
                took.TotalMilliseconds
            );
        }
    }

    private AuthenticationHeaderValue? ApiAuthorization() =>
        _settings.AccessToken is { } bearer ? new AuthenticationHeaderValue("Bearer", bearer)
        : _settings.ApiKey is { } key ? Basic("api", key)
        : null;

    internal static AuthenticationHeaderValue Basic(string user, string key) =>
        new("Basic", Convert.ToBase64String(Encoding.UTF8.GetBytes(user + ":" + key)));
}
