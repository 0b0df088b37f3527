using System.Collections.Concurrent;
using System.Globalization;
using System.Net.Http.Headers;
using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>
/// An API server, in JSON: what this version does not know of an object is not lost on its way through. The library reads
/// the kubeconfig, logs in and holds the connections.
/// </summary>
internal sealed class KubeApi : IDisposable
{
    private const int Tries = 5;
    private static readonly TimeSpan CallLimit = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan MostPause = TimeSpan.FromSeconds(15);

    private readonly k8s.Kubernetes _client;
    private readonly TimeProvider _time;
    private readonly ConcurrentDictionary<string, KubeKind> _kinds = new(StringComparer.Ordinal);
    private (int Major, int Minor)? _version;

    /// <exception cref="LaunchException"><c>KubeConfigNotFound</c>, <c>KubeConfigInvalid</c>, <c>KubeContextNotFound</c>.</exception>
    internal KubeApi(KubePlace place, TimeProvider time)
    {
        var config = place.Open();
        config.UserAgent = "WandbLaunch";
        Place = place.ToString();
        Namespace = string.IsNullOrEmpty(config.Namespace) ? "default" : config.Namespace;
        _client = new k8s.Kubernetes(config);
        _time = time;
    }

    internal string Place { get; }

    /// <summary>The namespace that the context is in.</summary>
    internal string Namespace { get; }

    internal string Server => _client.BaseUri.ToString().TrimEnd('/');

    public void Dispose() => _client.Dispose();

    internal Task<JsonObject> GetAsync(string path, CancellationToken token) =>
        CallAsync(HttpMethod.Get, path, null, token);

    /// <summary>Null for what is not there.</summary>
    internal async Task<JsonObject?> FindAsync(string path, CancellationToken token)
    {
        try
        {
            return await GetAsync(path, token);
        }
        catch (KubeFault e) when (e.IsMissing)
        {
            return null;
        }
    }

    internal Task<JsonObject> CreateAsync(string path, JsonObject manifest, CancellationToken token) =>
        CallAsync(HttpMethod.Post, path, manifest, token);

    internal Task<JsonObject> PatchAsync(string path, JsonObject patch, CancellationToken token) =>
        CallAsync(HttpMethod.Patch, path, patch, token);

    /// <summary>Deletes, with what was made of it: an API server's own default leaves a Job's pods running.</summary>
    /// <param name="path">Which.</param>
    /// <param name="foreground">It stays visible until its pods are gone.</param>
    /// <param name="uid">Only this very one, not another of its name.</param>
    /// <param name="token">Cancels.</param>
    internal async Task<bool> DeleteAsync(string path, bool foreground, string? uid, CancellationToken token)
    {
        try
        {
            var options = new JsonObject
            {
                ["kind"] = "DeleteOptions",
                ["apiVersion"] = "v1",
                ["propagationPolicy"] = foreground ? "Foreground" : "Background",
            };
            if (uid is not null)
            {
                options["preconditions"] = new JsonObject { ["uid"] = uid };
            }

            await CallAsync(HttpMethod.Delete, path, options, token);
            return true;
        }
        catch (KubeFault e) when (e.IsMissing || e.Code == 409)
        {
            return false;
        }
    }

    /// <summary>A call, made again where the server is away or too busy for a moment. All that is made has a fixed name, so nothing is made twice.</summary>
    /// <exception cref="KubeFault">The server refused.</exception>
    internal async Task<JsonObject> CallAsync(
        HttpMethod method,
        string path,
        JsonNode? body,
        CancellationToken token,
        int tries = Tries
    )
    {
        for (var pause = TimeSpan.FromMilliseconds(300); ; pause *= 2)
        {
            try
            {
                return await CallOnceAsync(method, path, body, token);
            }
            catch (Exception e) when (KubeFault.IsAway(e) && --tries > 0)
            {
                var asked = (e as KubeFault)?.RetryAfter ?? pause;
                await Task.Delay(asked < MostPause ? asked : MostPause, _time, token);
            }
        }
    }

