using System.Collections.Concurrent;
using System.Security.Cryptography.X509Certificates;
using System.Text;
using System.Text.RegularExpressions;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;

namespace WandbLaunch.Benchmarks;

/// <summary>The API server of tests/engines/kubernetes-up.sh, with something between that counts what is asked of it.</summary>
internal sealed partial class BareCluster : IAsyncDisposable
{
    private readonly ConcurrentQueue<string> _asked = new();
    private readonly string _namespace = "bench-" + Guid.NewGuid().ToString("n")[..8];
    private readonly HttpClient _server;
    private readonly WebApplication _app;

    private BareCluster(HttpClient server, WebApplication app)
    {
        _server = server;
        _app = app;
    }

    /// <summary>kubectl's configuration of what counts.</summary>
    internal string Config { get; private set; } = "";

    /// <summary>Jobs that were asked for.</summary>
    internal int Jobs => _asked.Count(a => a.StartsWith("POST", StringComparison.Ordinal) && a.Contains("/jobs?"));

    /// <summary>Lists and watches of Jobs and pods, and all requests.</summary>
    internal (int Lists, int Watches, int Requests) Asked
    {
        get
        {
            var all = _asked.Where(a => OfMany().IsMatch(a)).ToList();
            var watches = all.Count(a => a.Contains("watch=1", StringComparison.Ordinal));
            return (all.Count - watches, watches, _asked.Count);
        }
    }

    internal static async Task<BareCluster> StartAsync(string config, string folder)
    {
        var text = await File.ReadAllTextAsync(config);
        string Value(string name) => Regex.Match(text, name + ": \"?([^,}\"\\s]+)").Groups[1].Value;
        string Pem(string name) => Encoding.UTF8.GetString(Convert.FromBase64String(Value(name)));
        var handler = new SocketsHttpHandler();
        handler.SslOptions.ClientCertificates =
        [
            X509Certificate2.CreateFromPem(Pem("client-certificate-data"), Pem("client-key-data")),
        ];

        handler.SslOptions.CertificateChainPolicy = new X509ChainPolicy
        {
            TrustMode = X509ChainTrustMode.CustomRootTrust,
            RevocationMode = X509RevocationMode.NoCheck,
            CustomTrustStore = { X509Certificate2.CreateFromPem(Pem("certificate-authority-data")) },
        };
        var server = new HttpClient(handler)
        {
            BaseAddress = new Uri(Value("server")),
            Timeout = Timeout.InfiniteTimeSpan,
        };
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        var cluster = new BareCluster(server, builder.Build());
        cluster._app.Run(cluster.AnswerAsync);
        await cluster._app.StartAsync();
        await cluster.PostAsync(
            "/api/v1/namespaces",
            $$"""{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"{{cluster._namespace}}"} }"""
        );
        cluster.Config = Path.Combine(folder, "kubeconfig");
        await File.WriteAllTextAsync(
            cluster.Config,
            $"{{apiVersion: v1, kind: Config, current-context: c, clusters: [{{name: c, cluster: {{server: '{cluster._app.Urls.First()}'}}}}], users: [{{name: u, user: {{}}}}], contexts: [{{name: c, context: {{cluster: c, user: u, namespace: {cluster._namespace}}}}}]}}"
        );
        return cluster;
    }

    /// <summary>So many Jobs, one request after the other.</summary>
    internal async Task MakeAsync(int count)
    {
        for (var i = 0; i < count; i++)
        {
            await PostAsync(
                $"/apis/batch/v1/namespaces/{_namespace}/jobs",
                $$"""{"apiVersion":"batch/v1","kind":"Job","metadata":{"name":"bare-{{i}}"},"spec":{"template":{"spec":{"restartPolicy":"Never","containers":[{"name":"c","image":"busybox:1"}]} } } }"""
            );
        }
    }

    public async ValueTask DisposeAsync()
    {
        using var gone = await _server.DeleteAsync("/api/v1/namespaces/" + _namespace);
        await _app.DisposeAsync();
        _server.Dispose();
    }

    private async Task PostAsync(string path, string body)
    {
        using var content = new StringContent(body, Encoding.UTF8, "application/json");
        using var answer = await _server.PostAsync(path, content);
        answer.EnsureSuccessStatusCode();
    }

    private async Task AnswerAsync(HttpContext context)
    {
        var address = context.Request.Path + context.Request.QueryString;
        _asked.Enqueue(context.Request.Method + " " + address);
        using var request = new HttpRequestMessage(new HttpMethod(context.Request.Method), address);
        if (context.Request.ContentLength > 0)
        {
            using var body = new MemoryStream();
            await context.Request.Body.CopyToAsync(body);
            request.Content = new ByteArrayContent(body.ToArray());
            request.Content.Headers.TryAddWithoutValidation("Content-Type", context.Request.ContentType);
        }

        try
        {
            using var answer = await _server.SendAsync(
                request,
                HttpCompletionOption.ResponseHeadersRead,
                context.RequestAborted
            );
            context.Response.StatusCode = (int)answer.StatusCode;
            context.Response.ContentType = answer.Content.Headers.ContentType?.ToString();
            context.Features.Get<IHttpResponseBodyFeature>()!.DisableBuffering();
            await context.Response.StartAsync(context.RequestAborted);
            await answer.Content.CopyToAsync(context.Response.Body, context.RequestAborted);
        }
        catch (Exception e) when (e is OperationCanceledException or IOException or HttpRequestException)
        {
            context.Abort();
        }
    }

    [GeneratedRegex(@"^GET \S+/(jobs|pods)\?")]
    private static partial Regex OfMany();
}
