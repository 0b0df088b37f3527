using System.Collections.Concurrent;
using System.Globalization;
using System.Net;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text.Json.Nodes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging;
using WandbLaunch.Resources;

namespace WandbLaunch.Tests;

/// <summary>
/// A node that is played: it takes the pods of a namespace, writes their status as a kubelet does, and hands over logs. What a pod
/// does is in its first container's arguments: <c>run SECONDS CODE WORDS…</c>; without them the test says what happens.
/// </summary>
internal sealed class KubeNode : IAsyncDisposable
{
    private readonly KubeApi _api;
    private readonly string _namespace;
    private readonly CancellationTokenSource _over = new();
    private readonly ConcurrentDictionary<string, Log> _logs = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, byte> _seen = new(StringComparer.Ordinal);
    private readonly WebApplication _app;

    private KubeNode(KubeApi api, string @namespace, WebApplication app)
    {
        _api = api;
        _namespace = @namespace;
        _app = app;
    }

    internal string Name { get; } = "node-" + Guid.NewGuid().ToString("n")[..8];

    /// <summary>Breaks the next stream of a log off after so many lines.</summary>
    internal int? CutAfter { get; set; }

    internal int LogReads;

    /// <summary>Pods whose programs ran to their end.</summary>
    internal ConcurrentBag<string> Ended { get; } = [];

    internal static async Task<KubeNode> StartAsync(KubeApi api, string @namespace)
    {
        using var key = RSA.Create(2048);
        var certificate = new CertificateRequest(
            "CN=127.0.0.1",
            key,
            HashAlgorithmName.SHA256,
            RSASignaturePadding.Pkcs1
        ).CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        var builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseKestrelHttpsConfiguration();
        builder.Logging.ClearProviders();
        builder.WebHost.ConfigureKestrel(o => o.Listen(IPAddress.Loopback, 0, l => l.UseHttps(certificate)));
        var app = builder.Build();
        var node = new KubeNode(api, @namespace, app);
        app.Run(node.AnswerAsync);
        await app.StartAsync();
        await api.CreateAsync(
            "/api/v1/nodes",
            new JsonObject
            {
                ["apiVersion"] = "v1",
                ["kind"] = "Node",
                ["metadata"] = new JsonObject { ["name"] = node.Name },
                ["status"] = new JsonObject
                {
                    ["addresses"] = new JsonArray(
                        new JsonObject { ["type"] = "InternalIP", ["address"] = "127.0.0.1" }
                    ),
                    ["daemonEndpoints"] = new JsonObject
                    {
                        ["kubeletEndpoint"] = new JsonObject { ["Port"] = new Uri(app.Urls.First()).Port },
                    },
                },
            },
            default
        );
        _ = Task.Run(node.WorkAsync);
        return node;
    }

    internal string Path(string pod) => KubeKind.Pod.Path(_namespace, pod);

    /// <summary>The only pod of a launch, or its newest, when it is there.</summary>
    internal async Task<JsonObject> PodOfAsync(string id, int count = 1)
    {
        IReadOnlyList<JsonObject> pods = [];
        await KubeCluster.UntilAsync(
            async () =>
            {
                (pods, _) = await _api.ListAsync(
                    KubeKind.Pod.Path(_namespace),
                    "labelSelector=" + Uri.EscapeDataString($"{KubeNames.LaunchLabel}={KubeNames.LabelOf(id)}"),
                    default
                );
                return pods.Count >= count;
            },
            $"{id} has no pod"
        );
        return KubePods.InOrder(pods)[^1];
    }

    /// <summary>Gives a pod its place.</summary>
    internal async Task BindAsync(string pod)
    {
        try
        {
            await _api.CreateAsync(
                Path(pod) + "/binding",
                new JsonObject
                {
                    ["apiVersion"] = "v1",
                    ["kind"] = "Binding",
                    ["metadata"] = new JsonObject { ["name"] = pod },
                    ["target"] = new JsonObject { ["kind"] = "Node", ["name"] = Name },
                },
                default
            );
        }
        catch (KubeFault e) when (e.Code == 409)
        {
            // An answer that was lost on its way.
        }
    }

