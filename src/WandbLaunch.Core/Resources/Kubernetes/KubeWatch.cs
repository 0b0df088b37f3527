using System.Collections.Concurrent;
using System.Text.Json.Nodes;
using System.Threading.Channels;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Resources;

/// <summary>How the watched launches of one namespace stand, as it changes. What the watch tells makes it look; that a launch is over only the server itself says, asked for that one object.</summary>
internal sealed class KubeWatch(
    KubeConnections connections,
    string place,
    string @namespace,
    WatchedRuns runs,
    ChannelWriter<RunChange> changes
) : IDisposable
{
    // Times go by without any change.
    private static readonly TimeSpan Tick = TimeSpan.FromSeconds(5);

    private static readonly TimeSpan Swarm = TimeSpan.FromMilliseconds(50);

    // A launch that was just made comes with the watch; one that was removed before the watch began does not.
    private static readonly TimeSpan Late = TimeSpan.FromSeconds(3);

    private readonly ConcurrentDictionary<string, byte> _touched = new(StringComparer.Ordinal);
    private readonly Dictionary<string, Followed> _followed = new(StringComparer.Ordinal);
    private readonly SemaphoreSlim _signal = new(0);

    private TimeProvider Time => connections.Context.Time;

    private IEnumerable<LaunchedRun> Mine =>
        runs.All.Where(r => r.Handle!.Place == place && KubeHandle.Of(r.Handle).Namespace == @namespace);

    internal async Task RunAsync(CancellationToken token)
    {
        var board = connections.Hold(place, @namespace);
        try
        {
            using var listening = board.Listen(Touch);
            var wake = Task.CompletedTask;
            while (true)
            {
                token.ThrowIfCancellationRequested();
                var changed = runs.Changed;
                var mine = Mine.ToList();
                Follow(board, mine);
                await LookAsync(board, mine, token);
                if (wake.IsCompleted)
                {
                    wake = _signal.WaitAsync(token);
                }

                await Task.WhenAny(changed, wake, Task.Delay(Tick, Time, token));
                if (wake.IsCompleted)
                {
                    // Changes come in swarms: a Job, its pod, its pod again.
                    await Task.Delay(Swarm, Time, token);
                    while (await _signal.WaitAsync(0, token))
                    {
                        // All of them are looked at now.
                    }
                }
            }
        }
        catch (OperationCanceledException) when (token.IsCancellationRequested)
        {
            // Nobody waits any more.
        }
        finally
        {
            connections.LetGo(board);
        }
    }

    public void Dispose() => _signal.Dispose();

    private void Touch(string launch)
    {
        if (_touched.TryAdd(launch, 0))
        {
            try
            {
                _signal.Release();
            }
            catch (ObjectDisposedException)
            {
                // News that came as the watch was left.
            }
        }
    }

    private void Follow(KubeBoard board, List<LaunchedRun> mine)
    {
        var ids = mine.Select(r => r.Id).ToHashSet(StringComparer.Ordinal);
        foreach (var gone in _followed.Where(f => !ids.Contains(f.Key)).ToList())
        {
            _followed.Remove(gone.Key);
            board.Pods.Forget(gone.Value.Label);
        }

        foreach (var run in mine.Where(r => !_followed.ContainsKey(r.Id)))
        {
            var handle = KubeHandle.Of(run.Handle!);
            _followed[run.Id] = new Followed(KubeNames.LabelOf(run.Id), handle) { Seen = Time.GetUtcNow() };
            _ = board.Of(handle.Kind);
            _touched.TryAdd(_followed[run.Id].Label, 0);
        }
    }

    private async Task LookAsync(KubeBoard board, List<LaunchedRun> mine, CancellationToken token)
    {
        var touched = _touched.Keys.ToHashSet(StringComparer.Ordinal);
        foreach (var label in touched)
        {
            _touched.TryRemove(label, out _);
        }

        foreach (var run in mine)
        {
            var followed = _followed[run.Id];
            if (!followed.Told && (followed.Waits || touched.Contains(followed.Label)))
            {
                try
                {
                    await LookAsync(board, run, followed, token);
                }
                catch (Exception e) when (e is KubeFault or LaunchException || KubeFault.IsAway(e))
                {
                    // A server that cannot be asked says nothing. Asked again at the next tick.
                    followed.Waits = true;
                }
            }
        }
    }

    private async Task LookAsync(KubeBoard board, LaunchedRun run, Followed followed, CancellationToken token)
    {
        var (handle, label) = (followed.Handle, followed.Label);
        var objects = board.Of(handle.Kind);
        if (!objects.Listed.IsCompleted || !board.Pods.Listed.IsCompleted)
        {
            followed.Waits = true;
            return;
        }

        var now = Time.GetUtcNow();
        var value = objects.Find(label, handle.Name);
        var gone = value is null;
        if (gone && now - followed.Seen < Late)
        {
            followed.Waits = true;
            return;
        }

        var state = KubeStates.Read(value, Pods(board, label), board.Hints);
        if (state.Wait is not null)
        {
            // Words only: a state does not wait for them. They come with the next look.
            board.AskForHints();
            state = KubeStates.Read(value, Pods(board, label), board.Hints);
        }

        var standing = Standing(followed, state, now);
        if (standing.End is not null)
        {
            // How it really stands is the server's word, not the watch's.
            var api = connections.Get(place);
            value = await api.FindAsync(handle.Path, token);
            if (value is not null && gone)
            {
                // The watch is behind; its news will come.
                followed.Seen = now;
                followed.Waits = true;
                return;
            }

            state = KubeStates.Read(value, await FreshPodsAsync(api, board, label, token), KubeHints.None);
            standing = Standing(followed, state, now);
        }

        followed.Waits = standing.Waits;
        if (standing != followed.Last)
        {
            followed.Last = standing;
            followed.Told = standing.End is not null;
            changes.TryWrite(new RunChange(run.Id, standing));
        }
    }

    private static RunStanding Standing(Followed followed, KubeState state, DateTimeOffset now)
    {
        if (state.Wait?.Key != followed.Key)
        {
            followed.Key = state.Wait?.Key;
            followed.Since = now;
        }

        // The cluster's own time where it is longer ago: this may be an agent that was started again.
        return state.At(state.Wait?.Since is { } told && told < followed.Since ? told : followed.Since, now);
    }

    private static List<JsonObject> Pods(KubeBoard board, string label)
    {
        var pods = board.Pods.Of(label).ToList();
        if (pods.Count == 0 && board.Pods.LastOf(label) is { } last)
        {
            pods.Add(last);
        }

        return pods;
    }

    // One by one and by name, of those that are known: a list would be a load for the server.
    private static async Task<IReadOnlyList<JsonObject>> FreshPodsAsync(
        KubeApi api,
        KubeBoard board,
        string label,
        CancellationToken token
    )
    {
        var fresh = new List<JsonObject>();
        foreach (var pod in Pods(board, label))
        {
            var name = pod.Str("metadata", "name")!;
            fresh.Add(
                KubePods.IsOver(pod) ? pod : await api.FindAsync(KubeKind.Pod.Path(board.Namespace, name), token) ?? pod
            );
        }

        return fresh;
    }

    private sealed class Followed(string label, KubeHandle handle)
    {
        internal string Label => label;
        internal KubeHandle Handle => handle;
        internal DateTimeOffset Seen { get; set; }
        internal bool Waits { get; set; }
        internal bool Told { get; set; }
        internal string? Key { get; set; }
        internal DateTimeOffset Since { get; set; }
        internal RunStanding? Last { get; set; }
    }
}
