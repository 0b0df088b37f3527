using System.Text;
using WandbLaunch.Server.Data;

namespace WandbLaunch.Server.Pages;

/// <summary>A stretch of a run's log.</summary>
internal sealed record LogPart(long From, long Total, List<string> Lines);

/// <summary>A run's log by lines: what it sends, or where it was imported its output.log.</summary>
internal sealed class RunLog(RunLineRepository lines, FileRepository files)
{
    private const int LongestLine = 10_000;

    /// <summary>Lines from a number on; from a negative one, that many of the last.</summary>
    internal LogPart Read(RunRecord run, long from, int count)
    {
        var total = lines.Count(run.Id, RunLines.Console);
        if (total > 0)
        {
            from = from < 0 ? Math.Max(0, total + from) : from;
            return new LogPart(
                from,
                total,
                lines.Lines(run.Id, RunLines.Console, from, from + count).ConvertAll(Shown)
            );
        }

        if (files.Read(run.Id, "output.log") is not { } bytes)
        {
            return new LogPart(0, 0, []);
        }

        var all = Encoding.UTF8.GetString(bytes).TrimEnd('\n').Split('\n');
        from = from < 0 ? Math.Max(0, all.Length + from) : from;
        return new LogPart(
            from,
            all.Length,
            all.Skip((int)Math.Min(from, all.Length)).Take(count).Select(Shown).ToList()
        );
    }

    private static string Shown(string line) => JsonLimits.Short(line.TrimEnd('\r', '\n'), LongestLine);
}