    internal Task StatusAsync(string pod, string status) =>
        _api.PatchAsync(Path(pod) + "/status", new JsonObject { ["status"] = JsonNode.Parse(status) }, default);

    internal Task WaitsAsync(string pod, string reason, string message = "") =>
        StatusAsync(
            pod,
            $$"""{"phase":"Pending","containerStatuses":[{"name":"launch","image":"i","imageID":"","ready":false,"restartCount":0,"state":{"waiting":{"reason":"{{reason}}","message":"{{message}}"} } }] }"""
        );

    internal Task RunsAsync(string pod, string container = "launch", int restarts = 0) =>
        StatusAsync(
            pod,
            $$"""{"phase":"Running","containerStatuses":[{"name":"{{container}}","image":"i","imageID":"","ready":true,"restartCount":{{restarts}},"state":{"running":{"startedAt":"{{Now}}"} } }] }"""
        );

    internal Task EndsAsync(string pod, int code, string reason = "", string container = "launch") =>
        StatusAsync(
            pod,
            $$"""{"phase":"{{(code == 0 ? "Succeeded" : "Failed")}}","containerStatuses":[{"name":"{{container}}","image":"i","imageID":"","ready":false,"restartCount":0,"state":{"running":null,"waiting":null,"terminated":{"exitCode":{{code}},"reason":"{{(reason.Length > 0 ? reason : code == 0 ? "Completed" : "Error")}}","finishedAt":"{{Now}}"} } }] }"""
        );

    internal Log LogOf(string pod, string container = "launch", bool previous = false) =>
        _logs.GetOrAdd($"{pod}/{container}/{previous}", _ => new Log());

    public async ValueTask DisposeAsync()
    {
        await _over.CancelAsync();
        foreach (var log in _logs.Values)
        {
            log.Complete();
        }

        await _api.DeleteAsync("/api/v1/nodes/" + Name, false, null, default);
        var (pods, _) = await _api.ListAsync(KubeKind.Pod.Path(_namespace), "", default);
        foreach (var pod in pods)
        {
            await RemoveAsync(pod.Str("metadata", "name")!);
        }

        await _app.DisposeAsync();
    }

    private static string Now => DateTimeOffset.UtcNow.ToString("yyyy-MM-ddTHH:mm:ssZ", CultureInfo.InvariantCulture);

    private async Task WorkAsync()
    {
        var running = new SemaphoreSlim(16);
        while (!_over.IsCancellationRequested)
        {
            try
            {
                var (pods, version) = await _api.ListAsync(KubeKind.Pod.Path(_namespace), "", _over.Token);
                foreach (var pod in pods)
                {
                    _ = TakeAsync(pod, running);
                }

                await foreach (
                    var (type, pod) in _api.WatchAsync(
                        KubeKind.Pod.Path(_namespace),
                        "",
                        version,
                        TimeSpan.FromSeconds(60),
                        TimeSpan.FromSeconds(90),
                        _over.Token
                    )
                )
                {
                    if (type is "ADDED" or "MODIFIED")
                    {
                        _ = TakeAsync(pod, running);
                    }
                }
            }
            catch (Exception e) when (e is KubeFault || KubeFault.IsAway(e))
            {
                await Task.Delay(200);
            }
            catch (OperationCanceledException)
            {
                return;
            }
        }
    }

