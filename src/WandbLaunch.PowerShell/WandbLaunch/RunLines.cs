using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using WandbLaunch.Foundation;
using WandbLaunch.Model;

namespace WandbLaunch.PowerShell;

/// <summary>One live line for each run of a command, from the moment at which it is taken up: what is done for it, then how long it runs and what it printed last.</summary>
/// <param name="show">Shows a line: what it is of, what is to be said, and its number. Null takes it away.</param>
internal sealed partial class RunLines(Action<string, string?, int> show)
{
    private static readonly TimeSpan Every = TimeSpan.FromMilliseconds(500);

    private const int MostKept = 400;

    private readonly ConcurrentDictionary<int, Line> _lines = new();

    /// <summary>A name for people: what is launched, and with which arguments.</summary>
    internal static string NameOf(LaunchConfig config)
    {
        var source = config.Name ?? config.Source ?? "";
        if (config.Name is null && source.TrimEnd('/', '\\') is { Length: > 0 } trimmed)
        {
            source = trimmed[(trimmed.LastIndexOfAny(['/', '\\']) + 1)..];
        }

        var all = string.Join(' ', [source, .. ArgumentSet.Apply([], config.Args)]);
        return Secrets.Mask(all.Length > 40 ? all[..39] + "…" : all);
    }

    /// <summary>The program runs; its line goes on until <see cref="End"/>.</summary>
    internal Line Begin(int number, string activity)
    {
        var line = new Line(number, activity);
        _lines[number] = line;
        return line;
    }

    /// <summary>Takes the line away.</summary>
    internal void End(int number)
    {
        if (_lines.TryRemove(number, out var line))
        {
            show(line.Activity, null, number);
        }
    }

    /// <summary>Renews the lines until the command ends; once it is stopped they say so.</summary>
    internal async Task RenewAsync(CancellationToken token)
    {
        using var timer = new PeriodicTimer(Every);
        try
        {
            while (await timer.WaitForNextTickAsync(token))
            {
                foreach (var line in _lines.Values)
                {
                    show(line.Activity, line.Status, line.Number);
                }
            }
        }
        catch (OperationCanceledException)
        {
            foreach (var line in _lines.Values)
            {
                show(line.Activity, "stopping", line.Number);
            }
        }
    }

    // Colours, moves and titles.
    [GeneratedRegex(@"\x1B(\[[0-?]*[ -/]*[@-~]|\][^\a]*(\a|\x1B\\)|[@-Z\\-_])")]
    private static partial Regex Escape();

    /// <summary>The line of a run whose program runs.</summary>
    internal sealed class Line(int number, string activity)
    {
        private readonly Stopwatch _clock = Stopwatch.StartNew();
        private string _line = "";
        private volatile string _last = "";

        internal int Number => number;

        internal string Activity => activity;

        internal string Status
        {
            get
            {
                var time = _clock.Elapsed;
                var text = time.ToString(time.TotalHours >= 1 ? @"h\:mm\:ss" : @"m\:ss", CultureInfo.InvariantCulture);
                var said = string.Concat(Escape().Replace(_last, "").Where(c => !char.IsControl(c)));
                return $"{text} {said.Trim()}".TrimEnd();
            }
        }

        /// <summary>What the program printed, in pieces of any length; its last line that is not empty stays.</summary>
        internal void Said(ReadOnlySpan<byte> text)
        {
            // Of a line that a program writes over and over (a bar of its own) the last state.
            var pieces = Encoding.UTF8.GetString(text).Split('\n', '\r');
            for (var i = 0; i < pieces.Length; i++)
            {
                _line = i == 0 ? _line + pieces[i] : pieces[i];
                if (_line.Length > MostKept)
                {
                    _line = _line[^MostKept..];
                }

                if (!string.IsNullOrWhiteSpace(_line))
                {
                    _last = _line;
                }
            }
        }
    }
}
