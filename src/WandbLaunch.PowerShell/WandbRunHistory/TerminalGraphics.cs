using System.Diagnostics;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace WandbLaunch.PowerShell;

/// <summary>What a terminal can draw, and how large its characters are in pixels.</summary>
/// <param name="Sixel">It draws sixel graphics.</param>
/// <param name="Cell">Width and height of a character.</param>
internal readonly partial record struct TerminalGraphics(bool Sixel, (int Width, int Height) Cell)
{
    private const int Attribute = 4;
    private static readonly TimeSpan Patience = TimeSpan.FromMilliseconds(500);

    /// <summary>Where there is nobody to ask: the size of the VT340, which terminals fall back to as well.</summary>
    internal static readonly TerminalGraphics Unasked = new(true, (10, 20));

    /// <summary>Asks the terminal of this process; null where there is none. To be called while nobody else reads its keys.</summary>
    internal static TerminalGraphics? Ask()
    {
        if (Console.IsInputRedirected || Console.IsOutputRedirected)
        {
            return null;
        }

        try
        {
            // How large is a character (CSI 16 t), and what are you (DA1)? Everything answers the second.
            Console.Out.Write("\u001b[16t\u001b[c");
            Console.Out.Flush();
            return Read(Answer());
        }
        catch (Exception e) when (e is IOException or InvalidOperationException)
        {
            return null;
        }
    }

    /// <summary>Reads the answers to both questions.</summary>
    internal static TerminalGraphics Read(string answer)
    {
        var attributes = Attributes().Match(answer).Groups[1].Value.Split(';');
        var size = CellSize().Match(answer);
        return new TerminalGraphics(
            attributes.Contains(Attribute.ToString(CultureInfo.InvariantCulture)),
            size.Success
            && Number(size, 2) is > 0 and < 200 and var width
            && Number(size, 1) is > 0 and < 400 and var height
                ? (width, height)
                : Unasked.Cell
        );

        static int Number(Match match, int group) =>
            int.TryParse(match.Groups[group].Value, CultureInfo.InvariantCulture, out var number) ? number : 0;
    }

    private static string Answer()
    {
        var text = new StringBuilder();
        var clock = Stopwatch.StartNew();
        while (clock.Elapsed < Patience)
        {
            if (!Console.KeyAvailable)
            {
                Thread.Sleep(5);
                continue;
            }

            text.Append(Console.ReadKey(true).KeyChar);
            if (Attributes().IsMatch(text.ToString()))
            {
                break;
            }
        }

        return text.ToString();
    }

    [GeneratedRegex(@"\?([\d;]+)c")]
    private static partial Regex Attributes();

    [GeneratedRegex(@"\[6;(\d+);(\d+)t")]
    private static partial Regex CellSize();
}