    private async Task TakeAsync(JsonObject pod, SemaphoreSlim few)
    {
        var name = pod.Str("metadata", "name")!;
        var words = (pod.Maps("spec", "containers").First()["args"] as JsonArray)?.Select(w => w!.ToString()).ToArray();
        try
        {
            if (pod.Str("metadata", "deletionTimestamp") is not null)
            {
                // A program that is told to end does so; then the pod is gone.
                if (_seen.TryAdd(name + "/end", 0))
                {
                    LogOf(name).Complete();
                    await RemoveAsync(name);
                }

                return;
            }

            if (words is not ["run", var seconds, var code, .. var said] || !_seen.TryAdd(name, 0))
            {
                return;
            }

            await few.WaitAsync(_over.Token);
            try
            {
                await PatientlyAsync(() => BindAsync(name));
                await PatientlyAsync(() => RunsAsync(name));
            }
            finally
            {
                few.Release();
            }

            LogOf(name).Write([.. said]);
            await Task.Delay(TimeSpan.FromSeconds(double.Parse(seconds, CultureInfo.InvariantCulture)), _over.Token);
            LogOf(name).Complete();
            await few.WaitAsync(_over.Token);
            try
            {
                await PatientlyAsync(() => EndsAsync(name, int.Parse(code, CultureInfo.InvariantCulture)));
                Ended.Add(name);
            }
            finally
            {
                few.Release();
            }
        }
        catch (OperationCanceledException)
        {
            // The test is over.
        }
        catch (KubeFault e) when (e.IsMissing || e.Code == 409)
        {
            // The pod is gone.
        }
    }

    // A server that is restarted is waited for, as kubelets do.
    private async Task PatientlyAsync(Func<Task> work)
    {
        for (var i = 0; ; i++)
        {
            try
            {
                await work();
                return;
            }
            catch (Exception e) when (KubeFault.IsAway(e) && i < 60)
            {
                await Task.Delay(500, _over.Token);
            }
        }
    }

    private async Task RemoveAsync(string pod)
    {
        try
        {
            await _api.CallAsync(
                HttpMethod.Delete,
                Path(pod),
                new JsonObject
                {
                    ["kind"] = "DeleteOptions",
                    ["apiVersion"] = "v1",
                    ["gracePeriodSeconds"] = 0,
                },
                default
            );
        }
        catch (KubeFault e) when (e.IsMissing)
        {
            // Gone.
        }
    }

    // /containerLogs/NAMESPACE/POD/CONTAINER
    private async Task AnswerAsync(HttpContext context)
    {
        Interlocked.Increment(ref LogReads);
        var parts = context.Request.Path.Value!.Split('/');
        var query = context.Request.Query;
        var log = LogOf(parts[3], parts[4], query["previous"] == "true");
        context.Features.Get<IHttpResponseBodyFeature>()!.DisableBuffering();
        await context.Response.StartAsync();
        var since = DateTimeOffset.TryParse(query["sinceTime"], out var time) ? time : DateTimeOffset.MinValue;
        var sent = 0;
        for (var i = 0; ; )
        {
            var lines = log.From(i, out var whole, out var changed);
            foreach (var (at, line) in lines)
            {
                i++;
                if (at >= since)
                {
                    if (CutAfter is { } most && ++sent > most)
                    {
                        CutAfter = null;
                        context.Abort();
                        return;
                    }

                    await context.Response.WriteAsync(
                        query["timestamps"] == "true" ? $"{Stamp(at)} {line}\n" : line + "\n"
                    );
                }
            }

            if (whole || query["follow"] != "true")
            {
                return;
            }

            await Task.WhenAny(changed, Task.Delay(Timeout.Infinite, context.RequestAborted));
            if (context.RequestAborted.IsCancellationRequested)
            {
                return;
            }
        }
    }

    private static string Stamp(DateTimeOffset at) =>
        at.ToString("yyyy-MM-ddTHH:mm:ss.fffffff", CultureInfo.InvariantCulture) + "00Z";

    /// <summary>What a container printed.</summary>
    internal sealed class Log
    {
        private readonly List<(DateTimeOffset At, string Line)> _lines = [];
        private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
        private bool _whole;

        internal void Write(params string[] lines)
        {
            lock (_lines)
            {
                _lines.AddRange(lines.Select(l => (DateTimeOffset.UtcNow, l)));
                Signal();
            }
        }

        internal void Complete()
        {
            lock (_lines)
            {
                _whole = true;
                Signal();
            }
        }

        internal List<(DateTimeOffset At, string Line)> From(int index, out bool whole, out Task changed)
        {
            lock (_lines)
            {
                whole = _whole;
                changed = _changed.Task;
                return [.. _lines.Skip(index)];
            }
        }

        private void Signal()
        {
            _changed.TrySetResult();
            _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
        }
    }
}
