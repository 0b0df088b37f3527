using System.Globalization;
using System.Text.RegularExpressions;

namespace WandbLaunch.Foundation;

/// <summary>Spans of time as people write them: 2h, 1h30m, 90s, 1d, 02:00:00 or 1.12:00:00.</summary>
internal static partial class SpanText
{
    /// <summary>What is taken, for messages.</summary>
    internal const string Forms = "a time such as 2h, 1h30m, 90s or 02:00:00";

    // The longest that every clock and engine here can count.
    private static readonly TimeSpan Most = TimeSpan.FromDays(3650);

    /// <summary>Reads one that is longer than nothing. A number alone is none: it would be days to .NET and seconds to most people.</summary>
    internal static bool TryParse(string text, out TimeSpan span)
    {
        text = text.Trim();
        span = default;
        if (text.Contains(':', StringComparison.Ordinal))
        {
            return TimeSpan.TryParse(text, CultureInfo.InvariantCulture, out span) && IsLimit(span);
        }

        if (text.Length > 64 || Parts().Match(text) is not { Success: true } match)
        {
            return false;
        }

        var seconds = 0.0;
        foreach (var (group, each) in new[] { (1, 86400), (2, 3600), (3, 60), (4, 1) })
        {
            if (match.Groups[group].Success)
            {
                seconds += each * double.Parse(match.Groups[group].ValueSpan, CultureInfo.InvariantCulture);
            }
        }

        if (seconds > Most.TotalSeconds)
        {
            return false;
        }

        span = TimeSpan.FromSeconds(seconds);
        return IsLimit(span);
    }

    /// <summary>As it is written down: 02:00:00, 1.12:00:00.</summary>
    internal static string Show(TimeSpan span) => span.ToString("c", CultureInfo.InvariantCulture);

    private static bool IsLimit(TimeSpan span) => span > TimeSpan.Zero && span <= Most;

    [GeneratedRegex(
        @"^(?=\S)(?:(\d+(?:\.\d+)?)\s*d(?:ays?)?)?\s*(?:(\d+(?:\.\d+)?)\s*h(?:ours?)?)?\s*(?:(\d+(?:\.\d+)?)\s*m(?:in(?:utes?)?)?)?\s*(?:(\d+(?:\.\d+)?)\s*s(?:ec(?:onds?)?)?)?$",
        RegexOptions.IgnoreCase
    )]
    private static partial Regex Parts();
}
