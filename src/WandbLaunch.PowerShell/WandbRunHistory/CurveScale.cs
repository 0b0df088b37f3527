using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>The axes that the curves of a chart share.</summary>
internal readonly record struct CurveScale(double FirstStep, double LastStep, double Low, double High)
{
    /// <summary>The axes that hold all these points.</summary>
    internal static CurveScale Of(IReadOnlyCollection<HistoryPoint> points) =>
        new(points.Min(p => p.Step), points.Max(p => p.Step), points.Min(p => p.Value), points.Max(p => p.Value));

    /// <summary>How high a value is, from 0 to 1; in the middle where all are the same.</summary>
    internal double Height(double value) => High > Low ? (value - Low) / (High - Low) : 0.5;

    /// <summary>A value for each column: the mean of what falls into it, and a straight line over columns into which nothing falls. Null before the first and behind the last.</summary>
    internal double?[] Columns(IReadOnlyList<HistoryPoint> points, int columns)
    {
        var sums = new double[columns];
        var counts = new int[columns];
        foreach (var point in points)
        {
            var at = LastStep > FirstStep ? (point.Step - FirstStep) / (LastStep - FirstStep) * (columns - 1) : 0;
            var column = Math.Clamp((int)Math.Round(at), 0, columns - 1);
            sums[column] += point.Value;
            counts[column]++;
        }

        var values = new double?[columns];
        var last = -1;
        for (var column = 0; column < columns; column++)
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
