using System.Globalization;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>A curve as a filled area of block characters, eight levels to a line. Plain text: it can go into a file.</summary>
internal sealed class BlockChart(int width, int height, double firstStep, double lastStep, double low, double high)
{
    private const string Levels = " ▁▂▃▄▅▆▇█";
    private const int Label = 10;

    private readonly int _columns = Math.Max(1, width - Label - 2);

    /// <summary>The least width in which a curve can be read.</summary>
    internal const int LeastWidth = 30;

    /// <summary>The lines of the chart, the axes with them.</summary>
    internal IReadOnlyList<string> Draw(IReadOnlyList<HistoryPoint> points)
    {
        var levels = Columns(points).Select(Level).ToArray();
        var lines = new List<string>();
        for (var row = height - 1; row >= 0; row--)
        {
            var label =
                row == height - 1 ? Number(high)
                : row == 0 ? Number(low)
                : "";
            var cells = levels.Select(l => Levels[Math.Clamp(l - (row * 8), 0, 8)]);
            lines.Add($"{label, Label} ┤{string.Concat(cells)}".TrimEnd());
        }

        var from = Number(firstStep);
        var to = Number(lastStep);
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
        : high > low ? 1 + (int)Math.Round((there - low) / (high - low) * ((height * 8) - 1))
        : height * 4;

    // The mean of what falls into a column, and a straight line over columns into which nothing falls.
    private double?[] Columns(IReadOnlyList<HistoryPoint> points)
    {
        var sums = new double[_columns];
        var counts = new int[_columns];
        foreach (var point in points)
        {
            var at = lastStep > firstStep ? (point.Step - firstStep) / (lastStep - firstStep) * (_columns - 1) : 0;
            var column = Math.Clamp((int)Math.Round(at), 0, _columns - 1);
            sums[column] += point.Value;
            counts[column]++;
        }

        var values = new double?[_columns];
        var last = -1;
        for (var column = 0; column < _columns; column++)
        {
            if (counts[column] == 0)
            {
                continue;
            }

            var value = sums[column] / counts[column];
            values[column] = value;
            for (var between = last + 1; last >= 0 && between < column; between++)
            {
                values[between] = values[last] + ((value - values[last]) * (between - last) / (column - last));
            }

            last = column;
        }

        return values;
    }
}
