using System.Globalization;
using System.Text;
using WandbLaunch.Wandb;

namespace WandbLaunch.PowerShell;

/// <summary>
/// A curve in pixels, as a terminal with sixel graphics draws them: six rows to a band, one pass for each colour. The
/// numbers at the axes are text, above and below.
/// </summary>
internal sealed class SixelChart(int width, int height, (int Width, int Height) cell, CurveScale scale)
{
    private const int Band = 6;
    private const int Thickness = 2;

    // What may lie in a pixel; 0 is the terminal's own background.
    private const byte Frame = 1;
    private const byte Area = 2;
    private const byte Curve = 3;

    // In per cent of red, green and blue: readable on black and on white.
    private static readonly (byte Colour, string Mix)[] Colours =
    [
        (Frame, "2;50;50;50"),
        (Area, "2;25;45;65"),
        (Curve, "2;20;65;100"),
    ];

    /// <summary>The lines of the chart: the highest value, the picture, and below it the lowest value and the steps.</summary>
    internal IReadOnlyList<string> Draw(IReadOnlyList<HistoryPoint> points)
    {
        var from = $"{BlockChart.Number(scale.Low)} | step {BlockChart.Number(scale.FirstStep)}";
        var to = BlockChart.Number(scale.LastStep);
        return
        [
            BlockChart.Number(scale.High),
            Encode(Paint(points, width * cell.Width, height * cell.Height)),
            from + to.PadLeft(Math.Max(to.Length + 1, width - from.Length)),
        ];
    }

    private byte[,] Paint(IReadOnlyList<HistoryPoint> points, int columns, int rows)
    {
        var picture = new byte[rows, columns];
        for (var row = 0; row < rows; row++)
        {
            picture[row, 0] = Frame;
        }

        for (var column = 0; column < columns; column++)
        {
            picture[rows - 1, column] = Frame;
        }

        int? before = null;
        var values = scale.Columns(points, columns - 1);
        for (var column = 0; column < values.Length; column++)
        {
            if (values[column] is not { } value)
            {
                before = null;
                continue;
            }

            // Row 0 is the highest; the lowest is just above the frame.
            var at = (int)Math.Round((1 - scale.Height(value)) * (rows - 1 - Thickness));
            var other = before ?? at;
            for (var row = at + Thickness; row < rows - 1; row++)
            {
                picture[row, column + 1] = Area;
            }

            for (var row = Math.Min(at, other); row < Math.Max(at, other) + Thickness; row++)
            {
                picture[row, column + 1] = Curve;
            }

            before = at;
        }

        return picture;
    }

    /// <summary>DCS, the size, the colours, then band for band: for each colour which of its six rows have it.</summary>
    private static string Encode(byte[,] picture)
    {
        var (rows, columns) = (picture.GetLength(0), picture.GetLength(1));

        // 0;1: pixels that are not named keep what is behind them.
        var text = new StringBuilder("\u001bP0;1;0q");
        text.Append(CultureInfo.InvariantCulture, $"\"1;1;{columns};{rows}");
        foreach (var (colour, mix) in Colours)
        {
            text.Append(CultureInfo.InvariantCulture, $"#{colour};{mix}");
        }

        for (var top = 0; top < rows; top += Band)
        {
            foreach (var (colour, _) in Colours)
            {
                var line = Line(picture, top, colour);
                if (line.Length > 0)
                {
                    text.Append(CultureInfo.InvariantCulture, $"#{colour}{line}$");
                }
            }

            text.Append('-');
        }

        return text.Append("\u001b\\").ToString();
    }

    // One colour of a band; the same again and again is counted. Empty where the band has none of it.
    private static string Line(byte[,] picture, int top, byte colour)
    {
        var (rows, columns) = (picture.GetLength(0), picture.GetLength(1));
        var line = new StringBuilder();
        var (last, count, any) = (0, 0, false);
        for (var column = 0; column <= columns; column++)
        {
            var bits = 0;
            for (var i = 0; column < columns && i < Band && top + i < rows; i++)
            {
                bits |= picture[top + i, column] == colour ? 1 << i : 0;
            }

            any |= bits != 0;
            if (column < columns && (bits == last || count == 0))
            {
                (last, count) = (bits, count + 1);
                continue;
            }

            // What is empty up to the end needs no word.
            if (column < columns || last != 0)
            {
                var sign = (char)('?' + last);
                _ = count > 3 ? line.Append(CultureInfo.InvariantCulture, $"!{count}{sign}") : line.Append(sign, count);
            }

            (last, count) = (bits, 1);
        }

        return any ? line.ToString() : "";
    }
}
