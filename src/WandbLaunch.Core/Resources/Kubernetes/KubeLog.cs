using System.Buffers;
using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;
using WandbLaunch.Foundation;

namespace WandbLaunch.Resources;

/// <summary>
/// What a launch printed, over all its pods and every start of its container. Lines come with their times, so that reading
/// goes on where it was cut off.
/// </summary>
internal sealed class KubeLog(
    KubeConnections connections,
    string place,
    KubeHandle handle,
    string label,
    IRunLogSink sink
)
{
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(2);

    // What is over says no more; what is still on its way comes within that.
    private static readonly TimeSpan Rest = TimeSpan.FromSeconds(3);

    // A node that does not hand over the log of a program that ended: it may be gone for good.
    private const int TriesAtEnd = 5;

    private readonly TimeProvider _time = connections.Context.Time;
    private Place _at = new(null, null, 0);

    /// <exception cref="LaunchException">The cluster is away, or may not be read.</exception>
    internal async Task ReadAsync(string? from, bool follow, CancellationToken token)
    {
        _at = Place.Parse(from);
        try
        {
            if (follow)
            {
                await FollowAsync(token);
            }
            else
            {
                foreach (var pod in Ahead(await ListAsync(token)))
                {
                    await ReadPodAsync(pod, null, token);
                }
            }
        }
        catch (Exception e) when (e is KubeFault || KubeFault.IsAway(e))
        {
            throw KubeFault.Explain(e, place, $"the log of {handle.Namespace}/{handle.Name}");
        }
    }

    private async Task FollowAsync(CancellationToken token)
    {
        var board = connections.Hold(place, handle.Namespace);
        try
        {
            var objects = board.Of(handle.Kind);
            await Task.WhenAll(objects.Listed, board.Pods.Listed).WaitAsync(token);
            while (true)
            {
                var pods = HasLabelledPods ? board.Pods.Of(label) : await ListAsync(token);
                if (Ahead(pods).FirstOrDefault(p => KubePods.HasBegun(p) || KubePods.IsOver(p)) is { } pod)
                {
                    await ReadPodAsync(pod, board, token);
                    Pass(pod);
                    continue;
                }

                var value = objects.Find(label, handle.Name);
                if (
                    KubeStates.Read(value, pods, KubeHints.None).End is not null
                    && (value is not null || await connections.Get(place).FindAsync(handle.Path, token) is null)
                    && Ahead(pods).All(KubePods.IsOver)
                )
                {
                    return;
                }

                await board.ChangedAsync(label, HasLabelledPods ? Pause * 15 : Pause * 3, token);
            }
        }
        finally
        {
            connections.LetGo(board);
        }
    }

    // Kubeflow's trainer makes its pods of a template of the cluster's, and Ray's operator the one that hands the program
    // over and shows its output: they have no label of ours.
    private (string Label, string Value) Selector =>
        handle.Kind.Plural switch
        {
            "trainjobs" => ("jobset.sigs.k8s.io/jobset-name", handle.Name),
            "rayjobs" => ("job-name", handle.Name),
            _ => (KubeNames.LaunchLabel, label),
        };

    private bool HasLabelledPods => Selector.Label == KubeNames.LaunchLabel;

    private async Task<IReadOnlyList<JsonObject>> ListAsync(CancellationToken token)
    {
        var (name, value) = Selector;
        var (pods, _) = await connections
            .Get(place)
            .ListAsync(
                KubeKind.Pod.Path(handle.Namespace),
                $"labelSelector={Uri.EscapeDataString($"{name}={value}")}",
                token
            );
        return pods;
    }

    // Those before the one that is read were read to their ends.
    private IEnumerable<JsonObject> Ahead(IEnumerable<JsonObject> pods)
    {
        var all = KubePods.Speakers(pods).ToList();
        var now = all.FindIndex(p => UidOf(p) == _at.Pod);
        return all.Where((p, i) => i >= now && !_passed.Contains(UidOf(p)) && (now >= 0 || !_at.IsBehind(p)));
    }

    private readonly HashSet<string> _passed = new(StringComparer.Ordinal);

    private void Pass(JsonObject pod) => _passed.Add(UidOf(pod));

    private static string UidOf(JsonObject pod) => pod.Str("metadata", "uid") ?? "";

    private async Task ReadPodAsync(JsonObject pod, KubeBoard? board, CancellationToken token)
    {
        var api = connections.Get(place);
        var name = pod.Str("metadata", "name")!;
        var path = KubeKind.Pod.Path(handle.Namespace, name);
        var container = KubePods.MainOf(pod);
        var read = 0;
        var failed = 0;
        _at = _at.In(pod);
        while (true)
        {
            var starts = KubePods.StatusOf(pod, container).Int("restartCount") ?? 0;
            var ended = KubePods.IsOver(pod) || KubePods.StatusOf(pod, container).At("state", "terminated") is not null;
            var whole = false;
            try
            {
                if (starts > read)
                {
                    // The start before this one may have said more after the reading ended.
                    await CopyAsync(api, path, container, "&previous=true", null, token);
                }

                read = starts;
                whole =
                    board is null || ended
                        ? await CopyAsync(api, path, container, "", null, token)
                        : await CopyAsync(api, path, container, "&follow=true", t => EndsAsync(board, name, t), token);
                failed = 0;
            }
            catch (KubeFault e) when (e.IsMissing || e.Code == 400)
            {
                // Gone, or not begun after all.
                whole = true;
            }
            catch (Exception e) when (board is not null && (e is KubeFault || KubeFault.IsAway(e)))
            {
                // A stream that was cut says nothing about the program.
                if (ended && ++failed >= TriesAtEnd)
                {
                    return;
                }

                await Task.Delay(Pause, _time, token);
            }

            if (board is null || (whole && ended))
            {
                return;
            }

            // Also how it stands is asked of the server.
            var now = await FindPatientlyAsync(api, path, token);
            if (now is null || UidOf(now) != UidOf(pod))
            {
                return;
            }

            pod = now;
            if (whole && !KubePods.IsOver(pod) && KubePods.StatusOf(pod, container).At("state", "running") is null)
            {
                // Between two starts of its container.
                await board.ChangedAsync(label, Pause, token);
                pod = await FindPatientlyAsync(api, path, token) ?? pod;
            }
        }
    }

    private async Task<JsonObject?> FindPatientlyAsync(KubeApi api, string path, CancellationToken token)
    {
        while (true)
        {
            try
            {
                return await api.FindAsync(path, token);
            }
            catch (Exception e) when (e is KubeFault { Passes: true } || KubeFault.IsAway(e))
            {
                await Task.Delay(Pause, _time, token);
            }
        }
    }

    // Done when a pod that is read is over, as far as is known, and had time to say the rest.
    private async Task EndsAsync(KubeBoard board, string name, CancellationToken token)
    {
        while (true)
        {
            var changed = board.ChangedAsync(label, Pause * 15, token);
            if (
                HasLabelledPods
                && (
                    board.Pods.Find(label, name) is not { } pod
                    || KubePods.IsOver(pod)
                    || KubePods.StatusOf(pod, KubePods.MainOf(pod)).At("state", "terminated") is not null
                )
            )
            {
                await Task.Delay(Rest, _time, token);
                return;
            }

            await changed;
        }
    }

    // True when it came to its end. False when it fell silent: something between may have forgotten it, and it is taken up anew.
    private async Task<bool> CopyAsync(
        KubeApi api,
        string path,
        string? container,
        string how,
        Func<CancellationToken, Task>? over,
        CancellationToken token
    )
    {
        using var left = CancellationTokenSource.CreateLinkedTokenSource(token);
        using var copied = CancellationTokenSource.CreateLinkedTokenSource(token);
        var ends = over?.Invoke(copied.Token);
        var quiet = connections.Quiet;
        var since = _at.Time is { } time
            ? "&sinceTime="
                + Uri.EscapeDataString(
                    Place.Parsed(time).ToString("yyyy-MM-ddTHH:mm:ssZ", CultureInfo.InvariantCulture)
                )
            : "";
        using var response = await api.OpenAsync(
            $"{path}/log?timestamps=true{(container is null ? "" : "&container=" + Uri.EscapeDataString(container))}{how}{since}",
            token
        );
        var stream = await response.Content.ReadAsStreamAsync(token);
        var lines = new Lines(this);
        var buffer = ArrayPool<byte>.Shared.Rent(1 << 16);
        try
        {
            while (true)
            {
                left.CancelAfter(quiet);
                var reading = stream.ReadAsync(buffer.AsMemory(), left.Token).AsTask();
                while (ends is not null && !reading.IsCompleted && await Task.WhenAny(reading, ends) == ends)
                {
                    // Over: what comes now comes at once, or not by this stream.
                    await ends;
                    ends = null;
                    left.CancelAfter(quiet = Rest);
                }

                int count;
                try
                {
                    count = await reading;
                }
                catch (OperationCanceledException) when (!token.IsCancellationRequested)
                {
                    lines.Forget();
                    return over is null ? throw new TimeoutException("the log fell silent") : false;
                }

                if (count == 0)
                {
                    lines.End();
                    return true;
                }

                lines.Add(buffer.AsSpan(0, count));
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
            await copied.CancelAsync();
        }
    }

    /// <summary>Puts the pieces of a stream together to lines, and leaves out those that were read before.</summary>
    private sealed class Lines(KubeLog log)
    {
        private readonly string? _last = log._at.Time;
        private readonly ArrayBufferWriter<byte> _held = new();
        private int _skip = log._at.Count;

        internal void Add(ReadOnlySpan<byte> bytes)
        {
            int end;
            while ((end = bytes.IndexOf((byte)'\n')) >= 0)
            {
                if (_held.WrittenCount > 0)
                {
                    _held.Write(bytes[..(end + 1)]);
                    Line(_held.WrittenSpan);
                    _held.Clear();
                }
                else
                {
                    Line(bytes[..(end + 1)]);
                }

                bytes = bytes[(end + 1)..];
            }

            _held.Write(bytes);
            log.Reached();
        }

        /// <summary>What is held is no whole line: it comes again.</summary>
        internal void Forget() => _held.Clear();

        internal void End()
        {
            if (_held.WrittenCount > 0)
            {
                Line(_held.WrittenSpan);
                _held.Clear();
            }

            log.Reached();
        }

        private void Line(ReadOnlySpan<byte> line)
        {
            var cut = line.IndexOf((byte)' ');
            if (cut is < 20 or > 40 || !Place.TryParse(line[..cut], out var time))
            {
                // What the node itself says has no time.
                log.Output(line);
                return;
            }

            if (_last is not null)
            {
                var order = Place.Compare(time, _last);
                if (order < 0 || (order == 0 && _skip-- > 0))
                {
                    return;
                }
            }

            log._at = log._at.After(time);
            log.Output(line[(cut + 1)..]);
        }
    }

    private void Output(ReadOnlySpan<byte> bytes) => sink.Output(RunStream.Output, bytes);

    private void Reached()
    {
        if (_at.Time is not null)
        {
            sink.Reached(_at);
        }
    }

    /// <summary>How far it was read: the pod, the time of the last line, and how many lines of that time.</summary>
    private sealed record Place(string? Pod, string? Time, int Count)
    {
        private string? Created { get; init; }

        internal static Place Parse(string? text) =>
            text?.Split('|') is [var pod, var created, var time, var count]
                ? new Place(pod, time.Length > 0 ? time : null, int.Parse(count, CultureInfo.InvariantCulture))
                {
                    Created = created,
                }
                : new Place(null, null, 0);

        public override string ToString() =>
            string.Create(CultureInfo.InvariantCulture, $"{Pod}|{Created}|{Time}|{Count}");

        internal Place In(JsonObject pod) =>
            UidOf(pod) == Pod
                ? this
                : new Place(UidOf(pod), null, 0) { Created = pod.Str("metadata", "creationTimestamp") };

        /// <summary>Read to its end before the one that is read now.</summary>
        internal bool IsBehind(JsonObject pod) =>
            Pod is not null
            && UidOf(pod) != Pod
            && string.CompareOrdinal(pod.Str("metadata", "creationTimestamp"), Created) < 0;

        internal Place After(string time) => this with { Time = time, Count = time == Time ? Count + 1 : 1 };

        internal static bool TryParse(ReadOnlySpan<byte> bytes, out string time)
        {
            time = Encoding.ASCII.GetString(bytes);
            return DateTimeOffset.TryParse(time, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal, out _);
        }

        internal static DateTimeOffset Parsed(string time) =>
            DateTimeOffset.Parse(time, CultureInfo.InvariantCulture, DateTimeStyles.AssumeUniversal).ToUniversalTime();

        // .NET's clock has seven digits and a node's nine.
        internal static int Compare(string a, string b) =>
            Parsed(a).CompareTo(Parsed(b)) is var order && order != 0 ? order : string.CompareOrdinal(a, b);
    }
}
