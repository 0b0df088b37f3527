using System.Collections.Concurrent;
using System.Threading.Channels;
using Docker.DotNet;
using Docker.DotNet.Models;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.Resources;

/// <summary>
/// The ends of all watched containers of one engine: its stream of events tells which to look at, and a list now and then
/// finds what the stream did not tell.
/// </summary>
internal sealed class EngineWatch(
    EngineConnections connections,
    string address,
    WatchedRuns runs,
    ChannelWriter<RunChange> ends
)
{
    // Soon at first: what ends while the stream of events is being opened is in neither.
    private static readonly TimeSpan FirstPause = TimeSpan.FromSeconds(1);
    private static readonly TimeSpan MostPause = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan AskPause = TimeSpan.FromSeconds(1);

    private readonly ConcurrentDictionary<string, byte> _told = new(StringComparer.Ordinal);
    private readonly Channel<string> _suspects = Channel.CreateUnbounded<string>();
    private readonly HashSet<string> _known = new(StringComparer.Ordinal);

    private readonly TimeProvider _time = connections.Time;

    private IEnumerable<LaunchedRun> Mine => runs.All.Where(r => r.Handle!.Place == address);

    internal async Task RunAsync(CancellationToken token)
    {
        long? away = null;
        while (!token.IsCancellationRequested)
        {
            var fault = "it does not answer";
            try
            {
                var (client, _) = await connections.GetAsync(address, token);
                if (await EngineConnections.AnswersAsync(client))
                {
                    away = null;
                    using var over = CancellationTokenSource.CreateLinkedTokenSource(token);
                    try
                    {
                        // Whichever ends first has met an engine that went away.
                        await await Task.WhenAny(
                            ListenAsync(client, over.Token),
                            ListAsync(client, over.Token),
                            LookAtSuspectsAsync(client, over.Token)
                        );
                    }
                    finally
                    {
                        await over.CancelAsync();
                    }
                }
            }
            catch (Exception e) when (EngineConnections.IsAway(e) || e is DockerApiException or LaunchException)
            {
                fault = e is LaunchException ? fault : e.Message;
            }
            catch (OperationCanceledException) when (token.IsCancellationRequested)
            {
                return;
            }

            if (_time.GetElapsedTime(away ??= _time.GetTimestamp()) > connections.Patience)
            {
                foreach (var run in Mine)
                {
                    Tell(
                        run.Id,
                        new RunOutcome(
                            null,
                            $"the Docker Engine stopped answering while the run was under way ({fault}), so how it ended is not known; its container {ContainerRequest.NameFor(run.Id)} may still run"
                        )
                    );
                }
            }

            await Task.Delay(AskPause, _time, token).ContinueWith(static _ => { }, TaskScheduler.Default);
        }
    }

    private async Task ListenAsync(DockerClient client, CancellationToken token)
    {
        var progress = new EventSink(_suspects.Writer);
        await client.System.MonitorEventsAsync(
            new ContainerEventsParameters
            {
                Filters = new Dictionary<string, IDictionary<string, bool>>
                {
                    ["type"] = Only("container"),
                    ["label"] = Only(ContainerRequest.RunLabel),
                    ["event"] = new Dictionary<string, bool> { ["die"] = true, ["destroy"] = true },
                },
            },
            progress,
            token
        );
    }

    private async Task ListAsync(DockerClient client, CancellationToken token)
    {
        // A new stream of events, so what ended before it began is found here.
        _known.Clear();
        var listed = _time.GetTimestamp();
        var pause = TimeSpan.Zero;
        while (true)
        {
            var changed = runs.Changed;
            var mine = Mine.ToList();
            if (_time.GetElapsedTime(listed) >= pause)
            {
                pause =
                    pause == TimeSpan.Zero ? FirstPause
                    : pause * 2 > MostPause ? MostPause
                    : pause * 2;
                listed = _time.GetTimestamp();
                var there = await ListedAsync(client, token);
                foreach (var run in mine.Where(r => !there.Contains(r.Handle!.Id)))
                {
                    _suspects.Writer.TryWrite(run.Handle!.Id);
                }
            }
            else
            {
                // It may have ended before it was watched.
                foreach (var run in mine.Where(r => !_known.Contains(r.Id)))
                {
                    _suspects.Writer.TryWrite(run.Handle!.Id);
                }
            }

            _known.Clear();
            _known.UnionWith(mine.Select(r => r.Id));
            foreach (var told in _told.Keys.Where(k => !_known.Contains(k)))
            {
                _told.TryRemove(told, out _);
            }

            var left = pause - _time.GetElapsedTime(listed);
            await Task.WhenAny(changed, Task.Delay(left > TimeSpan.Zero ? left : TimeSpan.Zero, _time, token));
            token.ThrowIfCancellationRequested();
        }
    }

    /// <summary>Ids of our containers that run.</summary>
    internal static async Task<HashSet<string>> ListedAsync(DockerClient client, CancellationToken token)
    {
        var all = await client.Containers.ListContainersAsync(
            new ContainersListParameters
            {
                Filters = new Dictionary<string, IDictionary<string, bool>>
                {
                    ["label"] = Only(ContainerRequest.RunLabel),
                },
            },
            token
        );
        return all.Select(c => c.ID).ToHashSet(StringComparer.Ordinal);
    }

    private async Task LookAtSuspectsAsync(DockerClient client, CancellationToken token)
    {
        await foreach (var id in _suspects.Reader.ReadAllAsync(token))
        {
            if (runs.All.FirstOrDefault(r => r.Handle!.Id == id) is not { } run || _told.ContainsKey(run.Id))
            {
                continue;
            }

            try
            {
                if (await EndOfAsync(client, id, token) is { } end)
                {
                    Tell(run.Id, end);
                }
            }
            catch
            {
                // Looked at again when the engine answers.
                _suspects.Writer.TryWrite(id);
                throw;
            }
        }
    }

    /// <summary>How a container ended; null while it runs.</summary>
    internal static async Task<RunOutcome?> EndOfAsync(DockerClient client, string id, CancellationToken token)
    {
        try
        {
            var found = await client.Containers.InspectContainerAsync(id, token);
            var state = found.State;
            if (state.Running || state.Paused || state.Restarting || state.Status is "created" or "removing")
            {
                return null;
            }

            var code = ExitCodes.Fold(state.ExitCode);
            var failed = string.IsNullOrEmpty(state.Error) ? null : Secrets.Mask(state.Error);
            var outOfMemory = state.OOMKilled && code != 0;
            return new RunOutcome(
                // An engine that could not start or wait says so beside a code that means nothing.
                code == 0
                && failed is not null
                    ? null
                    : code,
                failed
                    ?? (
                        outOfMemory
                            ? "out of memory: the container reached its memory limit and was killed. Raise it with -DockerArgs @{memory='…'}"
                        : code == 127
                            ? $"the image {found.Config.Image} has no program '{found.Path}', or the program ended with exit code 127"
                        : null
                    ),
                outOfMemory
            );
        }
        catch (DockerContainerNotFoundException)
        {
            return new RunOutcome(null, "the container was removed by someone else, so its exit code is not known");
        }
    }

    private void Tell(string id, RunOutcome outcome)
    {
        if (_told.TryAdd(id, 0))
        {
            ends.TryWrite(new RunChange(id, RunStanding.Ended(outcome)));
        }
    }

    private static Dictionary<string, bool> Only(string value) => new() { [value] = true };

    // Progress<T> would post each to the pool, out of order.
    private sealed class EventSink(ChannelWriter<string> suspects) : IProgress<Message>
    {
        public void Report(Message value) => suspects.TryWrite(value.Actor?.ID ?? value.ID);
    }
}
