using System.Runtime.CompilerServices;
using System.Text;
using System.Text.Json;
using WandbLaunch.Foundation;

namespace WandbLaunch.Agents;

/// <summary>Reads what an agent of this machine wrote to its log, over the files that it was rotated into.</summary>
/// <param name="path">Path of agent.log.</param>
/// <param name="time">The pauses between two looks.</param>
internal sealed class AgentLogReader(string path, TimeProvider time)
{
    /// <summary>The events that are there, oldest first; with <paramref name="follow"/> also those to come, until it says that no more do.</summary>
    /// <param name="follow">Asked when all is read: true while the agent may write more. Null: not followed.</param>
    /// <param name="token">Ends the reading.</param>
    internal async IAsyncEnumerable<AgentEvent> ReadAsync(
        Func<bool>? follow,
        [EnumeratorCancellation] CancellationToken token
    )
    {
        foreach (var old in AgentLog.Rotated(path))
        {
            foreach (var happened in Lines(old, 0).Events)
            {
                yield return happened;
            }
        }

        long from = 0;
        while (true)
        {
            // Asked before it is read: what was written before the end is read before the loop ends.
            var more = follow?.Invoke() ?? false;
            if (File.Exists(path) && new FileInfo(path).Length < from)
            {
                // Rotated meanwhile: the rest is in the file before.
                if (AgentLog.Rotated(path).LastOrDefault() is { } before)
                {
                    foreach (var happened in Lines(before, from).Events)
                    {
                        yield return happened;
                    }
                }

                from = 0;
            }

            var (events, to) = Lines(path, from);
            from = to;
            foreach (var happened in events)
            {
                yield return happened;
            }

            if (!more)
            {
                yield break;
            }

            await Task.Delay(TimeSpan.FromMilliseconds(250), time, token);
        }
    }

    // Whole lines alone: the last one may be half written.
    private static (List<AgentEvent> Events, long To) Lines(string file, long from)
    {
        var events = new List<AgentEvent>();
        if (!File.Exists(file))
        {
            return (events, from);
        }

        using var stream = new FileStream(file, FileMode.Open, FileAccess.Read, FileShare.ReadWrite | FileShare.Delete);
        stream.Position = Math.Min(from, stream.Length);
        var bytes = new byte[stream.Length - stream.Position];
        stream.ReadExactly(bytes);
        var end = Array.LastIndexOf(bytes, (byte)'\n') + 1;
        foreach (var line in Encoding.UTF8.GetString(bytes, 0, end).Split('\n', StringSplitOptions.RemoveEmptyEntries))
        {
            try
            {
                if (JsonSerializer.Deserialize<AgentEvent>(line, AgentLog.Json) is { } happened)
                {
                    events.Add(happened with { Message = Secrets.Mask(happened.Message) });
                }
            }
            catch (JsonException)
            {
                // A line that a full disk cut short.
            }
        }

        return (events, from + end);
    }
}
