using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using Microsoft.Extensions.Logging;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>
/// All objects of one kind that launches made in a namespace: one list, and then one watch that is taken up again where it
/// ended. A fault of the watch says nothing about any of them.
/// </summary>
internal sealed class KubeCollection(
    KubeConnections connections,
    string place,
    string @namespace,
    KubeKind kind,
    Action<string> changed
)
{
    internal const string Query = "labelSelector=wandb.ai%2Flaunch-id";

    private static readonly TimeSpan Resync = TimeSpan.FromMinutes(10);
    private static readonly TimeSpan FirstPause = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan MostPause = TimeSpan.FromSeconds(30);

    private readonly Dictionary<string, Dictionary<string, JsonObject>> _byLaunch = new(StringComparer.Ordinal);
    private readonly Dictionary<string, string> _launchOf = new(StringComparer.Ordinal);
    private readonly TaskCompletionSource _listed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TimeProvider _time = connections.Context.Time;

    /// <summary>Done when the first list is there.</summary>
    internal Task Listed => _listed.Task;

    internal JsonObject? Find(string launch, string name)
    {
        lock (_byLaunch)
        {
            return _byLaunch.TryGetValue(launch, out var all) ? all.GetValueOrDefault(name) : null;
        }
    }

    internal IReadOnlyList<JsonObject> Of(string launch)
    {
        lock (_byLaunch)
        {
            return _byLaunch.TryGetValue(launch, out var all) ? [.. all.Values] : [];
        }
    }

    internal async Task RunAsync(CancellationToken token)
    {
        var path = kind.Path(@namespace);
        string? version = null;
        var pause = FirstPause;
        var listed = _time.GetTimestamp();
        while (!token.IsCancellationRequested)
        {
            KubeApi? api = null;
            TimeSpan wait;
            try
            {
                api = connections.Get(place);
                if (version is null || _time.GetElapsedTime(listed) > Resync)
                {
                    (var items, version) = await api.ListAsync(path, Query, token, 1);
                    listed = _time.GetTimestamp();
                    Replace(items);
                    _listed.TrySetResult();
                }

                // Not all watches of a fleet end in the same second.
                var length = TimeSpan.FromSeconds(Random.Shared.Next(240, 300));
                var began = _time.GetTimestamp();
                await foreach (
                    var (type, value) in api.WatchAsync(path, Query, version, length, connections.Quiet, token)
                )
                {
                    pause = FirstPause;
                    version = value.Str("metadata", "resourceVersion") ?? version;
                    if (type != "BOOKMARK")
                    {
                        Apply(type, value);
                    }
                }

                // It ends by itself, and goes on from there; one that ends at once is somebody's fault between.
                wait = _time.GetElapsedTime(began) > FirstPause ? TimeSpan.Zero : pause;
                pause = Longer(pause);
            }
            catch (OperationCanceledException) when (token.IsCancellationRequested)
            {
                return;
            }
            catch (KubeFault e) when (e.Code == KubeFault.Gone || e.Reason is "Expired" or "Gone")
            {
                // Too long away: what happened meanwhile is seen by what is different now.
                version = null;
                wait = Jitter(TimeSpan.FromMilliseconds(200));
            }
            catch (Exception e) when (e is not OutOfMemoryException)
            {
                // Whatever it is: a watch that ended without a word would leave its launches running for ever.
                connections.Context.Log.LogDebug(
                    "The watch of {Kind} in {Namespace} begins again: {Fault}",
                    kind,
                    @namespace,
                    KubeFault.IsAway(e) || e is KubeFault or LaunchException ? e.Message : e.ToString()
                );
                if (e is KubeFault { Code: 401 } && api is not null)
                {
                    connections.Forget(api);
                }

                wait = (e as KubeFault)?.RetryAfter ?? Jitter(pause);
                pause = Longer(pause);
            }

            await Task.Delay(wait, _time, token).ContinueWith(static _ => { }, TaskScheduler.Default);
        }
    }

    private void Replace(IReadOnlyList<JsonObject> items)
    {
        var touched = new HashSet<string>(StringComparer.Ordinal);
        lock (_byLaunch)
        {
            var names = items.Select(i => i.Str("metadata", "name")).ToHashSet();
            foreach (var gone in _launchOf.Keys.Where(n => !names.Contains(n)).ToList())
            {
                touched.Add(RemoveOf(gone)!);
            }

            foreach (var item in items)
            {
                // A list's items lack both.
                item["kind"] ??= KindWord();
                item["apiVersion"] ??= kind.ApiVersion;
                if (Put(item) is { } launch)
                {
                    touched.Add(launch);
                }
            }
        }

        foreach (var launch in touched)
        {
            changed(launch);
        }
    }

    private void Apply(string type, JsonObject value)
    {
        string? launch;
        lock (_byLaunch)
        {
            launch = type == "DELETED" ? RemoveOf(value.Str("metadata", "name") ?? "", value) : Put(value);
        }

        if (launch is not null)
        {
            changed(launch);
        }
    }

    // Null where nothing is different.
    private string? Put(JsonObject value)
    {
        if (
            value.Str("metadata", "name") is not { } name
            || value.Str("metadata", "labels", KubeNames.LaunchLabel) is not { } launch
        )
        {
            return null;
        }

        if (!_byLaunch.TryGetValue(launch, out var all))
        {
            _byLaunch[launch] = all = new Dictionary<string, JsonObject>(StringComparer.Ordinal);
        }

        var before = all.GetValueOrDefault(name);
        _launchOf[name] = launch;
        all[name] = Pruned(value);
        return
            before is not null
            && before.Str("metadata", "resourceVersion") == value.Str("metadata", "resourceVersion")
            && before.Str("metadata", "uid") == value.Str("metadata", "uid")
            ? null
            : launch;
    }

    private string? RemoveOf(string name, JsonObject? last = null)
    {
        if (!_launchOf.Remove(name, out var launch) || !_byLaunch.TryGetValue(launch, out var all))
        {
            return null;
        }

        // How a pod stood at its end is told nowhere else: it stays as long as its launch has others, or is looked after.
        if (last is not null && kind == KubeKind.Pod)
        {
            _ended[launch] = last;
        }

        all.Remove(name);
        if (all.Count == 0)
        {
            _byLaunch.Remove(launch);
        }

        return launch;
    }

    private readonly ConcurrentDictionary<string, JsonObject> _ended = new(StringComparer.Ordinal);

    /// <summary>The last pod of a launch that was removed, as it stood then.</summary>
    internal JsonObject? LastOf(string launch) => _ended.GetValueOrDefault(launch);

    /// <summary>Nobody asks for it any more.</summary>
    internal void Forget(string launch) => _ended.TryRemove(launch, out _);

    // Of hundreds of objects only what is looked at is kept.
    private static JsonObject Pruned(JsonObject value)
    {
        (value["metadata"] as JsonObject)?.Remove("managedFields");
        if (value["spec"] is JsonObject spec)
        {
            var kept = new JsonObject();
            foreach (
                var name in new[] { "suspend", "runPolicy", "completions", "parallelism", "nodeName", "restartPolicy" }
            )
            {
                if (spec[name] is { } part)
                {
                    kept[name] = part.DeepClone();
                }
            }

            if (spec["containers"] is JsonArray containers)
            {
                kept["containers"] = new JsonArray([
                    .. containers.Select(c => (JsonNode)new JsonObject { ["name"] = c.Str("name") }),
                ]);
            }

            value["spec"] = kept;
        }

        return value;
    }

    private string KindWord() =>
        kind == KubeKind.Pod ? "Pod"
        : kind == KubeKind.Job ? "Job"
        : kind.Plural;

    private static TimeSpan Longer(TimeSpan pause) => pause * 2 < MostPause ? pause * 2 : MostPause;

    private static TimeSpan Jitter(TimeSpan pause) => pause * (0.5 + Random.Shared.NextDouble());
}