    private async Task<JsonObject> CallOnceAsync(
        HttpMethod method,
        string path,
        JsonNode? body,
        CancellationToken token
    )
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(token);
        limit.CancelAfter(CallLimit);
        try
        {
            using var response = await SendAsync(
                method,
                path,
                body,
                HttpCompletionOption.ResponseContentRead,
                limit.Token
            );
            var text = await response.Content.ReadAsStringAsync(limit.Token);
            return !response.IsSuccessStatusCode ? throw KubeFault.Of(response, text)
                : text.StartsWith('{') ? (JsonObject)JsonNode.Parse(text)!
                : throw new IOException($"{path} was answered with something that is no object");
        }
        catch (System.Text.Json.JsonException e)
        {
            throw new IOException($"{path} was answered with broken JSON: {e.Message}", e);
        }
        catch (OperationCanceledException) when (!token.IsCancellationRequested)
        {
            throw new TimeoutException($"{path} was not answered within {CallLimit.TotalSeconds:0} s");
        }
    }

    /// <summary>All of a list, page by page, and the version that it was true at.</summary>
    internal async Task<(IReadOnlyList<JsonObject> Items, string Version)> ListAsync(
        string path,
        string query,
        CancellationToken token,
        int tries = Tries
    )
    {
        while (true)
        {
            var items = new List<JsonObject>();
            string? more = null;
            try
            {
                while (true)
                {
                    var page = await CallAsync(
                        HttpMethod.Get,
                        $"{path}?{query}&limit=500{(more is null ? "" : "&continue=" + Uri.EscapeDataString(more))}",
                        null,
                        token,
                        tries
                    );
                    items.AddRange(page.Maps("items"));
                    more = page.Str("metadata", "continue");
                    if (string.IsNullOrEmpty(more))
                    {
                        return (items, page.Str("metadata", "resourceVersion") ?? "");
                    }
                }
            }
            catch (KubeFault e) when (e.Code == KubeFault.Gone && more is not null)
            {
                // The first pages are too old for the next one.
            }
        }
    }

    /// <summary>
    /// What changes from a version on, until the server ends it, or nothing was heard for longer than a server is silent: what
    /// stands between may have forgotten the watch, and it is taken up anew. A 410 comes as a status, or as an event: both throw.
    /// </summary>
    internal async IAsyncEnumerable<(string Type, JsonObject Object)> WatchAsync(
        string path,
        string query,
        string version,
        TimeSpan length,
        TimeSpan quiet,
        [EnumeratorCancellation] CancellationToken token
    )
    {
        var address = string.Create(
            CultureInfo.InvariantCulture,
            $"{path}?{query}&watch=1&allowWatchBookmarks=true&resourceVersion={Uri.EscapeDataString(version)}&timeoutSeconds={length.TotalSeconds:0}"
        );
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(token);
        limit.CancelAfter(quiet);
        using var response = await OpenAsync(address, limit.Token);
        var stream = await response.Content.ReadAsStreamAsync(limit.Token);
        using var reader = new StreamReader(stream, Encoding.UTF8);
        while (true)
        {
            string? line;
            try
            {
                line = await reader.ReadLineAsync(limit.Token);
            }
            catch (OperationCanceledException) when (!token.IsCancellationRequested)
            {
                yield break;
            }

            if (line is null)
            {
                yield break;
            }

            limit.CancelAfter(quiet);

            if (JsonText.TolerantObject(line) is not { } change || change.At("object") is not JsonObject value)
            {
                // Cut in the middle.
                throw new IOException("the watch was cut off");
            }

            if (change.Str("type") == "ERROR")
            {
                throw KubeFault.Of(value);
            }

            yield return (change.Str("type") ?? "", value);
        }
    }

    /// <summary>An answer that comes bit by bit.</summary>
    internal async Task<HttpResponseMessage> OpenAsync(string path, CancellationToken token)
    {
        var response = await SendAsync(HttpMethod.Get, path, null, HttpCompletionOption.ResponseHeadersRead, token);
        if (response.IsSuccessStatusCode)
        {
            return response;
        }

        using (response)
        {
            throw KubeFault.Of(response, await response.Content.ReadAsStringAsync(token));
        }
    }

    /// <summary>Where objects of a manifest's kind live, as the server says.</summary>
    /// <exception cref="LaunchException"><c>KubernetesKindUnknown</c>.</exception>
    internal async Task<KubeKind> KindOfAsync(JsonObject manifest, CancellationToken token)
    {
        var (group, version) = KubeKind.Split(manifest.Str("apiVersion") ?? KubeKind.Job.ApiVersion);
        var kind = manifest.Str("kind") ?? "Job";
        if (group == "batch" && version == "v1" && kind == "Job")
        {
            return KubeKind.Job;
        }

        var key = $"{group}/{version}/{kind}";
        if (_kinds.TryGetValue(key, out var known))
        {
            return known;
        }

        var all = await FindAsync(
            group.Length == 0
                ? $"/api/{Uri.EscapeDataString(version)}"
                : $"/apis/{Uri.EscapeDataString(group)}/{Uri.EscapeDataString(version)}",
            token
        );
        var found = all.Maps("resources")
            .FirstOrDefault(r =>
                r.Str("kind") == kind && r.Str("name")?.Contains('/', StringComparison.Ordinal) == false
            );
        return found is null || !found.Is("namespaced")
            ? throw new LaunchException(
                "KubernetesKindUnknown",
                LaunchErrorCategory.ObjectNotFound,
                found is null
                    ? $"The cluster at {Server} has no {kind} of {manifest.Str("apiVersion")}. Install what brings it, or correct apiVersion and kind ('kubectl api-resources' lists them)."
                    : $"A {kind} belongs to no namespace, so a launch makes none.",
                kind
            )
            : _kinds.GetOrAdd(key, new KubeKind(group, version, found.Str("name")!));
    }

    /// <summary>Version of the server: what it does not know of a manifest it drops without a word.</summary>
    internal async Task<bool> IsAtLeastAsync(int minor, CancellationToken token)
    {
        if (_version is null)
        {
            var told = await GetAsync("/version", token);
            _version = (Number(told.Str("major")), Number(told.Str("minor")));
        }

        return _version.Value.Major > 1 || _version.Value.Minor >= minor;

        // Providers write 27+.
        static int Number(string? text) =>
            int.TryParse(
                new string([.. (text ?? "").TakeWhile(char.IsAsciiDigit)]),
                CultureInfo.InvariantCulture,
                out var number
            )
                ? number
                : 0;
    }

    private async Task<HttpResponseMessage> SendAsync(
        HttpMethod method,
        string path,
        JsonNode? body,
        HttpCompletionOption completion,
        CancellationToken token
    )
    {
        using var request = new HttpRequestMessage(method, new Uri(Server + path));
        request.Version = System.Net.HttpVersion.Version20;
        request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue("application/json"));
        request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue("*/*", 0.5));
        if (body is not null)
        {
            request.Content = new StringContent(
                body.ToJsonString(),
                Encoding.UTF8,
                method == HttpMethod.Patch ? "application/merge-patch+json" : "application/json"
            );
        }

        if (_client.Credentials is { } credentials)
        {
            await credentials.ProcessHttpRequestAsync(request, token);
        }

        return await _client.HttpClient.SendAsync(request, completion, token);
    }
}
