using System.Collections.Concurrent;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>A namespace as it is now: the objects that launches made, and their pods. Everybody in this process who looks after a launch there shares it.</summary>
internal sealed class KubeBoard(KubeConnections connections, string place, string @namespace) : IDisposable
{
    // Warnings and queues are asked for only while something waits.
    private static readonly TimeSpan HintPause = TimeSpan.FromSeconds(20);
    private static readonly TimeSpan HintLimit = TimeSpan.FromSeconds(15);

    private readonly CancellationTokenSource _over = new();
    private readonly ConcurrentDictionary<KubeKind, KubeCollection> _collections = new();
    private readonly List<Action<string>> _listeners = [];
    private readonly object _asking = new();
    private volatile KubeHints _hints = KubeHints.None;
    private long _asked;

    internal string Place => place;
    internal string Namespace => @namespace;
    internal int Holders { get; set; }
    internal KubeCollection Pods => Of(KubeKind.Pod);

    internal KubeCollection Of(KubeKind kind)
    {
        lock (_collections)
        {
            if (!_collections.TryGetValue(kind, out var found))
            {
                _collections[kind] = found = new KubeCollection(connections, place, @namespace, kind, Changed);
                _ = found.RunAsync(_over.Token);
            }

            return found;
        }
    }

    /// <summary>Told the launch label of whatever changes, until it is disposed of.</summary>
    internal IDisposable Listen(Action<string> listener)
    {
        lock (_listeners)
        {
            _listeners.Add(listener);
        }

        return new Listening(this, listener);
    }

    /// <summary>A signal for one launch.</summary>
    internal async Task ChangedAsync(string launch, TimeSpan most, CancellationToken token)
    {
        var signal = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using (
            Listen(l =>
            {
                if (l == launch)
                {
                    signal.TrySetResult();
                }
            })
        )
        {
            await Task.WhenAny(signal.Task, Task.Delay(most, connections.Context.Time, token));
            token.ThrowIfCancellationRequested();
        }
    }

    /// <summary>What the cluster added when it was asked last.</summary>
    internal KubeHints Hints => _hints;

    /// <summary>Asks anew, unless that was a moment ago or is under way. Nobody waits for it.</summary>
    internal void AskForHints()
    {
        lock (_asking)
        {
            if (_asked != 0 && connections.Context.Time.GetElapsedTime(_asked) < HintPause)
            {
                return;
            }

            _asked = connections.Context.Time.GetTimestamp();
        }

        _ = Task.Run(async () =>
        {
            try
            {
                using var limit = CancellationTokenSource.CreateLinkedTokenSource(_over.Token);
                limit.CancelAfter(HintLimit);
                _hints = await AskAsync(connections.Get(place), @namespace, limit.Token);
            }
            catch (Exception e) when (e is LaunchException or OperationCanceledException or ObjectDisposedException)
            {
                // Words are missing then, and no more.
            }
        });
    }

    /// <summary>What the cluster adds. Whoever may not read it goes without.</summary>
    internal static async Task<KubeHints> AskAsync(KubeApi api, string @namespace, CancellationToken token)
    {
        var hints = new KubeHints();
        try
        {
            var (events, _) = await api.ListAsync(
                KubeKind.Event.Path(@namespace),
                "fieldSelector=type%3DWarning",
                token,
                1
            );
            hints.Add(events);
            foreach (var version in new[] { "v1beta2", "v1beta1" })
            {
                try
                {
                    var (workloads, _) = await api.ListAsync(
                        new KubeKind("kueue.x-k8s.io", version, "workloads").Path(@namespace),
                        "labelSelector=kueue.x-k8s.io%2Fjob-uid",
                        token,
                        1
                    );
                    hints.AddWorkloads(workloads);
                    break;
                }
                catch (KubeFault e) when (e.IsMissing)
                {
                    // No Kueue, or another version of it.
                }
            }
        }
        catch (Exception e) when (e is KubeFault || KubeFault.IsAway(e))
        {
            // Words are missing then, and no more.
        }

        return hints;
    }

    /// <summary>Nobody holds it any more.</summary>
    public void Dispose()
    {
        _over.Cancel();
        _over.Dispose();
    }

    private void Changed(string launch)
    {
        Action<string>[] all;
        lock (_listeners)
        {
            all = [.. _listeners];
        }

        foreach (var listener in all)
        {
            listener(launch);
        }
    }

    private sealed class Listening(KubeBoard board, Action<string> listener) : IDisposable
    {
        public void Dispose()
        {
            lock (board._listeners)
            {
                board._listeners.Remove(listener);
            }
        }
    }
}
