using System.Globalization;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>A curve as a filled area of block characters, eight levels to a line. Plain text: it can go into a file.</summary>
internal sealed class BlockChart(int width, int height, CurveScale scale)
{
    private const string Levels = " ▁▂▃▄▅▆▇█";
    private const int Label = 10;

    private readonly int _columns = Math.Max(1, width - Label - 2);

    /// <summary>The least width in which a curve can be read.</summary>
    internal const int LeastWidth = 30;

    /// <summary>The lines of the chart, the axes with them.</summary>
    internal IReadOnlyList<string> Draw(IReadOnlyList<HistoryPoint> points)
    {
        var levels = scale.Columns(points, _columns).Select(Level).ToArray();
        var lines = new List<string>();
        for (var row = height - 1; row >= 0; row--)
        {
            var label =
                row == height - 1 ? Number(scale.High)
                : row == 0 ? Number(scale.Low)
                : "";
            var cells = levels.Select(l => Levels[Math.Clamp(l - (row * 8), 0, 8)]);
            lines.Add($"{label, Label} ┤{string.Concat(cells)}".TrimEnd());
        }

        var from = Number(scale.FirstStep);
        var to = Number(scale.LastStep);
        lines.Add($"{"", Label} └{new string('─', _columns)}");
        lines.Add($"{"", Label}  {from}{to.PadLeft(Math.Max(to.Length + 1, _columns - from.Length))}");
        return lines;
    }

    internal static string Number(double value)
    {
        var plain = value.ToString("0.#####", CultureInfo.InvariantCulture);
        return plain.Length <= Label && (value == 0 || Math.Abs(value) >= 0.001)
            ? plain
            : value.ToString("0.###e+0", CultureInfo.InvariantCulture);
    }

    // Nothing where nothing was logged; the lowest value is still seen.
    private int Level(double? value) =>
        value is not { } there ? 0
        : scale.High > scale.Low ? 1 + (int)Math.Round(scale.Height(there) * ((height * 8) - 1))
        : height * 4;
}
