using System.Collections.Concurrent;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;
using WandbLaunch.Foundation;
using WandbLaunch.Resources;

namespace WandbLaunch.Tests;

/// <summary>Between whoever is tested and the real API server: counts what is asked, and does what goes wrong on real ones.</summary>
internal sealed class KubeProxy : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly k8s.Kubernetes _target;
    private readonly ConcurrentDictionary<HttpContext, byte> _watches = new();
    private readonly ConcurrentDictionary<HttpContext, byte> _streams = new();
    private readonly ConcurrentDictionary<HttpContext, byte> _silent = new();

    private KubeProxy(WebApplication app, k8s.Kubernetes target)
    {
        _app = app;
        _target = target;
    }

    internal string Url { get; private set; } = "";

    /// <summary>Method and address of everything that was asked.</summary>
    internal ConcurrentQueue<string> Asked { get; } = [];

    /// <summary>Answers in the server's place; true when it did.</summary>
    internal Func<HttpContext, Task<bool>>? Fault { get; set; }

    internal int Count(Func<string, bool> which) => Asked.Count(which);

    internal int Watches(string plural) =>
        Count(a =>
            a.Contains($"/{plural}?", StringComparison.Ordinal) && a.Contains("watch=1", StringComparison.Ordinal)
        );

    internal int Lists(string plural) =>
        Count(a =>
            a.StartsWith("GET ", StringComparison.Ordinal)
            && a.Contains($"/{plural}?", StringComparison.Ordinal)
            && !a.Contains("watch=1", StringComparison.Ordinal)
        );

    internal static async Task<KubeProxy> StartAsync(string kubeConfig)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        var app = builder.Build();
        var proxy = new KubeProxy(
            app,
            new k8s.Kubernetes(KubePlace.Find(new LaunchEnvironment(), kubeConfig, null).Open())
        );
        app.Run(proxy.AnswerAsync);
        await app.StartAsync();
        proxy.Url = app.Urls.First();
        return proxy;
    }

    /// <summary>Hands on so many bytes at a time, with a moment between; null: as they come.</summary>
    internal int? Drip { get; set; }

    /// <summary>Logs that are being followed.</summary>
    internal int OpenLogs => _streams.Keys.Count(IsLog);

    /// <summary>How many of the streams that were made silent are still open.</summary>
    internal int Silent => _silent.Count;

    /// <summary>All streams that are open say nothing more and stay open, as behind a load balancer that forgot them.</summary>
    internal void Silence()
    {
        foreach (var stream in _streams.Keys)
        {
            _silent.TryAdd(stream, 0);
        }
    }

    internal static bool IsLog(HttpContext context) =>
        context.Request.Path.Value!.EndsWith("/log", StringComparison.Ordinal)
        && context.Request.Query["follow"] == "true";

    internal int OpenWatches => _watches.Count;

    /// <summary>Every watch that is open breaks off, in the middle of whatever it says.</summary>
    internal void CutWatches()
    {
        foreach (var watch in _watches.Keys)
        {
            watch.Abort();
        }
    }

    /// <summary>A watch that is told in the stream, once, that its version is too old.</summary>
    internal static async Task<bool> GoneInStreamAsync(HttpContext context)
    {
        context.Response.ContentType = "application/json";
        await context.Response.WriteAsync(
            """{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure","message":"too old resource version: 1 (2)","reason":"Expired","code":410}}"""
                + "\n"
        );
        return true;
    }

    internal static async Task<bool> StatusAsync(HttpContext context, int code, string reason, int? retryAfter = null)
    {
        context.Response.StatusCode = code;
        context.Response.ContentType = "application/json";
        if (retryAfter is not null)
        {
            context.Response.Headers.RetryAfter = retryAfter.Value.ToString(
                System.Globalization.CultureInfo.InvariantCulture
            );
        }

        await context.Response.WriteAsync(
            $$"""{"kind":"Status","apiVersion":"v1","status":"Failure","message":"said by the proxy","reason":"{{reason}}","code":{{code}}}"""
        );
        return true;
    }

    internal static bool IsWatch(HttpContext context) => context.Request.Query["watch"] == "1";

    public async ValueTask DisposeAsync()
    {
        CutWatches();
        await _app.DisposeAsync();
        _target.Dispose();
    }

    private async Task AnswerAsync(HttpContext context)
    {
        var address = context.Request.Path + context.Request.QueryString;
        Asked.Enqueue(context.Request.Method + " " + address);
        if (Fault is { } fault && await fault(context))
        {
            return;
        }

        using var request = new HttpRequestMessage(
            new HttpMethod(context.Request.Method),
            new Uri(_target.BaseUri, address)
        );
        if (context.Request.ContentLength > 0 || context.Request.Headers.TransferEncoding.Count > 0)
        {
            var body = new MemoryStream();
            await context.Request.Body.CopyToAsync(body);
            request.Content = new ByteArrayContent(body.ToArray());
            request.Content.Headers.TryAddWithoutValidation("Content-Type", context.Request.ContentType);
        }

        var isWatch = IsWatch(context);
        if (isWatch)
        {
            _watches.TryAdd(context, 0);
        }

        if (isWatch || IsLog(context))
        {
            _streams.TryAdd(context, 0);
        }

        try
        {
            using var answer = await _target.HttpClient.SendAsync(
                request,
                HttpCompletionOption.ResponseHeadersRead,
                context.RequestAborted
            );
            context.Response.StatusCode = (int)answer.StatusCode;
            context.Response.ContentType = answer.Content.Headers.ContentType?.ToString();
            context.Features.Get<IHttpResponseBodyFeature>()!.DisableBuffering();
            var stream = await answer.Content.ReadAsStreamAsync(context.RequestAborted);
            var buffer = new byte[16384];
            await context.Response.StartAsync(context.RequestAborted);
            int read;
            while ((read = await stream.ReadAsync(buffer, context.RequestAborted)) > 0)
            {
                await PassAsync(context, buffer.AsMemory(0, read));
            }
        }
        catch (Exception e) when (e is HttpRequestException or IOException or OperationCanceledException)
        {
            // As a load balancer does when there is nobody behind it.
            if (!context.Response.HasStarted && !context.RequestAborted.IsCancellationRequested)
            {
                context.Response.StatusCode = 503;
            }
            else
            {
                context.Abort();
            }
        }
        finally
        {
            _watches.TryRemove(context, out _);
            _streams.TryRemove(context, out _);
            _silent.TryRemove(context, out _);
        }
    }

    private async Task PassAsync(HttpContext context, ReadOnlyMemory<byte> bytes)
    {
        if (_silent.ContainsKey(context))
        {
            // What would have been said is lost with it.
            return;
        }

        if (Drip is not { } most || !_streams.ContainsKey(context))
        {
            await context.Response.Body.WriteAsync(bytes, context.RequestAborted);
            return;
        }

        for (var i = 0; i < bytes.Length; i += most)
        {
            await context.Response.Body.WriteAsync(
                bytes.Slice(i, Math.Min(most, bytes.Length - i)),
                context.RequestAborted
            );
            await context.Response.Body.FlushAsync(context.RequestAborted);
            await Task.Delay(1, context.RequestAborted);
        }
    }
}
