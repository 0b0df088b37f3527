using System.Globalization;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>Queues as lines of text, for a terminal that is drawn over again, or for a log.</summary>
internal static class QueueBoard
{
    private const string Reset = "\x1b[0m";
    private const string Red = "\x1b[31m";
    private const string Yellow = "\x1b[33m";
    private const string Green = "\x1b[32m";
    private const string Bold = "\x1b[1m";

    /// <summary>A table: a line for each queue below a head, none wider than the terminal.</summary>
    internal static IReadOnlyList<string> Table(
        IReadOnlyList<WandbRunQueue> queues,
        DateTimeOffset now,
        int width,
        int height,
        bool colour
    )
    {
        var name = Math.Clamp(queues.Select(q => q.Name.Length).DefaultIfEmpty(0).Max(), 5, Math.Max(5, width - 48));
        var head = $"{"Queue".PadRight(name)} {"Waiting", 8} {"Oldest", 9} {"Running", 8} {"Failed", 7} {"Agents", 7}";
        List<string> lines = [Paint(Cut(head, width), Bold, colour)];
        foreach (var queue in queues.Take(Math.Max(1, height - 3)))
        {
            var cells = new (string Text, string? Paint)[]
            {
                (Cut(queue.Name, name).PadRight(name), null),
                ($"{queue.Pending, 8}", null),
                ($"{Age(queue, now), 9}", null),
                ($"{queue.Running, 8}", queue.Running > 0 ? Green : null),
                ($"{queue.Failed, 7}", queue.Failed > 0 ? Red : null),
                // Nobody takes what waits.
                ($"{queue.Agents, 7}", queue is { Agents: 0, Pending: > 0 } ? Yellow : null),
            };
            lines.Add(
                cells.Sum(c => c.Text.Length + 1) - 1 > width
                    ? Cut(string.Join(' ', cells.Select(c => c.Text)), width)
                    : string.Join(' ', cells.Select(c => Paint(c.Text, c.Paint, colour)))
            );
        }

        if (queues.Count > height - 3)
        {
            lines.Add(Cut($"… {queues.Count - Math.Max(1, height - 3)} more", width));
        }

        return lines;
    }

    /// <summary>One queue as a line of a log, without what changes by itself.</summary>
    internal static string Line(WandbRunQueue queue) =>
        $"{queue.Name}: {Count(queue.Pending)} waiting, {Count(queue.Running)} running, {Count(queue.Failed)} failed, {Count(queue.Agents)} agents";

    internal static string Age(WandbRunQueue queue, DateTimeOffset now) =>
        queue.Oldest is { } oldest ? Short(now - oldest) : "";

    private static string Short(TimeSpan age) =>
        age.TotalDays >= 1 ? $"{(int)age.TotalDays}d {age.Hours}h"
        : age.TotalHours >= 1 ? $"{(int)age.TotalHours}h {age.Minutes}m"
        : age.TotalMinutes >= 1 ? $"{(int)age.TotalMinutes}m {age.Seconds}s"
        : $"{Math.Max(0, (int)age.TotalSeconds)}s";

    private static string Count(int? number) => number?.ToString(CultureInfo.InvariantCulture) ?? "?";

    private static string Cut(string text, int width) =>
        text.Length <= width ? text
        : width < 2 ? ""
        : text[..(width - 1)] + "…";

    private static string Paint(string text, string? paint, bool colour) =>
        paint is not null && colour ? paint + text + Reset : text;
}
